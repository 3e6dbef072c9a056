# SPDX-License-Identifier: Apache-2.0
"""What bad input gets: every method of every service with each thing wrong that its request can have wrong. The answer is
containerd's class and a sentence that names the thing. Which kinds of wrong a method is asked follows from its descriptor;
what it must answer stands in EXPECTED, where every method has a line: a new method without one fails here."""
import itertools
import os
import re

import grpc
import pytest

import lighter

BIG = {"k": "v" * (128 << 10)}
SPEC = b'{"ociVersion":"1.0.2"}'
# Fields that name the object a request is about, and what a good request says there.
IDS = ("id", "container_id", "sandbox_id", "name", "key", "digest", "ref", "topic")
READING = ("Get", "List", "Info", "Stat", "Usage", "Mounts", "Read", "Server", "Plugin", "Version", "Check", "Watch", "Metrics",
           "Platform", "Subscribe", "Publish", "Forward", "Cleanup")
MAKING = ("Create", "Prepare", "View", "Commit", "Activate", "Write")


def methods():
    return [(f"{s.name}/{m.name}", f"/{s.full_name}/{m.name}", m) for s in lighter.services() for m in s.methods]


# ------------------------------------------------------------------------------------------- a good request, bent
class Thing:
    """The objects of one namespace, one of each kind, and what requests call them."""

    def __init__(self, c, own):
        self.own = own
        data = os.urandom(64)
        content, containers, images, leases, snapshots = (c.messages(n) for n in ("content", "containers", "images", "leases", "snapshots"))
        w = content.WriteContentRequest
        list(c.content.Write(iter([w(action=content.COMMIT, ref="done", data=data)])))
        list(c.content.Write(iter([w(action=content.WRITE, ref="r", data=b"begun")])))
        self.digest = lighter.sha256(data)
        namespaces = c.messages("namespaces")
        c.namespaces.Create(namespaces.CreateNamespaceRequest(namespace={"name": f"{own}-spare"}))
        c.containers.Create(containers.CreateContainerRequest(container=containers.Container(
            id="c", runtime={"name": "io.containerd.none.v1"}, snapshotter="native",
            spec={"type_url": lighter.TYPE_SPEC, "value": SPEC})))
        c.images.Create(images.CreateImageRequest(image=images.Image(name="i", target={
            "digest": self.digest, "size": 64, "media_type": "application/vnd.oci.image.manifest.v1+json"})))
        c.leases.Create(leases.CreateRequest(id="l"))
        root = {"containerd.io/gc.root": "x"}
        c.snapshots.Prepare(snapshots.PrepareSnapshotRequest(snapshotter="native", key="p", labels=root))
        c.snapshots.Commit(snapshots.CommitSnapshotRequest(snapshotter="native", key="p", name="s", labels=root))
        c.snapshots.Prepare(snapshots.PrepareSnapshotRequest(snapshotter="native", key="a", parent="s", labels=root))
        sandboxes = c.messages("sandboxes")
        c.sandboxes.Create(sandboxes.StoreCreateRequest(sandbox={
            "sandbox_id": "b", "sandboxer": "shim", "runtime": {"name": "io.containerd.none.v1"}}))

    def word(self, path, message, field):
        """What a good request to this method says in this field."""
        service, _, method = path.rpartition("/")
        service = service.rpartition(".")[2]
        name = field.name
        if name == "digest":
            return self.digest
        if service == "Namespaces" and name == "name":
            return self.own + ("-fresh" if method == "Create" else "-spare")
        if message == "Resource":
            return {"id": self.digest, "type": "content"}[name]
        if name in IDS and service != "Tasks" and method.startswith(MAKING) and not (method == "Commit" and name == "key"):
            return "/fresh/topic" if name == "topic" else "fresh"
        own = {"Containers": "c", "Images": "i", "Leases": "l", "Content": "r", "Snapshots": "a", "Tasks": "c",
               "Introspection": "task"}.get(service, "x")
        return {"id": own, "name": own, "key": "a", "container_id": "c", "sandbox_id": "b", "exec_id": "e", "ref": "r",
                "snapshotter": "native", "parent": "s", "topic": "/a/b", "namespace": "default", "sandboxer": "shim",
                "media_type": "application/vnd.oci.image.layer.v1.tar",
                "type": "io.containerd.runtime.v2" if service == "Introspection" else "bind"}.get(name, "")

    def good(self, path, m, depth=0):
        """A request that names what there is, with all its messages set."""
        out = m._concrete_class()
        for f in m.fields:
            if f.label == f.LABEL_REPEATED or f.name == "checkpoint":
                continue
            if f.message_type:
                if f.name == "runtime":
                    getattr(out, f.name).name = "io.containerd.none.v1"
                elif f.message_type.full_name == "google.protobuf.Any":
                    if f.name == "spec":
                        getattr(out, f.name).type_url = lighter.TYPE_SPEC
                        getattr(out, f.name).value = SPEC
                elif f.message_type.name not in ("FieldMask", "Timestamp", "Duration") and depth < 3:
                    getattr(out, f.name).CopyFrom(self.good(path, f.message_type, depth + 1))
            elif f.type == f.TYPE_STRING:
                setattr(out, f.name, self.word(path, m.name, f))
            elif f.name == "size":
                setattr(out, f.name, 64)
        if m.name == "Envelope":
            out.timestamp.seconds = 1
        return out


def find(m, wanted, seen=()):
    """The path to the first field that wanted(field) likes, breadth first; None without one."""
    for f in m.fields:
        if wanted(f):
            return [f.name]
    for f in m.fields:
        if f.message_type and f.label != f.LABEL_REPEATED and f.message_type.full_name not in seen and \
                not f.message_type.full_name.startswith("google."):
            below = find(f.message_type, wanted, (*seen, f.message_type.full_name))
            if below:
                return [f.name, *below]
    return None


def find_id(m):
    if m.name in ("ControllerCreateRequest", "ControllerUpdateRequest"):
        return ["sandbox", "sandbox_id"]  # which counts for more than the one beside it
    for name in IDS:
        path = find(m, lambda f: f.name == name and f.type == f.TYPE_STRING and f.label != f.LABEL_REPEATED)
        if path and len(path) <= 2:
            return path
    return None


def at(message, path):
    for name in path[:-1]:
        message = getattr(message, name)
    return message, path[-1]


def is_map_of_labels(f):
    return f.name == "labels" and f.message_type and f.message_type.GetOptions().map_entry


def is_any(f):
    return f.message_type and f.message_type.full_name == "google.protobuf.Any" and f.label != f.LABEL_REPEATED


def put(path, value):
    def change(request):
        message, name = at(request, path)
        setattr(message, name, value)
    return change


def kinds(m, own):
    """(kind, change of the request, namespace or ..., lease) for all that can be wrong with this method."""
    t = m.input_type
    yield "namespace missing", None, None, None
    yield "namespace illegal", None, "../x", None
    yield "namespace unknown", None, own + "-nowhere", None
    yield "lease gone", None, ..., "gone"
    path = find_id(t)
    if path:
        yield "id missing", put(path, ""), ..., None
        yield "id illegal", put(path, "../x"), ..., None
        yield "id unknown", put(path, own + "-none"), ..., None
    for name in ("exec_id", "snapshotter", "parent"):
        path = find(t, lambda f: f.name == name)
        if path:
            yield name + " missing", put(path, ""), ..., None
            yield name + " unknown", put(path, "none"), ..., None
    path = find(t, is_map_of_labels)
    if path:
        def big(request, path=path):
            message, name = at(request, path)
            getattr(message, name).update(BIG)
        yield "label too long", big, ..., None
    if find(t, lambda f: f.name == "filters"):
        yield "filter field unknown", lambda r: r.filters.append("nope==x"), ..., None
        yield "filter broken", lambda r: r.filters.append("id=="), ..., None
        yield "filter operator", lambda r: r.filters.append("id=x"), ..., None
    path = find(t, lambda f: f.message_type and f.message_type.name == "FieldMask")
    if path:
        yield "mask unknown", lambda r: getattr(*at(r, path)).paths.append("nope"), ..., None
    path = find(t, is_any)
    if path:
        def wrong(request, path=path):
            any_message = getattr(*at(request, path))
            any_message.type_url, any_message.value = "no.such.Type", b"x"
        yield "type wrong", wrong, ..., None
    for f in t.fields:
        if f.message_type and f.label != f.LABEL_REPEATED and not f.message_type.full_name.startswith("google.protobuf."):
            yield f.name + " absent", lambda r, name=f.name: r.ClearField(name), ..., None


def ask(channel, path, m, request, ns, lease):
    """(code, text)"""
    metadata = [("containerd-namespace", ns)] if ns is not None else []
    if lease:
        metadata.append(("containerd-lease", lease))
    kind = f"{'stream' if m.client_streaming else 'unary'}_{'stream' if m.server_streaming else 'unary'}"
    raw = getattr(channel, kind)(path, request_serializer=lambda r: r.SerializeToString())
    try:
        got = raw(iter([request]) if m.client_streaming else request, metadata=metadata, timeout=20)
        if m.server_streaming:
            if path.endswith(("/Subscribe", "Health/Watch")):
                got = raw(request, metadata=metadata, timeout=0.15)
            for _ in got:
                pass
        return "OK", ""
    except grpc.RpcError as e:
        return e.code().name, "" if e.code() == grpc.StatusCode.DEADLINE_EXCEEDED else e.details()


# --------------------------------------------------------------------------------------------------- the expected
# What every method answers to a kind of wrong unless its own line says otherwise: code, and a part of the text.
EVERYBODY = {
    "namespace missing": ("FAILED_PRECONDITION", "namespace is required: failed precondition"),
    "namespace illegal": ("INVALID_ARGUMENT", 'namespace validation: identifier "../x" must match'),
    "lease gone": ("OK", ""),
    "label too long": ("INVALID_ARGUMENT", "label key and value length (131073 bytes) greater than maximum size (4096 bytes), key: k"),
    "filter field unknown": ("OK", ""),
    "filter broken": ("INVALID_ARGUMENT", "filters: parse error: [id==]: expected value or quoted: invalid argument"),
    "filter operator": ("INVALID_ARGUMENT", 'filters: parse error: [id >|=|< x]: unsupported operator "=": invalid argument'),
}
# ... and what the methods of a service answer.
SERVICE = {
    "Containers": {
        "namespace unknown": ("OK", ""),
        "type wrong": ("OK", ""),
    },
    "Content": {
        "namespace unknown": ("NOT_FOUND", "content digest {digest}: not found"),
        "id missing": ("INVALID_ARGUMENT", '"" failed validation'),
        "id illegal": ("INVALID_ARGUMENT", '"../x" failed validation'),
        "id unknown": ("INVALID_ARGUMENT", '"{ns}-none" failed validation'),
    },
    "Events": {
        "namespace unknown": ("OK", ""),
        "id missing": ("INVALID_ARGUMENT", 'envelope topic "": must start with \'/\': invalid argument'),
        "id illegal": ("INVALID_ARGUMENT", 'envelope topic "../x": must start with \'/\': invalid argument'),
        "id unknown": ("INVALID_ARGUMENT", 'envelope topic "{ns}-none": must start with \'/\': invalid argument'),
        "type wrong": ("OK", ""),
    },
    "Images": {
        "namespace unknown": ("NOT_FOUND", 'image "i": not found'),
        "id missing": ("NOT_FOUND", 'image "": not found'),
        "id illegal": ("NOT_FOUND", 'image "../x": not found'),
        "id unknown": ("NOT_FOUND", 'image "{ns}-none": not found'),
        "image absent": ("INVALID_ARGUMENT", "Image.Name required"),
    },
    "Introspection": {
        "namespace missing": ("OK", ""),
        "namespace illegal": ("OK", ""),
        "namespace unknown": ("OK", ""),
    },
    "Leases": {
        "namespace unknown": ("NOT_FOUND", 'lease "l": not found'),
        "id missing": ("NOT_FOUND", 'lease "": not found'),
        "id illegal": ("NOT_FOUND", 'lease "../x": not found'),
        "id unknown": ("NOT_FOUND", 'lease "{ns}-none": not found'),
        "resource absent": ("INVALID_ARGUMENT", "resource must be set: invalid argument"),
    },
    "Mounts": {
        "namespace unknown": ("NOT_FOUND", 'mount "x" not found'),
        "id missing": ("NOT_FOUND", 'mount "" not found'),
        "id illegal": ("NOT_FOUND", 'mount "../x" not found'),
        "id unknown": ("NOT_FOUND", 'mount "{ns}-none" not found'),
    },
    "Namespaces": {
        "namespace missing": ("OK", ""),
        "namespace illegal": ("OK", ""),
        "namespace unknown": ("OK", ""),
        "id missing": ("INVALID_ARGUMENT", "identifier must not be empty: invalid argument"),
        "id illegal": ("INVALID_ARGUMENT", 'identifier "../x" must match'),
        "id unknown": ("OK", ""),
        "namespace absent": ("INVALID_ARGUMENT", "namespace must be set: invalid argument"),
    },
    "Store": {
        "namespace unknown": ("OK", ""),
        "id missing": ("NOT_FOUND", 'bucket "" not found: not found'),
        "id illegal": ("NOT_FOUND", 'bucket "../x" not found: not found'),
        "id unknown": ("NOT_FOUND", 'bucket "{ns}-none" not found: not found'),
        "type wrong": ("OK", ""),
        "sandbox absent": ("INVALID_ARGUMENT", "sandbox must be set: invalid argument"),
    },
    "Controller": {
        "namespace unknown": ("NOT_FOUND", 'sandbox "b": not found'),
        "id missing": ("NOT_FOUND", 'sandbox "": not found'),
        "id illegal": ("NOT_FOUND", 'sandbox "../x": not found'),
        "id unknown": ("NOT_FOUND", 'sandbox "{ns}-none": not found'),
    },
    "Snapshots": {
        "namespace unknown": ("NOT_FOUND", "snapshot a does not exist: not found"),
        "id missing": ("NOT_FOUND", "snapshot  does not exist: not found"),
        "id illegal": ("NOT_FOUND", "snapshot ../x does not exist: not found"),
        "id unknown": ("NOT_FOUND", "snapshot {ns}-none does not exist: not found"),
        "snapshotter missing": ("INVALID_ARGUMENT", "snapshotter not loaded: : invalid argument"),
        "snapshotter unknown": ("INVALID_ARGUMENT", "snapshotter not loaded: none: invalid argument"),
        "parent missing": ("OK", ""),
        "parent unknown": ("NOT_FOUND", "parent snapshot none does not exist: not found"),
    },
    "Tasks": {
        "namespace unknown": ("NOT_FOUND", 'container "c" in namespace "{ns}-nowhere": not found'),
        "id missing": ("NOT_FOUND", 'container "" in namespace "{ns}": not found'),
        "id illegal": ("NOT_FOUND", 'container "../x" in namespace "{ns}": not found'),
        "id unknown": ("NOT_FOUND", 'container "{ns}-none" in namespace "{ns}": not found'),
        "type wrong": ("NOT_FOUND", "task c not found"),
        "exec_id missing": ("NOT_FOUND", "task c not found"),
        "exec_id unknown": ("NOT_FOUND", "task c not found"),
    },
    "Health": {
        "namespace missing": ("OK", ""),
        "namespace illegal": ("OK", ""),
        "namespace unknown": ("OK", ""),
    },
}
EXPECTED = {
    "Containers/Get": {
        "namespace unknown": ("NOT_FOUND", 'container "c" in namespace "{ns}-nowhere": not found'),
        "id missing": ("NOT_FOUND", 'container "" in namespace "{ns}": not found'),
        "id illegal": ("NOT_FOUND", 'container "../x" in namespace "{ns}": not found'),
        "id unknown": ("NOT_FOUND", 'container "{ns}-none" in namespace "{ns}": not found'),
    },
    "Containers/List": {},
    "Containers/ListStream": {},
    "Containers/Create": {
        "id missing": ("INVALID_ARGUMENT", "create container failed validation: container.ID: identifier must not be empty: invalid argument"),
        "id illegal": ("INVALID_ARGUMENT", 'create container failed validation: container.ID: identifier "../x" must match'),
        "id unknown": ("OK", ""),
        "snapshotter missing": ("OK", ""),
        "snapshotter unknown": ("OK", ""),
        "container absent": ("INVALID_ARGUMENT", "container must be set: invalid argument"),
    },
    "Containers/Update": {
        "namespace unknown": ("NOT_FOUND", 'cannot update container "c" in namespace "{ns}-nowhere": not found'),
        "id missing": ("INVALID_ARGUMENT", "Container.ID required"),
        "id illegal": ("NOT_FOUND", 'container "../x": not found'),
        "id unknown": ("NOT_FOUND", 'container "{ns}-none": not found'),
        "snapshotter missing": ("INVALID_ARGUMENT", "container.Snapshotter field is immutable: invalid argument"),
        "snapshotter unknown": ("INVALID_ARGUMENT", "container.Snapshotter field is immutable: invalid argument"),
        "mask unknown": ("INVALID_ARGUMENT", 'cannot update "nope" field on "c": invalid argument'),
        "container absent": ("INVALID_ARGUMENT", "Container.ID required"),
    },
    "Containers/Delete": {
        "namespace unknown": ("NOT_FOUND", 'cannot delete container "c" in namespace "{ns}-nowhere": not found'),
        "id missing": ("NOT_FOUND", "container : not found"),
        "id illegal": ("NOT_FOUND", "container ../x: not found"),
        "id unknown": ("NOT_FOUND", "container {ns}-none: not found"),
    },
    "Content/Info": {},
    "Content/Update": {
        "mask unknown": ("INVALID_ARGUMENT", 'cannot update "nope" field on content info "{digest}": invalid argument'),
        "info absent": ("INVALID_ARGUMENT", "info is required: invalid argument"),
    },
    "Content/List": {
        "namespace unknown": ("OK", ""),
    },
    "Content/Delete": {},
    "Content/Read": {},
    "Content/Status": {
        "namespace unknown": ("NOT_FOUND", 'could not get status for ref "r": reference r: not found'),
        "id missing": ("NOT_FOUND", 'could not get status for ref "": reference : not found'),
        "id illegal": ("NOT_FOUND", 'could not get status for ref "../x": reference ../x: not found'),
        "id unknown": ("NOT_FOUND", 'could not get status for ref "{ns}-none": reference {ns}-none: not found'),
    },
    "Content/ListStatuses": {
        "namespace unknown": ("OK", ""),
    },
    "Content/Write": {
        "namespace unknown": ("OK", ""),
        "lease gone": ("NOT_FOUND", "lease does not exist: not found"),
        "id missing": ("INVALID_ARGUMENT", "first message must have a reference"),
        "id illegal": ("OK", ""),
        "id unknown": ("OK", ""),
        "label too long": ("OK", ""),
    },
    "Content/Abort": {
        "namespace unknown": ("NOT_FOUND", "reference r: not found"),
        "id missing": ("NOT_FOUND", "reference : not found"),
        "id illegal": ("NOT_FOUND", "reference ../x: not found"),
        "id unknown": ("NOT_FOUND", "reference {ns}-none: not found"),
    },
    "Diff/Apply": {
        "namespace unknown": ("NOT_FOUND", "failed to get reader from content store: content digest {digest}: not found"),
        "lease gone": ("UNKNOWN", "unexpected EOF"),
        "id missing": ("NOT_FOUND", "failed to get reader from content store: content digest : not found"),
        "id illegal": ("NOT_FOUND", "failed to get reader from content store: content digest ../x: not found"),
        "id unknown": ("NOT_FOUND", "failed to get reader from content store: content digest {ns}-none: not found"),
        "diff absent": ("INVALID_ARGUMENT", "diff must be set: invalid argument"),
    },
    "Diff/Diff": {
        "namespace unknown": ("OK", ""),
        "lease gone": ("NOT_FOUND", "failed to open writer: lease does not exist: not found"),
        "id missing": ("OK", ""),
        "id illegal": ("OK", ""),
        "id unknown": ("OK", ""),
    },
    "Events/Publish": {},
    "Events/Forward": {
        "namespace missing": ("OK", ""),
        "namespace illegal": ("OK", ""),
        "envelope absent": ("INVALID_ARGUMENT", "envelope is required: invalid argument"),
    },
    "Events/Subscribe": {
        "namespace missing": ("DEADLINE_EXCEEDED", ""),
        "namespace illegal": ("DEADLINE_EXCEEDED", ""),
        "namespace unknown": ("DEADLINE_EXCEEDED", ""),
        "lease gone": ("DEADLINE_EXCEEDED", ""),
        "filter field unknown": ("DEADLINE_EXCEEDED", ""),
        "filter broken": ("UNKNOWN", "filters: parse error: [id==]: expected value or quoted: invalid argument"),
        "filter operator": ("UNKNOWN", 'filters: parse error: [id >|=|< x]: unsupported operator "=": invalid argument'),
    },
    "Images/Get": {},
    "Images/List": {
        "namespace unknown": ("OK", ""),
    },
    "Images/Create": {
        "namespace unknown": ("OK", ""),
        "id missing": ("INVALID_ARGUMENT", "Image.Name required"),
        "id illegal": ("OK", ""),
        "id unknown": ("OK", ""),
    },
    "Images/Update": {
        "id missing": ("INVALID_ARGUMENT", "Image.Name required"),
        "mask unknown": ("INVALID_ARGUMENT", 'cannot update "nope" field on image "i": invalid argument'),
    },
    "Images/Delete": {
        "target absent": ("OK", ""),
    },
    "Introspection/Plugins": {},
    "Introspection/Server": {},
    "Introspection/PluginInfo": {
        "id missing": ("NOT_FOUND", "plugin io.containerd.runtime.v2. not found: not found"),
        "id illegal": ("NOT_FOUND", "plugin io.containerd.runtime.v2.../x not found: not found"),
        "id unknown": ("NOT_FOUND", "plugin io.containerd.runtime.v2.{ns}-none not found: not found"),
        "type wrong": ("UNIMPLEMENTED", "unknown request type no.such.Type: not implemented"),
    },
    "Leases/Create": {
        "namespace unknown": ("OK", ""),
        "id missing": ("OK", ""),
        "id illegal": ("OK", ""),
        "id unknown": ("OK", ""),
    },
    "Leases/Delete": {},
    "Leases/List": {
        "namespace unknown": ("OK", ""),
    },
    "Leases/AddResource": {},
    "Leases/DeleteResource": {},
    "Leases/ListResources": {},
    "Mounts/Activate": {
        "namespace unknown": ("UNIMPLEMENTED", "not implemented"),
        "lease gone": ("UNIMPLEMENTED", "not implemented"),
        "id missing": ("UNIMPLEMENTED", "not implemented"),
        "id illegal": ("UNIMPLEMENTED", "not implemented"),
        "id unknown": ("UNIMPLEMENTED", "not implemented"),
        "label too long": ("UNIMPLEMENTED", "not implemented"),
    },
    "Mounts/Deactivate": {
        "lease gone": ("NOT_FOUND", 'mount "x" not found'),
    },
    "Mounts/Info": {
        "lease gone": ("NOT_FOUND", 'mount "x" not found'),
    },
    "Mounts/Update": {
        "lease gone": ("NOT_FOUND", 'mount "x" not found'),
        "mask unknown": ("NOT_FOUND", 'mount "x" not found'),
        "info absent": ("INVALID_ARGUMENT", "info is required: invalid argument"),
    },
    "Mounts/List": {
        "namespace unknown": ("OK", ""),
    },
    "Namespaces/Get": {
        "id missing": ("OK", ""),
        "id illegal": ("OK", ""),
    },
    "Namespaces/List": {},
    "Namespaces/Create": {},
    "Namespaces/Update": {
        "mask unknown": ("INVALID_ARGUMENT", 'cannot update "nope" field'),
    },
    "Namespaces/Delete": {
        "id missing": ("NOT_FOUND", 'namespace "": not found'),
        "id illegal": ("NOT_FOUND", 'namespace "../x": not found'),
        "id unknown": ("NOT_FOUND", 'namespace "{ns}-none": not found'),
    },
    "Store/Create": {
        "id missing": ("INVALID_ARGUMENT", "failed to validate sandbox: invalid sandbox ID: identifier must not be empty: invalid argument"),
        "id illegal": ("INVALID_ARGUMENT", 'failed to validate sandbox: invalid sandbox ID: identifier "../x" must match'),
        "id unknown": ("OK", ""),
    },
    "Store/Update": {
        "namespace unknown": ("NOT_FOUND", 'bucket "b" not found: not found'),
    },
    "Store/Delete": {
        "namespace unknown": ("NOT_FOUND", 'failed to delete sandbox "b": not found'),
        "id missing": ("NOT_FOUND", 'failed to delete sandbox "": not found'),
        "id illegal": ("NOT_FOUND", 'failed to delete sandbox "../x": not found'),
        "id unknown": ("NOT_FOUND", 'failed to delete sandbox "{ns}-none": not found'),
    },
    "Store/List": {},
    "Store/Get": {
        "namespace unknown": ("NOT_FOUND", 'bucket "b" not found: not found'),
    },
    "Controller/Create": {
        "namespace unknown": ("UNKNOWN", "failed to start new shim for sandbox fresh: failed to resolve runtime path"),
        "lease gone": ("UNKNOWN", "failed to start new shim for sandbox fresh: failed to resolve runtime path"),
        "id missing": ("UNKNOWN", "failed to start new shim for sandbox : failed to resolve runtime path"),
        "id illegal": ("UNKNOWN", "failed to start new shim for sandbox ../x: failed to resolve runtime path"),
        "id unknown": ("UNKNOWN", "failed to start new shim for sandbox {ns}-none: failed to resolve runtime path"),
        "label too long": ("UNKNOWN", "failed to start new shim for sandbox fresh: failed to resolve runtime path"),
        "type wrong": ("UNKNOWN", "failed to start new shim for sandbox fresh: failed to resolve runtime path"),
        "sandbox absent": ("UNKNOWN", "failed to start new shim for sandbox fresh: failed to resolve runtime path: invalid runtime name "),
    },
    "Controller/Start": {
        "namespace unknown": ("UNKNOWN", 'unable to find sandbox "b"'),
        "lease gone": ("UNKNOWN", 'unable to find sandbox "b"'),
        "id missing": ("UNKNOWN", 'unable to find sandbox ""'),
        "id illegal": ("UNKNOWN", 'unable to find sandbox "../x"'),
        "id unknown": ("UNKNOWN", 'unable to find sandbox "{ns}-none"'),
    },
    "Controller/Platform": {
        "lease gone": ("NOT_FOUND", 'sandbox "b": not found'),
    },
    "Controller/Stop": {
        "namespace unknown": ("OK", ""),
        "id missing": ("OK", ""),
        "id illegal": ("OK", ""),
        "id unknown": ("OK", ""),
    },
    "Controller/Wait": {
        "lease gone": ("NOT_FOUND", 'sandbox "b": not found'),
    },
    "Controller/Status": {
        "namespace unknown": ("OK", ""),
        "id missing": ("OK", ""),
        "id illegal": ("OK", ""),
        "id unknown": ("OK", ""),
    },
    "Controller/Shutdown": {
        "lease gone": ("NOT_FOUND", 'sandbox "b": not found'),
    },
    "Controller/Metrics": {
        "lease gone": ("NOT_FOUND", 'sandbox "b": not found'),
    },
    "Controller/Update": {
        "namespace unknown": ("OK", ""),
        "id missing": ("OK", ""),
        "id illegal": ("OK", ""),
        "id unknown": ("OK", ""),
        "label too long": ("OK", ""),
        "type wrong": ("OK", ""),
        "sandbox absent": ("UNKNOWN", "sandbox can not be nil"),
    },
    "Snapshots/Prepare": {
        "namespace unknown": ("NOT_FOUND", "parent snapshot s does not exist: not found"),
        "lease gone": ("NOT_FOUND", "lease does not exist: not found"),
        "id missing": ("UNKNOWN", "bucket name required"),
        "id illegal": ("OK", ""),
        "id unknown": ("OK", ""),
    },
    "Snapshots/View": {
        "namespace unknown": ("NOT_FOUND", "parent snapshot s does not exist: not found"),
        "lease gone": ("NOT_FOUND", "lease does not exist: not found"),
        "id missing": ("UNKNOWN", "bucket name required"),
        "id illegal": ("OK", ""),
        "id unknown": ("OK", ""),
    },
    "Snapshots/Mounts": {},
    "Snapshots/Commit": {
        "lease gone": ("NOT_FOUND", "lease does not exist: not found"),
        "id missing": ("UNKNOWN", "bucket name required"),
        "id illegal": ("OK", ""),
        "id unknown": ("OK", ""),
        "parent unknown": ("OK", ""),
    },
    "Snapshots/Remove": {},
    "Snapshots/Stat": {},
    "Snapshots/Update": {
        "id missing": ("INVALID_ARGUMENT", "snapshot name is required: invalid argument"),
        "parent unknown": ("OK", ""),
        "mask unknown": ("INVALID_ARGUMENT", 'cannot update "nope" field on snapshot "a": invalid argument'),
        "info absent": ("INVALID_ARGUMENT", "info is required: invalid argument"),
    },
    "Snapshots/List": {
        "namespace unknown": ("OK", ""),
    },
    "Snapshots/Usage": {},
    "Snapshots/Cleanup": {
        "namespace unknown": ("UNIMPLEMENTED", "snapshotter does not implement Cleanup method: not implemented"),
        "lease gone": ("UNIMPLEMENTED", "snapshotter does not implement Cleanup method: not implemented"),
    },
    "Tasks/Create": {
        "lease gone": ("UNKNOWN", "failed to start shim: failed to resolve runtime path"),
        "type wrong": ("UNKNOWN", "invalid task create option for io.containerd.none.v1"),
        "checkpoint absent": ("UNKNOWN", "failed to start shim: failed to resolve runtime path"),
    },
    "Tasks/Start": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Tasks/Delete": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Tasks/DeleteProcess": {
        "lease gone": ("NOT_FOUND", "task c not found"),
        "exec_id missing": ("INVALID_ARGUMENT", "exec id cannot be empty"),
    },
    "Tasks/Get": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Tasks/List": {
        "namespace unknown": ("OK", ""),
    },
    "Tasks/Kill": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Tasks/Exec": {
        "lease gone": ("NOT_FOUND", "task c not found"),
        "exec_id missing": ("INVALID_ARGUMENT", "exec id cannot be empty"),
    },
    "Tasks/ResizePty": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Tasks/CloseIO": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Tasks/Pause": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Tasks/Resume": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Tasks/ListPids": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Tasks/Checkpoint": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Tasks/Update": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Tasks/Metrics": {
        "namespace unknown": ("OK", ""),
    },
    "Tasks/Wait": {
        "lease gone": ("NOT_FOUND", "task c not found"),
    },
    "Version/Version": {
        "namespace missing": ("OK", ""),
        "namespace illegal": ("OK", ""),
        "namespace unknown": ("OK", ""),
    },
    "Health/Check": {},
    "Health/List": {},
    "Health/Watch": {
        "namespace missing": ("DEADLINE_EXCEEDED", ""),
        "namespace illegal": ("DEADLINE_EXCEEDED", ""),
        "namespace unknown": ("DEADLINE_EXCEEDED", ""),
        "lease gone": ("DEADLINE_EXCEEDED", ""),
    },
}


def answers(daemon, n, path, m):
    """(kind, code, text) of each thing wrong; what differs from run to run has its name in braces."""
    c, k = None, 0
    while True:
        own = f"n{n}-{k}"
        c = daemon.client(own)
        thing = Thing(c, own)
        for kind, change, ns, lease in itertools.islice(kinds(m, own), k, None):
            k += 1
            request = thing.good(path, m.input_type)
            if change:
                change(request)
            code, text = ask(c.channel, path, m, request, own if ns is ... else ns, lease)
            text = text.replace(thing.digest, "{digest}").replace(own, "{ns}").replace(str(daemon.dir), "{dir}")
            yield kind, code, re.sub(r"containerd-mount\w+", "containerd-mount*", text)
            if code == "OK" and not m.name.startswith(READING):
                break  # it may have changed something: the next finds all new
        else:
            c.close()
            return
        c.close()


def expected(name, kind):
    return EXPECTED[name].get(kind) or SERVICE.get(name.partition("/")[0], {}).get(kind) or EVERYBODY.get(kind)


@pytest.mark.parametrize("n,name,path,m", [(n, *rest) for n, rest in enumerate(methods())], ids=[m[0] for m in methods()])
def test_bad_input(shared_daemon, n, name, path, m):
    assert name in EXPECTED, "a method that nobody has thought about"
    for kind, code, text in answers(shared_daemon, n, path, m):
        want = expected(name, kind)
        assert want, f"{name}: {kind}: got {code} {text!r}, and nothing is expected"
        assert code == want[0] and want[1] in text, f"{name}: {kind}: got {code} {text!r}, expected {want}"


# ------------------------------------------------------------------------------------------ the protocol of writing
def write(c, *messages, **metadata):
    w = c.messages("content").WriteContentRequest
    return list(c.content.Write(iter([w(**{"ref": "w", **m}) for m in messages]), timeout=20))


STAT, WRITE, COMMIT = 0, 1, 2
BAD_WRITES = {
    "no reference": ([{"ref": "", "action": STAT}], "INVALID_ARGUMENT", "first message must have a reference"),
    "commit with a wrong size": ([{"action": WRITE, "data": b"abc"}, {"action": COMMIT, "offset": 3, "total": 4}],
                                 "FAILED_PRECONDITION", '"w" failed size validation: 3 != 4: failed precondition'),
    "commit with a wrong digest": ([{"action": WRITE, "data": b"abc"}, {"action": COMMIT, "offset": 3, "expected": "sha256:" + "0" * 64}],
                                   "FAILED_PRECONDITION", f"unexpected commit digest {lighter.sha256(b'abc')}, expected sha256:{'0' * 64}: failed precondition"),
    "offset past end": ([{"action": WRITE, "data": b"abc"}, {"action": WRITE, "offset": 7, "data": b"d"}],
                        "OUT_OF_RANGE", "write @7 must occur at current offset 3"),
    "negative offset": ([{"action": WRITE, "data": b"abc", "offset": -1}], None, ""),
    "commit label too long": ([{"action": WRITE, "data": b"abc"}, {"action": COMMIT, "offset": 3, "labels": BIG}],
                              "INVALID_ARGUMENT", "info.Labels: label key and value length (131073 bytes) greater than maximum size (4096 bytes), key: k"),
}


def failure(call, *args, **kw):
    try:
        call(*args, **kw)
        return "OK", ""
    except grpc.RpcError as e:
        return e.code().name, e.details()


@pytest.mark.parametrize("name", BAD_WRITES)
def test_bad_writes(shared_daemon, name):
    messages, code, text = BAD_WRITES[name]
    c = shared_daemon.client("writes-" + name.replace(" ", "-"))
    got = failure(write, c, *messages)
    assert got[0] == (code or got[0]) and got[0] not in ("UNKNOWN", "INTERNAL", "UNAVAILABLE") and text in got[1], got
    c.close()


def test_commit_twice_and_write_after_commit(shared_daemon):
    c = shared_daemon.client("twice")
    commit = {"action": COMMIT, "data": b"once"}
    digest = lighter.sha256(b"once")
    # what follows a commit on its stream is not heard
    assert [a.digest for a in write(c, commit, {"action": WRITE, "offset": 4, "data": b"more"})] == [digest]
    assert failure(write, c, commit) == ("ALREADY_EXISTS", f"content {digest}: already exists")
    assert failure(write, c, {**commit, "expected": digest}) == ("ALREADY_EXISTS", f"content {digest}: already exists")
    # the reference is free again, and begins anew
    assert write(c, {"action": WRITE, "data": b"new"})[-1].offset == 3
    content = c.messages("content")
    r = content.ReadContentRequest
    assert failure(lambda: list(c.content.Read(r(digest=digest, offset=5)))) == ("OUT_OF_RANGE", "read past object length 4 bytes")
    assert list(c.content.Read(r(digest=digest, offset=4))) == []
    assert b"".join(a.data for a in c.content.Read(r(digest=digest, offset=-3, size=100))) == b"once"
    c.close()


@pytest.mark.parametrize("name", ["../x", "", "a/b", "x" * 77])
def test_bad_sandbox_ids(shared_daemon, name):
    """A sandbox's name becomes a folder's before any record of it was checked."""
    c = shared_daemon.client("boxes")
    m = c.messages("sandbox_controllers")
    got = failure(c.sandbox_controllers.Create, m.ControllerCreateRequest(sandbox_id=name, sandboxer="shim", sandbox={
        "sandbox_id": name, "sandboxer": "shim", "runtime": {"name": "io.containerd.runc.v2"}}), timeout=20)
    assert got[0] == "INVALID_ARGUMENT" and got[1].startswith(f"invalid task id {name}: identifier"), got
    c.close()


def test_masks_over_many_labels(shared_daemon):
    """Each path of a mask walks all labels: what would cost gigabytes and minutes is refused, what people do is not."""
    c = shared_daemon.client("masks")
    containers, images, namespaces, content, snapshots = (
        c.messages(n) for n in ("containers", "images", "namespaces", "content", "snapshots"))
    labels = {f"k{i}": "v" for i in range(6000)}
    paths = {"paths": [f"labels.k{i}" for i in range(6000)]}
    few = {"paths": [f"labels.k{i}" for i in range(100)]}
    container = containers.Container(id="c", runtime={"name": "r"}, labels=labels)
    c.containers.Create(containers.CreateContainerRequest(container=container))
    update = containers.UpdateContainerRequest
    assert failure(c.containers.Update, update(container=container, update_mask=paths)) == (
        "RESOURCE_EXHAUSTED", 'cannot update 6000 fields on "c", which has 12000: resource exhausted')
    assert failure(c.containers.Update, update(container=container, update_mask=few)) == ("OK", "")
    image = images.Image(name="i", labels=labels, target={"digest": "sha256:" + "0" * 64, "size": 1, "media_type": "m"})
    c.images.Create(images.CreateImageRequest(image=image))
    assert failure(c.images.Update, images.UpdateImageRequest(image=image, update_mask=paths))[0] == "RESOURCE_EXHAUSTED"
    request = namespaces.UpdateNamespaceRequest(namespace={"name": "masks", "labels": labels}, update_mask=paths)
    assert failure(c.namespaces.Update, request) == (
        "RESOURCE_EXHAUSTED", 'cannot update 6000 fields on "masks", which has 6000: resource exhausted')
    write(c, {"action": COMMIT, "data": b"masked", "labels": {"a": "b"}})
    digest = lighter.sha256(b"masked")
    assert failure(c.content.Update, content.UpdateRequest(info={"digest": digest, "labels": labels}, update_mask=paths)) == (
        "INVALID_ARGUMENT", f'cannot update "labels.* (too many)" field on content info "{digest}": invalid argument')
    c.close()


def test_gone_lease(shared_daemon):
    """A lease that was deleted holds nothing, and who names it is told."""
    c = shared_daemon.client("lease")
    leases = c.messages("leases")
    c.leases.Create(leases.CreateRequest(id="gone"))
    c.leases.Delete(leases.DeleteRequest(id="gone", sync=True))
    leased = shared_daemon.client("lease", lease="gone")
    assert failure(write, leased, {"action": COMMIT, "data": b"x"}) == ("NOT_FOUND", "lease does not exist: not found")
    snapshots = c.messages("snapshots")
    assert failure(leased.snapshots.Prepare, snapshots.PrepareSnapshotRequest(snapshotter="native", key="k")) == (
        "NOT_FOUND", "lease does not exist: not found")
    leased.close()
    c.close()


if __name__ == "__main__":  # prints what is not in the table, in its form
    daemon = lighter.Daemon()
    daemon.start()
    try:
        for n, (name, path, m) in enumerate(methods()):
            lines = [(kind, code, text) for kind, code, text in answers(daemon, n, path, m)
                     if not (EVERYBODY.get(kind) and code == EVERYBODY[kind][0] and EVERYBODY[kind][1] in text)]
            print(f'    "{name}": {{')
            for kind, code, text in lines:
                print(f"        {kind!r}: {(code, text)!r},")
            print("    },")
    finally:
        daemon.stop()
        daemon.cleanup()
