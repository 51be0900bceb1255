"""Daemons that start at once: forked from a process that has imported torch already.

Each is a real process of its own that runs the real command; only the seconds of importing are
saved. Run as a program, it reads commands from stdin, one JSON list of arguments a line, and
answers each with the process id of a child that runs it.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Zygote:
    """A process that forks daemons on demand."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._ask(None)

    def _ask(self, request: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, arguments: list[str], log: Path, kill_at: int = 0) -> int:
        """Start `reeldrop` with the arguments, its output appended to a file; return its pid.

        With `kill_at`, it is killed right before that many-th change to a folder or fsync.
        """
        return self._ask([arguments, str(log), kill_at])

    def wait(self, pid: int) -> int:
        """Wait for a child to end, and return its exit code, or minus the signal."""
        return self._ask(pid)

    def close(self) -> None:
        """End the process, which has no children left when each was waited for."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from reeldrop import cli, pipeline, renderer, service  # noqa: F401  (this is what takes long)

    for line in sys.stdin:
        request = json.loads(line)
        if request is None:
            answer = 0
        elif isinstance(request, int):
            answer = os.waitstatus_to_exitcode(os.waitpid(request, 0)[1])
        else:
            answer = _fork(*request)
        answers.write(f"{answer}\n")
        answers.flush()


def _fork(arguments: list[str], log: str, kill_at: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if kill_at:
            _kill_before(kill_at)
        sys.argv = ["reeldrop", *arguments]
        from reeldrop import cli

        cli.main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(code)


def _kill_before(call: int) -> None:
    """Let this process be killed right before one of its calls that change what is on the disk."""
    calls = itertools.count(1)

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: Any, **keywords: Any) -> object:
            # The status is written by the clock, so it would make the count differ between runs.
            if not str(arguments[0]).endswith("status.tmp") and next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return wrapper

    for name in ("rename", "replace", "link", "unlink", "fsync", "mkdir", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))


if __name__ == "__main__":
    _serve()
