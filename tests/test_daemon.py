# SPDX-License-Identifier: Apache-2.0
"""The daemon itself: flags, configuration, folders, sockets, signals; and the three services about itself."""
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import threading

import grpc
import pytest

import lighter

LIGHTERD = str(lighter.BUILD / "lighterd")


def lighterd(*args, timeout=10):
    return subprocess.run([LIGHTERD, *args], capture_output=True, text=True, timeout=timeout)


# ---------------------------------------------------------------------------------------------------- the command
def test_help_and_version():
    assert lighterd("--help").returncode == 0
    assert "--config" in lighterd("-h").stdout
    assert re.match(r"lighterd \d+\.\d+", lighterd("-v").stdout)


@pytest.mark.parametrize("args,code,text", [
    (["nonsense"], 3, "No help topic for 'nonsense'"),
    (["config", "nonsense"], 3, "No help topic for 'nonsense'"),
    (["config"], 1, "config: a command is missing"),
    (["--nonsense"], 1, "flag provided but not defined: --nonsense"),
    (["--root"], 1, "flag needs an argument: --root"),
    (["-c", "/nonexistent/x.toml"], 1, "open /nonexistent/x.toml"),
    (["--root", "/tmp/lt-same", "--state", "/tmp/lt-same"], 1, "root and state must be different paths"),
    (["-l", "loud"], 1, 'not a valid log level: "loud"'),
])
def test_bad_command_lines(args, code, text):
    r = lighterd(*args)
    assert (r.returncode, text in r.stderr) == (code, True), r.stderr


def test_config_default_is_a_config(tmp_path):
    text = lighterd("config", "default").stdout
    assert text.startswith("version = 3\n") and "[grpc]\n  address = '/run/lighter/lighter.sock'" in text
    file = tmp_path / "c.toml"
    file.write_text(text)
    assert lighterd("-c", str(file), "config", "dump").stdout == text


def test_flags_override_the_file(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("version = 2\nroot = '/a'\n[grpc]\naddress = '/b.sock'\n")
    out = lighterd("-c", str(file), "--root", "/r", "--address=/x.sock", "config", "dump").stdout
    assert "root = '/r'\n" in out and "address = '/x.sock'\n" in out and "address = '/x.sock.ttrpc'\n" in out


@pytest.mark.parametrize("text,message", [
    ("root = 5\n", "c.toml: row 1 column 1: root must be a string, not an integer"),
    ("version = 9\n", "expected containerd config version equal to or less than `4`, got `9`"),
    ("[grpc\n", "failed to load TOML from"),
    ("version = 2\nrequired_plugins = ['io.containerd.no.v1.such']\n",
     "required plugin io.containerd.no.v1.such does not exist"),
    ("version = 3\ndisabled_plugins = ['cri']\n", 'invalid disabled plugin URI "cri" expect io.containerd.x.vx'),
])
def test_bad_configurations(tmp_path, text, message):
    file = tmp_path / "c.toml"
    file.write_text(text)
    r = lighterd("-c", str(file), "--root", str(tmp_path / "r"), "--state", str(tmp_path / "s"),
                 "-a", str(tmp_path / "l.sock"))
    assert r.returncode == 1 and message in r.stderr, r.stderr
    assert not (tmp_path / "l.sock").exists()


# ------------------------------------------------------------------------------------------------------ its start
@pytest.fixture
def configured():
    daemons = []

    def make(config, **kw):
        daemons.append(lighter.Daemon(config, **kw))
        return daemons[-1]
    yield make
    for d in daemons:
        d.cleanup()


def test_unknown_keys_are_logged_with_their_place(configured):
    d = configured("version = 2\nbogus = 1\n[grpc]\n  adress = 'x'\n[plugins.'io.containerd.no.v1.such']\n").start()
    log = d.log()
    assert re.search(r'level=warning msg="Ignoring unknown key in TOML".* file=\S+ key=bogus row=2', log), log
    assert re.search(r'column=3 .*key=grpc.adress row=4', log)
    assert "key=io.containerd.no.v1.such" in log


def test_timeouts_are_taken_or_said_to_be_none_of_ours(configured):
    log = configured("version = 2\n[timeouts]\n"
                     "'io.containerd.timeout.shim.load' = '7s'\n'io.containerd.timeout.shim.cleanup' = '1m'\n"
                     "'io.containerd.timeout.shim.shutdown' = '0s'\n'io.containerd.timeout.task.state' = '1s'\n"
                     "'io.containerd.timeout.bolt.open' = '9s'\n").start().log()
    assert re.findall(r"Ignoring timeout in TOML.* key=(\S+)", log) == ["io.containerd.timeout.bolt.open"], log


def test_a_file_as_dockerd_writes_it(configured):
    d = configured("""disabled_plugins = ["cri"]
oom_score = 0
[grpc]
  tcp_address = ""
  max_recv_message_size = 16777216
[ttrpc]
  address = ""
[debug]
  level = "debug"
[metrics]
  address = ""
[cgroup]
  path = ""
[plugins]
  [plugins.linux]
    shim = "containerd-shim"
""").start()
    assert d.stop() == 0


def test_modes_of_folders_and_sockets(daemon):
    assert stat.S_IMODE(daemon.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(daemon.state.stat().st_mode) == 0o711
    for path in daemon.address, daemon.address + ".ttrpc":
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660


def test_a_control_group_of_its_own(configured):
    """Also where a new group of v1's cpuset takes nobody until it is told its CPUs."""
    name = f"lighter-{os.getpid()}/inner"
    d = configured(f'version = 2\n[cgroup]\npath = "{name}"\n').start()
    try:
        lines = [l.split(":", 2) for l in pathlib.Path(f"/proc/{d.pid}/cgroup").read_text().splitlines()]
        mounts = " ".join(l for l in open("/proc/mounts") if " cgroup" in l)
        assert all(l[2] == "/" + name for l in lines if l[1] and l[1].split(",")[0] in mounts)
        assert any(l[2] == "/" + name for l in lines)
        assert d.stop() == 0
    finally:
        for top in pathlib.Path("/sys/fs/cgroup").glob("**/" + name):
            top.rmdir()
            top.parent.rmdir()


def test_the_owner_of_the_sockets(configured):
    d = configured("version = 2\n[grpc]\nuid = 1234\ngid = 2345\n").start()
    for path in d.address, d.address + ".ttrpc":
        st = os.stat(path)
        assert (st.st_uid, st.st_gid) == (1234, 2345)


def test_a_second_daemon_is_refused_with_the_pid(daemon, tmp_path):
    for args in (["--root", daemon.root, "--state", tmp_path / "s"], ["--root", tmp_path / "r", "--state", daemon.state]):
        r = lighterd("-c", str(daemon.config), *map(str, args), "-a", str(tmp_path / "l.sock"))
        assert r.returncode == 1
        assert f"in use by the lighterd with pid {daemon.pid}" in r.stderr
    r = lighterd("-c", str(daemon.config), "--root", str(tmp_path / "r2"), "--state", str(tmp_path / "s2"),
                 "-a", daemon.address)
    assert r.returncode == 1 and f"is served by the process with pid {daemon.pid}" in r.stderr
    daemon.client().version.Version(lighter.pb("google/protobuf/empty").Empty(), timeout=5)


def test_temp_is_made(configured, tmp_path):
    d = configured(f"version = 2\ntemp = '{tmp_path}/deep/tmp'\n").start()
    assert stat.S_IMODE((tmp_path / "deep/tmp").stat().st_mode) == 0o700


def test_a_stale_socket_is_replaced(configured):
    d = configured("version = 2\n")
    d.start()
    d.kill()
    assert os.path.exists(d.address)
    d.start()


def test_an_overlong_socket_path(configured, tmp_path):
    r = lighterd("--root", str(tmp_path / "r"), "--state", str(tmp_path / "s"), "-a", "/tmp/" + "x" * 104)
    assert r.returncode == 1 and "unix socket path too long (> 104)" in r.stderr


# ------------------------------------------------------------------------------------------------------ its end
@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_stop(daemon, signo):
    daemon.process.send_signal(signo)
    assert daemon.process.wait(10) == 0
    assert not os.path.exists(daemon.address) and not os.path.exists(daemon.address + ".ttrpc")


def test_signals_that_do_not(daemon):
    for signo in signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1:
        daemon.process.send_signal(signo)
    daemon.client().version.Version(lighter.pb("google/protobuf/empty").Empty(), timeout=5)
    lighter.eventually("the report", lambda: 'msg="report"' in daemon.log())
    assert re.search(r'msg="report" .*grpc_calls=0 tasks=0', daemon.log())


def test_systemd_is_told(configured, tmp_path, monkeypatch):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        d = configured("version = 2\n").start()
        assert s.recv(100) == b"READY=1"
        d.stop()
        assert s.recv(100) == b"STOPPING=1"


# ------------------------------------------------------------------------------------------- what it says of itself
def test_version(daemon):
    v = daemon.client(None).version.Version(lighter.pb("google/protobuf/empty").Empty())
    assert re.fullmatch(r"2\.3\.4\+lighter\.\S+", v.version)


def test_server_keeps_its_uuid(daemon):
    def server():
        return daemon.client(None).introspection.Server(lighter.pb("google/protobuf/empty").Empty())
    first = server()
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", first.uuid)
    assert first.pid == daemon.pid and first.pidns == os.stat("/proc/self/ns/pid").st_ino
    daemon.restart()
    assert server().uuid == first.uuid


def test_plugins_and_filters(daemon):
    c = daemon.client(None)
    request = c.messages("introspection").PluginsRequest
    plugins = c.introspection.Plugins(request()).plugins
    assert {"version", "introspection", "healthcheck"} <= {p.id for p in plugins if p.type == "io.containerd.grpc.v1"}
    some = c.introspection.Plugins(request(filters=["id==version,type~=grpc", "id==exchange"])).plugins
    assert sorted(p.id for p in some) == ["exchange", "version"]
    with pytest.raises(grpc.RpcError) as e:
        c.introspection.Plugins(request(filters=["id="]))
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_plugin_info(daemon):
    c = daemon.client(None)
    request = c.messages("introspection").PluginInfoRequest
    assert c.introspection.PluginInfo(request(type="io.containerd.grpc.v1", id="version")).plugin.id == "version"
    with pytest.raises(grpc.RpcError) as e:
        c.introspection.PluginInfo(request(type="io.containerd.grpc.v1", id="nonsense"))
    assert e.value.code() == grpc.StatusCode.NOT_FOUND


def test_disabled_plugins_are_absent(configured):
    d = configured("version = 2\ndisabled_plugins = ['io.containerd.grpc.v1.healthcheck']\n").start()
    c = d.client(None)
    plugins = c.introspection.Plugins(c.messages("introspection").PluginsRequest()).plugins
    assert "healthcheck" not in {p.id for p in plugins}
    with pytest.raises(grpc.RpcError) as e:
        c.health.Check(c.messages("health").HealthCheckRequest())
    assert e.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert e.value.details() == "unknown service grpc.health.v1.Health"


def test_health(daemon):
    c = daemon.client(None)
    m = c.messages("health")
    assert c.health.Check(m.HealthCheckRequest()).status == 1
    assert c.health.List(m.HealthListRequest()).statuses[""].status == 1
    with pytest.raises(grpc.RpcError) as e:
        c.health.Check(m.HealthCheckRequest(service="x"))
    assert (e.value.code(), e.value.details()) == (grpc.StatusCode.NOT_FOUND, "unknown service")
    watch = c.health.Watch(m.HealthCheckRequest(service="x"))
    assert next(watch).status == 3
    watch.cancel()


def test_idle_memory(daemon):
    """The bound of the design; a sanitizer's build has other needs."""
    maps = open(f"/proc/{daemon.pid}/smaps_rollup").read()
    if re.search(rb"__[at]san_init", open(LIGHTERD, "rb").read()):
        pytest.skip("sanitized build")
    rss, dirty = (int(re.search(rf"^{k}:\s+(\d+)", maps, re.M)[1]) for k in ("Rss", "Private_Dirty"))
    assert rss <= 10240 and dirty <= 3072, maps


def test_publish(daemon):
    c = daemon.client(None)
    stream = c.events.Subscribe(c.messages("events").SubscribeRequest(filters=['topic=="/tests/one"']))
    event = lighter.pb("containerd/events/events").NamespaceCreate(name="x")
    any_ = lighter.pb("google/protobuf/any").Any(type_url="containerd.events.NamespaceCreate",
                                                 value=event.SerializeToString()).SerializeToString()
    argv = [LIGHTERD, "--address", daemon.address, "publish", "--namespace", "n1", "--topic"]
    got = []
    threading.Thread(target=lambda: got.append(next(stream)), daemon=True).start()
    # the subscription may arrive after the first of them
    lighter.eventually("an event", lambda: subprocess.run([*argv, "/tests/one"], input=any_).returncode == 0 and got)
    assert (got[0].namespace, got[0].topic, got[0].event.value) == ("n1", "/tests/one", event.SerializeToString())
    bad = subprocess.run([*argv, "nonsense"], input=any_, capture_output=True, timeout=10)
    assert bad.returncode == 1 and b"nonsense" in bad.stderr
    assert subprocess.run([LIGHTERD, "publish"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 1

