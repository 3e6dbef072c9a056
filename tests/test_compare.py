# SPDX-License-Identifier: Apache-2.0
"""Diff.Diff: layers made of two trees, compared with containerd's, applied again, and interrupted."""
import concurrent.futures
import contextlib
import gzip
import io
import os
import pathlib
import random
import shutil
import signal
import socket
import stat
import subprocess
import tarfile
import threading
import time

import grpc
import pytest

import lighter

OCI = "application/vnd.oci.image.layer.v1.tar"
UNCOMPRESSED = "containerd.io/uncompressed"
S = 10**9
SEED = int(os.environ.get("LIGHTER_SEED", "0"))
TREES = 40 if os.environ.get("LIGHTER_CAMPAIGN") else 4


# --------------------------------------------------------------------------------------------------------- helpers
def mount(kind, source, *options):
    return lighter.pb("containerd/types/types").Mount(type=kind, source=str(source), options=options)


def bind(path):
    return [mount("bind", path, "rbind", "ro")]


class Differ:
    """A client that compares and applies."""

    def __init__(self, client):
        self.c, self.m = client, client.messages("diff")

    def diff(self, lower, upper, media_type=OCI, timeout=60, **kw):
        lower, upper = (bind(x) if isinstance(x, (str, pathlib.Path)) else x for x in (lower, upper))
        return self.c.diff.Diff(self.m.DiffRequest(left=lower, right=upper, media_type=media_type, **kw),
                                timeout=timeout).diff

    def fails(self, *args, **kw):
        with pytest.raises(grpc.RpcError) as e:
            self.diff(*args, **kw)
        return e.value.code().name, e.value.details()

    def read(self, descriptor):
        m = self.c.messages("content")
        data = b"".join(r.data for r in self.c.content.Read(m.ReadContentRequest(digest=descriptor.digest)))
        assert len(data) == descriptor.size and lighter.sha256(data) == descriptor.digest
        return data

    def layer(self, *args, **kw):
        return self.read(self.diff(*args, **kw))

    def labels(self, digest):
        m = self.c.messages("content")
        return dict(self.c.content.Info(m.InfoRequest(digest=digest)).info.labels)

    def ingests(self):
        m = self.c.messages("content")
        return [s.ref for s in self.c.content.ListStatuses(m.ListStatusesRequest()).statuses]

    def apply(self, descriptor, mounts):
        return self.c.diff.Apply(self.m.ApplyRequest(diff=descriptor, mounts=mounts), timeout=60).applied


@pytest.fixture
def differ(shared_daemon):
    c = shared_daemon.client()
    yield Differ(c)
    assert not os.path.exists(shared_daemon.root / "tmpmounts") or not os.listdir(shared_daemon.root / "tmpmounts")
    c.close()


@pytest.fixture(scope="module")
def containerd(tmp_path_factory):
    """Debian's daemon, for comparison."""
    if not shutil.which("containerd"):
        pytest.skip("needs containerd")
    d = tmp_path_factory.mktemp("containerd")
    (d / "config.toml").write_text(
        f'version = 2\nroot = "{d}/root"\nstate = "{d}/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\n  address = "{d}/c.sock"\n[plugins."io.containerd.gc.v1.scheduler"]\n  startup_delay = "1h"\n')
    with open(d / "log", "wb") as log:
        p = subprocess.Popen(["containerd", "--config", d / "config.toml"], stderr=log, stdout=log)
    try:
        lighter.eventually("containerd answering", lambda: (d / "c.sock").exists(), 20)
        c = lighter.Client(str(d / "c.sock"), "default")
        yield Differ(c)
        c.close()
    finally:
        p.terminate()
        p.wait(15)


def entries(data):
    """What an archive says, without the times of whiteouts, which differ between versions of containerd."""
    out = []
    with tarfile.open(fileobj=io.BytesIO(data)) as t:
        for i in t:
            whiteout = os.path.basename(i.name).startswith(".wh.")
            out.append((i.name, i.type, i.mode, i.uid, i.gid, 0 if whiteout else i.mtime, i.linkname, i.devmajor,
                        i.devminor, i.pax_headers.get("SCHILY.xattr.security.capability"),
                        t.extractfile(i).read() if i.isreg() else None))
    return out


def names(data):
    return [e[0] for e in entries(data)]


def write(path, data="x", ns=1000 * S + 5):
    pathlib.Path(path).write_text(data)
    os.utime(path, ns=(ns, ns))


def tree(root, times=True):
    """Everything about a tree; names of one file are told by the first of them."""
    out, inodes = {}, {}
    for path in sorted(pathlib.Path(root).rglob("*")):
        s, name = path.lstat(), str(path.relative_to(root))
        kind = stat.S_IFMT(s.st_mode)
        if kind == stat.S_IFSOCK:
            continue
        what = os.readlink(path) if kind == stat.S_IFLNK else path.read_bytes() if kind == stat.S_IFREG else None
        caps = None
        if kind == stat.S_IFREG and "security.capability" in os.listxattr(path):
            caps = os.getxattr(path, "security.capability")
        first = None if kind == stat.S_IFDIR else inodes.setdefault((s.st_dev, s.st_ino), name)
        mtime = int(s.st_mtime_ns // S) if times and kind != stat.S_IFDIR else None
        out[name] = (s.st_mode, s.st_uid, s.st_gid, s.st_rdev, mtime, what, caps, first)
    return out


def differing(got, want):
    return {n: (got.get(n), want.get(n)) for n in {*got, *want} if got.get(n) != want.get(n)}


@contextlib.contextmanager
def mounted(mounts, where):
    """Mounted as a client does."""
    os.makedirs(where, exist_ok=True)
    for m in mounts:
        options = ["-o", ",".join(m.options)] if m.options else []
        subprocess.run(["mount", "-t", m.type, *options, m.source, where], check=True)
    try:
        yield pathlib.Path(where)
    finally:
        subprocess.run(["umount", where], check=True)


def fill(root, rng, n):
    """A random tree of every kind of file."""
    folders = [pathlib.Path(root)]
    for i in range(n):
        p = rng.choice(folders) / f"{rng.choice('abcdef')}{i}"
        kind = rng.choice("dddffffffllphc")
        if kind == "d":
            p.mkdir(mode=rng.choice([0o755, 0o700, 0o1777]))
            folders.append(p)
        elif kind == "l":
            p.symlink_to(rng.choice(["/etc/passwd", "../x", "nothing" * 30]))
        elif kind == "p":
            os.mkfifo(p)
        elif kind == "c":
            os.mknod(p, stat.S_IFCHR | 0o620, os.makedev(rng.randrange(1, 300), rng.randrange(5000)))
        elif kind == "h":
            files = [f for f in p.parent.iterdir() if not f.is_dir() or f.is_symlink()]
            if files:
                os.link(rng.choice(files), p, follow_symlinks=False)
        else:
            p.write_bytes(rng.randbytes(rng.choice([0, 1, 511, 512, 5000, 70000])))
            if rng.random() < 0.3:
                t = rng.randrange(10**9) * S + rng.choice([0, 0, 12345])
                os.utime(p, ns=(t, t))
            if rng.random() < 0.2:
                p.chmod(rng.choice([0o4755, 0o600, 0o2711]))


def mutate(root, rng, n):
    """Random changes, as a container makes them. Each is one: overlayfs parts the names of a file that is only touched in
    passing, which nobody can see."""
    for _ in range(n):
        everything = [p for p in pathlib.Path(root).rglob("*")]
        if not everything:
            return fill(root, rng, 3)
        p = rng.choice(everything)
        is_dir = p.is_dir() and not p.is_symlink()
        action = rng.choice(["delete", "write", "chmod", "chown", "again", "rename", "link", "touch", "caps", "add"])
        if action == "delete":
            shutil.rmtree(p) if is_dir else p.unlink()
        elif action == "write" and p.is_file() and not p.is_symlink():
            p.write_bytes(rng.randbytes(rng.randrange(3000)))
        elif action == "chmod" and not p.is_symlink():
            p.chmod(stat.S_IMODE(p.stat().st_mode) ^ rng.choice([0o011, 0o1000, 0o4000]))
        elif action == "chown":
            os.chown(p, p.lstat().st_uid + 1, rng.choice([0, 3000000]), follow_symlinks=False)
        elif action == "again":  # replaced by something else of the same name; a folder is then opaque
            shutil.rmtree(p) if is_dir else p.unlink()
            if rng.random() < 0.6:
                p.mkdir()
                (p / "inside").write_text("again")
            else:
                p.write_text("again")
        elif action == "rename" and not is_dir:  # overlay refuses to rename folders of lower ones
            p.rename(p.with_name(p.name + "r"))
        elif action == "link" and not is_dir and p.lstat().st_nlink == 1:
            with contextlib.suppress(FileExistsError):
                os.link(p, pathlib.Path(root) / f"link-{rng.randrange(10**6)}", follow_symlinks=False)
        elif action == "touch":
            os.utime(p, follow_symlinks=False)
        elif action == "caps" and p.is_file() and not p.is_symlink() and not os.listxattr(p):
            os.setxattr(p, "security.capability", b"\1\0\0\2\0\4\0\0" + b"\0" * 12)
        elif action == "add" and is_dir:
            (p / f"added{rng.randrange(10**6)}").write_bytes(rng.randbytes(100))


@pytest.fixture
def pair(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    b.mkdir()
    return a, b


def every_kind(a, b):
    """Two trees that differ in every way but that something is gone."""
    for name, old, new, told, tnew in (
            ("whole-differ", "aaa", "bbb", 0, 0), ("whole-same", "aaa", "aaa", 0, 0), ("one-whole", "aaa", "aaa", 0, 7),
            ("fraction-differs", "aaa", "aaa", 6, 7), ("size", "aaa", "aaaa", 5, 5), ("same", "aaa", "aaa", 5, 5)):
        write(a / name, old, 1000 * S + told)
        write(b / name, new, 1000 * S + tnew)
    for t in (a, b):
        (t / "sub").mkdir()
        write(t / "sub/1")
        os.link(t / "sub/1", t / "sub/2")
        write(t / "mode")
        os.symlink("same", t / "same-link")
        os.utime(t / "same-link", ns=(S, S), follow_symlinks=False)
    os.link(b / "sub/1", b / "third")
    (b / "mode").chmod(0o4711)
    long = b / ("l" * 90)
    (long / ("m" * 60)).mkdir(parents=True)
    write(long / ("m" * 60) / "plain")
    write(long / ("m" * 60) / "\u00fc")
    write(long / ("m" * 60) / ("n" * 200))
    os.symlink("x" * 300, b / "link")
    os.mkfifo(b / "pipe")
    (b / "pipe").chmod(0o4777)
    os.mknod(b / "dev", stat.S_IFBLK | 0o644, os.makedev(300, 70000))
    os.link(b / "dev", b / "dev2")
    write(b / "caps")
    os.link(b / "caps", b / "caps2")
    os.chown(b / "caps", 3000000, 70000)
    os.setxattr(b / "caps", "security.capability", b"\1\0\0\2\0\x20\0\0" + b"\0" * 12)
    os.setxattr(b / "caps", "user.not-taken", b"x")
    write(b / "negative", ns=-5 * S)
    write(b / "large", "large" * 400000)
    s = socket.socket(socket.AF_UNIX)
    with contextlib.chdir(b):
        s.bind("socket")
    s.close()


# ------------------------------------------------------------------------------------------------------ the layer
def test_01_the_bytes_are_containerds(differ, containerd, pair):
    every_kind(*pair)
    ours, theirs = differ.layer(*pair), containerd.layer(*pair)
    assert entries(ours) == entries(theirs)
    assert ours == theirs


def test_02_what_is_gone(differ, containerd, pair):
    a, b = pair
    (a / "tree/deep").mkdir(parents=True)
    write(a / "tree/deep/f")
    write(a / "file")
    (a / "to-file").mkdir()
    write(a / "to-file/x")
    write(b / "to-file")
    write(a / "to-dir")
    (b / "to-dir").mkdir()
    write(b / "to-dir/y")
    (a / "kept").mkdir()
    (b / "kept").mkdir()
    write(a / "kept/gone")
    (a / ("k" * 120)).mkdir()
    (b / ("k" * 120)).mkdir()
    write(a / ("k" * 120) / "gone")
    ours = differ.layer(a, b)
    assert entries(ours) == entries(containerd.layer(a, b))
    with tarfile.open(fileobj=io.BytesIO(ours)) as t:
        gone = t.getmember("kept/.wh.gone")
    assert (gone.mtime, gone.mode, gone.size) == (0, 0, 0)
    assert [n for n in names(ours) if "k" * 120 not in n] == \
        [".wh.file", "kept", "kept/.wh.gone", "to-dir", "to-dir/y", "to-file", ".wh.tree"]


def test_03_random_trees_as_containerd_sees_them(differ, containerd, tmp_path):
    for seed in range(SEED, SEED + TREES):
        rng = random.Random(seed)
        a, b = tmp_path / f"a{seed}", tmp_path / f"b{seed}"
        a.mkdir()
        fill(a, rng, 60)
        subprocess.run(["cp", "-a", a, b], check=True)
        mutate(b, rng, 25)
        assert entries(differ.layer(a, b)) == entries(containerd.layer(a, b)), f"seed {seed}"


def test_04_formats_and_labels(differ, pair):
    a, b = pair
    write(b / "f", "some text " * 1000)
    plain = differ.diff(a, b)
    data = differ.read(plain)
    assert plain.media_type == OCI and differ.labels(plain.digest) == {}
    made = differ.diff(a, b, "", labels={"mine": "1"})
    assert made.media_type == OCI + "+gzip" and gzip.decompress(differ.read(made)) == data
    assert differ.labels(made.digest) == {"mine": "1", UNCOMPRESSED: plain.digest}
    zstd = differ.diff(a, b, OCI + "+zstd")
    assert zstd.size < plain.size and differ.labels(zstd.digest)[UNCOMPRESSED] == plain.digest
    unpacked = subprocess.run(["zstd", "-dc"], input=differ.read(zstd), capture_output=True) if shutil.which("zstd") else None
    assert unpacked is None or unpacked.stdout == data

    # the blob is there: it keeps its labels and learns only what it was made of
    assert differ.diff(a, b, "", labels={"other": "2"}).digest == made.digest
    assert differ.labels(made.digest) == {"mine": "1", UNCOMPRESSED: plain.digest}
    m = differ.c.messages("content")
    info = m.Info(digest=made.digest, labels={"mine": "3"})
    differ.c.content.Update(m.UpdateRequest(info=info))
    assert UNCOMPRESSED not in differ.labels(made.digest)
    differ.diff(a, b, "")
    assert differ.labels(made.digest) == {"mine": "3", UNCOMPRESSED: plain.digest}
    assert differ.ingests() == []


def test_05_nothing_on_either_side(differ, pair):
    a, b = pair
    write(b / "f")
    assert names(differ.layer([], b)) == ["f"]
    assert names(differ.layer(b, [])) == [".wh.f"]
    assert differ.layer([], []) == bytes(1024)


def test_06_source_date_epoch(differ, pair):
    a, b = pair
    write(b / "old", ns=100 * S + 5)
    write(b / "new", ns=300 * S)
    write(a / "gone")
    stamp = lighter.pb("google/protobuf/timestamp").Timestamp(seconds=200)
    assert {e[0]: e[5] for e in entries(differ.layer(a, b, source_date_epoch=stamp))} == \
        {"old": 100, "new": 200, ".wh.gone": 0}
    stamp.nanos = -1
    assert differ.fails(a, b, source_date_epoch=stamp)[0] == "INVALID_ARGUMENT"


def test_07_sparse_and_empty_files(differ, pair, tmp_path):
    a, b = pair
    with open(b / "sparse", "wb") as f:
        f.truncate(30 << 20)
        f.seek(10 << 20)
        f.write(b"in the middle")
    (b / "empty").touch()
    made = differ.diff(a, b, "")
    assert made.size < 1 << 20
    to = tmp_path / "to"
    to.mkdir()
    differ.apply(made, [mount("bind", to, "rbind", "rw")])
    assert differing(tree(to), tree(b)) == {}


# ------------------------------------------------------------------------------------------------- with snapshots
class Snapshots:
    def __init__(self, client, name):
        self.c, self.name, self.m = client, name, client.messages("snapshots")

    def __getattr__(self, method):
        request = {"Prepare": "PrepareSnapshotRequest", "View": "ViewSnapshotRequest", "Commit": "CommitSnapshotRequest",
                   "Remove": "RemoveSnapshotRequest"}[method]
        root = {"containerd.io/gc.root": "1"} if method != "Remove" else None
        return lambda **kw: getattr(self.c.snapshots, method)(getattr(self.m, request)(
            snapshotter=self.name, **({"labels": root} if root else {}), **kw))


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
def test_10_there_and_back_again(differ, tmp_path, snapshotter):
    """A random snapshot, changed at random: its layer, applied to its parent, gives the same tree. On overlayfs the short
    way, which only looks at the upper folder, must find the same bytes as the long one."""
    sn = Snapshots(differ.c, snapshotter)
    for seed in range(SEED, SEED + (TREES if snapshotter == "overlayfs" else TREES // 2)):
        rng = random.Random(1000 + seed)
        parent = ""
        for level in range(rng.choice([1, 2, 3])):
            key = f"{snapshotter}-{seed}-{level}"
            with mounted(sn.Prepare(key=key, parent=parent).mounts, tmp_path / "mnt") as root:
                fill(root, rng, 30) if level == 0 else mutate(root, rng, 10)
            parent = "c-" + key
            sn.Commit(name=parent, key=key)
        work = f"{snapshotter}-{seed}-work"
        upper = sn.Prepare(key=work, parent=parent).mounts
        with mounted(upper, tmp_path / "mnt") as root:
            mutate(root, rng, 25)
            want = tree(root)
            made = differ.diff(sn.View(key=work + "-lower", parent=parent).mounts, upper)  # while it is mounted
        lower = differ.c.snapshots.Mounts(sn.m.MountsRequest(snapshotter=snapshotter, key=work + "-lower")).mounts
        if snapshotter == "overlayfs":
            detour = [mount(m.type, m.source + "/." if m.type == "bind" else m.source,
                            *[o.replace(":", "/.:", 1) if o.startswith("lowerdir=") else o for o in m.options])
                      for m in lower]
            assert detour != list(lower)
            assert entries(differ.layer(detour, upper)) == entries(differ.read(made))
            assert differ.diff(detour, upper).digest == made.digest, f"seed {seed}"
        again = sn.Prepare(key=work + "-again", parent=parent).mounts
        differ.apply(made, again)
        with mounted(again, tmp_path / "mnt") as root:
            assert differing(tree(root), want) == {}, f"seed {seed}"
        sn.Commit(name="c-" + work, key=work)  # and from views of what is committed
        committed = sn.View(key=work + "-view", parent="c-" + work).mounts
        assert differ.diff(lower, committed).digest == made.digest


def test_11_opaque_folders_and_redirects(differ, tmp_path):
    """Marks that overlayfs leaves in an upper folder, also by hand: the short way must not trust what lies beside them."""
    lower, upper, work, mnt = (tmp_path / n for n in ("lower", "upper", "work", "mnt"))
    for d in (lower, upper, work):
        d.mkdir()
    for d in ("plain", "opaque", "again"):
        (lower / d / "sub").mkdir(parents=True)
        write(lower / d / "f")
        write(lower / d / "sub/g")
    options = ["index=off", f"upperdir={upper}", f"lowerdir={lower}"]
    with mounted([mount("overlay", "overlay", f"workdir={work}", *options)], mnt):
        shutil.rmtree(mnt / "again")
        (mnt / "again").mkdir()
        write(mnt / "again/h")
        (mnt / "plain/f").unlink()
        (mnt / "plain/n").touch()
    (upper / "opaque").mkdir()
    os.setxattr(upper / "opaque", "trusted.overlay.opaque", b"y")
    mounts = [mount("overlay", "overlay", f"workdir={work}", *options)]
    short = differ.layer(bind(lower), mounts)
    assert short == differ.layer(bind(str(lower) + "/."), mounts)
    assert names(short) == ["again", "again/.wh.f", "again/h", "again/.wh.sub", "opaque", "opaque/.wh.f",
                            "opaque/.wh.sub", "plain", "plain/.wh.f", "plain/n"]


def test_12_ctr_and_lighter_show_the_difference(shared_daemon, differ, tmp_path):
    sn = Snapshots(differ.c, "overlayfs")
    with mounted(sn.Prepare(key="base-w").mounts, tmp_path / "mnt") as root:
        write(root / "one")
        write(root / "two")
    sn.Commit(name="base", key="base-w")
    with mounted(sn.Prepare(key="work", parent="base").mounts, tmp_path / "mnt") as root:
        (root / "one").unlink()
        write(root / "three")

    def snapshots():
        return {i.name for r in differ.c.snapshots.List(sn.m.ListSnapshotsRequest(snapshotter="overlayfs")) for i in r.info}
    before = snapshots()
    kw = {"namespace": "default", "text": False}
    want = [".wh.one", "three"]
    for run in (shared_daemon.ctr, shared_daemon.cli):
        packed = run("snapshots", "diff", "work", **kw).stdout
        assert names(gzip.decompress(packed)) == want
        plain = run("snapshots", "diff", "--media-type", OCI, "base", **kw).stdout
        assert names(plain) == ["one", "two"]
        two = run("snapshots", "diff", "--media-type", OCI, "--keep", "--label", "a=b", "--ref", "mine", "base", "work", **kw)
        assert names(two.stdout) == want
        labels = differ.labels(lighter.sha256(two.stdout))
        assert labels["a"] == "b" and labels["containerd.io/gc.root"]
    old = shared_daemon.cli("snapshots", "diff", "--media-type", OCI, "work", env={**os.environ, "SOURCE_DATE_EPOCH": "7"}, **kw)
    assert [e[5] for e in entries(old.stdout)] == [0, 7]
    bad = shared_daemon.cli("snapshots", "diff", "work", env={**os.environ, "SOURCE_DATE_EPOCH": "now"}, check=False, **kw)
    assert bad.returncode == 1 and b'SOURCE_DATE_EPOCH is no number of seconds: "now"' in bad.stderr
    for run in (shared_daemon.ctr, shared_daemon.cli):
        failed = run("snapshots", "diff", "nothing", check=False, **kw)
        assert failed.returncode == 1 and b"snapshot nothing does not exist: not found" in failed.stderr
    assert snapshots() == before, "views are left"


# ------------------------------------------------------------------------------------------------------ bad input
def test_20_errors_name_the_thing(shared_daemon, differ, pair):
    a, b = pair
    write(b / "f")
    for kind in ("application/vnd.docker.image.rootfs.diff.tar.gzip", "nonsense", OCI + "+lzma"):
        assert differ.fails(a, b, kind) == ("UNIMPLEMENTED", f"unsupported diff media type: {kind}: not implemented")
    code, text = differ.fails("/nonexistent", b)
    assert text.startswith("failed to mount /nonexistent: ") and text.endswith("No such file or directory")
    code, text = differ.fails(a, "/nonexistent")
    assert text.startswith(f"mount callback failed on {a}: ") and "failed to mount /nonexistent: " in text
    code, text = differ.fails([mount("nonsense", "x")], b)
    assert "failed to mount" in text and "No such device" in text
    assert differ.fails([mount("bind", a, "bind", "X-containerd.what")], [mount("tmpfs", "t", "X-containerd.what")])[0] == \
        "INVALID_ARGUMENT"
    code, text = differ.fails(a, b, labels={"key": "v" * 5000})
    assert code == "INVALID_ARGUMENT" and "failed to commit: info.Labels: label key and value length" in text
    code, text = differ.fails(a, b, ref="r" * 5000)
    assert code == "INVALID_ARGUMENT" and "failed to open writer: reference is longer" in text
    with contextlib.closing(shared_daemon.client(None)) as c:
        code, text = Differ(c).fails(a, b)
        assert code == "FAILED_PRECONDITION" and text.endswith("failed to open writer: namespace is required: failed precondition")
    with contextlib.closing(shared_daemon.client(lease="no-such-lease")) as c:
        code, text = Differ(c).fails(a, b)
        assert code == "NOT_FOUND" and "lease does not exist" in text
    assert differ.ingests() == []


def test_21_references(differ, pair):
    """A given reference is begun anew, and stays when the call fails; one in use is refused."""
    a, b = pair
    write(b / "f", os.urandom(20).hex())
    m = differ.c.messages("content")
    list(differ.c.content.Write(iter([m.WriteContentRequest(action=m.WRITE, ref="given", data=b"left behind")])))
    assert names(differ.layer(a, b, ref="given")) == ["f"]
    assert differ.ingests() == []
    write(b / "f", os.urandom(20).hex())
    differ.fails(a, b, ref="given", labels={"key": "v" * 5000})
    assert differ.ingests() == ["given"]
    assert names(differ.layer(a, b, ref="given")) == ["f"]
    hold = threading.Event()

    def holding():
        yield m.WriteContentRequest(action=m.STAT, ref="held")
        hold.wait(30)
    stream = differ.c.content.Write(holding())
    next(stream)
    code, text = differ.fails(a, b, ref="held")
    hold.set()
    assert code == "UNAVAILABLE" and "failed to open writer: ref default/1/held locked for" in text
    stream.cancel()

    def gone():
        with contextlib.suppress(grpc.RpcError):
            differ.c.content.Abort(m.AbortRequest(ref="held"))
        return differ.ingests() == []
    lighter.eventually("the end of the ingest", gone)


def test_22_a_lease_holds_the_layer(shared_daemon, pair):
    write(pair[1] / "f", os.urandom(20).hex())
    with contextlib.closing(shared_daemon.client()) as c:
        m = c.messages("leases")
        lease = c.leases.Create(m.CreateRequest(id="for-diff")).lease
    with contextlib.closing(shared_daemon.client(lease=lease.id)) as c:
        digest = Differ(c).diff(*pair).digest
        held = c.leases.ListResources(m.ListResourcesRequest(id=lease.id)).resources
        assert [(r.type, r.id) for r in held] == [("content", digest)]


# --------------------------------------------------------------------------------------------------- interruptions
def workers(daemon):
    return [p for p in lighter.children_of(daemon.pid)
            if b"lighter-unpack" in pathlib.Path(f"/proc/{p}/cmdline").read_bytes()]


@pytest.fixture
def endless(tmp_path):
    """A tree that takes long: much of it is holes, which cost time and no disk."""
    d = tmp_path / "endless"
    d.mkdir()
    with open(d / "huge", "wb") as f:
        f.truncate(1 << 42)
    return d


def remains(daemon):
    root = daemon.root / "io.containerd.content.v1.content" / "ingest"
    return [*(root.iterdir() if root.exists() else []), *(daemon.root / "tmpmounts").glob("*"), *workers(daemon),
            *[l for l in open("/proc/mounts") if str(daemon.dir) in l]]


def test_30_cancelled_or_killed(daemon, endless):
    with contextlib.closing(daemon.client()) as c, concurrent.futures.ThreadPoolExecutor() as pool:
        differ = Differ(c)
        assert differ.fails([], endless, OCI + "+zstd", timeout=1)[0] == "DEADLINE_EXCEEDED"
        lighter.eventually("nothing left of a call that timed out", lambda: not remains(daemon))
        running = pool.submit(differ.fails, [], endless, OCI + "+zstd")
        pid = lighter.eventually("a worker", lambda: workers(daemon))[0]
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        code, text = running.result(20)
        assert code == "INTERNAL" and "lighter-unpack died of signal 9" in text
        lighter.eventually("nothing left of a dead worker", lambda: not remains(daemon))


def test_31_the_daemon_is_killed(daemon, endless):
    with contextlib.closing(daemon.client()) as c, concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(Differ(c).fails, [mount("tmpfs", "t")], endless, OCI + "+zstd")
        pid = lighter.eventually("a worker", lambda: workers(daemon))[0]
        lighter.eventually("an ingest", lambda: Differ(c).ingests())
        daemon.kill()
        assert running.result(20)[0] == "UNAVAILABLE"
    lighter.eventually("the end of its worker", lambda: not lighter.alive(pid))
    daemon.start()
    assert remains(daemon) == []


def test_32_a_full_disk(endless, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", small], check=True)
    d = lighter.Daemon(parent=small)
    try:
        d.start()
        with contextlib.closing(d.client()) as c:
            code, text = Differ(c).fails([], endless, OCI)
            assert code == "RESOURCE_EXHAUSTED" and "failed to write diff" in text and "No space left" in text
            lighter.eventually("nothing left of it", lambda: not remains(d)[:-1])
        assert d.stop() == 0
    finally:
        d.cleanup()
        subprocess.run(["umount", "-l", small], check=True)


def test_33_a_tree_that_changes_meanwhile(differ, tmp_path):
    """Folders and files become links to a secret and back: nothing of it is ever in a layer."""
    secret = tmp_path / "secret"
    secret.mkdir()
    write(secret / "f", "the secret")
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    write(root / "d/f", "innocent")
    write(root / "f", "innocent")
    (root / "links").mkdir()
    os.symlink(secret, root / "links/d")
    os.symlink(secret / "f", root / "links/f")
    swapper = subprocess.Popen(["python3", "-c", """
import ctypes, sys
libc = ctypes.CDLL(None)
at = [p.encode() for p in sys.argv[1:]]
while True:
    for i in (0, 2):
        libc.renameat2(-100, at[i], -100, at[i + 1], 2)
""", root / "d", root / "links/d", root / "f", root / "links/f"])
    try:
        seen = set()
        for _ in range(60):
            try:
                data = differ.layer([], root)
            except grpc.RpcError as e:
                assert "failed to write diff" in e.details()
                continue
            assert b"the secret" not in data
            seen.update((e[0], e[1]) for e in entries(data))
        assert ("d", tarfile.SYMTYPE) in seen or ("d", tarfile.DIRTYPE) in seen
    finally:
        swapper.kill()
        swapper.wait()


def test_34_many_at_once(differ, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    fill(root, random.Random(5), 100)
    (root / "large").mkdir()
    for i in range(2000):
        (root / f"large/{i}").touch()
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        digests = {d.digest for d in pool.map(lambda _: differ.diff([], root), range(24))}
    assert len(digests) == 1 and differ.ingests() == []
