"""The receivers of events: services that Apprise knows, and programs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from reeldrop.base import plain_files
from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.base.escaping import shown
from reeldrop.notices import words
from reeldrop.notices.happenings import Happening
from reeldrop.notices.parcels import NotDelivered, Parcel

MAX_POSTER_BYTES = 16 << 20
_JPEG = b"\xff\xd8"

LONGEST_OUTPUT = 4000
"""How much of the end of a program's output is logged, in bytes."""

MAX_OUTPUT_BYTES = 64 << 20
_LOOK_SECONDS = 1.0
_LONGEST_VALUE = 30_000
"""In characters; the kernel starts no program with more than 128 KiB in one variable."""

KEY_HEADER = "Idempotency-Key"
_WITH_HEADERS = {"json", "jsons", "form", "forms", "xml", "xmls"}
"""Schemes for the operator's own programs, to which Apprise sends our headers unchanged."""

_UNSURE_CODES = {408, 502, 504}
_OF_ALL = {401, 403, 404, 407, 408, 425, 429}
"""Answers of 4xx that do not depend on the message."""

_ERROR = "Socket Exception: "
"""Precedes the text of an error in Apprise's log; other entries may contain untrusted text."""

_NOT_SENT = re.compile(
    "NewConnectionError|NameResolutionError|ConnectTimeout|SSLError"
    "|Connection refused|No route to host|Network is unreachable|name resolution|not known"
    r"|\([45][0-9][0-9], b"
)
"""Errors of requests and sockets without a connection, and refusals of SMTP."""

_log = structlog.get_logger()


class Service:
    """A service that Apprise knows, by its address.

    titles, bodies: templates by kind, in place of the default ones
    attaches: whether the poster of a video is attached
    has_key: whether messages have their key in a header, by which duplicates can be dropped

    Raises:
        ConfigError: Apprise is not installed, or does not know the address.
    """

    def __init__(
        self, url: str, titles: Mapping[str, str], bodies: Mapping[str, str], *, attaches: bool
    ) -> None:
        try:
            import apprise
        except ImportError:
            problem, remedy = "the package apprise is missing", "pip install 'reeldrop[notify]'"
            raise ConfigError(Mistake(problem, remedy)) from None
        _listen()
        self._apprise = apprise.Apprise()
        if not self._apprise.add(url) or len(self._apprise) != 1:
            scheme = re.match("[a-z0-9]+://", url, re.IGNORECASE)  # all else may be a secret
            kind = f" ({scheme[0]}...)" if scheme else ""
            problem = f"Apprise can't use an address under notify{kind}, or it is several"
            raise ConfigError(Mistake(problem, "see https://appriseit.com/services/"))
        self.name = self._apprise[0].url(privacy=True)
        self.key = url
        self.has_key = url.partition(":")[0].lower() in _WITH_HEADERS
        self._texts = titles, bodies
        self._attaches = attaches

    def take(self, parcel: Parcel) -> None:
        """Send one message.

        Raises:
            NotDelivered: the service did not take it.
        """
        texts = ({}, {}) if parcel.is_plain else self._texts
        title, body = words.message(parcel.happenings, *texts, is_unsure=parcel.is_unsure)
        attaches = self._attaches and not parcel.is_plain
        if self.has_key:
            service: Any = self._apprise[0]
            service.headers[KEY_HEADER] = parcel.key
        with _copied(parcel.happenings[-1].poster if attaches else None) as copy:
            done = self._apprise.notify(
                body=body, title=title, attach=copy, body_format="text", log_level=logging.DEBUG
            )
        if not done:
            raise _problem([(entry.level, entry.message) for entry in done.logs()])


def _listen() -> None:
    """Let Apprise log its errors, which are available nowhere else, but print nothing."""
    log = logging.getLogger("apprise")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(logging.NullHandler())


def _problem(entries: Sequence[tuple[str, str]]) -> NotDelivered:
    """Return the error in Apprise's log, of which only warnings are shown: others have secrets."""
    said = "; ".join(text for level, text in entries if level in ("WARNING", "ERROR"))
    detail = " ".join(text for _, text in entries if text.startswith(_ERROR))
    code = re.search(r"error=([1-5][0-9][0-9])", said)
    number = int(code[1]) if code else 0
    return NotDelivered(
        shown(said) or "it did not take the message",
        may_have_arrived=number in _UNSURE_CODES or not (number or _NOT_SENT.search(detail)),
        is_refused=400 <= number < 500 and number not in _OF_ALL,
    )


class Program:
    """A program that is run for each event; if it fails, that is only logged.

    kind: of the events
    command: the program and its arguments, for which no shell is used
    seconds: after this time it is killed, with the processes that it has started
    """

    def __init__(self, kind: str, command: Sequence[str], seconds: float) -> None:
        self.name = command[0]
        self.key = f"on_{kind}"
        self._command = list(command)
        self._seconds = seconds

    def take(self, parcel: Parcel) -> None:
        """Run the program for each event; its facts are in the environment, and JSON on stdin."""
        for happening in parcel.happenings:
            self._run(happening)

    def _run(self, happening: Happening) -> None:
        facts = {"event": happening.kind, "id": happening.id, **happening.facts}
        named = {f"REELDROP_{key.upper()}": _for_environment(text) for key, text in facts.items()}
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
            stdin.write(json.dumps(facts).encode())
            stdin.seek(0)
            try:
                process = subprocess.Popen(
                    self._command,
                    stdin=stdin,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **named},
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                _log.error("hook_failed", command=self.name, reason=str(error))
                return
            problem = self._followed(process, output.fileno())
            tail = _tail(output)
        told: dict[str, Any] = {"command": self.name, "event_kind": happening.kind, "output": tail}
        if problem:
            _log.error("hook_failed", reason=problem, **told)
        else:
            _log.info("hook_done", **told)

    def _followed(self, process: subprocess.Popen[bytes], output: int) -> str:
        """Wait for the end of a program, and return the problem; empty if it succeeded."""
        until = time.monotonic() + self._seconds
        try:
            while (left := until - time.monotonic()) > 0:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(left, _LOOK_SECONDS))
                    return f"exit code {process.returncode}" if process.returncode else ""
                if os.fstat(output).st_size > MAX_OUTPUT_BYTES:
                    return f"it printed more than {MAX_OUTPUT_BYTES >> 20} MiB"
            return f"it took longer than {self._seconds:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def _copied(poster: Path | None) -> Iterator[str | None]:
    """Yield the path of a copy of a poster; None if it is gone, or not a JPEG.

    Apprise refuses a message whose attachment is missing, and follows links.
    """
    data = b""
    if poster is not None:
        with contextlib.suppress(OSError):
            data = plain_files.content(poster, MAX_POSTER_BYTES)
    if poster is None or not data.startswith(_JPEG):
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, poster.name)
        copy.write_bytes(data)
        yield str(copy)


def _for_environment(text: str) -> str:
    """Return a text as an environment can hold it: without NULs, and truncated."""
    return text.replace("\0", "")[:_LONGEST_VALUE]


def _tail(output: Any) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - LONGEST_OUTPUT))
    return shown(output.read().decode(errors="replace").strip())
