# SPDX-License-Identifier: Apache-2.0
"""A campaign against every method: plausible requests, the same bent and broken, plain noise, from many hands at once.
Nothing of it may end the daemon, leak, hold up others or damage the database. LIGHTER_CAMPAIGN=N sets the number of calls
(100000 is the whole); without it a slice runs."""
import collections
import contextlib
import itertools
import json
import os
import pathlib
import random
import socket
import threading
import time

import grpc
import pytest

import lighter
import test_ttrpc
from lighter import eventually
from test_grpc import END_HEADERS, END_STREAM, DATA, HEADERS, SETTINGS, Raw, frame, literal, message, request

CALLS = int(os.environ.get("LIGHTER_CAMPAIGN", "5000"))
SEED = int(os.environ.get("LIGHTER_CAMPAIGN_SEED", "3"))
OUTSTANDING = 64
NAMESPACES = ["noise", "other", "noise", "noise", None, "../x", ""]
# By design these have no end of their own.
ENDLESS = ("/Subscribe", "Health/Watch")
WAITING = ("Tasks/Wait", "Controller/Wait")
# These start processes: asked now and then only.
DEAR = ("Tasks/Create", "Tasks/Start", "Tasks/Exec", "Diff/Apply", "Diff/Diff", "Controller/Create", "Controller/Start",
        "Introspection/PluginInfo", "Mounts/Activate")


# -------------------------------------------------------------------------------------------------------- requests
class Words:
    """What real requests would say, by the name of the field; the objects behind most of it exist."""

    def __init__(self, folder, rootfs):
        self.folder, self.rootfs, blobs = str(folder), str(rootfs), [lighter.sha256(d) for d in BLOBS]
        ids = [f"c{i}" for i in range(6)]
        self.by_name = {
            "id": ids + ["l0", "l1", "task", "overlayfs", "content"], "container_id": ids, "sandbox_id": ids, "exec_id": ["e0", "e1", ""],
            "key": ["a0", "a1", "a2", "s0"], "parent": ["", "s0", "s1", "none"], "name": ["s0", "s1", "a0", "i0", "i1", "mount", "other"],
            "snapshotter": ["overlayfs", "native", "overlayfs", "none"], "digest": blobs, "expected": blobs + [""], "ref": ["r0", "r1", "r2", ""],
            "namespace": ["noise", "other", "fresh"], "topic": ["/a/b", "/tasks/oom", "a", "/"], "media_type": [
                "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.manifest.v1+json"],
            "paths": ["labels"] * 4 + ["labels.k"] * 4 + ["spec", "image", "extensions.x", "target", "runtime", "none", "snapshotkey"],
            "filters": ["", "id==c0", "labels.k==v", "name~=.*", "kind==active", "labels.\"k\"!=x", "bad ==", "topic~=/a", "a,b,c",
                        "event.container_id==c0", "name~=(", "id==\"\\x", "digest"],
            "runtime": ["io.containerd.runc.v2"], "type": ["io.containerd.runtime.v2", "content", "snapshots/overlayfs", "ingests",
                                                          "bind", "overlay", "io.containerd.grpc.v1"],
            "source": [self.folder, self.folder + "/none"], "target": ["", "sub", "../../x"], "options": ["ro", "rbind", "lowerdir=/x", ""],
            "stdin": [""], "stdout": [""], "stderr": [""], "address": [""], "bundle_path": [""], "runtime_path": ["", "/bin/false"],
            "sandboxer": ["", "shim", "none"], "service": [""],
            ("Runtime", "name"): ["io.containerd.runc.v2"], ("RuntimeRequest", "runtime_path"): ["io.containerd.runc.v2", "/bin/false", ""],
            ("Container", "snapshotter"): ["", "", "native"], ("Container", "snapshot_key"): ["", "a0"], ("Image", "name"): ["i0", "i1", "i2"],
            ("Namespace", "name"): ["other", "fresh", "s0"], ("PluginInfoRequest", "id"): ["task", "native"],
            ("Any", "type_url"): [lighter.TYPE_SPEC, "types.containerd.io/opencontainers/runtime-spec/1/Process",
                                  "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", "containerd.runc.v1.Options",
                                  "containerd.types.RuntimeRequest", "containerd.events.TaskOOM", "no.such.Type", ""],
        }
        self.any_word = ["", "a", "default", "x" * 300, "k" * 5000, "\u00e9\u4e16", "/", "..", "io.containerd.runc.v2", "sha256:" + "0" * 64]
        self.any_bytes = [b"", b"{}", self.spec("c0"), json.dumps(self.process("true")).encode(), b'{"memory":{"limit":100000000}}', b"[1,",
                          b"\x0a\x15io.containerd.runc.v2"]

    @staticmethod
    def process(*args):
        return {"user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/", "env": ["PATH=/bin"]}

    def spec(self, name):
        return json.dumps({"ociVersion": "1.0.2", "process": self.process("sleep", "1000"), "root": {"path": self.rootfs},
                           "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
                           "linux": {"cgroupsPath": f"/lt-{os.getpid()}/{name}",
                                     "namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount")]}}).encode()

    def string(self, rng, message, field):
        known = self.by_name.get((message, field)) or self.by_name.get(field)
        return rng.choice(known) if known and rng.random() < 0.85 else rng.choice(self.any_word)

    def fill(self, m, rng, depth=0):
        """Something in most fields."""
        for f in m.DESCRIPTOR.fields:
            if rng.random() < 0.15:
                continue
            repeated = f.label == f.LABEL_REPEATED
            if f.message_type and f.message_type.GetOptions().map_entry:
                self.fill_map(getattr(m, f.name), f.message_type, rng, depth)
            elif f.message_type:
                for _ in range(rng.randrange(3) if repeated else depth < 5):
                    if repeated:
                        self.fill(getattr(m, f.name).add(), rng, depth + 1)
                    else:
                        getattr(m, f.name).SetInParent()
                        self.fill(getattr(m, f.name), rng, depth + 1)
            elif repeated:
                getattr(m, f.name).extend(self.scalar(m, f, rng) for _ in range(rng.randrange(3)))
            else:
                setattr(m, f.name, self.scalar(m, f, rng))
        return m

    def fill_map(self, target, entry, rng, depth):
        for _ in range(rng.randrange(3)):
            key = rng.choice(["k", "containerd.io/gc.root", "containerd.io/gc.ref.content", "containerd.io/gc.expire", "x" * 200])
            if entry.fields_by_name["value"].message_type:
                self.fill(target[key], rng, depth + 1)
            else:
                with contextlib.suppress(TypeError):
                    target[key] = rng.choice(["v", "", "2020-01-01T00:00:00Z", *self.by_name["digest"]])

    def scalar(self, m, f, rng):
        if f.type == f.TYPE_STRING:
            return self.string(rng, m.DESCRIPTOR.name, f.name)
        if f.type == f.TYPE_BYTES:
            return rng.choice(self.any_bytes) if rng.random() < 0.8 else rng.randbytes(rng.randrange(2000))
        if f.type == f.TYPE_BOOL:
            return rng.random() < 0.5
        if f.type == f.TYPE_ENUM:
            return rng.choice(f.enum_type.values).number
        if f.type in (f.TYPE_DOUBLE, f.TYPE_FLOAT):
            return rng.random()
        small = rng.choice([0, 0, 1, 2, 9, 100, 4096, 2 ** 31 - 1])
        return small if rng.random() < 0.9 or f.type not in (f.TYPE_INT64, f.TYPE_SINT64) else rng.choice([-1, 2 ** 63 - 1, -2 ** 63])


def bend(data, rng):
    """The bytes with something wrong."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:at] = rng.choice([b"\xff" * 9 + b"\x01", b"\x80" * 11, b"\0", rng.randbytes(4), b"\x0a\xff\xff\xff\xff\x0f"])
        elif kind == 2:
            del data[at:at + rng.randrange(8)]
        elif kind == 3:
            data = data[:at]
        else:
            data[at:at] = data[:rng.randrange(64)]
    return bytes(data)


class Method:
    def __init__(self, service, m):
        self.path = f"/{service.full_name}/{m.name}"
        self.request = m.input_type._concrete_class
        self.client_streams, self.server_streams = m.client_streaming, m.server_streaming
        self.weight = 1 if self.path.endswith(DEAR) else 30

    def call(self, channel, messages, ns, timeout):
        """Begins it; what comes back answers code(), details() and result()."""
        kind = f"{'stream' if self.client_streams else 'unary'}_{'stream' if self.server_streams else 'unary'}"
        raw = getattr(channel, kind)(self.path)
        metadata = [("containerd-namespace", ns)] if ns is not None else []
        if self.client_streams:
            return raw(iter(messages), metadata=metadata, timeout=timeout)
        if self.server_streams:
            return raw(messages[0], metadata=metadata, timeout=timeout)
        return raw.future(messages[0], metadata=metadata, timeout=timeout)


METHODS = [Method(s, m) for s in lighter.services() for m in s.methods]


def requests(method, words, rng):
    """The messages of one call, as bytes."""
    def one():
        if rng.random() < 0.07:
            return rng.randbytes(rng.randrange(200))
        data = words.fill(method.request(), rng).SerializeToString()
        return data if rng.random() < 0.75 else bend(data, rng)
    return [one() for _ in range(rng.randrange(1, 6) if method.client_streams else 1)]


# ---------------------------------------------------------------------------------------------------------- driver
class Campaign:
    """Keeps a number of calls in flight and judges every answer."""

    def __init__(self, daemon, words, seed):
        self.daemon, self.words, self.rng = daemon, words, random.Random(seed)
        self.outcomes, self.made = collections.Counter(), 0
        self.wrong = []

    def judge(self, method, ns, messages, code, text):
        self.outcomes[code.name] += 1
        name = method.path.rpartition(".")[2]
        bad = None
        if code == grpc.StatusCode.DEADLINE_EXCEEDED and not name.endswith(WAITING + ENDLESS):
            bad = "no answer"
        elif code == grpc.StatusCode.UNAVAILABLE and "locked" not in text:
            bad = "unavailable"
        elif code == grpc.StatusCode.INTERNAL and not text.startswith("grpc: error unmarshalling request: "):
            bad = "internal"
        elif code != grpc.StatusCode.OK and not text:
            bad = "no text"
        if bad:
            self.wrong.append((bad, name, ns, code.name, text, [m.hex() for m in messages]))

    def run(self, channels, calls, stop=lambda: False):
        room = threading.Semaphore(OUTSTANDING)
        weights = list(itertools.accumulate(m.weight for m in METHODS))
        for _ in range(calls):
            if stop():
                break
            method = self.rng.choices(METHODS, cum_weights=weights)[0]
            messages = requests(method, self.words, self.rng)
            ns = self.rng.choice(NAMESPACES)
            endless = method.path.endswith(ENDLESS + WAITING)
            room.acquire()
            self.made += 1
            got = method.call(self.rng.choice(channels), messages, ns, 0.2 if endless else 60)

            def done(f=None, got=got, method=method, messages=messages, ns=ns):
                self.judge(method, ns, messages, got.code(), got.details() or "")
                room.release()

            if method.server_streams:
                # A reader of its own, as clients have; whether it reads to the end or leaves early is chance.
                threading.Thread(target=self.read, args=(got, self.rng.random() < 0.2, done), daemon=True).start()
            elif method.client_streams:
                threading.Thread(target=self.read, args=(got, False, done), daemon=True).start()
            else:
                got.add_done_callback(done)
        for _ in range(OUTSTANDING):
            assert room.acquire(timeout=90), "some calls were never answered"

    @staticmethod
    def read(got, leave, done):
        try:
            for _ in got:
                if leave:
                    got.cancel()
        except grpc.RpcError:
            pass
        done()


class Witness:
    """An honest client in a namespace of its own: everything it asks is answered, and nothing of it changes."""

    def __init__(self, daemon):
        self.c = daemon.client("witness")
        self.containers = self.c.messages("containers")
        self.times, self.error, self.stopping = [], None, threading.Event()
        self.c.containers.Create(self.containers.CreateContainerRequest(container=self.containers.Container(
            id="witness", labels={"a": "b"}, runtime={"name": "io.containerd.runc.v2"})))
        self.thread = threading.Thread(target=self.run)

    def look(self):
        start = time.monotonic()
        got = self.c.containers.Get(self.containers.GetContainerRequest(id="witness"), timeout=30).container
        self.times.append(time.monotonic() - start)
        assert dict(got.labels) == {"a": "b"}

    def run(self):
        try:
            while not self.stopping.wait(0.02):
                self.look()
        except Exception as e:
            self.error = e

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.stopping.set()
        self.thread.join()
        self.c.close()
        if self.error and not args[0]:
            raise self.error

    def p99(self):
        return sorted(self.times)[len(self.times) * 99 // 100]


class Noise(threading.Thread):
    """Beside the calls: connections whose very frames are bent, on both sockets."""

    def __init__(self, daemon, words, seed):
        super().__init__()
        self.daemon_, self.words, self.rng, self.sent, self.stopping = daemon, words, random.Random(seed), 0, threading.Event()

    def http2(self):
        method = self.rng.choice(METHODS)
        block = request(method.path, ("containerd-namespace", "noise"))
        return self.daemon_.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(SETTINGS) + b"".join(
            frame(HEADERS, END_HEADERS, 2 * i + 1, block) + frame(DATA, END_STREAM, 2 * i + 1, message(m))
            for i, m in enumerate(requests(method, self.words, self.rng)))

    def ttrpc(self):
        forward = lighter.pb("containerd/services/events/ttrpc/v1/events").ForwardRequest
        calls = [lighter.pb("ttrpc/request").Request(service=test_ttrpc.FORWARD, method="Forward",
                                                     payload=self.words.fill(forward(), self.rng).SerializeToString())
                 for _ in range(5)]
        return self.daemon_.address + ".ttrpc", b"", b"".join(
            test_ttrpc.frame(2 * i + 1, c.SerializeToString()) for i, c in enumerate(calls))

    def run(self):
        while not self.stopping.wait(0.005):
            address, hello, data = self.rng.choice([self.http2, self.ttrpc])()
            with socket.socket(socket.AF_UNIX) as s, contextlib.suppress(BrokenPipeError, ConnectionResetError, socket.timeout):
                s.settimeout(0.02)
                s.connect(address)
                s.sendall(hello + (bend(data, self.rng) if self.rng.random() < 0.8 else data))
                self.sent += 1
                while s.recv(65536):
                    pass

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *args):
        self.stopping.set()
        self.join()


class PrivateDaemon(lighter.Daemon):
    """In a mount namespace of its own: what a random request mounts is seen by nobody else."""
    wrapper = ("unshare", "--mount", "--propagation", "private")


def write_blob(c, data, ref):
    content = c.messages("content")
    r = content.WriteContentRequest
    list(c.content.Write(iter([r(action=content.COMMIT, ref=ref, data=data, total=len(data), expected=lighter.sha256(data))])))
    return lighter.sha256(data)


BLOBS = [b"x", b"{}", b"\0" * 10240, bytes(range(256)) * 20]


def furnish(daemon, words):
    """The objects that the words name, as far as they are not there (any more); two of the containers run."""
    with contextlib.closing(daemon.client("noise")) as c:
        containers, leases, snapshots, images, tasks, content = (
            c.messages(n) for n in ("containers", "leases", "snapshots", "images", "tasks", "content"))
        root = {"containerd.io/gc.root": "x"}
        spec = {"type_url": lighter.TYPE_SPEC, "value": words.spec("c0")}
        w = content.WriteContentRequest
        wanted = [lambda i=i, b=b: list(c.content.Write(iter([w(action=content.COMMIT, ref=f"seed{i}", data=b, labels=root)])))
                  for i, b in enumerate(BLOBS)]
        for i in range(3):
            wanted.append(lambda i=i: c.containers.Create(containers.CreateContainerRequest(container=containers.Container(
                id=f"c{i}", runtime={"name": "io.containerd.runc.v2"}, labels={"k": "v"}, spec=spec))))
        for i in range(2):
            wanted.append(lambda i=i: c.leases.Create(leases.CreateRequest(id=f"l{i}")))
            wanted.append(lambda i=i: c.images.Create(images.CreateImageRequest(image=images.Image(name=f"i{i}", target={
                "digest": lighter.sha256(BLOBS[i]), "size": 1, "media_type": "application/vnd.oci.image.manifest.v1+json"}))))
            wanted.append(lambda i=i: c.tasks.Create(tasks.CreateTaskRequest(container_id=f"c{i}"), timeout=30))
            wanted.append(lambda i=i: c.tasks.Start(tasks.StartRequest(container_id=f"c{i}"), timeout=30))
        for sn in ("overlayfs", "native"):
            wanted.append(lambda sn=sn: c.snapshots.Prepare(snapshots.PrepareSnapshotRequest(snapshotter=sn, key="tmp", labels=root)))
            wanted.append(lambda sn=sn: c.snapshots.Commit(snapshots.CommitSnapshotRequest(snapshotter=sn, key="tmp", name="s0", labels=root)))
            wanted.append(lambda sn=sn: c.snapshots.Prepare(snapshots.PrepareSnapshotRequest(snapshotter=sn, key="a0", parent="s0", labels=root)))
        for make in wanted:
            with contextlib.suppress(grpc.RpcError):
                make()


def end_tasks(daemon):
    """What the campaign has left running ends as any client would end it."""
    for ns in ("noise", "other", "fresh"):
        with contextlib.closing(daemon.client(ns)) as c:
            tasks = c.messages("tasks")
            for t in c.tasks.List(tasks.ListTasksRequest(), timeout=60).tasks:
                for call, request in ((c.tasks.Resume, tasks.ResumeTaskRequest(container_id=t.id)),
                                      (c.tasks.Kill, tasks.KillRequest(container_id=t.id, signal=9, all=True)),
                                      (c.tasks.Wait, tasks.WaitRequest(container_id=t.id)),
                                      (c.tasks.Delete, tasks.DeleteTaskRequest(container_id=t.id))):
                    with contextlib.suppress(grpc.RpcError):
                        call(request, timeout=20)


@pytest.fixture
def target(tmp_path):
    # The freed memory that ASan keeps would hide whether ours grows.
    d = PrivateDaemon()
    old = os.environ.get("ASAN_OPTIONS")
    os.environ["ASAN_OPTIONS"] = ":".join(filter(None, [old, "quarantine_size_mb=8"]))
    try:
        d.start()
    finally:
        os.environ.pop("ASAN_OPTIONS")
        if old is not None:
            os.environ["ASAN_OPTIONS"] = old
    folder = tmp_path / "mounted"
    folder.mkdir()
    d.words = Words(folder, lighter.busybox_rootfs(tmp_path / "rootfs"))
    yield d
    d.cleanup()
    for group in sorted(pathlib.Path("/sys/fs/cgroup").glob(f"*/lt-{os.getpid()}/**/"), reverse=True):
        with contextlib.suppress(OSError):
            group.rmdir()


def rss(d):
    """MiB."""
    return int(next(l for l in open(f"/proc/{d.pid}/status") if l.startswith("VmRSS")).split()[1]) / 1024


def slack(d):
    """How much more memory a daemon takes for being watched by a sanitizer."""
    maps = pathlib.Path(f"/proc/{d.pid}/maps").read_bytes()
    return 12 if b"libtsan" in maps else 4 if b"libasan" in maps else 1


def fds(d):
    return len(os.listdir(f"/proc/{d.pid}/fd"))


def database_is_whole(d):
    """As the daemon's own check says; it must not run."""
    p = lighter.run([lighter.BUILD / "lighterd", "--root", d.root, "check"], check=False)
    assert p.returncode == 0, p.stdout + p.stderr


def sanitizers_are_silent(d):
    for line in d.log().splitlines():
        assert not any(w in line for w in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "ThreadSanitizer", "Assertion")), \
            d.log()[d.log().index(line):][:6000]


# ----------------------------------------------------------------------------------------------------------- tests
def test_campaign(target, record_property):
    """Every method, with whatever comes to mind."""
    d = target
    campaign = Campaign(d, d.words, SEED)
    sizes = []
    with Witness(d) as witness, Noise(d, d.words, SEED) as noise:
        fds_before = fds(d)
        for _ in range(10):
            furnish(d, d.words)
            with contextlib.ExitStack() as stack:
                channels = [stack.enter_context(contextlib.closing(
                    grpc.insecure_channel("unix://" + d.address, options=[("grpc.use_local_subchannel_pool", 1)]))) for _ in range(3)]
                campaign.run(channels, CALLS // 10)
            assert d.process.poll() is None, d.log()[-6000:]
            assert not campaign.wrong, "\n".join(map(str, campaign.wrong[:20]))
            sizes.append(rss(d))
        noise.stopping.set()
        noise.join()
        end_tasks(d)
        eventually("shims gone", lambda: not d.shims(), 30)
        eventually("everything closed", lambda: fds(d) <= fds_before + 8)
    print(json.dumps({"calls": campaign.made, "bent connections": noise.sent, "outcomes": campaign.outcomes, "rss MiB": [round(s) for s in sizes],
                      "witness": len(witness.times), "witness p99 ms": round(witness.p99() * 1000, 1)}))
    assert campaign.made == CALLS // 10 * 10
    assert campaign.outcomes["OK"] > CALLS / 20, campaign.outcomes
    assert sizes[-1] < sizes[2] + 64, sizes
    assert len(witness.times) > 20 and noise.sent > 20
    assert d.stop() == 0, d.log()[-6000:]  # the leak checker speaks by the exit code
    sanitizers_are_silent(d)
    database_is_whole(d)


def test_killed_in_the_midst_of_calls(target):
    """kill -9 while 200 calls are in flight: the daemon starts again, with what it had acknowledged."""
    d = target
    rng = random.Random(SEED)
    rounds = max(2, min(20, CALLS // 5000))
    acknowledged = []
    for n in range(rounds):
        campaign = Campaign(d, d.words, SEED * 1000 + n)
        c = d.client("kept")
        ns = c.messages("namespaces")
        channel = grpc.insecure_channel("unix://" + d.address, options=[("grpc.use_local_subchannel_pool", 1)])
        killer = threading.Timer(rng.random() * 0.4, d.kill)
        killer.start()
        runner = threading.Thread(target=campaign.run, args=([channel], 200))
        runner.start()
        with contextlib.suppress(grpc.RpcError):
            for i in itertools.count():
                name = f"kept-{n}-{i}"
                c.namespaces.Create(ns.CreateNamespaceRequest(namespace=ns.Namespace(name=name)), timeout=20)
                acknowledged.append(name)
        killer.join()
        runner.join()
        channel.close()
        c.close()
        database_is_whole(d)
        d.start()
        c = d.client("kept")
        assert not set(acknowledged) - {n.name for n in c.namespaces.List(ns.ListNamespacesRequest()).namespaces}
        c.close()
    assert d.stop() == 0
    sanitizers_are_silent(d)


def crowd(n, address, what=lambda i: b""):
    """So many connections that have said hello, and perhaps more."""
    out = []
    for i in range(n):
        r = Raw(address)
        r.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS) + what(i))
        out.append(r)
    return out


def test_idle_connections_and_streams(target):
    """1,000 connections that say nothing more, 10,000 streams that wait: each costs a bounded amount, others are served."""
    d = target
    more = slack(d)
    block = request("/grpc.health.v1.Health/Watch")
    fds_before = fds(d)
    with Witness(d) as witness:
        before = rss(d)
        idle = crowd(1000, d.address)
        eventually("a thousand connections", lambda: fds(d) >= fds_before + 1000, 30)
        witness.look()
        per_connection = (rss(d) - before) * 1024 / 1000
        before = rss(d)
        busy = crowd(4, d.address)
        for r in busy:
            r.send(b"".join(frame(HEADERS, END_HEADERS, 2 * i + 1, block) + frame(DATA, END_STREAM, 2 * i + 1, message(b"")) for i in range(2500)))
        for r in busy:
            # each stream answers once: SERVING
            seen = set()
            for kind, flags, stream, payload in r.frames(lambda f: len(seen) >= 2500 - 1 and f[0] == DATA, seconds=60):
                if kind == DATA:
                    seen.add(stream)
                assert kind != 3 and kind != 7, (kind, payload)
        per_stream = (rss(d) - before) * 1024 / 10000
        for _ in range(50):
            witness.look()
        assert d.process.poll() is None
    print(json.dumps({"KiB per connection": round(per_connection, 2), "KiB per stream": round(per_stream, 2),
                      "witness p99 ms": round(witness.p99() * 1000, 1), "witness": len(witness.times)}))
    assert per_connection < 24 * more and per_stream < 8 * more
    for r in idle + busy:
        r.close()
    eventually("connections closed", lambda: fds(d) <= fds_before + 2, 30)
    assert d.stop() == 0
    sanitizers_are_silent(d)


def test_clients_that_never_read(target):
    """Lists, reads of a blob and events without end, for clients that take nothing of it."""
    d = target
    furnish(d, d.words)
    end_tasks(d)
    with contextlib.closing(d.client("noise")) as c:
        digest = write_blob(c, os.urandom(4 << 20), "big")
        containers, content, events = (c.messages(n) for n in ("containers", "content", "events"))
        for i in range(100):
            c.containers.Create(containers.CreateContainerRequest(container=containers.Container(
                id=f"big{i}", runtime={"name": "x"}, spec={"type_url": "x", "value": b"s" * 20000})))
        ns = ("containerd-namespace", "noise")
        asks = [(request("/containerd.services.containers.v1.Containers/List", ns), containers.ListContainersRequest()),
                (request("/containerd.services.content.v1.Content/Read", ns), content.ReadContentRequest(digest=digest)),
                (request("/containerd.services.containers.v1.Containers/ListStream", ns), containers.ListContainersRequest()),
                (request("/containerd.services.events.v1.Events/Subscribe"), events.SubscribeRequest())]
        with Witness(d) as witness:
            before = rss(d)
            raws = crowd(len(asks), d.address, lambda i: b"".join(
                frame(HEADERS, END_HEADERS, 2 * n + 1, asks[i][0]) +
                frame(DATA, END_STREAM, 2 * n + 1, message(asks[i][1].SerializeToString())) for n in range(400)))
            for _ in range(60):
                c.events.Publish(events.PublishRequest(topic="/a/b", event={"type_url": "x", "value": b"e" * (1 << 20)}))
            peak = 0
            for _ in range(50):
                witness.look()
                peak = max(peak, rss(d))
                time.sleep(0.02)
        print(json.dumps({"MiB more at the peak": round(peak - before), "witness p99 ms": round(witness.p99() * 1000, 1)}))
        # the outbox of each connection, what handlers were at work on meanwhile, and the queue of the subscribers
        assert peak - before < 400 * max(1, slack(d) // 2)
        assert d.process.poll() is None
        for r in raws:
            r.close()
    assert d.stop() == 0
    sanitizers_are_silent(d)
