# SPDX-License-Identifier: Apache-2.0
"""The socket on which shims forward their events, against bytes that no shim sends."""
import contextlib
import os
import socket
import struct

import pytest

import lighter

FORWARD = "containerd.services.events.ttrpc.v1.Events"


def connect(daemon):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(daemon.address + ".ttrpc")
    return s


def frame(stream, body, kind=1, flags=0):
    return struct.pack(">IIBB", len(body), stream, kind, flags) + body


def exactly(s, n):
    got = b""
    while len(got) < n:
        part = s.recv(n - len(got))
        assert part, "connection closed"
        got += part
    return got


def answer(s):
    """(stream, Response) of the next frame."""
    n, stream, kind, _ = struct.unpack(">IIBB", exactly(s, 10))
    assert kind == 2
    return stream, lighter.pb("ttrpc/request").Response.FromString(exactly(s, n))


def forward_request(topic="/test/topic"):
    messages = lighter.pb("containerd/services/events/ttrpc/v1/events")
    envelope = lighter.pb("containerd/types/types").Envelope(namespace="default", topic=topic)
    envelope.timestamp.GetCurrentTime()
    return lighter.pb("ttrpc/request").Request(
        service=FORWARD, method="Forward", payload=messages.ForwardRequest(envelope=envelope).SerializeToString()).SerializeToString()


@pytest.fixture
def honest(shared_daemon):
    """A connection that must not notice what others do."""
    with contextlib.closing(connect(shared_daemon)) as s:
        s.sendall(frame(1, forward_request()))
        assert answer(s)[1].status.code == 0
        yield s
        s.sendall(frame(3, forward_request()))
        assert answer(s) [1].status.code == 0
    assert shared_daemon.process.poll() is None


def test_garbage_ends_only_its_own_connection(shared_daemon, honest):
    for junk in (os.urandom(5000), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 9, b"GET / HTTP/1.1\r\n\r\n"):
        with contextlib.closing(connect(shared_daemon)) as s:
            s.sendall(junk)
            s.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while s.recv(65536):
                    pass


def test_a_frame_over_the_limit_is_thrown_away_and_answered(shared_daemon, honest):
    n = (4 << 20) + 1
    with contextlib.closing(connect(shared_daemon)) as s:
        s.sendall(struct.pack(">IIBB", n, 1, 1, 0))
        for _ in range(n // 65536):
            s.sendall(b"\0" * 65536)
        s.sendall(b"\0" * (n % 65536))
        stream, response = answer(s)
        assert (stream, response.status.code) == (1, 8)
        assert response.status.message == f"message length {n} exceed maximum message size of 4194304"
        # the connection lives, and the id was not used up
        s.sendall(frame(1, forward_request()))
        assert answer(s)[1].status.code == 0


def test_two_gigabytes_promised_cost_no_memory(shared_daemon, honest):
    def resident():
        return int(next(l for l in open(f"/proc/{shared_daemon.pid}/status") if l.startswith("VmRSS")).split()[1])
    before = resident()
    socks = [connect(shared_daemon) for _ in range(20)]
    for s in socks:
        s.sendall(struct.pack(">IIBB", 0x7fffffff, 1, 1, 0) + b"x" * 100000)
    lighter.eventually("the daemon answering", lambda: shared_daemon.process.poll() is None)
    if "asan" not in str(lighter.BUILD) and "tsan" not in str(lighter.BUILD):
        assert resident() - before < 20000
    for s in socks:
        s.close()


def test_bad_streams_and_requests_are_told(shared_daemon, honest):
    with contextlib.closing(connect(shared_daemon)) as s:
        s.sendall(frame(2, forward_request()))
        assert answer(s)[1].status.message == "StreamID must be odd for client initiated streams"
        s.sendall(frame(1, b"\xff\xff\xff"))
        got = answer(s)[1].status
        assert got.code == 3 and got.message.startswith("unmarshal request error: ")
        s.sendall(frame(3, lighter.pb("ttrpc/request").Request(service="no.such", method="X").SerializeToString()))
        got = answer(s)[1].status
        assert got.code == 12 and "no.such" in got.message
        s.sendall(frame(3, forward_request()))
        assert answer(s)[1].status.message == "StreamID cannot be re-used and must increment"
        s.sendall(frame(5, forward_request("no-slash")))
        got = answer(s)[1].status
        assert got.code == 3 and "must start with '/'" in got.message


def test_cut_short_anywhere(shared_daemon, honest):
    whole = frame(1, forward_request())
    for n in range(len(whole)):
        with contextlib.closing(connect(shared_daemon)) as s:
            s.sendall(whole[:n])
