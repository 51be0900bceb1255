"""Serve a folder to Nextcloud's client: the part of a server that it needs to sync files.

It replaces a Nextcloud server, which no package provides: WebDAV with the properties that the
client requests. Run it as a program with a folder and a port; it needs only Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

DAV = "/remote.php/dav/files/ann"
ABOUT = {
    "/status.php": {"installed": True, "maintenance": False, "version": "25.0.0.0"},
    "/ocs/v1.php/cloud/capabilities": {"version": {"string": "25.0.0"}, "capabilities": {}},
    "/ocs/v1.php/cloud/user": {"id": "ann", "display-name": "ann"},
}


class Cloud(BaseHTTPRequestHandler):
    """Handles one request of a client."""

    protocol_version = "HTTP/1.1"
    root: Path

    @property
    def file(self) -> Path:
        return self.root / unquote(urlsplit(self.path).path).removeprefix(DAV).strip("/")

    def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in ABOUT:
            data = {"meta": {"status": "ok", "statuscode": 100}, "data": ABOUT[path]}
            found = {"ocs": data} if path.startswith("/ocs") else ABOUT[path]
            self.answer(200, json.dumps(found).encode(), Content_Type="application/json")
        elif path.startswith(DAV) and self.file.is_file():
            self.answer(200, self.file.read_bytes(), **identity(self.file))
        else:
            self.answer(404)

    def do_PUT(self) -> None:
        part = self.root.with_name("part")
        part.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        seconds = int(self.headers["X-OC-Mtime"])
        os.utime(part, (seconds, seconds))
        part.rename(self.file)
        self.answer(201, X_OC_MTime="accepted", **identity(self.file))

    def do_MKCOL(self) -> None:
        self.file.mkdir()
        self.answer(201, **identity(self.file))

    def do_DELETE(self) -> None:
        shutil.rmtree(self.file) if self.file.is_dir() else self.file.unlink()
        self.answer(204)

    def do_PROPFIND(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        is_deep = self.headers["Depth"] != "0" and self.file.is_dir()
        below = sorted(self.file.iterdir()) if is_deep else []
        responses = "".join(self.described(path) for path in (self.file, *below))
        names = 'xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"'
        body = f'<?xml version="1.0"?><d:multistatus {names}>{responses}</d:multistatus>'
        self.answer(207, body.encode(), Content_Type="application/xml; charset=utf-8")

    def described(self, path: Path) -> str:
        status, is_folder = path.stat(), path.is_dir()
        properties = {
            "d:resourcetype": "<d:collection/>" if is_folder else "",
            "d:getlastmodified": formatdate(status.st_mtime, usegmt=True),
            "d:getetag": identity(path)["ETag"],
            "oc:id": identity(path)["OC_FileId"],
            "oc:permissions": "RGDNVCK" if is_folder else "RGDNVW",
        }
        if not is_folder:
            properties["d:getcontentlength"] = str(status.st_size)
        listed = "".join(f"<{key}>{value}</{key}>" for key, value in properties.items())
        name = quote(f"{DAV}/{path.relative_to(self.root)}") + "/" * is_folder
        return (
            f"<d:response><d:href>{name}</d:href><d:propstat><d:prop>{listed}</d:prop>"
            "<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
        )


def identity(path: Path) -> dict[str, str]:
    """Return the properties that identify a file and its version."""
    return {"ETag": f'"{mark(path)}"', "OC_FileId": f"{path.stat().st_ino:08}of-tests"}


def mark(path: Path) -> str:
    """Return a text that changes whenever a file, or anything in a folder, does."""
    status = path.stat()
    found = f"{status.st_ino} {status.st_mtime_ns} {status.st_size}"
    if path.is_dir():
        found = " ".join(f"{below.name} {mark(below)}" for below in sorted(path.iterdir()))
    return hashlib.sha256(found.encode()).hexdigest()[:32]


if __name__ == "__main__":
    Cloud.root = Path(sys.argv[1])
    ThreadingHTTPServer(("", int(sys.argv[2])), Cloud).serve_forever()
