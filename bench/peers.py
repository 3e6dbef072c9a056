# SPDX-License-Identifier: Apache-2.0
"""The two daemons behind the same methods, the register of workloads, and what these measure with.

A workload is a function of a daemon and a number that counts up from 0 with each round; it returns a figure for each of
its labels. What a label says about "per second" is better when larger, anything else when smaller."""
import collections
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests"))
import lighter  # noqa: E402

TWINS = []  # daemons that a workload has started
WORKLOADS = []
Workload = collections.namedtuple("Workload", "name fn figures rounds by_name_only")


def workload(name, figures, rounds=5, by_name_only=False):
    """figures: label -> the ratio or value aimed at, "" for none."""
    def register(fn):
        WORKLOADS.append(Workload(name, fn, figures, rounds, by_name_only))
        return fn
    return register


class Containerd(lighter.Daemon):
    """Debian's containerd."""
    label = "containerd"

    def command(self):
        self.config.write_text(
            f'version = 2\nroot = "{self.root}"\nstate = "{self.state}"\n[grpc]\naddress = "{self.address}"\n'
            '[plugins."io.containerd.grpc.v1.cri"]\n')
        return ["/usr/bin/containerd", "--config", self.config]

    def start(self, wait=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stderr=log, stdout=log)
        self.wait_ready()
        return self


class Lighter(Containerd):
    label = "lighter"

    def command(self):
        return [lighter.BUILD / "lighterd", "--root", self.root, "--state", self.state, "--address", self.address]


@contextlib.contextmanager
def another(d, start=True):
    """A daemon of d's kind with folders of its own."""
    fresh = type(d)()
    fresh.namespace = d.namespace
    try:
        yield fresh.start() if start else fresh
    finally:
        fresh.stop()
        fresh.cleanup()


def timed(fn, *args, **kw):
    start = time.perf_counter()
    fn(*args, **kw)
    return time.perf_counter() - start


def load(d, *args):
    """What bench-load prints."""
    p = lighter.run([lighter.BUILD / "bench/bench-load", d.address, *map(str, args)], timeout=180)
    return [float(word) for word in p.stdout.split()]


def smaps(pid):
    """(resident, private dirty) in KiB."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    field = {l.split(":")[0]: int(l.split()[1]) for l in text.splitlines()[1:]}
    return field["Rss"], field["Private_Dirty"]


def cpu(pid):
    """Seconds of processor time, of all its threads that were."""
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def shim_pids(d):
    out = subprocess.run(["pgrep", "-f", f"containerd-shim.*{d.address}"], capture_output=True, text=True).stdout
    return [int(p) for p in out.split() if lighter.alive(p)]
