# SPDX-License-Identifier: Apache-2.0
"""Tasks and events through gRPC and Debian's ctr: the life of a container, what is refused and how, shims that stop, die
or lie, and the daemon's end while containers run."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import queue
import signal
import socket
import struct
import threading
import time

import grpc
import pytest
from google.protobuf import any_pb2

import lighter
from lighter import alive, eventually, pb

SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
RESOURCES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
DEBIAN_SHIM = "/usr/bin/containerd-shim-runc-v2"
YEAR_1 = -62135596800
CAPS = ["CAP_KILL", "CAP_CHOWN", "CAP_DAC_OVERRIDE"]

tasks_pb = pb("containerd/services/tasks/v1/tasks")
containers_pb = pb("containerd/services/containers/v1/containers")
events_pb = pb("containerd/services/events/v1/events")
event_types = pb("containerd/events/events")
types_pb = pb("containerd/types/types")
task_pb = pb("containerd/v1/types/task")
runc_pb = pb("containerd/runc/v1/options")


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory):
    return lighter.busybox_rootfs(tmp_path_factory.mktemp("busybox"))


def process(*args):
    return {"user": {"uid": 0, "gid": 0}, "args": list(args), "cwd": "/", "env": ["PATH=/bin"],
            "capabilities": {k: CAPS for k in ("bounding", "effective", "permitted")}}


class Box:
    """A container's record in a daemon, and its task."""

    def __init__(self, d, rootfs, name, *args, runtime="io.containerd.runc.v2", namespace="default", options=None,
                 annotations=None):
        self.d, self.name, self.namespace = d, name, namespace
        self.c = d.client(namespace)
        spec = {"ociVersion": "1.0.2", "process": process(*(args or ("sleep", "1000"))),
                "root": {"path": str(rootfs)}, "hostname": name, "annotations": annotations or {},
                "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
                "linux": {"cgroupsPath": f"/lt-{os.getpid()}/{namespace}-{name}",
                          "namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount")]}}
        record = containers_pb.Container(id=name, spec={"type_url": SPEC_TYPE, "value": json.dumps(spec).encode()},
                                         runtime={"name": runtime})
        if options is not None:
            record.runtime.options.CopyFrom(any_of(options))
        self.c.containers.Create(containers_pb.CreateContainerRequest(container=record), timeout=20)

    def __getattr__(self, method):
        """box.Kill(signal=9) calls Tasks.Kill for this container."""
        def call(**fields):
            timeout = fields.pop("timeout", 30)
            return getattr(self.c.tasks, method)(REQUESTS[method](container_id=self.name, **fields), timeout=timeout)
        return call

    def run(self):
        self.Create()
        return self.Start().pid

    def state(self, exec_id=""):
        return self.Get(exec_id=exec_id).process

    def exec(self, exec_id, *args, **fields):
        return self.Exec(exec_id=exec_id, spec={"type_url": PROCESS_TYPE, "value": json.dumps(process(*args)).encode()},
                         **fields)

    def end(self):
        """Whatever its state: killed, deleted, its record as well."""
        if not self.c:
            return
        with contextlib.suppress(grpc.RpcError):
            self.Kill(signal=9, all=True)
            self.Wait()
        with contextlib.suppress(grpc.RpcError):
            self.Delete()
        with contextlib.suppress(grpc.RpcError):
            self.c.containers.Delete(containers_pb.DeleteContainerRequest(id=self.name), timeout=20)
        self.c.close()
        self.c = None


REQUESTS = {"Create": tasks_pb.CreateTaskRequest, "Start": tasks_pb.StartRequest, "Delete": tasks_pb.DeleteTaskRequest,
            "DeleteProcess": tasks_pb.DeleteProcessRequest, "Get": tasks_pb.GetRequest, "Kill": tasks_pb.KillRequest,
            "Exec": tasks_pb.ExecProcessRequest, "ResizePty": tasks_pb.ResizePtyRequest,
            "CloseIO": tasks_pb.CloseIORequest, "Pause": tasks_pb.PauseTaskRequest,
            "Resume": tasks_pb.ResumeTaskRequest, "ListPids": tasks_pb.ListPidsRequest,
            "Update": tasks_pb.UpdateTaskRequest, "Wait": tasks_pb.WaitRequest,
            "Checkpoint": tasks_pb.CheckpointTaskRequest}


def any_of(message):
    return any_pb2.Any(type_url=message.DESCRIPTOR.full_name, value=message.SerializeToString())


@pytest.fixture
def box(request):
    """box(daemon, rootfs, name, ...) makes a Box that is gone after the test."""
    made = []

    def make(*args, **kw):
        made.append(Box(*args, **kw))
        return made[-1]
    yield make
    for b in reversed(made):
        b.end()


@pytest.fixture
def d(shared_daemon):
    return shared_daemon


@contextlib.contextmanager
def fails(code, text=None):
    with pytest.raises(grpc.RpcError) as e:
        yield
    assert e.value.code() == code, e.value
    if text is not None:
        assert e.value.details() == text
    fails.details = e.value.details()


class Events:
    """Subscribes from now on; take(n) is the next n as (topic, event)."""

    def __init__(self, d, *filters, namespace="default"):
        self.c = d.client(namespace)
        self.queue = queue.Queue()
        self.stream = self.c.events.Subscribe(events_pb.SubscribeRequest(filters=filters))
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        # Nothing says that a subscription stands, so events of our own are published until one comes.
        probe = f"/probe/{os.getpid()}"
        self.probing = not filters
        while self.probing:
            self.c.events.Publish(events_pb.PublishRequest(topic=probe), timeout=5)
            with contextlib.suppress(queue.Empty):
                while True:
                    if self.queue.get(timeout=0.05).topic == probe:
                        self.probing = False
        if filters:
            time.sleep(0.3)

    def _read(self):
        try:
            for e in self.stream:
                self.queue.put(e)
        except grpc.RpcError as e:
            self.error = e

    def take(self, n, seconds=15):
        out = []
        end = time.monotonic() + seconds
        while len(out) < n:
            left = end - time.monotonic()
            assert left > 0, f"only {[e.topic for e in out]}"
            with contextlib.suppress(queue.Empty):
                e = self.queue.get(timeout=left)
                if not e.topic.startswith("/probe"):
                    out.append(e)
        return out

    def topics(self, n):
        return [e.topic for e in self.take(n)]

    def close(self):
        self.stream.cancel()
        self.c.close()


@pytest.fixture
def events(d):
    with contextlib.closing(Events(d)) as e:
        yield e


# ------------------------------------------------------------------------------------------------ the life of a task
def test_life_of_a_task(d, rootfs, box, events):
    b = box(d, rootfs, "life")
    assert events.topics(1) == ["/containers/create"]
    created = b.Create()
    assert created.container_id == "life" and created.pid > 0
    s = b.state()
    assert (s.container_id, s.id, s.pid, s.status) == ("", "life", created.pid, task_pb.CREATED)
    assert s.exited_at.seconds == YEAR_1
    assert b.Start().pid == created.pid
    assert b.state().status == task_pb.RUNNING
    assert [t.id for t in d.client().tasks.List(tasks_pb.ListTasksRequest(), timeout=10).tasks] == ["life"]

    b.Kill(signal=signal.SIGKILL)
    gone = b.Wait()
    assert gone.exit_status == 137 and gone.exited_at.seconds > YEAR_1
    assert b.state().status == task_pb.STOPPED and b.state().exit_status == 137
    deleted = b.Delete()
    assert (deleted.id, deleted.pid, deleted.exit_status) == ("", created.pid, 137)
    assert deleted.exited_at.seconds > YEAR_1
    with fails(grpc.StatusCode.NOT_FOUND, "task life not found"):
        b.Get()

    four = events.take(4)
    assert [e.topic for e in four] == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
    assert {e.namespace for e in four} == {"default"}
    exit_event = event_types.TaskExit.FromString(four[2].event.value)
    assert (exit_event.container_id, exit_event.id, exit_event.pid, exit_event.exit_status) == \
        ("life", "life", created.pid, 137)
    assert not (d.state / "io.containerd.runtime.v2.task/default/life").exists()
    assert not (d.root / "io.containerd.runtime.v2.task/default/life").exists()
    eventually("the shim's end", lambda: not d.shims())


def test_bundle(d, rootfs, box):
    b = box(d, rootfs, "bundle")
    b.run()
    path = d.state / "io.containerd.runtime.v2.task/default/bundle"
    assert json.loads((path / "bootstrap.json").read_text())["version"] == 3
    assert (path / "shim-binary-path").read_text() == str(lighter.BUILD / "containerd-shim-lighter-v2")
    assert path.stat().st_mode & 0o7777 == 0o700
    assert os.readlink(path / "work") == str(d.root / "io.containerd.runtime.v2.task/default/bundle")


def test_exit_status_and_restart_of_a_container(d, rootfs, box):
    b = box(d, rootfs, "again", "sh", "-c", "exit 7")
    for _ in range(3):
        b.run()
        assert b.Wait().exit_status == 7
        assert b.Delete().exit_status == 7


def test_namespaces_are_separate(d, rootfs, box):
    one = box(d, rootfs, "same")
    one.run()
    c = d.client("second")
    d.ctr("namespaces", "create", "second")
    two = box(d, rootfs, "same", namespace="second")
    with fails(grpc.StatusCode.NOT_FOUND, "task same not found"):
        two.Get()
    two.run()
    two.Kill(signal=9)
    assert two.Wait().exit_status == 137
    assert one.state().status == task_pb.RUNNING
    assert [t.id for t in c.tasks.List(tasks_pb.ListTasksRequest(), timeout=10).tasks] == ["same"]
    two.end()
    d.ctr("namespaces", "rm", "second")


def test_created_task_is_deleted_without_start(d, rootfs, box):
    b = box(d, rootfs, "unstarted")
    b.Create()
    assert b.Delete().exit_status in (0, 137)
    with fails(grpc.StatusCode.NOT_FOUND):
        b.Get()


# ------------------------------------------------------------------------------------------------------- processes
def test_exec(d, rootfs, box, events):
    b = box(d, rootfs, "exec")
    b.run()
    events.take(3)
    b.exec("e1", "sh", "-c", "exit 9")
    assert b.state("e1").status == task_pb.CREATED and b.state("e1").id == "e1"
    pid = b.Start(exec_id="e1").pid
    assert pid > 0 and b.Wait(exec_id="e1").exit_status == 9
    gone = b.DeleteProcess(exec_id="e1")
    assert (gone.id, gone.pid, gone.exit_status) == ("e1", pid, 9)
    with fails(grpc.StatusCode.NOT_FOUND):
        b.Get(exec_id="e1")
    assert events.topics(3) == ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"]

    # the same name again is another process, also for who waits
    b.exec("e1", "sh", "-c", "exit 3")
    b.Start(exec_id="e1")
    assert b.Wait(exec_id="e1").exit_status == 3
    b.DeleteProcess(exec_id="e1")


def test_exec_output_and_stdin(d, rootfs, box, tmp_path):
    b = box(d, rootfs, "io")
    b.run()
    fifos = {n: str(tmp_path / n) for n in ("in", "out")}
    for f in fifos.values():
        os.mkfifo(f)
    out = os.open(fifos["out"], os.O_RDONLY | os.O_NONBLOCK)
    stdin = os.open(fifos["in"], os.O_RDWR)
    b.exec("cat", "cat", stdin=fifos["in"], stdout=fifos["out"])
    b.Start(exec_id="cat")
    os.write(stdin, b"hello")
    seen = b""

    def read():
        nonlocal seen
        with contextlib.suppress(BlockingIOError):
            seen += os.read(out, 100)
        return seen == b"hello"
    eventually("output", read)
    b.CloseIO(exec_id="cat", stdin=False)
    assert b.state("cat").status == task_pb.RUNNING
    os.close(stdin)
    b.CloseIO(exec_id="cat", stdin=True)
    assert b.Wait(exec_id="cat").exit_status == 0
    os.close(out)


def test_pids_pause_update_metrics(d, rootfs, box):
    b = box(d, rootfs, "pids")
    pid = b.run()
    b.exec("e1", "sleep", "1000")
    e1 = b.Start(exec_id="e1").pid
    assert {p.pid for p in b.ListPids().processes} == {pid, e1}
    info = next(p.info for p in b.ListPids().processes if p.pid == e1)
    assert info.type_url == "containerd.runc.v1.ProcessDetails"
    assert runc_pb.ProcessDetails.FromString(info.value).exec_id == "e1"

    b.Pause()
    assert b.state().status == task_pb.PAUSED
    with fails(grpc.StatusCode.UNKNOWN, "cannot pause a paused container: unknown"):
        b.Pause()
    b.Resume()
    assert b.state().status == task_pb.RUNNING

    b.Update(resources={"type_url": RESOURCES_TYPE, "value": json.dumps({"memory": {"limit": 64 << 20}}).encode()})
    metrics = d.client().tasks.Metrics(tasks_pb.MetricsRequest(filters=["id==pids"]), timeout=10).metrics
    assert [m.id for m in metrics] == ["pids"] and metrics[0].data.type_url.startswith("io.containerd.cgroups.v")
    assert not d.client().tasks.Metrics(tasks_pb.MetricsRequest(filters=["id==other"]), timeout=10).metrics
    assert not d.client("nothing").tasks.Metrics(tasks_pb.MetricsRequest(), timeout=10).metrics
    with fails(grpc.StatusCode.INVALID_ARGUMENT):
        d.client().tasks.Metrics(tasks_pb.MetricsRequest(filters=["==="]), timeout=10)


# ------------------------------------------------------------------------------------------------------ what is refused
def test_refusals(d, rootfs, box):
    c = d.client()
    with fails(grpc.StatusCode.NOT_FOUND, 'container "none" in namespace "default": not found'):
        c.tasks.Create(tasks_pb.CreateTaskRequest(container_id="none"), timeout=10)
    with fails(grpc.StatusCode.NOT_FOUND, 'container "none" in namespace "default": not found'):
        c.tasks.Wait(tasks_pb.WaitRequest(container_id="none"), timeout=10)
    with fails(grpc.StatusCode.FAILED_PRECONDITION):
        d.client(None).tasks.Get(tasks_pb.GetRequest(container_id="x"), timeout=10)
    with fails(grpc.StatusCode.INVALID_ARGUMENT):
        d.client("../x").tasks.List(tasks_pb.ListTasksRequest(), timeout=10)

    b = box(d, rootfs, "refused")
    b.run()
    with fails(grpc.StatusCode.ALREADY_EXISTS, "task refused: already exists"):
        b.Create()
    with fails(grpc.StatusCode.UNKNOWN, "cannot start a running process: unknown"):
        b.Start()
    with fails(grpc.StatusCode.UNKNOWN, "failed to delete task: cannot delete a running process: unknown"):
        b.Delete()
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "exec id cannot be empty"):
        b.exec("", "true")
    with fails(grpc.StatusCode.INVALID_ARGUMENT):
        b.exec("../x", "true")
    with fails(grpc.StatusCode.INVALID_ARGUMENT):
        b.DeleteProcess()
    with fails(grpc.StatusCode.NOT_FOUND):
        b.Start(exec_id="none")
    with fails(grpc.StatusCode.NOT_FOUND):
        b.Kill(exec_id="none", signal=9)
    b.exec("e1", "true")
    with fails(grpc.StatusCode.ALREADY_EXISTS, "id e1: already exists"):
        b.exec("e1", "true")
    b.Kill(signal=9)
    b.Wait()
    with fails(grpc.StatusCode.NOT_FOUND, "process already finished: not found"):
        b.Kill(signal=9)


@pytest.mark.parametrize("runtime,text", [
    ("runc", "invalid runtime name runc, correct runtime name should be either format like "
             "`io.containerd.runc.v2` or a full path to the binary"),
    ("bin/x.y", "invalid runtime name bin/x.y, correct runtime name should be either format like "
                "`io.containerd.runc.v2` or a full path to the binary"),
    ("io.containerd.nothing.v7", 'runtime "io.containerd.nothing.v7" binary not installed '
                                 '"containerd-shim-nothing-v7": file does not exist'),
    ("/no/such/shim", "invalid custom binary path: stat /no/such/shim: no such file or directory"),
])
def test_unknown_runtimes(d, rootfs, box, runtime, text):
    b = box(d, rootfs, "badruntime", runtime=runtime)
    with fails(grpc.StatusCode.UNKNOWN, f"failed to start shim: failed to resolve runtime path: {text}"):
        b.Create()


def test_runtime_path_of_the_request_wins(d, rootfs, box):
    b = box(d, rootfs, "path")
    with fails(grpc.StatusCode.UNKNOWN):
        b.Create(runtime_path="/no/such/shim")
    b.Create(runtime_path=str(lighter.BUILD / "containerd-shim-lighter-v2"))


def test_options_of_another_type(d, rootfs, box):
    b = box(d, rootfs, "options")
    with fails(grpc.StatusCode.UNKNOWN, "invalid task create option for io.containerd.runc.v2"):
        b.Create(options=any_of(event_types.TaskOOM(container_id="x")))
    with fails(grpc.StatusCode.INVALID_ARGUMENT):
        b.Create(options={"type_url": "containerd.runc.v1.Options", "value": b"\xff\xff"})
    b.Create(options=any_of(runc_pb.Options(binary_name="/usr/sbin/runc")))


def test_program_that_is_not_there(d, rootfs, box):
    b = box(d, rootfs, "noprogram", "/no/such/program")
    with fails(grpc.StatusCode.UNKNOWN):
        b.run()
    assert fails.details.startswith("failed to create shim task: OCI runtime create failed: ")
    assert "/no/such/program" in fails.details and fails.details.endswith(": unknown")
    assert not (d.state / "io.containerd.runtime.v2.task/default/noprogram").exists()
    eventually("the shim's end", lambda: not d.shims())


# ------------------------------------------------------------------------------------------------------------- waiting
def test_a_thousand_waits_hold_no_thread(d, rootfs, box):
    b = box(d, rootfs, "waited")
    b.run()
    stub = lighter.stubs("containerd/services/tasks/v1/tasks").TasksStub(b.c.channel)
    metadata = [("containerd-namespace", "default")]
    waits = [stub.Wait.future(tasks_pb.WaitRequest(container_id="waited"), metadata=metadata) for _ in range(1000)]
    assert b.state().status == task_pb.RUNNING
    for w in waits[:100]:
        w.cancel()
    assert len(os.listdir(f"/proc/{d.pid}/task")) < 25
    b.Kill(signal=9)
    assert {w.result(timeout=20).exit_status for w in waits[100:]} == {137}


def test_cancelled_wait_is_forgotten(d, rootfs, box):
    b = box(d, rootfs, "cancelled")
    b.run()
    for _ in range(20):
        with pytest.raises(grpc.RpcError) as e:
            b.Wait(timeout=0.01)
        # whose clock runs out first: ours, or the server's, which resets the stream
        assert e.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
    b.Kill(signal=9)
    assert b.Wait().exit_status == 137


# ------------------------------------------------------------------------------------------- the daemon comes and goes
def test_containers_outlive_the_daemon(daemon, rootfs, box):
    boxes = [box(daemon, rootfs, f"c{i}") for i in range(4)]
    pids = [b.run() for b in boxes]
    boxes[0].exec("e1", "sleep", "1000")
    e1 = boxes[0].Start(exec_id="e1").pid
    shims = sorted(daemon.shims())
    daemon.kill()
    assert all(alive(p) for p in pids + [e1])
    daemon.start()
    eventually("the same shims, and no op child of theirs", lambda: sorted(daemon.shims()) == shims)
    listed = daemon.client().tasks.List(tasks_pb.ListTasksRequest(), timeout=20).tasks
    assert [(t.id, t.pid, t.status) for t in listed] == [(f"c{i}", p, task_pb.RUNNING) for i, p in enumerate(pids)]
    b = boxes[0]
    assert b.state("e1").pid == e1
    b.exec("e2", "sh", "-c", "exit 4")
    b.Start(exec_id="e2")
    assert b.Wait(exec_id="e2").exit_status == 4
    for b in boxes:
        with fails(grpc.StatusCode.ALREADY_EXISTS):
            b.Create()
        b.Kill(signal=9, all=True)
        assert b.Wait().exit_status == 137
        assert b.Delete().exit_status == 137
    eventually("the shims' end", lambda: not daemon.shims())


def test_orderly_stop_leaves_containers_running(daemon, rootfs, box):
    b = box(daemon, rootfs, "c1")
    pid = b.run()
    assert daemon.stop() == 0
    assert alive(pid)
    daemon.start()
    assert b.state().pid == pid


def test_orderly_stop_with_calls_in_flight(daemon, rootfs, box):
    """Waits without an end, questions to a shim that has stopped, a subscriber, tasks being created."""
    b, other = box(daemon, rootfs, "c1"), box(daemon, rootfs, "c2")
    pid = b.run()
    shim = daemon.shims()[0]
    stub = lighter.stubs("containerd/services/tasks/v1/tasks").TasksStub(b.c.channel)
    metadata = b.c.metadata
    calls = [stub.Wait.future(tasks_pb.WaitRequest(container_id="c1"), metadata=metadata) for _ in range(50)]
    os.kill(shim, signal.SIGSTOP)
    try:
        calls += [stub.Kill.future(tasks_pb.KillRequest(container_id="c1"), metadata=metadata) for _ in range(30)]
        calls += [stub.Delete.future(tasks_pb.DeleteTaskRequest(container_id="c1"), metadata=metadata) for _ in range(3)]
        calls += [stub.List.future(tasks_pb.ListTasksRequest(), metadata=metadata) for _ in range(3)]
        calls += [stub.Create.future(tasks_pb.CreateTaskRequest(container_id="c2"), metadata=metadata)]
        events = b.c.events.Subscribe(events_pb.SubscribeRequest())
        time.sleep(0.05)
        assert daemon.stop() == 0
    finally:
        os.kill(shim, signal.SIGCONT)
    for c in calls:
        with contextlib.suppress(grpc.RpcError):
            c.result(timeout=10)
    with pytest.raises(grpc.RpcError):
        next(events)
    assert alive(pid)
    daemon.start()
    eventually("all settled", lambda: other.end() or True)


def test_what_ended_while_the_daemon_was_away_is_gone(daemon, rootfs, box):
    b = box(daemon, rootfs, "c1")
    pid = b.run()
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    eventually("the container's end", lambda: not alive(pid))
    daemon.start()
    eventually("recovery", lambda: not daemon.client().tasks.List(tasks_pb.ListTasksRequest(), timeout=20).tasks)
    with fails(grpc.StatusCode.NOT_FOUND, "task c1 not found"):
        b.Get()
    assert daemon.client().containers.Get(containers_pb.GetContainerRequest(id="c1"), timeout=10).container.id == "c1"
    eventually("the shim's end", lambda: not daemon.shims())
    b.run()
    assert b.state().status == task_pb.RUNNING


def test_shim_that_died_while_the_daemon_was_away(daemon, rootfs, box):
    b = box(daemon, rootfs, "c1")
    pid = b.run()
    daemon.kill()
    os.kill(daemon.shims()[0], signal.SIGKILL)
    daemon.start()
    with fails(grpc.StatusCode.NOT_FOUND):
        b.Get()
    eventually("the container's end", lambda: not alive(pid))
    b.run()


def test_stopped_shim_does_not_delay_recovery_of_others(daemon, rootfs, box):
    one, two = box(daemon, rootfs, "one"), box(daemon, rootfs, "two")
    one.run()
    stopped = daemon.shims()[0]
    two.run()
    daemon.kill()
    os.kill(stopped, signal.SIGSTOP)
    try:
        daemon.start()
        assert two.state().status == task_pb.RUNNING
        two.Kill(signal=9)
        assert two.Wait().exit_status == 137
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert eventually("recovery", lambda: one.state(), 20).status == task_pb.RUNNING


# --------------------------------------------------------------------------------------------------- shims that misbehave
@pytest.mark.parametrize("runtime", ["io.containerd.runc.v2", DEBIAN_SHIM], ids=["read", "asked"])
def test_list_agrees_with_get(daemon, rootfs, box, runtime):
    """What the daemon reads by itself is what the shim would say."""
    b = box(daemon, rootfs, "agreed", runtime=runtime)
    c = daemon.client()

    def agreed():
        listed = c.tasks.List(tasks_pb.ListTasksRequest(), timeout=10).tasks
        assert list(listed) == [b.state()]
        return listed[0].status

    b.Create()
    assert agreed() == task_pb.CREATED
    b.Start()
    assert agreed() == task_pb.RUNNING
    b.Pause()
    assert agreed() == task_pb.PAUSED
    b.Resume()
    assert agreed() == task_pb.RUNNING
    b.exec("e1", "sleep", "1000")
    b.Start(exec_id="e1")
    assert agreed() == task_pb.RUNNING
    metric, = c.tasks.Metrics(tasks_pb.MetricsRequest(), timeout=10).metrics
    assert metric.id == "agreed" and metric.data.type_url == "io.containerd.cgroups.v1.Metrics"
    assert b"\x12\x02\x08\x02" in metric.data.value  # pids { current: 2 }; "io" is a module of Python's own
    b.Kill(signal=9)
    b.Wait()
    assert agreed() == task_pb.STOPPED
    b.Delete()
    assert not c.tasks.List(tasks_pb.ListTasksRequest(), timeout=10).tasks
    assert not c.tasks.Metrics(tasks_pb.MetricsRequest(), timeout=10).metrics


def test_stopped_shim_harms_nobody_else(daemon, rootfs, box):
    one, two = box(daemon, rootfs, "one"), box(daemon, rootfs, "two")
    one.run()
    shim = daemon.shims()[0]
    two.run()
    os.kill(shim, signal.SIGSTOP)
    try:
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            # more than the daemon has threads, and of every kind
            stuck = [pool.submit(one.Kill, signal=0, timeout=4) for _ in range(30)]
            stuck += [pool.submit(one.Delete, timeout=4) for _ in range(5)]
            stuck += [pool.submit(one.Wait, timeout=4) for _ in range(5)]
            time.sleep(0.5)
            assert two.state().status == task_pb.RUNNING
            two.exec("e1", "sh", "-c", "exit 2")
            two.Start(exec_id="e1")
            assert two.Wait(exec_id="e1").exit_status == 2
            with fails(grpc.StatusCode.DEADLINE_EXCEEDED):
                one.Get()
            tasks = daemon.client().tasks.List(tasks_pb.ListTasksRequest(), timeout=10).tasks
            # what the stopped one has left to be read is true: its container runs
            assert [(t.id, t.status) for t in tasks] == [("one", task_pb.RUNNING), ("two", task_pb.RUNNING)]
            for s in stuck:
                with pytest.raises(grpc.RpcError):
                    s.result()
    finally:
        os.kill(shim, signal.SIGCONT)


def test_killed_shim(d, rootfs, box, events):
    b = box(d, rootfs, "orphan")
    pid = b.run()
    events.take(3)
    stub = lighter.stubs("containerd/services/tasks/v1/tasks").TasksStub(b.c.channel)
    waiting = stub.Wait.future(tasks_pb.WaitRequest(container_id="orphan"), metadata=b.c.metadata)
    time.sleep(0.2)
    os.kill(d.shims()[0], signal.SIGKILL)
    assert waiting.result(timeout=15).exit_status == 137
    last = events.take(2)
    assert [e.topic for e in last] == ["/tasks/exit", "/tasks/delete"]
    exited = event_types.TaskExit.FromString(last[0].event.value)
    assert (exited.container_id, exited.id, exited.pid, exited.exit_status) == ("orphan", "orphan", pid, 137)
    assert event_types.TaskDelete.FromString(last[1].event.value).exit_status == 137
    assert not alive(pid)
    with fails(grpc.StatusCode.NOT_FOUND):
        b.Get()
    assert not (d.state / "io.containerd.runtime.v2.task/default/orphan").exists()
    b.run()
    assert events.topics(2) == ["/tasks/create", "/tasks/start"]


@pytest.mark.parametrize("script,text", [
    ("exit 1", "start failed: : exit status 1"),
    ("true", 'start failed: unexpected protocol: ""'),
    ("echo garbage", 'start failed: no address of a unix socket: "garbage"'),
    ("head -c 300000 /dev/urandom", None),
    ("echo unix:///no/such/socket", None),
    ("echo boom >&2; exit 3", "start failed: boom: exit status 3"),
])
def test_hostile_shims(d, rootfs, box, tmp_path, script, text):
    shim = tmp_path / "containerd-shim-hostile-v1"
    shim.write_text(f"#!/bin/sh\nfor a; do :; done\ncase $a in start) {script};; esac\n")
    shim.chmod(0o755)
    b = box(d, rootfs, "hostile", runtime=str(shim))
    with pytest.raises(grpc.RpcError) as e:
        b.Create()
    assert e.value.details().startswith("failed to start shim: ")
    if text:
        assert e.value.details() == f"failed to start shim: {text}"
    assert not (d.state / "io.containerd.runtime.v2.task/default/hostile").exists()


def test_shims_that_never_answer_leave_the_daemon_answering(daemon, rootfs, box, tmp_path):
    """More of them than the daemon has threads."""
    shim = tmp_path / "containerd-shim-hang-v1"
    shim.write_text(f"#!/bin/sh\nfor a; do :; done\n[ $a = start ] || exit 0\n"
                    f"touch {tmp_path}/begun.$$\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 1\n")
    shim.chmod(0o755)
    good = box(daemon, rootfs, "good")
    good.run()
    hanging = [box(daemon, rootfs, f"h{i}", runtime=str(shim)) for i in range(20)]
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        stuck = [pool.submit(b.Create) for b in hanging]
        try:
            eventually("some hang", lambda: len(list(tmp_path.glob("begun.*"))) >= 4)
            assert good.state().status == task_pb.RUNNING
            good.exec("e1", "true")
            good.Start(exec_id="e1")
            assert good.Wait(exec_id="e1").exit_status == 0
        finally:
            (tmp_path / "go").touch()
        for s in stuck:
            with pytest.raises(grpc.RpcError):
                s.result()


# -------------------------------------------------------------------------------------------------------- other shims
@pytest.mark.skipif(not os.path.exists(DEBIAN_SHIM), reason="Debian's containerd is not installed")
@pytest.mark.parametrize("options", [None, runc_pb.Options(binary_name="/usr/sbin/runc")])
def test_debians_shim(daemon, rootfs, box, options):
    with contextlib.closing(Events(daemon)) as events:
        # its runc keeps its state in one folder for all daemons
        b = box(daemon, rootfs, f"debian-{os.getpid()}", runtime=DEBIAN_SHIM, options=options)
        pid = b.run()
        assert events.topics(3) == ["/containers/create", "/tasks/create", "/tasks/start"]
        assert (b.state().pid, b.state().status) == (pid, task_pb.RUNNING)
        path = daemon.state / "io.containerd.runtime.v2.task/default" / b.name
        assert json.loads((path / "bootstrap.json").read_text())["version"] == 2
        b.exec("e1", "sh", "-c", "exit 6")
        b.Start(exec_id="e1")
        assert b.Wait(exec_id="e1").exit_status == 6
        b.DeleteProcess(exec_id="e1")
    daemon.kill()
    daemon.start()
    assert b.state().pid == pid
    b.Pause()
    b.Resume()
    b.Kill(signal=9)
    assert b.Wait().exit_status == 137
    assert b.Delete().exit_status == 137
    eventually("the shim's end", lambda: not daemon.shims())


def test_two_containers_in_one_shim(d, rootfs, box):
    group = {"io.containerd.runc.v2.group": "pod"}
    one, two = (box(d, rootfs, n, annotations=group) for n in ("pod-one", "pod-two"))
    one.run()
    two.run()
    eventually("one shim, and no op child of its", lambda: len(d.shims()) == 1)
    one.Kill(signal=9)
    assert one.Wait().exit_status == 137
    one.Delete()
    assert two.state().status == task_pb.RUNNING and d.shims()
    two.Kill(signal=9)
    two.Wait()
    two.Delete()
    eventually("the shim's end", lambda: not d.shims())


def test_ctr_runs_from_a_folder(d, rootfs):
    p = d.ctr("run", "--rm", "--env", "PATH=/bin", "--rootfs", rootfs, "from-folder", "sh", "-c", "echo hello from $0; exit 3", "sure",
              check=False)
    assert (p.returncode, p.stdout) == (3, "hello from sure\n")
    d.ctr("run", "-d", "--null-io", "--env", "PATH=/bin", "--rootfs", rootfs, "from-folder", "sleep", "1000")
    assert "RUNNING" in d.ctr("task", "ls").stdout
    assert d.ctr("task", "exec", "--exec-id", "x", "from-folder", "sh", "-c", "echo inside").stdout == "inside\n"
    d.ctr("task", "kill", "-s", "KILL", "from-folder")
    eventually("stopped", lambda: "STOPPED" in d.ctr("task", "ls").stdout)
    d.ctr("task", "rm", "from-folder", check=False)
    d.ctr("container", "rm", "from-folder")


# ------------------------------------------------------------------------------------------------------------- events
def test_publish_and_subscribe(d, events):
    c = d.client("ns1")
    c.events.Publish(events_pb.PublishRequest(topic="/a/b", event=any_of(event_types.TaskOOM(container_id="x"))), timeout=5)
    c.events.Publish(events_pb.PublishRequest(topic="/a/c"), timeout=5)
    one, two = events.take(2)
    assert (one.namespace, one.topic, one.event.type_url) == ("ns1", "/a/b", "containerd.events.TaskOOM")
    assert one.timestamp.seconds > 1700000000
    assert (two.topic, two.HasField("event")) == ("/a/c", False)


@pytest.mark.parametrize("topic,text", [
    ("a", 'envelope topic "a": must start with \'/\': invalid argument'),
    ("/", 'envelope topic "/": must have at least one component: invalid argument'),
    ("", 'envelope topic "": must start with \'/\': invalid argument'),
    ("/a/../b", None),
    ("/" + "x" * 77, None),
])
def test_bad_topics(d, topic, text):
    with fails(grpc.StatusCode.INVALID_ARGUMENT, text):
        d.client().events.Publish(events_pb.PublishRequest(topic=topic), timeout=5)


def test_forward(d, events):
    c = d.client(None)
    with fails(grpc.StatusCode.INVALID_ARGUMENT):
        c.events.Forward(events_pb.ForwardRequest(), timeout=5)
    with fails(grpc.StatusCode.INVALID_ARGUMENT):
        c.events.Forward(events_pb.ForwardRequest(envelope=types_pb.Envelope(namespace="../x", topic="/a")), timeout=5)
    with fails(grpc.StatusCode.INVALID_ARGUMENT):
        c.events.Forward(events_pb.ForwardRequest(envelope={"namespace": "n", "topic": "/a",
                                                            "timestamp": {"seconds": YEAR_1}}), timeout=5)
    c.events.Forward(events_pb.ForwardRequest(envelope={"namespace": "n", "topic": "/a"}), timeout=5)
    e, = events.take(1)
    assert (e.namespace, e.topic, e.timestamp.seconds) == ("n", "/a", 0)
    with fails(grpc.StatusCode.FAILED_PRECONDITION):
        c.events.Publish(events_pb.PublishRequest(topic="/a"), timeout=5)


def ttrpc(address, service, method, payload):
    """One call; the bytes of the status (code and text are in there) and of the payload."""
    request = pb("ttrpc/request")
    data = request.Request(service=service, method=method, payload=payload).SerializeToString()
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(address)
        s.sendall(struct.pack(">IIBB", len(data), 1, 1, 0) + data)
        head = b""
        while len(head) < 10:
            head += s.recv(10 - len(head))
        n, stream, kind, _ = struct.unpack(">IIBB", head)
        assert (stream, kind) == (1, 2)
        body = b""
        while len(body) < n:
            body += s.recv(n - len(body))
    return request.Response.FromString(body)


def test_shims_forward_over_ttrpc(d, events):
    name = "containerd.services.events.ttrpc.v1.Events"
    messages = pb("containerd/services/events/ttrpc/v1/events")
    good = messages.ForwardRequest(envelope={"namespace": "n", "topic": "/tasks/oom",
                                             "event": any_of(event_types.TaskOOM(container_id="x"))})
    assert ttrpc(d.address + ".ttrpc", name, "Forward", good.SerializeToString()).status.code == 0
    assert events.topics(1) == ["/tasks/oom"]
    assert ttrpc(d.address + ".ttrpc", name, "Forward", b"").status.code == 3
    assert ttrpc(d.address + ".ttrpc", name, "Forward", b"\xff\xff").status.code != 0
    assert ttrpc(d.address + ".ttrpc", name, "Publish", b"").status.code == 12
    assert ttrpc(d.address + ".ttrpc", "containerd.services.tasks.v1.Tasks", "List", b"").status.code == 12


def test_filters(d):
    wanted = Events(d, 'topic=="/x/one"', "event.container_id==c7")
    with contextlib.closing(wanted):
        c = d.client()
        for topic in ("/x/zero", "/x/one", "/x/two"):
            c.events.Publish(events_pb.PublishRequest(topic=topic), timeout=5)
        for name in ("c6", "c7"):
            c.events.Publish(events_pb.PublishRequest(topic="/x/oom",
                                                      event=any_of(event_types.TaskOOM(container_id=name))), timeout=5)
        assert wanted.topics(2) == ["/x/one", "/x/oom"]
    with fails(grpc.StatusCode.UNKNOWN):
        next(d.client().events.Subscribe(events_pb.SubscribeRequest(filters=["==="]), timeout=5))


def test_slow_subscriber_is_told_and_stops_nobody(d):
    """One that reads nothing: its window fills, then its queue, then it is dropped; publishing goes on throughout."""
    c = d.client()
    slow = c.events.Subscribe(events_pb.SubscribeRequest())
    with contextlib.closing(Events(d, 'topic=="/slow/last"')) as other:
        big = {"type_url": "x", "value": b"x" * (1 << 20)}
        for _ in range(40):
            c.events.Publish(events_pb.PublishRequest(topic="/slow/event", event=big), timeout=10)
        c.events.Publish(events_pb.PublishRequest(topic="/slow/last"), timeout=10)
        assert other.topics(1) == ["/slow/last"]
    with pytest.raises(grpc.RpcError) as e:
        for _ in slow:
            pass
    assert e.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "too slow" in e.value.details()
