"""A server on this machine that takes uploads as the hub does: repositories, large files by LFS, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    """What was uploaded.

    Attributes:
        url: The server's address.
        repositories: Private or not, by name.
        files: By repository and path.
        messages: Of commits.
        refuse: A status to answer everything with.
    """

    url: str
    repositories: dict[str, bool] = field(default_factory=dict)
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)
    refuse: int | None = None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(404, {"error": f"nothing at {self.path}"})

    do_HEAD = do_GET

    def do_PUT(self):
        content = self.body()
        self.server.hub.large[self.path.rsplit("/", 1)[1]] = content
        self.answer(200, {})

    def do_POST(self):
        hub, path, body = self.server.hub, self.path.partition("?")[0], self.body()
        hub.tokens.add(self.headers.get("Authorization"))
        if hub.refuse:
            self.answer(hub.refuse, {"error": "refused"})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            known = name in hub.repositories
            hub.repositories.setdefault(name, bool(asked.get("private")) or asked.get("visibility") == "private")
            self.answer(409 if known else 200, {"url": f"{hub.url}/{name}"})
        elif "/preupload/" in path:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] > 10_000 else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{hub.url}/upload/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
                if one["oid"] not in hub.large
            ]
            self.answer(200, {"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            self.commit(path.split("/commit/")[0].removeprefix("/api/models/"), body)
        else:
            self.answer(404, {"error": f"nothing at {path}"})

    def commit(self, name, body):
        hub = self.server.hub
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                hub.messages.append(value["summary"])
            elif line["key"] == "file":
                hub.files[name, value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = hub.large[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                hub.files[name, value["path"]] = content
        self.answer(200, {"commitUrl": f"{hub.url}/{name}/commit/{'0' * 40}", "commitOid": "0" * 40, "hookOutput": ""})

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@contextmanager
def hub_stand_in(monkeypatch):
    """The server, in the place of the hub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", server.hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
