# SPDX-License-Identifier: Apache-2.0
"""The snapshots service over the wire: overlayfs and native from Prepare to Remove, mounts as containerd answers them."""
import pathlib
import subprocess

import grpc
import pytest

from lighter import eventually, pb


def refused(code, text, call, request):
    with pytest.raises(grpc.RpcError) as e:
        got = call(request, timeout=30)
        if hasattr(got, "__iter__"):
            list(got)
    assert e.value.code().name == code, e.value.details()
    assert e.value.details() == text


@pytest.fixture
def client(daemon):
    c = daemon.client()
    yield c
    c.close()


class Snapshots:
    """The service with one snapshotter's name filled in."""

    def __init__(self, client, name="overlayfs"):
        self.client, self.name, self.m = client, name, client.messages("snapshots")

    def prepare(self, key, parent="", **kw):
        return self.client.snapshots.Prepare(self.m.PrepareSnapshotRequest(
            snapshotter=self.name, key=key, parent=parent, **kw)).mounts

    def view(self, key, parent="", **kw):
        return self.client.snapshots.View(self.m.ViewSnapshotRequest(
            snapshotter=self.name, key=key, parent=parent, **kw)).mounts

    def commit(self, name, key, **kw):
        self.client.snapshots.Commit(self.m.CommitSnapshotRequest(snapshotter=self.name, name=name, key=key, **kw))

    def remove(self, key):
        self.client.snapshots.Remove(self.m.RemoveSnapshotRequest(snapshotter=self.name, key=key))

    def stat(self, key):
        return self.client.snapshots.Stat(self.m.StatSnapshotRequest(snapshotter=self.name, key=key)).info

    def usage(self, key):
        return self.client.snapshots.Usage(self.m.UsageRequest(snapshotter=self.name, key=key))

    def names(self, *filters):
        stream = self.client.snapshots.List(self.m.ListSnapshotsRequest(snapshotter=self.name, filters=filters))
        return [i.name for r in stream for i in r.info]


@pytest.fixture(params=["overlayfs", "native"])
def sn(request, client):
    return Snapshots(client, request.param)


def folders(daemon, name):
    return {p.name for p in (daemon.root / f"io.containerd.snapshotter.v1.{name}/snapshots").iterdir()}


def mounted(mounts, at):
    [m] = mounts
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", m.type, "-o", ",".join(m.options), m.source, at], check=True)
    return at


def test_layers_are_seen_through_their_mounts(daemon, sn, tmp_path):
    at = mounted(sn.prepare("a"), tmp_path / "m")
    try:
        (at / "base").write_text("base")
    finally:
        subprocess.run(["umount", at], check=True)
    sn.commit("c1", "a")
    at = mounted(sn.prepare("b", "c1"), tmp_path / "m")
    try:
        assert (at / "base").read_text() == "base"
        (at / "upper").write_text("upper")
        (at / "base").unlink()
    finally:
        subprocess.run(["umount", at], check=True)
    sn.commit("c2", "b")
    at = mounted(sn.view("v", "c2"), tmp_path / "m")
    try:
        assert sorted(p.name for p in at.iterdir()) == ["upper"]
        with pytest.raises(OSError):
            (at / "new").write_text("x")
    finally:
        subprocess.run(["umount", at], check=True)
    at = mounted(sn.view("v1", "c1"), tmp_path / "m")
    try:
        assert (at / "base").read_text() == "base"
    finally:
        subprocess.run(["umount", at], check=True)


def test_overlayfs_mounts(daemon, client):
    sn = Snapshots(client)
    root = str(daemon.root / "io.containerd.snapshotter.v1.overlayfs/snapshots")
    index = ["index=off"] if pathlib.Path("/sys/module/overlay/parameters/index").exists() else []
    [m] = sn.prepare("a")
    assert (m.type, m.source, m.target, list(m.options)) == ("bind", f"{root}/1/fs", "", ["rw", "rbind"])
    sn.commit("c1", "a")
    [m] = sn.prepare("b", "c1")
    assert (m.type, m.source) == ("overlay", "overlay")
    assert list(m.options) == [f"workdir={root}/2/work", f"upperdir={root}/2/fs", f"lowerdir={root}/1/fs", *index]
    again = client.snapshots.Mounts(sn.m.MountsRequest(snapshotter="overlayfs", key="b")).mounts
    assert list(again) == [m]
    sn.commit("c2", "b")
    [m] = sn.view("v", "c2")
    assert list(m.options) == [f"lowerdir={root}/2/fs:{root}/1/fs", *index]
    [m] = sn.view("v1", "c1")
    assert (m.type, m.source, list(m.options)) == ("bind", f"{root}/1/fs", ["ro", "rbind"])


def test_life_and_stat(daemon, sn):
    sn.prepare("a", labels={"x": "1", "containerd.io/snapshot/y": "2", "empty": ""})
    info = sn.stat("a")
    assert (info.name, info.parent, info.kind) == ("a", "", 2)
    assert dict(info.labels) == {"x": "1", "containerd.io/snapshot/y": "2"}
    sn.commit("c", "a", labels={"z": "3"})
    info = sn.stat("c")
    assert (info.kind, dict(info.labels)) == (3, {"z": "3"})
    sn.view("v", "c")
    assert sn.names() == ["c", "v"]
    assert sn.names("kind==view") == ["v"]
    assert sn.names("parent==c", "labels.z==3") == ["c", "v"]
    assert sn.usage("c").inodes == 1
    assert sn.usage("v").inodes == 0
    sn.remove("v")
    sn.remove("c")
    assert sn.names() == []
    eventually("the folders gone", lambda: not folders(daemon, sn.name))


def test_texts(daemon, client):
    sn, m = Snapshots(client), client.messages("snapshots")
    stub = client.snapshots
    sn.prepare("a")
    refused("ALREADY_EXISTS", 'snapshot "a": already exists', stub.Prepare,
            m.PrepareSnapshotRequest(snapshotter="overlayfs", key="a"))
    refused("NOT_FOUND", "parent snapshot p does not exist: not found", stub.Prepare,
            m.PrepareSnapshotRequest(snapshotter="overlayfs", key="b", parent="p"))
    with pytest.raises(grpc.RpcError) as e:
        sn.view("b", "a")
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert e.value.details().startswith('failed to create snapshot: parent "default/1/a" is not committed snapshot')
    refused("NOT_FOUND", "snapshot nope does not exist: not found", stub.Stat,
            m.StatSnapshotRequest(snapshotter="overlayfs", key="nope"))
    refused("NOT_FOUND", "snapshot nope does not exist: not found", stub.Commit,
            m.CommitSnapshotRequest(snapshotter="overlayfs", key="nope", name="x"))
    sn.commit("c", "a")
    with pytest.raises(grpc.RpcError) as e:
        sn.commit("d", "c")
    assert e.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert 'is not active: failed precondition' in e.value.details()
    sn.prepare("k", "c")
    refused("FAILED_PRECONDITION", "cannot remove snapshot with child: failed precondition", stub.Remove,
            m.RemoveSnapshotRequest(snapshotter="overlayfs", key="c"))
    refused("INVALID_ARGUMENT", "snapshotter not loaded: zfs: invalid argument", stub.List,
            m.ListSnapshotsRequest(snapshotter="zfs"))
    refused("UNIMPLEMENTED", "snapshotter does not implement Cleanup method: not implemented", stub.Cleanup,
            m.CleanupRequest(snapshotter="overlayfs"))
    refused("UNKNOWN", "bucket name required", stub.Prepare, m.PrepareSnapshotRequest(snapshotter="overlayfs"))
    refused("INVALID_ARGUMENT", 'cannot update "parent" field on snapshot "c": invalid argument', stub.Update,
            m.UpdateSnapshotRequest(snapshotter="overlayfs", info=m.Info(name="c"),
                                    update_mask=pb("google/protobuf/field_mask").FieldMask(paths=["parent"])))
    with pytest.raises(grpc.RpcError) as e:
        stub.Update(m.UpdateSnapshotRequest(snapshotter="overlayfs"))
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as e:
        sn.prepare("big", labels={"k": "v" * 5000})
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    refused("FAILED_PRECONDITION", "namespace is required: failed precondition", daemon.client(None).snapshots.Stat,
            m.StatSnapshotRequest(snapshotter="overlayfs", key="a"))


def test_namespaces_do_not_see_each_other(daemon, client):
    sn, other = Snapshots(client), Snapshots(daemon.client("other"))
    sn.prepare("same")
    other.prepare("same")
    assert sn.names() == other.names() == ["same"]
    sn.remove("same")
    assert (sn.names(), other.names()) == ([], ["same"])


def test_target_label_and_lease(daemon, client):
    leases = client.messages("leases")
    client.leases.Create(leases.CreateRequest(id="l"))
    sn = Snapshots(daemon.client(lease="l"))
    sn.prepare("a", labels={"containerd.io/snapshot.ref": "chain"})
    sn.commit("chain", "a")
    got = client.leases.ListResources(leases.ListResourcesRequest(id="l")).resources
    assert [(r.type, r.id) for r in got] == [("snapshots/overlayfs", "chain")]
    refused("ALREADY_EXISTS", 'target snapshot "chain": already exists', sn.client.snapshots.Prepare,
            sn.m.PrepareSnapshotRequest(snapshotter="overlayfs", key="b",
                                        labels={"containerd.io/snapshot.ref": "chain"}))


def test_list_in_blocks(daemon, client):
    sn = Snapshots(client)
    for i in range(120):
        sn.prepare(f"k{i:03}")
    stream = client.snapshots.List(sn.m.ListSnapshotsRequest(snapshotter="overlayfs"))
    assert [len(r.info) for r in stream] == [100, 20]


def test_restart_keeps_records_and_sweeps_strays(daemon, client):
    sn = Snapshots(client)
    sn.prepare("a")
    stray = daemon.root / "io.containerd.snapshotter.v1.overlayfs/snapshots/77"
    daemon.kill()
    (stray / "fs").mkdir(parents=True)
    daemon.start()
    sn = Snapshots(daemon.client())
    assert sn.names() == ["a"]
    eventually("the stray folder gone", lambda: folders(daemon, "overlayfs") == {"1"})
    [m] = sn.prepare("b")
    assert m.source.endswith("/78/fs")
