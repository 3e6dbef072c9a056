# SPDX-License-Identifier: Apache-2.0
"""Docker's dockerd 20.10 on our socket: it keeps images and layers itself and has containerd run its containers, whose
ends it learns from events. The daemon, its folders and its network are the test's own."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

import lighter

DOCKERD, DOCKER = "/usr/sbin/dockerd", "/usr/bin/docker"

pytestmark = pytest.mark.skipif(not (os.path.exists(DOCKERD) and os.path.exists(DOCKER)),
                                reason="dockerd is not installed (Debian package docker.io)")


class Docker:
    """A dockerd whose containerd is lighterd, with folders and a socket of its own and no network."""

    def __init__(self, daemon=None):
        self.daemon = daemon  # None: dockerd starts the "containerd" of PATH, which is ours
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="lt-docker-"))
        self.process = None
        self.host = f"unix://{self.dir}/docker.sock"

    def start(self, *flags):
        (self.dir / "config.json").write_text("{}")
        path = os.environ["PATH"]
        if self.daemon:
            flags = ("--containerd", self.daemon.address, *flags)
        else:
            (self.dir / "bin").mkdir()
            (self.dir / "bin/containerd").symlink_to(lighter.BUILD / "lighterd")
            path = f"{self.dir}/bin:{path}"
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(
                [DOCKERD, "--data-root", self.dir / "data", "--exec-root", self.dir / "exec",
                 "-p", self.dir / "pid", "-H", self.host, "--config-file", self.dir / "config.json", "--bridge=none",
                 "--iptables=false", "--ip-masq=false", "--debug", *flags], stdout=log, stderr=log, env=dict(os.environ, PATH=path))

        def ready():
            assert self.process.poll() is None, f"dockerd ended:\n{self.log()[-3000:]}"
            return self.run("version", check=False).returncode == 0
        lighter.eventually("dockerd answering", ready, 30)
        return self

    def log(self):
        return (self.dir / "log").read_text(errors="replace")

    def run(self, *args, **kw):
        return lighter.run([DOCKER, "-H", self.host, *args], **kw)

    def out(self, *args, **kw):
        return self.run(*args, **kw).stdout.strip()

    def inspect(self, name, what):
        return self.out("inspect", "-f", "{{" + what + "}}", name)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def cleanup(self):
        with contextlib.suppress(Exception):
            left = self.out("ps", "-aq", check=False).split()
            if left:
                self.run("rm", "-f", *left, check=False)
        self.stop()
        mounts = [l.split()[1] for l in open("/proc/mounts") if str(self.dir) in l.split()[1]]
        for m in reversed(mounts):
            subprocess.run(["umount", "-l", m], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


def docker_archive(path):
    """What `docker save` writes: busybox as "box"."""
    with tempfile.TemporaryDirectory() as d:
        layer = lighter.tar_of(lighter.busybox_rootfs(d))
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
                         "rootfs": {"type": "layers", "diff_ids": [lighter.sha256(layer)]}, "history": [{}]}).encode()
    name = lighter.sha256(config)[7:] + ".json"
    import io
    import tarfile
    with tarfile.open(path, "w") as tar:
        for n, data in (("l/layer.tar", layer), (name, config), ("manifest.json", json.dumps(
                [{"Config": name, "RepoTags": ["box:latest"], "Layers": ["l/layer.tar"]}]).encode())):
            info = tarfile.TarInfo(n)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def docker(shared_daemon, tmp_path_factory):
    d = Docker(shared_daemon)
    try:
        d.start()
        d.run("load", "-i", docker_archive(tmp_path_factory.mktemp("image") / "box.tar"))
        yield d
    finally:
        d.cleanup()


@pytest.fixture
def sleeper(docker):
    """A running container."""
    name = docker.out("run", "-d", "box", "sleep", "1000")
    yield name
    docker.run("rm", "-f", name)


def test_run_in_the_foreground(docker):
    assert docker.out("run", "--rm", "box", "echo", "hello") == "hello"
    assert docker.run("run", "--rm", "box", "sh", "-c", "echo out; echo err >&2; exit 7", check=False).returncode == 7
    assert docker.out("run", "--rm", "-i", "box", "wc", "-c", stdin="12345") == "5"
    assert docker.out("run", "--rm", "--network", "host", "box", "cat", "/proc/sys/kernel/hostname") == os.uname().nodename
    assert docker.run("run", "--rm", "box", "/none", check=False).returncode == 127
    # nothing stays behind at our side
    assert docker.daemon.ctr("-n", "moby", "c", "ls", "-q").stdout == ""
    assert docker.daemon.ctr("-n", "moby", "t", "ls", "-q").stdout == ""


def test_run_with_a_terminal(docker):
    t = lighter.Terminal([DOCKER, "-H", docker.host, "run", "--rm", "-ti", "box", "sh"], rows=30, cols=100)
    t.read_until("#")
    t.send("stty size; echo a$((20+3))b\n")
    t.read_until("a23b")
    assert "30 100" in t.seen
    t.send("exit 4\n")
    assert t.wait() == 4


def test_options_of_run(docker, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "f").write_text("from outside\n")
    got = docker.out("run", "--rm", "--init", "--read-only", "-v", f"{tmp_path}:/v", "-u", "1000:1000", "-e", "A=b", "-w", "/v",
                     "--hostname", "boat", "--ulimit", "nofile=500:600", "box", "sh", "-c",
                     "cat f; id -u; echo $A; pwd; hostname; ulimit -n; touch /x 2>/dev/null || echo read-only")
    assert got == "from outside\n1000\nb\n/v\nboat\n500\nread-only"


def test_detached_with_logs_wait_and_events(docker):
    since = int(time.time()) - 1
    name = docker.out("run", "-d", "--name", "d1", "box", "sh", "-c", "echo one; sleep 0.3; echo two >&2; exit 3")
    assert docker.out("wait", "d1") == "3"
    logs = docker.run("logs", "d1")
    assert (logs.stdout, logs.stderr) == ("one\n", "two\n")
    assert docker.inspect("d1", ".State.ExitCode") == "3" and docker.inspect("d1", ".State.Status") == "exited"
    docker.run("start", "d1")
    assert docker.out("wait", "d1") == "3"
    docker.run("rm", "d1")
    events = docker.out("events", "--since", str(since), "--until", str(int(time.time()) + 1), "--filter",
                        "container=" + name, "--format", "{{.Action}}").split("\n")
    assert [e for e in events if e != "attach"] == ["create", "start", "die", "start", "die", "destroy"]


def test_exec(docker, sleeper):
    assert docker.out("exec", sleeper, "echo", "in") == "in"
    assert docker.run("exec", sleeper, "sh", "-c", "exit 9", check=False).returncode == 9
    assert docker.out("exec", "-i", "-e", "X=y", "-w", "/tmp", sleeper, "sh", "-c", "cat; echo $X; pwd", stdin="text\n") == \
        "text\ny\n/tmp"
    assert docker.run("exec", sleeper, "/none", check=False).returncode in (126, 127)
    docker.run("exec", "-d", sleeper, "touch", "/made")
    lighter.eventually("the detached exec", lambda: docker.run("exec", sleeper, "test", "-e", "/made", check=False).returncode == 0)
    t = lighter.Terminal([DOCKER, "-H", docker.host, "exec", "-ti", sleeper, "sh"])
    t.read_until("#")
    t.send("exit 6\n")
    assert t.wait() == 6


def test_ps_top_stats_and_update(docker, sleeper):
    assert sleeper[:12] in docker.out("ps", "-q")
    assert "sleep 1000" in docker.out("top", sleeper)
    assert "/" in docker.out("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", sleeper)
    docker.run("update", "--memory", "64m", "--memory-swap", "64m", "--cpu-shares", "512", sleeper)
    stats = docker.out("stats", "--no-stream", "--format", "{{.MemUsage}}", sleeper)
    assert stats.endswith("/ 64MiB"), stats


def test_pause_and_unpause(docker, sleeper):
    docker.run("pause", sleeper)
    assert docker.inspect(sleeper, ".State.Status") == "paused"
    docker.run("unpause", sleeper)
    assert docker.inspect(sleeper, ".State.Status") == "running"
    assert docker.out("exec", sleeper, "echo", "on") == "on"


def test_kill_stop_and_restart(docker):
    docker.run("run", "-d", "--name", "k1", "box", "sh", "-c", "trap 'echo hup' HUP; while :; do sleep 0.1; done")
    docker.run("kill", "-s", "HUP", "k1")
    lighter.eventually("the signal", lambda: "hup" in docker.out("logs", "k1"))
    docker.run("restart", "-t", "0", "k1")
    assert docker.inspect("k1", ".State.Running") == "true"
    docker.run("stop", "-t", "1", "k1")
    assert docker.inspect("k1", ".State.ExitCode") == "137"
    docker.run("start", "k1")
    docker.run("kill", "k1")
    assert docker.out("wait", "k1") == "137"
    docker.run("rm", "k1")


def test_restart_policies(docker):
    docker.run("run", "-d", "--name", "r1", "--restart", "on-failure:2", "box", "sh", "-c", "exit 5")
    lighter.eventually("two restarts", lambda: (docker.inspect("r1", ".RestartCount"), docker.inspect("r1", ".State.Status")) ==
                       ("2", "exited"), 20)
    assert docker.inspect("r1", ".State.ExitCode") == "5"
    docker.run("run", "-d", "--name", "r2", "--restart", "always", "box", "sleep", "1000")
    pid = int(docker.inspect("r2", ".State.Pid"))
    os.kill(pid, signal.SIGKILL)
    lighter.eventually("a restart", lambda: docker.inspect("r2", ".State.Pid") not in ("0", str(pid)), 20)
    docker.run("rm", "-f", "r1", "r2")


def test_out_of_memory_is_told(docker):
    name = docker.out("run", "-d", "-m", "8m", "--memory-swap", "8m", "box", "sh", "-c",
                      "tail /dev/zero")
    assert docker.out("wait", name) == "137"
    lighter.eventually("OOMKilled", lambda: docker.inspect(name, ".State.OOMKilled") == "true")
    docker.run("rm", name)


def test_commit_and_copy(docker, tmp_path):
    docker.run("run", "--name", "c1", "box", "sh", "-c", "echo data > /file")
    docker.run("cp", "c1:/file", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "data\n"
    docker.run("commit", "c1", "box2")
    assert docker.out("run", "--rm", "box2", "cat", "/file") == "data"
    docker.run("rm", "c1")
    docker.run("rmi", "box2")


def test_our_daemon_is_restarted_under_it(docker):
    name = docker.out("run", "-d", "box", "sleep", "1000")
    docker.daemon.restart()
    lighter.eventually("exec", lambda: docker.run("exec", name, "true", check=False).returncode == 0, 30)
    docker.run("kill", name)
    assert docker.out("wait", name) == "137"
    docker.run("rm", name)


def test_killed_with_containers_running(daemon, tmp_path):
    """live-restore: dockerd comes back and finds what it had, also what ended meanwhile."""
    d = Docker(daemon)
    try:
        d.start("--live-restore")
        d.run("load", "-i", docker_archive(tmp_path / "box.tar"))
        stays = d.out("run", "-d", "box", "sleep", "1000")
        ends = d.out("run", "-d", "box", "sh", "-c", "while [ ! -e /stop ]; do sleep 0.1; done; exit 8")
        pid = d.inspect(ends, ".State.Pid")
        d.process.kill()
        d.process.wait()
        pathlib.Path(f"/proc/{pid}/root/stop").touch()
        lighter.eventually("its end", lambda: not lighter.alive(pid))
        d.start("--live-restore")
        assert d.inspect(stays, ".State.Status") == "running" and d.out("exec", stays, "echo", "on") == "on"
        assert d.inspect(ends, ".State.Status") == "exited" and d.inspect(ends, ".State.ExitCode") == "8"
    finally:
        d.cleanup()


def test_it_starts_us_itself(tmp_path):
    """Without --containerd dockerd writes a configuration of the oldest form and runs `containerd --config F`."""
    d = Docker()
    try:
        d.start()
        d.run("load", "-i", docker_archive(tmp_path / "box.tar"))
        assert d.out("run", "--rm", "box", "echo", "hello") == "hello"
        assert pathlib.Path(d.dir / "exec/containerd/containerd.pid").exists()
        assert "+lighter" in d.out("version", "-f", "{{range .Server.Components}}{{.Version}} {{end}}")
    finally:
        d.cleanup()
