"""Logging: structured events to stdout, and each job's events into its own file as well.

On a terminal the events are for people, elsewhere JSON lines. What libraries log or warn comes out
the same way. Does not know what the events mean.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from pathlib import Path
from typing import IO, Any, TextIO, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

_job_files: dict[str, IO[str]] = {}


def configure(stream: TextIO, *, for_people: bool) -> None:
    """Send every event to the stream from now on."""
    if for_people:
        last: list[Any] = [structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=24)]
    else:
        last = [structlog.processors.JSONRenderer(ensure_ascii=False, default=str)]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _printable,
            _into_job_file,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Steadfast(stream))),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_FromLibraries(logging.WARNING)]
    logging.captureWarnings(True)


def open_job_file(job_id: str, path: Path) -> None:
    """Write events that carry this `job_id` into the file, too, as JSON lines."""
    close_job_file(job_id)
    _job_files[job_id] = path.open("a", encoding="utf-8", errors="backslashreplace")


def close_job_file(job_id: str) -> None:
    """End what `open_job_file` began, if it did."""
    file = _job_files.pop(job_id, None)
    if file is not None:
        with contextlib.suppress(OSError):  # what could not be written is written now, or lost
            file.close()


def _into_job_file(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    file = _job_files.get(str(event.get("job_id")))
    if file is not None:
        with contextlib.suppress(OSError):  # a full disk must not end the job that fills it
            file.write(json.dumps(event, ensure_ascii=False, default=str) + "\n")
            file.flush()
    return event


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make texts writable that hold bytes of a file name that is no UTF-8."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isascii():
            event[key] = value.encode("utf-8", "backslashreplace").decode()
    return event


class _Steadfast:
    """A stream that may fail: what can't be written is lost, and the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class _FromLibraries(logging.Handler):
    """Passes on what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(library=record.name)
        level = min(record.levelno // 10 * 10, logging.CRITICAL)  # structlog knows no others
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # the library's arguments do not fit its own text
            message = str(record.msg)
        logger.log(level, "library_message", message=" ".join(message.split()))


def to_stdout() -> None:
    """Configure for this process's stdout: for people on a terminal."""
    configure(sys.stdout, for_people=sys.stdout.isatty())
