# SPDX-License-Identifier: Apache-2.0
"""A Go program on containerd's own client library, unchanged, against lighterd."""
import os
import shutil

import pytest

import lighter


@pytest.fixture(scope="module")
def goclient(tmp_path_factory):
    go = shutil.which("go")
    if not go:
        pytest.skip("no Go toolchain on this machine")
    exe = tmp_path_factory.mktemp("go") / "goclient"
    lighter.run([go, "build", "-o", exe, "."], cwd=lighter.TOP / "tests/goclient", timeout=600,
                env=dict(os.environ, GOFLAGS="-mod=readonly"))
    return exe


def test_container_life_over_the_client_library(daemon, image, goclient):
    daemon.ctr("image", "import", image)
    got = lighter.run([goclient, daemon.address, "default", lighter.IMAGE]).stdout.splitlines()
    assert got[0].startswith("version 2.3.4")
    assert got[1:] == ["status running", "exec exit 7", "exit 137", "containers 0"]
    assert daemon.ctr("snapshot", "ls").stdout.count("from-go") == 0
