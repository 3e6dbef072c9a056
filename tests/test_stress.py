# SPDX-License-Identifier: Apache-2.0
"""lighter-stress: containerd-stress's options and report, on our daemon and on Debian's containerd."""
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

import lighter

STRESS = lighter.BUILD / "lighter-stress"
KEYS = ["total", "failures", "seconds", "containersPerSecond", "secondsPerContainer", "execTotal", "execFailures"]


class Containerd(lighter.Daemon):
    """Debian's containerd 1.6, with nothing but what containers need."""

    def start(self, wait=True):
        self.config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(["containerd", "--config", self.config, "--root", self.root, "--state", self.state,
                                             "--address", self.address], stderr=log, stdout=log, cwd="/")
        lighter.eventually("its socket", lambda: os.path.exists(self.address))
        self.wait_ready()
        return self


@pytest.fixture(params=["lighterd", "containerd"])
def any_daemon(request):
    d = lighter.Daemon() if request.param == "lighterd" else Containerd()
    try:
        yield d.start()
        assert d.process.poll() is None and d.stop() == 0
    finally:
        d.cleanup()


def stress(d, *args, **kw):
    return lighter.run([STRESS, "--address", d.address, *args], **kw)


def nothing_left(d):
    assert d.ctr("-n", "stress", "c", "ls", "-q").stdout == "" and d.ctr("-n", "stress", "t", "ls", "-q").stdout == ""
    kinds = [l.split()[-1] for l in d.ctr("-n", "stress", "snapshot", "ls").stdout.splitlines()[1:]]
    assert set(kinds) <= {"Committed"}
    assert d.ctr("-n", "stress", "leases", "ls", "-q").stdout == ""


def test_image_with_execs(any_daemon, image):
    any_daemon.ctr("-n", "stress", "image", "import", image)
    p = stress(any_daemon, "--image", lighter.IMAGE, "-c", "3", "-d", "1.5s", "--exec", "--json")
    got = json.loads(p.stdout)
    assert list(got) == KEYS and p.stderr == ""
    assert got["total"] > 3 and got["execTotal"] > 3 and got["failures"] == got["execFailures"] == 0
    assert got["seconds"] >= 1.5
    assert got["containersPerSecond"] == pytest.approx(got["total"] / got["seconds"])
    assert got["secondsPerContainer"] == pytest.approx(got["seconds"] / got["total"])
    nothing_left(any_daemon)


def test_rootfs_and_text(any_daemon, rootfs):
    p = stress(any_daemon, "--rootfs", rootfs, "-d", "500ms")
    assert p.stdout == "" and "create/start/delete " in p.stderr and "failures=0" in p.stderr
    nothing_left(any_daemon)


def test_density(any_daemon, rootfs):
    got = json.loads(stress(any_daemon, "--rootfs", rootfs, "--json", "density", "--count", "3").stdout)
    assert list(got) == ["pss", "rss", "pssPerContainer", "rssPerContainer"]
    assert got["rss"] >= got["pss"] > 0 and got["rssPerContainer"] == got["rss"] // 3
    nothing_left(any_daemon)


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_nothing(shared_daemon, rootfs, signo):
    p = subprocess.Popen([STRESS, "-a", shared_daemon.address, "--rootfs", rootfs, "-c", "2", "--exec", "-d", "60s", "-j"],
                         stdout=subprocess.PIPE, text=True)
    lighter.eventually("containers", lambda: shared_daemon.ctr("-n", "stress", "t", "ls", "-q").stdout)
    p.send_signal(signo)
    got = json.loads(p.communicate(timeout=20)[0])
    assert p.returncode == 0 and 0 < got["seconds"] < 60 and got["failures"] == 0
    nothing_left(shared_daemon)


def test_what_was_killed_is_removed_by_the_next(shared_daemon, rootfs):
    p = subprocess.Popen([STRESS, "-a", shared_daemon.address, "--rootfs", rootfs, "-c", "2", "--exec"], stderr=subprocess.DEVNULL)
    lighter.eventually("containers", lambda: shared_daemon.ctr("-n", "stress", "t", "ls", "-q").stdout)
    p.kill()
    p.wait()
    stress(shared_daemon, "--rootfs", rootfs, "-d", "100ms")
    nothing_left(shared_daemon)


def test_failures_are_counted(shared_daemon, tmp_path):
    (tmp_path / "empty").mkdir()
    p = stress(shared_daemon, "--rootfs", tmp_path / "empty", "-d", "300ms", "--json", check=False)
    got = json.loads(p.stdout)
    assert p.returncode == 1 and got["failures"] == got["total"] > 0
    assert "executable file not found" in p.stderr and "level=debug" not in p.stderr
    nothing_left(shared_daemon)


def test_a_daemon_that_goes_away(daemon, rootfs):
    p = subprocess.Popen([STRESS, "-a", daemon.address, "--rootfs", rootfs, "-c", "4"], stderr=subprocess.PIPE, text=True)
    lighter.eventually("containers", lambda: daemon.ctr("-n", "stress", "c", "ls", "-q").stdout)
    daemon.kill()
    text = p.communicate(timeout=20)[1]
    assert p.returncode == 1 and text.splitlines()[-1].startswith("lighter-stress: ")


@pytest.mark.parametrize("args, text", [
    (("--image", "docker.io/library/none:1"), 'image "docker.io/library/none:1": not found in namespace "stress"'),
    (("--rootfs", "/none/at/all"), "/none/at/all"),
    (("--concurrent", "0"), "--concurrent must be from 1"),
    (("--duration", "soon"), "soon"),
    (("--cri",), "-cri"),
    (("--metrics", "127.0.0.1:1"), "-metrics"),
    (("--rootfs", "/", "--image", "x"), "do not go together"),
    (("density", "--count", "0"), "count cannot be less than one"),
])
def test_what_cannot_be(shared_daemon, args, text):
    p = stress(shared_daemon, *args, check=False)
    assert p.returncode == 1 and text in p.stderr + p.stdout


def test_help_and_version(shared_daemon):
    p = lighter.run([STRESS, "--help"])
    for flag in ("--address", "--concurrent", "--duration", "--exec", "--image", "--json", "--runtime", "--snapshotter", "density"):
        assert flag in p.stdout
    assert "--count" in lighter.run([STRESS, "density", "--help"]).stdout
    assert lighter.run([STRESS, "-v"]).stdout.startswith("lighter-stress ")
    assert lighter.run([STRESS, "--address", "/none/socket"], check=False).returncode == 1
