# SPDX-License-Identifier: Apache-2.0
"""A registry in memory, just enough of https://github.com/opencontainers/distribution-spec for clients that pull and push."""
import contextlib
import http.server
import json
import re
import ssl
import threading

import lighter

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Registry:
    def __init__(self):
        self.blobs, self.kinds, self.tags = {}, {}, {}  # digest: bytes, digest: media type, (repository, tag): digest
        self.server = None

    def put(self, data, kind):
        """A descriptor of what is there from now on."""
        digest = lighter.sha256(data)
        self.blobs[digest], self.kinds[digest] = data, kind
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def image(self, layers, arch="amd64", variant=None, config=None):
        """A descriptor of a manifest for layers, which are uncompressed tars."""
        import gzip
        doc = {"architecture": arch, "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], **(config or {})},
               "rootfs": {"type": "layers", "diff_ids": [lighter.sha256(l) for l in layers]},
               "history": [{"created_by": "test"} for _ in layers]}
        if variant:
            doc["variant"] = variant
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self.put(json.dumps(doc).encode(), CONFIG),
                    "layers": [self.put(gzip.compress(l, 1, mtime=0), LAYER) for l in layers]}
        platform = {"os": "linux", "architecture": arch, **({"variant": variant} if variant else {})}
        return {**self.put(json.dumps(manifest).encode(), MANIFEST), "platform": platform}

    def index(self, manifests):
        return self.put(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode(), INDEX)["digest"]

    def serve(self, address, certificate=None):
        """certificate: (certificate file, key file). Returns the port."""
        self.server = http.server.ThreadingHTTPServer(address, type("Handler", (_Handler,), {"registry": self}))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self.server.server_address[1]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, data=b"", kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(data)

    def parts(self):
        """Repository, "manifests" or "blobs", and the reference."""
        got = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/?]+|uploads/[^?]*)(?:\?.*)?", self.path)
        return got.groups() if got else (None, None, None)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def do_GET(self):
        r, (name, what, ref) = self.registry, self.parts()
        if self.path == "/v2/":
            return self.answer(200, b"{}")
        digest = r.tags.get((name, ref)) if what == "manifests" and ":" not in ref else ref
        if digest not in r.blobs:
            return self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        kind = r.kinds[digest] if what == "manifests" else "application/octet-stream"
        return self.answer(200, r.blobs[digest], kind, Docker_Content_Digest=digest)

    do_HEAD = do_GET

    def do_POST(self):
        self.body()
        name = self.parts()[0]
        self.answer(202, Location=f"/v2/{name}/blobs/uploads/one")

    def do_PUT(self):
        r, (name, what, ref) = self.registry, self.parts()
        digest = r.put(self.body(), self.headers.get("Content-Type", ""))["digest"]
        if what == "manifests":
            r.tags[name, ref] = digest
        self.answer(201, Docker_Content_Digest=digest, Location=f"/v2/{name}/{what}/{digest}")

    def log_message(self, *args):
        pass
