"""A server that speaks as much of the Hugging Face Hub's API as `push` and `pull` use. It is not the Hub.

What it answers was written down from what huggingface_hub 2.4 sends and reads: making a data set, its newest commit
with its files, where to send large files (git LFS; Xet is turned off in the tests), commits, files with their headers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_only_for_tests"
_LARGE = (".parquet", ".safetensors", ".gz")


class TinyHub:
    """What the server has, and what is wrong with it; nothing at first.

    Attributes
    ----------
    repos : dict
        For each data set its commits: of each a dict of paths and contents.
    private : dict
        Whether each is private.
    blobs : dict
        Large files that were sent, by sha256.
    requests : list of str
        Method and path of each.
    answers : dict
        Statuses by a pattern for method and path: the first that fits is answered.
    before_commit : callable or None
        Is called once, before the next commit is looked at.
    """

    def __init__(self) -> None:
        self.repos: dict[str, list[dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.answers: dict[str, int] = {}
        self.before_commit: Callable[[], None] | None = None

    def newest(self, repo: str) -> dict[str, bytes]:
        """Return the files of the newest commit."""
        return self.repos[repo][-1]

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        """Add a commit with these files."""
        self.repos.setdefault(repo, []).append(files)
        return self.id(repo, len(self.repos[repo]) - 1)

    def id(self, repo: str, number: int) -> str:
        """Return the id of a commit."""
        return hashlib.sha1(f"{repo} {number}".encode()).hexdigest()

    def at(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return a commit by its id, or the newest one as ``main``."""
        ids = [self.id(repo, i) for i in range(len(self.repos[repo]))]
        if revision == "main":
            return ids[-1], self.repos[repo][-1]
        return (revision, self.repos[repo][ids.index(revision)]) if revision in ids else None


def tiny_hub(hub: TinyHub) -> type[BaseHTTPRequestHandler]:
    """Return the request handler of a server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self._body()
            path = self._path()
            if self._failed(path, writes=True):
                return
            if path == "/api/validate-yaml":
                self._json({"errors": [], "warnings": []})
            elif path == "/api/repos/create":
                asked = json.loads(body)
                repo = f"{asked['organization']}/{asked['name']}"
                if repo in hub.repos:
                    self._json({"error": "You already created this dataset repo"}, 409)
                    return
                hub.private[repo] = asked.get("visibility") == "private" or bool(asked.get("private"))
                hub.commit(repo, {".gitattributes": b"*.parquet filter=lfs\n"})
                self._json({"url": f"{self._base()}/datasets/{repo}"})
            elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/preupload/([^/]+)", path):
                files = [
                    {"path": f["path"], "uploadMode": _mode(f["path"], f["size"]), "shouldIgnore": False, "oid": None}
                    for f in json.loads(body)["files"]
                ]
                self._json({"files": files} if found[1] in hub.repos else {"error": "no"})
            elif re.fullmatch(r"/datasets/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
                self._json({"transfer": "basic", "objects": [self._lfs(o) for o in json.loads(body)["objects"]]})
            elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/main", path):
                self._commit(found[1], [json.loads(line) for line in body.splitlines()])
            else:
                self._json({"error": f"not spoken here: POST {path}"}, 501)

        def do_PUT(self) -> None:
            body = self._body()
            path = self._path()
            if self._failed(path, writes=False):  # the address that the batch gave is the right to it
                return
            digest = path.rpartition("/")[2]
            if hashlib.sha256(body).hexdigest() != digest:
                self._json({"error": "other content"}, 400)
                return
            hub.blobs[digest] = body
            self._json({})

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self._path()
            if self._failed(path, writes=False):
                return
            if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+?)(?:/revision/(.+))?", path):
                commit = self._visible(found[1], found[2] or "main")
                if commit is not None:
                    siblings = [{"rfilename": name} for name in commit[1]]
                    told = {"id": found[1], "sha": commit[0], "private": hub.private[found[1]], "siblings": siblings}
                    self._json({**told, "tags": [], "downloads": 0, "likes": 0})
            elif found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                commit = self._visible(found[1], found[2])
                if commit is not None:
                    self._file(commit, found[3])
            else:
                self._json({"error": f"not spoken here: GET {path}"}, 501)

        def _visible(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
            """Return a commit; else answer as the Hub does, to whom a private data set is one that is not there."""
            if repo not in hub.repos or (hub.private[repo] and not self._known()):
                self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
                return None
            commit = hub.at(repo, revision)
            if commit is None:
                self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return commit

        def _file(self, commit: tuple[str, dict[str, bytes]], name: str) -> None:
            there = {"X-Repo-Commit": commit[0]}
            data = commit[1].get(name)
            if data is None:
                self._json({"error": "Entry not found"}, 404, {**there, "X-Error-Code": "EntryNotFound"})
                return
            etag = hashlib.sha256(data).hexdigest()
            status = 200
            if asked := re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("Range", "")):
                data, status = data[int(asked[1]) :], 206
            self._answer(status, data, {**there, "ETag": f'"{etag}"', "Content-Type": "application/octet-stream"})

        def _lfs(self, wanted: dict[str, Any]) -> dict[str, Any]:
            if wanted["oid"] in hub.blobs:
                return wanted
            return {**wanted, "actions": {"upload": {"href": f"{self._base()}/lfs/{wanted['oid']}"}}}

        def _commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
            if hub.before_commit is not None:
                first, hub.before_commit = hub.before_commit, None
                first()
            head = lines[0]["value"]
            current = hub.id(repo, len(hub.repos[repo]) - 1)
            if head.get("parentCommit", current) != current:
                self._json({"error": "A commit has happened since"}, 412)
                return
            files = dict(hub.newest(repo))
            for line in lines[1:]:
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.blobs[value["oid"]]
                else:
                    assert line["key"] == "deletedFile"
                    del files[value["path"]]
            made = hub.commit(repo, files)
            self._json({"commitOid": made, "commitUrl": f"{self._base()}/datasets/{repo}/commit/{made}"})

        def _failed(self, path: str, *, writes: bool) -> bool:
            """Answer what is to go wrong, or that somebody without the token may not write."""
            said = f"{self.command} {path}"
            hub.requests.append(said)
            status = next((status for pattern, status in hub.answers.items() if re.search(pattern, said)), None)
            if status is None and writes and not self._known():
                status = 401
            if status is not None:
                self._json({"error": "Invalid credentials in Authorization header"}, status)
            return status is not None

        def _known(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def _path(self) -> str:
            return unquote(urlsplit(self.path).path)

        def _base(self) -> str:
            return f"http://{self.headers['Host']}"

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self._answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


def _mode(path: str, size: int) -> str:
    return "lfs" if path.endswith(_LARGE) or size > 10_000_000 else "regular"
