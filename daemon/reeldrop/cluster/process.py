"""Run the bridge as a child process of the service, and log its output."""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection

import structlog

from reeldrop.host.log import MAX_FROM_LIBRARY

COMMAND = (sys.executable, "-P", "-m", "reeldrop.cluster.bridge")
"""-P: import nothing from the current folder, which may be an inbox."""

CLOSE_SECONDS = 20.0
"""How long a bridge may take to end its actors; Ray ends them anyway when it is gone."""

_NOISE = "[state-dump]"
"""Begins the raylet's regular reports on its state, which Ray prints when a raylet has ended."""

_ANSI = re.compile(r"\x1b\[[0-9;]*m")

_log = structlog.get_logger()


@contextlib.contextmanager
def bridge(environment: Mapping[str, str]) -> Iterator[Connection[object, object]]:
    """Start a bridge, and end it on exit. It also ends when this process does."""
    ours, theirs = multiprocessing.Pipe()
    process = subprocess.Popen(
        [*COMMAND, str(theirs.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[theirs.fileno()],
        env=environment,
        start_new_session=True,  # an interrupt at the terminal is for the service
        cwd="/",  # Ray's workers import from here, and strangers can write into an inbox
    )
    theirs.close()
    log = threading.Thread(target=_log_lines, args=(process,), name="ray's lines", daemon=True)
    log.start()
    try:
        yield ours
    finally:
        ours.close()
        try:
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log_lines(process: subprocess.Popen[bytes]) -> None:
    """Log what Ray and its threads print."""
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            text = _ANSI.sub("", line.decode(errors="replace")).strip()
            if text and not text.startswith(_NOISE):
                _log.info("ray", text=text[:MAX_FROM_LIBRARY])
