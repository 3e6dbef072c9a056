# SPDX-License-Identifier: Apache-2.0
"""Images: unpacked, deleted."""
import atexit
import contextlib
import functools
import gzip
import io
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

import lighter
from peers import TWINS, timed, workload


def unpack(d, image, n):
    """Prepare, Apply and Commit of every layer of an image whose blobs are in the content store."""
    info = made_images()[image]
    if n == 0:
        d.ctr("image", "import", "--no-unpack", info["archive"])
    c = d.client(d.namespace)
    snapshots, diff = c.messages("snapshots"), c.messages("diff")
    types = lighter.pb("containerd/types/types")
    start = time.perf_counter()
    parent = ""
    for i, layer in enumerate(info["layers"]):
        key, name = f"{image}-{n}-{i}-extract", f"{image}-{n}-{i}"
        labels = {"containerd.io/gc.root": "now"}
        mounts = c.snapshots.Prepare(snapshots.PrepareSnapshotRequest(
            snapshotter="overlayfs", key=key, parent=parent, labels=labels)).mounts
        c.diff.Apply(diff.ApplyRequest(mounts=mounts, diff=types.Descriptor(**layer)))
        c.snapshots.Commit(snapshots.CommitSnapshotRequest(snapshotter="overlayfs", key=key, name=name, labels=labels))
        parent = name
    seconds = time.perf_counter() - start
    for i in reversed(range(len(info["layers"]))):
        c.snapshots.Remove(snapshots.RemoveSnapshotRequest(snapshotter="overlayfs", key=f"{image}-{n}-{i}"))
    c.close()
    subprocess.run(["sync"])
    return [seconds]


@workload("unpack-one", {"unpack, one layer of 300 MB, disk, s": "", "unpack, one layer of 300 MB, tmpfs, s": ""}, 3)
def unpack_one(d, n):
    return unpack(d, "one300", n) + unpack(in_memory(d), "one300", n)


@workload("unpack-twelve", {"unpack, 12 layers of 30 MB, disk, s": "", "unpack, 12 layers of 30 MB, tmpfs, s": ""}, 3)
def unpack_twelve(d, n):
    return unpack(d, "twelve", n) + unpack(in_memory(d), "twelve", n)


@functools.lru_cache(None)
def in_memory(d):
    """The same daemon once more, on a tmpfs: there the disk is no part of the figure, and neither is durability, which
    Lighter's Commit has and containerd's has not."""
    folder = tempfile.mkdtemp(prefix="lighter-bench-tmpfs-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8g", "tmpfs", folder], check=True)
    twin = type(d)(parent=folder)
    twin.namespace, twin.folder = d.namespace, folder
    TWINS.append(twin)
    return twin.start()


@workload("image-delete", {"an image of 12,000 files deleted, ms": "<= 30 ms",
                           "the same and its 12,000 files gone (sync), ms": ""}, 3)
def image_delete(d, n):
    with contextlib.closing(d.client(d.namespace)) as c:
        figures = []
        for sync in (False, True):
            name = f"docker.io/bench/files{n}{'s' if sync else ''}:latest"
            d.ctr("image", "import", many_files(name))
            request = c.messages("images").DeleteImageRequest(name=name, sync=sync)
            figures.append(1000 * timed(c.images.Delete, request))
        return figures


def many_files(name):
    """An archive of an image whose one layer has 12,000 small files."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for i in range(12000):
            info = tarfile.TarInfo(f"files/{i % 100}/{i}")
            data = f"{name} {i}\n".encode() * 40
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    archive = f"{made_images_folder()}/{name.rpartition('/')[2]}.tar"
    if not os.path.exists(archive):
        lighter.oci_archive(archive, [layer.getvalue()], name, compress=lambda b: gzip.compress(b, 1, mtime=0))
    return archive


# ---------------------------------------------------------------------------------------------------------- images
@functools.lru_cache(None)
def made_images_folder():
    out = tempfile.mkdtemp(prefix="lighter-bench-images-")
    atexit.register(shutil.rmtree, out)
    return out


def real_files(limit, files):
    got, total = [], 0
    while files and total < limit:
        got.append(files.pop())
        total += got[-1].stat().st_size
    return got


def usr_files():
    files = []
    for top in ("/usr/bin", "/usr/lib", "/usr/share"):
        for folder, names, leaves in os.walk(top):
            names.sort()
            files += [pathlib.Path(folder, f) for f in sorted(leaves)]
    files = [f for f in files if f.is_file() and not f.is_symlink() and f.stat().st_size < 8 << 20]
    random.Random(7).shuffle(files)
    return files


@functools.lru_cache(None)
def made_images():
    """Layers of real files of this machine; the two images and what the workloads need to know of them."""
    out = made_images_folder()
    sizes = {}
    for name, count, each in (("one300", 1, 300 << 20), ("twelve", 12, 30 << 20)):
        files, layers = usr_files(), []
        for _ in range(count):
            raw = pathlib.Path(out, "raw.tar")
            with tarfile.open(raw, "w") as tar:
                for f in real_files(each, files) or real_files(each, files := usr_files()):
                    tar.add(f, str(f).lstrip("/"), recursive=False)
            layers.append(raw.read_bytes())
            raw.unlink()
        archive = f"{out}/{name}.tar"
        lighter.oci_archive(archive, layers, f"docker.io/bench/{name}:latest", compress=lambda b: gzip.compress(b, 6, mtime=0))
        with tarfile.open(archive) as tar:
            index = json.load(tar.extractfile("index.json"))
            manifest = json.load(tar.extractfile("blobs/" + index["manifests"][0]["digest"].replace(":", "/")))
        sizes[name] = {"archive": archive, "layers": [
            {"media_type": l["mediaType"], "digest": l["digest"], "size": l["size"]} for l in manifest["layers"]]}
        print(f"made {name}: {sum(map(len, layers)) >> 20} MiB in {count} layers", file=sys.stderr)
    return sizes
