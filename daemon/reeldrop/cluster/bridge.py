"""The process that speaks to Ray for the service: `python -m reeldrop.cluster.bridge DESCRIPTOR`.

Ray ends processes that lose the head of their cluster, and prints into them; so it gets this one.
All state is in one thread, which does one thing after the other; Ray's threads, and the one that
reads what the service says, only put more to do onto its queue. Ends when the service does.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import ray
import ray.exceptions

from reeldrop.base.job import Cause
from reeldrop.cluster import lives, places
from reeldrop.cluster.agenda import Agenda
from reeldrop.cluster.errors import cause_of, first_line, last_line, reason_of
from reeldrop.cluster.joining import LOG_SECONDS, Membership, NotJoined
from reeldrop.cluster.left_out import LeftOut
from reeldrop.cluster.lives import Life
from reeldrop.cluster.places import Node, Pauses, Place
from reeldrop.cluster.wire import (
    Alive,
    Connected,
    End,
    Facts,
    Joined,
    Left,
    Message,
    Order,
    Start,
    Told,
    Trouble,
)

LOOK_SECONDS = 2.0
"""How often it looks which nodes there are: a call of half a millisecond."""

AGAIN_SECONDS = 1.0
"""When a call is repeated that failed although its actor lives."""

REPEAT_SECONDS = 300.0
"""How long it is repeated; then the actor is replaced."""

FREE_SECONDS = 10.0
"""How often it looks whether the memory of a GPU is free again."""

END_SECONDS = 10.0
"""How long Ray may take to end an actor; after that, its process is killed by a task."""


class Bridge:
    """Keeps one actor on each place of the cluster, and passes on what they and the service say."""

    def __init__(self, link: Connection, start: Start) -> None:
        self._link = link
        self._start = start
        self._agenda = Agenda()
        self._numbers = itertools.count(start.first)
        self._lives: dict[int, Life] = {}
        self._at: dict[Place, Life] = {}
        self._pauses = Pauses()
        self._left_out = LeftOut()
        self._free = dict(start.free)
        self._troubles: dict[Place | None, str] = {}
        self._told_trouble = ""

    def work(self) -> NoReturn:
        """Work until the service ends, or Ray ends the process."""
        nodes = self._join()
        wanted = places.wanted(nodes, self._start.most, self._start.groups)
        self._say(Connected(len(nodes), len(wanted)))
        threading.Thread(target=self._listen, daemon=True).start()
        self._look()
        self._tidy()
        while True:
            self._agenda.go_on()

    def _say(self, message: Message) -> None:
        try:
            self._link.send(message)
        except OSError:  # the service has ended
            self._end()

    def _listen(self) -> None:
        """Take what the service says, on a thread of its own."""
        try:
            while True:
                message: Order | End = self._link.recv()
                if isinstance(message, Order):
                    self._agenda.put(partial(self._order, message))
                else:
                    self._agenda.put(partial(self._end_life, message))
        except (EOFError, OSError):
            self._agenda.put(self._end)  # the service has ended
        except BaseException as error:  # told by the thread that tells all
            self._agenda.put(partial(_throw, error))
            raise

    def _end(self) -> NoReturn:
        """End, and all actors with it."""
        threading.Timer(END_SECONDS, os._exit, (0,)).start()
        self._membership.leave()
        os._exit(0)

    # The cluster

    def _join(self) -> list[Node]:
        try:
            self._membership = Membership(self._start)
        except NotJoined as error:
            self._give_up(error.reason, is_final=error.is_final)
        nodes = self._nodes()
        for node in nodes:
            if reason := places.outside(node, self._start.network):
                self._give_up(reason, is_final=True)
        return nodes

    def _give_up(self, reason: str, *, is_final: bool = False) -> NoReturn:
        self._say(Trouble(reason, is_final))
        os._exit(1)

    def _nodes(self) -> list[Node]:
        return places.nodes(ray.nodes())  # type: ignore[no-untyped-call]

    def _look(self) -> None:
        """Start actors where some are missing."""
        self._say(Alive())
        found, now = self._nodes(), time.monotonic()
        outside = [places.outside(node, self._start.network) for node in found]
        nodes = [node for node, reason in zip(found, outside, strict=True) if not reason]
        by_id = {node.id: node for node in nodes}
        wanted = places.wanted(nodes, self._start.most, self._start.groups, self._at)
        self._pauses.forget(wanted)
        self._left_out.forget(wanted, now)
        for gone in self._troubles.keys() - {None, *wanted}:
            del self._troubles[gone]
        for place in wanted:
            if place in self._at:
                if reason := lives.late(life := self._at[place], now):
                    if lives.is_too_late(life, now):
                        self._end_actor(life, reason)
                    self._troubles[place] = reason
            elif self._pauses.are_over(place, now):
                self._begin(place, by_id[place.node])
        nothing = "" if wanted else f"no node has a GPU or the resource {places.SLOTS}"
        too_small = places.too_small(nodes, self._start.groups)
        self._note_trouble(None, "; ".join(filter(None, (*outside, nothing, too_small))))
        self._agenda.after(LOOK_SECONDS, self._look)

    def _tidy(self) -> None:
        self._membership.tidy()
        self._agenda.after(LOG_SECONDS / 10, self._tidy)

    def _note_trouble(self, place: Place | None, reason: str) -> None:
        """Note why a place, or None for all, has no renderer; empty if it has. Tell it if new."""
        self._troubles[place] = reason
        self._tell_troubles()

    def _tell_troubles(self) -> None:
        left_out = self._left_out.reasons(time.monotonic())
        reason = "; ".join(filter(None, (*self._troubles.values(), *left_out)))
        if reason != self._told_trouble:
            self._told_trouble = reason
            self._say(Trouble(reason))

    # The actors

    def _begin(self, place: Place, node: Node) -> None:
        life = lives.begin(next(self._numbers), place, node, self._start)
        self._lives[life.number] = self._at[place] = life
        self._call(life, "live", then=lambda _: None)
        self._ask_facts(life)

    def _call(
        self, life: Life, method: str, *arguments: object, then: Callable[[Any], None]
    ) -> None:
        """Call a method of an actor; call `then` with its answer. It is repeated while it fails."""
        call, sent_at = object(), 0.0
        fails_since: float | None = None

        def send() -> None:
            nonlocal sent_at
            sent_at = time.monotonic()
            try:
                sent = getattr(life.handle, method).remote(*arguments)
            except ray.exceptions.RayError as error:  # there is no room for the arguments
                self._agenda.put(partial(failed, error))
            else:
                sent.future().add_done_callback(
                    lambda answer: self._agenda.put(partial(answered, answer))
                )

        def answered(answer: Future[Any]) -> None:
            error = answer.exception()
            if error is not None:
                failed(error)
            elif not life.is_over:
                self._note_repeating(life, call, "")
                then(answer.result())

        def failed(error: BaseException) -> None:
            nonlocal fails_since
            now = time.monotonic()
            if fails_since is None or now >= sent_at + REPEAT_SECONDS:  # it went well until now
                fails_since = now
            if life.is_over:
                pass
            elif lives.is_dead(error):
                self._lost(life, str(error))
            elif lives.is_defect(error):  # no room for pictures is the machine's fault
                is_blamed = not lives.is_of_machine(error)
                what = "a defect of the renderer" if is_blamed else "its machine fails"
                self._broken(life, f"{what}: {last_line(error)}", is_blamed=is_blamed)
            elif now >= fails_since + REPEAT_SECONDS and method != "live":
                words = f"calls of {method} failed for {REPEAT_SECONDS:.0f} s: {first_line(error)}"
                is_blamed = method == "obey" and not lives.is_of_machine(error)  # it is too large
                self._broken(life, words, is_blamed=is_blamed)
            else:  # the object store is full, or an answer was lost: the actor still has it
                reason = f"calls of {method} are repeated: {first_line(error)}"
                if method != "live":  # it is answered at the end only: others say if all is well
                    self._note_repeating(life, call, reason)
                self._agenda.after(AGAIN_SECONDS, send)

        send()

    def _note_repeating(self, life: Life, call: object, reason: str) -> None:
        """Tell the service, once, that calls of an actor fail, or that none does any more."""
        before = bool(life.repeating)
        if reason:
            life.repeating.add(call)
        else:
            life.repeating.discard(call)
        if before != bool(life.repeating) and not life.is_ended:
            node = f"{life.facts.node}: " if life.facts is not None and reason else ""
            self._note_trouble(life.place, node + reason)

    def _ask_facts(self, life: Life) -> None:
        if not life.is_over:
            life.asked = time.monotonic()
            self._call(life, "facts", then=partial(self._admit, life))

    def _admit(self, life: Life, facts: Facts) -> None:
        """Let an actor take orders, once the memory of its GPU is free."""
        facts = life.answered(facts)
        if life.is_ended:
            return
        key, is_shared = life.key, lives.shares_gpu(life, self._lives.values())
        before = 0 if is_shared else self._free.get(key, 0)
        reason = places.taken(facts, before) or places.other_version(facts)
        self._note_trouble(life.place, reason)
        if reason or self._left_out.has(life, self._lives.values(), time.monotonic()):
            self._agenda.after(FREE_SECONDS, partial(self._ask_facts, life))
            return
        self._free[key] = max(self._free.get(key, 0), facts.free)
        life.has_joined = True
        self._left_out.note_joined(life)
        self._say(Joined(life.number, facts, key, self._free[key]))
        self._ask(life)

    def _ask(self, life: Life) -> None:
        self._call(life, "ask", life.arrived, then=partial(self._heard, life))

    def _heard(self, life: Life, answer: tuple[int, tuple[bytes, ...]]) -> None:
        life.arrived, events = answer
        if events and not life.is_ended:
            self._say(Told(life.number, events))
        self._ask(life)

    def _order(self, message: Order) -> None:
        life = self._lives.get(message.place)
        if life is not None:
            self._call(life, "obey", message.number, message.order, then=lambda _: None)

    def _end_life(self, message: End) -> None:
        self._end_actor(self._lives.get(message.place), message.reason)
        if message.pause:
            until = time.monotonic() + message.pause
            key = self._left_out.add(message.place, until, message.reason)
            for life in list(self._lives.values()):  # the next one may have joined just now
                if life.key == key and life.has_joined and not life.is_ended:
                    self._broken(life, message.reason, is_blamed=False)
        self._tell_troubles()

    def _end_actor(self, life: Life | None, reason: str) -> None:
        if life is None or life.is_ended:
            return
        print(f"{life.place} is ended: {reason}", flush=True)
        life.is_ended = True
        self._troubles[life.place] = ""
        ray.kill(life.handle)
        self._agenda.after(END_SECONDS, partial(lives.end_process, life))

    def _broken(self, life: Life, words: str, *, is_blamed: bool) -> None:
        ray.kill(life.handle)
        self._lost(life, words, Cause.WORK if is_blamed else Cause.MACHINE)

    def _lost(self, life: Life, words: str, cause: Cause | None = None) -> None:
        life.is_over = True
        del self._lives[life.number], self._at[life.place]
        self._pauses.note_end(life.place, life.began, time.monotonic())
        if life.is_ended:
            return
        reason = reason_of(words)
        if life.has_joined:
            self._note_trouble(life.place, "")
            self._say(Left(life.number, reason, cause or cause_of(words)))
        else:
            print(f"no renderer at {life.place}: {reason}", flush=True)
            self._note_trouble(life.place, f"a renderer can't start: {reason}")


def _throw(error: BaseException) -> NoReturn:
    raise error


def main() -> None:
    """Serve the service that has given this process a connection, and tell it what ends this."""
    link = Connection(int(sys.argv[1]))
    try:
        Bridge(link, link.recv()).work()
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        is_of_ray = isinstance(error, ray.exceptions.RayError | OSError)
        what = "the cluster fails" if is_of_ray else "a defect of the process for Ray"
        with contextlib.suppress(OSError):  # the service has ended
            link.send(Trouble(f"{what}: {type(error).__name__}: {error}"))
        raise


if __name__ == "__main__":
    main()
