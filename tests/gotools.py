# SPDX-License-Identifier: Apache-2.0
"""Building programs of others' from the sources that the Go module proxy has, into a cache outside of the tree."""
import json
import os
import pathlib
import shutil

import pytest

import lighter

CACHE = pathlib.Path(os.environ.get("LIGHTER_CACHE") or pathlib.Path.home() / ".cache/lighter-tests")
MODULE, VERSION = "github.com/containerd/containerd/v2", "v2.3.4"


def go(*args, **kw):
    env = dict(os.environ, GOPATH=str(CACHE / "go"), GOCACHE=str(CACHE / "build"), GOFLAGS="-modcacherw -mod=mod")
    return lighter.run([shutil.which("go"), *args], check=False, timeout=1200, env=env, **kw)


def need(p, what):
    """Skips the test with the last line of what a program said."""
    if p.returncode:
        pytest.skip(f"{what}: {(p.stderr or p.stdout).strip().splitlines()[-1]}")
    return p


def may_build():
    if not os.environ.get("LIGHTER_CLIENTS"):
        pytest.skip("not built here: `make clients` builds and runs it, which takes minutes")
    if not shutil.which("go"):
        pytest.skip("no Go toolchain on this machine")
    CACHE.mkdir(parents=True, exist_ok=True)


def module_sources():
    """A copy of containerd's module that may be built in."""
    src = CACHE / ("src-" + VERSION)
    if not src.exists():
        found = need(go("mod", "download", "-json", f"{MODULE}@{VERSION}"), "the Go module proxy does not give the sources")
        shutil.copytree(json.loads(found.stdout)["Dir"], src)
    return src


def newest_ctr():
    exe = CACHE / f"ctr-{VERSION}"
    if not exe.exists():
        may_build()
        need(go("build", "-p", "2", "-ldflags", f"-X {MODULE}/version.Version={VERSION[1:]}", "-o", exe, "./cmd/ctr",
                cwd=module_sources()), "ctr cannot be built")
    return exe
