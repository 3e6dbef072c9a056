# SPDX-License-Identifier: Apache-2.0
"""Debian's unmodified ctr: what a person types against containerd works here, with the same output."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

import lighter
from lighter import IMAGE, Terminal, eventually


@pytest.fixture(scope="module")
def d(shared_daemon, image):
    shared_daemon.ctr("image", "import", image)
    return shared_daemon


@pytest.fixture
def task(d, request):
    """A running container named after the test."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    d.ctr("run", "-d", "--null-io", IMAGE, name, "sleep", "1000")
    yield name
    d.ctr("task", "kill", "-s", "KILL", name, check=False)
    d.ctr("task", "rm", "-f", name, check=False)
    d.ctr("container", "rm", name, check=False)


def rows(text):
    return [l.split() for l in text.splitlines()[1:]]


def status(d, name):
    return next((r[2] for r in rows(d.ctr("task", "ls").stdout) if r[0] == name), None)


def test_version(d):
    out = d.ctr("version").stdout
    server = out[out.index("Server:"):]
    assert re.search(r"Version:\s+\S+", server) and re.search(r"UUID: [0-9a-f-]{36}", server)


def test_plugins(d):
    out = d.ctr("plugins", "ls").stdout
    for line in ("io.containerd.content.v1 +content", "io.containerd.snapshotter.v1 +overlayfs", "io.containerd.snapshotter.v1 +native",
                 "io.containerd.metadata.v1 +bolt", "io.containerd.grpc.v1 +tasks"):
        assert re.search(line + r" .*\bok\s*$", out, re.M), line
    assert "error" not in out
    assert "io.containerd.metadata.v1" in d.ctr("plugins", "ls", "-d").stdout


def test_namespaces(d):
    d.ctr("namespaces", "create", "one", "a=b")
    assert ["one", "a=b"] in rows(d.ctr("namespaces", "ls").stdout)
    assert "already exists" in d.ctr("namespaces", "create", "one", check=False).stderr
    d.ctr("namespaces", "label", "one", "c=d")
    assert ["one", "a=b,c=d"] in rows(d.ctr("namespaces", "ls").stdout)
    d.ctr("namespaces", "rm", "one")
    assert "one" not in d.ctr("namespaces", "ls", "-q").stdout
    p = d.ctr("namespaces", "create", "../x", check=False)
    assert p.returncode == 1 and "must match" in p.stderr


def test_namespace_in_use_is_not_removed(d):
    p = d.ctr("namespaces", "rm", "default", check=False)
    assert p.returncode == 1
    assert 'namespace "default" must be empty, but it still has images, blobs' in p.stderr


def test_images(d):
    out = d.ctr("images", "ls").stdout
    row = next(r for r in rows(out) if r[0] == IMAGE)
    assert row[1] == "application/vnd.oci.image.manifest.v1+json" and row[2].startswith("sha256:")
    assert "linux/amd64" in row
    d.ctr("images", "tag", IMAGE, "docker.io/library/copy:1")
    assert "already exists" in d.ctr("images", "tag", IMAGE, "docker.io/library/copy:1", check=False).stderr
    assert d.ctr("images", "label", "docker.io/library/copy:1", "k=v").stdout.strip().endswith("k=v")
    assert "docker.io/library/copy:1" in d.ctr("images", "ls", "-q", "name==docker.io/library/copy:1").stdout
    assert re.search(r"complete \(2/2\)", d.ctr("images", "check").stdout)
    d.ctr("images", "rm", "docker.io/library/copy:1")
    assert "copy" not in d.ctr("images", "ls", "-q").stdout
    p = d.ctr("images", "rm", "docker.io/library/none:1", check=False)
    assert "not found" in p.stderr


def test_run_passes_the_exit_status_on(d):
    p = d.ctr("run", "--rm", IMAGE, "fg", "sh", "-c", "echo out; echo err >&2; exit 42", check=False)
    assert (p.returncode, p.stdout, p.stderr) == (42, "out\n", "err\n")
    assert d.ctr("container", "ls", "-q").stdout.split().count("fg") == 0


def test_run_env_cwd(d):
    out = d.ctr("run", "--rm", "--env", "A=b", "--cwd", "/tmp", IMAGE, "env", "sh", "-c", "echo $A $PWD").stdout
    assert out == "b /tmp\n"


def test_run_as_the_user_of_the_image(d, tmp_path):
    layer = lighter.tar_of(lighter.busybox_rootfs(tmp_path / "rootfs"))
    name = "docker.io/library/user:latest"
    lighter.oci_archive(tmp_path / "user.tar", [layer], name, config={"User": "worker", "Env": ["PATH=/bin", "IN=image"]})
    d.ctr("image", "import", tmp_path / "user.tar")
    out = d.ctr("run", "--rm", "--env", "IN=flag", name, "user", "sh", "-c", "id -u; id -g; id -G; echo $IN").stdout.split()
    assert out == ["1000", "1000", "1000", "2000", "flag"]
    d.ctr("image", "rm", name)


def test_run_mounts(d, tmp_path):
    (tmp_path / "file").write_text("from outside\n")
    out = d.ctr("run", "--rm", "--mount", f"type=bind,src={tmp_path},dst=/data,options=rbind:ro", IMAGE, "mounts",
                "sh", "-c", "cat /data/file; touch /data/x 2>/dev/null || echo read-only").stdout
    assert out == "from outside\nread-only\n"


def test_run_read_only_and_net_host(d):
    assert d.ctr("run", "--rm", "--read-only", IMAGE, "ro", "sh", "-c", "touch /x 2>/dev/null || echo no").stdout == "no\n"
    inside = d.ctr("run", "--rm", "--net-host", IMAGE, "net", "readlink", "/proc/self/ns/net").stdout.strip()
    assert inside == os.readlink("/proc/self/ns/net")


def test_memory_limit_is_in_the_cgroup(d):
    d.ctr("run", "-d", "--null-io", "--memory-limit", str(64 << 20), IMAGE, "limited", "sleep", "1000")
    try:
        out = d.ctr("task", "metrics", "limited").stdout
        assert re.search(r"memory\.(limit_in_bytes|usage_limit)\s+67108864", out), out
    finally:
        d.ctr("task", "kill", "-s", "KILL", "limited")
        d.ctr("task", "rm", "-f", "limited", check=False)
        d.ctr("container", "rm", "limited", check=False)


def test_run_stdin(d):
    p = subprocess.Popen(["ctr", "--address", d.address, "run", "--rm", IMAGE, "stdin", "cat"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    eventually("running", lambda: status(d, "stdin") == "RUNNING")
    out, _ = p.communicate("hello\n" * 5000, timeout=20)
    assert p.returncode == 0 and out == "hello\n" * 5000


def test_run_on_a_terminal(d):
    t = Terminal(["ctr", "--address", d.address, "run", "--rm", "-t", IMAGE, "tty", "sh"], rows=33, cols=101)
    t.read_until("#")
    t.send("stty size; tty; exit 5\n")
    t.read_until("33 101")
    t.read_until("/dev/pts/0")
    assert t.wait() == 5


def test_run_twice_is_refused(d, task):
    p = d.ctr("run", "-d", "--null-io", IMAGE, task, "true", check=False)
    assert p.returncode == 1 and "already exists" in p.stderr


def test_run_what_is_not_there(d):
    p = d.ctr("run", "--rm", IMAGE, "bad", "/nonexistent", check=False)
    assert p.returncode == 1
    assert "OCI runtime create failed" in p.stderr and "/nonexistent" in p.stderr
    assert "bad" not in d.ctr("task", "ls", "-q").stdout.split() and "bad" not in d.ctr("container", "ls", "-q").stdout.split()


def test_detached_is_listed_until_removed(d):
    d.ctr("run", "-d", "--null-io", IMAGE, "short", "true")
    eventually("stopped", lambda: status(d, "short") == "STOPPED")
    d.ctr("task", "rm", "short")
    assert status(d, "short") is None
    d.ctr("container", "rm", "short")


def test_exec(d, task):
    p = d.ctr("task", "exec", "--exec-id", "e1", task, "sh", "-c", "echo in $0; exit 9", "x", check=False)
    assert (p.returncode, p.stdout) == (9, "in x\n")
    p = d.ctr("task", "exec", "--exec-id", "e2", "--user", "1000", "--cwd", "/tmp", task, "sh", "-c", "id -u; pwd")
    assert p.stdout == "1000\n/tmp\n"
    p = d.ctr("task", "exec", "--exec-id", "e3", task, "/nonexistent", check=False)
    assert p.returncode == 1 and "OCI runtime exec failed" in p.stderr
    p = d.ctr("task", "exec", "--exec-id", "e4", "nobody", "true", check=False)
    assert p.returncode == 1 and "not found" in p.stderr
    t = Terminal(["ctr", "--address", d.address, "task", "exec", "--exec-id", "e5", "-t", task, "sh"], rows=20, cols=70)
    t.read_until("#")
    t.send("stty size; exit 3\n")
    t.read_until("20 70")
    assert t.wait() == 3


def test_pids(d, task):
    d.ctr("task", "exec", "-d", "--exec-id", "e1", task, "sleep", "999")
    lines = rows(d.ctr("task", "ps", task).stdout)
    assert len(lines) == 2 and lines[0][1] == "-" and "ExecID:e1" in " ".join(lines[1])


def test_pause_resume(d, task):
    d.ctr("task", "pause", task)
    assert status(d, task) == "PAUSED"
    p = d.ctr("task", "exec", "--exec-id", "p", task, "true", check=False)
    assert "cannot exec in a paused state" in p.stderr
    assert "cannot pause a paused container" in d.ctr("task", "pause", task, check=False).stderr
    d.ctr("task", "resume", task)
    assert status(d, task) == "RUNNING"


def test_metrics(d, task):
    out = d.ctr("task", "metrics", task).stdout
    pids = re.search(r"pids\.current\s+(\d+)", out)
    assert pids and int(pids[1]) >= 1
    assert re.search(r"memory\.\S+\s+\d+", out) and re.search(r"cpu\S*\.usage\S*\s+\d+", out)


def test_kill(d, task):
    p = d.ctr("task", "rm", task, check=False)
    assert p.returncode != 0 or "must be stopped" in p.stderr
    assert status(d, task) == "RUNNING"
    d.ctr("task", "kill", "-s", "KILL", task)
    eventually("stopped", lambda: status(d, task) == "STOPPED")
    assert "process already finished" in d.ctr("task", "kill", "-s", "KILL", task, check=False).stderr
    assert "exit with non-zero exit code 137" in d.ctr("task", "rm", task).stderr


def test_signals_are_forwarded(d):
    p = subprocess.Popen(["ctr", "--address", d.address, "run", "--rm", IMAGE, "signals", "sh", "-c",
                          "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"], stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "ready\n"
    time.sleep(0.5)  # ctr begins to forward after Start has returned, which the container's first line may precede
    p.send_signal(signal.SIGTERM)
    assert p.wait(15) == 7


def test_container_records(d, task):
    info = json.loads(d.ctr("container", "info", task).stdout)
    assert info["ID"] == task and info["Image"] == IMAGE and info["SnapshotKey"] == task
    assert info["Spec"]["process"]["args"] == ["sleep", "1000"]
    assert info["Runtime"]["Name"] == "io.containerd.runc.v2"
    assert "x=y" in d.ctr("container", "label", task, "x=y").stdout
    assert task in d.ctr("container", "ls", "-q", 'labels.x==y').stdout
    assert "cannot delete a non stopped container" in d.ctr("container", "rm", task, check=False).stderr


def test_bad_ids(d):
    for bad in ("../escape", "a/b", "x" * 77, "-dash", "a..b"):
        p = d.ctr("container", "create", IMAGE, "--", bad, check=False) if bad.startswith("-") else \
            d.ctr("container", "create", IMAGE, bad, check=False)
        assert p.returncode == 1, bad
    assert not (d.dir / "escape").exists()


def test_content(d, tmp_path):
    listed = rows(d.ctr("content", "ls").stdout)
    assert len(listed) >= 3 and all(r[0].startswith("sha256:") for r in listed)
    blob = b"some bytes\n" * 1000
    digest = lighter.sha256(blob)
    got = subprocess.run(["ctr", "--address", d.address, "content", "ingest", "--expected-size", str(len(blob)),
                          "--expected-digest", digest, "test-ref"], input=blob, capture_output=True)
    assert got.returncode == 0, got.stderr
    out = subprocess.run(["ctr", "--address", d.address, "content", "get", digest], capture_output=True)
    assert out.stdout == blob
    wrong = subprocess.run(["ctr", "--address", d.address, "content", "ingest", "--expected-digest", lighter.sha256(b"x"), "bad-ref"],
                           input=blob, capture_output=True, text=False)
    assert wrong.returncode == 1 and b"unexpected commit digest" in wrong.stderr
    assert "not found" in d.ctr("content", "get", lighter.sha256(b"none"), check=False).stderr
    d.ctr("content", "rm", digest)
    assert digest not in d.ctr("content", "ls", "-q").stdout


def test_snapshots(d, task):
    listed = {r[0]: r for r in rows(d.ctr("snapshot", "ls").stdout)}
    assert listed[task][2] == "Active"
    parent = listed[task][1]
    assert listed[parent][-1] == "Committed"
    info = json.loads(d.ctr("snapshot", "info", task).stdout)
    assert info["Kind"] == "Active" and info["Parent"] == parent
    assert re.match(r"mount -t overlay overlay /mnt -o ", d.ctr("snapshot", "mounts", "/mnt", task).stdout)
    usage = rows(d.ctr("snapshot", "usage", parent).stdout)[0]
    assert usage[0] == parent and int(usage[-1]) > 100
    d.ctr("snapshot", "view", "a-view", parent)
    assert "cannot remove snapshot with child" in d.ctr("snapshot", "rm", parent, check=False).stderr
    d.ctr("snapshot", "rm", "a-view")
    assert "does not exist" in d.ctr("snapshot", "info", "none", check=False).stderr


def test_native_snapshotter(d):
    out = d.ctr("run", "--rm", "--snapshotter", "native", IMAGE, "native", "echo", "copied").stdout
    assert out == "copied\n"
    assert len(rows(d.ctr("snapshot", "--snapshotter", "native", "ls").stdout)) == 1


def test_leases(d):
    lease = d.ctr("leases", "create", "--id", "l1", "k=v").stdout.strip()
    assert lease == "l1"
    row = next(r for r in rows(d.ctr("leases", "ls").stdout) if r[0] == "l1")
    assert "k=v" in row[-1]
    assert "already exists" in d.ctr("leases", "create", "--id", "l1", check=False).stderr
    d.ctr("leases", "rm", "l1")
    assert "l1" not in d.ctr("leases", "ls").stdout


def test_events(d):
    p = subprocess.Popen(["ctr", "--address", d.address, "events"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    d.ctr("run", "--rm", IMAGE, "evented", "true")
    topics = []
    for line in p.stdout:
        fields = line.split()
        topic = next(f for f in fields if f.startswith("/"))
        if "evented" in line:
            topics.append(topic)
        if topic == "/containers/delete":
            break
    p.kill()
    want = ["/snapshot/prepare", "/containers/create", "/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete",
            "/containers/delete"]
    assert [t for t in topics if t in want] == want


def test_unknown_shim(d):
    p = d.ctr("run", "--rm", "--runtime", "io.containerd.nothing.v1", IMAGE, "shimless", "true", check=False)
    assert p.returncode == 1 and "containerd-shim-nothing-v1" in p.stderr
