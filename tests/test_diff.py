# SPDX-License-Identifier: Apache-2.0
"""Diff.Apply: layers through the daemon and its sandboxed worker, onto real snapshots."""
import base64
import concurrent.futures
import contextlib
import gzip
import io
import os
import pathlib
import random
import signal
import stat
import subprocess
import tarfile

import grpc
import pytest

import lighter

OCI = "application/vnd.oci.image.layer.v1.tar"
DOCKER = "application/vnd.docker.image.rootfs.diff.tar"


# --------------------------------------------------------------------------------------------------------- helpers
def tar(*entries, fmt=tarfile.PAX_FORMAT):
    """Entries are (name, data or type letter, attributes): ("f", b"x"), ("d", "5", {"mode": 0o700})."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt) as t:
        for name, what, *more in entries:
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if isinstance(what, bytes):
                info.size = len(what)
            else:
                info.type = what.encode()
            for key, value in (more[0] if more else {}).items():
                setattr(info, key, value)
            t.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return out.getvalue()


class Layers:
    """A client that puts blobs and applies them."""

    def __init__(self, daemon):
        self.c = daemon.client()
        self.n = 0

    def put(self, data):
        m = self.c.messages("content")
        digest = lighter.sha256(data)
        self.n += 1

        def requests():
            for at in range(0, len(data), 1 << 20):
                yield m.WriteContentRequest(action=m.WRITE, ref=f"r{self.n}-{digest}", offset=at, total=len(data),
                                            expected=digest, data=data[at:at + (1 << 20)])
            yield m.WriteContentRequest(action=m.COMMIT, ref=f"r{self.n}-{digest}", offset=len(data), total=len(data),
                                        expected=digest)
        try:
            list(self.c.content.Write(requests()))
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.ALREADY_EXISTS, e
        return digest

    def prepare(self, key, parent="", snapshotter="overlayfs"):
        m = self.c.messages("snapshots")
        return self.c.snapshots.Prepare(m.PrepareSnapshotRequest(snapshotter=snapshotter, key=key, parent=parent)).mounts

    def commit(self, name, key, snapshotter="overlayfs"):
        m = self.c.messages("snapshots")
        self.c.snapshots.Commit(m.CommitSnapshotRequest(snapshotter=snapshotter, name=name, key=key))

    def apply(self, data, mounts, media_type=DOCKER, timeout=60, **more):
        m, types = self.c.messages("diff"), lighter.pb("containerd/types/types")
        d = types.Descriptor(media_type=media_type, digest=self.put(data), size=len(data))
        return self.c.diff.Apply(m.ApplyRequest(diff=d, mounts=mounts, **more), timeout=timeout).applied

    def fails(self, *args, **kw):
        with pytest.raises(grpc.RpcError) as e:
            self.apply(*args, **kw)
        return e.value.code(), e.value.details()


def bind(path):
    types = lighter.pb("containerd/types/types")
    return [types.Mount(type="bind", source=str(path), options=["rbind", "rw"])]


@pytest.fixture
def layers(shared_daemon):
    l = Layers(shared_daemon)
    yield l
    l.c.close()


def tree(path):
    """Everything about a tree that a layer decides."""
    out = {}
    for p in [pathlib.Path(path), *pathlib.Path(path).rglob("*")]:
        s = p.lstat()
        what = os.readlink(p) if p.is_symlink() else p.read_bytes() if stat.S_ISREG(s.st_mode) else s.st_rdev
        xattrs = {n: os.getxattr(p, n, follow_symlinks=False) for n in os.listxattr(p, follow_symlinks=False)}
        out[str(p.relative_to(path))] = (oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns, s.st_nlink, what, xattrs)
    del out["."]
    return out


def worker_pids(daemon):
    def name(pid):
        with contextlib.suppress(OSError):
            return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return [p for p in lighter.children_of(daemon.pid) if name(p) == "lighter-unpack"]


# --------------------------------------------------------------------------------------------------- good archives
def test_01_a_tree_comes_out_as_tar_extracts_it(layers, tmp_path):
    """A real tree, packed by GNU tar and by Python in each format, against tar -x."""
    src, rnd = tmp_path / "src", random.Random(1)
    for i in range(300):
        d = src / f"d{i % 17}" / f"e{i % 5}"
        d.mkdir(parents=True, exist_ok=True)
        f = d / ("name" * rnd.randrange(1, 40) + str(i))
        f.write_bytes(rnd.randbytes(rnd.choice((0, 1, 511, 512, 513, 5000, 300000))))
        f.chmod(rnd.choice((0o644, 0o600, 0o4755, 0o2711, 0o1777)))
        os.chown(f, rnd.randrange(3) * 70000, rnd.randrange(3) * 3000000)
        os.utime(f, ns=(0, rnd.randrange(10**18)))
        f.chmod(rnd.choice((0o644, 0o600, 0o4755, 0o2711, 0o1777)))
    (src / "l").symlink_to("../" * 30 + "etc/passwd")
    os.link(next((src / "d0" / "e0").iterdir()), src / "hard")
    os.mkfifo(src / "fifo", 0o622)
    os.mknod(src / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(src / "disk", stat.S_IFBLK | 0o660, os.makedev(7, 250))
    (src / "grüße").write_text("x")
    (src / "d1").chmod(0o2750)
    for fmt in ("gnu", "posix"):
        data = subprocess.check_output(["tar", f"--format={fmt}", "--numeric-owner", "-C", src, "-cf", "-", "."])
        want, got = tmp_path / f"want-{fmt}", tmp_path / f"got-{fmt}"
        want.mkdir(), got.mkdir()
        subprocess.run(["tar", "-C", want, "--same-owner", "-xpf", "-"], input=data, check=True)
        applied = layers.apply(gzip.compress(data, 1), bind(got))
        assert applied.digest == lighter.sha256(data) and applied.size == len(data)
        assert applied.media_type == OCI
        assert tree(got) == tree(want)


def test_02_compressions_and_media_types(layers, tmp_path):
    data = tar(("f", b"x" * 100000))
    packed = {"raw": data, "gzip": gzip.compress(data), "zstd": subprocess.check_output(["zstd", "-qc"], input=data)}
    good = [(DOCKER, "raw gzip zstd"), (DOCKER + ".gzip", "raw gzip zstd"), (OCI, "raw"), (OCI + "+gzip", "raw gzip zstd"),
            (OCI + "+zstd", "raw gzip zstd"), (OCI + "+strange", "raw"),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "gzip"),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip")]
    for n, (media_type, forms) in enumerate(good):
        for form in forms.split():
            to = tmp_path / f"{n}-{form}"
            to.mkdir()
            assert layers.apply(packed[form], bind(to), media_type).digest == lighter.sha256(data), media_type
            assert (to / "f").read_bytes() == b"x" * 100000
    code, text = layers.fails(packed["gzip"], bind(tmp_path), OCI)
    assert code == grpc.StatusCode.UNKNOWN and "unexpected EOF" in text
    for bad in ("text/plain", "", OCI + "+zstd+encrypted", "application/vnd.oci.image.layer.v2.tar"):
        assert layers.fails(data, bind(tmp_path), bad) == (
            grpc.StatusCode.UNKNOWN, f"failed to get stream processor for {bad}: no processor for media-type")
    empty = layers.apply(b"", bind(tmp_path), OCI)
    assert (empty.digest, empty.size) == (lighter.sha256(b""), 0)


def test_03_layers_on_snapshots(layers, shared_daemon, tmp_path):
    """Whiteouts and opaque folders, seen through the mounted overlay and through native's plain folders."""
    base = tar(("keep/a", b"1"), ("gone/deep/b", b"1"), ("opq", "5", {"mode": 0o711, "uid": 7}), ("opq/old", b"1"),
               ("implied", "5", {"mode": 0o2750, "gid": 42}), ("file", b"1"))
    upper = tar(("gone/.wh.deep", b""), ("keep/c", b"2"), ("opq", "5", {"mode": 0o711, "uid": 7}), ("opq/.wh..wh..opq", b""),
                ("opq/new", b"2"), ("implied/x", b"2"), ("file", "5"), ("file/now-a-folder", b"2"))
    for sn in ("overlayfs", "native"):
        layers.apply(gzip.compress(base), layers.prepare(f"{sn}-1", "", sn))
        layers.commit(f"{sn}-base", f"{sn}-1", sn)
        mounts = layers.prepare(f"{sn}-2", f"{sn}-base", sn)
        layers.apply(gzip.compress(upper), mounts, sync_fs=True)
        layers.commit(f"{sn}-top", f"{sn}-2", sn)
        view = layers.prepare(f"{sn}-3", f"{sn}-top", sn)[0]
        to = tmp_path / sn
        to.mkdir()
        if view.type == "overlay":
            lighter.run(["mount", "-t", "overlay", "-o", ",".join(view.options), "overlay", to])
        else:
            lighter.run(["mount", "--bind", view.source, to])
        try:
            files = sorted(str(p.relative_to(to)) for p in to.rglob("*") if not p.is_dir())
            assert files == ["file/now-a-folder", "implied/x", "keep/a", "keep/c", "opq/new"], sn
            s = (to / "implied").stat()
            assert (stat.S_IMODE(s.st_mode), s.st_gid) == (0o2750, 42), sn
        finally:
            lighter.run(["umount", to])


def test_04_other_mounts_and_none(layers, shared_daemon):
    types = lighter.pb("containerd/types/types")
    data = tar(("f", b"x"))
    assert layers.apply(data, []).size == len(data)
    assert layers.apply(data, [types.Mount(type="tmpfs", source="tmpfs")]).size == len(data)
    assert not list((shared_daemon.root / "tmpmounts").iterdir())
    code, text = layers.fails(data, [types.Mount(type="nonsense", source="x")])
    assert "failed to mount" in text
    assert not list((shared_daemon.root / "tmpmounts").iterdir())


def test_05_sparse_and_long_names_and_attributes(layers, tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    with open(src / "sparse", "wb") as f:
        f.truncate(50 << 20)
        f.seek(20 << 20)
        f.write(b"in the middle")
    os.setxattr(src / "sparse", "security.capability", b"\1\0\0\2\0\4\0\0" + b"\0" * 12)
    data = subprocess.check_output(["tar", "--format=posix", "--sparse", "--sparse-version=1.0", "--xattrs",
                                    "--xattrs-include=*", "-C", src, "-cf", "-", "."])
    assert len(data) < 1 << 20
    to = tmp_path / "to"
    to.mkdir()
    layers.apply(data, bind(to))
    assert tree(to) == tree(src)
    assert (to / "sparse").stat().st_blocks * 512 < 1 << 20


# ---------------------------------------------------------------------------------------------------- bad archives
def test_10_errors_name_the_thing(layers, tmp_path):
    where = f"mount callback failed on {tmp_path}: "
    unknown = grpc.StatusCode.UNKNOWN
    good = tar(("f", b"x" * 10000))
    assert layers.fails(gzip.compress(good)[:-20], bind(tmp_path)) == (unknown, where + "unexpected EOF")
    assert layers.fails(good[:5000], bind(tmp_path)) == (unknown, where + "unexpected EOF")
    assert layers.fails(b"not a tar" * 1000, bind(tmp_path)) == (unknown, where + "archive/tar: invalid tar header")
    broken = bytearray(gzip.compress(good))
    broken[-8] ^= 1
    assert layers.fails(bytes(broken), bind(tmp_path)) == (unknown, where + "gzip: invalid checksum")
    assert layers.fails(tar(("x", "S")), bind(tmp_path)) == (unknown, where + "unhandled tar header type 83")
    code, text = layers.fails(tar(("f", b""), ("f/g/h", b"")), bind(tmp_path))
    assert (code, text) == (unknown, where + f"mkparent {tmp_path}/f: not a directory")
    code, text = layers.fails(tar((".wh...", b"")), bind(tmp_path))
    assert (code, text) == (unknown, where + "invalid whiteout name: .wh...: invalid archive")
    absent = lighter.sha256(b"absent")
    m, types = layers.c.messages("diff"), lighter.pb("containerd/types/types")
    with pytest.raises(grpc.RpcError) as e:
        layers.c.diff.Apply(m.ApplyRequest(diff=types.Descriptor(media_type=OCI, digest=absent), mounts=bind(tmp_path)))
    assert e.value.code() == grpc.StatusCode.NOT_FOUND
    assert e.value.details() == f"failed to get reader from content store: content digest {absent}: not found"


def test_11_nothing_climbs_out(layers, tmp_path):
    """Names, links and chains of links that lead to a canary beside the target, in both ways of applying."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "secret").write_text("secret")
    (canary / "secret").chmod(0o600)
    before = tree(canary)
    ways = [str(canary), "../canary", "../../../../../.." + str(canary), "up/canary", "abs" + str(canary)]
    inner = [("secret", b"stolen"), ("new", b"stolen"), (".wh.secret", b""), (".wh..wh..opq", b""), ("sub/deep", b"x"),
             ("dev", "3", {"devmajor": 1, "devminor": 3}), ("", "5", {"mode": 0o777})]
    types = lighter.pb("containerd/types/types")
    for n, (way, (name, what, *more)) in enumerate((w, i) for w in ways for i in inner):
        target = tmp_path / f"t{n}"
        target.mkdir()
        prefix = [("up", "2", {"linkname": ".."}), ("abs", "2", {"linkname": "/"})]
        attacks = [
            tar(*prefix, ("l", "2", {"linkname": way}), ("l/" + name, what, *more)),
            tar(*prefix, (way + "/" + name, what, *more)),
            tar(*prefix, ("a", "2", {"linkname": "b"}), ("b", "2", {"linkname": way}), ("a/" + name, what, *more)),
            tar(*prefix, ("h", "1", {"linkname": way + "/secret", "mode": 0o777})),
            tar(*prefix, ("s", "2", {"linkname": way + "/secret"}), ("h", "1", {"linkname": "s", "mode": 0o777}),
                ("h", b"stolen", {"mode": 0o777})),
        ]
        for attack in attacks[:2] if n % 3 else attacks:
            for mounts in (bind(target), [types.Mount(type="overlay", source="overlay",
                                                      options=[f"upperdir={target}", f"lowerdir={canary}"])]):
                with contextlib.suppress(grpc.RpcError):
                    layers.apply(attack, mounts)
                assert tree(canary) == before, (way, name)


def test_12_bombs(layers, tmp_path):
    """A terabyte of zeros that is announced, and one that is not."""
    header = bytearray(tar(("zeros", b""))[:512])
    header[124:136] = b"\x80\0\0\0" + (10 << 40).to_bytes(8, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    code, text = layers.fails(bytes(header) + b"\0" * 512, bind(tmp_path))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "layer needs more than" in text
    assert not (tmp_path / "zeros").exists()
    pax = bytearray(header)
    pax[156] = ord("x")
    pax[148:156] = b" " * 8
    pax[148:156] = b"%06o\0 " % sum(pax)
    code, text = layers.fails(bytes(pax), bind(tmp_path))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "in archive: limit is" in text
    window = subprocess.run(["zstd", "--ultra", "--long=31", "-qc"], input=tar(("f", b"x")), capture_output=True)
    if window.returncode == 0:
        with contextlib.suppress(grpc.RpcError):
            layers.apply(window.stdout, bind(tmp_path), DOCKER)
    deep = "/".join("d" * 300)
    code, text = layers.fails(tar((deep, b"")), bind(tmp_path))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


# ------------------------------------------------------------------------------------------------------ the worker
def slow_layer():
    """Many files, so that it takes a while, and small as a blob."""
    return gzip.compress(tar(*((f"d{i % 100}/f{i}", b"x" * 100) for i in range(60000))), 1)


def test_20_a_cancelled_call_ends_its_worker(daemon, tmp_path):
    l = Layers(daemon)
    data = slow_layer()
    l.put(data)
    with pytest.raises(grpc.RpcError) as e:
        l.apply(data, bind(tmp_path), timeout=0.2)
    assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    lighter.eventually("the worker's end", lambda: not worker_pids(daemon))
    assert l.apply(tar(("after", b"x")), bind(tmp_path)).size


def test_21_a_killed_worker_is_an_error_and_no_more(daemon, tmp_path):
    l = Layers(daemon)
    data = slow_layer()
    l.put(data)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        call = pool.submit(l.fails, data, bind(tmp_path))
        os.kill(lighter.eventually("a worker", lambda: worker_pids(daemon))[0], signal.SIGKILL)
        code, text = call.result(20)
    assert code == grpc.StatusCode.INTERNAL and "lighter-unpack died of signal 9" in text
    assert l.apply(tar(("after", b"x")), bind(tmp_path)).size


def test_22_workers_end_with_a_killed_daemon(daemon, tmp_path):
    l = Layers(daemon)
    data = slow_layer()
    l.put(data)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        call = pool.submit(l.fails, data, bind(tmp_path))
        pid = lighter.eventually("a worker", lambda: worker_pids(daemon))[0]
        daemon.kill()
        call.result(20)
    lighter.eventually("the worker's end", lambda: not lighter.alive(pid))
    daemon.start()


def test_23_the_sandbox(daemon, tmp_path):
    """What a worker is while it works: other namespaces, an empty root, few capabilities, a filter."""
    l = Layers(daemon)
    data = slow_layer()
    l.put(data)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        call = pool.submit(l.apply, data, bind(tmp_path))
        pid = lighter.eventually("a worker", lambda: worker_pids(daemon))[0]

        def confined():
            status = dict(line.split(":\t") for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
                          if ":\t" in line)
            return status if status["Seccomp"] == "2" else None
        status = lighter.eventually("the filter", confined)
        os.kill(pid, signal.SIGSTOP)
        try:
            for ns in ("user", "mnt", "net", "ipc", "uts"):
                assert os.readlink(f"/proc/{pid}/ns/{ns}") != os.readlink(f"/proc/self/ns/{ns}"), ns
            assert os.listdir(f"/proc/{pid}/root") == []
            assert status["NoNewPrivs"] == "1"
            # chown, dac_override, fowner, fsetid, mknod, setfcap: of the worker's own namespace
            assert int(status["CapEff"], 16) & ~((1 << 0) | (1 << 1) | (1 << 3) | (1 << 4) | (1 << 27) | (1 << 31)) == 0
            files = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
            assert not any("meta" in f or "l.sock" in f for f in files), files
        finally:
            os.kill(pid, signal.SIGCONT)
        assert call.result(60).size


def test_24_many_at_once(layers, tmp_path):
    data = [gzip.compress(tar(*((f"f{i}-{k}", os.urandom(3000)) for i in range(200)))) for k in range(8)]
    for k in range(8):
        (tmp_path / str(k)).mkdir()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda k: layers.apply(data[k], bind(tmp_path / str(k))), range(8)))
    assert [d.digest for d in done] == [lighter.sha256(gzip.decompress(x)) for x in data]
    assert all(len(list((tmp_path / str(k)).iterdir())) == 200 for k in range(8))


# ------------------------------------------------------------------------------------------------ stream processors
PROCESSORS = """
version = 2
[stream_processors.decoder]
  accepts = ["application/x-base64"]
  returns = "application/vnd.oci.image.layer.v1.tar+gzip"
  path = "sh"
  args = ["-c", 'echo "$STREAM_PROCESSOR_MEDIATYPE $GREETING" >"$SEEN"; cat <&3 >>"$SEEN"; base64 -d']
  env = ["GREETING=hello", "SEEN={seen}"]
[stream_processors.twice]
  accepts = ["application/x-base64-twice"]
  returns = "application/x-base64"
  path = "base64"
  args = ["-d"]
[stream_processors.refuses]
  accepts = ["application/x-refused"]
  returns = "application/vnd.oci.image.layer.v1.tar"
  path = "sh"
  args = ["-c", "echo no key for you >&2; exit 3"]
[stream_processors.silent]
  accepts = ["application/x-silent"]
  returns = "application/vnd.oci.image.layer.v1.tar"
  path = "/bin/sh"
  args = ["-c", "cat; exit 7"]
[stream_processors.forever]
  accepts = ["application/x-forever"]
  returns = "application/vnd.oci.image.layer.v1.tar"
  path = "sh"
  args = ["-c", "while :; do sleep 1; done"]
[stream_processors.circle]
  accepts = ["application/x-circle"]
  returns = "application/x-circle"
  path = "cat"
"""


def test_40_stream_processors(tmp_path):
    seen, to = tmp_path / "seen", tmp_path / "to"
    to.mkdir()
    d = lighter.Daemon(config=PROCESSORS.replace("{seen}", str(seen)))
    try:
        d.start()
        layers, m = Layers(d), d.client().messages("diff")
        data = tar(("f", b"data" * 50000))
        packed = base64.b64encode(gzip.compress(data))
        payload = lighter.pb("google/protobuf/any").Any(type_url="type", value=b"key")

        def apply(blob, kind, timeout=30, **kw):
            types = lighter.pb("containerd/types/types")
            return layers.c.diff.Apply(m.ApplyRequest(
                diff=types.Descriptor(media_type=kind, digest=layers.put(blob), size=len(blob)), mounts=bind(to), **kw),
                timeout=timeout).applied

        def fails(*args, **kw):
            with pytest.raises(grpc.RpcError) as e:
                apply(*args, **kw)
            return e.value.code().name, e.value.details()

        got = apply(packed, "application/x-base64", payloads={"decoder": payload, "other": payload})
        assert (got.digest, got.size, got.media_type) == (lighter.sha256(data), len(data), OCI)
        assert (to / "f").read_bytes() == b"data" * 50000
        assert seen.read_bytes() == b"application/x-base64 hello\n" + payload.SerializeToString()
        got = apply(base64.b64encode(packed), "application/x-base64-twice", payloads={"decoder": payload})
        assert got.digest == lighter.sha256(data)
        assert fails(data, "application/x-refused") == ("UNKNOWN", "no key for you")
        assert fails(data, "application/x-silent") == ("UNKNOWN", "stream processor silent: exit status 7")
        code, text = fails(data, "application/x-circle")
        assert "failed to get stream processor for application/x-circle: more than" in text
        assert fails(data, OCI + "+gzip+encrypted") == (
            "UNKNOWN", f'failed to get stream processor for {OCI}+gzip+encrypted: exec: "ctd-decoder": executable file not '
            'found in $PATH')
        assert fails(data, "text/plain")[1] == "failed to get stream processor for text/plain: no processor for media-type"
        assert fails(data, "application/x-forever", timeout=1)[0] == "DEADLINE_EXCEEDED"
        lighter.eventually("the end of what was started", lambda: not lighter.children_of(d.pid))
        assert "decoder" in run_dump(d)
        assert d.stop() == 0
    finally:
        d.cleanup()


def run_dump(daemon):
    return lighter.run([lighter.BUILD / "lighterd", "--config", daemon.config, "config", "dump"]).stdout
