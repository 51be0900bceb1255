"""The processes that render a video with this one, each on a GPU of its own.

This one has rank 0: it decides what is rendered, and tells the others, which call the same pipeline
in the same way. It begins a call of a denoiser when all have come to it. In the call they wait for
each other, and nobody can wake them there: if one fails in it alone, the renderer is lost. They end
with this process, whatever ends that.
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
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from reeldrop.base import scratch
from reeldrop.base.errors import Mistake, RendererDied, Unavailable
from reeldrop.base.job import Prompt
from reeldrop.render import split
from reeldrop.render.orders import Answer, Call, Failed, Order, Place, Render, Said, Seat
from reeldrop.render.source import ModelSource

COMMAND = (sys.executable, "-P", "-m", "reeldrop.render.rank")
"""-P: it imports nothing from the folder in which it is started, which may be an inbox."""

ANSWER_SECONDS = 60.0
"""How long after this process the others may end a render; one may have to encode texts first."""

ALONE_SECONDS = 5.0
"""How long after one that fails in a call of a denoiser others may fail in it, too: all begin it
together. If they don't, they or their devices wait for that one for ever."""

_CLOSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Gone:
    words: str


class Ranks:
    """The other processes, from their start to `close`. One caller at a time.

    lost: called once with the reason, on any thread, when they can't render any more
    """

    def __init__(self, source: ModelSource, lost: Callable[[RendererDied], None]) -> None:
        self._lost = lost
        self._end: RendererDied | None = None
        self._renders = 0
        self._is_rendering = False
        self._is_calling = False
        self._is_through: Callable[[], bool] = lambda: True
        self._failures: dict[int, str] = {}
        self._answers: dict[int, str] = {}
        self._said: queue.SimpleQueue[tuple[int, Said | _Gone]] = queue.SimpleQueue()
        self._place = _folder() / secrets.token_hex(8)
        self._source = source
        self._links: list[Connection[Order | Seat | None, Said]] = []
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
        if errors := self._all_answers():
            problem = f"not all of {self._source.gpus} processes can load it: {errors[0]}"
            raise Unavailable(Mistake(problem, key=self._source.key))

    def place_again(self, placement: str) -> None:
        """Let all move the pipeline to another placement, and wait for them.

        Raises:
            RuntimeError: one failed, such as for want of memory.
        """
        self._send(Place(placement))
        if errors := self._all_answers():
            raise RuntimeError(errors[0])

    @contextlib.contextmanager
    def rendering(self, pipe: Any, prompts: tuple[Prompt, ...]) -> Iterator[None]:
        """Let the others render the same while this process does, with its pipeline.

        After an error in one of them, such as that of a stop, all end before the next call of a
        denoiser.

        Raises:
            RuntimeError: another one failed, such as for want of memory.
            RendererDied: one has ended, or failed in a call of a denoiser alone.
        """
        self._renders += 1
        self._is_rendering = True
        self._failures = {}
        self._send(Render(prompts))
        try:
            with split.around_each_call(pipe, self._begin_call, self._end_call):
                yield
        except BaseException as error:
            if self._end is not None:
                raise self._end from None
            self._send(Call(goes_on=False))
            self._end_render(f"after {type(error).__name__}: {error}")
            raise
        if errors := self._end_render("after the render"):
            raise RuntimeError(errors[0])

    def _begin_call(self) -> None:
        """Let all call a denoiser now that each has come to it; end the render if one has not."""
        for _ in self._links:
            self._hear(None)
            for rank, error in self._failures.items():
                raise RuntimeError(f"rank {rank}: {error}")
        for rank in self._answers:
            raise RuntimeError(f"rank {rank}: it calls the denoiser less often")
        self._is_calling = True
        self._send(Call(goes_on=True))

    def _end_call(self) -> None:
        self._is_calling, self._is_through = False, split.mark()

    def close(self) -> None:
        """End the others. They leave together with this process, if none is lost.

        Raises:
            RendererDied: this process can't leave them, and so can't join others.
        """
        was_over, self._end = self._end is not None, self._end or RendererDied("it is closed")
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

    def _all_answers(self, seconds: float | None = None) -> list[str]:
        """Return what failed, of the answers of all others to the last order.

        Raises:
            RendererDied: one has ended, or does not answer.
        """
        self._hear_all(lambda: self._answers.keys(), seconds)
        answers, self._answers = self._answers, {}
        return [f"rank {rank}: {error}" for rank, error in answers.items() if error]

    def _hear_all(self, heard: Callable[[], Set[int]], seconds: float | None) -> None:
        """Hear until `heard` returns all other ranks; raises what `_all_answers` does."""
        deadline = time.monotonic() + (seconds or 0)
        while len(heard()) < len(self._links):
            self._hear(None if seconds is None else max(0, deadline - time.monotonic()))

    def _hear(self, seconds: float | None) -> None:
        """Hear the next that one of the others says, and keep its answer.

        Raises:
            RendererDied: one has ended, or none says anything for so long.
        """
        try:
            rank, said = self._said.get(timeout=seconds)
        except queue.Empty:
            raise self._over("not all processes answer in time") from None
        if isinstance(said, _Gone):
            raise self._over(said.words)
        if isinstance(said, Answer):
            self._answers[rank] = said.error
        if isinstance(said, Failed):
            self._failures[rank] = said.error

    def _end_render(self, when: str) -> list[str]:
        """Return what failed in the others, once they have ended the render, too."""
        try:
            if self._is_calling:  # first: the device may wait for another process for ever
                self._hear_all(lambda: self._failures.keys() | self._answers.keys(), ALONE_SECONDS)
                self._is_calling = False
            split.settle()
            return self._all_answers(ANSWER_SECONDS)
        except RendererDied as error:
            self._end = RendererDied(f"{error}, {when}")
            raise self._end from None
        finally:
            self._is_rendering = False

    def _over(self, words: str) -> RendererDied:
        self._end = self._end or RendererDied(words)
        return self._end

    # On a thread for each of the others

    def _listen(self, rank: int) -> None:
        link, process = self._links[rank - 1], self._processes[rank - 1]
        try:
            while True:
                said = link.recv()
                self._said.put((rank, said))
                if isinstance(said, Failed) and said.in_call and self._is_rendering:
                    about = (self._renders, f"rank {rank} failed alone: {said.error}")
                    timer = threading.Timer(ALONE_SECONDS, self._lose_render, about)
                    timer.daemon = True
                    timer.start()
        except (EOFError, OSError):
            words = f"the process of rank {rank} has ended ({_ending(process)})"
            self._said.put((rank, _Gone(words)))
            self._lose(words)

    def _lose_render(self, number: int, words: str) -> None:
        """Lose the renderer if this process or its device still waits in the call in which another
        one failed.
        """
        is_in_call = self._is_calling or not self._is_through()
        if self._is_rendering and self._renders == number and is_in_call:
            self._lose(words)

    def _lose(self, words: str) -> None:
        """Tell the loss, and end the others: those that wait for one that failed do so for ever."""
        if self._end is None:
            self._lost(self._over(words))
            for process in self._processes:
                process.kill()


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
