# SPDX-License-Identifier: Apache-2.0
"""The daemon by itself: its start, its memory."""
import time

from peers import another, load, smaps, workload


@workload("start", {"cold start to the first answer, empty, ms": "<= 5 ms", "cold start to the first answer, 1,000 containers, ms": "<= 10 ms"})
def start(d, _):
    with another(d) as fresh:
        load(fresh, "create", 16, 1000, "c", "bench")
        fresh.stop()
        full, = load(fresh, "start", *fresh.command())
    with another(d, start=False) as fresh:
        empty, = load(fresh, "start", *fresh.command())
    return [empty, full]


@workload("idle", {"idle daemon, KiB resident": "<= 8192", "idle daemon, KiB private dirty": "<= 2048"}, 3)
def idle(d, _):
    """Freshly started and left alone."""
    with another(d) as fresh:
        time.sleep(7)
        return smaps(fresh.pid)
