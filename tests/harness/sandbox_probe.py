"""Try what the service may and may not do, and write the outcome as JSON.

It runs in place of the daemon, with the settings of its unit; it needs only Python.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

FORBIDDEN = (
    "/", "/boot", "/etc", "/etc/reeldrop", "/opt/reeldrop", "/usr/local/bin", "/var/lib", "/run",
    "/srv", "/srv/another", "/home/ann", "/root", "/proc/sys/kernel", "/sys/fs/cgroup",
)  # fmt: skip
ALLOWED = ("inbox", "results", "spool", "/var/cache/reeldrop", "/tmp", "/var/tmp")
_CLONE_NEWUSER = 0x10000000


def attempt(function: Callable[..., object], *arguments: object) -> str:
    """Return the error of a call; empty if it succeeds."""
    try:
        function(*arguments)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def write_into(folder: str | Path) -> None:
    """Write a new file into a folder, and remove it."""
    path = Path(folder, "probe")
    path.write_text("x")
    path.unlink()


def call(name: str, *arguments: object) -> None:
    """Call a function of the C library that returns -1 on failure.

    Raises:
        OSError: it failed.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def probe(site: Path) -> dict[str, object]:
    """Return the outcome of each attempt."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "forbidden": {folder: attempt(write_into, folder) for folder in FORBIDDEN},
        "allowed": {folder: attempt(write_into, site / folder) for folder in ALLOWED},
        "rename": attempt(rename_between, site / "inbox", site / "spool"),
        "homes": [attempt(os.listdir, home) for home in ("/root", "/home")],
        "others' temporary files": os.listdir("/tmp") + os.listdir("/var/tmp"),
        "others' processes": [pid for pid in os.listdir("/proc") if pid == "1"],
        "device": attempt(open, "/dev/forbidden"),
        "random": attempt(open, "/dev/urandom"),
        "internet": attempt(socket.socket, socket.AF_INET, socket.SOCK_DGRAM),
        "unix": attempt(socket.socket, socket.AF_UNIX, socket.SOCK_DGRAM),
        "network": os.readlink("/proc/self/ns/net"),
        "offline": os.environ["HF_HUB_OFFLINE"],
        "mount": attempt(call, "mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "unshare": attempt(call, "unshare", _CLONE_NEWUSER),
        "capabilities": {status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd")}.pop(),
        "user": [os.getuid() == os.stat(site).st_uid, os.getgroups() == [os.getgid()]],
    }


def rename_between(source: Path, target: Path) -> None:
    """Rename a file from one folder into another."""
    (source / "probe").write_text("x")
    (source / "probe").rename(target / "probe")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    Path(folder, "spool", "found.json").write_text(json.dumps(probe(folder)))
