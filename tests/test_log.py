"""log: events for machines and people, each job's in its own file, the libraries' as well."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from reeldrop import log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What a service's stdout gets; afterwards everything is as it was."""
    root, written = logging.getLogger(), io.StringIO()
    handlers = root.handlers[:]
    log.configure(written, for_people=False)
    yield written
    for job_id in ("j1", "j2"):
        log.close_job_file(job_id)
    root.handlers[:] = handlers
    logging.captureWarnings(False)
    structlog.reset_defaults()


def events(text: str) -> list[dict[str, Any]]:
    """Return the events of a text."""
    return [json.loads(line) for line in text.splitlines()]


def told(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the events without their times, which are all in UTC."""
    found = events(stream.getvalue())
    for event in found:
        assert event.pop("timestamp").endswith("Z")
    return found


def test_an_event_is_a_line_of_json(stream: io.StringIO) -> None:
    """The name and the values are there as they are, Chinese and line ends, too."""
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
    """Modules make their logger at import, before anybody knows where to write."""
    logger = structlog.get_logger()
    log.configure(later := io.StringIO(), for_people=False)
    logger.info("now")
    assert "" == stream.getvalue()
    assert ["now"] == [event["event"] for event in told(later)]


def test_debug_is_left_out(stream: io.StringIO) -> None:
    """What only its programmer wants to know is not logged."""
    structlog.get_logger().debug("detail")
    assert [] == told(stream)


def test_values_that_are_no_json(stream: io.StringIO) -> None:
    """A path or an error is logged as its text."""
    structlog.get_logger().info("x", path=Path("/a/b"), error=ValueError("no"))
    (event,) = told(stream)
    assert ("/a/b", "no") == (event["path"], event["error"])


def test_names_that_are_no_utf_8(stream: io.StringIO, tmp_path: Path) -> None:
    """A file name of undecodable bytes can be written to any stream, escaped."""
    log.open_job_file("j1", tmp_path / "job.log")
    structlog.get_logger().info("claimed", job_id="j1", file="大\udcff.txt")
    assert "大\\udcff.txt" == told(stream)[0]["file"]
    assert "大\\udcff.txt" == events((tmp_path / "job.log").read_text("utf-8"))[0]["file"]
    stream.getvalue().encode()


def test_errors_have_their_traceback(stream: io.StringIO) -> None:
    """Where an exception is logged, its traceback is in the line."""
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger().exception("failed")
    (event,) = told(stream)
    assert "ValueError: no" in event["exception"]
    assert "error" == event["level"]


# Job files


def test_a_jobs_events_are_in_its_file(stream: io.StringIO, tmp_path: Path) -> None:
    """Both get the same line; other jobs' events and those of no job stay out."""
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
    """A crash loses nothing that was logged, and the next attempt goes on in the same file."""
    path = tmp_path / "job.log"
    path.write_text('{"event": "earlier"}\n')
    log.open_job_file("j1", path)
    structlog.get_logger().info("now", job_id="j1")
    assert ["earlier", "now"] == [event["event"] for event in events(path.read_text())]


def test_a_closed_job_file_gets_nothing(stream: io.StringIO, tmp_path: Path) -> None:
    """After a job's end its events go to the stream alone; closing twice is fine."""
    log.open_job_file("j1", tmp_path / "job.log")
    log.close_job_file("j1")
    log.close_job_file("j1")
    structlog.get_logger().info("late", job_id="j1")
    assert "" == (tmp_path / "job.log").read_text()
    assert ["late"] == [event["event"] for event in told(stream)]


@pytest.mark.usefixtures("stream")
def test_a_job_file_opened_again_replaces_the_first(tmp_path: Path) -> None:
    """A job has one file; the earlier one is closed."""
    log.open_job_file("j1", tmp_path / "one.log")
    log.open_job_file("j1", tmp_path / "two.log")
    structlog.get_logger().info("x", job_id="j1")
    assert "" == (tmp_path / "one.log").read_text()
    assert 1 == len(events((tmp_path / "two.log").read_text()))


# Libraries


def test_what_libraries_warn_of_comes_through(stream: io.StringIO) -> None:
    """Their warnings are events in one line each, with the library's name; their chat is not."""
    library = logging.getLogger("library.models")
    library.info("chat")
    library.warning("The config\n attributes %s", {"a": 1})
    library.error("bad")
    assert [
        ("warning", "library.models", "The config attributes {'a': 1}"),
        ("error", "library.models", "bad"),
    ] == [(event["level"], event["library"], event["message"]) for event in told(stream)]
    assert {"library_message"} == {event["event"] for event in told(stream)}


@pytest.mark.parametrize("level", [35, 60])
def test_levels_of_a_librarys_own(stream: io.StringIO, level: int) -> None:
    """A library may have invented a level; that must not cost its message."""
    logging.getLogger("odd").log(level, "message")
    assert ["message"] == [event["message"] for event in told(stream)]


def test_a_librarys_own_mistakes_do_not_end_its_work(stream: io.StringIO) -> None:
    """A message whose arguments do not fit is logged as it is, and nothing is raised."""
    log.configure(stream, for_people=False)  # without pytest's own handler, which would raise
    logging.getLogger("odd").warning("%d frames of %s", "many")
    assert ["%d frames of %s"] == [event["message"] for event in told(stream)]


def test_python_warnings_come_through(stream: io.StringIO) -> None:
    """`warnings.warn` is a message of a library like any other."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("use another\nway", FutureWarning, stacklevel=1)
    (event,) = told(stream)
    assert "py.warnings" == event["library"]
    assert "FutureWarning: use another way" in event["message"]


def test_for_people(stream: io.StringIO) -> None:
    """On a terminal the same event is words, not JSON, and without colours where there are none."""
    log.configure(terminal := io.StringIO(), for_people=True)
    structlog.get_logger().info("video_published", file="a.mp4")
    line = terminal.getvalue()
    assert "video_published" in line
    assert "a.mp4" in line
    assert not line.startswith("{")
    assert "\x1b" not in line
    assert "" == stream.getvalue()
