# SPDX-License-Identifier: Apache-2.0
"""The daemon's gRPC socket: Google's client as the honest one, frames by hand for all others."""
import concurrent.futures
import contextlib
import os
import re
import socket
import struct
import time

import grpc
import pytest

import lighter

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS = 1, 4
ENHANCE_YOUR_CALM = 11
VERSION = "/containerd.services.version.v1.Version/Version"


# ------------------------------------------------------------------------------------------------- frames by hand
def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name, value):
    """A header field without compression; both shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def request(path, *extra, method="POST", content_type="application/grpc"):
    return b"".join(literal(*f) for f in [
        (":method", method), (":scheme", "http"), (":path", path), ("content-type", content_type), *extra])


def message(payload, length=None, flag=0):
    return struct.pack(">BI", flag, len(payload) if length is None else length) + payload


class Raw:
    def __init__(self, address):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(address)
        self.seen = b""

    def send(self, data):
        """Whether all of it could be sent."""
        try:
            self.sock.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def open(self):
        self.send(PREFACE + frame(SETTINGS))
        return self

    def frames(self, until=None, seconds=5):
        """What comes, as (type, flags, stream, payload), until the server hangs up or until(frame)."""
        end = time.monotonic() + seconds
        while True:
            while len(self.seen) >= 9:
                n = int.from_bytes(self.seen[:3], "big")
                if len(self.seen) < 9 + n:
                    break
                kind, flags, stream = struct.unpack(">BBI", self.seen[3:9])
                got = (kind, flags, stream, self.seen[9:9 + n])
                self.seen = self.seen[9 + n:]
                yield got
                if until and until(got):
                    return
            self.sock.settimeout(max(0.01, end - time.monotonic()))
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                return
            except socket.timeout:
                pytest.fail("the server neither answered nor hung up")
            if not data:
                return
            self.seen += data

    def goaway(self):
        """The code of the GOAWAY, None if it hung up without."""
        for kind, _, _, payload in self.frames():
            if kind == GOAWAY:
                return struct.unpack(">I", payload[4:8])[0]
        return None

    def headers(self, stream=1):
        """The HPACK bytes of the last HEADERS frame of a stream that ends it."""
        for kind, flags, s, payload in self.frames(lambda f: f[2] == stream and f[1] & END_STREAM):
            if kind == HEADERS and s == stream and flags & END_STREAM:
                return payload
        return None

    def close(self):
        self.sock.close()


def has_status(block, code):
    """Whether an HPACK block has this as a literal value; codes are too short for Huffman to pay."""
    return block is not None and bytes([len(code)]) + code in block


@pytest.fixture
def raw(shared_daemon):
    with contextlib.ExitStack() as stack:
        def make():
            return stack.enter_context(contextlib.closing(Raw(shared_daemon.address)))
        yield make
    check_health(shared_daemon)


@pytest.fixture
def client(shared_daemon):
    with contextlib.closing(shared_daemon.client("grpc-test")) as c:
        yield c


def check_health(daemon):
    """After everything a peer has done, the next one is served."""
    with contextlib.closing(daemon.client(None)) as c:
        health = lighter.pb("grpc/health/v1/health")
        assert c.health.Check(health.HealthCheckRequest(), timeout=5).status == 1


def fails(call, code, text=None):
    with pytest.raises(grpc.RpcError) as e:
        call()
    assert e.value.code() == code, e.value.details()
    if text is not None:
        assert text in e.value.details()


# ------------------------------------------------------------------------------------------------- honest clients
def test_health(client):
    health = lighter.pb("grpc/health/v1/health")
    assert client.health.Check(health.HealthCheckRequest()).status == 1
    fails(lambda: client.health.Check(health.HealthCheckRequest(service="nope")), grpc.StatusCode.NOT_FOUND)


def test_unknown_names(client):
    fails(lambda: client.channel.unary_unary("/no.Such/Method")(b""), grpc.StatusCode.UNIMPLEMENTED,
          "unknown service no.Such")
    fails(lambda: client.channel.unary_unary("/containerd.services.version.v1.Version/Nope")(b""),
          grpc.StatusCode.UNIMPLEMENTED, "unknown method Nope for service containerd.services.version.v1.Version")


def test_namespace(shared_daemon):
    containers = lighter.pb("containerd/services/containers/v1/containers")
    for namespace, code, text in [(None, grpc.StatusCode.FAILED_PRECONDITION, "namespace is required"),
                                  ("../x", grpc.StatusCode.INVALID_ARGUMENT, "../x"),
                                  ("x" * 77, grpc.StatusCode.INVALID_ARGUMENT, "")]:
        with contextlib.closing(shared_daemon.client(namespace)) as c:
            fails(lambda: c.containers.List(containers.ListContainersRequest()), code, text)


def test_undecodable_message(client):
    call = client.channel.unary_unary("/containerd.services.containers.v1.Containers/Get")
    for payload in [b"\x0f", b"\x0a\x05ab", b"\x0a\x02\xc3\x28", b"\x0a\x03a\0b"]:
        fails(lambda: call(payload, metadata=client.metadata), grpc.StatusCode.INTERNAL,
              "grpc: error unmarshalling request")


def test_message_too_large(client):
    call = client.channel.unary_unary("/containerd.services.containers.v1.Containers/Get")
    fails(lambda: call(b"x" * ((16 << 20) + 1)), grpc.StatusCode.RESOURCE_EXHAUSTED,
          "grpc: received message larger than max (16777217 vs. 16777216)")


def test_compressed_request(client):
    call = client.channel.unary_unary(VERSION)
    fails(lambda: call(b"x" * 100, compression=grpc.Compression.Gzip), grpc.StatusCode.UNIMPLEMENTED, "gzip")


def test_deadline_and_cancellation(client):
    events = lighter.pb("containerd/services/events/v1/events")
    stream = client.events.Subscribe(events.SubscribeRequest(), timeout=0.2)
    with pytest.raises(grpc.RpcError) as e:
        next(stream)
    assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    stream = client.events.Subscribe(events.SubscribeRequest())
    stream.cancel()
    with pytest.raises(grpc.RpcError):
        next(stream)


def test_many_streams_hold_no_thread(shared_daemon, client):
    """500 subscriptions, and calls are still answered by a handful of threads."""
    events = lighter.pb("containerd/services/events/v1/events")
    empty = lighter.pb("google/protobuf/empty")
    streams = [client.events.Subscribe(events.SubscribeRequest()) for _ in range(500)]
    try:
        for _ in range(20):
            client.version.Version(empty.Empty(), timeout=5)
        assert len(os.listdir(f"/proc/{shared_daemon.pid}/task")) < 40
    finally:
        for s in streams:
            s.cancel()


def test_many_clients_at_once(shared_daemon):
    empty = lighter.pb("google/protobuf/empty")

    def work(_):
        with contextlib.closing(shared_daemon.client("grpc-test")) as c:
            return [c.version.Version(empty.Empty(), timeout=20).version for _ in range(50)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(work, range(32)))
    assert len({v for a in answers for v in a}) == 1


# ------------------------------------------------------------------------------------------------- everybody else
@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0", b"\xff" * 4096,
                                     PREFACE + b"\xff" * 100])
def test_garbage_is_hung_up_on(raw, garbage):
    r = raw()
    r.send(garbage)
    list(r.frames())


def test_cut_anywhere(raw):
    whole = PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, request(VERSION)) + \
        frame(DATA, END_STREAM, 1, message(b""))
    for cut in range(0, len(whole), 3):
        r = raw()
        r.send(whole[:cut])
        r.close()


@pytest.mark.parametrize("payload, code", [
    (message(b"", length=1 << 31), b"8"),
    (message(b"", length=0xffffffff), b"8"),
    (message(b"x", flag=1), b"13"),
    (message(b"x", flag=7), b"13"),
    (message(b"ab", length=5), b"13"),
    (b"\0\0", b"13"),
    (b"", b"13"),
    (message(b"") * 2, b"13"),
])
def test_lying_prefixes(raw, payload, code):
    r = raw().open()
    r.send(frame(HEADERS, END_HEADERS, 1, request(VERSION)) + frame(DATA, END_STREAM, 1, payload))
    assert has_status(r.headers(), code)


@pytest.mark.parametrize("path", ["", "/", "//", "Version", VERSION[1:], "/" + VERSION, VERSION + "/",
                                  "/%2f" + VERSION[1:]])
def test_malformed_paths_are_not_routed(raw, path):
    r = raw().open()
    r.send(frame(HEADERS, END_HEADERS, 1, request(path)) + frame(DATA, END_STREAM, 1, message(b"")))
    assert has_status(r.headers(), b"12")


def test_header_bomb(raw):
    """A small block that names one entry of the compression table thousands of times."""
    r = raw().open()
    value = "v" * 100
    entry = b"\x40\x01x" + bytes([len(value)]) + value.encode()
    r.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, request(VERSION) + entry + b"\xbe" * 15000))
    assert has_status(r.headers(), b"8")


def test_headers_that_are_too_many_are_told(shared_daemon):
    c = shared_daemon.client()
    with pytest.raises(grpc.RpcError) as e:
        c.channel.unary_unary(VERSION)(b"", metadata=[(f"x{i}", "y" * 1000) for i in range(100)])
    assert e.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert e.value.details().startswith("grpc: received header list larger than max (10")


def test_continuation_flood(raw):
    r = raw().open()
    r.send(frame(HEADERS, 0, 1, request(VERSION)) + frame(CONTINUATION, 0, 1) * 10000)
    assert r.goaway() in (ENHANCE_YOUR_CALM, None)


def test_rapid_reset(raw):
    r = raw().open()
    block = request("/containerd.services.events.v1.Events/Subscribe")
    r.send(b"".join(frame(HEADERS, END_HEADERS, s, block) + frame(RST, 0, s, b"\0\0\0\x08")
                    for s in range(1, 40001, 2)))
    assert r.goaway() in (ENHANCE_YOUR_CALM, None)


@pytest.mark.parametrize("flood", [frame(PING, 0, 0, b"12345678"), frame(SETTINGS), frame(8, 0, 0, b"\0\0\0\1")],
                         ids=["ping", "settings", "window"])
def test_floods_without_work(raw, flood):
    r = raw().open()
    r.send(flood * 30000)
    assert r.goaway() in (ENHANCE_YOUR_CALM, None)


def resident(daemon):
    """Bytes; None in a build whose sanitizer keeps freed memory."""
    if re.search("lib[at]san", open(f"/proc/{daemon.pid}/maps").read()):
        return None
    return int(open(f"/proc/{daemon.pid}/statm").read().split()[1]) * 4096


def test_floods_cost_no_memory(shared_daemon, raw):
    check_health(shared_daemon)
    before = resident(shared_daemon)
    for _ in range(5):
        r = raw().open()
        r.send(frame(PING, 0, 0, b"12345678") * 100000)
        r.close()
    check_health(shared_daemon)
    if before is not None:
        assert resident(shared_daemon) - before < 8 << 20


def test_silent_connections_are_no_burden(shared_daemon, raw):
    connections = [raw() for _ in range(200)]
    for r in connections[:100]:
        r.open()
    check_health(shared_daemon)


def test_slow_reader_is_not_buffered_for(shared_daemon, client):
    """A subscriber that does not read, and events enough to drown it: others are served, memory stays."""
    r = Raw(shared_daemon.address).open()
    try:
        r.send(frame(HEADERS, END_HEADERS, 1, request("/containerd.services.events.v1.Events/Subscribe")) +
               frame(DATA, END_STREAM, 1, message(b"")))
        events = lighter.pb("containerd/services/events/v1/events")
        any_pb = lighter.pb("google/protobuf/any")
        big = any_pb.Any(type_url="types.containerd.io/test", value=b"x" * 100000)
        for _ in range(300):
            client.events.Publish(events.PublishRequest(topic="/test", event=big), timeout=10)
    finally:
        r.close()
    assert (resident(shared_daemon) or 0) < 64 << 20
    check_health(shared_daemon)
