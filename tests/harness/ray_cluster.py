"""A real Ray cluster on this machine: each node has an address of its own in 127.0.0.0/8."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from reeldrop.cluster import access
from reeldrop.cluster.places import SLOTS

START_SECONDS = 120.0
STORE_BYTES = 80_000_000

_RAY = str(Path(sys.executable).with_name("ray"))


class RayCluster:
    """Starts and kills nodes. Node 0 is the head, and renders nothing unless it has slots.

    folder: for the token; Ray's files are in a folder with a short path, as its sockets need it
    has_tokens: whether nodes require the token
    """

    def __init__(self, folder: Path, *, has_tokens: bool = True) -> None:
        self._has_tokens = has_tokens
        self.token_file = folder / "ray-token"
        self.token_file.touch(0o600)
        self.token_file.write_text(secrets.token_hex(32))
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        self._first = 16 + os.getpid() % 200
        self.port = _free_port()
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}
        self._slots: dict[int, int] = {}

    @property
    def address(self) -> str:
        return f"{self.ip(0)}:{self.port}"

    def _log(self, number: int) -> Path:
        return Path(self._folder, f"{number}.log")

    def ip(self, number: int) -> str:
        """Return a node's address, which can't be 127.0.0.1: Ray does not use it."""
        return f"127.0.{self._first}.{number + 2}"

    @property
    def settings(self) -> str:
        """The lines of config.yaml for this cluster."""
        found = {
            "address": self.address,
            "interface": self.ip(0),
            "token_file": str(self.token_file),
        }
        return f"engine: ray\nray: {json.dumps(found)}\n"

    def start(self, number: int, slots: int = 1, wait: bool = True, threads: int = 1) -> None:
        """Start a node with this many slots for renderers, and wait until it is up.

        threads: of each renderer, which are a part of the name of its device
        """
        how = ["--head", f"--port={self.port}"] if number == 0 else [f"--address={self.address}"]
        head = ["--include-dashboard=false", "--no-monitor"] if number == 0 else []
        self._slots[number] = slots
        with self._log(number).open("ab") as log:
            self._nodes[number] = subprocess.Popen(
                [_RAY, "start", "--block", *how, *head, "--disable-usage-stats",
                 "--include-log-monitor=false",
                 f"--node-ip-address={self.ip(number)}", "--num-cpus=0", "--num-gpus=0",
                 f"--resources={json.dumps({SLOTS: slots} if slots else {})}",
                 f"--object-store-memory={STORE_BYTES}", f"--temp-dir={self._folder}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**self._environment(), "OMP_NUM_THREADS": str(threads)},
                start_new_session=True,
            )  # fmt: skip
        if wait:
            self.await_node(number)

    def await_node(self, number: int) -> None:
        """Wait until a node is up."""
        log, deadline = self._log(number), time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text():
            assert self._nodes[number].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    def _environment(self) -> Mapping[str, str]:
        found = dict(access.environment(self.address, self.token_file))
        if not self._has_tokens:
            found["RAY_AUTH_MODE"] = "disabled"
        return {**found, "RAY_enable_metrics_collection": "0"}

    def kill(self, number: int) -> None:
        """Kill all of a node at once, as if its machine lost power."""
        process = self._nodes.pop(number)
        below = _descendants(process.pid)
        for pid in (process.pid, *below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        self._log(number).unlink()
        if number == 0:  # the next one would take the other nodes for a cluster that runs here
            Path(self._folder, "ray_current_cluster").unlink(missing_ok=True)

    def restart_ended(self) -> None:
        """Restart nodes that have ended by themselves, as systemd would; don't wait."""
        for number, process in list(self._nodes.items()):
            if process.poll() is not None:
                self._log(number).unlink(missing_ok=True)
                self.start(number, self._slots[number], wait=False)

    def await_all(self) -> None:
        """Wait until all nodes are up, those too that have ended by themselves."""
        deadline = time.monotonic() + START_SECONDS
        while not all(self._is_up(number) for number in self._nodes):
            assert time.monotonic() < deadline
            self.restart_ended()
            time.sleep(0.05)

    def _is_up(self, number: int) -> bool:
        is_running = self._nodes[number].poll() is None
        return is_running and "Ray runtime started" in self._log(number).read_text()

    def actors(self, number: int) -> list[int]:
        """Return the processes of a node's renderers."""
        return self._running(number, b"RendererActor")

    def ranks(self, number: int) -> list[int]:
        """Return the processes that render together with a node's renderers."""
        return self._running(number, b"reeldrop.render.rank")

    def _running(self, number: int, words: bytes) -> list[int]:
        below = _descendants(self._nodes[number].pid)
        return [pid for pid in below if words in _command(pid)]

    def close(self) -> None:
        for number in list(self._nodes):
            self.kill(number)
        shutil.rmtree(self._folder, ignore_errors=True)


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    return b""


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _descendants(pid: int) -> list[int]:
    """Return all descendants of a process, also those in other process groups."""
    parents: dict[int, list[int]] = {}
    for one in _all_pids():
        with contextlib.suppress(OSError):
            stat = (Path("/proc") / str(one) / "stat").read_text()
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(one)
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found[1:]


def _free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return int(asking.getsockname()[1])
