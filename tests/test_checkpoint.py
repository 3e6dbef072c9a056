# SPDX-License-Identifier: Apache-2.0
"""Checkpoint and restore. criu needs a kernel that fits it, so the runtime here is runc in a wrapper: `checkpoint` leaves
files where criu's images would be, `restore` wants to find them and makes the container anew."""
import contextlib
import io
import json
import os
import tarfile

import grpc
import pytest
from google.protobuf import any_pb2

import lighter
from lighter import TYPE_SPEC, eventually, pb

tasks_pb = pb("containerd/services/tasks/v1/tasks")
containers_pb = pb("containerd/services/containers/v1/containers")
runc_pb = pb("containerd/runc/v1/options")
types_pb = pb("containerd/types/types")
status_pb = pb("containerd/v1/types/task")

IMAGES = "application/vnd.containerd.container.criu.checkpoint.criu.tar"
SPEC = "application/vnd.containerd.container.checkpoint.config.v1+proto"

RUNTIME = """#!/usr/bin/python3
import json, os, subprocess, sys
args, here = sys.argv[1:], os.path.dirname(os.path.abspath(__file__))
at = 0
while args[at].startswith("--"):
    at += 1 if args[at] == "--systemd-cgroup" else 2
verb, rest = args[at], args[at + 1:]
if verb not in ("checkpoint", "restore"):
    os.execvp("runc", ["runc", *args])
with open(here + "/calls", "a") as f:
    f.write(json.dumps([verb, *rest]) + "\\n")
images, work = rest[rest.index("--image-path") + 1], rest[rest.index("--work-path") + 1]
if os.path.exists(here + "/fail"):
    os.makedirs(work, exist_ok=True)
    open(work + "/dump.log", "w").write("why it failed\\n")
    with open(args[args.index("--log") + 1], "a") as f:
        f.write(json.dumps({"level": "error", "msg": "criu failed: type NOTIFY"}) + "\\n")
    sys.exit(1)
if verb == "checkpoint":
    os.makedirs(images, exist_ok=True)
    os.makedirs(work, exist_ok=True)
    open(images + "/pages-1.img", "w").write("pages")
    open(work + "/dump.log", "w").write("how it went\\n")
    if "--leave-running" not in rest:
        subprocess.run(["runc", *args[:at], "kill", rest[-1], "9"], check=True)
else:
    assert open(images + "/pages-1.img").read() == "pages"
    for word in ("--image-path", "--work-path", "--parent-path"):
        if word in rest:
            del rest[rest.index(word):rest.index(word) + 2]
    rest = [a for a in rest if a not in ("--detach", "--no-subreaper")]
    status = subprocess.run(["runc", *args[:at], "create", *rest]).returncode
    sys.exit(status or subprocess.run(["runc", *args[:at], "start", rest[-1]]).returncode)
"""


def any_of(message):
    return any_pb2.Any(type_url=message.DESCRIPTOR.full_name, value=message.SerializeToString())


class Lab:
    """Containers of one daemon whose runtime is the wrapper."""

    def __init__(self, d, rootfs, folder):
        self.d, self.rootfs, self.folder, self.ids = d, rootfs, folder, []
        self.c = d.client()
        self.runtime = folder / "runtime"
        self.runtime.write_text(RUNTIME)
        self.runtime.chmod(0o755)

    def calls(self):
        with contextlib.suppress(FileNotFoundError):
            return [json.loads(l) for l in (self.folder / "calls").read_text().splitlines()]
        return []

    def bundle(self, id):
        return self.d.state / "io.containerd.runtime.v2.task/default" / id

    def container(self, id, *args):
        spec = {"ociVersion": "1.0.2", "root": {"path": str(self.rootfs)},
                "process": {"user": {"uid": 0, "gid": 0}, "args": args or ["sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"]},
                "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
                "linux": {"cgroupsPath": f"/lt-{os.getpid()}/default-{id}",
                          "namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount")]}}
        record = containers_pb.Container(id=id, spec={"type_url": TYPE_SPEC, "value": json.dumps(spec).encode()},
                                         runtime={"name": "io.containerd.runc.v2",
                                                  "options": any_of(runc_pb.Options(binary_name=str(self.runtime)))})
        self.c.containers.Create(containers_pb.CreateContainerRequest(container=record), timeout=20)
        self.ids.append(id)
        return record

    def call(self, method, id, **more):
        names = {"Create": "CreateTask", "Delete": "DeleteTask", "Checkpoint": "CheckpointTask", "Exec": "ExecProcess"}
        req = getattr(tasks_pb, names.get(method, method) + "Request")(container_id=id, **more)
        return getattr(self.c.tasks, method)(req, timeout=30)

    def run(self, id):
        record = self.container(id)
        self.call("Create", id)
        self.call("Start", id)
        return record

    def status(self, id):
        return status_pb.Status.Name(self.call("Get", id).process.status)

    def checkpoint(self, id, **options):
        return self.call("Checkpoint", id, **({"options": any_of(runc_pb.CheckpointOptions(**options))} if options else {}))

    def blob(self, digest):
        content = self.c.messages("content")
        return b"".join(r.data for r in self.c.content.Read(content.ReadContentRequest(digest=digest), timeout=20))

    def end(self):
        for id in self.ids:
            with contextlib.suppress(grpc.RpcError):
                self.call("Kill", id, signal=9, all=True)
                self.call("Wait", id)
            with contextlib.suppress(grpc.RpcError):
                self.call("Delete", id)
        self.c.close()


@pytest.fixture
def lab(daemon, rootfs, tmp_path):
    l = Lab(daemon, rootfs, tmp_path)
    try:
        yield l
    finally:
        l.end()


@contextlib.contextmanager
def refused(code, text):
    with pytest.raises(grpc.RpcError) as e:
        yield
    assert (e.value.code().name, e.value.details()) == (code, text)


def test_into_the_content_store_and_back(lab):
    record = lab.run("c1")
    images, spec = lab.checkpoint("c1").descriptors
    assert (images.media_type, spec.media_type) == (IMAGES, SPEC)
    data = lab.blob(images.digest)
    assert len(data) == images.size and lighter.sha256(data) == images.digest
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.extractfile("pages-1.img").read() == b"pages"
    data = lab.blob(spec.digest)
    assert len(data) == spec.size and any_pb2.Any.FromString(data) == record.spec
    call, = lab.calls()
    bundle = lab.bundle("c1")
    assert call[0:2] == ["checkpoint", "--image-path"] and call[2].startswith(str((bundle / "work").resolve()) + "/checkpoint-")
    assert call[3:] == ["--work-path", f"{bundle}/work/criu-work", "--leave-running", "c1"]
    assert list((bundle / "work").iterdir()) == []  # neither the images nor criu's log
    assert lab.status("c1") == "RUNNING"
    # the same again is the same blobs
    again = lab.checkpoint("c1").descriptors
    assert [d.digest for d in again][1] == spec.digest

    lab.container("c2")
    made = lab.call("Create", "c2", checkpoint=images)
    assert made.pid == 0 and lab.status("c2") == "CREATED"
    unpacked = lab.bundle("c2") / "work/checkpoint"
    assert (unpacked / "pages-1.img").read_text() == "pages"
    with refused("UNKNOWN", "cannot exec in a created state: unknown"):
        lab.call("Exec", "c2", exec_id="e", spec={"type_url": "x", "value": b"{}"})
    with refused("UNKNOWN", "cannot checkpoint a task in created state: unknown"):
        lab.checkpoint("c2")
    pid = lab.call("Start", "c2").pid
    assert pid > 0 and lab.status("c2") == "RUNNING" and lab.call("Get", "c2").process.pid == pid
    assert open(f"/proc/{pid}/comm").read() in ("busybox\n", "sleep\n")
    assert lab.calls()[-1] == ["restore", "--image-path", str(unpacked), "--work-path", f"{lab.bundle('c2')}/work", "--detach",
                               "--no-subreaper", "--bundle", str(lab.bundle("c2")), "--pid-file",
                               f"{lab.bundle('c2')}/init.pid", "c2"]
    with refused("UNKNOWN", "cannot start a running process: unknown"):
        lab.call("Start", "c2")
    lab.call("Kill", "c2", signal=9)
    assert lab.call("Wait", "c2").exit_status == 137
    assert lab.call("Delete", "c2").exit_status == 137
    assert not lab.bundle("c2").exists()

    # one that is never started
    lab.container("c3")
    lab.call("Create", "c3", checkpoint=images)
    lab.call("Delete", "c3")
    assert not lab.bundle("c3").exists()
    eventually("one shim", lambda: len(lab.d.shims()) == 1)


def test_into_a_folder_and_back(lab, tmp_path):
    lab.run("c1")
    path = tmp_path / "images"
    rsp = lab.checkpoint("c1", image_path=str(path), work_path=str(tmp_path / "work"), open_tcp=True,
                         external_unix_sockets=True, terminal=True, file_locks=True, cgroups_mode="soft",
                         empty_namespaces=["network", "user"], exit=True)
    assert not rsp.descriptors and (path / "pages-1.img").exists() and (tmp_path / "work").exists()
    assert lab.calls()[-1] == ["checkpoint", "--image-path", str(path), "--work-path", str(tmp_path / "work"),
                               "--tcp-established", "--ext-unix-sk", "--shell-job", "--file-locks", "--manage-cgroups-mode",
                               "soft", "--empty-ns", "network", "--empty-ns", "user", "c1"]
    assert lab.call("Wait", "c1").exit_status == 137
    with refused("UNKNOWN", "cannot checkpoint a stopped container: unknown"):
        lab.checkpoint("c1")
    lab.container("c2")
    lab.call("Create", "c2", options=any_of(runc_pb.Options(binary_name=str(lab.runtime), criu_image_path=str(path),
                                                            criu_work_path=str(tmp_path / "work2"))))
    assert lab.call("Start", "c2").pid > 0 and path.exists()
    assert lab.calls()[-1][:5] == ["restore", "--image-path", str(path), "--work-path", str(tmp_path / "work2")]
    lab.container("c3")
    lab.call("Create", "c3", checkpoint=types_pb.Descriptor(annotations={"RestoreFromPath": str(path)}))
    assert lab.call("Start", "c3").pid > 0


def test_what_is_refused(lab, tmp_path):
    lab.run("c1")
    (lab.folder / "fail").touch()
    with refused("UNKNOWN", "OCI runtime checkpoint failed: criu failed: type NOTIFY path= "
                 f"{lab.bundle('c1')}/criu-dump.log: unknown"):
        lab.checkpoint("c1")
    assert (lab.bundle("c1") / "criu-dump.log").read_text() == "why it failed\n"
    assert list((lab.bundle("c1") / "work").iterdir()) == []
    assert lab.status("c1") == "RUNNING"
    (tmp_path / "images").mkdir()
    lab.container("c2")
    lab.call("Create", "c2", options=any_of(runc_pb.Options(binary_name=str(lab.runtime), criu_image_path=str(tmp_path / "images"))))
    with refused("UNKNOWN", "OCI runtime restore failed: criu failed: type NOTIFY: unknown"):
        lab.call("Start", "c2")
    assert lab.status("c2") == "CREATED"
    lab.call("Delete", "c2")
    assert not lab.bundle("c2").exists()

    with refused("NOT_FOUND", 'container "none" in namespace "default": not found'):
        lab.checkpoint("none")
    lab.container("c4")
    with refused("NOT_FOUND", "task c4 not found"):
        lab.checkpoint("c4")
    with refused("UNKNOWN", "invalid task checkpoint option for io.containerd.runc.v2"):
        lab.call("Checkpoint", "c1", options=any_of(runc_pb.Options()))
    with refused("UNKNOWN", "type with url a.type: not found"):
        lab.call("Checkpoint", "c1", options=any_pb2.Any(type_url="a.type"))
    with pytest.raises(grpc.RpcError, match="options: .*: invalid argument"):
        lab.call("Checkpoint", "c1", options=any_pb2.Any(type_url="containerd.runc.v1.CheckpointOptions", value=b"\x12"))
    with refused("INVALID_ARGUMENT", 'checkpoint path "a/b" is not absolute: invalid argument'):
        lab.checkpoint("c1", image_path="a/b")
    with refused("INVALID_ARGUMENT", "checkpoint options: 9 empty namespaces, at most 8: invalid argument"):
        lab.checkpoint("c1", empty_namespaces=["network"] * 9)
    with refused("UNKNOWN", 'unsupported checkpoint type "text/plain"'):
        lab.call("Create", "c4", checkpoint=types_pb.Descriptor(media_type="text/plain"))
    absent = "sha256:" + "0" * 64
    with pytest.raises(grpc.RpcError, match=f"failed to unpack checkpoint: content digest {absent}: not found"):
        lab.call("Create", "c4", checkpoint=types_pb.Descriptor(media_type=IMAGES, digest=absent))
    assert not lab.bundle("c4").exists()
    eventually("one shim", lambda: len(lab.d.shims()) == 1)
