# SPDX-License-Identifier: Apache-2.0
"""Containers that run. Both daemons run the same runc."""
import statistics
import subprocess
import time

import lighter
from peers import another, load, shim_pids, smaps, timed, workload

TASKS = "/containerd.services.tasks.v1.Tasks/"
MANY = 200


@workload("run", {"ctr run --rm true, ms": ""}, 15)
def run_rm(d, n):
    return [1000 * timed(d.ctr, "run", "--rm", lighter.IMAGE, f"run{n}", "/bin/true")]


@workload("run-cli", {"lighter run --rm true (ctr for containerd), ms": ""}, 15)
def run_rm_own_cli(d, n):
    """The same with lighter's own command line where there is one."""
    if d.label != "lighter":
        return run_rm(d, n)
    return [1000 * timed(d.cli, "run", "--rm", lighter.IMAGE, f"run{n}", "/bin/true")]


@workload("exec", {"ctr task exec true, ms": ""}, 15)
def exec_true(d, n):
    if n == 0:
        d.ctr("run", "-d", "--null-io", lighter.IMAGE, "execs", "/bin/sleep", "100000")
    return [1000 * timed(d.ctr, "task", "exec", "--exec-id", f"e{n}", "execs", "/bin/true")]


@workload("shims", {"shim, KiB resident (mean of 20)": "", "shim, KiB private dirty (mean of 20)": ""}, 1)
def memory_shims(d, n):
    """The mean of 20 shims, each with one sleeping container."""
    names = [f"mem{n}-{i}" for i in range(20)]
    before = set(shim_pids(d))
    for name in names:
        d.ctr("run", "-d", "--null-io", lighter.IMAGE, name, "/bin/sleep", "100000")
    subprocess.run(["sync"])
    time.sleep(1)
    shims = [p for p in shim_pids(d) if p not in before]
    assert len(shims) == 20, shims
    figures = [smaps(p) for p in shims]
    for name in names:
        d.ctr("task", "kill", "-s", "KILL", name)
        lighter.eventually("exit", lambda: "STOPPED" in [l for l in d.ctr("task", "ls").stdout.splitlines() if l.startswith(name + " ")][0])
        d.ctr("task", "rm", name)
        d.ctr("container", "rm", name)
    return [statistics.mean(f[0] for f in figures), statistics.mean(f[1] for f in figures)]


def run_detached(d, name):
    if d.label == "lighter":
        d.cli("run", "-d", "--null-io", lighter.IMAGE, name, "/bin/sleep", "100000")
    else:
        d.ctr("run", "-d", "--null-io", lighter.IMAGE, name, "/bin/sleep", "100000")


@workload("many", {f"Tasks.List of {MANY}, ms": "<= 3 ms", f"Tasks.Metrics of {MANY}, ms": "<= 15 ms",
                   f"daemon with {MANY} containers, KiB resident": "<= 12288",
                   f"daemon with {MANY} containers, KiB private dirty": "<= 4096",
                   f"{MANY} containers started one after another, s": ""}, 1, by_name_only=True)
def many(d, _):
    """With real shims, which takes a while: only when it is named."""
    with another(d) as fresh:
        fresh.ctr("image", "import", lighter.busybox_archive())
        names = [f"many{i}" for i in range(MANY)]
        seconds = sum(timed(run_detached, fresh, name) for name in names)
        listed, size = load(fresh, "call", 5, fresh.namespace, TASKS + "List", "")
        assert size > MANY * len("many0"), size
        metrics, _ = load(fresh, "call", 5, fresh.namespace, TASKS + "Metrics", "")
        time.sleep(7)
        figures = [listed, metrics, *smaps(fresh.pid), seconds]
        for name in names:
            fresh.ctr("task", "rm", "--force", name)
            fresh.ctr("container", "rm", name)
        return figures
