"""Write to systemd's journal by its native protocol: an entry is fields in a datagram.

An entry too large for a datagram is written into a sealed memory file, whose descriptor is sent.
Knows nothing of events.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterable, Mapping

ADDRESS = "/run/systemd/journal/socket"
WAIT_SECONDS = 1.0
"""How long to wait for a busy journal before `send` raises an error."""

_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_TOO_LARGE = {errno.EMSGSIZE, errno.ENOBUFS}
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def has_stream(fd: int, environment: Mapping[str, str]) -> bool:
    """Return whether a descriptor is the journal stream that systemd opened for this process."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def field_name(key: str) -> str:
    """Return the field name for a key; empty if the journal would not accept it."""
    name = key.upper()
    return name if _NAME.fullmatch(name) else ""


def send(fields: Iterable[tuple[str, str]], address: str = ADDRESS) -> None:
    """Send an entry.

    Raises:
        OSError: the journal did not accept it.
    """
    entry = b"".join(_field(name, value) for name, value in fields)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(WAIT_SECONDS)
        try:
            sender.sendto(entry, address)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            _send_as_file(sender, entry, address)


def _field(name: str, value: str) -> bytes:
    text = value.encode("utf-8", "backslashreplace")
    if b"\n" not in text:
        return b"%s=%s\n" % (name.encode(), text)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(text)), text)


def _send_as_file(sender: socket.socket, entry: bytes, address: str) -> None:
    fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.closing(os.fdopen(fd, "wb")) as file:
        file.write(entry)
        file.flush()
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
        sender.sendmsg([], [rights], 0, address)
