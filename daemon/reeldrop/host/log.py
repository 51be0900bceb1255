"""Log structured events to stdout, and each job's events to a file of its own, too.

A terminal gets lines for people, systemd's journal gets entries that can be searched by job, and
anything else gets JSON lines. Messages and warnings of libraries are logged in the same way.
Does not know what the events mean.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TextIO, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

from reeldrop.base.escaping import short, shown, shown_lines
from reeldrop.host import journal, process

IDENTIFIER = "reeldrop"

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_OWN_FIELDS = {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"}
_ON_LINES_BELOW = ("exception", "stacks")
_NOT_IN_LINE = {"event", "level", "timestamp", *_ON_LINES_BELOW}
_FOR_MEASUREMENTS = {"attempt", "attempts", "level", "peak_memory_mib", "pid"}
_NOTHING: tuple[object, ...] = (0, "", [], (), None)

MAX_FROM_LIBRARY = 2000
"""Maximum number of characters of a library's message; some quote all that they know."""

_job_files: dict[str, IO[str]] = {}


def configure(stream: TextIO, *, for_people: bool) -> None:
    """Send all events to the stream from now on."""
    if for_people:
        colors = stream.isatty() and not os.environ.get("NO_COLOR")
        render = structlog.dev.ConsoleRenderer(
            colors=colors, pad_event_to=0, pad_level=False, sort_keys=False
        )
        _configure(
            stream, lambda logger, name, event: render(logger, name, _brief(_escaped(event)))
        )
    else:
        _configure(stream, structlog.processors.JSONRenderer(ensure_ascii=False, default=str))


def configure_journal(stream: TextIO, address: str = journal.ADDRESS) -> None:
    """Send all events to the journal from now on, or to the stream if the journal refuses one."""

    def into_journal(_: WrappedLogger, __: str, event: EventDict) -> str:
        priority, words = _PRIORITIES[event["level"]], _in_words(event)
        try:
            journal.send(_fields(event, priority, words), address)
        except OSError:
            return "\n".join(f"<{priority}>{line}" for line in words.splitlines())
        raise structlog.DropEvent

    _configure(stream, into_journal)


def _configure(stream: TextIO, last: Callable[..., Any]) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _printable,
            _into_job_file,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, process.Steadfast(stream))),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_FromLibraries(logging.WARNING)]
    logging.captureWarnings(True)


def open_job_file(job_id: str, path: Path) -> None:
    """Write events with this `job_id` to the file, too, as JSON lines."""
    close_job_file(job_id)
    _job_files[job_id] = path.open("a", encoding="utf-8", errors="backslashreplace")


def close_job_file(job_id: str) -> None:
    """Close the file of `open_job_file`, if it is open."""
    file = _job_files.pop(job_id, None)
    if file is not None:
        with contextlib.suppress(OSError):  # what is still buffered may be lost
            file.close()


def _into_job_file(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    file = _job_files.get(str(event.get("job_id")))
    if file is not None:
        with contextlib.suppress(OSError):  # a full disk must not end the job
            file.write(json.dumps(event, ensure_ascii=False, default=str) + "\n")
            file.flush()
    return event


def _in_words(event: EventDict) -> str:
    """Return an event as a line for people, followed by its traceback if it has one."""
    details = " ".join(
        f"{key}={_quoted(_text(value))}" for key, value in event.items() if key not in _NOT_IN_LINE
    )
    line = str(event["event"]).replace("_", " ")
    traces = [shown_lines(str(event[key])) for key in _ON_LINES_BELOW if event.get(key)]
    return "\n".join([f"{line}: {details}" if details else line, *traces])


def _fields(event: EventDict, priority: int, words: str) -> Iterator[tuple[str, str]]:
    """Yield the fields of an event's entry, without its level and time: the journal has its own."""
    yield "MESSAGE", words
    yield "PRIORITY", str(priority)
    yield "SYSLOG_IDENTIFIER", IDENTIFIER
    for key, value in event.items():
        name = journal.field_name(key)
        if name and name not in _OWN_FIELDS and key not in ("level", "timestamp"):
            yield name, _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool | int | float | list | tuple | dict | None):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _quoted(text: str) -> str:
    """Return one word unchanged, any other text in quotes and without control characters."""
    if text.isprintable() and text and " " not in text and '"' not in text:
        return text
    return shown(json.dumps(text, ensure_ascii=False))


def _brief(event: EventDict) -> EventDict:
    """Return what a person at a terminal needs of an event.

    The local time of day, and paths from the current folder, but no id of a job. If all is well,
    also no level, no zero or empty values, and no figures that only measurements need.
    """
    here = ""
    with contextlib.suppress(FileNotFoundError):  # the current folder may have been deleted
        here = f"{os.getcwd()}/"
    at = datetime.fromisoformat(event["timestamp"]).astimezone()
    kept = {key: value for key, value in event.items() if key != "job_id"}
    if event["level"] == "info":
        kept = {k: v for k, v in kept.items() if k not in _FOR_MEASUREMENTS and v not in _NOTHING}
    brief = {key: _brief_value(value, here) for key, value in kept.items()}
    return {**brief, "timestamp": f"{at:%H:%M:%S}"}


def _brief_value(value: object, here: str) -> object:
    match value:
        case str():
            return value.removeprefix(here)
        case float():
            return round(value, 1)
        case list() | tuple():
            return short(",".join(map(str, value)))
    return value


def _escaped(event: EventDict) -> EventDict:
    """Return an event whose texts can't control a terminal."""
    return {key: _escaped_value(key, value) for key, value in event.items()}


def _escaped_value(key: str, value: object) -> object:
    if isinstance(value, str):
        return shown_lines(value) if key in _ON_LINES_BELOW else shown(value)
    return value


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape bytes of file names that are not UTF-8, so that texts can be encoded."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isascii():
            event[key] = value.encode("utf-8", "backslashreplace").decode()
    return event


class _FromLibraries(logging.Handler):
    """Passes log records of libraries on as events."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(library=record.name)
        level = min(record.levelno // 10 * 10, logging.CRITICAL)  # structlog has no others
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # the arguments do not match the format
            message = str(record.msg)
        logger.log(
            level, "library_message", message=short(" ".join(message.split()), MAX_FROM_LIBRARY)
        )


def to_stdout() -> None:
    """Configure by the kind of this process's stdout: a terminal, systemd's journal, or another."""
    if journal.has_stream(sys.stdout.fileno(), os.environ):
        configure_journal(sys.stdout)
    else:
        configure(sys.stdout, for_people=sys.stdout.isatty())
