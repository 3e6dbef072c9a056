# SPDX-License-Identifier: Apache-2.0
"""The database: checked, copied, restored, rebuilt, refused."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import threading

import grpc
import pytest

import lighter
from lighter import BUILD, eventually, pb

DB = "io.containerd.internal.v1.db"
CONTENT = "io.containerd.content.v1.content"
OVERLAY = "io.containerd.snapshotter.v1.overlayfs"


@pytest.fixture
def daemon():
    d = lighter.Daemon()
    d.namespace = "default"
    try:
        yield d.start()
        assert d.process.poll() is not None or d.stop() == 0
    finally:
        d.cleanup()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Busybox, small, and its blobs."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "fs").mkdir()
    (folder / "fs/hello").write_text("hello")
    path = folder / "image.tar"
    digest = lighter.oci_archive(path, [lighter.tar_of(folder / "fs")], "docker.io/library/small:1")
    return path, digest


def command(d, *args, check=True):
    """lighterd's own commands, as an operator types them."""
    return lighter.run([BUILD / "lighterd", "--config", d.config, "--root", d.root, "--state", d.state, *args], check=check)


def checked(d, *flags):
    """The database check, which must be clean."""
    p = command(d, "check", "--json", *flags, check=False)
    assert p.stdout, p.stderr
    report = json.loads(p.stdout)
    assert p.returncode == 0 and report["clean"], report["findings"]
    return report


def leases(c):
    return {l.id for l in c.leases.List(c.messages("leases").ListRequest(), timeout=20).leases}


def make_lease(c, name):
    c.leases.Create(c.messages("leases").CreateRequest(id=name), timeout=20)


def images(c):
    return {i.name: i.target.digest for i in c.images.List(c.messages("images").ListImagesRequest(), timeout=20).images}


def blobs(c):
    m = c.messages("content")
    return {i.digest: dict(i.labels) for r in c.content.List(m.ListContentRequest(), timeout=20) for i in r.info}


# ------------------------------------------------------------------------------------------------------------ check
def test_check_beside_a_daemon_and_without_one(daemon, archive):
    daemon.cli("image", "import", archive[0])
    report = checked(daemon, "--digests")
    with contextlib.closing(daemon.client()) as c:
        n = len(blobs(c))
    assert n >= 3 and report["records"]["image"] == 1 and report["records"]["blob"] == n and report["blobs"] == n
    assert report["schema"] >= 2 and report["findings"] == []
    daemon.kill()
    assert checked(daemon)["records"] == report["records"]
    text = command(daemon, "check").stdout
    assert f"{n:8}  blob\n" in text and "0 errors, 0 leftovers" in text


def test_check_finds_a_blob_that_is_gone(daemon, archive):
    daemon.cli("image", "import", archive[0])
    path = daemon.root / CONTENT / "blobs" / archive[1].replace(":", "/")
    path.unlink()
    p = command(daemon, "check", check=False)
    assert p.returncode == 1 and f"error: blob {archive[1]} has a record and no file" in p.stdout
    (path.parent / ("0" * 64)).write_bytes(b"")
    assert json.loads(command(daemon, "check", "--json", check=False).stdout)["errors"] == 1


def test_check_while_everything_changes(daemon):
    """What is wrong for a moment only is not told."""
    done = threading.Event()

    def churn(n):
        m = lighter.Client.messages("content")
        with contextlib.closing(daemon.client(f"ns{n}")) as c:
            for i in range(100000):
                if done.is_set():
                    return i
                data = os.urandom(2000)
                list(c.content.Write(iter([m.WriteContentRequest(
                    action=m.COMMIT, ref=f"r{n}", data=data, total=len(data), expected=lighter.sha256(data))]), timeout=20))
                c.content.Delete(m.DeleteContentRequest(digest=lighter.sha256(data)), timeout=20)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        work = [pool.submit(churn, n) for n in range(4)]
        try:
            for _ in range(5):
                checked(daemon)
        finally:
            done.set()
        assert all(w.result() > 3 for w in work)


def test_check_without_a_database(tmp_path):
    d = lighter.Daemon()
    try:
        p = command(d, "check", check=False)
        assert p.returncode == 1 and str(d.root) in p.stderr
        d.root.mkdir()
        p = command(d, "check", check=False)
        assert p.returncode == 1 and f"{d.root}/{DB}: No such file" in p.stderr
        assert list(d.root.iterdir()) == []
    finally:
        d.cleanup()


# ----------------------------------------------------------------------------------------------------------- backup
def test_backup_under_load_and_restore(daemon, tmp_path):
    """A copy has everything that was acknowledged before it began, and can be put into the database's place."""
    done, acknowledged = threading.Event(), [0] * 4

    def create(n):
        with contextlib.closing(daemon.client()) as c:
            for i in range(100000):
                if done.is_set():
                    return
                make_lease(c, f"l{n}.{i}")
                acknowledged[n] = i + 1

    with concurrent.futures.ThreadPoolExecutor() as pool:
        work = [pool.submit(create, n) for n in range(4)]
        try:
            eventually("some leases", lambda: min(acknowledged) > 20)
            before = list(acknowledged)
            out = command(daemon, "backup", tmp_path / "copy").stdout
            after = list(acknowledged)
        finally:
            done.set()
        [w.result() for w in work]
    assert out == f"{tmp_path}/copy: {(tmp_path / 'copy').stat().st_size} bytes\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "copy"]

    # nothing is overwritten
    content = (tmp_path / "copy").read_bytes()
    p = command(daemon, "backup", tmp_path / "copy", check=False)
    assert p.returncode == 1 and "already exists" in p.stderr and (tmp_path / "copy").read_bytes() == content
    # in a folder it finds a name of its own
    command(daemon, "backup", tmp_path)
    [other] = set(tmp_path.iterdir()) - {tmp_path / "copy"}
    assert other.name.startswith("lighter-20") and other.suffix == ".mdb"

    # as docs/operations.md says
    daemon.stop()
    shutil.rmtree(daemon.root / DB)
    (daemon.root / DB).mkdir(mode=0o700)
    shutil.copyfile(tmp_path / "copy", daemon.root / DB / "data.mdb")
    checked(daemon)
    daemon.start()
    with contextlib.closing(daemon.client()) as c:
        there = leases(c)
        for n in range(4):
            ids = {int(l.partition(".")[2]) for l in there if l.startswith(f"l{n}.")}
            assert ids == set(range(len(ids))) and before[n] <= len(ids) <= after[n] + 1
        make_lease(c, "new")
    checked(daemon)


def test_backup_says_what_is_wrong(daemon, tmp_path):
    p = command(daemon, "backup", check=False)
    assert p.returncode == 1 and "one argument is needed" in p.stderr
    p = command(daemon, "backup", tmp_path / "none/copy", check=False)
    assert p.returncode == 1 and "No such file or directory" in p.stderr
    d = lighter.Daemon()
    try:
        d.root.mkdir()
        p = command(d, "backup", tmp_path / "copy", check=False)
        assert p.returncode == 1 and DB in p.stderr and list(tmp_path.iterdir()) == []
    finally:
        d.cleanup()


# ------------------------------------------------------------------------------------------------- a lost database
def test_a_lost_database_is_not_made_anew(daemon, archive):
    """Starting over it would throw away every blob and every snapshot."""
    daemon.cli("image", "import", archive[0])
    daemon.stop()
    shutil.rmtree(daemon.root / DB)
    before = sorted(str(p) for p in daemon.root.rglob("*"))
    daemon.start(wait=False)
    assert daemon.process.wait(10) == 1
    assert "data.mdb is not there" in daemon.log() and "lighterd repair" in daemon.log()
    assert [p for p in before if not os.path.exists(p)] == []
