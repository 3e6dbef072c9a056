# SPDX-License-Identifier: Apache-2.0
"""The daemon is killed with SIGKILL at any moment of its work, or its disk is full: what it has acknowledged is there,
what it has not is either whole or absent and can be done again, and nothing is left behind."""
import concurrent.futures
import contextlib
import gzip
import hashlib
import io
import os
import pathlib
import random
import signal
import subprocess
import tarfile
import threading
import time

import grpc
import pytest

import lighter
from lighter import alive, eventually, pb, sha256
from test_diff import Layers, slow_layer, worker_pids
from test_snapshots import Snapshots
from test_tasks import Box, task_pb

SEED = int(os.environ.get("LIGHTER_SEED", "1"))
CYCLES = 12
OVERLAY = "io.containerd.snapshotter.v1.overlayfs"
BUNDLES = "io.containerd.runtime.v2.task"


def tar_gz(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), 1, mtime=0)


# ------------------------------------------------------------------------------------------------------- who works
class Cut(Exception):
    """The daemon went away below an operation: nobody knows whether it was done."""


HOLD = "hold"  # a lease: what the actors make is theirs to delete, not collection's


class Actor:
    """Does one kind of work on names of its own, and knows what of it was acknowledged: known[name] is what must be
    found, None when it must not be. in_doubt is (name, what it may have become) of the operation that was cut off."""

    def __init__(self, d, seed):
        self.d, self.rnd, self.known, self.in_doubt, self.n = d, random.Random(seed), {}, None, 0
        self.acknowledged = self.cut = 0
        self.name = type(self).__name__.lower()

    def fresh(self):
        self.n += 1
        return f"{self.name}-{self.n}"

    def some(self):
        """One of those that exist, or None."""
        have = sorted(k for k, v in self.known.items() if v is not None)
        return self.rnd.choice(have) if have else None

    def set(self, name, value, call, *args):
        """call() is expected to make name into value."""
        try:
            call(*args)
        except (grpc.RpcError, Cut) as e:
            if self.d.process.poll() is None and not self.d.killed.is_set():
                raise
            if isinstance(e, grpc.RpcError):
                assert e.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), e
            self.in_doubt = (name, value)
            self.cut += 1
            raise Cut from e
        self.known[name] = value
        self.acknowledged += 1

    def work(self):
        """Until the daemon goes away."""
        self.c = self.d.client(lease=HOLD)
        try:
            while not self.d.killed.is_set():
                self.step()
        except Cut:
            pass
        finally:
            self.c.close()

    def check(self):
        """After the restart."""
        self.c = self.d.client(lease=HOLD)
        doubt = self.in_doubt
        try:
            found = self.found()
            for name, value in self.known.items():
                if doubt and name == doubt[0]:
                    assert found.get(name) in (value, doubt[1]), (name, value, doubt, found.get(name))
                else:
                    assert found.get(name) == value, (name, value, found.get(name))
            extra = {n for n, v in found.items() if n not in self.known and v is not None}
            assert extra <= ({doubt[0]} if doubt else set()), extra
            if doubt:
                assert found.get(doubt[0]) in (self.known.get(doubt[0]), doubt[1]), (doubt, found.get(doubt[0]))
                self.again(*doubt, found.get(doubt[0]))
                self.known[doubt[0]] = doubt[1]
                self.in_doubt = None
                assert self.found().get(doubt[0]) == doubt[1]
        finally:
            self.c.close()

    def again(self, name, value, now):
        """The operation that was cut off, once more: done now, or it had been."""
        try:
            self.make(name, value)
            assert now != value or self.idempotent, f"{name} was made twice"
        except grpc.RpcError as e:
            want = grpc.StatusCode.NOT_FOUND if value is None else grpc.StatusCode.ALREADY_EXISTS
            assert (e.code(), now) == (want, value), e

    idempotent = False

    def step(self):
        name = self.some() if self.rnd.random() < 0.4 else None
        if name:
            self.set(name, None, self.make, name, None)
        else:
            name = self.fresh()
            value = self.value(name)
            self.set(name, value, self.make, name, value)

    def value(self, name):
        return True


class Blob(Actor):
    """Content.Write in pieces, Content.Delete."""

    def data(self, name):
        rnd = random.Random(name)
        return rnd.randbytes(rnd.choice((20, 5000, 300_000, 2_000_000)))

    def value(self, name):
        return sha256(self.data(name))

    def make(self, name, digest):
        m = self.c.messages("content")
        if digest is None:
            self.c.content.Delete(m.DeleteContentRequest(digest=self.value(name)), timeout=20)
            return
        data = self.data(name)

        def requests():
            yield m.WriteContentRequest(action=m.STAT, ref=name, total=len(data), expected=digest)
            for at in range(0, len(data), 1 << 18):
                yield m.WriteContentRequest(action=m.WRITE, offset=at, data=data[at:at + (1 << 18)])
            yield m.WriteContentRequest(action=m.COMMIT, offset=len(data), total=len(data), expected=digest)
        list(self.c.content.Write(requests(), timeout=20))

    def found(self):
        infos = contents(self.c)
        return {n: self.value(n) for n in [*self.known, *(self.in_doubt or [])[:1]] if self.value(n) in infos}


class Lease(Actor):
    def make(self, name, value):
        m = self.c.messages("leases")
        if value:
            self.c.leases.Create(m.CreateRequest(id=name, labels={"a": "b"}), timeout=20)
        else:
            self.c.leases.Delete(m.DeleteRequest(id=name), timeout=20)

    def found(self):
        leases = self.c.leases.List(self.c.messages("leases").ListRequest(), timeout=20).leases
        return {l.id: True for l in leases if l.id.startswith("lease-")}  # a killed ctr has left others


class Image(Actor):
    """Records alone."""

    def make(self, name, digest):
        m = self.c.messages("images")
        if digest:
            self.c.images.Create(m.CreateImageRequest(image={
                "name": name, "target": {"media_type": "application/x", "digest": digest, "size": 3}}), timeout=20)
        else:
            self.c.images.Delete(m.DeleteImageRequest(name=name), timeout=20)

    def value(self, name):
        return sha256(name.encode())

    def found(self):
        images = self.c.images.List(self.c.messages("images").ListImagesRequest(), timeout=20).images
        return {i.name: i.target.digest for i in images if i.name.startswith("image-")}


class Namespace(Actor):
    def make(self, name, value):
        m = self.c.messages("namespaces")
        if value:
            self.c.namespaces.Create(m.CreateNamespaceRequest(namespace={"name": name, "labels": {"a": "b"}}), timeout=20)
        else:
            self.c.namespaces.Delete(m.DeleteNamespaceRequest(name=name), timeout=20)

    def found(self):
        m = self.c.messages("namespaces")
        return {n.name: n.labels["a"] == "b" for n in
                self.c.namespaces.List(m.ListNamespacesRequest(), timeout=20).namespaces if n.name.startswith("namespace-")}


class Snapshot(Actor):
    """A key is prepared, perhaps filled by Diff.Apply (then its committed name ends in -full), committed, and removed."""

    def __init__(self, d, seed):
        super().__init__(d, seed)
        self.files = {f"f{i}": random.Random(i).randbytes(3000) for i in range(40)}
        self.layer = tar_gz(self.files)

    def work(self):
        with contextlib.closing(self.d.client(lease=HOLD)) as c:
            self.l = Layers.__new__(Layers)
            self.l.c, self.l.n = c, 0
            try:
                self.l.put(self.layer)
            except (AssertionError, grpc.RpcError):
                assert self.d.killed.is_set()
                return
            super().work()

    def step(self):
        name, draw = self.some(), self.rnd.random()
        sn = Snapshots(self.c)
        if name and draw < 0.3:
            self.set(name, None, sn.remove, name)
        elif name and draw < 0.7 and self.known[name] == "active":
            self.commit(sn, name)
        else:
            name = self.fresh()
            self.set(name, "active", sn.prepare, name)
            if draw < 0.9:
                self.set(name, "active", self.apply, sn, name)
                self.commit(sn, name, full=True)

    def commit(self, sn, name, full=False):
        committed = name + ("-full" if full else "-c")
        try:
            sn.commit(committed, name)
        except grpc.RpcError as e:
            assert self.d.killed.is_set() and e.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), e
            self.cut += 1
            self.moving = (name, committed)
            raise Cut from e
        self.acknowledged += 1
        self.known[name], self.known[committed] = None, "committed"

    moving = None

    def apply(self, sn, name):
        m, types = self.c.messages("diff"), pb("containerd/types/types")
        mounts = self.c.snapshots.Mounts(sn.m.MountsRequest(snapshotter="overlayfs", key=name)).mounts
        self.c.diff.Apply(m.ApplyRequest(mounts=mounts, diff=types.Descriptor(
            media_type="application/vnd.oci.image.layer.v1.tar+gzip", digest=sha256(self.layer), size=len(self.layer))),
            timeout=20)

    def make(self, name, value):
        sn = Snapshots(self.c)
        if value is None:
            sn.remove(name)
        elif self.in_doubt[1] == "active":
            sn.prepare(name)

    def again(self, name, value, now):
        if value == "active" and now == "active":
            # an Apply, perhaps: it can be done over
            self.apply(Snapshots(self.c), name)
        else:
            super().again(name, value, now)

    def check(self):
        with contextlib.closing(self.d.client(lease=HOLD)) as self.c:
            if self.moving:
                name, committed = self.moving
                self.moving = None
                found = self.found()
                assert (name in found) != (committed in found), (name, committed, found)
                if name in found:
                    Snapshots(self.c).commit(committed, name)
                self.known[name], self.known[committed] = None, "committed"
        super().check()
        with contextlib.closing(self.d.client(lease=HOLD)) as c:
            for name in [n for n, v in self.known.items() if v and n.endswith("-full")]:
                top = pathlib.Path(mounted_from(c, name))
                assert {p.name: p.read_bytes() for p in top.iterdir()} == self.files

    def found(self):
        m = self.c.messages("snapshots")
        kinds = {1: "view", 2: "active", 3: "committed"}
        stream = self.c.snapshots.List(m.ListSnapshotsRequest(snapshotter="overlayfs"), timeout=20)
        return {i.name: kinds[i.kind] for r in stream for i in r.info if i.name.startswith("snapshot-")}


class Import(Actor):
    """Debian's ctr imports two images and removes them."""
    idempotent = True

    def __init__(self, d, seed, archives):
        super().__init__(d, seed)
        self.archives = archives  # name -> (path, manifest's digest)

    def ctr(self, *args):
        p = subprocess.Popen(["ctr", "--address", self.d.address, "image", *map(str, args)], text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        end = None
        while p.poll() is None:
            time.sleep(0.005)
            if self.d.killed.is_set():
                end = end or time.monotonic() + 1
                if time.monotonic() > end:
                    p.kill()
        text = p.communicate()[0]
        if p.returncode or "not found" in text:
            if self.d.killed.is_set():
                raise Cut(text)
            raise AssertionError(f"ctr {args}: {p.returncode}: {text}")

    def make(self, name, digest):
        if digest:
            self.ctr("import", self.archives[name][0])
        else:
            with contextlib.suppress(AssertionError) if self.in_doubt else contextlib.nullcontext():
                self.ctr("rm", "--sync", name)

    def step(self):
        name = self.rnd.choice(sorted(self.archives))
        value = None if self.known.get(name) else self.archives[name][1]
        self.set(name, value, self.make, name, value)

    def found(self):
        images = self.c.images.List(self.c.messages("images").ListImagesRequest(), timeout=20).images
        got = {i.name: i.target.digest for i in images if not i.name.startswith("image-")}
        have = contents(self.c)
        for name in got:
            assert self.archives[name][2] <= set(have), name
        return got


class Task(Actor):
    """One container's task, from Create to Delete, with execs."""

    def __init__(self, d, seed, rootfs, name):
        super().__init__(d, seed)
        self.name, self.rootfs, self.state, self.doing = name, rootfs, None, None
        self.pid, self.in_exec = None, False

    def box(self):
        return Box(self.d, self.rootfs, f"{self.name}-{self.n}")

    def do(self, what, *args, **kw):
        self.doing = "" if self.in_exec else what
        try:
            r = getattr(self.b, what)(*args, **kw)
        except grpc.RpcError as e:
            assert self.d.killed.is_set() and e.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), \
                (what, kw, e)
            self.cut += 1
            raise Cut from e
        self.doing = None
        self.acknowledged += 1
        return r

    def work(self):
        with contextlib.suppress(Cut):
            while not self.d.killed.is_set():
                self.step()

    def step(self):
        if self.state is None:
            self.n += 1
            try:
                self.b = self.box()
            except grpc.RpcError as e:
                assert self.d.killed.is_set(), e
                raise Cut from e
            self.state = "recorded"
        elif self.state == "recorded":
            self.pid = self.do("Create").pid
            self.born = start_time(self.pid)
            self.state = "created"
        elif self.state == "created":
            self.do("Start")
            self.state = "running"
        elif self.state == "running" and self.rnd.random() < 0.6:
            self.exec(f"e{self.rnd.random()}")
        elif self.state == "running":
            self.do("Kill", signal=9)
            self.do("Wait")
            self.state = "stopped"
        else:
            self.do("Delete")
            self.state = "recorded"
            if self.rnd.random() < 0.5:
                self.b.end()
                self.state = None

    def exec(self, name):
        self.in_exec = True
        self.do("exec", name, "true")
        self.do("Start", exec_id=name)
        assert self.do("Wait", exec_id=name).exit_status == 0
        self.do("DeleteProcess", exec_id=name)
        self.in_exec = False

    def now(self):
        try:
            s = self.b.state()
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.NOT_FOUND, e
            return "recorded"
        names = {task_pb.CREATED: "created", task_pb.RUNNING: "running", task_pb.STOPPED: "stopped"}
        if names[s.status] != "stopped":
            assert self.doing == "Create" or (s.pid, start_time(s.pid)) == (self.pid, self.born)
        return names[s.status]

    MAY_BE = {"Create": "recorded created", "Start": "created running", "Delete": "stopped recorded",
              "Kill": "running stopped recorded", "Wait": "running stopped recorded"}

    def check(self):
        if self.state is None:
            name = f"{self.name}-{self.n}"
            c = self.d.client(lease=HOLD)
            m = c.messages("containers")
            with contextlib.suppress(grpc.RpcError):
                c.containers.Delete(m.DeleteContainerRequest(id=name), timeout=20)
            c.close()
            return
        self.b.c.close()
        self.b.c = self.d.client(lease=HOLD)
        self.b.c.containers.Get(self.b.c.messages("containers").GetContainerRequest(id=self.b.name), timeout=20)
        now = self.now()
        if self.state == "running" and self.doing not in ("Kill", "Wait"):
            assert now == "running"
        elif self.doing in self.MAY_BE:
            assert now in self.MAY_BE[self.doing].split(), (self.doing, self.state, now)
        else:
            # what has stopped and was not deleted may have been cleaned up after
            assert now == self.state or (self.state, now) == ("stopped", "recorded"), (self.state, now)
        doing, self.doing, self.in_exec = self.doing, None, False
        if now == "created" and doing == "Create":
            self.pid = self.b.state().pid
            self.born = start_time(self.pid)
        self.state = now
        if now == "running" and doing in ("Kill", "Wait"):
            # cut off before or after the signal, which takes a moment
            with contextlib.suppress(grpc.RpcError):
                self.b.Kill(signal=9)
            assert self.b.Wait().exit_status == 137
            self.state = "stopped"
        elif now == "running":
            self.exec(f"after{self.rnd.random()}")

    def end(self):
        if self.state:
            self.b.end()
            self.state = None


def start_time(pid):
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19]


# ------------------------------------------------------------------------------------------------------ invariants
def contents(c):
    m = c.messages("content")
    return {i.digest: i.size for r in c.content.List(m.ListContentRequest(), timeout=20) for i in r.info}


def check_contents(d, c, seen):
    """Every record has its bytes. A blob is read once, by its inode."""
    for digest, size in contents(c).items():
        path = d.root / "io.containerd.content.v1.content/blobs" / digest.replace(":", "/")
        st = path.stat()
        assert st.st_size == size, digest
        if (st.st_ino, st.st_mtime_ns) not in seen:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest.partition(":")[2]
            seen.add((st.st_ino, st.st_mtime_ns))


def mounted_from(c, name):
    """The folder of a committed snapshot."""
    sn = Snapshots(c)
    [m] = sn.view("probe", name)
    sn.remove("probe")
    if m.type == "bind":
        return m.source
    return next(o for o in m.options if o.startswith("lowerdir=")).partition("=")[2].split(":")[0]


def check_snapshots(d, c):
    """Each record has its folder, and no other folder is there."""
    sn = Snapshots(c)
    stream = c.snapshots.List(sn.m.ListSnapshotsRequest(snapshotter="overlayfs"), timeout=20)
    want = set()
    for info in [i for r in stream for i in r.info]:
        if info.kind == 3:
            path = mounted_from(c, info.name)
        else:
            [m] = c.snapshots.Mounts(sn.m.MountsRequest(snapshotter="overlayfs", key=info.name)).mounts
            path = m.source if m.type == "bind" else \
                next(o for o in m.options if o.startswith("upperdir=")).partition("=")[2]
        assert os.path.isdir(path), (info.name, path)
        want.add(pathlib.Path(path).parent.name)
    there = d.root / OVERLAY / "snapshots"
    eventually("only recorded folders", lambda: {p.name for p in there.iterdir()} == want, 5)


def mounts_below(path):
    return [l.split()[4] for l in open("/proc/self/mountinfo") if l.split()[4].startswith(f"{path}/")]


def bundles(d):
    return {p.name for top in (d.state, d.root) for p in (top / BUNDLES).glob("*/*")}


@pytest.fixture
def archives(tmp_path, image):
    """Busybox, and one with several layers; they share one."""
    layers = [lighter.tar_of(lighter.busybox_rootfs(tmp_path / "one"))]
    (tmp_path / "two").mkdir()
    for i in range(4):
        (tmp_path / "two/data").write_bytes(random.Random(i).randbytes(400_000))
        layers.append(lighter.tar_of(tmp_path / "two"))
    out = {}
    for name, some in (("docker.io/library/one:1", layers[:1]), ("docker.io/library/two:1", layers)):
        path = tmp_path / f"{len(out)}.tar"
        digest = lighter.oci_archive(path, some, name)
        with tarfile.open(path) as tar:
            blobs = {n.removeprefix("blobs/").replace("/", ":") for n in tar.getnames() if n.startswith("blobs/")}
        out[name] = (path, digest, blobs)
    return out


# -------------------------------------------------------------------------------------------------------- the tests
def test_killed_at_any_moment(daemon, archives, tmp_path):
    rnd = random.Random(SEED)
    daemon.killed = threading.Event()
    with contextlib.closing(daemon.client()) as c:
        c.leases.Create(c.messages("leases").CreateRequest(id=HOLD))
    # a rootfs each: runc fails when two containers make the same device at the same time
    roots = [lighter.busybox_rootfs(tmp_path / f"rootfs-{i}") for i in range(4)]
    stayers = [Box(daemon, roots[i], f"stayer-{i}") for i in range(2)]
    born = {b: (pid, start_time(pid)) for b in stayers for pid in [b.run()]}
    actors = [Blob(daemon, 1), Lease(daemon, 2), Image(daemon, 3), Namespace(daemon, 4), Snapshot(daemon, 5),
              Import(daemon, 6, archives), Task(daemon, 7, roots[2], "t1"), Task(daemon, 8, roots[3], "t2")]
    seen = set()
    try:
        for cycle in range(CYCLES):
            with concurrent.futures.ThreadPoolExecutor(len(actors)) as pool:
                working = [pool.submit(a.work) for a in actors]
                time.sleep(rnd.uniform(0.05, 0.8))
                daemon.killed.set()
                daemon.kill()
                for w in working:
                    w.result()
            daemon.killed.clear()
            daemon.start()
            for b, (pid, since) in born.items():
                b.c.close()
                b.c = daemon.client()
                assert (b.state().pid, b.state().status, start_time(pid)) == (pid, task_pb.RUNNING, since)
                b.exec(f"e{cycle}", "true")
                b.Start(exec_id=f"e{cycle}")
                assert b.Wait(exec_id=f"e{cycle}").exit_status == 0
                b.DeleteProcess(exec_id=f"e{cycle}")
            for a in actors:
                a.check()
            with contextlib.closing(daemon.client()) as c:
                check_contents(daemon, c, seen)
                check_snapshots(daemon, c)
        assert all(a.acknowledged for a in actors), [(a.name, a.acknowledged) for a in actors]
        assert any(a.cut for a in actors)
    finally:
        daemon.killed.clear()
        if daemon.process.poll() is not None:
            daemon.start()
        for b in [*stayers, *actors]:
            if hasattr(b, "end"):
                b.end()
    for pid, _ in born.values():
        assert not alive(pid)
    eventually("the end of all shims", lambda: not daemon.shims())
    eventually("the end of all bundles", lambda: not bundles(daemon))
    assert mounts_below(daemon.state) == [] and mounts_below(daemon.root) == []
    assert list(pathlib.Path("/sys/fs/cgroup").glob(f"*/lt-{os.getpid()}/default-*")) == []


def test_killed_before_the_shims_answer_is_recorded(daemon, rootfs, tmp_path):
    """The helper `start` has made the shim and does not come back: whoever starts next ends both."""
    shim = tmp_path / "containerd-shim-lighter-v2"  # by its name it is spoken to as ours, and leaves no file `address`
    shim.write_text(f"""#!/bin/sh
for action; do :; done
[ "$action" = start ] || exec {lighter.BUILD}/containerd-shim-lighter-v2 "$@"
{lighter.BUILD}/containerd-shim-lighter-v2 "$@" && touch {tmp_path}/started && while :; do sleep 0.2; done
""")
    shim.chmod(0o755)
    box = Box(daemon, rootfs, "cut", runtime=str(shim))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        call = pool.submit(box.Create)
        eventually("the shim", lambda: (tmp_path / "started").exists())
        assert daemon.shims()
        daemon.kill()
        assert call.exception(20)
    helpers = ["pgrep", "-f", f"{shim} .* start$"]
    assert subprocess.run(helpers, stdout=subprocess.DEVNULL).returncode == 0
    daemon.start()
    eventually("the end of all shims", lambda: not daemon.shims())
    eventually("the end of all bundles", lambda: not bundles(daemon))
    assert subprocess.run(helpers, stdout=subprocess.PIPE, text=True).stdout == ""
    box.c.close()
    box = Box(daemon, rootfs, "cut2")
    box.run()
    box.end()


def test_a_killed_worker_leaves_a_snapshot_that_can_be_removed(daemon):
    l = Layers(daemon)
    data = slow_layer()
    l.put(data)
    mounts = l.prepare("a")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        call = pool.submit(l.fails, data, mounts)
        os.kill(eventually("a worker", lambda: worker_pids(daemon))[0], signal.SIGKILL)
        code, text = call.result(20)
    assert code == grpc.StatusCode.INTERNAL and "lighter-unpack died of signal 9" in text
    Snapshots(l.c).remove("a")
    small = tar_gz({"f": b"x"})
    assert l.apply(small, l.prepare("a")).digest == sha256(gzip.decompress(small))
    l.commit("b", "a")
    Snapshots(l.c).remove("b")
    there = daemon.root / OVERLAY / "snapshots"
    eventually("the folders' end", lambda: list(there.iterdir()) == [], 30)


@pytest.fixture
def small_disk(tmp_path):
    """A daemon whose root is on 48 MiB."""
    d = lighter.Daemon()
    d.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", d.root], check=True)
    try:
        yield d.start()
        assert d.stop() == 0
    finally:
        d.cleanup()


def fill(path, leave):
    """Takes all space of the disk but so many bytes."""
    with open(path, "wb", buffering=0) as f:
        st = os.statvfs(path)
        size = st.f_bavail * st.f_frsize - leave
        os.posix_fallocate(f.fileno(), 0, size)


@pytest.mark.parametrize("leave", [0, 1 << 20])
def test_a_full_disk(small_disk, image, tmp_path, leave):
    d = small_disk
    l = Layers(d)
    sn = Snapshots(l.c)
    m = l.c.messages("content")
    layer = tar_gz({f"f{i}": b"x" * 200_000 for i in range(40)})
    kept = l.put(layer)
    removed = l.put(os.urandom(100_000))
    sn.prepare("before")
    mounts = sn.prepare("filled")
    fill(d.root / "ballast", leave)

    code, text = l.fails(layer, mounts)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"{mounts[0].source}: layer needs more than the " in text or "No space left on device" in text, text
    big = os.urandom(3 << 20)
    with pytest.raises(AssertionError) as e:
        l.put(big)
    assert "RESOURCE_EXHAUSTED" in str(e.value) and "No space left on device" in str(e.value)
    p = d.ctr("image", "import", image, check=False)
    assert p.returncode and "No space left on device" in p.stderr, p

    # deleting goes on, and so does reading
    l.c.content.Delete(m.DeleteContentRequest(digest=removed), timeout=20)
    sn.remove("before")
    sn.remove("filled")
    assert b"".join(r.data for r in l.c.content.Read(m.ReadContentRequest(digest=kept), timeout=20)) == layer
    d.kill()
    (d.root / "ballast").unlink()
    d.start()
    l = Layers(d)
    assert removed not in contents(l.c) and kept in contents(l.c)
    assert l.put(big) == sha256(big)
    mounts = l.prepare("after")
    assert l.apply(layer, mounts).size
    check_snapshots(d, l.c)
    check_contents(d, l.c, set())
