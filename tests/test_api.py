# SPDX-License-Identifier: Apache-2.0
"""Every method of every service, called as nobody should: with nothing, with noise, with ids and labels that are none.
Google's gRPC is the client. Whatever comes, the answer is a status with a text, and the daemon goes on as before."""
import random

import grpc
import pytest

import lighter

CODES = {c.value[0]: c for c in grpc.StatusCode}


def methods():
    """(path, request class, client streams, server streams) of everything that is served."""
    for service in lighter.services():
        for m in service.methods:
            yield f"/{service.full_name}/{m.name}", m.input_type._concrete_class, m.client_streaming, m.server_streaming


ALL = list(methods())
IDS = [m[0] for m in ALL]
# These wait for something by design: an empty request to them has no end.
ENDLESS = {"/containerd.services.events.v1.Events/Subscribe", "/grpc.health.v1.Health/Watch"}


def call(client, method, data, timeout=5):
    """The status code and text of a call with these bytes."""
    path, _, client_streams, server_streams = method
    kind = ("stream" if client_streams else "unary") + "_" + ("stream" if server_streams else "unary")
    raw = getattr(client.channel, kind)(path, request_serializer=None, response_deserializer=None)
    try:
        got = raw(iter([data]) if client_streams else data, metadata=client.metadata, timeout=timeout)
        if server_streams:
            for _ in got:
                if path in ENDLESS:
                    got.cancel()
        return grpc.StatusCode.OK, ""
    except grpc.RpcError as e:
        return e.code(), e.details()


@pytest.fixture(scope="module")
def d(shared_daemon):
    return shared_daemon


@pytest.mark.parametrize("method", ALL, ids=IDS)
def test_an_empty_request_is_answered(d, method):
    c = d.client()
    timeout = 0.5 if method[0] in ENDLESS else 10
    code, text = call(c, method, b"", timeout)
    if method[0] in ENDLESS:
        assert code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, grpc.StatusCode.OK)
    else:
        # what is unknown or internal would mean that nobody had thought of it
        assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED), text
        assert code == grpc.StatusCode.OK or text
    assert d.process.poll() is None
    c.close()


NO_NAMESPACE_NEEDED = ("Version", "Health", "Introspection", "Namespaces", "Subscribe", "Forward")


@pytest.mark.parametrize("method", [m for m in ALL if not any(n in m[0] for n in NO_NAMESPACE_NEEDED)],
                         ids=lambda m: m[0])
def test_namespace_is_required_and_checked(d, method):
    if method[0].endswith("Diff/Diff"):
        pytest.skip("says it in more words, after mounting")
    request = method[1]()
    if method[0].endswith(("Tasks/Exec", "Tasks/DeleteProcess")):
        request.exec_id = "e"  # looked at first, as in containerd
    if "sandbox.v1.Controller/" in method[0]:
        request.sandboxer = "shim"  # this as well
    request = request.SerializeToString()
    c = d.client(None)
    assert call(c, method, request) == (grpc.StatusCode.FAILED_PRECONDITION, "namespace is required: failed precondition"), method[0]
    c.close()
    for bad in ("../x", "a/b", "x" * 77, "-a", "a b"):
        c = d.client(bad)
        code, text = call(c, method, request)
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "identifier" in text, (method[0], bad, code, text)
        c.close()


def test_unknown_service_and_method(d):
    c = d.client()
    for path, text in (("/no.such.Service/Get", "unknown service no.such.Service"),
                       ("/containerd.services.version.v1.Version/Nope",
                        "unknown method Nope for service containerd.services.version.v1.Version")):
        assert call(c, (path, None, False, False), b"") == (grpc.StatusCode.UNIMPLEMENTED, text)
    c.close()


def fill(message, rng, depth=0):
    """A message with something in every field."""
    words = ["", "a", "default", "overlayfs", "../../etc", "x" * 300, "sha256:" + "0" * 64, "sha256:zz", "labels.a==b",
             "bad filter ==", "\u00e9\u4e16", "/", "io.containerd.runc.v2", "labels", "labels.k", "spec"]
    for f in message.DESCRIPTOR.fields:
        if rng.random() < 0.2:
            continue
        if f.message_type and f.message_type.GetOptions().map_entry:
            target = getattr(message, f.name)
            for _ in range(rng.randrange(3)):
                if f.message_type.fields_by_name["value"].message_type:
                    fill(target[rng.choice(words)], rng, depth + 1)
                else:
                    target[rng.choice(words)] = rng.choice(words)
        elif f.message_type:
            if depth > 4:
                continue
            if f.label == f.LABEL_REPEATED:
                for _ in range(rng.randrange(3)):
                    fill(getattr(message, f.name).add(), rng, depth + 1)
            else:
                getattr(message, f.name).SetInParent()
                fill(getattr(message, f.name), rng, depth + 1)
        else:
            make = {"string": lambda: rng.choice(words), "bytes": lambda: rng.randbytes(rng.randrange(100)),
                    "bool": lambda: rng.random() < 0.5, "enum": lambda: rng.randrange(5),
                    "number": lambda: rng.choice([0, 1, 2, 1000, 2 ** 31 - 1])}
            kind = {f.TYPE_STRING: "string", f.TYPE_BYTES: "bytes", f.TYPE_BOOL: "bool", f.TYPE_ENUM: "enum"}.get(f.type, "number")
            if f.label == f.LABEL_REPEATED:
                getattr(message, f.name).extend(make[kind]() for _ in range(rng.randrange(3)))
            else:
                try:
                    setattr(message, f.name, make[kind]())
                except ValueError:
                    pass  # an enum value that Python does not know


def test_random_and_mutated_messages_harm_nobody(daemon):
    """Random bytes, plausible messages and broken ones at every method; the database and the daemon stay whole."""
    rng = random.Random(20)
    c = daemon.client("noise")
    ns = c.messages("namespaces")
    c.namespaces.Create(ns.CreateNamespaceRequest(namespace=ns.Namespace(name="witness", labels={"a": "b"})))
    calls = 0
    for _ in range(12):
        for method in ALL:
            if method[0] in ENDLESS or method[0].endswith("/Publish") or method[0].endswith("/Forward"):
                continue
            message = method[1]()
            fill(message, rng)
            data = bytearray(message.SerializeToString())
            variants = [bytes(data), rng.randbytes(rng.randrange(60)), bytes(data[:rng.randrange(len(data) + 1)])]
            if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
                variants.append(bytes(data))
            for v in variants:
                code, text = call(c, method, v)
                calls += 1
                assert code != grpc.StatusCode.UNAVAILABLE or "locked" in text, (method[0], v, text)
                assert code != grpc.StatusCode.DEADLINE_EXCEEDED, (method[0], v)
    assert calls > 2000
    assert daemon.process.poll() is None
    got = c.namespaces.Get(ns.GetNamespaceRequest(name="witness")).namespace
    assert dict(got.labels) == {"a": "b"}
    c.close()
    daemon.restart()
    c = daemon.client("noise")
    assert "witness" in [n.name for n in c.namespaces.List(ns.ListNamespacesRequest()).namespaces]
    c.close()


def test_ids_and_labels_over_the_limits(d):
    c = d.client()
    containers, images, leases, snapshots = (c.messages(n) for n in ("containers", "images", "leases", "snapshots"))
    big = {"k": "v" * 4096}

    def refused(code, part, fn, request):
        with pytest.raises(grpc.RpcError) as e:
            fn(request)
        assert e.value.code() == code and part in e.value.details(), e.value.details()

    def container(**kw):
        return containers.CreateContainerRequest(container=containers.Container(
            **{"id": "c", "runtime": {"name": "io.containerd.runc.v2"}, **kw}))

    bad = grpc.StatusCode.INVALID_ARGUMENT
    refused(bad, '"../c" must match', c.containers.Create, container(id="../c"))
    refused(bad, "greater than maximum length (76 characters)", c.containers.Create, container(id="c" * 77))
    refused(bad, "label key and value length (4097 bytes) greater than maximum size (4096 bytes), key: k",
            c.containers.Create, container(labels=big))
    refused(bad, "container.Runtime.Name must be set", c.containers.Create, container(runtime=None))
    refused(bad, "label key and value length", c.leases.Create, leases.CreateRequest(id="l", labels=big))
    refused(bad, "label key and value length", c.snapshots.Prepare,
            snapshots.PrepareSnapshotRequest(snapshotter="overlayfs", key="k", labels=big))
    refused(bad, "snapshotter not loaded: none", c.snapshots.Prepare, snapshots.PrepareSnapshotRequest(snapshotter="none", key="k"))
    refused(bad, "", c.images.Create, images.CreateImageRequest(image=images.Image(name="i")))
    refused(grpc.StatusCode.NOT_FOUND, 'container "none" in namespace "default": not found', c.containers.Get,
            containers.GetContainerRequest(id="none"))
    refused(bad, 'filters: parse error', c.containers.List, containers.ListContainersRequest(filters=["id=="]))
    # nothing of all that was kept
    assert not c.containers.List(containers.ListContainersRequest()).containers
    assert "l" not in [l.id for l in c.leases.List(leases.ListRequest()).leases]
    c.close()
