"""Report the service's state to systemd by the protocol of sd_notify(3).

Does nothing if systemd did not start the process.
"""

from __future__ import annotations

import contextlib
import os
import socket

from reeldrop.base.escaping import shown

WAIT_SECONDS = 1.0


class Notifier:
    """Sends states to systemd's socket, if there is one.

    `watchdog_seconds` is the time without `progress` after which systemd ends the process; None if
    there is no watchdog.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self.watchdog_seconds = watchdog_seconds
        self._last_status = ""

    @classmethod
    def from_environment(cls) -> Notifier:
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        is_ours = os.environ.get("WATCHDOG_PID") in (None, str(os.getpid()))
        watched = microseconds.isdecimal() and is_ours
        return cls(os.environ.get("NOTIFY_SOCKET"), int(microseconds) / 1e6 if watched else None)

    @property
    def is_heard(self) -> bool:
        """Whether systemd, or another service manager, started this process."""
        return bool(self._address)

    def ready(self) -> None:
        """Report that the service is ready."""
        self._send("READY=1", wait=True)

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._send("STOPPING=1", wait=True)

    def be_patient(self, seconds: float) -> None:
        """Extend the timeout of the start or the stop to this many seconds from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000:.0f}")

    def progress(self) -> None:
        """Report progress: restart the watchdog's timeout."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Report a status line; send nothing if it is the same as before."""
        if text != self._last_status:
            self._last_status = text
            self._send(f"STATUS={shown(' '.join(text.split()))}")  # a line break starts a state

    def _send(self, state: str, *, wait: bool = False) -> None:
        """Send a state; without `wait`, drop it if the socket is full, as it is repeated anyway."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # Linux's abstract namespace
            address = "\0" + address[1:]
        with (
            contextlib.suppress(OSError),  # the socket is gone or full; work continues
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.settimeout(WAIT_SECONDS if wait else 0)
            sender.sendto(state.encode("utf-8", "backslashreplace"), address)
