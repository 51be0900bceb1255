"""Several waits for the disk at once."""

from __future__ import annotations

import threading
from concurrent import futures
from functools import partial
from typing import Any

import pytest
from reeldrop.base import at_once

SECONDS = 30.0


def fail(error: Exception) -> None:
    """Raise an error."""
    raise error


@pytest.mark.parametrize("count", [0, 1, 5])
def test_calls_run_at_once(count: int) -> None:
    """None of them ends before all have begun."""
    together = threading.Barrier(max(1, count))
    found = at_once.each(partial(together.wait, SECONDS) for _ in range(count))
    assert [*range(count)] == sorted(found)  # type: ignore[type-var]


def test_an_error_of_the_disk_is_in_its_place() -> None:
    """The others have their answers."""
    full = OSError("full")
    assert [1, full, 3] == at_once.each([lambda: 1, partial(fail, full), lambda: 3])


@pytest.mark.parametrize("place", [0, 1])
def test_another_error_is_raised_when_all_have_ended(place: int) -> None:
    """Nothing goes on in a thread behind the back of who has called."""
    has_failed, ended = threading.Event(), []

    def fail_first() -> None:
        has_failed.set()
        raise RuntimeError("a defect")

    def end() -> None:
        assert has_failed.wait(SECONDS)
        ended.append(1)

    calls = [end, end, end]
    calls[place] = fail_first
    with pytest.raises(RuntimeError, match="a defect"):
        at_once.each(calls)
    assert [1, 1] == ended


def test_a_thread_that_cannot_start_is_told_when_all_others_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was begun before does not go on behind the back of who has called."""
    is_refused, ended = threading.Event(), []

    class OneThread(futures.ThreadPoolExecutor):
        def submit(self, *call: Any, **more: Any) -> Any:
            if self._threads:
                is_refused.set()
                raise RuntimeError("can't start new thread")
            return super().submit(*call, **more)

    def end() -> None:
        assert is_refused.wait(SECONDS)
        ended.append(1)

    monkeypatch.setattr(futures, "ThreadPoolExecutor", OneThread)
    with pytest.raises(RuntimeError, match="new thread"):
        at_once.each([end, end, end])
    assert [1] == ended
