"""The processes that render a video with this one, each on a GPU of its own.

This one has rank 0: it decides what is rendered, and tells the others, which call the same pipeline
in the same way. If one can't go on as the others do, the renderer is lost: nobody can wake those
that wait for it. They end with this process, whatever ends that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

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
    """Call the pipeline for these prompts. After each step comes a `Step`."""

    prompts: tuple[Prompt, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Whether the render goes on."""

    goes_on: bool


@dataclass(frozen=True, slots=True)
class Move:
    """Call a function of `pipeline` with the loaded pipeline and arguments."""

    function: str
    arguments: tuple[str, ...] = ()


Order = Render | Step | Move


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of an order but `Step`, or of reading or placing the model; and why it failed."""

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
        self._folder = tempfile.TemporaryDirectory(prefix="reeldrop-ranks-")
        self._source = source
        self._links: list[Connection[Order | Seat | None, Answer]] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def meet(self, model: str) -> None:
        """Start the others, wait until they have read the model in this folder, and join them.

        Raises:
            Unavailable: one can't read it.
            RendererDied: one has ended.
        """
        source, place = self._source, str(Path(self._folder.name, "meeting"))
        for rank in range(1, source.gpus):
            self._start(Seat(rank, place, dataclasses.replace(source, location=model)))
        self.await_loaded()
        split.meet(0, source.gpus, place)

    def await_loaded(self) -> None:
        """Wait until all can render; raises what `meet` does."""
        if errors := self._all_answers(None):
            problem = f"not all of {self._source.gpus} processes can load it: {errors[0]}"
            raise Unavailable(Mistake(problem, key=self._source.key))

    def move(self, function: str, *arguments: str) -> None:
        """Let all call a function of `pipeline`, and wait for them.

        Raises:
            RuntimeError: one failed, such as for want of memory.
        """
        self._send(Move(function, arguments))
        if errors := self._all_answers(None):
            raise RuntimeError(errors[0])

    @contextlib.contextmanager
    def rendering(
        self, prompts: tuple[Prompt, ...], on_step: Callable[[int], None]
    ) -> Iterator[Callable[[int], None]]:
        """Let the others render the same while this process does; yields what to call at each step.

        If `on_step` raises an error, all end at that step.

        Raises:
            RendererDied: the others did not end with this one.
        """

        def tell_step(step: int) -> None:
            try:
                on_step(step)
            except BaseException:
                self._send(Step(goes_on=False))
                raise
            self._send(Step(goes_on=True))

        self._send(Render(prompts))
        self._is_rendering = True
        self._renders += 1
        try:
            yield tell_step
        except BaseException as error:
            self._end_render(f"after {type(error).__name__}: {error}")
            raise
        if errors := self._end_render("after the render"):
            raise self._over(errors[0])

    def close(self) -> None:
        """End the others. They leave together with this process, if none is lost."""
        was_over, self._is_over = self._is_over, True
        for link in self._links:
            with contextlib.suppress(OSError):
                link.send(None)
        if not was_over:
            split.part()
        deadline = time.monotonic() + (0 if was_over else _CLOSE_SECONDS)
        for process in self._processes:
            try:
                process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._folder.cleanup()

    def _start(self, seat: Seat) -> None:
        ours, theirs = multiprocessing.Pipe()
        process = subprocess.Popen(
            [*COMMAND, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=sys.__stderr__,
            pass_fds=[theirs.fileno()],
            env={**os.environ, **split.device_of(seat.rank), "HF_HUB_OFFLINE": "1"},
            cwd="/",
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


def _ending(process: subprocess.Popen[bytes]) -> str:
    """Return how a process ends that has closed its connection, in words."""
    try:
        code = process.wait(_CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return f"signal {-code}" if code < 0 else f"exit code {code}"
