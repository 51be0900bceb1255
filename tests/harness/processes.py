"""Start commands as forks of one process, run them, and wait for conditions."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import HARNESS
from harness.zygote import ADDRESS, Process, Zygote, is_python

DEADLINE_SECONDS = 120.0

FAULTY = (sys.executable, str(HARNESS / "faulty_daemon.py"))
"""`reeldrop` with a pipeline that breaks on certain prompts, and with other faults on demand."""

NEW_PROCESS = (sys.executable, "-s", "-m", "reeldrop")
"""`reeldrop` as a new process, not a fork: for tests of how a process starts."""


@functools.cache
def fork_server() -> Zygote:
    """Return the zygote that starts commands: that of the whole run, if it has one."""
    address = os.environ.get(ADDRESS)
    return Zygote.shared(address) if address else Zygote()


def start(
    command: Sequence[str],
    stdin: Any = 0,
    stdout: Any = 1,
    stderr: Any = 2,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Process | subprocess.Popen[bytes]:
    """Start a command like `subprocess.Popen`, but as a fork if that is equivalent."""
    stderr = stdout if stderr == subprocess.STDOUT else stderr
    if is_python(command) and fork_server().can_run(command, env):
        streams = [s if isinstance(s, int) else s.fileno() for s in (stdin, stdout, stderr)]
        return fork_server().run(command, streams, cwd, env)
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env)


def as_fork(command: Sequence[str]) -> tuple[str, ...]:
    """Return a command that runs a command of Python as a fork, if the run has a zygote."""
    fork = (sys.executable, str(HARNESS / "fork_of_python.py"))
    return (*(fork if ADDRESS in os.environ else command[:1]), *command[1:])


def start_with_files(
    command: Sequence[str], stdout: Any, pass_fds: Sequence[int], env: Mapping[str, str], **_: Any
) -> Process:
    """Start a command of Python as a fork with open files, in place of `subprocess.Popen`.

    It has no process group of its own.
    """
    with open(os.devnull) as nothing:
        streams = [nothing.fileno(), stdout.fileno(), 2, *pass_fds]
        return fork_server().run(command, streams, Path("/"), env)


def run(
    command: Sequence[str], errors: str = "strict", **kwargs: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and return its exit code and output."""
    with _scratch(errors) as stdout, _scratch(errors) as stderr:
        process = start(command, stdout=stdout, stderr=stderr, **kwargs)
        try:
            code = process.wait(DEADLINE_SECONDS)
        finally:
            process.kill()
            process.wait()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(command, code, stdout.read(), stderr.read())


def _scratch(errors: str) -> Any:
    return os.fdopen(os.memfd_create("output"), "r+", errors=errors)


def await_that(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; fail after DEADLINE_SECONDS.

    The pause is longer than a slow check, to leave time on the processor for what is awaited.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        began = time.monotonic()
        if condition():
            return
        assert began < deadline, f"waited in vain for {what}"
        time.sleep(min(0.5, max(0.02, 4 * (time.monotonic() - began))))
