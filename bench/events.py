# SPDX-License-Identifier: Apache-2.0
from peers import cpu, load, workload

COUNT, SUBSCRIBERS = 5000, 10


@workload("events", {"events published per second, 10 subscribers": "", "daemon's CPU for an event to 10 subscribers, us": "2"})
def events(d, _):
    before = cpu(d.pid)
    rate, delivered = load(d, "events", SUBSCRIBERS, COUNT)
    assert delivered == SUBSCRIBERS * COUNT
    return [rate, (cpu(d.pid) - before) / COUNT * 1e6]
