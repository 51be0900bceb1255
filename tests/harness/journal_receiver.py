"""A socket in place of systemd's journal, for tests of what is sent to it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from harness.processes import DEADLINE_SECONDS


class Receiver:
    """Receives what is sent to the journal."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(DEADLINE_SECONDS)

    def datagram(self) -> tuple[bytes, list[int]]:
        """Return the next datagram, and the descriptors that came with it."""
        data, fds, _flags, _from = socket.recv_fds(self._socket, 1 << 20, 4)
        return data, fds

    def entry(self) -> dict[str, str]:
        """Return the fields of the next entry, sent as a datagram or as a file descriptor."""
        data, fds = self.datagram()
        for fd in fds:
            with open(fd, "rb") as file:
                file.seek(0)
                data += file.read()
        return parsed(data)

    def close(self) -> None:
        self._socket.close()


def parsed(data: bytes) -> dict[str, str]:
    """Return the fields of an entry."""
    fields = {}
    while data:
        head, _, data = data.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", data)
            value, end, data = data[8 : 8 + size], data[8 + size : 9 + size], data[9 + size :]
            assert b"\n" == end
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
    return fields
