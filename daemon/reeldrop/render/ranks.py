"""The processes that render a video with this one, each on a GPU of its own.

This one has rank 0: it decides what is rendered, and tells the others, which call the same pipeline
in the same way. In a call of a denoiser they wait for each other, and nobody can wake them there:
if one can't go on, the renderer is lost. They end with this process, whatever ends that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import multiprocessing
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from reeldrop.base import scratch
from reeldrop.base.errors import Mistake, RendererDied, Unavailable
from reeldrop.base.job import Prompt
from reeldrop.render import split
from reeldrop.render.source import ModelSource

COMMAND = (sys.executable, "-P", "-m", "reeldrop.render.rank")
"""-P: it imports nothing from the folder in which it is started, which may be an inbox."""

ANSWER_SECONDS = 60.0
"""How long after this process the others may end a render; one may have to encode texts first."""

_CLOSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Seat:
    """What a process is started with: its rank, where all meet, and the model."""

    rank: int
    place: str
    source: ModelSource


@dataclass(frozen=True, slots=True)
class Render:
    """Call the pipeline for these prompts. Before each call of a denoiser comes a `Call`."""

    prompts: tuple[Prompt, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """Call a denoiser, as all do now; or, if it does not go on, end the render."""

    goes_on: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Move the pipeline to another placement."""

    placement: str


Order = Render | Call | Place


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of an order but `Call`, or of reading or placing the model; and why it failed."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class _Gone:
    words: str


class Ranks:
    """The other processes, from their start to `close`. One caller at a time.

    lost: called once with the reason, on any thread, when they can't render any more
    """

    def __init__(self, source: ModelSource, lost: Callable[[RendererDied], None]) -> None:
        self._lost = lost
        self._is_over = False
        self._renders = 0
        self._is_rendering = False
        self._answers: queue.SimpleQueue[tuple[int, Answer | _Gone]] = queue.SimpleQueue()
        self._place = _folder() / secrets.token_hex(8)
        self._source = source
        self._links: list[Connection[Order | Seat | None, Answer]] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def meet(self, model: str) -> None:
        """Start the others, wait until they have read the model in this folder, and join them.

        Raises:
            Unavailable: one can't read it.
            RendererDied: one has ended.
        """
        source, place = self._source, str(self._place)
        for rank in range(1, source.gpus):
            self._start(Seat(rank, place, dataclasses.replace(source, location=model)))
        self.await_loaded()
        split.meet(0, source.gpus, place)

    def await_loaded(self) -> None:
        """Wait until all can render; raises what `meet` does."""
        if errors := self._all_answers(None):
            problem = f"not all of {self._source.gpus} processes can load it: {errors[0]}"
            raise Unavailable(Mistake(problem, key=self._source.key))

    def place_again(self, placement: str) -> None:
        """Let all move the pipeline to another placement, and wait for them.

        Raises:
            RuntimeError: one failed, such as for want of memory.
        """
        self._send(Place(placement))
        if errors := self._all_answers(None):
            raise RuntimeError(errors[0])

    @contextlib.contextmanager
    def rendering(self, pipe: Any, prompts: tuple[Prompt, ...]) -> Iterator[None]:
        """Let the others render the same while this process does, with its pipeline.

        After an error here, such as that of a stop, they end before the next call of a denoiser.

        Raises:
            RendererDied: the others did not end with this one.
        """
        self._renders += 1
        self._is_rendering = True
        self._send(Render(prompts))
        try:
            with split.before_each_call(pipe, lambda: self._send(Call(goes_on=True))):
                yield
        except BaseException as error:
            self._send(Call(goes_on=False))
            self._end_render(f"after {type(error).__name__}: {error}")
            raise
        if errors := self._end_render("after the render"):
            raise self._over(errors[0])

    def close(self) -> None:
        """End the others. They leave together with this process, if none is lost.

        Raises:
            RendererDied: this process can't leave them, and so can't join others.
        """
        was_over, self._is_over = self._is_over, True
        are_there = not was_over and all(process.poll() is None for process in self._processes)
        for link in self._links:
            with contextlib.suppress(OSError):
                link.send(None)
        has_left = are_there and _leave()
        deadline = time.monotonic() + (_CLOSE_SECONDS if has_left else 0)
        for process in self._processes:
            try:
                process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._place.unlink(missing_ok=True)
        if not was_over and split.has_met():
            raise RendererDied("this process can't leave those that rendered with it")

    def _start(self, seat: Seat) -> None:
        ours, theirs = multiprocessing.Pipe()
        with _signals_blocked():
            process = subprocess.Popen(
                [*COMMAND, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **split.device_of(seat.rank), "HF_HUB_OFFLINE": "1"},
                cwd="/",
                process_group=0,
            )
        theirs.close()
        self._links.append(ours)
        self._processes.append(process)
        ours.send(seat)
        threading.Thread(target=self._listen, args=(seat.rank,), name="rank", daemon=True).start()

    def _send(self, order: Order) -> None:
        for link in self._links:
            with contextlib.suppress(OSError):  # `_listen` notices
                link.send(order)

    def _all_answers(self, seconds: float | None) -> list[str]:
        """Return what failed, of the answers of all others to the last order.

        Raises:
            RendererDied: one has ended, or does not answer.
        """
        deadline = time.monotonic() + (seconds or 0)
        found = []
        for _ in self._links:
            try:
                left = None if seconds is None else max(0, deadline - time.monotonic())
                rank, answer = self._answers.get(timeout=left)
            except queue.Empty:
                raise self._over(f"not all processes answer within {seconds} s") from None
            if isinstance(answer, _Gone):
                raise self._over(answer.words)
            found.append(f"rank {rank}: {answer.error}" if answer.error else "")
        return list(filter(None, found))

    def _end_render(self, when: str) -> list[str]:
        self._is_rendering = False
        split.settle()
        try:
            return self._all_answers(ANSWER_SECONDS)
        except RendererDied as error:
            raise RendererDied(f"{error}, {when}") from None

    def _over(self, words: str) -> RendererDied:
        self._is_over = True
        return RendererDied(words)

    # On a thread for each of the others

    def _listen(self, rank: int) -> None:
        link, process = self._links[rank - 1], self._processes[rank - 1]
        try:
            while True:
                answer = link.recv()
                self._answers.put((rank, answer))
                if answer.error and self._is_rendering:
                    about = (self._renders, f"rank {rank} failed: {answer.error}")
                    timer = threading.Timer(ANSWER_SECONDS, self._lose_render, about)
                    timer.daemon = True
                    timer.start()
        except (EOFError, OSError):
            words = f"the process of rank {rank} has ended ({_ending(process)})"
            self._answers.put((rank, _Gone(words)))
            self._lose(words)

    def _lose_render(self, number: int, words: str) -> None:
        if self._is_rendering and self._renders == number:
            self._lose(words)

    def _lose(self, words: str) -> None:
        if not self._is_over:
            self._lost(self._over(words))


@functools.cache
def _folder() -> Path:
    """Return a folder of this process, in which each group of processes meets at a file."""
    return scratch.make("reeldrop-ranks-")


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Start processes that get no signal for all of a service or a terminal: rank 0 decides."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave() -> bool:
    """Leave the others; return whether that was possible in a short time."""
    thread = threading.Thread(target=split.part, name="leave", daemon=True)
    thread.start()
    thread.join(_CLOSE_SECONDS)
    return not thread.is_alive()


def _ending(process: subprocess.Popen[bytes]) -> str:
    """Return how a process ends that has closed its connection, in words."""
    try:
        code = process.wait(_CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return f"signal {-code}" if code < 0 else f"exit code {code}"
