"""A server on loopback with the part of the Hub's API that huggingface_hub uses."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = 1 << 12
"""Files of at least this size are in Git LFS: they have the SHA-256 of their content."""


class Hub:
    """Repositories by name. Each is a folder, and has one commit with all files below it.

    commits: the commit of each repository
    statuses: for repositories that can't be read: the status and the error code of the answer
    cut_after: the connection breaks after this many bytes of a large file
    holds_after: the answer stops after this many bytes of a large file; the connection stays open
    damaged: large files are sent with a wrong byte
    ranges: the `Range` headers of requests; None for a whole file
    tokens: the `Authorization` headers of requests
    """

    def __init__(self) -> None:
        self.folders: dict[str, Path] = {}
        self.commits: dict[str, str] = {}
        self.statuses: dict[str, tuple[int, str]] = {}
        self.cut_after: int | None = None
        self.holds_after: int | None = None
        self.damaged = False
        self.ranges: list[str | None] = []
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self._may_end = threading.Event()
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        # Large files are on another host, as the Hub's are.
        self.storage = f"http://localhost:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop, and break off all answers."""
        self._may_end.set()
        self._server.shutdown()
        self._server.server_close()

    def wait(self) -> None:
        """Wait until the server closes."""
        self._may_end.wait()

    def add(self, name: str, folder: Path, commit: str = "a" * 40) -> None:
        """Serve a folder as a repository."""
        self.folders[name], self.commits[name] = folder, commit

    def files(self, name: str) -> Iterator[tuple[str, bytes]]:
        """Yield the files of a repository."""
        for path in sorted(self.folders[name].rglob("*")):
            if path.is_file():
                yield str(path.relative_to(self.folders[name])), path.read_bytes()


@contextmanager
def served() -> Iterator[Hub]:
    """Serve until the end of the block."""
    hub = Hub()
    try:
        yield hub
    finally:
        hub.close()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    hub: Hub

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        self.hub.tokens.add(self.headers["Authorization"])
        if path.startswith("/cdn/"):
            return self._large(path.removeprefix("/cdn/"))
        parts = path.strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if name in self.hub.statuses:
            return self._refuse(*self.hub.statuses[name])
        if name not in self.hub.folders:
            return self._refuse(401, "RepoNotFound")
        revision = parts[5] if parts[0] == "api" and len(parts) > 5 else None
        if parts[0] != "api":
            revision = parts[3]
        if revision not in (None, "main", self.hub.commits[name]):
            return self._refuse(404, "RevisionNotFound")
        if parts[0] != "api":
            return self._file(name, "/".join(parts[4:]))
        return self._json(self._tree(name) if "tree" in parts[4:5] else self._info(name))

    def _info(self, name: str) -> dict[str, Any]:
        siblings = [{"rfilename": path} for path, _ in self.hub.files(name)]
        commit = self.hub.commits[name]
        return {"_id": "1", "id": name, "modelId": name, "sha": commit, "siblings": siblings}

    def _tree(self, name: str) -> list[dict[str, Any]]:
        return [_entry(path, data) for path, data in self.hub.files(name)]

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _file(self, name: str, path: str) -> None:
        data = dict(self.hub.files(name)).get(path)
        if data is None:
            return self._refuse(404, "EntryNotFound")
        headers = {"X-Repo-Commit": self.hub.commits[name], "ETag": f'"{_git(data)}"'}
        if len(data) < LARGE:
            return self._send(200, data, headers)
        digest = hashlib.sha256(data).hexdigest()
        headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(data))}
        return self._send(302, b"", headers | {"Location": f"{self.hub.storage}/cdn/{digest}"})

    def _large(self, digest: str) -> None:
        every = (data for name in self.hub.folders for _, data in self.hub.files(name))
        data = next(data for data in every if hashlib.sha256(data).hexdigest() == digest)
        if self.hub.damaged:
            data = b"?" + data[1:]
        asked = self.headers["Range"]
        self.hub.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        headers = {"ETag": f'"{digest}"'}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(206 if asked else 200, data[start:], headers, is_large=True)

    def _send(
        self, status: int, data: bytes, headers: dict[str, str], *, is_large: bool = False
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        hub = self.hub
        end = hub.cut_after or hub.holds_after if is_large else None
        try:
            self.wfile.write(data[:end])
        except (BrokenPipeError, ConnectionResetError):  # the client was killed
            return
        if end is not None and end < len(data):
            self.wfile.flush()
            if hub.holds_after:
                hub.wait()


def _entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": _git(data), "size": len(data), "path": path}
    if len(data) >= LARGE:
        digest = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
    return entry


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
