"""Who is told: a service that Apprise knows, or a program."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from reeldrop.base import plain_files
from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.base.escaping import shown
from reeldrop.notices import words
from reeldrop.notices.deliveries import NotDelivered
from reeldrop.notices.happenings import Happening

MAX_POSTER_BYTES = 16 << 20
_JPEG = b"\xff\xd8"

LONGEST_OUTPUT = 4000
"""How much of a program's output is logged, in bytes: its end."""

_log = structlog.get_logger()


class Service:
    """A service that Apprise knows, by its address.

    titles, bodies: templates by kind, in place of the usual ones
    attaches: whether the poster of a video goes with the message

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
        self._apprise = apprise.Apprise()
        if not self._apprise.add(url) or len(self._apprise) != 1:
            kind = url.partition(":")[0]
            problem = f"an address under notify ({kind}:...) is none that Apprise knows, or several"
            raise ConfigError(Mistake(problem, "see https://appriseit.com/services/"))
        self.name = self._apprise[0].url(privacy=True)
        self.key = url
        self._texts = titles, bodies
        self._attaches = attaches

    def take(self, happenings: Sequence[Happening]) -> None:
        """Send one message.

        Raises:
            NotDelivered: the service did not take it.
        """
        title, body = words.message(happenings, *self._texts)
        poster = happenings[-1].poster if self._attaches else None
        with _copied(poster) as copy:
            if not self._apprise.notify(body=body, title=title, attach=copy, body_format="text"):
                raise NotDelivered("it did not take the message")


class Program:
    """A program that is run for each happening; what it does wrong is only logged.

    kind: of what it is told
    command: the program and its arguments; no shell reads them
    seconds: after this time it is ended, with what it has started
    """

    def __init__(self, kind: str, command: Sequence[str], seconds: float) -> None:
        self.name = command[0]
        self.key = f"on_{kind}"
        self._command = list(command)
        self._seconds = seconds

    def take(self, happenings: Sequence[Happening]) -> None:
        """Run the program once for each: the facts are in its environment, and as JSON on stdin."""
        for happening in happenings:
            self._run(happening)

    def _run(self, happening: Happening) -> None:
        facts = {"event": happening.kind, "id": happening.id, **happening.facts}
        named = {f"REELDROP_{key.upper()}": _for_environment(text) for key, text in facts.items()}
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **named},
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                _log.error("hook_failed", command=self.name, reason=str(error))
                return
            problem = self._followed(process, json.dumps(facts).encode())
            tail = _tail(output)
        told: dict[str, Any] = {"command": self.name, "event_kind": happening.kind, "output": tail}
        if problem:
            _log.error("hook_failed", reason=problem, **told)
        else:
            _log.info("hook_done", **told)

    def _followed(self, process: subprocess.Popen[bytes], content: bytes) -> str:
        """Feed a program, wait for its end, and return what went wrong; empty if nothing."""
        try:
            process.communicate(content, self._seconds)
        except subprocess.TimeoutExpired:
            return f"it took longer than {self._seconds:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return f"exit code {process.returncode}" if process.returncode else ""


@contextlib.contextmanager
def _copied(poster: Path | None) -> Iterator[str | None]:
    """Yield the path of a copy of a poster; None if it is gone, or no poster any more.

    Apprise takes no message whose attachment is missing, and follows links.
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
    """Return a text without what no environment can hold."""
    return text.replace("\0", "")


def _tail(output: Any) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - LONGEST_OUTPUT))
    return shown(output.read().decode(errors="replace").strip())
