"""When a bridge starts and ends actors, and what it does if calls fail; without real actors."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from types import SimpleNamespace

import pytest
import ray.exceptions
from reeldrop.base.job import Cause
from reeldrop.cluster import bridge, lives
from reeldrop.cluster.bridge import Bridge
from reeldrop.cluster.lives import Life
from reeldrop.cluster.places import Node, Place
from reeldrop.cluster.wire import Alive, End, Facts, Joined, Left, Message, Start, Trouble

FULL = ray.exceptions.ObjectStoreFullError("there is no room")
BROKEN = ray.exceptions.ActorUnavailableError("the connection was reset", b"\0" * 16)
TOO_LARGE = ray.exceptions.RaySystemError("it is too large")
FACTS = Facts("n", "cpu", "", 0, 0, False, importlib.metadata.version("reeldrop"), 1)


class Actor:
    """Answers each call with the next of its answers, errors or values; others wait.

    raises: whether errors are raised by the call itself: its arguments find no room
    """

    def __init__(self, *answers: object, raises: bool = False) -> None:
        self._answers = list(answers)
        self._raises = raises
        self.obey = self.ask = self.live = self.facts = self

    def remote(self, *_arguments: object) -> Actor:
        if self._raises and isinstance(self._answers[0], Exception):
            raise self._answers.pop(0)  # type: ignore[misc]
        return self

    def future(self) -> Future[object]:
        made = Future[object]()
        if not self._answers:
            return made
        answer = self._answers.pop(0)
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
        self.life = Life(1, Place("n", 0), actor, 0.0, address="10.0.0.1", has_joined=True)
        self.bridge._lives[1] = self.bridge._at[self.life.place] = self.life
        self.answers: list[object] = []

    def call(self, method: str) -> None:
        """Call a method, and do all that is due after that, without its pauses."""
        self.bridge._call(self.life, method, then=self.answers.append)
        while not self.bridge._agenda.todo.empty():
            self.bridge._agenda.todo.get()()
            while self.bridge._agenda.timers:
                self.bridge._agenda.timers.pop().call()

    def said(self) -> list[Message]:
        """Return what it has told the service."""
        return said(self._ours)


def said(link: Connection[object, Message]) -> list[Message]:
    """Return what has come over a connection, but not how often it looked for nodes."""
    found = []
    while link.poll(0):
        found.append(link.recv())
    return [message for message in found if message != Alive()]


class TwoNodes:
    """A bridge with a place on each of two nodes, n and m, and a clock of its own.

    one_machine: whether they are two places of one, which Ray gives its GPUs to in any order
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        most: int | None = None,
        *,
        one_machine: bool = False,
    ) -> None:
        self._one_machine = one_machine
        self.now = 1000.0
        self.killed: list[object] = []
        self._ours, theirs = multiprocessing.Pipe()
        self.bridge = Bridge(theirs, Start("local", "", "", most, b"", groups=(1,)))
        monkeypatch.setattr(bridge, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(lives, "begin", self._begin)
        monkeypatch.setattr(ray, "kill", self.killed.append)
        monkeypatch.setattr(ray, "nodes", lambda: [self._node("n"), self._node("m")])

    def _begin(self, number: int, place: Place, node: Node, _start: Start) -> Life:
        name = "n" if self._one_machine else node.name
        address = "10.0.0.110" if self._one_machine else node.address
        return Life(number, place, Actor(), self.now, name, address)

    @staticmethod
    def _node(name: str) -> dict[str, object]:
        resources = {"GPU": 1.0}
        address = {"NodeManagerHostname": name, "NodeManagerAddress": f"10.0.0.{ord(name)}"}
        return {"Alive": True, "NodeID": name, **address, "Resources": resources}

    def look(self, seconds: float = 0.0) -> list[str]:
        """Look which are missing, after some seconds; return the nodes that have an actor."""
        self.now += seconds
        self.bridge._look()
        return sorted(place.node for place in self.bridge._at)

    def life(self, node: str) -> Life:
        return self.bridge._at[Place(node, 0)]

    def admit(self, node: str, **facts: object) -> int:
        """Let the actor of a node say what it is; return its number."""
        self.bridge._admit(self.life(node), replace(FACTS, node=node, **facts))  # type: ignore[arg-type]
        return self.life(node).number

    def said(self) -> list[Message]:
        return said(self._ours)


CARD = {"gpu": "n/0", "total": 80 * 10**9, "free": 79 * 10**9}


@pytest.mark.parametrize("slot", ["n", "m"])
@pytest.mark.parametrize("joins", ["before", "later"])
def test_a_gpu_that_is_left_out_renders_nothing(
    slot: str, joins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever slot of its machine Ray gives it to, also if that has begun, or even joined, when
    the service says so, which knows only the renderer before. The slot that had it is free."""
    nodes = TwoNodes(monkeypatch, one_machine=True)
    assert ["m", "n"] == nodes.look()
    first = nodes.admit("n", **CARD)
    nodes.admit("m", **{**CARD, "gpu": "n/1"})
    third = Life(99, Place("k", 0), Actor(), nodes.now, address="10.0.0.1", has_joined=True)
    nodes.bridge._lives[99] = nodes.bridge._at[third.place] = third
    for node in "nm":
        nodes.bridge._lost(nodes.life(node), "killed")
    other = "m" if slot == "n" else "n"
    assert ["k", "m", "n"] == nodes.look(2)
    if joins == "before":
        nodes.admit(slot, **CARD)
    nodes.said()
    nodes.bridge._end_life(End(first, "it is broken", 600.0))
    nodes.bridge._end_life(End(first, "it is gone"))
    told = nodes.said()
    if joins == "before":
        assert [(Cause.MACHINE, "it is broken")] == [
            (each.cause, each.reason) for each in told if isinstance(each, Left)
        ]
        nodes.look(4)
    assert Trouble("it is broken") in told
    nodes.admit(slot, **CARD)
    joined = nodes.admit(other, **{**CARD, "gpu": "n/1"})
    nodes.look(590)
    nodes.admit(slot, **CARD)
    assert [joined] == [each.place for each in nodes.said() if isinstance(each, Joined)]
    nodes.look(20)
    assert [Trouble("")] == nodes.said()
    nodes.admit(slot, **CARD)
    assert isinstance(nodes.said()[-1], Joined)


def test_a_gpu_is_not_left_out_while_no_renderer_has_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An actor that may not join, such as one of another version, renders nothing."""
    nodes = TwoNodes(monkeypatch)
    nodes.look()
    first = nodes.admit("n", **CARD)
    nodes.admit("m", version="99.0")
    nodes.bridge._end_life(End(first, "it is broken", 600.0))
    nodes.bridge._lost(nodes.life("n"), "killed")
    assert ["m", "n"] == nodes.look(2)
    nodes.admit("n", **CARD)
    assert 2 == sum(isinstance(message, Joined) for message in nodes.said())
    nodes.look(2)
    assert "it is broken" not in nodes.bridge._told_trouble


def test_a_gpu_whose_node_has_been_away_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be another one, or its machine was started again."""
    nodes = TwoNodes(monkeypatch)
    nodes.look()
    first = nodes.admit("n", **CARD)
    nodes.admit("m", **{**CARD, "gpu": "m/0"})
    nodes.bridge._end_life(End(first, "it is broken", 600.0))
    nodes.bridge._lost(nodes.life("n"), "its node has died")
    monkeypatch.setattr(ray, "nodes", lambda: [nodes._node("m")])
    assert ["m"] == nodes.look(2)
    assert Trouble("") == nodes.said()[-1]
    monkeypatch.setattr(ray, "nodes", lambda: [nodes._node("n"), nodes._node("m")])
    nodes.look(2)
    nodes.admit("n", **CARD)
    assert isinstance(nodes.said()[-1], Joined)


def test_no_more_renderers_than_asked_for_when_a_machine_joins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray tells the machines in no order, and another one after each that joins."""
    nodes = TwoNodes(monkeypatch, most=1)
    monkeypatch.setattr(ray, "nodes", lambda: [nodes._node("m")])
    assert ["m"] == nodes.look()
    monkeypatch.setattr(ray, "nodes", lambda: [nodes._node("a"), nodes._node("m")])
    assert ["m"] == nodes.look(2)


def test_renderers_on_one_gpu_do_not_wait_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with more slots than GPUs: what another one uses is not left by one that ended.

    If nobody else is there, or only one that is being ended, its memory has to be free again.
    """
    nodes = TwoNodes(monkeypatch)
    nodes.look()
    shared = {"gpu": "one/", "total": 80 * 10**9, "free": 79 * 10**9}
    monkeypatch.setattr(nodes.life("m"), "address", nodes.life("n").address)
    nodes.admit("n", **shared)
    nodes.admit("m", **{**shared, "free": 40 * 10**9})
    assert 2 == sum(isinstance(message, Joined) for message in nodes.said())
    nodes.bridge._lost(nodes.life("m"), "killed")
    nodes.bridge._end_life(End(nodes.life("n").number, "it hangs"))
    nodes.look(2)
    monkeypatch.setattr(nodes.life("m"), "address", nodes.life("n").address)
    nodes.said()
    nodes.admit("m", **{**shared, "free": 40 * 10**9})
    assert "are still taken" in str(nodes.said())


def test_renderers_on_one_gpu_that_both_wait_for_its_memory_do_not_let_each_other_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only one that works there explains why it is taken."""
    nodes = TwoNodes(monkeypatch)
    nodes.look()
    monkeypatch.setattr(nodes.life("m"), "address", nodes.life("n").address)
    nodes.bridge._free["10.0.0.110 one/"] = 79 * 10**9
    for node in ("n", "m"):
        nodes.admit(node, gpu="one/", total=80 * 10**9, free=0)
    assert not any(isinstance(message, Joined) for message in nodes.said())


def test_machines_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as copies of one image. The memory of one says nothing about the other."""
    nodes = TwoNodes(monkeypatch)
    same = [{**nodes._node(name), "NodeManagerHostname": "host"} for name in "nm"]
    monkeypatch.setattr(ray, "nodes", lambda: same)
    nodes.look()
    for node, size in (("n", 80), ("m", 24)):
        card = {"node": "host", "gpu": "host/0", "total": size * 10**9, "free": size * 10**9}
        nodes.bridge._admit(nodes.life(node), replace(FACTS, **card))  # type: ignore[arg-type]
    first, second = (message for message in nodes.said() if isinstance(message, Joined))
    assert first.key != second.key
    assert ["host (10.0.0.110)", "host (10.0.0.109)"] == [first.facts.node, second.facts.node]
    assert (80, 24) == (first.free // 10**9, second.free // 10**9)


def test_a_look_that_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time, and only then: Ray's call waits as long as the head of the cluster hangs."""
    nodes = TwoNodes(monkeypatch)
    nodes.look()
    nodes.look(2)
    told = [nodes._ours.recv() for _ in range(2) if nodes._ours.poll(0)]
    assert [Alive(), Alive()] == told


def test_a_renderer_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray waits for ever, and says nothing, if others on its cluster have the GPU."""
    nodes = TwoNodes(monkeypatch)
    nodes.look()
    nodes.admit("n")
    nodes.look(59)
    assert not any(isinstance(message, Trouble) for message in nodes.said())
    nodes.look(2)
    nodes.look(2)
    (told,) = nodes.said()
    assert isinstance(told, Trouble)
    assert told.reason.startswith("m: a renderer has not started for 60 s")
    nodes.admit("m")
    assert Trouble("") in nodes.said()


def test_a_renderer_of_which_more_is_known_is_not_told_to_be_late() -> None:
    """Such as that its calls fail, or that the service has ended it."""
    life = Life(1, Place("n", 0), Actor(), 0.0, node="n", asked=0.0)
    assert lives.late(life, lives.LATE_SECONDS).startswith("n: a renderer has not started")
    assert "" == lives.late(replace(life, repeating={"a call"}), lives.LATE_SECONDS)
    assert "" == lives.late(replace(life, is_ended=True), lives.LATE_SECONDS)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_renderer_that_hangs_at_its_start_is_replaced(
    is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it hangs when it is asked again: the memory of its GPU was still taken before.

    Why is told until one has joined. What it says at last changes nothing.
    """
    nodes = TwoNodes(monkeypatch)
    nodes.look()
    nodes.admit("n")
    hanging = nodes.life("m")
    card = {"gpu": "m/0", "total": 80 * 10**9, "free": 79 * 10**9}
    if not is_first:
        nodes.bridge._free["10.0.0.109 m/0"] = 79 * 10**9
        nodes.admit("m", **{**card, "free": 0})
        nodes.look(9)
        nodes.bridge._ask_facts(hanging)
    nodes.look(599)
    assert [] == nodes.killed
    nodes.look(2)
    assert [hanging.handle] == nodes.killed
    nodes.admit("m", **card)
    nodes.bridge._lost(hanging, "killed")
    assert ["m", "n"] == nodes.look(2)
    assert hanging is not nodes.life("m")
    *_, told = nodes.said()
    assert isinstance(told, Trouble)
    assert told.reason.startswith("m: a renderer has not started for 60 s, and is replaced after")
    nodes.look(50)
    nodes.admit("m", **card)
    assert [Trouble("")] == [each for each in nodes.said() if isinstance(each, Trouble)]


@pytest.mark.parametrize("raises", [False, True])
def test_a_call_that_fails_is_repeated_and_told_once(raises: bool) -> None:
    """Until it succeeds; so it is if its arguments find no room."""
    bridged = Bridged(Actor(FULL, FULL, "the answer", raises=raises))
    bridged.call("obey")
    assert ["the answer"] == bridged.answers
    assert [Trouble("calls of obey are repeated: there is no room"), Trouble("")] == bridged.said()


def test_a_call_that_succeeds_meanwhile_does_not_end_the_trouble() -> None:
    """Else it would be told, and told to be over, each second."""
    bridged = Bridged(Actor(FULL, "of ask", FULL, "of obey"))
    made, todo = bridged.bridge, bridged.bridge._agenda.todo
    made._call(bridged.life, "obey", then=bridged.answers.append)
    todo.get()()
    made._call(bridged.life, "ask", then=bridged.answers.append)
    todo.get()()
    assert ["of ask"] == bridged.answers
    assert [Trouble("calls of obey are repeated: there is no room")] == bridged.said()
    for _ in range(2):
        made._agenda.timers.pop().call()
        todo.get()()
    assert ["of ask", "of obey"] == bridged.answers
    assert [Trouble("")] == bridged.said()


@pytest.mark.parametrize("ends_first", [False, True])
def test_why_a_place_is_left_out_is_told_whatever_its_calls_do(
    ends_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of the ended actor that fails or succeeds says nothing more, nor does its end."""
    monkeypatch.setattr(ray, "kill", lambda _handle: None)
    bridged = Bridged(Actor(FULL, "the answer"))
    bridged.bridge._left_out.note_joined(bridged.life)
    bridged.bridge._call(bridged.life, "obey", then=bridged.answers.append)
    bridged.bridge._agenda.todo.get()()
    bridged.bridge._end_life(End(1, "it is broken", 600.0))
    if not ends_first:
        bridged.bridge._agenda.timers[0].call()
        bridged.bridge._agenda.todo.get()()
    bridged.bridge._lost(bridged.life, "killed")
    repeated = Trouble("calls of obey are repeated: there is no room")
    assert [repeated, Trouble("it is broken")] == bridged.said()


@pytest.mark.parametrize("method", ["facts", "live"])
def test_a_call_that_fails_after_hours_is_repeated(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may break for a moment: what counts is how long a call has failed.

    `live` lasts as long as the actor. If that can't be reached, other calls fail, too.
    """
    now, killed, futures = [1000.0], [], []
    monkeypatch.setattr(bridge, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(ray, "kill", killed.append)
    actor = Actor()
    monkeypatch.setattr(actor, "future", lambda: futures.append(Future()) or futures[-1])
    bridged = Bridged(actor)
    bridged.call(method)

    def fail(after: float) -> None:
        now[0] += after
        futures[-1].set_exception(BROKEN)
        bridged.bridge._agenda.todo.get()()
        while bridged.bridge._agenda.timers:
            bridged.bridge._agenda.timers.pop().call()

    for _ in range(3):
        fail(after=1 + bridge.REPEAT_SECONDS)
    assert ([], 4) == (killed, len(futures))
    for _ in range(2):
        fail(after=bridge.REPEAT_SECONDS / 2)
    first = str(BROKEN).splitlines()[0]
    if method == "live":
        assert ([], []) == (killed, bridged.said())
    else:
        assert [actor] == killed
        assert f"calls of facts failed for 300 s: {first}" in str(bridged.said())


def test_a_machine_without_room_for_an_answer_keeps_its_renderer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The actor still has the answer: it is no defect, although the method has raised it."""
    monkeypatch.setattr(ray, "kill", lambda _: pytest.fail("it is killed"))
    raised = ray.exceptions.RayTaskError("ask", str(FULL), FULL).as_instanceof_cause()
    bridged = Bridged(Actor(raised, "the answer"))
    bridged.call("ask")
    assert ["the answer"] == bridged.answers


def test_a_machine_that_has_no_room_is_no_fault_of_a_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pictures are written there, or Ray has lost them; other errors in a method are defects."""
    monkeypatch.setattr(ray, "kill", lambda _: None)
    for cause, error in (
        (Cause.MACHINE, OSError(28, "No space left")),
        (Cause.MACHINE, ray.exceptions.RaySystemError("an object of the arguments is lost")),
        (Cause.WORK, KeyError(1)),
    ):
        raised = ray.exceptions.RayTaskError("obey", f"Traceback:\n{error}", error)
        bridged = Bridged(Actor(raised.as_instanceof_cause()))
        bridged.call("obey")
        (left,) = bridged.said()
        assert isinstance(left, Left)
        assert (cause, True) == (left.cause, str(error) in left.reason)


@pytest.mark.parametrize(("is_over", "expected"), [(False, [7]), (True, [])])
def test_only_a_process_that_ray_did_not_end_is_killed_by_its_number(
    is_over: bool, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process of its machine may have the number of one that has ended."""
    killed: list[int] = []
    call = SimpleNamespace(remote=killed.append)
    monkeypatch.setattr(ray, "remote", lambda _: SimpleNamespace(options=lambda **_: call))
    facts, place = replace(FACTS, pid=7), Place("0" * 56, 0)
    life = Life(1, place, Actor(), 0.0, facts=facts, is_over=is_over)
    lives.end_process(life)
    assert expected == killed


@pytest.mark.parametrize(
    ("method", "error", "cause"),
    [
        ("obey", TOO_LARGE, Cause.WORK),
        ("obey", FULL, Cause.MACHINE),
        ("obey", ray.exceptions.OutOfDiskError("there is no room"), Cause.MACHINE),
        ("obey", BROKEN, Cause.MACHINE),
        ("ask", TOO_LARGE, Cause.MACHINE),
    ],
)
def test_an_actor_whose_calls_fail_for_long_is_replaced(
    method: str, error: Exception, cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order may be too large for any; a full disk or a broken network is no prompt's fault."""
    killed = []
    monkeypatch.setattr(bridge, "REPEAT_SECONDS", 0.0)
    monkeypatch.setattr(ray, "kill", killed.append)
    actor = Actor(error)
    bridged = Bridged(actor)
    bridged.call(method)
    reason = f"calls of {method} failed for 0 s: {str(error).splitlines()[0]}"
    assert [Left(1, reason, cause)] == bridged.said()
    assert [actor] == killed
    assert not bridged.bridge._lives
