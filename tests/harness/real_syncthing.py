"""Two real Syncthing nodes on loopback that share folders, and connect to nobody else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.processes import DEADLINE_SECONDS, await_that

_OPTIONS = {
    "globalAnnounceEnabled": "false",
    "localAnnounceEnabled": "false",
    "relaysEnabled": "false",
    "natEnabled": "false",
    "urAccepted": "-1",
    "autoUpgradeIntervalH": "0",
    "crashReportingEnabled": "false",
    "startBrowser": "false",
    "stunKeepaliveStartS": "0",
    "reconnectionIntervalS": "1",
    "announceLANAddresses": "false",
    "progressUpdateIntervalS": "-1",
}
_KEY = "for-tests-alone"


def free_port() -> int:
    """Return a free port of loopback."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Node:
    """A Syncthing node.

    folders: its path of each shared folder, by the folder's id.
    types: the role of each shared folder, by the folder's id.
    """

    home: Path
    folders: dict[str, Path]
    types: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    id: str = ""
    port: int = field(default_factory=free_port)
    gui: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True)
        for path in self.folders.values():
            (path / ".stfolder").mkdir(parents=True, exist_ok=True)
        self._run("generate", "--no-default-folder", "--skip-port-probing")
        self.id = self._run("--device-id").strip()

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.home), "STNOUPGRADE": "1"}

    def _run(self, *arguments: str) -> str:
        return subprocess.run(
            ["syncthing", *arguments, f"--home={self.home}"],
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def configure(self, *nodes: Node) -> None:
        """Write a configuration with which these nodes share the folders."""
        devices = "".join(
            f'<device id="{node.id}" name="{node.port}" compression="never">'
            f"<address>tcp://127.0.0.1:{node.port}</address></device>"
            for node in nodes
        )
        shared = "".join(f'<device id="{node.id}"/>' for node in nodes)
        folders = "".join(
            f'<folder id="{name}" label="{name}" path="{path}" type="{self.types[name]}"'
            ' rescanIntervalS="5" fsWatcherEnabled="true" fsWatcherDelayS="1">'
            f"<filesystemType>basic</filesystemType>{shared}<maxConflicts>10</maxConflicts>"
            '<minDiskFree unit="%">0</minDiskFree></folder>'
            for name, path in self.folders.items()
        )
        options = {"listenAddress": f"tcp://127.0.0.1:{self.port}", **_OPTIONS}
        (self.home / "config.xml").write_text(
            f'<configuration version="36">{folders}{devices}'
            f'<gui enabled="true" tls="false"><address>127.0.0.1:{self.gui}</address>'
            f"<apikey>{_KEY}</apikey></gui><options>"
            + "".join(f"<{key}>{value}</{key}>" for key, value in options.items())
            + "</options></configuration>"
        )

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["syncthing", "serve", f"--home={self.home}", "--no-browser", "--no-upgrade",
             "--no-restart", f"--logfile={self.home / 'log'}"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def ask(self, path: str, *, post: bool = False) -> Any:
        """Call the node's REST interface, and return its answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.gui}/rest/{path}",
            headers={"X-API-Key": _KEY},
            data=b"" if post else None,
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as answer:
            return json.loads(answer.read() or b"null")

    def is_connected(self, other: Node) -> bool:
        """Return whether the two nodes are connected."""
        with contextlib.suppress(OSError):
            connections = self.ask("system/connections")["connections"]
            return bool(connections.get(other.id, {}).get("connected"))
        return False

    def knows_all(self, folder: str, other: Node) -> bool:
        """Return whether a folder is in sync on both nodes, as far as this node knows."""
        with contextlib.suppress(OSError):
            mine = self.ask(f"db/completion?folder={folder}")
            theirs = self.ask(f"db/completion?folder={folder}&device={other.id}")
            return mine["completion"] == theirs["completion"] == 100
        return False


@contextlib.contextmanager
def connected(*nodes: Node) -> Iterator[None]:
    """Run two connected nodes until the block ends."""
    one, other = nodes
    try:
        for node in nodes:
            node.configure(*nodes)
            node.start()
        await_that(lambda: one.is_connected(other), "the nodes to connect")
        yield
    finally:
        for node in nodes:
            node.stop()
