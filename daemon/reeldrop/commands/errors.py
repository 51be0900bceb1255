"""The end of a command: the message and the exit code of each error."""

from __future__ import annotations

import sys
from collections.abc import Callable

from reeldrop.base import trouble
from reeldrop.base.errors import (
    DISK_ERRORS,
    FileError,
    RendererDied,
    SpoolLocked,
    Unavailable,
    WrongUsage,
)
from reeldrop.commands import exit_codes
from reeldrop.commands.output import note
from reeldrop.host import ending, process


def run(command: Callable[[], object]) -> None:
    """Run a command, and exit with its code."""
    process.prepare()
    try:
        _run(command)
    except SystemExit as end:
        lost = process.close_down()
        if lost is not None and not end.code:
            _note_lost(lost)
            end.code = exit_codes.FAILED
        ending.leave_threads(end)
        raise


def _note_lost(error: OSError) -> None:
    if not isinstance(error, BrokenPipeError):  # the reader has closed the pipe: no error
        note(f"reeldrop: can't write to stdout: {error.strerror}")


def _run(command: Callable[[], object]) -> None:
    """Run a command; turn errors that the user has to act on into a message and an exit code."""
    try:
        command()
    except FileError as error:
        for mistake in error.mistakes:
            note(f"reeldrop: {mistake}")
        is_temporary = isinstance(error, Unavailable)
        sys.exit(exit_codes.NOT_NOW if is_temporary else exit_codes.CONFIG)
    except SpoolLocked as error:
        note(f"reeldrop: {error}")
        sys.exit(exit_codes.NOT_NOW)
    except WrongUsage as error:
        for line in str(error).split("\n"):
            note(line if line.startswith(" ") else f"reeldrop: {line}")  # an example is indented
        sys.exit(exit_codes.USAGE)
    except OSError as error:
        note(f"reeldrop: {trouble.in_words(error)}")
        sys.exit(exit_codes.NOT_NOW if error.errno in DISK_ERRORS else exit_codes.FAILED)
    except RendererDied as error:
        note(f"reeldrop: {error}")
        sys.exit(exit_codes.FAILED)
