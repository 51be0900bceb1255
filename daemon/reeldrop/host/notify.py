"""Tell systemd how the service is: the sd_notify protocol, sd_notify(3).

Does nothing where the process was not started by systemd.
"""

from __future__ import annotations

import contextlib
import os
import socket

from reeldrop.base.escaping import shown

WAIT_SECONDS = 1.0


class Notifier:
    """Sends states to the socket that systemd named, if it did.

    `watchdog_seconds` is after how long without `progress` systemd ends the process, if it does.
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
        """Whether systemd, or somebody like it, has started this process."""
        return bool(self._address)

    def ready(self) -> None:
        """The service can do its work."""
        self._send("READY=1", wait=True)

    def stopping(self) -> None:
        """The service has begun to end."""
        self._send("STOPPING=1", wait=True)

    def be_patient(self, seconds: float) -> None:
        """The start or the end takes longer: wait on for so long from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000:.0f}")

    def progress(self) -> None:
        """Work goes on: the watchdog may start anew."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in one line what is going on; saying the same again sends nothing."""
        if text != self._last_status:
            self._last_status = text
            self._send(f"STATUS={shown(' '.join(text.split()))}")  # a break would begin another

    def _send(self, state: str, *, wait: bool = False) -> None:
        """Send a state. One that is repeated anyway is dropped where the socket is full."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # Linux's abstract namespace
            address = "\0" + address[1:]
        with (
            contextlib.suppress(OSError),  # systemd's socket is gone or full; the work goes on
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.settimeout(WAIT_SECONDS if wait else 0)
            sender.sendto(state.encode("utf-8", "backslashreplace"), address)
