# SPDX-License-Identifier: Apache-2.0
"""Records: made, listed, read."""
import time

from peers import another, cpu, load, smaps, workload


@workload("create", {"container creations per second, 16 outstanding": "6"})
def create_16(d, n):
    return load(d, "create", 16, 4000, f"c{n}-", "bench")


@workload("create-one", {"container creations per second, one at a time": "2"})
def create_one(d, n):
    return load(d, "create", 1, 1000, f"s{n}-", "bench")


@workload("list", {"List of 1,000 containers, ms": "4", "List of 1,000 with a filter that matches none, ms": "<= 1 ms"}, 9)
def list_1000(d, n):
    if n == 0:
        load(d, "create", 16, 1000, "c", "list")
    whole, size = load(d, "list", 20, "list", "")
    none, empty = load(d, "list", 20, "list", "labels.app==nothing")
    assert size > 3_000_000 and empty < 100, (size, empty)
    return [whole, none]


@workload("get", {"Get of a container, daemon's CPU, us": "<= 60 us", "Gets of a container per second, one at a time": ""})
def get(d, n):
    if n == 0:
        load(d, "create", 1, 1, "c", "get")
    before = cpu(d.pid)
    rate, = load(d, "get", 1, 10000, "c0", "get")
    return [(cpu(d.pid) - before) * 100, rate]


@workload("growth", {"growth for each of 1,000 containers listed, KiB resident": "<= 4 KiB",
                     "growth for each of 1,000 containers listed, KiB private dirty": ""}, 3)
def growth(d, _):
    with another(d) as fresh:
        load(fresh, "create", 1, 1, "first", "growth")
        before = smaps(fresh.pid)
        load(fresh, "create", 16, 1000, "c", "growth")
        load(fresh, "list", 5, "growth", "")
        time.sleep(4)  # both give back what the calls needed
        return [(after - was) / 1000 for was, after in zip(before, smaps(fresh.pid))]
