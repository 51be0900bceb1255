"""Make the sheets of sweeps, one job at a time, on a thread with a low priority.

Answers with an event. Whatever goes wrong, the job can end. A thread that hangs, as in a decoder or
on a share, can be left alone: it is a daemon thread, and whatever it does later has no effect on
jobs. Does not know when a job is finished.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from reeldrop.base.errors import ReeldropError
from reeldrop.base.events import Event, SheetsMade
from reeldrop.base.job import Job, Prompt, Video
from reeldrop.base.names import POSTER_SUFFIX, VIDEO_SUFFIX
from reeldrop.base.roots import Root
from reeldrop.store.results import Results, is_whole
from reeldrop.store.sheets import SheetsOf, Write, note_left_sheets
from reeldrop.video import arrangement, signing, synthetic
from reeldrop.video.labels import Labels
from reeldrop.video.sheets import Drawing, Source

MAX_SECONDS = 1800.0
"""Upper bound on the CPU time for a job; on a busy machine that takes longer."""

CLOSE_SECONDS = 10.0
"""How long the end of the process waits for the frame in hand."""

_LEAST = 2
_NICENESS = 10
"""High enough not to slow down renders on the CPU, low enough that sheets still get made."""
_BEST = (".mp4", ".webm", ".gif")

_log = structlog.get_logger()


class _Stopped(ReeldropError):
    """The process ends, or the thread was left alone."""


@dataclass(slots=True)
class _Making:
    """The sheets of one job in the making.

    is_left: whether its thread was left alone, or the process ends
    """

    job: Job
    prompts: Sequence[Prompt]
    is_left: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Assembler:
    """Makes sheets of published videos; calls `tell` with SheetsMade for each job.

    spool: has the record of temporary files that may stay
    marks: whether they say that they are synthetic
    signer: signs them; None for none
    signs_of_life: a count that grows unless the thread hangs
    """

    def __init__(self, results: Results, spool: Root, tell: Callable[[Event], None]) -> None:
        self._results = results
        self._spool = spool
        self._tell = tell
        self.marks = True
        self.signer: signing.Signer | None = None
        self._waiting: deque[_Making] = deque()
        self._in_hand: _Making | None = None
        self.signs_of_life = 0

    # Called by the main thread: nothing here waits, but `close` for a moment

    @property
    def is_busy(self) -> bool:
        """Whether sheets are being made."""
        return self._in_hand is not None

    def assemble(self, job: Job, prompts: Sequence[Prompt]) -> None:
        """Make the sheets of a job with these prompts of a sweep, on the thread."""
        self._waiting.append(_Making(job, prompts))
        self._go_on()

    def made(self, event: SheetsMade) -> bool:
        """Begin the sheets of the next job after an answer; return whether its job waits for it."""
        if self._in_hand is None or self._in_hand.job.id != event.job_id:
            return False  # a second answer: they were given up at the same time
        if event.error is None:
            _log.info("sheets_made", job_id=event.job_id, sheets=list(event.names))
        else:
            remedy = "the videos are not affected"
            reason = str(event.error) or repr(event.error)
            _log.warning("sheets_not_made", job_id=event.job_id, reason=reason, remedy=remedy)
        self._in_hand = None
        self._go_on()
        return True

    def _go_on(self) -> None:
        if self._in_hand is None and self._waiting:
            making = self._in_hand = self._waiting.popleft()
            self.signs_of_life += 1
            making.thread = threading.Thread(
                target=self._work, args=(making,), name="sheets", daemon=True
            )
            making.thread.start()

    def give_up(self, reason: str) -> None:
        """Leave the thread alone, which hangs, and answer that the sheets can't be made."""
        if self._in_hand is not None and not self._in_hand.is_left.is_set():
            self._in_hand.is_left.set()
            with contextlib.suppress(OSError):  # the temporary file may stay
                note_left_sheets(self._spool, self._in_hand.job)
            self._tell(SheetsMade(self._in_hand.job.id, (), ReeldropError(reason)))

    def close(self) -> None:
        """End after the frame in hand; what is not made is made at the next start."""
        self._waiting.clear()
        if self._in_hand is not None and self._in_hand.thread is not None:
            self._in_hand.is_left.set()
            self._in_hand.thread.join(CLOSE_SECONDS)

    # The thread

    def _work(self, making: _Making) -> None:
        """Make the sheets of a job, and answer, unless nobody waits for it any more."""
        _give_way()
        try:
            self._answer(making, self._made(making))
        except (ReeldropError, OSError) as error:
            self._answer(making, (), error)
        except BaseException as error:
            self._answer(making, (), error)
            raise

    def _answer(
        self, making: _Making, names: tuple[str, ...], error: BaseException | None = None
    ) -> None:
        if not making.is_left.is_set():
            self._tell(SheetsMade(making.job.id, names, error))

    def _made(self, making: _Making) -> tuple[str, ...]:
        """Make the sheets, and return their names."""
        sheets = SheetsOf(making.job, self._results)
        if not sheets.begin():
            raise ReeldropError("the process ended each time they were made")
        try:
            return tuple(self._make_all(making, sheets))
        except _Stopped:
            sheets.take_back()
            raise

    def _make_all(self, making: _Making, sheets: SheetsOf) -> list[str]:
        """Make the missing sheets, and return the names of all."""
        job = making.job
        found = self._results.reserved(job).items()
        videos = {number: video for number, video in found if is_whole(video)}
        if len(videos.keys() & {prompt.number for prompt in making.prompts}) < _LEAST:
            return []
        with self._results.opened(job.source) as folder:
            sources = {number: _source(video, folder) for number, video in videos.items()}
            return self._make_from(making, sources, sheets)

    def _make_from(
        self, making: _Making, sources: Mapping[int, Source], sheets: SheetsOf
    ) -> list[str]:
        prompts = making.prompts
        labels, names, until = Labels(), list[str](), time.thread_time() + MAX_SECONDS
        models = dict.fromkeys(prompt.model for prompt in prompts)
        mark = synthetic.packet_of(models) if self.marks else ""

        def check() -> None:
            if making.is_left.is_set():
                raise _Stopped
            self.signs_of_life += 1
            if time.thread_time() > until:
                raise ReeldropError(f"they take longer than {MAX_SECONDS:g} s")

        for number, sheet in enumerate(arrangement.arranged(prompts)):
            check()
            drawing = Drawing(sheet, sources, labels, check, mark)
            writers = {
                POSTER_SUFFIX: self._signed(drawing.write_picture, "jpg", making, models),
                VIDEO_SUFFIX: self._signed(drawing.write_video, "mp4", making, models),
            }
            names.append(sheets.publish(number, writers, check))
        if labels.lacking:
            signs = "".join(sorted(labels.lacking))[:20]
            remedy = "install one, such as the package fonts-noto-cjk for Chinese"
            _log.warning("sheets_lack_a_font", job_id=making.job.id, signs=signs, remedy=remedy)
        return names

    def _signed(self, write: Write, kind: str, making: _Making, models: Iterable[str]) -> Write:
        """Return a function that writes a file and signs it; if it can't sign, that is logged."""

        def write_and_sign(path: Path) -> bool:
            if not write(path):
                return False
            if self.signer is not None:
                try:
                    self.signer.sign_sheet(path, kind, models)
                except signing.SigningError as error:
                    what = {"job_id": making.job.id, "sheet": path.name, "format": kind}
                    _log.error("not_signed", **what, reason=str(error))
            return True

        return write_and_sign


def _give_way() -> None:
    """Lower the priority of this thread, and of those that it starts."""
    with contextlib.suppress(OSError):  # a sandbox may not allow it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _source(video: Video, folder: Path) -> Source:
    """Return the files of a video, below a folder that is held open."""
    files = {file.suffix: folder / file.name for file in video.files}
    return Source(folder / video.poster.name, next((files[s] for s in _BEST if s in files), None))
