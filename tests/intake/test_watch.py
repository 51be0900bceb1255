"""The watch on a folder, and what the library behind it would tell."""

from __future__ import annotations

import contextlib
import queue
import threading
import warnings
from pathlib import Path

import pytest
from harness.processes import await_that
from reeldrop.intake.watch import Watch
from watchdog.observers.inotify import InotifyObserver


def test_warnings_that_quote_all_folders_are_not_kept(tmp_path: Path) -> None:
    """Python would keep each text for the life of the process; other warnings come through."""
    kept: dict[str, int] = {}
    of_others: dict[str, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        watch = Watch(tmp_path, lambda: None)
        watch.close()
        for text in ("of one state of all folders", "of another"):
            warnings.warn_explicit(
                text, RuntimeWarning, "inotify.py", 1, "watchdog.observers.inotify", kept
            )
        with warnings.catch_warnings(record=True) as seen:
            warnings.warn_explicit("news", RuntimeWarning, "a.py", 1, "a.watchdog", of_others)
    assert [] == [text for text in kept if text != "version"]
    assert ["news"] == [str(warning.message) for warning in seen]


def test_its_end_is_not_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the library takes to stop; no thread stays in the end."""
    before, may_stop, stop = {*threading.enumerate()}, threading.Event(), InotifyObserver.stop
    watch = Watch(tmp_path, lambda: None)

    def stop_late(observer: InotifyObserver) -> None:
        assert may_stop.wait(60)
        stop(observer)

    monkeypatch.setattr(InotifyObserver, "stop", stop_late)
    watch.close()  # comes back before it may stop
    assert not watch.is_alive()
    assert {*threading.enumerate()} - before
    may_stop.set()
    await_that(lambda: before >= {*threading.enumerate()}, "the end of its threads")


def test_its_end_frees_the_kernel_s_watches_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next watch of the same folders comes at once, and their number is bounded for a user.

    Beyond that bound, the library leaves folders out, and tells nobody.
    """

    def watched() -> int:
        texts = []
        for file in Path("/proc/self/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                texts.append(file.read_text())
        return "".join(texts).count("inotify wd:")

    (tmp_path / "a/b").mkdir(parents=True)
    before, stop = watched(), InotifyObserver.stop
    watch = Watch(tmp_path, lambda: None)
    assert before + 3 == watched()
    monkeypatch.setattr(InotifyObserver, "stop", lambda _observer: None)
    watch.close()
    assert before == watched()
    monkeypatch.setattr(InotifyObserver, "stop", stop)
    watch.close()


def test_nothing_is_told_after_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even while the library's threads go on."""
    told, heard = queue.SimpleQueue[None](), threading.Event()
    ended, other = Watch(tmp_path, lambda: told.put(None)), Watch(tmp_path, heard.set)
    stop = InotifyObserver.stop
    monkeypatch.setattr(InotifyObserver, "stop", lambda _observer: None)
    ended.close()
    monkeypatch.setattr(InotifyObserver, "stop", stop)
    (tmp_path / "a.txt").touch()
    assert heard.wait(60)
    assert told.empty()
    for watch in (ended, other):
        watch.close()
