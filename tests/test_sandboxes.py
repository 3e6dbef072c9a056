# SPDX-License-Identifier: Apache-2.0
"""Sandboxes: records, a controller over a shim that speaks the Sandbox API (sandbox_shim.py), tasks that live in a
sandbox's shim, restarts and deaths."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import threading
import time

import grpc
import pytest

import lighter
from lighter import TYPE_SPEC, eventually

YEAR1 = -62135596800


class Boxes:
    """What the tests do with sandboxes of one daemon."""

    def __init__(self, daemon, folder):
        self.d, self.folder = daemon, folder
        self.runtime = str(folder / "containerd-shim-box-v1")
        shutil.copy(lighter.TOP / "tests/sandbox_shim.py", self.runtime)
        os.chmod(self.runtime, 0o755)
        self.connect()

    def connect(self):
        self.c = self.d.client()
        self.store, self.controller = self.c.sandboxes, self.c.sandbox_controllers
        self.m = self.c.messages("sandboxes")

    def asked(self):
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "calls").read_text().splitlines()
        return []

    def record(self, id, runtime=None, **more):
        sandbox = lighter.pb("containerd/types/types").Sandbox(sandbox_id=id, sandboxer="shim", **more)
        sandbox.runtime.name = runtime or self.runtime
        return sandbox

    def create(self, id, runtime=None, spec=None, **more):
        return self.controller.Create(self.m.ControllerCreateRequest(
            sandbox_id=id, sandbox=self.record(id, runtime, spec=spec), sandboxer="shim", **more), timeout=20)

    def run(self, id):
        self.store.Create(self.m.StoreCreateRequest(sandbox=self.record(id)))
        self.create(id)
        return self.call("Start", id)

    def call(self, method, id, sandboxer="shim", **more):
        req = getattr(self.m, f"Controller{method}Request")(sandbox_id=id, sandboxer=sandboxer, **more)
        return getattr(self.controller, method)(req, timeout=20)

    def later(self, method, id):
        """The same as a future."""
        stub = lighter.stubs("containerd/services/sandbox/v1/sandbox").ControllerStub(self.c.channel)
        req = getattr(self.m, f"Controller{method}Request")(sandbox_id=id, sandboxer="shim")
        return getattr(stub, method).future(req, metadata=self.c.metadata, timeout=20)

    def state(self, id):
        return self.call("Status", id).state

    def bundle(self, id, kind="io.containerd.sandbox.controller.v1.shim"):
        return self.d.state / kind / "default" / id

    def task_bundle(self, id):
        return self.bundle(id, "io.containerd.runtime.v2.task")

    def pids(self):
        """Of the shims."""
        found = []
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.runtime.encode() in (p / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(p.name))
        return [p for p in found if lighter.alive(p)]

    def container(self, id, sandbox=None):
        containers = self.c.messages("containers")
        c = containers.Container(id=id, sandbox=sandbox)
        c.runtime.name = self.runtime
        c.spec.type_url, c.spec.value = TYPE_SPEC, b'{"ociVersion": "1.0.2"}'
        self.c.containers.Create(containers.CreateContainerRequest(container=c))

    def task(self, method, id, **more):
        tasks = self.c.messages("tasks")
        names = {"Create": "CreateTask", "Delete": "DeleteTask"}
        req = getattr(tasks, names.get(method, method) + "Request")(container_id=id, **more)
        return getattr(self.c.tasks, method)(req, timeout=20)


@pytest.fixture
def boxes(daemon, tmp_path):
    b = Boxes(daemon, tmp_path)
    try:
        yield b
    finally:
        for pid in b.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def refused(code, text):
    with pytest.raises(grpc.RpcError) as e:
        yield
    assert (e.value.code().name, e.value.details()) == (code, text)


@contextlib.contextmanager
def events(d):
    """The events that come while the body runs, as (topic, decoded event)."""
    c = d.client()
    seen = []
    stream = c.events.Subscribe(c.messages("events").SubscribeRequest(filters=["topic~=sandboxes", "topic~=tasks"]))

    def read():
        with contextlib.suppress(grpc.RpcError):
            for e in stream:
                kind = getattr(lighter.pb("containerd/events/events"), e.event.type_url.rpartition(".")[2])
                seen.append((e.topic, kind.FromString(e.event.value)))
    t = threading.Thread(target=read)
    t.start()
    time.sleep(0.1)
    try:
        yield seen
    finally:
        stream.cancel()
        t.join()
        c.close()


# ---------------------------------------------------------------------------------------------------------- records
def test_records(boxes):
    store, m = boxes.store, boxes.m
    any = lighter.pb("google/protobuf/any").Any
    made = store.Create(m.StoreCreateRequest(sandbox=boxes.record(
        "one", labels={"a": "1", "empty": ""}, extensions={"x": any(type_url="t", value=b"v")},
        spec=any(type_url=TYPE_SPEC, value=b"{}")))).sandbox
    assert made.created_at == made.updated_at and made.created_at.seconds > 1.6e9
    assert made.labels == {"a": "1"} and made.extensions["x"].value == b"v" and made.spec.value == b"{}"
    assert store.Get(m.StoreGetRequest(sandbox_id="one")).sandbox == made
    with refused("ALREADY_EXISTS", 'write error: sandbox bucket "one" already exists: already exists'):
        store.Create(m.StoreCreateRequest(sandbox=boxes.record("one")))
    store.Create(m.StoreCreateRequest(sandbox=boxes.record("two")))
    listed = store.List(m.StoreListRequest()).list
    assert [s.sandbox_id for s in listed] == ["one", "two"] and listed[0] == made
    assert [s.sandbox_id for s in store.List(m.StoreListRequest(filters=["labels.a==1"])).list] == ["one"]
    with pytest.raises(grpc.RpcError, match="invalid argument"):
        store.List(m.StoreListRequest(filters=["id~="]))
    changed = store.Update(m.StoreUpdateRequest(sandbox=boxes.record("one", labels={"b": "2"}), fields=["labels.b"])).sandbox
    assert changed.labels == {"a": "1", "b": "2"} and changed.created_at == made.created_at
    with refused("INVALID_ARGUMENT", 'cannot update "created_at" field on sandbox "one": invalid argument'):
        store.Update(m.StoreUpdateRequest(sandbox=boxes.record("one"), fields=["created_at"]))
    boxes.d.kill()
    boxes.d.start()
    boxes.connect()
    assert boxes.store.Get(m.StoreGetRequest(sandbox_id="one")).sandbox == changed
    boxes.store.Delete(m.StoreDeleteRequest(sandbox_id="one"))
    with refused("NOT_FOUND", 'bucket "one" not found: not found'):
        boxes.store.Get(m.StoreGetRequest(sandbox_id="one"))


# ------------------------------------------------------------------------------------------------------- a sandbox
def test_a_sandbox_lives_and_ends(boxes):
    mount = lighter.pb("containerd/types/types").Mount
    any = lighter.pb("google/protobuf/any").Any
    with events(boxes.d) as seen:
        assert boxes.create("s", netns_path="/run/netns/x", annotations={"k": "v"}, options=any(type_url="an.option"),
                            rootfs=[mount(type="bind", source="/a")]).sandbox_id == "s"
        bundle = boxes.bundle("s")
        assert json.loads((bundle / "created.json").read_text()) == {
            "bundle": str(bundle), "netns": "/run/netns/x", "rootfs": 1, "options": "an.option", "annotations": {"k": "v"}}
        assert bundle.parent.parent.stat().st_mode & 0o777 == 0o700
        assert (bundle / "shim-binary-path").read_text() == boxes.runtime
        started = boxes.call("Start", "s")
        assert (started.sandbox_id, started.pid, started.created_at.seconds, started.spec.type_url) == (
            "s", 4711, 1700000000, "a.spec")
        assert (started.address, started.version) == (f"ttrpc+unix://{boxes.folder}/s.sock", 3)
        platform = boxes.call("Platform", "s").platform
        assert (platform.os, platform.architecture, platform.variant, platform.os_version) == ("linux", "riscv64", "v1", "")
        status = boxes.call("Status", "s", verbose=True)
        assert (status.state, status.pid, dict(status.info), status.extra.type_url, status.exited_at.seconds) == (
            "SANDBOX_READY", 4711, {"verbose": "1"}, "an.extra", 0)
        assert (status.address, status.version) == (started.address, 3)
        assert boxes.call("Metrics", "s").metrics.data.type_url == "a.metric"
        boxes.call("Update", "s", sandbox=boxes.record("s"), fields=["labels"])

        waits = [boxes.later("Wait", "s") for _ in range(3)]
        eventually("one question for all who wait", lambda: boxes.asked().count("WaitSandbox s") == 1)
        waits[0].cancel()
        boxes.call("Stop", "s", timeout_secs=3)
        for w in waits[1:]:
            assert (w.result().exit_status, w.result().exited_at.seconds) == (7, 1700000007)
        assert boxes.state("s") == "SANDBOX_NOTREADY"
        boxes.call("Stop", "s")
        boxes.call("Shutdown", "s")
        assert not bundle.exists()
        eventually("the end of the shim", lambda: not boxes.pids())
        eventually("all events", lambda: len(seen) >= 4)
    assert [t for t, _ in seen] == ["/sandboxes/create", "/sandboxes/start", "/sandboxes/exit", "/sandboxes/exit"]
    assert all(e.sandbox_id == "s" for _, e in seen) and seen[2][1].exit_status == 7
    assert "delete s" not in boxes.asked()
    boxes.create("s")  # the name is free again


def test_what_is_not_there(boxes):
    for method in ("Create", "Start", "Platform", "Stop", "Wait", "Status", "Shutdown", "Metrics", "Update"):
        with refused("INVALID_ARGUMENT", "invalid argument: sandbox controller name can not be empty"):
            boxes.call(method, "s", sandboxer="")
        with refused("NOT_FOUND", "not found: failed to get sandbox controller by podsandbox"):
            boxes.call(method, "s", sandboxer="podsandbox")
    for method in ("Platform", "Wait", "Shutdown", "Metrics"):
        with refused("NOT_FOUND", 'sandbox "none": not found'):
            boxes.call(method, "none")
    with refused("UNKNOWN", 'unable to find sandbox "none"'):
        boxes.call("Start", "none")
    with refused("UNKNOWN", "sandbox can not be nil"):
        boxes.call("Update", "none")
    boxes.call("Stop", "none")
    status = boxes.call("Status", "none")
    assert (status.sandbox_id, status.pid, status.created_at.seconds, status.HasField("extra")) == ("none", 0, YEAR1, True)
    assert abs(status.exited_at.seconds - time.time()) < 60
    with pytest.raises(grpc.RpcError, match="invalid task id ../../x: identifier"):
        boxes.create("../../x")
    with pytest.raises(grpc.RpcError, match="failed to start new shim for sandbox s: failed to resolve runtime path: "):
        boxes.create("s", runtime="io.containerd.none.v1")
    with refused("UNKNOWN", "failed to start new shim for sandbox s: failed to resolve runtime path: invalid custom "
                 "binary path: stat /none: no such file or directory"):
        boxes.create("s", runtime="/none")
    assert not boxes.bundle("s").exists() and not boxes.asked()


def test_what_the_shim_refuses(boxes):
    with refused("FAILED_PRECONDITION", "failed to create sandbox bad-create: this one is not to be: failed precondition"):
        boxes.create("bad-create")
    assert not boxes.bundle("bad-create").exists()
    boxes.create("bad-start")
    with refused("ALREADY_EXISTS", "sandbox bad-start already running: already exists"):
        boxes.create("bad-start")
    with refused("UNKNOWN", "failed to start sandbox bad-start: it does not start: unknown"):
        boxes.call("Start", "bad-start")
    assert not boxes.bundle("bad-start").exists()
    assert boxes.state("bad-start") == ""
    eventually("the end of the shims", lambda: not boxes.pids())
    # a shim without a Sandbox API is none for sandboxes
    with refused("UNIMPLEMENTED", "failed to create sandbox plain: service containerd.runtime.sandbox.v1.Sandbox: "
                 "not implemented"):
        boxes.create("plain", runtime="io.containerd.lighter.v2",
                     spec=lighter.pb("google/protobuf/any").Any(type_url=TYPE_SPEC, value=b'{"ociVersion": "1.0.2"}'))
    eventually("no shim of ours", lambda: not boxes.d.shims())
    assert not boxes.bundle("plain").exists()


def test_answers_that_do_not_decode(boxes):
    boxes.create("mad")
    for method in ("Platform", "Status", "Metrics", "Stop", "Wait", "Start"):
        with pytest.raises(grpc.RpcError) as e:
            boxes.call(method, "mad")
        assert e.value.code().name == "INTERNAL" and "shim's answer to" in e.value.details(), method
    assert not boxes.bundle("mad").exists()  # one that does not start is not kept


# --------------------------------------------------------------------------------------------------- tasks in it
def test_tasks_join_the_shim(boxes):
    boxes.run("pod")
    boxes.container("c1", "pod")
    assert boxes.task("Create", "c1").pid == 100
    bundle = boxes.task_bundle("c1")
    assert (bundle / "sandbox").read_text() == "pod"
    assert json.loads((bundle / "bootstrap.json").read_text()) == {
        "version": 3, "address": f"unix://{boxes.folder}/pod.sock", "protocol": "ttrpc"}
    assert sorted(p.name for p in bundle.iterdir()) == ["bootstrap.json", "config.json", "rootfs", "sandbox", "work"]
    assert len(boxes.pids()) == 1
    boxes.task("Start", "c1")
    assert boxes.task("Get", "c1").process.status == 2
    with refused("ALREADY_EXISTS", "task c1: already exists"):
        boxes.task("Create", "c1")
    with refused("NOT_FOUND", 'container "pod" in namespace "default": not found'):
        boxes.task("Get", "pod")  # a sandbox is no task
    tasks = boxes.c.messages("tasks")
    assert [t.id for t in boxes.c.tasks.List(tasks.ListTasksRequest()).tasks] == ["c1"]
    boxes.container("bad", "pod")
    with refused("UNKNOWN", "failed to create shim task: no such program: unknown"):
        boxes.task("Create", "bad")
    assert not boxes.task_bundle("bad").exists()
    assert boxes.task("Delete", "c1").exit_status == 3
    assert not bundle.exists() and "Shutdown c1" not in boxes.asked() and "Shutdown bad" not in boxes.asked()
    assert boxes.state("pod") == "SANDBOX_READY"

    # by the address that Start told
    boxes.container("c2", "pod")
    runc = lighter.pb("containerd/runc/v1/options")
    options = lighter.pb("google/protobuf/any").Any(type_url="containerd.runc.v1.Options", value=runc.Options(
        task_api_address=f"ttrpc+unix://{boxes.folder}/pod.sock", task_api_version=3).SerializeToString())
    boxes.task("Create", "c2", options=options)
    assert (boxes.task_bundle("c2") / "sandbox").read_text() == "pod" and len(boxes.pids()) == 1

    # a record without a sandbox that runs; a sandbox without a record
    boxes.store.Create(boxes.m.StoreCreateRequest(sandbox=boxes.record("paper")))
    boxes.container("c3", "paper")
    with refused("UNKNOWN", "failed to start shim: can't find sandbox paper"):
        boxes.task("Create", "c3")
    boxes.container("c4", "nothing")
    boxes.task("Create", "c4")
    assert not (boxes.task_bundle("c4") / "sandbox").exists() and len(boxes.pids()) == 2
    boxes.task("Delete", "c4")


def test_an_old_shim_is_not_joined(boxes):
    boxes.run("old")
    boxes.container("c1", "old")
    boxes.task("Create", "c1")
    assert not (boxes.task_bundle("c1") / "sandbox").exists() and len(boxes.pids()) == 2


# ---------------------------------------------------------------------------------------------- restarts and deaths
def test_a_restart_finds_sandboxes(boxes):
    boxes.run("pod")
    boxes.create("lost")  # without a record it is a leak
    boxes.container("c1", "pod")
    boxes.task("Create", "c1")
    boxes.task("Start", "c1")
    boxes.d.kill()
    boxes.d.start()
    boxes.connect()
    assert boxes.state("pod") == "SANDBOX_READY"
    assert boxes.task("Get", "c1").process.status == 2
    eventually("the leak's end", lambda: len(boxes.pids()) == 1 and not boxes.bundle("lost").exists())
    before = boxes.asked().count("Shutdown c1")
    boxes.task("Kill", "c1", signal=9)
    boxes.task("Delete", "c1")
    assert boxes.asked().count("Shutdown c1") == before == 0
    boxes.container("c2", "pod")
    boxes.task("Create", "c2")
    boxes.task("Delete", "c2")
    boxes.call("Shutdown", "pod")
    assert not boxes.bundle("pod").exists()
    eventually("the end of the shim", lambda: not boxes.pids())


def test_the_shim_is_killed(boxes):
    boxes.run("pod")
    boxes.container("c1", "pod")
    boxes.task("Create", "c1")
    wait = boxes.later("Wait", "pod")
    eventually("the question", lambda: "WaitSandbox pod" in boxes.asked())
    with events(boxes.d) as seen:
        os.kill(boxes.pids()[0], signal.SIGKILL)
        assert wait.result().exit_status == 137
        eventually("clean bundles", lambda: not boxes.bundle("pod").exists() and not boxes.task_bundle("c1").exists())
        eventually("all events", lambda: len(seen) >= 5)
    assert "delete pod" in boxes.asked()
    topics = [(t, getattr(e, "container_id", None) or e.sandbox_id) for t, e in seen]
    assert sorted(topics) == sorted([("/tasks/exit", "pod"), ("/tasks/delete", "pod"), ("/tasks/exit", "c1"),
                                     ("/tasks/delete", "c1"), ("/sandboxes/exit", "pod")])
    assert boxes.state("pod") == ""
    assert boxes.store.Get(boxes.m.StoreGetRequest(sandbox_id="pod")).sandbox.sandbox_id == "pod"
    boxes.create("pod")


def test_a_shim_that_does_not_answer_costs_only_its_own(boxes):
    boxes.run("deaf")
    boxes.run("pod")
    deaf = [boxes.later("Status", "deaf") for _ in range(200)]
    eventually("the questions", lambda: boxes.asked().count("SandboxStatus deaf") == 200)
    assert boxes.state("pod") == "SANDBOX_READY"
    boxes.call("Shutdown", "deaf")
    for f in deaf:
        assert f.exception().code().name == "UNAVAILABLE"
