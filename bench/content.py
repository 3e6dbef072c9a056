# SPDX-License-Identifier: Apache-2.0
"""Blobs: many small ones, a large one, and their collection."""
import contextlib
import functools
import os
import pathlib
import subprocess
import tempfile
import time

import lighter
from peers import load, timed, workload


@workload("blobs", {"blobs of 4 KiB written per second, 16 outstanding": "3", "blobs of 4 KiB written per second, one at a time": ""}, 5)
def blobs(d, n):
    return [*load(d, "blobs", 16, 2000, 4096, f"m{n}-", "bench", ""), *load(d, "blobs", 1, 500, 4096, f"o{n}-", "bench", "")]


@workload("blob", {"one blob of 1 GiB, s": "", "one blob of 1 GiB, times sha256sum + cp + fsync": "<= 1.2"}, 3)
def blob(d, n):
    subprocess.run(["sync"])
    bound = timed(copy_by_hand, d)
    subprocess.run(["sync"])
    seconds, = load(d, "blob", 1024, f"large{n}", "bench")
    with contextlib.closing(d.client("bench")) as c:
        for info in (i for reply in c.content.List(c.messages("content").ListContentRequest()) for i in reply.info):
            if info.size == 1 << 30:
                c.content.Delete(c.messages("content").DeleteContentRequest(digest=info.digest))
    return [seconds, seconds / bound]


@functools.lru_cache(None)
def gibibyte():
    """In memory, as a download would be."""
    f = tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="lighter-bench-")
    for _ in range(64):
        f.write(os.urandom(16 << 20))
    f.flush()
    return f


def copy_by_hand(d):
    source, target = gibibyte().name, pathlib.Path(d.dir, "copy")
    subprocess.run(["sha256sum", source], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cp", source, target], check=True)
    subprocess.run(["sync", target], check=True)
    target.unlink()


@workload("collect", {"another call while 10,000 blobs are collected, 99th percentile, ms": "<= 10 ms",
                      "collection of 10,000 blobs, s": ""}, 1)
def collect(d, n):
    with contextlib.closing(d.client("bench")) as c:
        leases = c.messages("leases")
        c.leases.Create(leases.CreateRequest(id=f"hold{n}"))
        load(d, "blobs", 32, 10000, 1024, f"gc{n}-", "bench", f"hold{n}")
        probe = subprocess.Popen([lighter.BUILD / "bench/bench-load", d.address, "probe", "4"], stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)
        seconds = timed(c.leases.Delete, leases.DeleteRequest(id=f"hold{n}", sync=True))
        _, p99, *_ = map(float, probe.communicate()[0].split())
    return [p99, seconds]
