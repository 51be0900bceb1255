"""log: events for machines and people, a file for each job, and messages of libraries."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pty
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from harness.journal_receiver import Receiver
from reeldrop.host import log


@pytest.fixture
def stream(log_restored: None) -> Iterator[io.StringIO]:  # noqa: ARG001
    """A stream that gets the events."""
    log.configure(written := io.StringIO(), for_people=False)
    yield written
    for job_id in ("j1", "j2"):
        log.close_job_file(job_id)


def events(text: str) -> list[dict[str, Any]]:
    """Return the events of a text."""
    return [json.loads(line) for line in text.splitlines()]


def told(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the events without their times, which must all be in UTC."""
    found = events(stream.getvalue())
    for event in found:
        assert event.pop("timestamp").endswith("Z")
    return found


def test_an_event_is_a_line_of_json(stream: io.StringIO) -> None:
    """Name and values arrive unchanged, with Chinese and line ends."""
    structlog.get_logger().bind(job_id="j1").info("video_published", file="大\nb", seconds=1.5)
    assert [
        {
            "event": "video_published",
            "level": "info",
            "job_id": "j1",
            "file": "大\nb",
            "seconds": 1.5,
        }
    ] == told(stream)
    assert "大" in stream.getvalue()


def test_loggers_made_before_are_configured(stream: io.StringIO) -> None:
    """A logger that a module made at import uses a later configuration."""
    logger = structlog.get_logger()
    log.configure(later := io.StringIO(), for_people=False)
    logger.info("now")
    assert "" == stream.getvalue()
    assert ["now"] == [event["event"] for event in told(later)]


def test_debug_is_left_out(stream: io.StringIO) -> None:
    """Debug events are dropped."""
    structlog.get_logger().debug("detail")
    assert [] == told(stream)


def test_values_that_are_no_json(stream: io.StringIO) -> None:
    """Paths and errors are logged as text."""
    structlog.get_logger().info("x", path=Path("/a/b"), error=ValueError("no"))
    (event,) = told(stream)
    assert ("/a/b", "no") == (event["path"], event["error"])


def test_names_that_are_no_utf_8(stream: io.StringIO, tmp_path: Path) -> None:
    """A file name that is not UTF-8 is escaped, and can be written to any stream."""
    log.open_job_file("j1", tmp_path / "job.log")
    structlog.get_logger().info("claimed", job_id="j1", file="大\udcff.txt")
    assert "大\\udcff.txt" == told(stream)[0]["file"]
    assert "大\\udcff.txt" == events((tmp_path / "job.log").read_text("utf-8"))[0]["file"]
    stream.getvalue().encode()


def test_errors_have_their_traceback(stream: io.StringIO) -> None:
    """An exception event has its traceback in the same line."""
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger().exception("failed")
    (event,) = told(stream)
    assert "ValueError: no" in event["exception"]
    assert "error" == event["level"]


# Job files


def test_a_jobs_events_are_in_its_file(stream: io.StringIO, tmp_path: Path) -> None:
    """The file gets the same lines as the stream, but only those of its job."""
    log.open_job_file("j1", tmp_path / "one.log")
    log.open_job_file("j2", tmp_path / "two.log")
    logger = structlog.get_logger()
    logger.info("a", job_id="j1", text="大")
    logger.info("b", job_id="j2")
    logger.info("c")
    assert ["a", "b", "c"] == [event["event"] for event in events(stream.getvalue())]
    assert events(stream.getvalue())[:1] == events((tmp_path / "one.log").read_text("utf-8"))
    assert ["b"] == [event["event"] for event in events((tmp_path / "two.log").read_text())]


@pytest.mark.usefixtures("stream")
def test_a_job_file_is_written_at_once_and_added_to(tmp_path: Path) -> None:
    """Each line is flushed, and a later attempt appends to the file."""
    path = tmp_path / "job.log"
    path.write_text('{"event": "earlier"}\n')
    log.open_job_file("j1", path)
    structlog.get_logger().info("now", job_id="j1")
    assert ["earlier", "now"] == [event["event"] for event in events(path.read_text())]


def test_a_closed_job_file_gets_nothing(stream: io.StringIO, tmp_path: Path) -> None:
    """After `close_job_file`, events go only to the stream; a second close is harmless."""
    log.open_job_file("j1", tmp_path / "job.log")
    log.close_job_file("j1")
    log.close_job_file("j1")
    structlog.get_logger().info("late", job_id="j1")
    assert "" == (tmp_path / "job.log").read_text()
    assert ["late"] == [event["event"] for event in told(stream)]


@pytest.mark.usefixtures("stream")
def test_a_job_file_opened_again_replaces_the_first(tmp_path: Path) -> None:
    """Opening a job's file again closes the earlier one."""
    log.open_job_file("j1", tmp_path / "one.log")
    log.open_job_file("j1", tmp_path / "two.log")
    structlog.get_logger().info("x", job_id="j1")
    assert "" == (tmp_path / "one.log").read_text()
    assert 1 == len(events((tmp_path / "two.log").read_text()))


# Libraries


def test_what_libraries_warn_of_comes_through(stream: io.StringIO) -> None:
    """Warnings of libraries are events of one line, with the library's name; info is dropped."""
    library = logging.getLogger("library.models")
    library.info("chat")
    library.warning("The config\n attributes %s", {"a": 1})
    library.error("bad")
    assert [
        ("warning", "library.models", "The config attributes {'a': 1}"),
        ("error", "library.models", "bad"),
    ] == [(event["level"], event["library"], event["message"]) for event in told(stream)]
    assert {"library_message"} == {event["event"] for event in told(stream)}


def test_a_library_may_not_fill_the_log(stream: io.StringIO) -> None:
    """A message that quotes all that a library knows is cut, with a mark where."""
    logging.getLogger("library").warning("all of it: %s", "x" * 1_000_000)
    (event,) = told(stream)
    assert log.MAX_FROM_LIBRARY == len(event["message"])
    assert event["message"].startswith("all of it: xxx")
    assert event["message"].endswith("\N{HORIZONTAL ELLIPSIS}")


@pytest.mark.parametrize("level", [35, 60])
def test_levels_of_a_librarys_own(stream: io.StringIO, level: int) -> None:
    """A record with an invented level is not lost."""
    logging.getLogger("odd").log(level, "message")
    assert ["message"] == [event["message"] for event in told(stream)]


def test_a_librarys_own_mistakes_do_not_end_its_work(stream: io.StringIO) -> None:
    """If a record's arguments do not match its format, the format is logged."""
    log.configure(stream, for_people=False)  # without pytest's own handler, which would raise
    logging.getLogger("odd").warning("%d frames of %s", "many")
    assert ["%d frames of %s"] == [event["message"] for event in told(stream)]


def test_python_warnings_come_through(stream: io.StringIO) -> None:
    """`warnings.warn` is logged like other messages of libraries."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("use another\nway", FutureWarning, stacklevel=1)
    (event,) = told(stream)
    assert "py.warnings" == event["library"]
    assert "FutureWarning: use another way" in event["message"]


def test_for_people(stream: io.StringIO) -> None:
    """On a terminal, events are words, with colours only if the terminal has them."""
    log.configure(terminal := io.StringIO(), for_people=True)
    structlog.get_logger().info("video_published", file="a.mp4")
    line = terminal.getvalue()
    assert "video_published" in line
    assert "a.mp4" in line
    assert not line.startswith("{")
    assert "\x1b" not in line
    assert "" == stream.getvalue()


def test_a_line_for_people_is_short(
    stream: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Local time of day, relative paths, and no values that only programs need."""
    monkeypatch.setenv("TZ", "XXX-5:30")
    time.tzset()
    monkeypatch.chdir(tmp_path)
    log.configure(terminal := io.StringIO(), for_people=True)
    before = datetime.now(UTC) + timedelta(hours=5, minutes=30)
    figures = {
        "attempts": 1,
        "failed": 0,
        "inapplicable": [],
        "taken": ["a", "b"],
        "seconds": 1.234,
    }
    logger = structlog.get_logger().bind(job_id="j1")
    logger.info("video_published", file=str(tmp_path / "a/b.mp4"), n=1, **figures)
    logger.warning("paused", reason="disk", attempts=1, failed=0)
    first, second = terminal.getvalue().splitlines()
    assert "video_published file=a/b.mp4 n=1 taken=a,b seconds=1.2" == first.partition(" ")[2]
    assert "[warning] paused reason=disk attempts=1 failed=0" == second.partition(" ")[2]
    passed = datetime.now(UTC) + timedelta(hours=5, minutes=30) - before
    seconds = range(int(passed.total_seconds()) + 2)
    told = {f"{before + timedelta(seconds=number):%H:%M:%S}" for number in seconds}
    assert first.partition(" ")[0] in told
    monkeypatch.undo()
    time.tzset()
    assert "" == stream.getvalue()


def test_a_line_for_people_without_a_current_folder(
    stream: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events are logged even if the current folder was deleted."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    log.configure(terminal := io.StringIO(), for_people=True)
    structlog.get_logger().info("video_published", file="/a/b.mp4")
    assert terminal.getvalue().endswith("video_published file=/a/b.mp4\n")
    assert "" == stream.getvalue()


@pytest.mark.usefixtures("stream")
def test_colours_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR turns colours off."""
    for value, expected in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", value)
        ours, terminal = pty.openpty()
        with os.fdopen(ours, "rb", buffering=0) as reader, os.fdopen(terminal, "w") as tty:
            log.configure(tty, for_people=True)
            structlog.get_logger().info("x")
            tty.flush()
            assert expected == (b"\x1b[" in reader.read(1000))


# The journal


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A socket like the journal's."""
    with contextlib.closing(Receiver(tmp_path / "socket")) as made:
        yield made


@pytest.fixture
def journal_stream(receiver: Receiver, stream: io.StringIO) -> io.StringIO:
    """The stdout of a service whose events go to the journal `receiver`."""
    log.configure_journal(stream, receiver.address)
    return stream


def test_an_event_in_the_journal(receiver: Receiver, journal_stream: io.StringIO) -> None:
    """An event is a line of words, and a field for each key, without the time."""
    logger = structlog.get_logger().bind(job_id="j1")
    logger.info("video_published", file="a b/大\n.mp4", seconds=1.5, last=True, seeds=[1, 2])
    assert {
        "MESSAGE": 'video published: job_id=j1 file="a b/大\\n.mp4" seconds=1.5 last=true'
        ' seeds="[1, 2]"',
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "reeldrop",
        "EVENT": "video_published",
        "JOB_ID": "j1",
        "FILE": "a b/大\n.mp4",
        "SECONDS": "1.5",
        "LAST": "true",
        "SEEDS": "[1, 2]",
    } == receiver.entry()
    assert "" == journal_stream.getvalue()


@pytest.mark.usefixtures("journal_stream")
@pytest.mark.parametrize(
    ("level", "priority"), [("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")]
)
def test_levels_are_priorities(receiver: Receiver, level: str, priority: str) -> None:
    """`journalctl -p warning` shows warnings and errors."""
    getattr(structlog.get_logger(), level)("x")
    assert priority == receiver.entry()["PRIORITY"]


@pytest.mark.usefixtures("journal_stream")
def test_the_journals_own_fields_are_not_overwritten(receiver: Receiver) -> None:
    """Keys of a library's event can't replace MESSAGE or PRIORITY."""
    logging.getLogger("library.models").warning("no\x1b[31m colours, please")
    entry = receiver.entry()
    assert (
        'library message: library=library.models message="no\\u001b[31m colours, please"'
        == (entry["MESSAGE"])
    )
    assert ("library_message", "library.models") == (entry["EVENT"], entry["LIBRARY"])


@pytest.mark.usefixtures("journal_stream")
def test_a_traceback_is_below_the_line(receiver: Receiver) -> None:
    """The journal's message has the traceback below the line."""
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger().exception("unexpected_error", job_id="j1")
    entry = receiver.entry()
    first, *trace = entry["MESSAGE"].splitlines()
    assert "unexpected error: job_id=j1" == first
    assert "ValueError: no" == trace[-1]
    structlog.get_logger().error("previous_process_ended", reason="Aborted", stacks="Thread 1:\n a")
    assert "previous process ended: reason=Aborted\nThread 1:\n a" == receiver.entry()["MESSAGE"]
    structlog.get_logger().error("previous_process_ended", reason="Aborted", stacks="")
    assert "previous process ended: reason=Aborted" == receiver.entry()["MESSAGE"]


def test_a_jobs_file_is_the_same_under_the_journal(
    receiver: Receiver, journal_stream: io.StringIO, tmp_path: Path
) -> None:
    """A job's file has complete JSON lines also under the journal."""
    log.open_job_file("j1", tmp_path / "job.log")
    structlog.get_logger().info("a", job_id="j1")
    (event,) = events((tmp_path / "job.log").read_text())
    assert {"event", "level", "job_id", "timestamp"} == set(event)
    assert "j1" == receiver.entry()["JOB_ID"]
    assert "" == journal_stream.getvalue()


def test_without_the_journals_socket_events_are_lines(stream: io.StringIO, tmp_path: Path) -> None:
    """If the journal refuses an entry, the stream gets lines that begin with the priority."""
    log.configure_journal(stream, str(tmp_path / "none"))
    logger = structlog.get_logger()
    logger.info("video_published", file="a.mp4")
    try:
        raise ValueError("no")
    except ValueError:
        logger.exception("failed")
    first, *others = stream.getvalue().splitlines()
    assert "<6>video published: file=a.mp4" == first
    assert ("<3>failed", "<3>ValueError: no") == (others[0], others[-1])
    assert all(line.startswith("<3>") for line in others)


def test_stdout_that_is_no_terminal_and_no_journal_gets_json(
    stream: io.StringIO, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirected stdout gets JSON, even with systemd's variables in the environment."""
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    log.to_stdout()
    structlog.get_logger().info("x")
    assert ["x"] == [event["event"] for event in events(capfd.readouterr().out)]
    assert "" == stream.getvalue()
