# SPDX-License-Identifier: Apache-2.0
"""Every subcommand of ctr, 1.6 (Debian's) and 2.3 (built by `make clients`), against lighterd. A last test walks ctr's own
help and fails when a subcommand is neither covered by a test here nor among those that wait for something, with a reason.
2.3 pulls, pushes, imports, exports and tags with --local: without it ctr leaves them to the transfer service."""
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tarfile
import time

import pytest

import lighter
from gotools import newest_ctr
from registry import Registry

COVERED = set()
WAITS = {
    "tasks checkpoint": "needs criu, which does not run everywhere; test_checkpoint.py has a stand-in",
    "containers restore": "wants the spec that only a checkpoint of a task has in it: criu again",
    **{f"pprof {p}": "profiles of a Go program" for p in ("block", "goroutines", "heap", "profile", "threadcreate", "trace")},
    **{f"shim pprof {p}": "profiles of a Go program" for p in ("block", "goroutines", "heap", "profile", "threadcreate", "trace")},
}


def covers(*names):
    COVERED.update(names)
    return lambda test: test


class Ctr:
    def __init__(self, version, daemon):
        self.new = version != "1.6"
        self.exe = newest_ctr() if self.new else "ctr"
        self.daemon = daemon
        self.local = ["--local"] if self.new else []  # before 2.0 there was no other way

    def argv(self, *args):
        return [self.exe, "--address", self.daemon.address, *args]

    def run(self, *args, **kw):
        return lighter.run(self.argv(*args), **kw)

    def out(self, *args, **kw):
        return self.run(*args, **kw).stdout

    def fails(self, *args, **kw):
        p = self.run(*args, check=False, **kw)
        assert p.returncode != 0, p.stdout
        return p.stderr

    def image_digest(self):
        return next(l.split()[2] for l in self.out("images", "ls").splitlines() if l.startswith(lighter.IMAGE + " "))


@pytest.fixture(scope="module", params=["1.6", "ctr_2.3"])
def c(request, image):
    """One daemon for each ctr."""
    d = lighter.Daemon(f'version = 2\n[plugins."{lighter.GC}"]\nstartup_delay = "1h"\nmutation_threshold = 0\n'
                       'deletion_threshold = 1000000\n')
    try:
        ctr = Ctr(request.param, d)
        d.start()
        ctr.run("images", "import", *ctr.local, image)
        yield ctr
        assert d.stop() == 0
    finally:
        d.cleanup()


@pytest.fixture
def task(c, request):
    """A running container, named after the test."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")[:60]
    c.run("run", "-d", "--null-io", lighter.IMAGE, name, "sleep", "1000")
    yield name
    c.run("tasks", "rm", "-f", name, check=False)
    c.run("containers", "rm", name, check=False)


@pytest.fixture
def registry():
    r = Registry()
    r.name = f"127.0.0.1:{r.serve(('127.0.0.1', 0))}"
    yield r
    r.close()


@covers("version", "plugins list", "plugins inspect-runtime", "info", "deprecations list", "oci spec")
def test_about_the_daemon(c):
    assert "+lighter" in c.out("version")
    kinds = {tuple(l.split()[:2]) for l in c.out("plugins", "ls").splitlines()}
    assert ("io.containerd.snapshotter.v1", "overlayfs") in kinds and ("io.containerd.grpc.v1", "tasks") in kinds
    assert "Type:" in c.out("plugins", "ls", "-d") and "overlayfs" in c.out("plugins", "ls", "-q")
    spec = json.loads(c.out("oci", "spec"))
    assert spec["linux"]["cgroupsPath"]
    if c.new:
        assert json.loads(c.out("info"))["server"]["pid"] == c.daemon.pid
        c.run("deprecations", "list")
        assert json.loads(c.out("plugins", "inspect-runtime"))["Name"] == "io.containerd.lighter.v2"


@covers("namespaces create", "namespaces list", "namespaces label", "namespaces remove")
def test_namespaces(c):
    c.run("namespaces", "create", "n1", "a=b")
    c.run("namespaces", "label", "n1", "x=y", "a=")
    assert ["n1", "x=y"] in [l.split() for l in c.out("namespaces", "ls").splitlines()]
    assert "n1" in c.out("namespaces", "ls", "-q").split()
    assert c.out("namespaces", "rm", "n1") == "n1\n"
    assert "already exists" in c.fails("namespaces", "create", "default")
    assert "must be empty" in c.fails("namespaces", "rm", "default")


@covers("leases create", "leases list", "leases delete")
def test_leases(c):
    one = c.out("leases", "create", "--id", "l1", "-x", "1h", "a=b").strip()
    assert one == "l1" and "a=b" in c.out("leases", "ls")
    other = c.out("leases", "create", "-x", "0").strip()
    assert set(c.out("leases", "ls", "-q").split()) == {"l1", other}
    c.run("leases", "rm", "--sync", "l1", other)
    assert c.out("leases", "ls", "-q") == ""


@covers("images import", "images list", "images check", "images tag", "images label", "images delete", "images export",
        "images inspect", "images usage", "images mount", "images unmount", "images convert", "images prune")
def test_images(c, tmp_path, image):
    name, ref = lighter.IMAGE, "docker.io/library/other:1"
    row = next(l for l in c.out("images", "ls").splitlines() if l.startswith(name))
    assert "linux/amd64" in row and "MiB" in row
    check = c.out("images", "check")
    assert re.search(r"complete \(2/2\)", check) and "true" in check
    c.run("images", "tag", *c.local, name, ref)
    assert "already exists" in c.fails("images", "tag", *c.local, name, ref)
    c.run("images", "tag", *c.local, "--force", name, ref)
    assert set(c.out("images", "label", ref, "a=b", "c=d").strip().split(",")) == {"a=b", "c=d"}
    c.run("images", "export", *c.local, tmp_path / "out.tar", ref)
    assert {"index.json", "oci-layout", "manifest.json"} <= set(tarfile.open(tmp_path / "out.tar").getnames())
    assert c.out("images", "rm", "--sync", ref) == ref + "\n"
    c.run("images", "import", *c.local, tmp_path / "out.tar")
    assert ref in c.out("images", "ls", "-q").split()
    c.run("images", "convert", "--uncompress", "--oci", name, "docker.io/library/plain:1")
    assert c.out("run", "--rm", "docker.io/library/plain:1", "plain", "echo", "plain") == "plain\n"
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    c.run("images", "mount", name, mnt)
    try:
        assert (mnt / "bin/busybox").exists()
    finally:
        c.run("images", "unmount", "--rm", mnt)
    assert not os.path.ismount(mnt)
    if c.new:
        assert "application/vnd.oci.image.manifest" in c.out("images", "inspect", name)
        assert "KEY" in c.out("images", "usage", name)
        assert name in c.out("images", "ls", "-q")
        c.run("-n", "emptied", "images", "import", "--local", image)
        c.run("-n", "emptied", "images", "prune", "--all")
        assert c.out("-n", "emptied", "images", "ls", "-q") == ""
    c.run("images", "rm", ref, "docker.io/library/plain:1")


@covers("content list", "content get", "content ingest", "content label", "content edit", "content delete", "content active",
        "content prune references")
def test_content(c, tmp_path):
    digest = lighter.sha256(b"some bytes")
    c.run("content", "ingest", "--expected-size", "10", "--expected-digest", digest, "ref-1", stdin="some bytes")
    assert digest in c.out("content", "ls", "-q").split() and c.out("content", "get", digest) == "some bytes"
    assert c.out("content", "label", digest, "a=b").strip() == "a=b"
    assert "a=b" in c.out("content", "ls")
    (tmp_path / "more").write_text("more bytes")
    edited = c.out("content", "edit", digest, env=dict(os.environ, EDITOR=f"cp {tmp_path}/more")).strip()
    assert edited == lighter.sha256(b"more bytes")
    assert "REF" in c.out("content", "active")
    assert "unexpected commit digest" in c.fails("content", "ingest", "--expected-digest", lighter.sha256(b"other"), "ref-2", stdin="some bytes")
    assert digest in c.out("content", "rm", digest, edited)
    assert "not found" in c.fails("content", "get", digest)
    before = set(c.out("content", "ls", "-q").split())
    c.run("content", "prune", "references", "--dry")
    c.run("content", "prune", "references")
    assert set(c.out("content", "ls", "-q").split()) <= before
    assert c.image_digest() in c.out("content", "ls", "-q").split()


@covers("images pull", "images push", "content fetch", "content fetch-object", "content fetch-blob", "content push-object")
def test_registries(c, registry):
    """By ctr itself, which is how 1.6 works."""
    layer = lighter.tar_of(lighter.busybox_rootfs(c.daemon.dir / f"rootfs-{time.monotonic_ns()}"))
    manifest = registry.image([layer])
    registry.tags["box", "1"] = registry.index([manifest])
    ref = f"{registry.name}/box:1"
    c.run("images", "pull", "--plain-http", *c.local, ref)
    assert c.out("run", "--rm", ref, "pulled", "echo", "hello") == "hello\n"
    c.run("images", "push", "--plain-http", *c.local, f"{registry.name}/copy:2", ref)
    assert registry.tags["copy", "2"] in registry.blobs
    c.run("images", "rm", "--sync", ref)
    c.run("content", "fetch", "--plain-http", ref)
    assert ref in c.out("images", "ls", "-q")
    assert json.loads(c.out("content", "fetch-object", "--plain-http", ref))["manifests"][0]["digest"] == manifest["digest"]
    c.run("content", "push-object", "--plain-http", f"{registry.name}/third:1", manifest["digest"], manifest["mediaType"])
    if c.new:
        blob = json.loads(registry.blobs[manifest["digest"]])["config"]["digest"]
        assert json.loads(c.out("content", "fetch-blob", "--plain-http", ref, blob))["os"] == "linux"
    c.run("images", "rm", ref)


@covers("snapshots list", "snapshots prepare", "snapshots view", "snapshots mounts", "snapshots commit", "snapshots info",
        "snapshots label", "snapshots tree", "snapshots usage", "snapshots diff", "snapshots unpack", "snapshots delete")
def test_snapshots(c, tmp_path):
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    c.run("snapshots", "unpack", c.image_digest())
    base = next(l.split()[0] for l in c.out("snapshots", "ls").splitlines() if "Committed" in l)
    line = c.out("snapshots", "prepare", "-t", mnt, "s1", base)
    assert line.startswith("mount -t overlay") and c.out("snapshots", "mounts", mnt, "s1") == line
    subprocess.run(["sh", "-c", line], check=True)
    try:
        (mnt / "new").write_text("n" * 5000)
    finally:
        subprocess.run(["umount", mnt], check=True)
    c.run("snapshots", "commit", "s2", "s1")
    c.run("snapshots", "label", "s2", "containerd.io/gc.root=x")
    info = json.loads(c.out("snapshots", "info", "s2"))
    assert info["Kind"] == "Committed" and info["Parent"] == base and info["Labels"]["containerd.io/gc.root"] == "x"
    c.run("snapshots", "view", "s3", "s2")
    assert re.search(r"\\_ s2\n\s+\\_ s3", c.out("snapshots", "tree"))
    assert int(c.out("snapshots", "usage", "-b", "s2").splitlines()[1].split()[1]) >= 5000
    diff = c.run("snapshots", "diff", base, "s2", text=False).stdout
    names = subprocess.run(["tar", "tz"], input=diff, capture_output=True, check=True).stdout.decode().split()
    assert "new" in names and "bin/busybox" not in names
    assert "not found" in c.fails("snapshots", "info", "none")
    c.run("snapshots", "rm", "s3", "s2")
    assert "s2" not in c.out("snapshots", "ls")


@covers("run", "tasks list", "tasks ps", "tasks exec", "tasks kill", "tasks delete", "tasks pause", "tasks resume",
        "tasks metrics", "containers list")
def test_tasks(c, task):
    assert c.run("run", "--rm", lighter.IMAGE, "fg", "sh", "-c", "exit 5", check=False).returncode == 5
    pid = next(l.split()[1] for l in c.out("tasks", "ls").splitlines() if l.startswith(task + " "))
    assert task in c.out("tasks", "ls", "-q").split() and pid in c.out("tasks", "ps", task)
    p = c.run("tasks", "exec", "--exec-id", "e1", task, "sh", "-c", "echo in; exit 3", check=False)
    assert (p.stdout, p.returncode) == ("in\n", 3)
    c.run("tasks", "exec", "-d", "--exec-id", "e2", task, "sleep", "1000")
    assert "e2" in c.out("tasks", "ps", task)
    c.run("tasks", "kill", "-s", "KILL", "--exec-id", "e2", task)
    lighter.eventually("its end", lambda: c.run("tasks", "rm", "--exec-id", "e2", task, check=False).returncode == 137 or
                       "e2" not in c.out("tasks", "ps", task))
    c.run("tasks", "pause", task)
    assert re.search(rf"^{task}\s+\d+\s+PAUSED", c.out("tasks", "ls"), re.M)
    c.run("tasks", "resume", task)
    assert "memory" in c.out("tasks", "metrics", task) and "{" in c.out("tasks", "metrics", "--format", "json", task)
    assert "must be stopped before deletion: running: failed precondition" in c.fails("tasks", "rm", task)
    c.run("tasks", "kill", "-s", "SIGKILL", task)
    lighter.eventually("its end", lambda: re.search(rf"^{task}\s+\d+\s+STOPPED", c.out("tasks", "ls"), re.M))
    c.run("tasks", "rm", task, check=False)
    assert task not in c.out("tasks", "ls", "-q").split() and task in c.out("containers", "ls", "-q").split()


@covers("containers create", "containers info", "containers label", "containers delete", "tasks start", "tasks attach")
def test_containers(c):
    c.run("containers", "create", "--label", "a=b", "--", lighter.IMAGE, "c1", "sh", "-c", "sleep 1; echo late; exit 4")
    info = json.loads(c.out("containers", "info", "c1"))
    assert info["Labels"]["a"] == "b" and info["Runtime"]["Name"] == "io.containerd.runc.v2"
    assert "x=y" in c.out("containers", "label", "c1", "x=y")
    p = c.run("tasks", "start", "c1", check=False)
    assert (p.stdout, p.returncode) == ("late\n", 4)
    c.run("tasks", "start", "-d", "c1")
    p = c.run("tasks", "attach", "c1", check=False)
    assert (p.stdout, p.returncode) == ("late\n", 4)
    c.run("containers", "rm", "c1")
    assert "c1" not in c.out("snapshots", "ls").split()


@covers("containers checkpoint")
def test_a_container_as_an_image(c, task):
    c.run("tasks", "exec", "--exec-id", "w", task, "sh", "-c", "echo kept > /kept")
    c.run("containers", "checkpoint", "--rw", "--image", task, "docker.io/library/saved:1")
    assert "docker.io/library/saved:1" in c.out("images", "ls", "-q").split()


@covers("events")
def test_events(c):
    p = subprocess.Popen(c.argv("events"), stdout=subprocess.PIPE, text=True)
    try:
        lighter.eventually("a subscriber", lambda: c.out("namespaces", "create", f"e{time.monotonic_ns()}") == "" and
                           select.select([p.stdout], [], [], 0.1)[0])
        line = p.stdout.readline()
        assert " /namespaces/create " in line and '"name":"e' in line.replace('": "', '":"')
    finally:
        p.send_signal(signal.SIGINT)
        p.wait(10)
    for name in c.out("namespaces", "ls", "-q").split():
        if re.fullmatch(r"e\d+", name):
            c.run("namespaces", "rm", name)


@covers("install")
def test_install(c, tmp_path):
    with_bin = lighter.tar_of(lighter.busybox_rootfs(tmp_path / "rootfs"))
    lighter.oci_archive(tmp_path / "tools.tar", [with_bin], name="docker.io/library/tools:1")
    c.run("images", "import", *c.local, tmp_path / "tools.tar")
    (tmp_path / "opt").mkdir()
    c.run("install", "--path", tmp_path / "opt", "docker.io/library/tools:1")
    assert (tmp_path / "opt/bin/busybox").exists()
    c.run("images", "rm", "docker.io/library/tools:1")


@covers("shim state", "shim start", "shim exec", "shim delete", "shim shutdown")
def test_shim(c):
    """Past the daemon. ctr computes the name of the socket, and looks below /run/containerd/s."""
    c.run("containers", "create", lighter.IMAGE, "direct", "sleep", "1000")
    p = subprocess.Popen(c.argv("tasks", "start", "--null-io", "direct"))
    bundle = c.daemon.state / "io.containerd.runtime.v2.task/default/direct"
    try:
        lighter.eventually("the task", lambda: "RUNNING" in c.out("tasks", "ls"))
        sock = json.loads((bundle / "bootstrap.json").read_text())["address"].removeprefix("unix://")

        def shim(*args, **kw):
            return lighter.run(["unshare", "-m", "sh", "-c", 'mkdir -p /run/containerd; mount -t tmpfs none /run/containerd; '
                                f'mkdir /run/containerd/s; ln -s {sock} /run/containerd/s; exec "$@"', "sh",
                                *c.argv("shim", "--id", "direct", *args)], **kw)
        state = shim("state", *(["--task-id", "direct"] if c.new else [])).stdout
        assert json.loads(state)["id"] == "direct"
        spec = {"args": ["sh", "-c", "echo by hand"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
        (c.daemon.dir / "process.json").write_text(json.dumps(spec))
        # ctr forgets the exec's id, so that there is no way to succeed
        fifos = [c.daemon.dir / f"{n}-{c.new}" for n in ("in", "out", "err")]
        p2 = shim("exec", "--spec", c.daemon.dir / "process.json", "--stdin", fifos[0], "--stdout", fifos[1], "--stderr", fifos[2],
                  check=False)
        assert p2.returncode == 1 and "exec" in p2.stderr, p2.stderr
        assert "cannot start a running process" in shim("start", "direct", check=False).stderr
        assert shim("delete", "direct", check=False).returncode != 0  # it runs
        if c.new:
            shim("shutdown", check=False)
        assert "RUNNING" in c.out("tasks", "ls")
    finally:
        c.run("tasks", "kill", "-s", "KILL", "direct", check=False)
        p.wait(10)
        c.run("containers", "rm", "direct", check=False)


@covers("sandboxes run", "sandboxes list", "sandboxes info", "sandboxes remove")
def test_sandboxes(c, tmp_path):
    if not c.new:
        return
    shutil.copy(lighter.TOP / "tests/sandbox_shim.py", tmp_path / "shim")
    (tmp_path / "shim").chmod(0o755)
    (tmp_path / "pod.json").write_text(json.dumps({"metadata": {"name": "p", "uid": "u", "namespace": "n"}}))
    c.run("sandboxes", "run", "--runtime", tmp_path / "shim", tmp_path / "pod.json", "sb1")
    assert "sb1" in c.out("sandboxes", "ls")
    assert "sb1" in c.out("sandboxes", "info", "sb1")
    c.run("sandboxes", "rm", "-f", "sb1")
    assert "sb1" not in c.out("sandboxes", "ls")
    # the shims that there are know only tasks
    assert "not implemented" in c.fails("sandboxes", "run", tmp_path / "pod.json", "sb2")


def leaves(exe, path=()):
    text = lighter.run([exe, *path, "--help"]).stdout
    if "COMMANDS:" not in text:
        return [" ".join(path)]
    found = []
    for line in text.split("COMMANDS:")[1].split("OPTIONS:")[0].splitlines():
        m = re.match(r"^ {3}(\S+?)(?:,| {2,}|$)", line)
        if m and m[1] != "help" and not line.strip().endswith(":"):
            found += leaves(exe, (*path, m[1]))
    return found


def test_no_subcommand_is_forgotten(c):
    assert set(leaves(c.exe)) - COVERED - set(WAITS) == set()
