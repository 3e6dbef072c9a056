# SPDX-License-Identifier: Apache-2.0
"""The database: checked, copied, restored, rebuilt, refused."""
import concurrent.futures
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest

import lighter
from lighter import BUILD, eventually

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


def test_check_of_a_file_that_kills_its_reader(daemon):
    with contextlib.closing(daemon.client()) as c:
        for i in range(100):  # more than a page
            make_lease(c, f"{i}-{'x' * 200}")
    daemon.stop()
    os.truncate(daemon.root / DB / "data.mdb", 8192)  # what describes the rest
    p = command(daemon, "check", check=False)
    assert p.returncode == 1 and "the database cannot be read" in p.stderr
    daemon.start(wait=False)
    eventually("the refusal", lambda: "data.mdb is cut short: 8192 bytes of " in daemon.log())


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

    # as docs/database.md says
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
    assert "data.mdb is not there or empty" in daemon.log() and "lighterd repair" in daemon.log()
    assert [p for p in before if not os.path.exists(p)] == []


# ----------------------------------------------------------------------------------------------------------- repair
def lose_database(d):
    d.stop()
    shutil.rmtree(d.root / DB)


def test_repair_names_content_again(daemon, archive, tmp_path):
    """Blobs get records and labels, images their names where an export has told them, and nothing is collected."""
    daemon.cli("image", "import", archive[0])
    layer = tmp_path / "fs"
    layer.mkdir()
    (layer / "other").write_text("other")
    other = lighter.oci_archive(tmp_path / "other.tar", [lighter.tar_of(layer)], "docker.io/library/other:2")
    daemon.cli("image", "import", tmp_path / "other.tar")
    with contextlib.closing(daemon.client()) as c:
        m = c.messages("content")
        for digest in blobs(c):  # of the second image nobody remembers the name
            if other.encode() in read(c, digest) and digest != other:
                c.content.Delete(m.DeleteContentRequest(digest=digest))
        make_writing = iter([m.WriteContentRequest(action=m.WRITE, ref="half", data=b"begun", total=100)])
        list(c.content.Write(make_writing, timeout=20))
        before = blobs(c)
    folders = sorted(p.name for p in (daemon.root / OVERLAY / "snapshots").iterdir())
    assert folders
    lose_database(daemon)
    (daemon.root / CONTENT / "blobs/sha256" / ("0" * 64)).write_bytes(b"broken")

    listing = sorted(str(p) for p in daemon.root.rglob("*"))
    out = command(daemon, "repair", "--dry-run").stdout
    assert "would be: " in out and "2 images, 1 of them without a name" in out
    assert sorted(str(p) for p in daemon.root.rglob("*")) == listing
    p = command(daemon, "repair")
    assert "image docker.io/library/small:1" in p.stderr and "2 images, 1 of them without a name" in p.stdout
    assert "1 broken blobs" in p.stdout and f"{len(folders)} folders of snapshots" in p.stdout
    [lost] = (daemon.root / OVERLAY).glob("lost-*")
    assert sorted(p.name for p in lost.iterdir()) == folders
    [broken] = (daemon.root / CONTENT).glob("broken-*")
    assert (broken / "sha256" / ("0" * 64)).read_bytes() == b"broken"
    checked(daemon, "--digests")
    assert command(daemon, "repair").stdout == "nothing to repair\n"

    daemon.start()
    with contextlib.closing(daemon.client()) as c:
        assert images(c) == {"docker.io/library/small:1": archive[1], f"recovered@{other}": other}
        [lease] = leases(c)
        assert lease.startswith("repair-20")
        c.images.Create(c.messages("images").CreateImageRequest(image={"name": "x", "target": {
            "digest": other, "size": 1, "media_type": "t"}}))
        c.images.Delete(c.messages("images").DeleteImageRequest(name="x", sync=True))  # a collection in between
        after = blobs(c)
        assert set(after) == set(before)
        children = {k: v for k, v in after[other].items() if k.startswith("containerd.io/gc.ref.content.")}
        assert set(children) == {"containerd.io/gc.ref.content.config", "containerd.io/gc.ref.content.l.0"}
        assert children == {k: v for k, v in before[other].items() if k in children}
        m = c.messages("content")
        assert [s.ref for s in c.content.ListStatuses(m.ListStatusesRequest()).statuses] == ["half"]
        c.leases.Delete(c.messages("leases").DeleteRequest(id=lease, sync=True))
        assert archive[1] in blobs(c) and other in blobs(c)
    checked(daemon)


def read(c, digest):
    m = c.messages("content")
    return b"".join(r.data for r in c.content.Read(m.ReadContentRequest(digest=digest), timeout=20))


def test_repair_into_a_namespace(daemon, archive):
    daemon.cli("image", "import", archive[0])
    lose_database(daemon)
    command(daemon, "repair", "--namespace", "k8s.io")
    daemon.start()
    with contextlib.closing(daemon.client("k8s.io")) as c:
        assert images(c) == {"docker.io/library/small:1": archive[1]}
    with contextlib.closing(daemon.client()) as c:
        assert images(c) == {} and blobs(c) == {}


def break_pages(path, rnd):
    """Overwrites a page in the middle, but neither of the two that begin the file."""
    size = path.stat().st_size
    with open(path, "r+b") as f:
        f.seek(rnd.randrange(2, max(3, size // 4096)) * 4096)
        f.write(rnd.randbytes(4096))


def test_repair_of_a_broken_file(daemon, archive, tmp_path):
    """Whatever is broken in it, there is a database afterwards, and what was in the old one is still there to be looked at."""
    daemon.cli("image", "import", archive[0])
    with contextlib.closing(daemon.client()) as c:
        for i in range(300):
            make_lease(c, f"lease-{i:04}")
        before = set(blobs(c))
    daemon.stop()
    data = daemon.root / DB / "data.mdb"
    whole = data.read_bytes()
    used = len(whole.rstrip(b"\0"))
    kept = []
    for seed in range(12):
        for old in daemon.root.glob(f"{DB}*"):
            shutil.rmtree(old)
        (daemon.root / DB).mkdir(mode=0o700)
        data.write_bytes(whole[:used + 4096])
        if seed == 0:
            data.write_bytes(whole[:5000])
        elif seed == 1:
            data.write_bytes(b"")
        elif seed == 2:
            data.write_bytes(random.Random(1).randbytes(100000))
        else:
            break_pages(data, random.Random(seed))
        as_it_was = data.read_bytes()
        p = command(daemon, "repair")
        if p.stdout == "nothing to repair\n":  # a page that was free
            kept.append(300)
            continue
        [old] = daemon.root.glob(f"{DB}.*")
        assert (old / "data.mdb").read_bytes() == as_it_was and str(old) in p.stdout
        report = checked(daemon)
        assert report["records"]["blob"] >= len(before)
        kept.append(report["records"]["lease"])
    assert kept[:3] == [1, 1, 1]  # nothing was left but what repair has made
    assert max(kept[3:]) > 100    # of a page that broke the others are kept
    daemon.start()
    with contextlib.closing(daemon.client()) as c:
        assert set(blobs(c)) == before and archive[1] in images(c).values()


def test_repair_killed_at_any_moment(daemon, archive):
    """It can always be run again, and nothing that it has moved is lost."""
    rnd = random.Random(5)
    daemon.cli("image", "import", archive[0])
    with contextlib.closing(daemon.client()) as c:
        before = set(blobs(c))
    daemon.stop()
    folders = {p.name for p in (daemon.root / OVERLAY / "snapshots").iterdir()}
    shutil.rmtree(daemon.root / DB)
    argv = [BUILD / "lighterd", "--config", daemon.config, "--root", daemon.root, "--state", daemon.state, "repair"]
    for _ in range(12):
        p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            p.wait(rnd.uniform(0.005, 0.2))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        if rnd.random() < 0.5 and (daemon.root / DB).exists():
            shutil.rmtree(daemon.root / DB)
        for lost in (daemon.root / OVERLAY).glob("lost-*/*"):
            folders.discard(lost.name)
        there = {p.name for p in (daemon.root / OVERLAY / "snapshots").iterdir()}
        assert folders <= there
        time.sleep(0.1)
    if (daemon.root / DB).exists():
        shutil.rmtree(daemon.root / DB)
    time.sleep(1)  # names have seconds
    command(daemon, "repair")
    checked(daemon, "--digests")
    daemon.start()
    with contextlib.closing(daemon.client()) as c:
        assert set(blobs(c)) == before and images(c) == {"docker.io/library/small:1": archive[1]}


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_repair_whose_last_sync_fails(daemon, archive):
    """Once the new database has the old one's place, the old one has the new one's name: it is not tidied away."""
    daemon.cli("image", "import", archive[0])
    daemon.stop()
    folder = os.stat(daemon.root / DB).st_ino
    argv = [BUILD / "lighterd", "--config", daemon.config, "--root", daemon.root, "--state", daemon.state, "repair", "--anew"]
    p = lighter.run(["strace", "-f", "-qq", "-o", "/dev/null", "-P", daemon.root, "-e", "inject=fsync:error=EIO", *argv],
                    check=False, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
    assert p.returncode != 0 and "fsync" in p.stderr, p.stderr
    assert os.stat(daemon.root / DB).st_ino != folder
    assert folder in [p.stat().st_ino for p in daemon.root.glob(DB + ".*")]


def test_repair_drops_what_points_nowhere(daemon, archive):
    """A blob whose file is gone is forgotten, so that it can be fetched again; everything else stays as it was."""
    daemon.cli("image", "import", archive[0])
    with contextlib.closing(daemon.client()) as c:
        layer = next(d for d in blobs(c) if read(c, d)[:2] == b"\x1f\x8b")
        make_lease(c, "mine")
        names = images(c)
    daemon.stop()
    (daemon.root / CONTENT / "blobs" / layer.replace(":", "/")).unlink()
    assert command(daemon, "check", check=False).returncode == 1
    assert "1 dropped" in command(daemon, "repair").stdout
    checked(daemon)
    daemon.start()
    with contextlib.closing(daemon.client()) as c:
        assert layer not in blobs(c) and images(c) == names and leases(c) == {"mine"}
    daemon.cli("image", "import", archive[0])
    with contextlib.closing(daemon.client()) as c:
        assert layer in blobs(c)


def test_repair_refuses_beside_a_daemon(daemon):
    p = command(daemon, "repair", check=False)
    assert p.returncode == 1 and f"in use by the lighterd with pid {daemon.pid}" in p.stderr
    p = command(daemon, "repair", "--namespace", "no/good", check=False)
    assert p.returncode == 1 and "no/good" in p.stderr
    p = command(daemon, "repair", "quickly", check=False)
    assert p.returncode == 1 and 'unexpected argument "quickly"' in p.stderr


# --------------------------------------------------------------------------------------------------- newer versions
def test_a_newer_database_is_refused(daemon):
    make_lease(daemon.client(), "mine")
    daemon.stop()
    data = daemon.root / DB / "data.mdb"
    content = data.read_bytes()
    # the record "version": table, namespace 0, name; its value follows
    assert content.count(b"version\0\0\0\2") > 0
    data.write_bytes(content.replace(b"version\0\0\0\2", b"version\0\0\0\x63"))
    before = data.read_bytes()
    daemon.start(wait=False)
    eventually("the refusal", lambda: "was written by a newer version" in daemon.log())
    assert f"{daemon.root}/{DB}" in daemon.log() and "schema 99" in daemon.log()
    daemon.stop()
    p = command(daemon, "repair", check=False)
    assert p.returncode == 1 and "schema 99" in p.stderr and "--anew" in p.stderr
    assert data.read_bytes()[:len(before)] == before


# ---------------------------------------------------------------------------------------------------------- figures
def report(d):
    """What the log says after SIGUSR1."""
    before = d.log().count("report of the database")
    os.kill(d.pid, signal.SIGUSR1)
    eventually("the report", lambda: d.log().count("report of the database") > before)
    line = [l for l in d.log().splitlines() if "report of the database" in l][-1]
    return {k: int(v) for k, v in (w.split("=") for w in line.split() if w.partition("=")[2].isdigit())}


def test_commits_and_flushes_are_reported(daemon):
    """Each create is one commit; many of them together share a flush."""
    first = report(daemon)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        clients = [daemon.client() for _ in range(16)]
        list(pool.map(lambda n: [make_lease(clients[n], f"l{n}.{i}") for i in range(20)], range(16)))
    last = report(daemon)
    commits, flushes = (last[k] - first[k] for k in ("commits", "flushes"))
    assert 320 <= commits < 420 and 0 < flushes <= commits
    assert last["failed"] == last["reopens"] == 0 and 0 < last["used_bytes"] < last["map_bytes"]
