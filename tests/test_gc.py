# SPDX-License-Identifier: Apache-2.0
"""Collection over the wire: what goes when an image, a lease or the time is over, when the answer comes, what a kill in
the midst of it leaves, and that nothing that is held ever goes."""
import concurrent.futures
import contextlib
import random
import subprocess
import threading
import time

import grpc
import pytest

import lighter
from lighter import BUILD, IMAGE, eventually, pb, sha256

# As an operator has it, but for pauses that would only make the tests longer.
PROMPT = 'version = 2\n[plugins."io.containerd.gc.v1.scheduler"]\npause_threshold = 0.5\nstartup_delay = "10ms"\n'
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def prompt():
    d = lighter.Daemon(config=PROMPT)
    try:
        yield d.start()
        assert d.process.poll() is not None or d.stop() == 0
    finally:
        d.cleanup()


class Stores:
    """One namespace and lease of a daemon, as far as collection goes."""

    def __init__(self, d, namespace="default", lease=None):
        self.d, self.c, self.namespace = d, d.client(namespace, lease), namespace

    def blob(self, data, **labels):
        m = self.c.messages("content")
        request = m.WriteContentRequest(action=2, ref="r-" + sha256(data), data=data, expected=sha256(data),
                                        labels={k.replace("__", "."): v for k, v in labels.items()})
        while True:
            try:
                list(self.c.content.Write(iter([request]), timeout=30))
                return sha256(data)
            except grpc.RpcError as e:
                if e.code() == grpc.StatusCode.ALREADY_EXISTS:
                    return sha256(data)
                if e.code() != grpc.StatusCode.UNAVAILABLE or "locked for" not in e.details():
                    raise

    def blobs(self):
        m = self.c.messages("content")
        return {i.digest for r in self.c.content.List(m.ListContentRequest(), timeout=30) for i in r.info}

    def image(self, name, target, **labels):
        m = self.c.messages("images")
        image = m.Image(name=name, labels={k.replace("__", "."): v for k, v in labels.items()})
        image.target.digest, image.target.size, image.target.media_type = target, 1, MANIFEST
        self.c.images.Create(m.CreateImageRequest(image=image), timeout=30)

    def image_of(self, name, data):
        """Content with an image that keeps it, under a lease until it does. Returns its digest."""
        self.lease("for-" + name)
        digest = Stores(self.d, self.namespace, "for-" + name).blob(data)
        self.image(name, digest)
        self.unlease("for-" + name)
        return digest

    def images(self):
        return {i.name for i in self.c.images.List(self.c.messages("images").ListImagesRequest(), timeout=30).images}

    def unimage(self, name, sync=False):
        self.c.images.Delete(self.c.messages("images").DeleteImageRequest(name=name, sync=sync), timeout=60)

    def lease(self, name, **labels):
        self.c.leases.Create(self.c.messages("leases").CreateRequest(
            id=name, labels={k.replace("__", "."): v for k, v in labels.items()}), timeout=30)

    def unlease(self, name, sync=False):
        self.c.leases.Delete(self.c.messages("leases").DeleteRequest(id=name, sync=sync), timeout=60)

    def prepare(self, key, parent="", **labels):
        self.c.snapshots.Prepare(self.c.messages("snapshots").PrepareSnapshotRequest(
            snapshotter="native", key=key, parent=parent,
            labels={k.replace("__", "."): v for k, v in labels.items()}), timeout=30)

    def snapshots(self, snapshotter="native"):
        m = self.c.messages("snapshots")
        return {i.name for r in self.c.snapshots.List(m.ListSnapshotsRequest(snapshotter=snapshotter), timeout=30)
                for i in r.info}


def files(d):
    """Digests of the blobs on disk."""
    folder = d.root / "io.containerd.content.v1.content" / "blobs" / "sha256"
    return {"sha256:" + p.name for p in folder.iterdir()} if folder.exists() else set()


def folders(d, snapshotter="native"):
    return [p.name for p in (d.root / f"io.containerd.snapshotter.v1.{snapshotter}" / "snapshots").iterdir()]


# ------------------------------------------------------------------------------------------------------ who asks, waits
def test_an_image_deleted_with_sync_is_gone_from_disk(prompt, image):
    prompt.ctr("images", "import", "--snapshotter", "native", image)
    s = Stores(prompt)
    assert len(s.blobs()) >= 3 and s.snapshots() and folders(prompt)
    prompt.ctr("images", "rm", "--sync", IMAGE)
    assert (s.images(), s.blobs(), s.snapshots(), files(prompt), folders(prompt)) == (set(), set(), set(), set(), [])


def test_without_sync_it_goes_soon(prompt, image):
    prompt.ctr("images", "import", "--snapshotter", "native", image)
    s = Stores(prompt)
    kept = s.image_of("kept", b"kept")
    prompt.ctr("images", "rm", IMAGE)
    assert s.images() == {"kept"}
    eventually("blobs and snapshots going", lambda: s.blobs() == files(prompt) == {kept} and not folders(prompt))


def test_a_lease_deleted_with_sync(prompt):
    s = Stores(prompt, lease="l")
    s.lease("l")
    s.blob(b"a")
    b = s.blob(b"b")
    s.prepare("k")
    s.image("i", b)
    s.unlease("l", sync=True)
    assert (s.blobs(), files(prompt), s.snapshots(), folders(prompt)) == ({b}, {b}, set(), [])


def test_many_who_wait_hold_no_thread(prompt):
    s = Stores(prompt)
    for i in range(60):
        s.lease(f"l{i}")
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(s.unlease, f"l{i}", True) for i in range(60)]
        for _ in range(20):
            s.c.version.Version(pb("google/protobuf/empty").Empty(), timeout=20)
        for w in waiting:
            w.result()


def test_one_who_waits_and_a_daemon_that_stops(prompt):
    s = Stores(prompt)
    s.lease("l")
    for i in range(300):
        s.blob(b"%d" % i)
    t = threading.Thread(target=lambda: quietly(s.unlease, "l", True))
    t.start()
    assert prompt.stop() == 0
    t.join()


def quietly(call, *args):
    with contextlib.suppress(grpc.RpcError):
        call(*args)


# ------------------------------------------------------------------------------------------------------ what makes it run
def test_many_changes_start_it_too(prompt):
    s = Stores(prompt)
    s.lease("l")
    eventually("the first collection", lambda: "garbage collected" in prompt.log())
    left = s.blob(b"nobody's")
    for i in range(120):
        s.lease(f"m{i}")
    eventually("the blob going", lambda: left not in files(prompt))


def test_expired_leases_and_images_go(prompt):
    s = Stores(prompt)
    a, b = s.blob(b"a"), s.blob(b"b")
    c = s.image_of("lasting", b"c")
    s.lease("old", containerd__io_gc__expire="x")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    m = s.c.messages("leases")
    s.c.leases.Create(m.CreateRequest(id="past", labels={"containerd.io/gc.expire": soon}))
    s.c.leases.AddResource(m.AddResourceRequest(id="past", resource=m.Resource(type="content", id=a)))
    mi = s.c.messages("images")
    image = mi.Image(name="past", labels={"containerd.io/gc.expire": soon})
    image.target.digest, image.target.size, image.target.media_type = b, 1, MANIFEST
    s.c.images.Create(mi.CreateImageRequest(image=image))
    s.lease("any")
    s.unlease("any", sync=True)
    assert s.images() == {"lasting"} and s.blobs() == {c}
    assert {x.id for x in s.c.leases.List(m.ListRequest()).leases} == {"old"}


def test_plugin_tells_its_settings(prompt):
    m = lighter.pb("containerd/services/introspection/v1/introspection")
    with contextlib.closing(prompt.client()) as c:
        found = [p for p in c.introspection.Plugins(m.PluginsRequest()).plugins
                 if p.type == "io.containerd.gc.v1" and p.id == "scheduler"]
    assert dict(found[0].exports) == {"PauseThreshold": "0.5", "DeletionThreshold": "0", "MutationThreshold": "100",
                                      "ScheduleDelay": "0s"}


# ------------------------------------------------------------------------------------------------------ several namespaces
def test_a_file_goes_with_its_last_name(prompt):
    a, b = Stores(prompt, "one"), Stores(prompt, "two")
    d = a.image_of("i", b"shared")
    b.lease("l")
    held = Stores(prompt, "two", "l")
    assert held.blob(b"shared") == d
    a.unimage("i", sync=True)
    assert a.blobs() == set() and b.blobs() == {d} and files(prompt) == {d}
    b.unlease("l", sync=True)
    assert b.blobs() == set() and files(prompt) == set()


def test_what_goes_is_told(prompt):
    s = Stores(prompt)
    m = s.c.messages("events")
    stream = s.c.events.Subscribe(m.SubscribeRequest(filters=['topic=="/snapshot/remove"', 'topic=="/images/delete"']))
    s.prepare("root", containerd__io_gc__root="x")
    seen = []
    with contextlib.suppress(grpc.RpcError):
        s.prepare("k1")
        s.lease("l")
        s.unlease("l", sync=True)
        for e in stream:
            seen.append((e.topic, e.namespace))
            break
        stream.cancel()
    assert seen == [("/snapshot/remove", "default")]


# ------------------------------------------------------------------------------------------------------ after a crash
def test_blobs_without_a_record_go(prompt):
    s = Stores(prompt)
    kept = s.image_of("i", b"kept")
    prompt.kill()
    folder = prompt.root / "io.containerd.content.v1.content" / "blobs" / "sha256"
    (folder / sha256(b"orphan").partition(":")[2]).write_bytes(b"orphan")
    prompt.start()
    eventually("the orphan going", lambda: files(prompt) == {kept})
    assert Stores(prompt).blobs() == {kept}


def test_killed_in_the_midst_of_collections():
    """What was acknowledged and is held is there after each start, and what is not held goes, from disk too."""
    d = lighter.Daemon(config=PROMPT)
    rnd = random.Random(7)
    held, n = {}, 0
    try:
        for cycle in range(5):
            d.start()
            s = Stores(d)
            for name, data in held.items():
                assert sha256(data) in s.blobs() and name in s.images(), f"{name} is lost in cycle {cycle}"
            garbage = Stores(d, lease=f"l{cycle}")
            garbage.lease(f"l{cycle}")
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                list(pool.map(garbage.blob, [b"g%d-%d" % (cycle, i) for i in range(120)]))
            for i in range(10):
                garbage.prepare(f"k{cycle}-{i}")
            for _ in range(5):
                n += 1
                data = b"held %d" % n
                s.image(f"i{n}", garbage.blob(data))
                held[f"i{n}"] = data
            s.unlease(f"l{cycle}")
            time.sleep(rnd.random() * 0.05)
            d.kill()
        d.start()
        s = Stores(d)
        want = {sha256(data) for data in held.values()}
        s.lease("l")
        s.unlease("l", sync=True)
        assert s.blobs() == want and s.images() == set(held) and s.snapshots() == set()
        eventually("files going", lambda: files(d) == want and not folders(d))
        assert d.stop() == 0
        subprocess.run([BUILD / "lighterd", "--config", d.config, "--root", d.root, "--state", d.state, "check"],
                       check=True, capture_output=True, timeout=60)
    finally:
        d.cleanup()


# ------------------------------------------------------------------------------------------------------ under way
@contextlib.contextmanager
def collecting(d):
    """Collections without a pause."""
    stop = threading.Event()

    def collect():
        s = Stores(d, "elsewhere")
        n = 0
        while not stop.is_set():
            n += 1
            s.lease(f"c{n}")
            s.unlease(f"c{n}", sync=True)

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        yield
    finally:
        stop.set()
        collector.join()


def test_containers_start_while_all_is_collected(prompt, image):
    with collecting(prompt):
        prompt.cli("images", "import", image)
        for i in range(4):
            assert prompt.cli("run", "--rm", IMAGE, f"c{i}", "echo", "here").stdout == "here\n"
            assert prompt.ctr("run", "--rm", IMAGE, f"d{i}", "echo", "there").stdout == "there\n"
    s = Stores(prompt)
    layers = s.snapshots("overlayfs")
    assert len(layers) == 1 and s.images() == {IMAGE}
    s.unimage(IMAGE, sync=True)
    assert not s.snapshots("overlayfs") and not files(prompt)


def test_churn_under_collection(prompt):
    """Several clients make, hold and let go, while others collect all the time."""
    def work(k):
        rnd = random.Random(k)
        for i in range(25):
            lease = f"w{k}-{i}"
            s = Stores(prompt, lease=lease)
            s.lease(lease)
            layer = s.blob(b"layer %d" % rnd.randrange(12))
            top = s.blob(b"manifest %d %d" % (k, i), **{"containerd__io/gc__ref__content__l__0": layer})
            s.image(f"i{k}-{i}", top)
            s.unlease(lease)
            assert {layer, top} <= s.blobs()
            if i < 24:
                s.unimage(f"i{k}-{i}")
            s.c.close()
        return {layer, top}

    with collecting(prompt), concurrent.futures.ThreadPoolExecutor(4) as pool:
        want = set().union(*pool.map(work, range(4)))
    s = Stores(prompt)
    s.lease("l")
    s.unlease("l", sync=True)
    assert s.blobs() == want == files(prompt)
