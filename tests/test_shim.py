# SPDX-License-Identifier: Apache-2.0
"""The shim under Debian's containerd 1.6.20, driven by Debian's ctr and by gRPC, and alone, by ttrpc."""
import contextlib
import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import grpc
import pytest

import lighter
from lighter import eventually, pb

SHIM = lighter.BUILD / "containerd-shim-lighter-v2"
RUNTIME = "io.containerd.lighter.v2"

pytestmark = pytest.mark.skipif(not shutil.which("containerd") or not shutil.which("runc"),
                                reason="Debian's containerd and runc are not installed")


class Containerd(lighter.Daemon):
    """Debian's daemon with our shim on its PATH."""

    def __init__(self):
        super().__init__(config="""version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
                    "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
""")

    def start(self, wait=True):
        env = {**os.environ, "PATH": f"{lighter.BUILD}:{os.environ['PATH']}"}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["containerd", "--config", self.config, "--root", self.root, "--state", self.state,
                 "--address", self.address, "--log-level", "debug"], stderr=log, stdout=log, cwd="/", env=env)
        if wait:
            self.wait_ready()
        return self

    def ctr(self, *args, **kw):
        return super().ctr(*args, **{"timeout": 30, **kw})

    def bundle(self, id, ns="default"):
        return self.state / "io.containerd.runtime.v2.task" / ns / id


@pytest.fixture(scope="module")
def containerd():
    d = Containerd()
    try:
        yield d.start()
        # the shims log into the daemon's log
        assert not [l for l in d.log().splitlines() if "Sanitizer" in l or "runtime error:" in l or "Assertion" in l]
    finally:
        d.cleanup()


@pytest.fixture
def own_containerd():
    d = Containerd()
    try:
        yield d.start()
        # the shims log into the daemon's log
        assert not [l for l in d.log().splitlines() if "Sanitizer" in l or "runtime error:" in l or "Assertion" in l]
    finally:
        d.cleanup()


def run_args(rootfs, id, *command, options=()):
    return ["run", "--runtime", RUNTIME, "--env", "PATH=/bin", *options, "--rootfs", str(rootfs), id, *command]


@contextlib.contextmanager
def detached(d, rootfs, id, *command, options=()):
    d.ctr(*run_args(rootfs, id, *(command or ("/bin/sleep", "1000")), options=["-d", *options]))
    try:
        yield id
    finally:
        d.ctr("t", "kill", "-s", "9", id, check=False)
        with contextlib.suppress(AssertionError):
            eventually("stopped", lambda: status(d, id) in (None, "STOPPED"))
        d.ctr("t", "rm", id, check=False)
        d.ctr("c", "rm", id, check=False)


def tasks(d):
    lines = d.ctr("t", "ls").stdout.splitlines()[1:]
    return {l.split()[0]: (int(l.split()[1]), l.split()[2]) for l in lines}


def status(d, id):
    return tasks(d).get(id, (0, None))[1]


def pid_of(d, id):
    return tasks(d)[id][0]


# ------------------------------------------------------------------------------------------------ Debian's own client
def test_run_gives_output_and_status(containerd, rootfs):
    p = containerd.ctr(*run_args(rootfs, "fg", "/bin/sh", "-c", "echo out; echo err >&2; exit 7", options=["--rm"]), check=False)
    assert (p.returncode, p.stdout, p.stderr) == (7, "out\n", "err\n")
    assert tasks(containerd) == {} and not containerd.bundle("fg").exists()


def test_much_output_arrives_whole(containerd, rootfs):
    p = containerd.ctr(*run_args(rootfs, "much", "/bin/sh", "-c", "seq 1 200000; seq 1 50000 >&2", options=["--rm"]))
    assert p.stdout == "".join(f"{n}\n" for n in range(1, 200001))
    assert p.stderr == "".join(f"{n}\n" for n in range(1, 50001))


def test_many_exits_at_once_are_all_seen(containerd, rootfs):
    """Exits that come before the shim knows the pid."""
    with detached(containerd, rootfs, "quick"):
        out = [subprocess.Popen(["ctr", "--address", containerd.address, "t", "exec", "--exec-id", f"q{i}", "quick",
                                 "/bin/sh", "-c", f"exit {i + 1}"]) for i in range(12)]
        assert [p.wait(30) for p in out] == list(range(1, 13))


def test_a_command_that_is_not_there(containerd, rootfs):
    p = containerd.ctr(*run_args(rootfs, "none", "/bin/nope", options=["--rm"]), check=False)
    assert p.returncode == 1
    assert "failed to create shim task: OCI runtime create failed: " in p.stderr and "/bin/nope" in p.stderr
    containerd.ctr("c", "rm", "none", check=False)
    assert not containerd.bundle("none").exists()


def test_exec(containerd, rootfs):
    with detached(containerd, rootfs, "ex"):
        p = containerd.ctr("t", "exec", "--exec-id", "a", "ex", "echo", "hi")
        assert p.stdout == "hi\n"
        p = containerd.ctr("t", "exec", "--exec-id", "a", "ex", "/bin/sh", "-c", "exit 5", check=False)
        assert p.returncode == 5
        p = containerd.ctr("t", "exec", "--exec-id", "b", "ex", "/bin/nope", check=False)
        assert p.returncode != 0 and "OCI runtime exec failed: " in p.stderr
        p = containerd.ctr("t", "exec", "--exec-id", "c", "ex", "cat", stdin="through stdin\n")
        assert p.stdout == "through stdin\n"


def test_terminals(containerd, rootfs):
    t = lighter.Terminal(["ctr", "--address", containerd.address,
                          *run_args(rootfs, "tty", "/bin/sh", options=["--rm", "-t"])], rows=33, cols=101)
    # ctr tells the size after the start: the shell may be faster
    t.send("until stty size | grep 101; do sleep 0.05; done; tty; echo a''b\n")
    t.read_until("33 101")
    t.read_until("/dev/pts/0")
    t.read_until("\nab\r")
    x = lighter.Terminal(["ctr", "--address", containerd.address, "t", "exec", "-t", "--exec-id", "x", "tty", "/bin/sh"])
    x.send("tty; exit 4\n")
    x.read_until("/dev/pts/1")
    assert x.wait() == 4
    t.send("exit 3\n")
    assert t.wait() == 3


def test_kill_pause_resume_ps_metrics(containerd, rootfs):
    with detached(containerd, rootfs, "life", "/bin/sh", "-c", 'trap "exit 3" TERM; while :; do sleep 0.05; done'):
        assert status(containerd, "life") == "RUNNING"
        assert containerd.ctr("t", "ps", "life").stdout.splitlines()[1].split()[0] == str(pid_of(containerd, "life"))
        containerd.ctr("t", "pause", "life")
        assert status(containerd, "life") == "PAUSED"
        p = containerd.ctr("t", "exec", "--exec-id", "no", "life", "true", check=False)
        assert "cannot exec in a paused state" in p.stderr
        p = containerd.ctr("t", "pause", "life", check=False)
        assert "cannot pause a paused container" in p.stderr
        containerd.ctr("t", "resume", "life")
        assert status(containerd, "life") == "RUNNING"
        metrics = containerd.ctr("t", "metrics", "life").stdout
        assert "memory.usage_in_bytes" in metrics or "memory.usage" in metrics
        p = containerd.ctr("t", "rm", "life", check=False)
        assert p.returncode != 0
        containerd.ctr("t", "kill", "life")
        eventually("stopped", lambda: status(containerd, "life") == "STOPPED")
        assert containerd.ctr("t", "ps", "life").stdout.splitlines()[1:] == []
        p = containerd.ctr("t", "kill", "life", check=False)
        assert "process already finished: not found" in p.stderr
        p = containerd.ctr("t", "rm", "life")
        assert "exit code 3" in p.stderr


def test_events_in_order(containerd, rootfs):
    with open(containerd.dir / "events", "w+") as out:
        p = subprocess.Popen(["ctr", "--address", containerd.address, "events"], stdout=out)
        try:
            # a first container shows that the subscription is there
            eventually("subscribed", lambda: containerd.ctr("c", "create", "--runtime", RUNTIME, "--rootfs", str(rootfs), "probe",
                                                            "true", check=False) and containerd.ctr("c", "rm", "probe")
                       and (containerd.dir / "events").read_text())
            with detached(containerd, rootfs, "ev"):
                containerd.ctr("t", "exec", "--exec-id", "e", "ev", "true")
                containerd.ctr("t", "exec", "--exec-id", "f", "ev", "/bin/sh", "-c", "exec sleep 1000 >/dev/null 2>&1 &")
                containerd.ctr("t", "pause", "ev")
                containerd.ctr("t", "resume", "ev")
            eventually("delete", lambda: "/tasks/delete" in (containerd.dir / "events").read_text())
        finally:
            p.kill()
            p.wait()
        lines = [l.split() for l in (containerd.dir / "events").read_text().splitlines()]
    got = [l[5] for l in lines if l[5].startswith("/tasks/")]
    bodies = [json.loads(" ".join(l[6:])) for l in lines if l[5].startswith("/tasks/")]
    assert got == ["/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit",
                   "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit", "/tasks/paused", "/tasks/resumed",
                   "/tasks/exit", "/tasks/delete"]
    assert {b["container_id"] for b in bodies} == {"ev"}
    assert bodies[4]["id"] == "e" and bodies[10]["id"] == "ev" and bodies[10]["exit_status"] == 137
    assert bodies[10]["pid"] == bodies[0]["pid"] == bodies[11]["pid"]


def test_containerd_is_killed_and_comes_back(own_containerd, rootfs):
    d = own_containerd
    with detached(d, rootfs, "keep"), detached(d, rootfs, "ends", "/bin/sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 9"):
        before = tasks(d)
        shims = sorted(d.shims())
        d.kill()
        (rootfs / "tmp/end").touch()
        try:
            eventually("the process has ended", lambda: not lighter.alive(before["ends"][0]))
        finally:
            (rootfs / "tmp/end").unlink()
        d.start()
        eventually("found again", lambda: status(d, "keep") == "RUNNING")
        assert tasks(d)["keep"] == before["keep"]
        assert d.ctr("t", "exec", "--exec-id", "after", "keep", "echo", "still here").stdout == "still here\n"
        assert [s for s in d.shims() if s in shims]


def test_a_killed_shim(own_containerd, rootfs):
    d = own_containerd
    with open(d.dir / "events", "w") as out:
        watcher = subprocess.Popen(["ctr", "--address", d.address, "events"], stdout=out)
    try:
        with detached(d, rootfs, "orphan"):
            pid = pid_of(d, "orphan")
            shim, = d.shims()
            os.kill(shim, signal.SIGKILL)
            eventually("the container is gone", lambda: not lighter.alive(pid))
            eventually("the task is gone", lambda: tasks(d) == {})
            eventually("events", lambda: "/tasks/delete" in (d.dir / "events").read_text())
            assert not d.bundle("orphan").exists()
            assert [l for l in open("/proc/mounts") if str(d.dir) in l] == []
    finally:
        watcher.kill()
        watcher.wait()


def test_shims_end_and_leave_nothing(own_containerd, rootfs):
    d = own_containerd
    sock = "/run/containerd/s/" + hashlib.sha256(f"{d.address}/default/gone".encode()).hexdigest()
    with detached(d, rootfs, "gone"):
        assert len(d.shims()) == 1 and os.path.exists(sock)
    eventually("the shim has ended", lambda: d.shims() == [])
    eventually("its socket is gone", lambda: not os.path.exists(sock))


def test_a_pod_shares_one_shim(own_containerd, rootfs):
    d = own_containerd
    group = ["--annotation", "io.containerd.runc.v2.group=pod1"]
    with detached(d, rootfs, "p1", options=group), detached(d, rootfs, "p2", options=group):
        assert len(d.shims()) == 1
        d.ctr("t", "kill", "-s", "9", "p1")
        eventually("stopped", lambda: status(d, "p1") == "STOPPED")
        d.ctr("t", "rm", "p1", check=False)
        assert status(d, "p2") == "RUNNING"
        assert d.ctr("t", "exec", "--exec-id", "x", "p2", "echo", "ok").stdout == "ok\n"


def test_memory_of_a_shim(own_containerd, rootfs):
    """At most 150 kB private dirty, the mean of 20."""
    d = own_containerd
    if os.path.exists("/proc/self/smaps_rollup") and b"__asan" in SHIM.read_bytes():
        pytest.skip("a sanitized build is larger")
    with contextlib.ExitStack() as stack:
        for i in range(20):
            stack.enter_context(detached(d, rootfs, f"m{i}"))
        # a shim gives freed pages back a moment after its last answer
        time.sleep(0.5)
        subprocess.run(["sync"], check=True)
        sizes = [int(l.split()[1]) for s in d.shims() for l in open(f"/proc/{s}/smaps_rollup") if l.startswith("Private_Dirty")]
        assert len(sizes) == 20
        assert sum(sizes) / len(sizes) <= 150, sizes


# ----------------------------------------------------------------------------------------------------- by gRPC, finer
class Task:
    """A container made by gRPC, with fifos or URLs of the test's own."""

    def __init__(self, d, rootfs, id, args, terminal=False, stdin="", stdout="", stderr="", options=None, spec=None, mutate=None):
        self.d, self.id, self.client = d, id, lighter.Client(d.address)
        self.t, self.pbt = self.client.tasks, self.client.messages("tasks")
        doc = json.loads(subprocess.run(["runc", "spec"], cwd=tempfile.mkdtemp(dir=d.dir), check=True) and
                         pathlib.Path(self._last(d)).read_text())
        doc["process"].update(args=args, terminal=terminal, env=["PATH=/bin"])
        doc["process"].pop("rlimits", None)
        doc["root"] = {"path": "rootfs"}
        doc["linux"]["cgroupsPath"] = f"/lighter-test/{id}"
        if mutate:
            mutate(doc)
        cpb = self.client.messages("containers")
        spec_any = pb("google/protobuf/any").Any(type_url=lighter.TYPE_SPEC, value=json.dumps(doc).encode())
        self.client.containers.Create(cpb.CreateContainerRequest(container=cpb.Container(
            id=id, runtime=cpb.Container.Runtime(name=RUNTIME), spec=spec_any)))
        mount = pb("containerd/types/types").Mount(type="bind", source=str(rootfs), options=["rbind", "rw"])
        request = self.pbt.CreateTaskRequest(container_id=id, rootfs=[mount], stdin=stdin, stdout=stdout, stderr=stderr,
                                             terminal=terminal)
        if options is not None:
            request.options.type_url = "containerd.runc.v1.Options"
            request.options.value = options.SerializeToString()
        try:
            self.pid = self.t.Create(request, timeout=20).pid
        except grpc.RpcError:
            self.client.containers.Delete(cpb.DeleteContainerRequest(id=id))
            raise

    @staticmethod
    def _last(d):
        return max(d.dir.glob("*/config.json"), key=lambda p: p.stat().st_mtime_ns)

    def start(self, exec_id=""):
        return self.t.Start(self.pbt.StartRequest(container_id=self.id, exec_id=exec_id), timeout=20).pid

    def wait(self, exec_id=""):
        return self.t.Wait(self.pbt.WaitRequest(container_id=self.id, exec_id=exec_id), timeout=20).exit_status

    def kill(self, signo=9, exec_id="", all=False):
        self.t.Kill(self.pbt.KillRequest(container_id=self.id, exec_id=exec_id, signal=signo, all=all), timeout=20)

    def status(self, exec_id=""):
        return self.t.Get(self.pbt.GetRequest(container_id=self.id, exec_id=exec_id), timeout=20).process

    def exec(self, exec_id, args, **stdio):
        spec = {"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
        self.t.Exec(self.pbt.ExecProcessRequest(container_id=self.id, exec_id=exec_id, spec=pb("google/protobuf/any").Any(
            type_url="types.containerd.io/opencontainers/runtime-spec/1/Process", value=json.dumps(spec).encode()), **stdio), timeout=20)

    def delete(self):
        return self.t.Delete(self.pbt.DeleteTaskRequest(container_id=self.id), timeout=20)

    def close(self):
        with contextlib.suppress(grpc.RpcError):
            self.kill()
        with contextlib.suppress(grpc.RpcError):
            self.wait()
        with contextlib.suppress(grpc.RpcError):
            self.delete()
        with contextlib.suppress(grpc.RpcError):
            self.client.containers.Delete(self.client.messages("containers").DeleteContainerRequest(id=self.id))
        self.client.close()


@pytest.fixture
def task(containerd, rootfs):
    made = []

    def make(id, args, **kw):
        made.append(Task(containerd, rootfs, id, args, **kw))
        return made[-1]
    yield make
    for t in made:
        t.close()


def details(excinfo):
    """Code and text; the class that the daemon adds to an error of none is taken off."""
    return excinfo.value.code().name, excinfo.value.details().removesuffix(": unknown")


def cgroup_metrics(version):
    """Their package is called io, as Python's own is."""
    path = f"{lighter._generated()}/io/containerd/cgroups/{version}/metrics_pb2.py"
    spec = importlib.util.spec_from_file_location(f"cgroup_metrics_{version}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Metrics


def test_states_and_their_errors(task):
    t = task("states", ["sleep", "1000"])
    assert t.status().status == 1  # created
    for call, text in ((t.t.Pause, "cannot pause task in created state"), (t.t.Resume, "cannot resume task in created state")):
        request = (t.pbt.PauseTaskRequest if call is t.t.Pause else t.pbt.ResumeTaskRequest)(container_id="states")
        with pytest.raises(grpc.RpcError) as e:
            call(request)
        assert details(e) == ("UNKNOWN", text)
    t.start()
    with pytest.raises(grpc.RpcError) as e:
        t.start()
    assert details(e) == ("UNKNOWN", "cannot start a running process")
    t.exec("one", ["sleep", "1000"])
    with pytest.raises(grpc.RpcError) as e:
        t.exec("one", ["true"])
    assert details(e) == ("ALREADY_EXISTS", "id one: already exists")
    with pytest.raises(grpc.RpcError) as e:
        t.kill(exec_id="one")
    assert details(e) == ("FAILED_PRECONDITION", "process not created: failed precondition")
    t.start("one")
    with pytest.raises(grpc.RpcError) as e:
        t.start("one")
    assert details(e) == ("UNKNOWN", "cannot start a running process")
    with pytest.raises(grpc.RpcError) as e:
        t.status("nope")
    assert details(e)[0] == "NOT_FOUND"
    t.kill(15, exec_id="one")
    assert t.wait("one") == 143
    with pytest.raises(grpc.RpcError) as e:
        t.kill(exec_id="one")
    assert details(e) == ("NOT_FOUND", "process already finished: not found")
    r = t.t.DeleteProcess(t.pbt.DeleteProcessRequest(container_id="states", exec_id="one"))
    assert (r.id, r.exit_status) == ("one", 143)
    t.kill()
    assert t.wait() == 137
    t.kill(all=True)
    r = t.delete()
    assert (r.exit_status, r.pid) == (137, t.pid)


def test_a_task_that_never_started_can_be_deleted(task):
    t = task("never", ["sleep", "1000"])
    r = t.delete()
    assert (r.exit_status, r.pid, r.exited_at.seconds) == (0, t.pid, -62135596800)
    eventually("killed", lambda: not lighter.alive(t.pid))


def test_update_and_metrics(task):
    t = task("update", ["sleep", "1000"])
    t.start()
    t.t.Update(t.pbt.UpdateTaskRequest(container_id="update", resources=pb("google/protobuf/any").Any(
        type_url="types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
        value=json.dumps({"memory": {"limit": 64 << 20}}).encode())))
    m, = t.t.Metrics(t.pbt.MetricsRequest(filters=["id==update"])).metrics
    if m.data.type_url == "io.containerd.cgroups.v1.Metrics":
        got = cgroup_metrics("v1").FromString(m.data.value)
        assert got.memory.usage.limit == 64 << 20 and got.pids.current >= 1 and got.cpu.usage.total > 0
        assert len(got.cpu.usage.per_cpu) >= 1
    else:
        assert m.data.type_url == "io.containerd.cgroups.v2.Metrics"
        got = cgroup_metrics("v2").FromString(m.data.value)
        assert got.memory.usage_limit == 64 << 20 and got.cpu.usage_usec > 0


def test_running_out_of_memory(task, containerd):
    def limit(doc):
        doc["linux"]["resources"] = {"memory": {"limit": 8 << 20, "swap": 8 << 20}}
    seen = []
    watcher = lighter.Client(containerd.address)
    stream = watcher.events.Subscribe(watcher.messages("events").SubscribeRequest(filters=['topic=="/tasks/oom"']))

    def collect():
        with contextlib.suppress(grpc.RpcError):
            for e in stream:
                seen.append(e)
    threading.Thread(target=collect, daemon=True).start()
    t = task("oom", ["/bin/sh", "-c", "x=a; while :; do x=$x$x; done"], mutate=limit)
    t.start()
    assert t.wait() == 137
    eventually("an OOM event", lambda: seen)
    assert pb("containerd/events/events").TaskOOM.FromString(seen[0].event.value).container_id == "oom"
    stream.cancel()


def test_stdio_into_a_file(task, containerd):
    log = containerd.dir / "logs/deep/file.log"
    t = task("file", ["/bin/sh", "-c", "echo one; echo two >&2"], stdout=f"file://{log}")
    t.start()
    assert t.wait() == 0
    t.delete()
    assert sorted(log.read_text().split()) == ["one", "two"]


@pytest.mark.parametrize("scheme", ["binary", "binary-v2"])
def test_stdio_into_a_program(task, containerd, scheme):
    program, out = containerd.dir / "logger", containerd.dir / f"logged-{scheme}"
    program.write_text(f"""#!/usr/bin/python3
import os, sys
os.write(5, b"!")
os.close(5)
with open({str(out)!r}, "w") as f:
    f.write(" ".join(sys.argv[1:]) + " " + os.environ["CONTAINER_ID"] + " " + os.environ["CONTAINER_NAMESPACE"] + "\\n")
    f.write(os.fdopen(3).read())
    f.write(os.fdopen(4).read())
""")
    program.chmod(0o755)
    t = task("logged" + scheme[-1], ["/bin/sh", "-c", "seq 1 5000; echo bad >&2"], stdout=f"{scheme}://{program}?key=a%20value")
    t.start()
    assert t.wait() == 0
    t.delete()
    assert out.read_text() == f"key a value logged{scheme[-1]} default\n" + "".join(f"{i}\n" for i in range(1, 5001)) + "bad\n"


@pytest.mark.parametrize("uri,text", [
    ("weird:///x", "unknown STDIO scheme weird"),
    ("binary:///nonexistent/logger", "failed to start binary process: fork/exec /nonexistent/logger: no such file or directory"),
    ("binary-v2:///bin/true", "logging binary did not call ready (it may have crashed or exited prematurely)"),
    ("/nonexistent/fifo", "no such file or directory"),
])
def test_stdio_that_cannot_be(task, uri, text):
    with pytest.raises(grpc.RpcError) as e:
        task("badio", ["true"], stdout=uri)
    assert "failed to create init process I/O: " in e.value.details() and text in e.value.details().replace("No such", "no such")


def test_a_client_may_come_and_go(task, containerd):
    """Output waits in the fifo while nobody reads, and a second reader goes on where the first has left."""
    for n in ("in", "out"):
        os.mkfifo(containerd.dir / n)
    t = task("come", ["/bin/sh", "-c", "while read x; do echo got $x; done; echo end"], stdin=str(containerd.dir / "in"),
             stdout=str(containerd.dir / "out"))
    t.start()
    for i in range(3):
        with open(containerd.dir / "in", "w") as w:
            w.write(f"{i}\n")
        with open(containerd.dir / "out") as r:
            assert r.readline() == f"got {i}\n"
    t.t.CloseIO(t.pbt.CloseIORequest(container_id="come", stdin=True))
    assert t.wait() == 0
    fd = os.open(containerd.dir / "out", os.O_RDONLY | os.O_NONBLOCK)
    t.delete()
    assert os.read(fd, 100) == b"end\n"
    os.close(fd)


def test_a_reader_that_does_not_read_stops_only_its_own_container(task, containerd):
    os.mkfifo(containerd.dir / "full")
    t = task("full", ["/bin/sh", "-c", "seq 1 1000000; exit 6"], stdout=str(containerd.dir / "full"))
    t.start()
    shim = next(s for s in containerd.shims() if b"full" in open(f"/proc/{s}/cmdline", "rb").read().split(b"\0"))
    ticks = int(open(f"/proc/{shim}/stat").read().split()[13])
    time.sleep(0.5)
    assert t.status().status == 2
    assert int(open(f"/proc/{shim}/stat").read().split()[13]) - ticks < 20, "the shim spins"
    with open(containerd.dir / "full") as r:
        first = r.readline()
        assert first == "1\n"
        fd = r.fileno()
        rest = 0
        while rest < 6888894:
            rest += len(os.read(fd, 65536)) if not r.buffer.peek(1) else len(r.buffer.read1(65536))
            if t.status().status == 3 and not r.buffer.peek(1):
                break
    assert t.wait() == 6


def test_another_runtime_binary(task, containerd):
    """The binary is what the options name: here a wrapper that leaves a trace."""
    wrapper, trace = containerd.dir / "myrunc", containerd.dir / "trace"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {trace}\nexec runc "$@"\n')
    wrapper.chmod(0o755)
    t = task("wrapped", ["sleep", "1000"], options=pb("containerd/runc/v1/options").Options(binary_name=str(wrapper)))
    assert json.loads((containerd.bundle("wrapped") / "options.json").read_text()) == {"binary_name": str(wrapper)}
    t.start()
    t.kill(9)
    t.wait()
    t.delete()
    verbs = [l.split("--log-format json ")[1].split()[0] for l in trace.read_text().splitlines()]
    assert verbs[:3] == ["create", "start", "kill"] and "delete" in verbs


def test_a_runtime_binary_that_is_not_there(task):
    with pytest.raises(grpc.RpcError) as e:
        task("nobin", ["true"], options=pb("containerd/runc/v1/options").Options(binary_name="no-such-runtime"))
    assert "OCI runtime create failed: " in e.value.details()
    assert 'exec: "no-such-runtime": executable file not found in $PATH' in e.value.details()


def test_without_a_pid_namespace_everything_ends_with_init(task):
    def host_pid(doc):
        doc["linux"]["namespaces"] = [n for n in doc["linux"]["namespaces"] if n["type"] != "pid"]
    t = task("hostpid", ["/bin/sh", "-c", "sleep 1000 & sleep 1001 & wait"], mutate=host_pid)
    t.start()
    pids = eventually("children", lambda: (p := lighter.children_of(t.pid)) and len(p) == 2 and p)
    t.exec("side", ["sleep", "1002"])
    pids.append(t.start("side"))
    t.kill()
    assert t.wait() == 137
    eventually("all gone", lambda: not any(lighter.alive(p) for p in pids))


def test_the_end_is_told_when_the_rest_is_gone(task, containerd):
    """Without a pid namespace the shim has the others killed: who waits for init hears of its end after that."""
    def host_pid(doc):
        doc["linux"]["namespaces"] = [n for n in doc["linux"]["namespaces"] if n["type"] != "pid"]
    slow = containerd.dir / "slowrunc"
    slow.write_text('#!/bin/sh\ncase "$*" in *"kill --all"*) sleep 0.3 ;; esac\nexec runc "$@"\n')
    slow.chmod(0o755)
    t = task("hostpid2", ["/bin/sh", "-c", "sleep 1000 & wait"], mutate=host_pid,
             options=pb("containerd/runc/v1/options").Options(binary_name=str(slow)))
    t.start()
    child, = eventually("a child", lambda: lighter.children_of(t.pid))
    os.kill(t.pid, signal.SIGKILL)
    assert t.wait() == 137
    assert not lighter.alive(child)


# ------------------------------------------------------------------------------------------------------ alone, by ttrpc
class Ttrpc:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(10)
        self.s.connect(path)
        self.stream = -1

    def read(self):
        head = b""
        while len(head) < 10:
            got = self.s.recv(10 - len(head))
            if not got:
                return None
            head += got
        n, stream, kind, flags = struct.unpack(">IIBB", head)
        data = b""
        while len(data) < n:
            data += self.s.recv(n - len(data))
        return stream, pb("ttrpc/request").Response.FromString(data)

    def send(self, method, req=b"", service="containerd.task.v3.Task"):
        self.stream += 2
        body = pb("ttrpc/request").Request(service=service, method=method, payload=req).SerializeToString()
        self.s.sendall(struct.pack(">IIBB", len(body), self.stream, 1, 0) + body)

    def call(self, method, req=b"", service="containerd.task.v3.Task"):
        self.send(method, req, service)
        return self.read()[1]


@pytest.fixture
def bundle(tmp_path):
    b = tmp_path / "b1"
    b.mkdir()
    (b / "config.json").write_text('{"ociVersion":"1.0.2"}')
    return b


def start_shim(bundle, stdin, id="b1"):
    p = subprocess.run([SHIM, "-namespace", "t", "-address", str(bundle.parent / "none.sock"), "-publish-binary", "/x", "-id", id,
                        "start"], cwd=bundle, input=stdin, capture_output=True, timeout=20)
    return p


def stop_shim(path):
    c = Ttrpc(path)
    assert not c.call("Shutdown").HasField("status")
    eventually("the socket is gone", lambda: not os.path.exists(path))


def test_both_dialects_of_start(bundle):
    p = start_shim(bundle, b"")
    assert p.returncode == 0, p.stderr
    address = p.stdout.decode()
    assert address.startswith("unix:///run/containerd/s/") and (bundle / "address").read_text() == address
    path = address[7:]
    assert os.stat(path).st_mode & 0o777 == 0o600
    bootstrap = pb("containerd/runtime/bootstrap/v1/bootstrap")
    params = bootstrap.BootstrapParams(instance_id="b1", namespace="t", containerd_version="2.3.4", log_level=-4,
                                       containerd_ttrpc_address="/nowhere", containerd_grpc_address=str(bundle.parent / "none.sock"))
    p = start_shim(bundle, params.SerializeToString())  # joins the one that answers
    result = bootstrap.BootstrapResult.FromString(p.stdout)
    assert (result.version, result.address, result.protocol) == (3, address, "ttrpc")
    stop_shim(path)
    params.socket_dir = str(bundle.parent)[:42] if len(str(bundle.parent)) <= 42 else "/run/containerd/s2"
    p = start_shim(bundle, params.SerializeToString())
    result = bootstrap.BootstrapResult.FromString(p.stdout)
    assert result.address.startswith("unix://" + params.socket_dir + "/")
    assert os.readlink(bundle / "s") == params.socket_dir
    stop_shim(result.address[7:])


def test_no_abstract_sockets_and_no_strangers(bundle):
    path = start_shim(bundle, b"").stdout.decode()[7:]
    try:
        assert not [l for l in open("/proc/net/unix") if "@" in l and "containerd-shim" in l]
        # another group of the same user is refused as well, and without a word
        code = f"""
import os, socket
os.setgid(12345)
s = socket.socket(socket.AF_UNIX); s.connect({path!r}); s.settimeout(5)
try:
    s.sendall(b"x"); assert s.recv(1) == b""
except (ConnectionResetError, BrokenPipeError):
    pass
"""
        subprocess.run(["/usr/bin/python3", "-c", code], check=True, timeout=20)
    finally:
        stop_shim(path)


def test_hostile_bytes(bundle):
    path = start_shim(bundle, b"").stdout.decode()[7:]
    try:
        good = Ttrpc(path)
        for junk in (b"\0" * 9, os.urandom(4096), b"GET / HTTP/1.1\r\n\r\n", struct.pack(">IIBB", 0x7fffffff, 1, 1, 0) + b"x" * 100000,
                     struct.pack(">IIBB", 5, 1, 1, 0) + b"\xff" * 5, struct.pack(">IIBB", 100, 1, 1, 0) + b"half"):
            s = socket.socket(socket.AF_UNIX)
            s.connect(path)
            s.sendall(junk)
            s.close()
        task = pb("containerd/task/v3/task")
        for method, request, code in (("State", task.StateRequest(id="x"), 5), ("Nope", task.StateRequest(), 12),
                                      ("Create", task.CreateTaskRequest(id="../../x", bundle=str(bundle)), 3),
                                      ("Create", task.CreateTaskRequest(id="x", bundle="relative"), 3),
                                      ("Create", task.CreateTaskRequest(id="x", bundle="/nonexistent"), 5),
                                      ("Exec", task.ExecProcessRequest(id="x"), 5), ("Checkpoint", task.CheckpointTaskRequest(), 5)):
            r = good.call(method, request.SerializeToString())
            assert r.status.code == code, (method, r)
        r = good.call("State", b"\xff\xff\xff")
        assert r.status.code == 13 and r.status.message.startswith("ttrpc: error unmarshalling payload: ")
        for service in ("containerd.task.v2.Task", "containerd.task.v3.Task"):
            r = task.ConnectResponse.FromString(good.call("Connect", task.ConnectRequest(id="b1").SerializeToString(), service).payload)
            assert lighter.alive(r.shim_pid) and r.task_pid == 0
        assert good.call("State", b"", "containerd.task.v1.Task").status.message == "service containerd.task.v1.Task"
    finally:
        stop_shim(path)


def test_a_client_that_leaves_in_the_midst_of_its_calls(bundle, rootfs):
    """What it has begun is done to the end, with the request that it sent."""
    doc = json.loads(subprocess.run(["runc", "spec"], cwd=bundle.parent, check=True) and (bundle.parent / "config.json").read_text())
    doc["process"].update(args=["/bin/sleep", "1000"], terminal=False)
    doc["linux"]["cgroupsPath"] = "/lighter-test/leaves"
    (bundle / "config.json").write_text(json.dumps(doc))
    (bundle / "rootfs").mkdir()
    path = start_shim(bundle, b"", "leaves").stdout.decode()[7:]
    task = pb("containerd/task/v3/task")
    try:
        mount = pb("containerd/types/types").Mount(type="bind", source=str(rootfs), options=["rbind", "rw"])
        request = task.CreateTaskRequest(id="leaves", bundle=str(bundle), rootfs=[mount]).SerializeToString()
        other = Ttrpc(path)
        connect = task.ConnectRequest(id="leaves").SerializeToString()
        pid = task.ConnectResponse.FromString(other.call("Connect", connect).payload).shim_pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
        c = Ttrpc(path)
        c.send("Create", request)
        eventually("the container is being made", lambda: children.read_text().strip())
        c.send("Update", task.UpdateTaskRequest(id="leaves", annotations={"x": "y" * 100000}).SerializeToString())
        c.s.close()
        assert not other.call("Pids", task.PidsRequest(id="leaves").SerializeToString()).HasField("status")  # waits for both
        assert task.ConnectResponse.FromString(other.call("Connect", connect).payload).task_pid
        assert not other.call("Delete", task.DeleteRequest(id="leaves").SerializeToString()).HasField("status")
    finally:
        stop_shim(path)
        subprocess.run(["umount", "-l", bundle / "rootfs"], check=False, capture_output=True)


def test_delete_may_be_repeated(bundle):
    for _ in range(2):
        p = subprocess.run([SHIM, "-namespace", "t", "-address", "/x", "-publish-binary", "/x", "-id", "b1", "-bundle", bundle, "delete"],
                           cwd=bundle, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
        assert p.returncode == 0, p.stderr
        r = pb("containerd/task/v3/task").DeleteResponse.FromString(p.stdout)
        assert (r.pid, r.exit_status) == (0, 137) and abs(r.exited_at.seconds - time.time()) < 60


def test_flags():
    p = subprocess.run([SHIM, "-v"], capture_output=True, text=True)
    assert p.returncode == 0 and "Version:" in p.stdout
    p = subprocess.run([SHIM, "-id", "x", "start"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert p.returncode == 1 and "namespace cannot be empty" in p.stderr
    p = subprocess.run([SHIM, "-namespace", "x", "dance"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert p.returncode == 1 and "unknown action" in p.stderr
    p = subprocess.run([SHIM, "-info"], capture_output=True, stdin=subprocess.DEVNULL)
    info = pb("containerd/types/types").RuntimeInfo.FromString(p.stdout)
    assert info.name == RUNTIME and info.version.version
    if info.HasField("features"):
        assert json.loads(info.features.value)["ociVersionMin"]
