# SPDX-License-Identifier: Apache-2.0
"""The filter grammar over every service that takes filters: which fields each sees, and what the grammar means by them."""
import contextlib
import itertools
import threading

import grpc
import pytest

import lighter

NS = "filters"
LABELS = {"plain": "v", "a.b": "dotted", "with/slash": "s p", "empty-not": "x,y"}
DIGESTS = [lighter.sha256(d) for d in (b"one", b"two")]


@pytest.fixture(scope="module")
def c(shared_daemon):
    with contextlib.closing(shared_daemon.client(NS)) as client:
        furnish(client)
        yield client


def furnish(c):
    content, containers, images, leases, snapshots, sandboxes = (
        c.messages(n) for n in ("content", "containers", "images", "leases", "snapshots", "sandboxes"))
    w = content.WriteContentRequest
    for data, labels in ((b"one", LABELS), (b"two", {"plain": "w"})):
        list(c.content.Write(iter([w(action=content.COMMIT, ref=data.decode(), data=data, labels=labels)])))
    for ref in ("ref-1", "ref-2"):
        list(c.content.Write(iter([w(action=content.WRITE, ref=ref, data=b"x")])))
    for name, image, labels in (("one", "docker.io/library/a:1", LABELS), ("two", "", {"plain": "w"})):
        c.containers.Create(containers.CreateContainerRequest(container=containers.Container(
            id=name, image=image, runtime={"name": f"io.containerd.{name}.v2"}, labels=labels)))
        c.leases.Create(leases.CreateRequest(id=name, labels=labels))
        c.sandboxes.Create(sandboxes.StoreCreateRequest(sandbox={
            "sandbox_id": name, "sandboxer": "shim", "runtime": {"name": "io.containerd.runc.v2"}, "labels": labels}))
    for name, digest, media, labels in (("one", DIGESTS[0], "application/vnd.oci.image.index.v1+json", LABELS),
                                        ("two", DIGESTS[1], "application/vnd.oci.image.manifest.v1+json", {"plain": "w"})):
        c.images.Create(images.CreateImageRequest(image=images.Image(name=name, labels=labels, target={
            "digest": digest, "size": 3, "media_type": media, "annotations": {"note": name}})))
    c.snapshots.Prepare(snapshots.PrepareSnapshotRequest(snapshotter="native", key="tmp"))
    c.snapshots.Commit(snapshots.CommitSnapshotRequest(snapshotter="native", key="tmp", name="one", labels=LABELS))
    c.snapshots.Prepare(snapshots.PrepareSnapshotRequest(snapshotter="native", key="two", parent="one", labels={"plain": "w"}))


def listed(c, service, filters):
    """The names of what a list gives, "one" and "two" for most."""
    m = c.messages(service) if service in lighter.SERVICES else None
    if service == "containers":
        request = m.ListContainersRequest(filters=filters)
        got = [x.id for x in c.containers.List(request).containers]
        assert got == [x.container.id for x in c.containers.ListStream(request)]
        return got
    if service == "images":
        return [x.name for x in c.images.List(m.ListImagesRequest(filters=filters)).images]
    if service == "content":
        names = dict(zip(DIGESTS, ("one", "two")))
        return sorted(names[i.digest] for block in c.content.List(m.ListContentRequest(filters=filters)) for i in block.info)
    if service == "statuses":
        m = c.messages("content")
        return sorted(x.ref for x in c.content.ListStatuses(m.ListStatusesRequest(filters=filters)).statuses)
    if service == "leases":
        return [x.id for x in c.leases.List(m.ListRequest(filters=filters)).leases]
    if service == "sandboxes":
        return [x.sandbox_id for x in c.sandboxes.List(m.StoreListRequest(filters=filters)).list]
    if service == "snapshots":
        return [i.name for block in c.snapshots.List(m.ListSnapshotsRequest(snapshotter="native", filters=filters)) for i in block.info]
    raise AssertionError(service)


# What every service with labels understands alike.
OF_LABELS = {
    ("labels.plain",): ["one", "two"],
    ("labels.none",): [],
    ("labels.plain==v",): ["one"],
    ("labels.plain!=v",): ["two"],
    ("labels.none!=v",): ["one", "two"],
    ("labels.a.b==dotted",): ["one"],
    ('labels."a.b"==dotted',): ["one"],
    ('labels."a"."b"==dotted',): ["one"],
    ('labels."with/slash"=="s p"',): ["one"],
    ('labels."empty-not"=="x,y"',): ["one"],
    ('labels."with/slash"=="s\\x20p"',): ["one"],
    ('labels."with/slash"~=/^s\\\\sp$/',): ["one"],
    ("labels.plain~=^[vw]$",): ["one", "two"],
    ("labels.plain~=|v|",): ["one"],
    ("labels.none~=^$",): ["one", "two"],
    ("labels.plain~=(",): [],
    (" labels . plain == v ",): ["one"],
    ("labels.plain==v,labels.none",): [],
    ("labels.plain==v", "labels.plain==w"): ["one", "two"],
    ("labels.none", ""): ["one", "two"],
    (): ["one", "two"],
    ("nothing==x",): [],
    ("nothing!=x",): ["one", "two"],
    ("labels==v",): [],
}


@pytest.mark.parametrize("service", ["containers", "content", "images", "leases", "sandboxes", "snapshots"])
def test_labels(c, service):
    for filters, names in OF_LABELS.items():
        assert listed(c, service, filters) == names, (service, filters)


OF_FIELDS = [
    ("containers", "id==two", ["two"]), ("containers", 'image=="docker.io/library/a:1"', ["one"]), ("containers", "image", ["one"]),
    ("containers", "image==docker.io/library/a:1", ["one"]), ("containers", "runtime.name==io.containerd.two.v2", ["two"]),
    ("containers", "runtime.name~=one", ["one"]), ("containers", "runtime", []), ("containers", "spec", []),
    ("images", "name==one", ["one"]), ("images", f"target.digest=={DIGESTS[1]}", ["two"]), ("images", "target.mediatype~=index", ["one"]),
    ("images", "annotations.note==two", ["two"]), ("images", "target.size==3", []),
    ("content", f"digest=={DIGESTS[0]}", ["one"]), ("content", "digest~=sha256", ["one", "two"]), ("content", "size==3", []),
    ("statuses", "ref==ref-1", ["ref-1"]), ("statuses", "ref~=ref", ["ref-1", "ref-2"]), ("statuses", "none", []),
    ("leases", "id~=^t", ["two"]),
    ("sandboxes", "id==one", ["one"]),
    ("snapshots", "kind==committed", ["one"]), ("snapshots", "kind==active", ["two"]), ("snapshots", "name==two", ["two"]),
    ("snapshots", "parent==one", ["two"]), ("snapshots", "parent", ["two"]), ("snapshots", "parent!=one", ["one"]),
]


@pytest.mark.parametrize("service,text,names", OF_FIELDS, ids=[f"{s}:{t[:30]}" for s, t, _ in OF_FIELDS])
def test_fields(c, service, text, names):
    assert listed(c, service, [text]) == names


ERRORS = {
    "id==": "[id==]: expected value or quoted",
    "id=x": '[id >|=|< x]: unsupported operator "="',
    "id===x": '[id >|=|< ==x]: unsupported operator "==="',
    "==x": "[ >|=|< =x]: expected field or quoted",
    "id==x,": "[id==x,]: expected field or quoted",
    "id==x y": "[id==x  >|y|< ]: unexpected input: y",
    "id x": '[id  >|x|< ]: expected an operator ("=="|"!="|"~=")',
    'id=="x': '[id== >|"|< x]: quoted literal not terminated',
    'id=="\\q"': '[id== >|"|< \\q"]: illegal escape sequence',
    "id==/x/": "[id== >|/|< x/]: invalid quote encountered",
    "id.": "[id.]: expected field or quoted",
    "\u4e16==x": "[ >|\u4e16|< ==x]: expected field or quoted",
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors(c, text):
    with pytest.raises(grpc.RpcError) as e:
        listed(c, "containers", [text])
    assert (e.value.code(), e.value.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT, f"filters: parse error: {ERRORS[text]}: invalid argument")


def test_events(shared_daemon, c):
    """Fields of the envelope and of events inside; filters are one subscription's own."""
    events, types = c.messages("events"), lighter.pb("containerd/events/events")

    def any_of(m):
        return {"type_url": m.DESCRIPTOR.full_name, "value": m.SerializeToString()}

    published = [
        ("/tasks/create", any_of(types.TaskCreate(container_id="c1", bundle="/b", io={"stdin": "/in", "terminal": True}))),
        ("/containers/update", any_of(types.ContainerUpdate(id="c2", image="i", labels={"a.b": "x", "k": "v"}))),
        ("/tasks/oom", any_of(types.TaskOOM(container_id="c2"))),
        ("/strange/one", {"type_url": "no.such.Type", "value": b"\xff"}),
    ]
    wanted = {
        ("topic==\"/tasks/oom\"",): [2], ("topic~=|^/tasks/|",): [0, 2], ("namespace==filters,topic~=/tasks/",): [0, 2],
        ("namespace==other",): [], ("event.container_id==c1",): [0], ("event.container_id",): [0, 2], ("event.io.stdin==\"/in\"",): [0],
        ("event.io.terminal==true",): [0], ("event.labels.a.b==x",): [1], ("event.labels.\"k\"~=v",): [1], ("event.id==c2", "event.bundle"): [0, 1],
        ("event.pid",): [], ("event.none!=x",): [0, 1, 2, 3], ("timestamp",): [], (): [0, 1, 2, 3], ("topic~=(",): [],
        ("event.container_id!=c1,topic~=|/|",): [1, 2, 3],
    }

    def publish(topic, event=None):
        c.events.Publish(events.PublishRequest(topic=topic, event=event))

    # every subscription also hears of /sync/, so that it is known to listen, and where to stop
    streams = {f: c.events.Subscribe(events.SubscribeRequest(filters=[*f, 'topic~="^/sync/"'] if f else [])) for f in wanted}
    try:
        for stream in streams.values():
            stopping = threading.Event()

            def call_until_heard():
                while not stopping.wait(0.01):
                    publish("/sync/begin")
            caller = threading.Thread(target=call_until_heard)
            caller.start()
            next(stream)
            stopping.set()
            caller.join()
        for topic, event in published:
            publish(topic, event)
        publish("/sync/end")
        for f, indices in wanted.items():
            got = list(itertools.takewhile(lambda t: t != "/sync/end", (e.topic for e in streams[f])))
            assert [t for t in got if t != "/sync/begin"] == [published[i][0] for i in indices], f
    finally:
        for stream in streams.values():
            stream.cancel()
