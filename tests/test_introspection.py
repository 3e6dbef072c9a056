# SPDX-License-Identifier: Apache-2.0
"""What the daemon says about itself: plugins, server, what a runtime can do, deprecations, health, version."""
import contextlib
import os

import grpc
import pytest

import lighter

RUNTIME = "io.containerd.runtime.v2"


@pytest.fixture
def c(shared_daemon):
    with contextlib.closing(shared_daemon.client("intro")) as client:
        yield client


@contextlib.contextmanager
def fails(code, text):
    with pytest.raises(grpc.RpcError) as e:
        yield
    assert (e.value.code(), e.value.details()) == (code, text)


def empty():
    return lighter.pb("google/protobuf/empty").Empty()


def test_server(c, shared_daemon):
    got = c.introspection.Server(empty())
    assert got.pid == shared_daemon.pid and got.pidns == os.stat("/proc/self/ns/pid").st_ino
    assert got.uuid == (shared_daemon.root / "io.containerd.grpc.v1.introspection/uuid").read_text()


def test_plugins_are_filtered(c):
    pb = c.messages("introspection")

    def ids(*filters):
        return sorted(p.id for p in c.introspection.Plugins(pb.PluginsRequest(filters=filters)).plugins)

    assert ids("type==io.containerd.snapshotter.v1,id==native", "id==task") == ["native", "task"]
    assert ids("id==deprecations") == ["deprecations"]
    assert ids("capabilities==rebase") == ids("platforms==linux") == ids("nope") == []
    assert len(ids()) == len(ids("type~=^io")) > 10
    with fails(grpc.StatusCode.INVALID_ARGUMENT,
               'invalid argument: filters: parse error: [type >|=|< x]: unsupported operator "=": invalid argument'):
        ids("type=x")


def test_runtime_says_what_it_can(c):
    pb, types = c.messages("introspection"), lighter.pb("containerd/types/types")

    def info(type=RUNTIME, id="task", options=None):
        return c.introspection.PluginInfo(pb.PluginInfoRequest(type=type, id=id, options=options))

    def request(path, **kw):
        return {"type_url": "containerd.types.RuntimeRequest",
                "value": types.RuntimeRequest(runtime_path=path, **kw).SerializeToString()}

    alone = info()
    assert alone.plugin.id == "task" and not alone.HasField("extra")
    got = info(options=request("io.containerd.runc.v2"))
    assert got.plugin == alone.plugin and got.extra.type_url == "containerd.types.RuntimeInfo"
    runtime = types.RuntimeInfo.FromString(got.extra.value)
    assert runtime.name == "io.containerd.lighter.v2" and runtime.version.version
    options = {"type_url": "containerd.runc.v1.Options", "value": b""}
    runtime = types.RuntimeInfo.FromString(info(options=request("io.containerd.runc.v2", options=options)).extra.value)
    assert runtime.options.type_url == "containerd.runc.v1.Options"

    with fails(grpc.StatusCode.NOT_FOUND, "plugin io.containerd.x.v1.none not found: not found"):
        info("io.containerd.x.v1", "none")
    with fails(grpc.StatusCode.UNIMPLEMENTED, "plugin does not provided extra information: not implemented"):
        info("io.containerd.snapshotter.v1", "native", request("io.containerd.runc.v2"))
    with fails(grpc.StatusCode.UNIMPLEMENTED, "unknown request type containerd.runc.v1.Options: not implemented"):
        info(options=options)
    with fails(grpc.StatusCode.UNKNOWN, "failed to resolve runtime path: no runtime name"):
        info(options=request(""))
    with fails(grpc.StatusCode.UNKNOWN, 'failed to resolve runtime path: runtime "io.containerd.none.v1" binary not installed '
               '"containerd-shim-none-v1": file does not exist'):
        info(options=request("io.containerd.none.v1"))
    with fails(grpc.StatusCode.UNKNOWN, "failed to run [/bin/false -info]: exit status 1"):
        info(options=request("/bin/false"))
    # what a program prints that is no shim is no answer
    with pytest.raises(grpc.RpcError) as e:
        info(options=request("/bin/echo"))
    assert e.value.code() == grpc.StatusCode.UNKNOWN and "failed to unmarshal stdout from [/bin/echo -info]" in e.value.details()


def test_deprecations_are_remembered(c):
    assert not c.introspection.Server(empty()).deprecations
    images = c.messages("images")
    c.images.Create(images.CreateImageRequest(image=images.Image(
        name="old", labels={"io.containerd.image/converted-docker-schema1": "sha256:" + "0" * 64},
        target={"digest": "sha256:" + "1" * 64, "size": 1, "media_type": "m"})))
    got = c.introspection.Server(empty()).deprecations
    assert [w.id for w in got] == ["io.containerd.deprecation/pull-schema-1-image"]
    assert "Schema 1 images are deprecated" in got[0].message and got[0].last_occurrence.seconds > 0


def test_health(c):
    pb = lighter.pb("grpc/health/v1/health")
    assert c.health.Check(pb.HealthCheckRequest()).status == 1
    assert {k: v.status for k, v in c.health.List(pb.HealthListRequest()).statuses.items()} == {"": 1}
    with fails(grpc.StatusCode.NOT_FOUND, "unknown service"):
        c.health.Check(pb.HealthCheckRequest(service="x"))
    for service, status in (("", 1), ("x", 3)):
        stream = c.health.Watch(pb.HealthCheckRequest(service=service))
        assert next(stream).status == status
        stream.cancel()


def test_version(c):
    got = c.version.Version(empty())
    assert got.version.partition("+")[0].count(".") == 2
