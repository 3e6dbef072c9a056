# SPDX-License-Identifier: Apache-2.0
"""What the scenario tests share: a daemon of one's own, clients for it, and an image made from Debian's busybox."""
import contextlib
import functools
import gzip
import hashlib
import importlib
import io
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

import grpc

TOP = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("LIGHTER_BUILD", TOP / "build")).resolve()
IMAGE = "docker.io/library/busybox:latest"
# What no lease holds would be collected under the feet of a test: only when something is deleted with sync.
GC = "io.containerd.gc.v1.scheduler"
QUIET_GC = f'\n[plugins."{GC}"]\nstartup_delay = "1h"\n'
TYPE_SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec"


# ------------------------------------------------------------------------------------------------- generic waiting
def eventually(what, condition, seconds=10):
    """The first true answer of condition(); fails the test after that many seconds."""
    end = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ------------------------------------------------------------------------------------------------------- protobufs
@functools.lru_cache(None)
def _generated():
    """Python modules of every .proto in api/, made once for each run of the tests."""
    out = tempfile.mkdtemp(prefix="lighter-pb-")
    protos = [str(p.relative_to(TOP / "api")) for p in (TOP / "api").rglob("*.proto")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", str(TOP / "api"), "-I", "/usr/include",
                    f"--python_out={out}", f"--grpc_python_out={out}", *protos, "protobuf-c/protobuf-c.proto"],
                   check=True, cwd=TOP / "api")
    # The packages "google" and "grpc" belong to libraries: ours are added to their paths.
    sys.path.insert(0, out)
    import google
    import grpc as grpc_package
    google.__path__.append(out + "/google")
    grpc_package.__path__.append(out + "/grpc")
    return out


def pb(name):
    """pb("containerd/services/tasks/v1/tasks") is the module of its messages."""
    _generated()
    return importlib.import_module(name.replace("/", ".") + "_pb2")


def stubs(name):
    _generated()
    return importlib.import_module(name.replace("/", ".") + "_pb2_grpc")


SERVICES = {
    "containers": "containerd/services/containers/v1/containers",
    "content": "containerd/services/content/v1/content",
    "diff": "containerd/services/diff/v1/diff",
    "events": "containerd/services/events/v1/events",
    "images": "containerd/services/images/v1/images",
    "introspection": "containerd/services/introspection/v1/introspection",
    "leases": "containerd/services/leases/v1/leases",
    "mounts": "containerd/services/mounts/v1/mounts",
    "namespaces": "containerd/services/namespaces/v1/namespaces",
    "sandboxes": "containerd/services/sandbox/v1/sandbox Store",
    "sandbox_controllers": "containerd/services/sandbox/v1/sandbox Controller",
    "snapshots": "containerd/services/snapshots/v1/snapshots",
    "tasks": "containerd/services/tasks/v1/tasks",
    "version": "containerd/services/version/v1/version",
    "health": "grpc/health/v1/health",
}


def services():
    """The descriptors of everything that is served over gRPC."""
    for name in SERVICES.values():
        path, _, only = name.partition(" ")
        for service in pb(path).DESCRIPTOR.services_by_name.values():
            if only in ("", service.name):
                yield service


class Client:
    """Google's gRPC against the daemon: client.tasks is the stub, client.pb.tasks its messages."""

    def __init__(self, address, namespace="default", lease=None):
        self.channel = grpc.insecure_channel("unix://" + address, options=[
            ("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)])
        self.metadata = [("containerd-namespace", namespace)] if namespace is not None else []
        if lease:
            self.metadata.append(("containerd-lease", lease))

    def __getattr__(self, name):
        path, _, service = SERVICES[name].partition(" ")  # the service only where a file has several
        stub_class = next(v for k, v in vars(stubs(path)).items() if k.endswith(f"{service}Stub"))
        return _Stub(stub_class(self.channel), self.metadata)

    @staticmethod
    def messages(name):
        return pb(SERVICES[name].partition(" ")[0])

    def close(self):
        self.channel.close()


class _Stub:
    """Adds the metadata to each call."""

    def __init__(self, stub, metadata):
        self._stub, self._metadata = stub, metadata

    def __getattr__(self, name):
        return functools.partial(getattr(self._stub, name), metadata=self._metadata)


# ---------------------------------------------------------------------------------------------------------- daemon
class Daemon:
    """One lighterd with a root, a state folder and sockets of its own."""
    namespace = None  # what ctr and cli use when a call names none
    wrapper = ()  # a command line that becomes the daemon

    def __init__(self, config="", flags=(), parent=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="lt-", dir=parent))
        self.address = str(self.dir / "l.sock")
        self.root, self.state = self.dir / "root", self.dir / "state"
        self.log_path = self.dir / "log"
        self.config = self.dir / "config.toml"
        config = config or "version = 2\n"
        if "version = 1" not in config and GC not in config:
            config += QUIET_GC
        self.config.write_text(config)
        self.flags = list(flags)
        self.process = None

    def start(self, wait=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, BUILD / "lighterd", "--config", self.config, "--root", self.root, "--state", self.state,
                 "--address", self.address, "--log-level", "debug", *self.flags], stderr=log, stdout=log, cwd="/")
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=20):
        def ready():
            assert self.process.poll() is None, f"lighterd ended with {self.process.returncode}:\n{self.log()[-3000:]}"
            try:
                with contextlib.closing(Client(self.address, None)) as c:
                    c.version.Version(pb("google/protobuf/empty").Empty(), timeout=2)
                return True
            except grpc.RpcError:
                return False
        eventually("lighterd answering", ready, seconds)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        """kill -9: containers and shims stay."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        return self.process.returncode if self.process else 0

    def restart(self):
        self.stop()
        return self.start()

    def client(self, namespace="default", lease=None):
        return Client(self.address, namespace, lease)

    def ctr(self, *args, namespace=None, **kw):
        """Debian's own ctr."""
        argv = ["ctr", "--address", self.address]
        if namespace or self.namespace:
            argv += ["-n", namespace or self.namespace]
        return run([*argv, *args], **kw)

    def cli(self, *args, namespace=None, **kw):
        """Our command line."""
        argv = [str(BUILD / "lighter"), "--address", self.address]
        if namespace or self.namespace:
            argv += ["-n", namespace or self.namespace]
        return run([*argv, *args], **kw)

    def shims(self):
        """Pids of shims that were started for this daemon."""
        found = []
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                argv = (p / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if self.address.encode() in argv and b"shim" in os.path.basename(argv[0]) and alive(p.name):
                found.append(int(p.name))
        # an op child looks like its shim until it ends
        return [p for p in found if parent_of(p) not in found]

    def cleanup(self):
        """Ends everything that was started below this daemon and removes its folders."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for shim in self.shims():
            for pid in [*children_of(shim), shim]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for _ in range(3):
            mounts = [l.split()[1] for l in open("/proc/mounts") if str(self.dir) in l.split()[1]]
            for m in reversed(mounts):
                subprocess.run(["umount", "-l", m], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


def parent_of(pid):
    try:
        return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def children_of(pid):
    """All descendants, deepest first."""
    out = []
    try:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                out += [*children_of(child), int(child)]
    except OSError:
        pass
    return out


def run(argv, check=True, timeout=60, stdin=None, text=True, **kw):
    """Runs to the end and captures; check: a status other than 0 fails the test and shows what was printed."""
    p = subprocess.run([str(a) for a in argv], capture_output=True, timeout=timeout, text=text,
                       **({"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}), **kw)
    if check:
        assert p.returncode == 0, f"{' '.join(map(str, argv))}: status {p.returncode}\n{p.stdout}\n{p.stderr}"
    return p


class Terminal:
    """A program on a pseudo-terminal, driven as a person would."""

    def __init__(self, argv, rows=24, cols=80):
        import fcntl
        import struct
        import termios
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(str(argv[0]), [str(a) for a in argv])
        self.termios = termios
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        self.seen = ""

    def read_until(self, text, seconds=15):
        end = time.monotonic() + seconds
        while text not in self.seen:
            left = end - time.monotonic()
            assert left > 0, f"{text!r} was not seen in {self.seen!r}"
            if not select.select([self.fd], [], [], left)[0]:
                continue
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            assert data, f"ended before {text!r} was seen: {self.seen!r}"
            self.seen += data.decode(errors="replace")
        return self.seen

    def send(self, text):
        os.write(self.fd, text.encode())

    def wait(self, seconds=15):
        """The exit code; what is still printed is collected."""
        end = time.monotonic() + seconds
        while True:
            if select.select([self.fd], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                with contextlib.suppress(OSError):
                    while select.select([self.fd], [], [], 0)[0]:
                        data = os.read(self.fd, 65536)
                        if not data:
                            break
                        self.seen += data.decode(errors="replace")
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"did not end within {seconds} s: {self.seen!r}")


# ---------------------------------------------------------------------------------------------------------- images
def busybox_rootfs(path):
    """A root file system from Debian's busybox-static."""
    root = pathlib.Path(path)
    for d in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "var", "run"):
        (root / d).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    for applet in run(["/bin/busybox", "--list"]).stdout.split():
        link = root / "bin" / applet
        if applet != "busybox" and not link.exists():
            link.symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/tmp:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nworker:x:1000:\nextra:x:2000:worker\n")
    return root


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_of(path, **opener):
    """The folder as a tar, sorted, owned by root, of 1970."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for p in sorted(pathlib.Path(path).rglob("*")):
            info = tar.gettarinfo(p, str(p.relative_to(path)))
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = ""
            tar.addfile(info, p.open("rb") if info.isreg() else None)
    return out.getvalue()


def oci_archive(path, layers, name=IMAGE, config=None, compress=lambda b: gzip.compress(b, 1, mtime=0),
                media_type="application/vnd.oci.image.layer.v1.tar+gzip"):
    """Writes an OCI layout as a tar. layers: uncompressed tars. Returns the manifest's digest."""
    blobs = {}

    def blob(data, kind, **more):
        blobs[sha256(data)] = data
        return {"mediaType": kind, "digest": sha256(data), "size": len(data), **more}

    packed = [blob(compress(l), media_type) for l in layers]
    doc = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], **(config or {})},
           "rootfs": {"type": "layers", "diff_ids": [sha256(l) for l in layers]}, "history": []}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": blob(json.dumps(doc).encode(), "application/vnd.oci.image.config.v1+json"), "layers": packed}
    top = blob(json.dumps(manifest).encode(), manifest["mediaType"], platform={"architecture": "amd64", "os": "linux"},
               annotations={"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]})
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
             "index.json": json.dumps({"schemaVersion": 2, "manifests": [top]}).encode(),
             **{"blobs/" + d.replace(":", "/"): b for d, b in blobs.items()}}
    with tarfile.open(path, "w") as tar:
        for n, data in sorted(files.items()):
            info = tarfile.TarInfo(n)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return top["digest"]


@functools.lru_cache(None)
def busybox_archive():
    """The path of an OCI archive with busybox in it, named IMAGE; made once for each run of the tests."""
    tmp = tempfile.mkdtemp(prefix="lighter-image-")
    layer = tar_of(busybox_rootfs(tmp + "/rootfs"))
    oci_archive(tmp + "/busybox.tar", [layer])
    return tmp + "/busybox.tar"
