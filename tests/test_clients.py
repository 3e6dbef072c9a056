# SPDX-License-Identifier: Apache-2.0
"""containerd's own Go client, 1.6 and 2.3: its client test-suite, unchanged, with lighterd as the `containerd` it starts.

The suites are built from the sources that the Go module proxy (2.3) and Debian (1.6) have, into a cache outside of
the tree by `make clients`, and run in namespaces of their own with a registry of stand-in images (goclient/inside). What is expected to
fail, and why, is in goclient/expected.tsv; a test that begins to pass must be taken out there."""
import csv
import os
import re
import shutil

import pytest

import lighter
from gotools import CACHE, go, may_build, module_sources, need

HERE = lighter.TOP / "tests/goclient"
# The first waits for minutes for restarts that come from a plugin we do not have; the others move much data, for long:
# LIGHTER_CAMPAIGN=1 runs them too.
SLOW = "TestRestartMonitor|TestContainerExecLargeOutputWithTTY|TestRegressionIssue6429"
DEB_SRC = """Types: deb-src
URIs: http://deb.debian.org/{archive}
Suites: {suite}
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def debian_sources():
    """The same for what Debian's containerd is made of, with lists of packages of our own."""
    found = list(CACHE.glob("deb/containerd-1.6*/integration/client"))
    if found:
        return found[0]
    apt = CACHE / "deb"
    shutil.rmtree(apt, ignore_errors=True)
    (apt / "lists/partial").mkdir(parents=True)
    (apt / "a.sources").write_text(DEB_SRC.format(archive="debian", suite="bookworm") + "\n" +
                                   DEB_SRC.format(archive="debian-security", suite="bookworm-security"))
    options = ["-o", f"Dir::Etc::sourcelist={apt}/a.sources", "-o", "Dir::Etc::sourceparts=/dev/null",
               "-o", f"Dir::State::lists={apt}/lists", "-o", "APT::Sandbox::User=root"]
    need(lighter.run(["apt-get", *options, "update"], check=False, timeout=300, cwd=apt), "Debian's list of sources")
    need(lighter.run(["apt-get", *options, "source", "--download-only", "containerd"], check=False, timeout=300, cwd=apt),
         "Debian's sources of containerd")
    lighter.run(["tar", "xf", next(apt.glob("containerd_*.orig.tar.xz"))], cwd=apt)
    return next(apt.glob("containerd-1.6*/integration/client"))


def build(suite):
    """The suite's test binary, and beside it a runc that fails where one of the tests wants it to."""
    out = CACHE / f"bin-{suite}"
    exe = out / "client.test"
    if exe.exists():
        return exe
    may_build()
    src = module_sources() / "integration/client" if suite == "2.3" else debian_sources()
    out.mkdir(exist_ok=True)
    if suite == "2.3":
        need(go("build", "-p", "2", "-o", out / "runc-fp", "./integration/failpoint/cmd/runc-fp", cwd=src.parent.parent),
             "runc-fp cannot be built")
    need(go("test", "-c", "-p", "2", "-o", exe, ".", cwd=src), "the client suite cannot be built")
    return exe


@pytest.mark.parametrize("suite", ["1.6", "2.3"])
def test_client_suite(suite):
    exe = build(suite)
    skip = "TestRestartMonitor" if os.environ.get("LIGHTER_CAMPAIGN") else SLOW
    p = lighter.run(["unshare", "-mnpf", "--mount-proc", "--kill-child", HERE / "inside", "lighterd", exe, "-test.skip", skip,
                     "-test.parallel", "8", "-test.timeout", "5m"], check=False, timeout=400)
    results = re.findall(r"^ *--- (PASS|FAIL|SKIP): (\S+)", p.stdout, re.M)
    assert sum(kind == "PASS" and "/" not in name for kind, name in results) >= 80, p.stdout[-5000:] + p.stderr[-2000:]
    assert "panic: " not in p.stdout, p.stdout[p.stdout.index("panic: "):][:5000]
    with open(HERE / "expected.tsv") as f:
        expected = {row["test"]: row["when"] for row in csv.DictReader(f, delimiter="\t") if row["suite"] == suite}
    failed = {name for kind, name in results if kind == "FAIL"}
    # those that say what it was: a test with failed parts fails for them
    failed = {name for name in failed if not any(other.startswith(name + "/") for other in failed)}
    known = {name for name in failed if any(name == e or name.startswith(e + "/") for e in expected)}
    for name in sorted(failed - known):  # the last lines that each has written
        at = p.stdout.index(f"--- FAIL: {name} ")
        print(p.stdout[max(0, at - 2500):at + 300])
    assert failed == known
    # what has begun to pass goes out of the table
    assert not {e for e, when in expected.items() if when == "always" and not any(name == e or name.startswith(e + "/") for name in known)}
