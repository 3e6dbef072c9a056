#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A shim for tests that serves the Sandbox API beside the task service: everything it holds is pretence. What it was
asked goes to the file `calls` beside it, one line each. Ids beginning with "bad-create", "bad-start" or "deaf" are
refused, or not answered, and "mad" gets answers that do not decode."""
import json
import os
import selectors
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


# ---- Protocol Buffers by hand: a message is a list of (number, value), value an int, bytes, str or a message
def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 0x7f:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def enc(fields):
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else enc(value)
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def dec(data):
    """{number: [values]}"""
    def number(at):
        n = shift = 0
        while True:
            n |= (data[at] & 0x7f) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                return n, at
    out, at = {}, 0
    while at < len(data):
        key, at = number(at)
        value, at = number(at)
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        out.setdefault(key >> 3, []).append(value)
    return out


def text(fields, number):
    return fields.get(number, [b""])[0].decode()


def stamp(sec):
    return [(1, sec), (2, 5)]


def note(*words):
    with open(f"{HERE}/calls", "a") as f:
        f.write(" ".join(map(str, words)) + "\n")


class Refused(Exception):
    pass


class Later(Exception):
    pass


class Shim:
    def __init__(self, listener, id):
        self.id, self.tasks, self.waits, self.exited = id, {}, [], None
        self.sel = selectors.DefaultSelector()
        self.sel.register(listener, selectors.EVENT_READ)
        self.quit = False

    def run(self):
        while not self.quit:
            for key, _ in self.sel.select():
                if key.data is None:
                    conn, _ = key.fileobj.accept()
                    self.sel.register(conn, selectors.EVENT_READ, bytearray())
                else:
                    self.read(key.fileobj, key.data)

    def read(self, conn, have):
        data = conn.recv(65536)
        if not data:
            self.sel.unregister(conn)
            conn.close()
            self.waits = [w for w in self.waits if w[0] is not conn]
            return
        have += data
        while len(have) >= 10:
            length, stream, _, _ = struct.unpack(">IIBB", have[:10])
            if len(have) < 10 + length:
                return
            request = dec(bytes(have[10:10 + length]))
            del have[:10 + length]
            self.call(conn, stream, request)

    def call(self, conn, stream, request):
        service, method = text(request, 1), text(request, 2)
        req = dec(request.get(3, [b""])[0])
        note(method, text(req, 1))
        handler = getattr(self, method, None) if service in (
            "containerd.task.v3.Task", "containerd.runtime.sandbox.v1.Sandbox") else None
        try:
            if not handler:
                raise Refused(12, f"service {service}")
            answer = enc(handler(req, conn, stream))
            if self.id.startswith("mad") and method not in ("CreateSandbox", "ShutdownSandbox"):
                answer = b"\x0a\xff\xff\xff\x0f" + answer
            self.answer(conn, stream, [(2, answer)])
        except Refused as e:
            self.answer(conn, stream, [(1, [(1, e.args[0]), (2, e.args[1])])])
        except Later:
            pass

    def answer(self, conn, stream, response):
        data = enc(response)
        conn.sendall(struct.pack(">IIBB", len(data), stream, 2, 0) + data)

    # ---- the sandbox
    def CreateSandbox(self, req, *_):
        with open("created.json", "w") as f:
            json.dump({"bundle": text(req, 2), "netns": text(req, 5), "rootfs": len(req.get(3, [])),
                       "options": text(dec(req.get(4, [b""])[0]), 1),
                       "annotations": {text(dec(a), 1): text(dec(a), 2) for a in req.get(6, [])}}, f)
        if self.id.startswith("bad-create"):
            raise Refused(9, "this one is not to be")
        return []

    def StartSandbox(self, *_):
        if self.id.startswith("bad-start"):
            raise Refused(2, "it does not start")
        return [(1, 4711), (2, stamp(1700000000)), (3, [(1, "a.spec"), (2, b"{}")])]

    def Platform(self, *_):
        return [(1, [(1, "linux"), (2, "riscv64"), (3, "v1"), (4, "unseen")])]

    def SandboxStatus(self, req, *_):
        if self.id.startswith("deaf"):
            raise Later
        state = "SANDBOX_NOTREADY" if self.exited else "SANDBOX_READY"
        return [(1, self.id), (2, 4711), (3, state), (4, [(1, "verbose"), (2, str(req.get(2, [0])[0]))]),
                (5, stamp(1700000000)), (7, [(1, "an.extra"), (2, b"x")])]

    def SandboxMetrics(self, *_):
        return [(1, [(2, self.id), (3, [(1, "a.metric"), (2, b"m")])])]

    def PingSandbox(self, *_):
        return []

    def WaitSandbox(self, req, conn, stream):
        if not self.exited:
            self.waits.append((conn, stream))
            raise Later
        return self.exited

    def StopSandbox(self, *_):
        self.exited = [(1, 7), (2, stamp(1700000007))]
        for conn, stream in self.waits:
            self.answer(conn, stream, [(2, enc(self.exited))])
        self.waits = []
        return []

    def ShutdownSandbox(self, *_):
        self.quit = True
        return []

    # ---- tasks in it
    def task(self, req):
        if text(req, 1) not in self.tasks:
            raise Refused(5, "container not created")
        return self.tasks[text(req, 1)]

    def Create(self, req, *_):
        if text(req, 1).startswith("bad"):
            raise Refused(2, "no such program")
        self.tasks[text(req, 1)] = {"pid": 100 + len(self.tasks), "bundle": text(req, 2), "status": 1}
        return [(1, self.tasks[text(req, 1)]["pid"])]

    def Start(self, req, *_):
        self.task(req)["status"] = 2
        return [(1, self.task(req)["pid"])]

    def State(self, req, *_):
        t = self.task(req)
        return [(1, text(req, 1)), (2, t["bundle"]), (3, t["pid"]), (4, t["status"])]

    def Kill(self, req, *_):
        self.task(req)["status"] = 3
        return []

    def Delete(self, req, *_):
        pid = self.task(req)["pid"]
        del self.tasks[text(req, 1)]
        return [(1, pid), (2, 3), (3, stamp(1700000003))]

    def Pids(self, req, *_):
        return [(1, [(1, self.task(req)["pid"])])]

    def Wait(self, *_):
        raise Later

    def Connect(self, req, *_):
        return [(1, os.getpid()), (2, self.tasks.get(text(req, 1), {"pid": 0})["pid"])]

    def Shutdown(self, *_):
        self.quit = not self.tasks
        return []


def main():
    args = dict(zip(sys.argv[1:-1:2], sys.argv[2::2]))
    action, id = sys.argv[-1], args.get("-id")
    if action == "delete":
        note("delete", id)
        sys.stdout.buffer.write(enc([(1, 4711), (2, 137), (3, stamp(int(time.time())))]))
    elif action == "start":
        path = f"{HERE}/{id}.sock"
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        if os.fork() == 0:
            os.setsid()
            null = os.open("/dev/null", os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            Shim(listener, id).run()
            os._exit(0)
        print(json.dumps({"version": 2 if id.startswith("old") else 3, "address": f"unix://{path}", "protocol": "ttrpc"}))


if __name__ == "__main__":
    main()
