"""A server on 127.0.0.1 that speaks enough of the Hub's protocol for its real client: repositories, commits, files.

::

    with FakeHub() as hub:
        hub.put("dataset", "someone/play", {"a.npz": b"..."})      # as if somebody had pushed it
        HfApi(endpoint=hub.url, token=hub.token).list_repo_tree("someone/play", repo_type="dataset")

``hub.sent`` counts the bytes of every large file that arrived; ``hold`` is called before one is taken.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".npz", ".sqlite", ".parquet", ".pkl")
ROUTE = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(\w[\w-]*)(?:/(.*))?)?")
RESOLVE = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
BATCH = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch")


class Repo:
    """Commits, oldest first: each an id and its files."""

    def __init__(self) -> None:
        self.commits: list[tuple[str, dict[str, bytes]]] = []
        self.commit({})

    def commit(self, files: Mapping[str, bytes]) -> str:
        kept = {**(self.commits[-1][1] if self.commits else {}), **files}
        names = repr(sorted((n, hashlib.sha256(c).hexdigest()) for n, c in kept.items()))
        oid = hashlib.sha1(f"{len(self.commits)}{names}".encode()).hexdigest()
        self.commits.append((oid, kept))
        return oid

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


class FakeHub:
    """See the module. ``public``: who has no token may read."""

    token = "hf_" + "t0ken" * 6

    def __init__(self, *, public: bool = True, hold: Callable[[str], None] | None = None):
        self.repos: dict[tuple[str, str], Repo] = {}
        self.large: dict[str, bytes] = {}
        self.sent: dict[str, int] = {}
        self.asked: list[str] = []
        self.links: list[str] = []  # in every repository
        self.public, self.hold = public, hold
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self})
        )
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # a client that was killed is no error
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(self, kind: str, repo: str, files: Mapping[str, bytes]) -> str:
        return self.repos.setdefault((f"{kind}s", repo), Repo()).commit(files)

    def files(self, kind: str, repo: str) -> dict[str, bytes]:
        return self.repos[f"{kind}s", repo].commits[-1][1]

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_: Any) -> None:
        pass

    def say(self, status: int, content: Any = None, **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def may(self, *, write: bool) -> bool:
        given = self.headers.get("Authorization")
        if given == f"Bearer {self.hub.token}" or (given is None and self.hub.public and not write):
            return True
        self.body()
        self.say(401, {"error": "Invalid username or password."})
        return False

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.hub.asked.append(f"{self.command} {url.path}")
        if not self.may(write=False):
            return
        if found := RESOLVE.fullmatch(url.path):
            self.resolve(f"{found[1] or 'models'}", found[2], unquote(found[3]), unquote(found[4]))
        elif found := ROUTE.fullmatch(url.path):
            rest = unquote(found[4]) if found[4] else "main"
            self.read(found[1], found[2], found[3] or "revision", rest, parse_qs(url.query))
        else:
            self.say(404, {"error": "no such place"})

    def read(self, kind: str, name: str, what: str, revision: str, _: Any) -> None:
        repo = self.hub.repos.get((kind, name))
        if repo is None:
            self.say(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return
        commit = repo.at(revision)
        if commit is None:
            self.say(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        elif what == "revision":
            listed = [{"rfilename": file} for file in commit[1]]
            self.say(200, {"id": name, "sha": commit[0], "siblings": listed, "private": False})
        elif what == "tree":
            listed = [_entry(file, content) for file, content in commit[1].items()]
            folders = {f.rpartition("/")[0] for f in commit[1] if "/" in f}
            listed += [{"type": "directory", "path": f, "oid": "0" * 40} for f in sorted(folders)]
            links = [{"type": "symlink", "path": f, "oid": "1" * 40} for f in self.hub.links]
            self.say(200, listed + links)
        else:
            self.say(404, {"error": f"no {what}"})

    def resolve(self, kind: str, name: str, revision: str, file: str) -> None:
        repo = self.hub.repos.get((kind, name))
        commit = None if repo is None else repo.at(revision)
        if commit is None or file not in commit[1]:
            self.say(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
            return
        content = commit[1][file]
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        oid = _entry(file, content).get("lfs", {}).get("oid") or _git_oid(content)
        self.say(206 if begin else 200, content[begin:], ETag=f'"{oid}"', X_Repo_Commit=commit[0])

    def do_PUT(self) -> None:
        oid = self.path.rpartition("/")[2]
        if self.hub.hold is not None:
            self.hub.hold(oid)
        content = self.body()
        self.hub.sent[oid] = self.hub.sent.get(oid, 0) + len(content)
        if hashlib.sha256(content).hexdigest() != oid:
            self.say(400, {"error": "not what it should be"})
            return
        self.hub.large[oid] = content
        self.say(200, {})

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"POST {path}")
        if path == "/api/validate-yaml":
            self.body()
            self.say(200, {"errors": [], "warnings": []})
            return
        if not self.may(write=True):
            return
        raw = self.body()
        if path == "/api/repos/create":
            self.create(json.loads(raw))
        elif BATCH.fullmatch(path):
            self.say(200, {"objects": [self.offer(o) for o in json.loads(raw)["objects"]]})
        elif found := ROUTE.fullmatch(path):
            self.write(found[1], found[2], found[3], raw)
        else:
            self.say(404, {"error": "no such place"})

    def create(self, wanted: dict[str, Any]) -> None:
        key = f"{wanted.get('type', 'model')}s", f"{wanted['organization']}/{wanted['name']}"
        if key in self.hub.repos:
            self.say(
                409, {"error": "You already created this repo", "url": f"{self.hub.url}/{key[1]}"}
            )
            return
        self.hub.repos[key] = Repo()
        self.say(200, {"url": f"{self.hub.url}/{key[1]}"})

    def offer(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted["oid"] in self.hub.large:
            return wanted
        return {**wanted, "actions": {"upload": {"href": f"{self.hub.url}/large/{wanted['oid']}"}}}

    def write(self, kind: str, name: str, what: str, raw: bytes) -> None:
        repo = self.hub.repos.get((kind, name))
        if repo is None:
            self.say(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        elif what == "preupload":
            self.say(200, {"files": [_mode(file["path"]) for file in json.loads(raw)["files"]]})
        else:
            lines = [json.loads(line) for line in raw.splitlines()]
            values = [(line["key"], line["value"]) for line in lines if "path" in line["value"]]
            oid = repo.commit({v["path"]: _content(self.hub, key, v) for key, v in values})
            address = f"{self.hub.url}/{kind}/{name}/commit/{oid}"
            self.say(200, {"success": True, "commitOid": oid, "commitUrl": address})


def _mode(path: str) -> dict[str, Any]:
    return {
        "path": path,
        "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
        "shouldIgnore": False,
    }


def _content(hub: FakeHub, key: str, value: Mapping[str, Any]) -> bytes:
    return hub.large[value["oid"]] if key == "lfsFile" else base64.b64decode(value["content"])


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(file: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": file, "size": len(content), "oid": _git_oid(content)}
    if file.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
    return entry
