# SPDX-License-Identifier: Apache-2.0
"""The content service over the wire, with Google's gRPC: the Write protocol, reading, listing, and what names hold."""
import os
import queue

import grpc
import pytest

import lighter
from lighter import pb, sha256

DATA = b"hello, content"
EMPTY = sha256(b"")


@pytest.fixture
def client(daemon):
    c = daemon.client()
    yield c
    c.close()


class Write:
    """One Write stream, driven message by message."""

    def __init__(self, client):
        self.pb = client.messages("content")
        self.queue = queue.Queue()
        self.stream = client.content.Write(iter(self.queue.get, None), timeout=30)

    def send(self, action, **fields):
        self.queue.put(self.pb.WriteContentRequest(action=action, **fields))
        return next(self.stream)

    def stat(self, **f):
        return self.send(0, **f)

    def write(self, **f):
        return self.send(1, **f)

    def commit(self, **f):
        return self.send(2, **f)

    def close(self):
        self.queue.put(None)
        for _ in self.stream:
            pass

    def fails(self, code, text, action, **f):
        with pytest.raises(grpc.RpcError) as e:
            self.send(action, **f)
        assert e.value.code().name == code
        assert text in e.value.details()
        return e.value.details()


def refused(code, text, call, *args, **kw):
    with pytest.raises(grpc.RpcError) as e:
        got = call(*args, timeout=30, **kw)
        if hasattr(got, "__iter__"):
            list(got)
    assert e.value.code().name == code, e.value.details()
    assert e.value.details() == text


def put(client, data, ref="ref", **kw):
    w = Write(client)
    return w.commit(ref=ref, data=data, **kw)


def blob_path(daemon, digest):
    return daemon.root / "io.containerd.content.v1.content/blobs" / digest.replace(":", "/")


def test_write_in_pieces_and_read(daemon, client):
    m = client.messages("content")
    w = Write(client)
    r = w.stat(ref="r", total=len(DATA))
    assert (r.offset, r.digest, r.total) == (0, EMPTY, len(DATA))
    r = w.write(data=DATA[:5])
    assert (r.action, r.offset, r.digest) == (1, 5, sha256(DATA[:5]))
    assert r.HasField("started_at") and r.total == len(DATA)
    [st] = client.content.ListStatuses(m.ListStatusesRequest()).statuses
    assert (st.ref, st.offset, st.total) == ("r", 5, len(DATA))
    r = w.commit(offset=5, data=DATA[5:], expected=sha256(DATA), labels={"a": "b"})
    assert (r.action, r.offset, r.digest) == (2, len(DATA), sha256(DATA))
    assert list(w.stream) == []
    info = client.content.Info(m.InfoRequest(digest=sha256(DATA))).info
    assert (info.size, dict(info.labels)) == (len(DATA), {"a": "b"})
    assert blob_path(daemon, sha256(DATA)).stat().st_mode & 0o7777 == 0o444
    assert not client.content.ListStatuses(m.ListStatusesRequest()).statuses
    assert not list((daemon.root / "io.containerd.content.v1.content/ingest").iterdir())


def test_read_ranges(daemon, client):
    m = client.messages("content")
    big = os.urandom(2_500_000)
    put(client, big)

    def read(**kw):
        return list(client.content.Read(m.ReadContentRequest(digest=sha256(big), **kw), timeout=30))

    parts = read()
    assert b"".join(p.data for p in parts) == big
    assert max(len(p.data) for p in parts) == 1 << 20
    assert [p.offset for p in parts] == [0, 1 << 20, 2 << 20]
    assert b"".join(p.data for p in read(offset=-5, size=10)) == big[:10]
    [p] = read(offset=100, size=1000)
    assert (p.data, p.offset) == (big[100:1100], 0)
    assert b"".join(p.data for p in read(offset=2_499_999, size=99)) == big[-1:]
    assert read(offset=len(big)) == []
    refused("OUT_OF_RANGE", f"read past object length {len(big)} bytes", client.content.Read,
            m.ReadContentRequest(digest=sha256(big), offset=len(big) + 1))
    refused("NOT_FOUND", f"content digest {sha256(b'x')}: not found", client.content.Read,
            m.ReadContentRequest(digest=sha256(b"x")))


def test_resume_after_the_stream_was_closed(daemon, client):
    w = Write(client)
    w.write(ref="r", data=DATA[:5])
    w.close()
    w = Write(client)
    assert w.stat(ref="r").offset == 5
    w.fails("OUT_OF_RANGE", "write @3 must occur at current offset 5", 1, offset=3, data=b"x")
    daemon.restart()
    client = daemon.client()
    w = Write(client)
    r = w.stat(ref="r")
    assert (r.offset, r.digest) == (5, sha256(DATA[:5]))
    assert w.commit(offset=5, data=DATA[5:], total=len(DATA)).digest == sha256(DATA)


def test_offset_zero_starts_over(daemon, client):
    w = Write(client)
    w.write(ref="r", data=b"something else")
    r = w.write(data=DATA)
    assert (r.offset, r.digest) == (len(DATA), sha256(DATA))
    assert w.commit(offset=len(DATA)).digest == sha256(DATA)


def test_commit_refusals_keep_the_ingest(daemon, client):
    m = client.messages("content")
    w = Write(client)
    assert w.fails("FAILED_PRECONDITION", "", 2, ref="r", data=DATA, expected=sha256(b"x")) == (
        f"unexpected commit digest {sha256(DATA)}, expected {sha256(b'x')}: failed precondition")
    w = Write(client)
    assert w.fails("FAILED_PRECONDITION", "", 2, ref="r", offset=len(DATA), total=3) == (
        f'"r" failed size validation: {len(DATA)} != 3: failed precondition')
    w = Write(client)
    w.fails("INVALID_ARGUMENT", "info.Labels: label key and value length (5001 bytes) greater than maximum size "
            "(4096 bytes), key: k", 2, ref="r", offset=len(DATA), labels={"k": "v" * 5000})
    assert client.content.Status(m.StatusRequest(ref="r")).status.offset == len(DATA)
    client.content.Abort(m.AbortRequest(ref="r"))
    refused("NOT_FOUND", 'could not get status for ref "r": reference r: not found', client.content.Status,
            m.StatusRequest(ref="r"))
    refused("NOT_FOUND", "reference r: not found", client.content.Abort, m.AbortRequest(ref="r"))


def test_first_message_names_the_ref_and_a_ref_is_one_writers(daemon, client):
    Write(client).fails("INVALID_ARGUMENT", "first message must have a reference", 0)
    w = Write(client)
    w.stat(ref="r")
    Write(client).fails("UNAVAILABLE", "ref default/1/r locked for ", 0, ref="r")
    w.commit()
    Write(client).stat(ref="r")


def test_expected_that_exists(daemon, client):
    put(client, DATA)
    assert Write(client).fails("ALREADY_EXISTS", "", 0, ref="r", expected=sha256(DATA)) == (
        f"content {sha256(DATA)}: already exists")
    w = Write(client)
    w.stat(ref="r")
    w.fails("ALREADY_EXISTS", f"blob with expected digest {sha256(DATA)} exists", 1, expected=sha256(DATA), data=b"x")
    assert not client.content.ListStatuses(client.messages("content").ListStatusesRequest()).statuses
    assert Write(client).fails("ALREADY_EXISTS", "", 2, ref="r", data=DATA, labels={"x": "y"}) == (
        f"content {sha256(DATA)}: already exists")


def test_two_namespaces_share_the_file(daemon, client):
    m = client.messages("content")
    other = daemon.client("other")
    put(client, DATA)
    refused("NOT_FOUND", f"content digest {sha256(DATA)}: not found", other.content.Info,
            m.InfoRequest(digest=sha256(DATA)))
    w = Write(other)
    r = w.stat(ref="r", expected=sha256(DATA), total=len(DATA))
    assert (r.offset, r.total, r.digest) == (len(DATA), len(DATA), sha256(DATA))
    w.commit(offset=len(DATA))
    client.content.Delete(m.DeleteContentRequest(digest=sha256(DATA)))
    assert blob_path(daemon, sha256(DATA)).exists()
    other.content.Delete(m.DeleteContentRequest(digest=sha256(DATA)))
    assert not blob_path(daemon, sha256(DATA)).exists()
    refused("NOT_FOUND", f"content digest {sha256(DATA)}: not found", other.content.Delete,
            m.DeleteContentRequest(digest=sha256(DATA)))


def test_isolated_namespaces_send_the_bytes():
    daemon = lighter.Daemon(config="version = 2\n[plugins.'io.containerd.metadata.v1.bolt']\n"
                                   "content_sharing_policy = 'isolated'\n")
    try:
        put(daemon.start().client(), DATA)
        w = Write(daemon.client("other"))
        assert w.stat(ref="r", expected=sha256(DATA)).offset == 0
        assert w.commit(data=DATA).digest == sha256(DATA)
    finally:
        daemon.cleanup()


def test_list_in_blocks_with_filters(daemon, client):
    m = client.messages("content")
    assert list(client.content.List(m.ListContentRequest())) == []
    for i in range(205):
        put(client, b"%d" % i, labels={"third": str(i % 3)})
    blocks = [len(r.info) for r in client.content.List(m.ListContentRequest())]
    assert blocks == [100, 100, 5]
    [r] = client.content.List(m.ListContentRequest(filters=["labels.third==1"]))
    assert len(r.info) == 68
    [r] = client.content.List(m.ListContentRequest(filters=[f"digest=={sha256(b'7')}"]))
    assert r.info[0].digest == sha256(b"7")
    with pytest.raises(grpc.RpcError) as e:
        list(client.content.List(m.ListContentRequest(filters=["labels.third="])))
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_update_labels(daemon, client):
    m = client.messages("content")
    mask = pb("google/protobuf/field_mask").FieldMask
    put(client, DATA, labels={"a": "1", "b": "2"})
    info = m.Info(digest=sha256(DATA), labels={"a": "", "c": "3"})
    got = client.content.Update(m.UpdateRequest(info=info, update_mask=mask(paths=["labels.a", "labels.c"]))).info
    assert dict(got.labels) == {"b": "2", "c": "3"}
    assert (got.updated_at.seconds, got.updated_at.nanos) > (got.created_at.seconds, got.created_at.nanos)
    got = client.content.Update(m.UpdateRequest(info=info)).info
    assert dict(got.labels) == {"c": "3"}
    refused("INVALID_ARGUMENT", f'cannot update "size" field on content info "{sha256(DATA)}": invalid argument',
            client.content.Update, m.UpdateRequest(info=info, update_mask=mask(paths=["size"])))


def test_bad_input(daemon, client):
    m = client.messages("content")
    for digest in ("x", "", "sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "a" * 32, "sha256:abc"):
        text = f'"{digest}" failed validation'
        refused("INVALID_ARGUMENT", text, client.content.Info, m.InfoRequest(digest=digest))
        refused("INVALID_ARGUMENT", text, client.content.Delete, m.DeleteContentRequest(digest=digest))
        refused("INVALID_ARGUMENT", text, client.content.Read, m.ReadContentRequest(digest=digest))
    with pytest.raises(grpc.RpcError) as e:
        client.content.Update(m.UpdateRequest())
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    refused("FAILED_PRECONDITION", "namespace is required: failed precondition", daemon.client(None).content.Info,
            m.InfoRequest(digest=sha256(b"")))
    w = Write(daemon.client(None))
    w.fails("FAILED_PRECONDITION", "namespace is required", 0, ref="r")
    w = Write(client)
    w.fails("INVALID_ARGUMENT", "reference is longer than 4096 bytes", 0, ref="r" * 5000)
    # A ref is a name, never a path.
    put(client, DATA, ref="../../../../tmp/x")


def test_sha512_and_empty(daemon, client):
    import hashlib
    d512 = "sha512:" + hashlib.sha512(DATA).hexdigest()
    w = Write(client)
    assert w.write(ref="r", data=DATA, expected=d512).digest == sha256(DATA)
    assert w.commit(offset=len(DATA)).digest == d512
    assert blob_path(daemon, d512).exists()
    assert put(client, b"").digest == EMPTY


def test_lease_holds_what_is_written(daemon, client):
    m, leases = client.messages("content"), client.messages("leases")
    client.leases.Create(leases.CreateRequest(id="l"))
    leased = daemon.client(lease="l")
    put(leased, DATA)
    resources = client.leases.ListResources(leases.ListResourcesRequest(id="l")).resources
    assert [(r.id, r.type) for r in resources] == [(sha256(DATA), "content")]
    Write(daemon.client(lease="nope")).fails("NOT_FOUND", "lease does not exist", 0, ref="r2")
    leased.content.Delete(m.DeleteContentRequest(digest=sha256(DATA)))
    assert not client.leases.ListResources(leases.ListResourcesRequest(id="l")).resources


def test_hundred_idle_writers_hold_nothing_up(daemon, client):
    writers = [Write(client) for _ in range(100)]
    for i, w in enumerate(writers):
        w.stat(ref=f"idle-{i}")
    put(client, DATA)
    m = client.messages("content")
    assert len(client.content.ListStatuses(m.ListStatusesRequest()).statuses) == 100
    [st] = client.content.ListStatuses(m.ListStatusesRequest(filters=["ref==idle-7"])).statuses
    assert st.ref == "idle-7"


def test_killed_while_writing(daemon, client):
    w = Write(client)
    w.write(ref="r", data=DATA[:7])
    daemon.kill()
    daemon.start()
    client = daemon.client()
    w = Write(client)
    assert w.stat(ref="r").offset == 7
    assert w.commit(offset=7, data=DATA[7:]).digest == sha256(DATA)
