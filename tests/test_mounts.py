# SPDX-License-Identifier: Apache-2.0
"""The mounts service: activations of real mounts, their life across restarts and collections, and bad input."""
import concurrent.futures
import contextlib
import io
import os
import pathlib
import signal
import tarfile
import time

import grpc
import pytest

from lighter import BUILD, busybox_rootfs, eventually, pb, run, sha256, tar_of
from test_tasks import Box

BIG = "x" * 128 * 1024


def mount_points(daemon):
    return sorted(l.split()[4] for l in open("/proc/self/mountinfo") if str(daemon.state) in l.split()[4])


def loops(path):
    return [l for l in run(["losetup", "-a"]).stdout.splitlines() if str(path) in l]


class Mounts:
    def __init__(self, client):
        self.stub, self.m, self.types = client.mounts, client.messages("mounts"), pb("containerd/types/types")

    def mount(self, type, source="", options=(), target=""):
        return self.types.Mount(type=type, source=str(source), options=[str(o) for o in options], target=target)

    def activate(self, name, *mounts, **kw):
        return self.stub.Activate(self.m.ActivateRequest(name=name, mounts=mounts, **kw), timeout=60).info

    def deactivate(self, name):
        self.stub.Deactivate(self.m.DeactivateRequest(name=name), timeout=60)

    def info(self, name):
        return self.stub.Info(self.m.InfoRequest(name=name), timeout=10).info

    def update(self, mask=None, **info):
        mask = None if mask is None else pb("google/protobuf/field_mask").FieldMask(paths=mask)
        return self.stub.Update(self.m.UpdateRequest(info=self.types.ActivationInfo(**info), update_mask=mask)).info

    def names(self, *filters):
        return [r.info.name for r in self.stub.List(self.m.ListRequest(filters=filters), timeout=10)]


def refused(code, text, call, *args, **kw):
    with pytest.raises(grpc.RpcError) as e:
        call(*args, **kw)
    assert e.value.code().name == code or not code, e.value
    assert text in e.value.details(), e.value


@pytest.fixture
def mounts(daemon):
    c = daemon.client()
    yield Mounts(c)
    c.close()
    # whatever a test does, nothing is left when it has taken off what it knows
    assert mount_points(daemon) == []
    assert list((daemon.state / "io.containerd.mount-manager.v1.bolt/t").iterdir()) == []


@pytest.fixture
def layers(daemon):
    """Three folders with a file each, below the daemon's root."""
    top = daemon.root / "layers"
    for n in range(3):
        (top / str(n)).mkdir(parents=True)
        (top / str(n) / f"file{n}").write_text(str(n))
    return top


def erofs_image(folder, path):
    run(["mkfs.erofs", path, folder])
    return path


def mounted(info, path):
    """What a client does with the rest of an activation."""
    path.mkdir(exist_ok=True)
    for m in info.system:
        run(["mount", "-t", m.type, m.source, path, *(["-o", ",".join(m.options)] if m.options else [])])
    return path


def test_what_the_kernel_can_do_is_not_implemented(mounts):
    refused("UNIMPLEMENTED", "not implemented", mounts.activate, "m", mounts.mount("bind", "/", ["rbind"]))
    refused("UNIMPLEMENTED", "not implemented", mounts.activate, "m")
    refused("UNIMPLEMENTED", "not implemented", mounts.activate, "", mounts.mount("overlay"))
    assert mounts.names() == []


def test_erofs_layers_below_an_overlay(daemon, mounts, layers, tmp_path):
    """The mounts of containerd's erofs snapshotter: images, then an overlay over them whose folders are made."""
    images = [erofs_image(layers / str(n), layers / f"{n}.erofs") for n in range(3)]
    (layers / "rw").mkdir()
    info = mounts.activate(
        "c1", *(mounts.mount("erofs", i, ["ro", "loop"]) for i in images),
        mounts.mount("format/mkdir/overlay", "overlay", [
            f"X-containerd.mkdir.path={layers}/rw/upper:0755", f"X-containerd.mkdir.path={layers}/rw/work",
            f"workdir={layers}/rw/work", f"upperdir={layers}/rw/upper", "lowerdir={{ overlay 0 2 }}"]),
        labels={"a": "b"})
    assert (info.name, info.labels) == ("c1", {"a": "b"})
    points = [a.mount_point for a in info.active]
    assert sorted(points) == mount_points(daemon) and all(a.mounted_at.seconds for a in info.active)
    assert [a.mount.type for a in info.active] == ["erofs"] * 3
    (overlay,) = info.system
    assert overlay.type == "overlay" and overlay.options[-1] == "lowerdir=" + ":".join(points)
    assert (layers / "rw/upper").stat().st_mode & 0o777 == 0o755 and (layers / "rw/work").stat().st_mode & 0o777 == 0o700
    root = mounted(info, tmp_path / "root")
    try:
        assert sorted(p.name for p in root.iterdir()) == ["file0", "file1", "file2"]
        (root / "new").write_text("x")
        assert (layers / "rw/upper/new").exists()
    finally:
        run(["umount", root])
    assert mounts.info("c1") == info and mounts.names() == ["c1"]
    refused("ALREADY_EXISTS", 'mount "c1": already exists', mounts.activate, "c1", mounts.mount("erofs", images[0]))
    mounts.deactivate("c1")
    refused("NOT_FOUND", 'mount "c1" not found', mounts.deactivate, "c1")
    refused("NOT_FOUND", 'mount "c1" not found', mounts.info, "c1")
    assert loops(layers) == []


def test_temporary_file_system_of_a_made_image(daemon, mounts, layers):
    image = layers / "disk.img"
    info = mounts.activate(
        "t", mounts.mount("mkfs/loop", image, ["X-containerd.mkfs.size=8MiB", "X-containerd.mkfs.fs=ext4",
                                               "X-containerd.mkfs.uuid=6f5bd1c0-61b5-4a35-8b7b-1c2d3e4f5a6b"]),
        mounts.mount("format/ext4", "{{ mount 0 }}"),
        mounts.mount("format/mkdir/overlay", "overlay", [
            "X-containerd.mkdir.path={{ mount 1 }}/up", "X-containerd.mkdir.path={{ mount 1 }}/work",
            "upperdir={{ mount 1 }}/up", "workdir={{ mount 1 }}/work", f"lowerdir={layers}/0"]),
        temporary=True)
    assert [a.mount.type for a in info.active] == ["loop", "ext4", "overlay"]
    (bind,) = info.system
    assert (bind.type, bind.source, bind.options) == ("bind", info.active[2].mount_point, ["rbind"])
    assert (pathlib.Path(bind.source) / "file0").read_text() == "0"
    with open(image, "rb") as f:  # where ext4's superblock has it
        assert f.seek(1024 + 0x68) and f.read(16).hex() == "6f5bd1c061b54a358b7b1c2d3e4f5a6b"
    assert image.stat().st_size == 8 << 20 and len(loops(image)) == 1
    mounts.deactivate("t")
    eventually("the loop device free", lambda: not loops(image))
    # the image stays, with what was written, and is not made again
    with open(image, "r+b") as f:
        f.write(b"kept")
    refused("UNKNOWN", "mount failed {ext4", mounts.activate, "t", mounts.mount(
        "mkfs/ext4", image, ["X-containerd.mkfs.size=8MiB", "loop", "bogus"]), temporary=True)
    assert open(image, "rb").read(4) == b"kept" and loops(image) == []


def test_mapped_owners(daemon, mounts, layers, tmp_path):
    """uidmap and gidmap, which the mount code consumes, for binds and for the lowerdirs of an overlay."""
    maps = ["uidmap=0:100000:65536", "gidmap=0:200000:65536"]
    for d in ("up", "work"):
        (layers / d).mkdir()
    info = mounts.activate("m", mounts.mount("bind", layers / "0", [*maps, "rbind", "ro"]),
                           mounts.mount("overlay", "overlay", [
                               *maps, f"workdir={layers}/work", f"upperdir={layers}/up",
                               f"lowerdir={layers}/1:{layers}/2", "index=off"]), temporary=True)
    bind, overlay = (pathlib.Path(a.mount_point) for a in info.active)
    for p in (bind / "file0", overlay / "file1", overlay / "file2"):
        assert (p.stat().st_uid, p.stat().st_gid) == (100000, 200000)
    with pytest.raises(OSError):
        (bind / "new").write_text("")
    (overlay / "new").write_text("")
    assert (layers / "1/file1").stat().st_uid == 0 and (layers / "up/new").exists()
    mounts.deactivate("m")
    refused("UNKNOWN", 'uidmap "0:1" is not a list of A:B:N', mounts.activate, "m",
            mounts.mount("bind", layers, ["bind", "uidmap=0:1", "gidmap=0:1:1"]), temporary=True)


def test_snapshot_with_mapped_owners(daemon, mounts):
    """The labels of a snapshot become options of its mounts, and these what a container sees."""
    c = daemon.client()
    m = c.messages("snapshots")
    labels = {"containerd.io/snapshot/uidmapping": "0:100000:65536", "containerd.io/snapshot/gidmapping": "0:200000:65536"}
    (bind,) = c.snapshots.Prepare(m.PrepareSnapshotRequest(snapshotter="overlayfs", key="a")).mounts
    pathlib.Path(bind.source, "file").write_text("x")
    c.snapshots.Commit(m.CommitSnapshotRequest(snapshotter="overlayfs", key="a", name="layer"))
    (overlay,) = c.snapshots.Prepare(m.PrepareSnapshotRequest(
        snapshotter="overlayfs", key="b", parent="layer", labels=labels)).mounts
    assert overlay.options[:2] == ["uidmap=0:100000:65536", "gidmap=0:200000:65536"]
    info = mounts.activate("m", overlay, temporary=True)
    root = pathlib.Path(info.system[0].source)
    for p in (root, root / "file"):
        assert (p.stat().st_uid, p.stat().st_gid) == (100000, 200000)
    mounts.deactivate("m")


def test_kept_over_restarts(daemon, mounts, layers):
    """Records and mounts outlive the daemon, however it ends; what was not complete does not."""
    info = mounts.activate("m", mounts.mount("tmpfs", "x"), mounts.mount("format/bind", "{{ mount 0 }}", ["bind"]))
    pathlib.Path(info.active[0].mount_point, "file").write_text("x")
    daemon.kill()
    left = daemon.state / "io.containerd.mount-manager.v1.bolt/t/77/0"
    left.mkdir(parents=True)
    run(["mount", "-t", "tmpfs", "x", left])
    daemon.start()
    with_restart = Mounts(daemon.client())
    assert with_restart.info("m") == info and pathlib.Path(info.active[0].mount_point, "file").exists()
    assert not left.exists() and mount_points(daemon) == [info.active[0].mount_point]
    with_restart.deactivate("m")


def test_labels_and_filters(mounts):
    for name in ("b", "a", "c"):
        mounts.activate(name, mounts.mount("format/bind", "/"), labels={"k": name, "same": "x", "empty": ""})
    assert mounts.names() == ["a", "b", "c"]
    assert mounts.names("labels.k==b", "name==a") == ["a", "b"] and mounts.names("name~=[bc],labels.same") == ["b", "c"]
    assert mounts.info("a").labels == {"k": "a", "same": "x"}
    assert mounts.update(["labels.k"], name="a", labels={"k": "1", "same": "2"}).labels == {"k": "1", "same": "x"}
    assert mounts.update(["labels.k"], name="a").labels == {"same": "x"}
    assert mounts.update(name="a", labels={"n": "1"}).labels == {"n": "1"} == dict(mounts.info("a").labels)
    refused("INVALID_ARGUMENT", 'cannot update "system" field on mount "a"', mounts.update, ["system"], name="a")
    refused("NOT_FOUND", 'mount "z" not found', mounts.update, name="z")
    refused("INVALID_ARGUMENT", "filters: parse error", mounts.names, "name==")
    for name in "abc":
        mounts.deactivate(name)
    assert mounts.names() == []


def test_bad_input(daemon, mounts, layers):
    bind = mounts.mount("format/bind", "/", ["bind"])
    bad = mounts.m.ActivateRequest(mounts=[bind], name="m", labels={"k": BIG})
    refused("INVALID_ARGUMENT", "label key and value length", mounts.stub.Activate, bad)
    refused("UNKNOWN", "bucket name required", mounts.activate, "", bind)
    refused("UNKNOWN", "key too large", mounts.activate, BIG, bind)
    refused("NOT_FOUND", "not found", mounts.info, "")
    refused("NOT_FOUND", "not found", mounts.deactivate, BIG[:500])
    refused("INVALID_ARGUMENT", "info is required", mounts.stub.Update, mounts.m.UpdateRequest())
    refused("UNKNOWN", "too many system mounts (256): maximum 255", mounts.activate, "m",
            bind, *[mounts.mount("bind", "/")] * 255)
    refused("UNKNOWN", "index out of bounds: 0, has 0 active mounts", mounts.activate, "m",
            mounts.mount("format/bind", "{{ mount 0 }}"))
    refused("UNKNOWN", 'function "env" not defined', mounts.activate, "m", mounts.mount("format/bind", "{{ env }}"))
    refused("UNIMPLEMENTED", 'no root "/etc/x" configured for mkdir', mounts.activate, "m",
            mounts.mount("mkdir/bind", "/", ["X-containerd.mkdir.path=/etc/x"]))
    refused("UNKNOWN", "is for a mount handler", mounts.activate, "m",
            mounts.mount("tmpfs", "x", ["X-containerd.other=1"]), temporary=True)
    refused("UNKNOWN", "mount handler failed {erofs /no/such", mounts.activate, "m", mounts.mount("erofs", "/no/such", ["ro"]))
    (layers / "junk").write_bytes(b"x" * 8192)
    refused("UNKNOWN", "mount handler failed {erofs", mounts.activate, "m", mounts.mount("tmpfs"),
            mounts.mount("erofs", layers / "junk", ["ro", "loop"]))
    assert loops(layers) == [] and mounts.names() == []
    without = Mounts(daemon.client(namespace=None))
    for call in (lambda: without.activate("m", bind), lambda: without.info("m"), lambda: without.deactivate("m"),
                 lambda: without.names(), lambda: without.update(name="m")):
        refused("FAILED_PRECONDITION", "namespace is required", call)
    refused("INVALID_ARGUMENT", "", Mounts(daemon.client(namespace="../x")).info, "m")
    other = Mounts(daemon.client("other"))
    mounts.activate("m", bind)
    refused("NOT_FOUND", "not found", other.info, "m")
    assert other.names() == []
    mounts.deactivate("m")


def test_one_of_many_gets_the_name(daemon, mounts):
    def attempt(n):
        try:
            mounts.activate("m", *[mounts.mount("tmpfs", "x")] * 8, mounts.mount("format/bind", "/"))
            return "OK"
        except grpc.RpcError as e:
            return e.code().name
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(attempt, range(12))) == ["ALREADY_EXISTS"] * 11 + ["OK"]
    assert len(mount_points(daemon)) == 8
    mounts.deactivate("m")


def test_busy_mount_can_be_deactivated_later(daemon, mounts):
    info = mounts.activate("m", mounts.mount("tmpfs"), mounts.mount("tmpfs"), mounts.mount("format/bind", "/"))
    fd = os.open(info.active[0].mount_point, os.O_RDONLY)
    refused("FAILED_PRECONDITION", 'mount "m": unmount', mounts.deactivate, "m")
    os.close(fd)
    assert mounts.names() == ["m"] and len(mount_points(daemon)) == 1
    mounts.deactivate("m")


def test_collected_with_what_holds_them(daemon, mounts):
    """Leases, gc.bref and gc.ref labels keep activations; a synchronous collection takes the others."""
    c = daemon.client()
    leases, containers = c.messages("leases"), c.messages("containers")
    c.leases.Create(leases.CreateRequest(id="l"))
    c.containers.Create(containers.CreateContainerRequest(container=containers.Container(
        id="box", runtime=containers.Container.Runtime(name="io.containerd.runc.v2"),
        labels={"containerd.io/gc.ref.mount.x": "labelled"})))
    stack = [mounts.mount("tmpfs", "x"), mounts.mount("format/bind", "{{ mount 0 }}", ["bind"])]
    Mounts(daemon.client(lease="l")).activate("leased", *stack)
    mounts.activate("labelled", *stack)
    mounts.activate("held", *stack, labels={"containerd.io/gc.bref.container": "box"})
    mounts.activate("lost", *stack)

    def collect():
        c.leases.Create(leases.CreateRequest(id="trigger"))
        c.leases.Delete(leases.DeleteRequest(id="trigger", sync=True))
        return mounts.names()
    assert collect() == ["held", "labelled", "leased"] and len(mount_points(daemon)) == 3
    c.leases.Delete(leases.DeleteRequest(id="l"))
    assert collect() == ["held", "labelled"]
    c.containers.Delete(containers.DeleteContainerRequest(id="box"))
    assert collect() == [] and mount_points(daemon) == []


def test_plugins(daemon):
    c = daemon.client()
    plugins = {(p.type, p.id): p for p in c.introspection.Plugins(c.messages("introspection").PluginsRequest()).plugins}
    manager = plugins["io.containerd.mount-manager.v1", "bolt"]
    assert set(manager.requires) == {"io.containerd.metadata.v1", "io.containerd.mount-handler.v1"}
    assert plugins["io.containerd.mount-handler.v1", "erofs"].platforms[0].os == "linux"
    assert list(plugins["io.containerd.grpc.v1", "mounts"].requires) == ["io.containerd.mount-manager.v1"]
    assert not any(p.HasField("init_err") for p in (manager, plugins["io.containerd.grpc.v1", "mounts"]))


def test_root_file_system_of_a_task(daemon, mounts, layers):
    """What a shim cannot mount itself is activated under the container's id for as long as there is the task: also over a
    restart of the daemon, the death of the shim, and a Create that fails."""
    image = erofs_image(busybox_rootfs(layers / "busybox"), layers / "busybox.erofs")
    rootfs = [mounts.mount("erofs", image, ["ro", "loop"]), mounts.mount("format/mkdir/overlay", "overlay", [
        f"X-containerd.mkdir.path={layers}/up:0755", f"X-containerd.mkdir.path={layers}/work",
        f"workdir={layers}/work", f"upperdir={layers}/up", "lowerdir={{ mount 0 }}"])]
    box = Box(daemon, "rootfs", "box", "sh", "-c", "echo seen >/file; exec sleep 1000")
    plain = Box(daemon, layers / "busybox", "plain")
    try:
        plain.run()
        assert mounts.names() == []
        box.Create(rootfs=rootfs)
        info = mounts.info("box")
        assert [a.mount.type for a in info.active] == ["erofs"] and [m.type for m in info.system] == ["overlay"]
        assert dict(info.labels) == {"containerd.io/gc.bref.container": "box"}
        box.Start()
        eventually("the container's file", lambda: (layers / "up/file").exists())
        refused("ALREADY_EXISTS", "task box: already exists", box.Create, rootfs=rootfs)
        daemon.restart()
        again = Mounts(daemon.client())
        assert again.info("box") == info
        box.Kill(signal=9)
        eventually("the end", lambda: box.state().status == 3)
        box.Delete()
        assert again.names() == [] and mount_points(daemon) == []
        # a task again, whose shim dies
        box.Create(rootfs=rootfs)
        box.Start()
        for shim in daemon.shims():
            if daemon_argument(shim, "-id") == "box":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(shim, signal.SIGKILL)
        eventually("the task gone", lambda: not mount_points(daemon))
        # one whose root cannot be had
        refused("UNKNOWN", "failed to mount rootfs component: mount handler failed {erofs /no/such", box.Create,
                rootfs=[mounts.mount("erofs", "/no/such", ["ro"])])
        refused("UNKNOWN", "failed to mount rootfs component: index out of bounds", box.Create,
                rootfs=[mounts.mount("format/bind", "{{ mount 7 }}")])
        refused("", "failed to create shim task", box.Create, rootfs=[rootfs[0], mounts.mount(
            "format/overlay", "overlay", ["lowerdir={{ mount 0 }}", "upperdir=/no/such", "workdir=/no/such"])])
        assert again.names() == [] and mount_points(daemon) == []
    finally:
        box.end()
        plain.end()


def test_task_with_mapped_owners(daemon, mounts, layers, rootfs):
    """The shim maps the owners of a root file system's layers: root of the image is 100000 to the host."""
    for d in ("up", "work"):
        (layers / d).mkdir()
    box = Box(daemon, "rootfs", "box", "sh", "-c", "stat -c '%u %g' /bin/busybox >/out")
    try:
        box.Create(rootfs=[mounts.mount("overlay", "overlay", [
            "uidmap=0:100000:65536", "gidmap=0:200000:65536", f"workdir={layers}/work", f"upperdir={layers}/up",
            f"lowerdir={rootfs}:{layers}/0"])])
        box.Start()
        assert box.Wait().exit_status == 0
        assert (layers / "up/out").read_text() == "100000 200000\n"
        assert (rootfs / "bin/busybox").stat().st_uid == 0 and mounts.names() == []
    finally:
        box.end()


def daemon_argument(pid, flag):
    try:
        argv = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:  # a child of a shim that has ended
        return None
    return argv[argv.index(flag) + 1] if flag in argv else None


def test_layers_of_such_mounts(daemon, mounts, layers):
    """Diff.Apply and Diff.Diff over mounts that need the manager: activated for as long as the call lasts."""
    c = daemon.client()
    m, content = c.messages("diff"), c.messages("content")
    images = [erofs_image(layers / str(n), layers / f"{n}.erofs") for n in range(2)]
    lower = [mounts.mount("erofs", i, ["ro", "loop"]) for i in images]
    rw = [*lower, mounts.mount("format/mkdir/overlay", "overlay", [
        f"X-containerd.mkdir.path={layers}/up", f"X-containerd.mkdir.path={layers}/work",
        f"workdir={layers}/work", f"upperdir={layers}/up", "lowerdir={{ overlay 0 1 }}"])]
    (layers / "2/etc").mkdir()
    tar = tar_of(layers / "2")
    list(c.content.Write(iter([content.WriteContentRequest(
        action=2, ref="r", total=len(tar), expected=sha256(tar), data=tar)])))
    descriptor = mounts.types.Descriptor(media_type="application/vnd.oci.image.layer.v1.tar", digest=sha256(tar), size=len(tar))
    assert c.diff.Apply(m.ApplyRequest(diff=descriptor, mounts=rw), timeout=60).applied.digest == sha256(tar)
    assert sorted(p.name for p in (layers / "up").iterdir()) == ["etc", "file2"]
    made = c.diff.Diff(m.DiffRequest(left=[*lower, mounts.mount("format/overlay", "overlay", ["lowerdir={{ overlay 0 1 }}"])],
                                     right=rw, media_type=descriptor.media_type), timeout=60).diff
    data = b"".join(r.data for r in c.content.Read(content.ReadContentRequest(digest=made.digest)))
    with tarfile.open(fileobj=io.BytesIO(data)) as t:
        assert sorted(t.getnames()) == ["etc", "file2"]
    assert mounts.names() == [] and mount_points(daemon) == []
    refused("UNKNOWN", "index out of bounds", c.diff.Apply, m.ApplyRequest(
        diff=descriptor, mounts=[mounts.mount("format/bind", "{{ mount 0 }}")]))


def test_killed_in_the_midst(daemon, mounts, layers):
    """kill -9 while activations come and go: afterwards what is mounted is what is listed, and no loop device is lost."""
    def churn(n):
        stack = [mounts.mount("mkfs/loop", layers / f"{n}.img", ["X-containerd.mkfs.size=1MiB"]),
                 *[mounts.mount("tmpfs", "x")] * 3, mounts.mount("format/bind", "{{ mount 1 }}", ["bind"])]
        for i in range(1000):
            try:
                mounts.activate(f"m{n}-{i}", *stack)
                if i % 2:
                    mounts.deactivate(f"m{n}-{i}")
            except grpc.RpcError:
                return

    for delay in (0.15, 0.3, 0.45):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            running = [pool.submit(churn, n) for n in range(4)]
            time.sleep(delay)
            daemon.kill()
            for r in running:
                r.result(60)
        daemon.start()
        after = Mounts(daemon.client())
        points = [a.mount_point for name in after.names() for a in after.info(name).active]
        assert sorted(p for p in points if os.path.ismount(p)) == mount_points(daemon)
        assert all(os.path.ismount(p) or os.path.islink(p) for p in points)
        for name in after.names():
            after.deactivate(name)
        assert mount_points(daemon) == []
        eventually("the loop devices free", lambda: not loops(layers))


def test_shim_that_mounts_itself(daemon, mounts, layers, tmp_path):
    """A runtime whose -info says which types its shim takes gets those as they are."""
    info = mounts.types.RuntimeInfo(name="x", annotations={"containerd.io/runtime-allow-mounts": "erofs, mkdir/*"})
    (tmp_path / "info").write_bytes(info.SerializeToString())
    shim = tmp_path / "containerd-shim-own-v1"
    shim.write_text(f'#!/bin/sh\n[ "$1" = -info ] && exec cat {tmp_path}/info\n'
                    f'exec {BUILD}/containerd-shim-lighter-v2 "$@"\n')
    shim.chmod(0o755)
    box = Box(daemon, "rootfs", "box", "sleep", "1000", runtime=str(shim))
    try:
        refused("", 'mount type "mkdir/bind" needs a mount handler', box.Create, rootfs=[mounts.mount("mkdir/bind", layers, ["bind"])])
        refused("", "index out of bounds", box.Create, rootfs=[mounts.mount("format/bind", "{{ mount 0 }}")])
        assert mounts.names() == []
    finally:
        box.end()
