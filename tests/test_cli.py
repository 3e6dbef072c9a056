# SPDX-License-Identifier: Apache-2.0
"""The command line, against lighterd and, where it is installed, against Debian's containerd: what it prints, what it
exits with, what it leaves behind. CLI_DAEMONS=containerd chooses one of them."""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

import lighter
from lighter import BUILD, IMAGE, Terminal, eventually, run

DAEMONS = os.environ.get("CLI_DAEMONS", "lighterd,containerd").split(",")


class Containerd:
    """Debian's containerd with folders of its own; as much of lighter.Daemon as these tests need."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="lt-ref-"))
        self.address = str(self.dir / "c.sock")
        config = self.dir / "config.toml"
        config.write_text(f'version = 2\nroot = "{self.dir}/root"\nstate = "{self.dir}/state"\n'
                          'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
                          f'[grpc]\naddress = "{self.address}"\n'
                          # what no lease holds would be collected under the feet of a test
                          '[plugins."io.containerd.gc.v1.scheduler"]\nmutation_threshold = 1000000\nstartup_delay = "1h"\n')
        self.log_file = open(self.dir / "log", "wb")
        self.process = subprocess.Popen(["containerd", "--config", config], stderr=self.log_file, stdout=self.log_file)
        eventually("containerd answering", lambda: run(["ctr", "-a", self.address, "version"], check=False,
                                                       timeout=20).returncode == 0, 20)

    def log(self):
        return (self.dir / "log").read_text(errors="replace")

    def cleanup(self):
        self.process.terminate()
        self.process.wait(20)
        self.log_file.close()
        for p in pathlib.Path("/proc").glob("[0-9]*"):     # shims that a failed test has left
            with contextlib.suppress(OSError):
                argv = (p / "cmdline").read_bytes().split(b"\0")
                if b"shim" in argv[0] and self.address.encode() in argv:
                    for pid in [*lighter.children_of(p.name), int(p.name)]:
                        os.kill(pid, signal.SIGKILL)
        for line in reversed(open("/proc/mounts").read().splitlines()):
            if str(self.dir) in line.split()[1]:
                subprocess.run(["umount", "-l", line.split()[1]], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture(scope="module", params=DAEMONS)
def server(request):
    if request.param == "containerd" and not shutil.which("containerd"):
        pytest.skip("Debian's containerd is not installed")
    d = Containerd() if request.param == "containerd" else lighter.Daemon().start()
    d.ns = "cli-" + os.urandom(4).hex()
    try:
        yield d
    finally:
        d.cleanup()


class Cli:
    """`lighter` with the flags that every test needs."""

    def __init__(self, server, *flags):
        self.server = server
        # runc's state folder is one for the machine: a namespace of our own keeps our names apart
        self.ns = server.ns
        self.fifos = tempfile.mkdtemp(prefix="lt-fifo-")
        self.flags = [str(BUILD / "lighter"), "--address", server.address, "-n", self.ns, *flags]

    def argv(self, *args):
        args = list(args)
        for at, words in enumerate((("run",), ("tasks", "exec"), ("tasks", "start"))):
            if tuple(args[:len(words)]) == words:
                args[len(words):len(words)] = ["--fifo-dir", self.fifos]
        return [*self.flags, *map(str, args)]

    def __call__(self, *args, **kw):
        return run(self.argv(*args), **kw)

    def fails(self, *args, code=1, **kw):
        p = self(*args, check=False, **kw)
        assert p.returncode == code, (p.returncode, p.stdout, p.stderr)
        return p.stderr

    def popen(self, *args, **kw):
        return subprocess.Popen(self.argv(*args), **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                                                     "stdin": subprocess.DEVNULL, **kw})

    def terminal(self, *args, **kw):
        return Terminal(self.argv(*args), **kw)

    def clean(self):
        for c in self("containers", "ls", "-q").stdout.split():
            self("tasks", "rm", "-f", c, check=False)
            self("containers", "rm", c, check=False)

    def left(self):
        """What a test must not leave: fifos, containers, leases."""
        return [os.listdir(self.fifos), self("containers", "ls", "-q").stdout, self("leases", "ls", "-q").stdout]


@pytest.fixture
def bare(server):
    """The command line without an image."""
    cli = Cli(server)
    yield cli
    cli.clean()
    shutil.rmtree(cli.fifos, ignore_errors=True)


@pytest.fixture
def cli(bare, image):
    """The command line, and busybox is imported."""
    if IMAGE not in bare("images", "ls", "-q").stdout:
        bare("images", "import", image)
    return bare


def lines(text):
    return [line.rstrip() for line in text.splitlines()]


# ------------------------------------------------------------------------------------------------ grammar, no daemon
def lone(*args, **kw):
    return run([BUILD / "lighter", *args], check=False, **kw)


def test_no_daemon_says_what_to_do():
    p = lone("--address", "/nonexistent/l.sock", "version")
    assert p.returncode == 1
    assert "cannot access socket /nonexistent/l.sock" in p.stderr and "lighterd" in p.stderr
    assert "LIGHTER_ADDRESS" in p.stderr


def test_address_from_the_environment():
    env = {**os.environ, "LIGHTER_ADDRESS": "/x/first", "CONTAINERD_ADDRESS": "/x/second"}
    assert "/x/first" in lone("info", env=env).stderr
    del env["LIGHTER_ADDRESS"]
    assert "/x/second" in lone("info", env=env).stderr
    assert "/x/third" in lone("-a", "/x/third", "info", env=env).stderr
    assert "not an absolute path" in lone("-a", "x", "info").stderr


def test_unknown_things_suggest():
    p = lone("rnu")
    assert p.returncode == 3 and 'did you mean "lighter run"?' in p.stderr
    assert "did you mean --memory-limit?" in lone("run", "--memory-limt", "1", "i", "c").stderr
    assert 'stands before "run"' in lone("run", "--namespace", "x", "i", "c").stderr
    assert 'invalid value "many"' in lone("run", "--cpus", "many", "i", "c").stderr


def test_help_everywhere():
    top = lone("--help")
    assert top.returncode == 0 and "containers,c,container" in top.stdout
    for command in ("run", "images import", "tasks exec", "snapshots ls"):
        text = lone(*command.split(), "--help").stdout
        assert "USAGE:" in text and lone("help", *command.split()).stdout == text
    assert "$LIGHTER_ADDRESS" in top.stdout and lone().stdout == top.stdout


def test_what_is_not_there_points_to_the_list(bare):
    for group, *rest in (("tasks", "kill", "nosuch"), ("containers", "info", "nosuch"), ("containers", "rm", "nosuch"),
                         ("snapshots", "info", "nosuch"), ("content", "get", "sha256:" + "0" * 64), ("leases", "rm", "nosuch")):
        err = bare.fails(group, *rest)
        assert "not found" in err and f"`lighter {group} ls` lists what there is" in err, err


def test_generated_texts(tmp_path):
    assert ".SH COMMANDS" in lone("gen", "man").stdout
    script = tmp_path / "l.bash"
    script.write_text(lone("gen", "bash").stdout)
    ask = f"source {script}; COMP_WORDS=(lighter c l); COMP_CWORD=2; _lighter; echo ${{COMPREPLY[@]}}"
    assert run(["bash", "-c", ask]).stdout.split() == ["list", "label"]
    ask = f"source {script}; COMP_WORDS=(lighter run --r); COMP_CWORD=2; _lighter; echo ${{COMPREPLY[@]}}"
    assert {"--rm", "--rootfs", "--runtime"} <= set(run(["bash", "-c", ask]).stdout.split())
    assert "#compdef lighter" in lone("gen", "zsh").stdout and "complete -c lighter" in lone("gen", "fish").stdout


def test_wrong_arguments_need_no_daemon():
    for args, text in ((("run", "--rm", "-d", "i", "c"), "flags --detach and --rm cannot be specified together"),
                       (("containers", "rm"), "must specify at least one container to delete"),
                       (("tasks", "kill", "--all", "--exec-id", "x", "c"), "not both"),
                       (("run",), "image ref must be provided")):
        assert text in lone("-a", "/nonexistent", *args).stderr


# ---------------------------------------------------------------------------------------------------------- plumbing
def test_version_and_info(bare):
    out = bare("version").stdout
    assert out.startswith("Client:\n  Version:  ") and "\nServer:\n  Version:  " in out
    uuid = json.loads(bare("info").stdout)["server"]["uuid"]
    assert f"UUID: {uuid}" in out


def test_namespaces(bare):
    bare("namespaces", "create", "n1", "a=b", "c=d")
    assert ["n1", "a=b,c=d"] in [line.split() for line in lines(bare("ns", "ls").stdout)]
    assert "already exists" in bare.fails("namespaces", "create", "n1")
    bare("namespaces", "label", "n1", "a=", "e=f")
    assert ["n1", "c=d,e=f"] in [line.split() for line in lines(bare("ns", "ls").stdout)]
    assert bare("namespaces", "rm", "n1", "not-there").stdout.split() == ["n1", "not-there"]
    assert "n1" not in bare("ns", "ls", "-q").stdout.split()


def test_leases(bare):
    assert bare("leases", "create", "--id", "l1", "k=v").stdout == "l1\n"
    made_up = bare("leases", "create", "--expires", "1h").stdout.strip()
    table = lines(bare("leases", "ls").stdout)
    assert re.match(r"ID +CREATED AT +LABELS", table[0])
    row = next(r for r in table if r.startswith("l1 "))
    assert "containerd.io/gc.expire=" in row and "k=v" in row
    assert bare("leases", "rm", "l1", made_up).stdout.split() == ["l1", made_up]
    assert bare("leases", "ls", "-q").stdout == ""
    assert "not found" in bare.fails("leases", "rm", "l1")


def test_plugins(bare):
    table = lines(bare("plugins", "ls").stdout)
    assert re.match(r"TYPE +ID +PLATFORMS +STATUS", table[0])
    assert any(re.match(r"io\.containerd\.content\.v1 +content +- +ok", r) for r in table)
    assert "overlayfs" in bare("plugins", "ls", "-q").stdout.split()
    assert re.search(r"Type: +io\.containerd\.content\.v1\nID: +content", bare("plugins", "ls", "-d").stdout)


def test_content_round_trip(bare):
    data = os.urandom(3_000_000)
    digest = lighter.sha256(data)
    bare("content", "ingest", "--expected-size", len(data), "--expected-digest", digest, "ref1", stdin=data, text=False)
    assert bare("content", "get", digest, text=False).stdout == data
    row = next(r for r in bare("content", "ls").stdout.splitlines() if digest in r)
    assert row.split("\t")[1] == "3MB"
    bare("content", "ingest", "ref2", stdin=data, text=False)          # known already: fine
    assert bare("content", "label", digest, "k=v").stdout == "k=v\n"
    assert bare("content", "rm", digest).stdout == digest + "\n"
    assert "not found" in bare.fails("content", "get", digest)


def test_content_of_another_digest_is_refused(bare):
    wrong = "sha256:" + "0" * 64
    p = bare("content", "ingest", "--expected-digest", wrong, "ref3", stdin=b"data", text=False, check=False)
    assert p.returncode == 1 and b"unexpected commit digest" in p.stderr
    assert wrong not in bare("content", "ls", "-q").stdout


def test_snapshots(bare):
    sn = ("snapshots", "--snapshotter", "native")
    bare(*sn, "prepare", "s1")
    bare(*sn, "commit", "base", "s1")
    mounts = bare(*sn, "prepare", "--target", "/mnt/x", "s2", "base").stdout
    assert mounts.startswith("mount -t bind ") and " /mnt/x -o " in mounts
    assert bare(*sn, "mounts", "/mnt/x", "s2").stdout == mounts
    bare(*sn, "view", "v1", "base")
    table = lines(bare(*sn, "ls").stdout)
    assert re.match(r"KEY +PARENT +KIND", table[0])
    assert {tuple(r.split()) for r in table[1:]} >= {("s2", "base", "Active"), ("v1", "base", "View")}
    assert bare(*sn, "tree").stdout.startswith(" base\n  \\_ ")
    info = json.loads(bare(*sn, "info", "s2").stdout)
    assert info["Kind"] == "Active" and info["Parent"] == "base"
    assert bare(*sn, "label", "s2", "a=b").stdout.startswith("a=b,containerd.io/gc.root=")
    assert re.search(r"^s2 +\S+( \S+)? +\d+", bare(*sn, "usage").stdout, re.M)
    assert "precondition" in bare.fails(*sn, "rm", "base")
    bare(*sn, "rm", "s2", "v1")
    bare(*sn, "rm", "base")
    assert "does not exist: not found" in bare.fails(*sn, "info", "s2")


# ------------------------------------------------------------------------------------------------------------ images
def test_import_list_tag_label_remove(bare, image, tmp_path):
    name = "docker.io/library/imp:1"
    layer = lighter.tar_of(lighter.busybox_rootfs(tmp_path / "r"))
    digest = lighter.oci_archive(tmp_path / "i.tar", [layer], name=name)
    out = bare("images", "import", "--label", "team=x", tmp_path / "i.tar").stdout
    assert out == f"unpacking {name} ({digest})...done\n"
    row = next(r for r in bare("images", "ls").stdout.splitlines() if r.startswith(name)).split()
    assert row[1:3] == ["application/vnd.oci.image.manifest.v1+json", digest]
    assert row[4:] == ["MiB", "linux/amd64", "team=x"]
    assert bare("images", "tag", name, "docker.io/library/imp:2").stdout == "docker.io/library/imp:2\n"
    assert "already exists" in bare.fails("images", "tag", "--local", name, "docker.io/library/imp:2")
    bare("images", "tag", "--local", "--force", name, "docker.io/library/imp:2")
    assert "not a valid repository/tag" in bare.fails("images", "tag", name, "Foo BAR")
    assert bare("images", "label", name, "team=", "a=b").stdout == "a=b\n"
    manifest = next(r for r in bare("content", "ls").stdout.splitlines() if r.startswith(digest))
    assert "containerd.io/gc.ref.content.config=" in manifest and "containerd.io/gc.ref.content.l.0=" in manifest
    p = bare("images", "rm", name, "docker.io/library/imp:2", "not/there")
    assert p.stdout.split() == [name, "docker.io/library/imp:2"] and "not found" in p.stderr
    assert bare("leases", "ls", "-q").stdout == ""


def test_import_keeps_nothing_of_rubbish(bare, tmp_path):
    (tmp_path / "rubbish").write_bytes(os.urandom(100_000))
    assert bare.fails("images", "import", tmp_path / "rubbish").startswith("lighter: cannot import")
    assert "No such file" in bare.fails("images", "import", "/nonexistent.tar")
    assert bare("leases", "ls", "-q").stdout == ""


def test_import_from_standard_input_without_unpack(bare, tmp_path):
    name = "docker.io/library/piped:1"
    lighter.oci_archive(tmp_path / "i.tar", [lighter.tar_of(lighter.busybox_rootfs(tmp_path / "r"))], name=name)
    data = (tmp_path / "i.tar").read_bytes()
    assert bare("images", "import", "--no-unpack", "-", stdin=data, text=False).stdout.decode() == name + "\n"
    assert bare("run", "--rm", name, "late", "echo", "unpacked").stdout == "unpacked\n"   # run does what import left
    bare("images", "rm", name)


# --------------------------------------------------------------------------------------------------------------- run
def test_run_output_and_exit_code(cli):
    p = cli("run", "--rm", IMAGE, "r1", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (p.returncode, p.stdout, p.stderr) == (7, "out\n", "err\n")
    assert cli.left() == [[], "", ""]


def test_run_keeps_the_container_without_rm(cli):
    cli("run", IMAGE, "r2", "true")
    assert cli("containers", "ls", "-q").stdout == "r2\n"
    assert cli("tasks", "ls", "-q").stdout == "" and os.listdir(cli.fifos) == []
    cli("containers", "rm", "r2")
    assert "not found" in cli.fails("containers", "info", "r2")


def test_run_stdin_whole_and_early_end(cli):
    data = os.urandom(2_000_000)
    got = cli("run", "--rm", IMAGE, "r3", "md5sum", stdin=data, text=False).stdout
    assert got.split()[0].decode() == hashlib.md5(data).hexdigest()
    # standard input that has ended before there is a task; ctr hangs here
    assert cli("run", "--rm", IMAGE, "r3", "cat", stdin="x\n").stdout == "x\n"
    assert cli("run", "--rm", IMAGE, "r3", "cat").stdout == ""


def test_run_much_output(cli):
    p = cli("run", "--rm", IMAGE, "r4", "sh", "-c", "head -c 8000000 /dev/zero; echo end", text=False)
    assert len(p.stdout) == 8_000_004 and p.stdout.endswith(b"end\n")


def test_run_output_nobody_reads(cli):
    shell = " ".join(cli.argv("run", "--rm", IMAGE, "r5", "yes")) + " | head -1"
    assert run(["sh", "-c", shell], timeout=30).stdout == "y\n"
    assert cli.left() == [[], "", ""]


def test_run_forwards_signals(cli):
    p = cli.popen("run", "--rm", IMAGE, "r6", "sh", "-c",
                  "trap 'echo got; exit 9' TERM; trap 'echo int' INT; echo up; while :; do sleep 0.1; done")
    assert p.stdout.readline() == b"up\n"
    p.send_signal(signal.SIGINT)
    assert p.stdout.readline() == b"int\n"
    p.send_signal(signal.SIGTERM)
    assert p.communicate(timeout=20)[0] == b"got\n" and p.returncode == 9
    assert cli.left() == [[], "", ""]


def test_run_environment_user_cwd(cli, tmp_path):
    (tmp_path / "env").write_text("# comment\nFROM_FILE=1\n\nBOTH=file\n")
    out = cli("run", "--rm", "--env-file", tmp_path / "env", "--env", "BOTH=flag", "--env", "PATH=/x:/bin", "--user",
              "worker", "--cwd", "/tmp", IMAGE, "r7", "sh", "-c", "env; id; pwd").stdout
    assert {"FROM_FILE=1", "BOTH=flag", "PATH=/x:/bin", "/tmp"} <= set(out.splitlines())
    assert "uid=1000(worker) gid=1000(worker) groups=1000(worker),2000(extra)" in out


def test_run_mounts_limits_and_flags(cli, tmp_path):
    (tmp_path / "file").write_text("hello")
    p = cli("run", "--rm", "--mount", f"type=bind,src={tmp_path},dst=/mnt,options=rbind:ro", "--memory-limit", 67108864,
            "--cpus", "0.5", "--hostname", "boat", "--read-only", "--annotation", "a=b", "--label", "k=v", IMAGE, "r8",
            "sh", "-c", "cat /mnt/file; hostname; touch /x; touch /mnt/x; cat /proc/self/cgroup", check=False)
    assert p.stdout.startswith("helloboat\n") and p.returncode == 0
    assert p.stderr.count("Read-only file system") == 2 and f"/{cli.ns}/r8" in p.stdout
    text = (tmp_path / "spec.json")
    cli("run", "--rm", "--dump-config", text, "--memory-limit", 67108864, "--cpus", "0.5", "--cap-drop", "CAP_CHOWN",
        "--net-host", "--annotation", "a=b", IMAGE, "r8", "true")
    spec = json.loads(text.read_text())
    linux = spec["linux"]
    assert linux["resources"]["memory"]["limit"] == 67108864 and linux["cgroupsPath"] == f"/{cli.ns}/r8"
    assert linux["resources"]["cpu"]["quota"] == 50000 and spec["annotations"]["a"] == "b"
    assert "CAP_CHOWN" not in spec["process"]["capabilities"]["bounding"]
    assert "network" not in [n["type"] for n in linux["namespaces"]]


def test_run_errors_leave_nothing(cli):
    err = cli.fails("run", "--rm", "docker.io/library/none:1", "r9")
    assert "not found" in err and "images import" in err
    assert "executable file not found" in cli.fails("run", "--rm", IMAGE, "r9", "no-such-program")
    assert 'identifier "../x" must match' in cli.fails("run", "--rm", IMAGE, "../x", "true")
    assert "no users found" in cli.fails("run", "--rm", "--user", "nobody-here", IMAGE, "r9", "true")
    assert "CAP_" in cli.fails("run", "--rm", "--cap-add", "SYS_ADMIN", IMAGE, "r9", "true")
    assert cli.left() == [[], "", ""]
    assert "r9" not in cli("snapshots", "ls").stdout


def test_run_an_id_that_exists(cli):
    cli("run", "-d", IMAGE, "twin", "sleep", "100")
    assert "already exists" in cli.fails("run", "--rm", IMAGE, "twin", "true")
    assert cli("tasks", "ls").stdout.split()[3:6:2] == ["twin", "RUNNING"]     # the first one is unharmed
    cli("tasks", "rm", "-f", "twin")


def test_run_rootfs_and_bundle_by_hand(cli, rootfs, tmp_path):
    assert cli("run", "--rm", "--rootfs", rootfs, "f1", "cat", "/etc/passwd").stdout.startswith("root:")
    spec = json.loads(cli("oci", "spec").stdout)
    spec["process"].update(args=["sh", "-c", "echo by hand; exit 3"], env=["PATH=/bin"])
    spec["linux"].pop("cgroupsPath", None)
    (tmp_path / "config.json").write_text(json.dumps(spec))
    p = cli("run", "--rm", "--config", tmp_path / "config.json", "--rootfs", rootfs, "f2", check=False)
    assert (p.returncode, p.stdout) == (3, "by hand\n"), p.stderr
    (tmp_path / "rootfs").symlink_to(rootfs)      # relative root.path is meant from the file's folder
    p = cli("run", "--rm", "--config", tmp_path / "config.json", "f3", check=False)
    assert (p.returncode, p.stdout) == (3, "by hand\n"), p.stderr
    assert "only container id" in cli.fails("run", "--config", tmp_path / "config.json", "f4", "sh")
    (tmp_path / "config.json").write_text('{"process": 5}')
    assert "process" in cli.fails("run", "--rm", "--config", tmp_path / "config.json", "--rootfs", rootfs, "f4")


def test_run_detached_exec_kill(cli, tmp_path):
    cli("run", "-d", "--pid-file", tmp_path / "pid", IMAGE, "d1", "sh", "-c", "while :; do echo tick; sleep 0.1; done")
    pid = (tmp_path / "pid").read_text()
    assert cli("tasks", "ls").stdout.split() == ["TASK", "PID", "STATUS", "d1", pid, "RUNNING"]
    assert pid in cli("tasks", "ps", "d1").stdout.split()
    p = cli("tasks", "exec", "--exec-id", "e1", "--cwd", "/tmp", "--user", "worker", "d1", "sh", "-c",
            "pwd; id -u; cat; exit 4", stdin="typed\n", check=False)
    assert (p.returncode, p.stdout) == (4, "/tmp\n1000\ntyped\n")
    assert "executable file not found" in cli.fails("tasks", "exec", "d1", "no-such-program")
    cli("tasks", "pause", "d1")
    assert cli("tasks", "ls").stdout.split()[-1] == "PAUSED"
    cli("tasks", "resume", "d1")
    assert "task must be stopped before deletion: running" in cli.fails("tasks", "rm", "d1")
    assert "cannot delete a non stopped container" in cli.fails("containers", "rm", "d1")
    cli("tasks", "kill", "-s", "KILL", "d1")
    eventually("the task stopping", lambda: "STOPPED" in cli("tasks", "ls").stdout)
    assert re.search(r"d1 .*exited \(137\)", cli("ps", "-a").stdout) and "d1" not in cli("ps").stdout
    assert "exit with non-zero exit code 137" in cli("tasks", "rm", "d1").stderr
    assert os.listdir(cli.fifos) == []
    cli("containers", "rm", "d1")


def test_attach_and_its_end(cli):
    cli("run", "-d", IMAGE, "a1", "sh", "-c", "while read x; do echo got $x; [ $x = end ] && exit 6; done")
    p = cli.popen("tasks", "attach", "a1", stdin=subprocess.PIPE)
    p.stdin.write(b"one\n")
    p.stdin.flush()
    assert p.stdout.readline() == b"got one\n"
    assert p.communicate(b"end\n", timeout=20)[0] == b"got end\n" and p.returncode == 6
    assert cli("tasks", "ls", "-q").stdout == "" and os.listdir(cli.fifos) == []


def test_attach_that_goes_leaves_the_process(cli):
    cli("run", "-d", IMAGE, "a2", "sh", "-c", "while :; do echo tick; sleep 0.1; done")
    shell = " ".join(cli.argv("tasks", "attach", "a2")) + " | head -2"
    assert run(["sh", "-c", shell], timeout=30).stdout == "tick\ntick\n"
    assert "RUNNING" in cli("tasks", "ls").stdout


def test_create_start_ps(cli):
    cli("containers", "create", "--label", "tier=db", IMAGE, "c1", "sh", "-c", "echo started; exit 3")
    assert re.search(r"^c1 +" + re.escape(IMAGE) + r" +sh -c echo started; exit 3 +\S.* ago +no task +-$",
                     cli("ps", "-a").stdout, re.M)
    assert cli("containers", "ls").stdout.split()[3:] == ["c1", IMAGE, "io.containerd.runc.v2"]
    p = cli("tasks", "start", "c1", check=False)
    assert (p.returncode, p.stdout, p.stderr) == (3, "started\n", "")
    assert cli("containers", "ls", "-q", "labels.tier==db").stdout == "c1\n"
    assert cli("containers", "label", "c1", "tier=", "x=y").stdout == "io.containerd.image.config.stop-signal=SIGTERM,x=y\n"
    info = json.loads(cli("containers", "info", "c1").stdout)
    assert info["ID"] == "c1" and info["Image"] == IMAGE and info["Spec"]["process"]["args"][0] == "sh"
    assert json.loads(cli("containers", "info", "--spec", "c1").stdout) == info["Spec"]


def test_null_io_and_log_uri(cli, tmp_path):
    assert cli("run", "--rm", "--null-io", IMAGE, "n1", "sh", "-c", "echo x; cat; exit 2", check=False).returncode == 2
    cli("run", "--rm", "--log-uri", f"file://{tmp_path}/log", IMAGE, "n2", "echo", "logged")
    assert (tmp_path / "log").read_text() == "logged\n"


def test_metrics(cli):
    cli("run", "-d", IMAGE, "m1", "sleep", "100")
    out = cli("tasks", "metrics", "m1").stdout
    assert re.match(r"ID +TIMESTAMP *\nm1 +\d{4}-", out) and re.search(r"^pids\.current +1", out, re.M)
    assert json.loads(cli("tasks", "metrics", "--format", "json", "m1").stdout)["pids"]["current"] == 1
    cli("tasks", "rm", "-f", "m1")


def test_events(cli):
    p = cli.popen("events")
    try:
        time.sleep(0.5)
        cli("run", "--rm", IMAGE, "ev1", "true")
        seen, want = [], ["/containers/create", "/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete",
                          "/containers/delete"]
        while want:
            line = p.stdout.readline().decode()
            assert line, (seen, p.stderr.read())
            seen.append(line)
            if f" {cli.ns} {want[0]} " in line:
                want.pop(0)
        exit_event = next(e for e in seen if "/tasks/exit" in e)
        assert json.loads(exit_event[exit_event.index("{"):])["container_id"] == "ev1"
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000 UTC \S+ /", seen[0])
    finally:
        p.kill()
        p.wait()


# --------------------------------------------------------------------------------------------------------- terminals
def test_terminal(cli):
    t = cli.terminal("run", "--rm", "-t", IMAGE, "t1", "sh", rows=33, cols=101)
    t.read_until("# ")
    t.send("stty size; tty; echo $TERM\n")
    t.read_until("33 101")
    t.read_until("/dev/pts/0")
    t.read_until("xterm")
    t.send("sleep 100\n")
    time.sleep(0.3)
    t.send("\x03")                       # goes to the foreground process, not to us
    t.read_until("^C")
    t.send("echo al''ive; exit 5\n")
    t.read_until("alive")
    assert t.wait() == 5
    assert cli.left() == [[], "", ""]


def test_terminal_resize_and_restore(cli):
    import fcntl
    import struct
    import termios
    t = cli.terminal("run", "--rm", "-t", IMAGE, "t2", "sh")
    before = termios.tcgetattr(t.fd)    # the program is not there yet
    t.read_until("# ")
    raw = termios.tcgetattr(t.fd)
    assert not raw[3] & termios.ICANON
    fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
    for _ in range(20):                  # the new size takes its way through daemon and shim
        t.send("stty size\n")
        with contextlib.suppress(AssertionError):
            t.read_until("50 132", 0.5)
            break
    assert "50 132" in t.seen
    fd = os.dup(t.fd)
    os.kill(t.pid, signal.SIGTERM)       # ends us, and with --rm the container; the terminal is given back
    assert t.wait() == 128 + signal.SIGTERM
    after = termios.tcgetattr(fd)
    os.close(fd)
    assert after[3] & termios.ICANON and after[3] & termios.ECHO
    assert after[3] == before[3]
    assert cli.left() == [[], "", ""]


def test_terminal_exec(cli):
    cli("run", "-d", IMAGE, "t3", "sleep", "100")
    t = cli.terminal("tasks", "exec", "-t", "--exec-id", "sh", "t3", "sh", rows=20, cols=70)
    t.read_until("# ")
    t.send("stty size; exit 3\n")
    t.read_until("20 70")
    assert t.wait() == 3
    cli("tasks", "rm", "-f", "t3")


def test_terminal_without_one(cli):
    assert "not a console" in cli.fails("run", "--rm", "-t", IMAGE, "t4", "sh")
    assert cli.left() == [[], "", ""]


def test_names_cannot_drive_the_terminal(bare):
    bare("leases", "create", "--id", "evil", "k=\x1b[2Jboo")
    t = bare.terminal("leases", "ls")
    assert t.wait() == 0
    assert "\x1b" not in t.seen and "k=\\x1b[2Jboo" in t.seen
    assert "\x1b[2J" in bare("leases", "ls").stdout
    bare("leases", "rm", "evil")
