"""What a bridge does when calls of an actor fail, of which there is none here."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Future

import pytest
import ray.exceptions
from reeldrop.base.job import Cause
from reeldrop.cluster import bridge
from reeldrop.cluster.bridge import Bridge
from reeldrop.cluster.lives import Life
from reeldrop.cluster.places import Place
from reeldrop.cluster.wire import Left, Start, Trouble

FULL = ray.exceptions.ObjectStoreFullError("there is no room")


class Actor:
    """Answers each call with the next of its answers, errors or values.

    raises: whether errors are raised by the call itself: its arguments find no room
    """

    def __init__(self, *answers: object, raises: bool = False) -> None:
        self._answers = list(answers)
        self._raises = raises
        self.obey = self.ask = self

    def remote(self, *_arguments: object) -> Actor:
        if self._raises and isinstance(self._answers[0], Exception):
            raise self._answers.pop(0)  # type: ignore[misc]
        return self

    def future(self) -> Future[object]:
        made, answer = Future[object](), self._answers.pop(0)
        if isinstance(answer, Exception):
            made.set_exception(answer)
        else:
            made.set_result(answer)
        return made


class Bridged:
    """A bridge with one actor that has joined."""

    def __init__(self, actor: Actor) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self.bridge = Bridge(theirs, Start("local", "", "", None, b""))
        self.life = Life(1, Place("n", 0), actor, 0.0, has_joined=True)
        self.bridge._lives[1] = self.bridge._at[self.life.place] = self.life
        self.answers: list[object] = []

    def call(self, method: str) -> None:
        """Call a method, and do all that is due after that, without its pauses."""
        self.bridge._call(self.life, method, then=self.answers.append)
        while not self.bridge._todo.empty():
            self.bridge._todo.get()()
            while self.bridge._timers:
                self.bridge._timers.pop().call()

    def said(self) -> list[object]:
        """Return what it has told the service."""
        found = []
        while self._ours.poll(0):
            found.append(self._ours.recv())
        return found


@pytest.mark.parametrize("raises", [False, True])
def test_a_call_that_fails_is_repeated_and_told_once(raises: bool) -> None:
    """Until it succeeds; so it is if its arguments find no room."""
    bridged = Bridged(Actor(FULL, FULL, "the answer", raises=raises))
    bridged.call("obey")
    assert ["the answer"] == bridged.answers
    assert [Trouble("calls of obey are repeated: there is no room"), Trouble("")] == bridged.said()


@pytest.mark.parametrize(("method", "cause"), [("obey", Cause.WORK), ("ask", Cause.MACHINE)])
def test_an_actor_whose_calls_fail_for_long_is_replaced(
    method: str, cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order may be too large for any; that no answer comes is the fault of no prompt."""
    killed = []
    monkeypatch.setattr(bridge, "REPEAT_SECONDS", 0.0)
    monkeypatch.setattr(ray, "kill", killed.append)
    actor = Actor(FULL)
    bridged = Bridged(actor)
    bridged.call(method)
    reason = f"calls of {method} failed for 0 s: there is no room"
    assert [Left(1, reason, cause)] == bridged.said()
    assert [actor] == killed
    assert not bridged.bridge._lives
