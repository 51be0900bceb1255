"""Start the process that translates, give it texts, and end it when it hangs."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from reeldrop.base.errors import ReeldropError

COMMAND = (sys.executable, "-P", "-m", "reeldrop.translation.worker")
"""-P: import nothing from the current folder, where strangers may be able to write."""

START_SECONDS = 300.0
"""How long the first answer may take, which includes loading libraries and a model."""

PART_SECONDS = 600.0
"""How long a sentence may take. Usual is a second; the longest possible sentence takes half a
minute on a free core."""


class TranslatorEnded(ReeldropError):
    """The process ended or hung; another one may succeed."""


class TranslationFailed(ReeldropError):
    """The text can't be translated."""


class NotLoaded(TranslationFailed):
    """The translator can't be loaded."""


class Untranslatable(TranslationFailed):
    """The translator makes nothing of this text; it can translate others."""


class Process:
    """A process that translates. It starts at once, and ends with `close`. One caller at a time."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            process_group=0,  # Ctrl-C is for the daemon, which may still need it
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
        )
        assert self._child.stdin is not None
        os.set_blocking(self._child.stdin.fileno(), False)  # a full pipe is no place to hang
        self._loaded: set[Path] = set()
        self._rest = b""

    def translated(self, folder: Path, text: str) -> str:
        """Return the translation of a text by the translator in a folder.

        Raises:
            TranslationFailed: the process can translate other texts.
            TranslatorEnded: the process has ended.
        """
        seconds = PART_SECONDS if folder in self._loaded else START_SECONDS
        self._give(json.dumps({"folder": str(folder), "text": text}) + "\n", seconds)
        while True:
            answer = json.loads(self._line(seconds))
            if "text" in answer:
                return str(answer["text"])
            if "unfit" in answer:
                raise Untranslatable(answer["unfit"])
            if "not_loaded" in answer:
                raise NotLoaded(answer["not_loaded"])
            if "error" in answer:
                raise TranslationFailed(answer["error"])
            self._loaded.add(folder)
            seconds = PART_SECONDS

    def _give(self, order: str, seconds: float) -> None:
        assert self._child.stdin is not None
        left, end = order.encode(), time.monotonic() + seconds
        while left:
            self._await(self._child.stdin, select.POLLOUT, end, seconds)
            with self._said_when_gone():
                left = left[self._child.stdin.write(left) or 0 :]  # None if it is full after all

    def _line(self, seconds: float) -> bytes:
        assert self._child.stdout is not None
        end = time.monotonic() + seconds
        while b"\n" not in self._rest:
            self._await(self._child.stdout, select.POLLIN, end, seconds)
            with self._said_when_gone():
                found = os.read(self._child.stdout.fileno(), 1 << 16)
                if not found:
                    raise BrokenPipeError
                self._rest += found
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _await(self, pipe: IO[bytes], what: int, end: float, seconds: float) -> None:
        """Wait until a pipe is ready, and end the process if it isn't after so many seconds."""
        ready = select.poll()
        ready.register(pipe, what)
        if not ready.poll(1000 * max(0.0, end - time.monotonic())):
            self.close()
            raise TranslatorEnded(f"the translator hung for {seconds:g} s, and was ended")

    @contextlib.contextmanager
    def _said_when_gone(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.close()
            raise TranslatorEnded(f"the translator ended ({self._child.returncode})") from None

    def kill(self) -> None:
        """End the process at once; it holds nothing that could be lost. Safe from any thread."""
        self._child.kill()

    def close(self) -> None:
        """End the process, and close its pipes."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
