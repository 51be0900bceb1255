"""Make the sheets of sweeps, on a thread with a low priority.

Answers with an event. Whatever goes wrong, the job can end. Does not know when a job is finished.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import structlog

from reeldrop.base.errors import ReeldropError
from reeldrop.base.events import Event, SheetsMade
from reeldrop.base.job import Job, Prompt, Video
from reeldrop.base.names import POSTER_SUFFIX, VIDEO_SUFFIX
from reeldrop.store.results import Results, is_published
from reeldrop.store.sheets import SheetsOf, Write
from reeldrop.video import arrangement, signing, synthetic
from reeldrop.video.labels import Labels
from reeldrop.video.sheets import Drawing, Source

MAX_SECONDS = 1800.0
"""Upper bound on the CPU time for a job; on a busy machine that takes longer."""

_LEAST = 2
_NICENESS = 10
"""High enough not to slow down renders on the CPU, low enough that sheets still get made."""
_BEST = (".mp4", ".webm", ".gif")

_log = structlog.get_logger()


class _Stopped(ReeldropError):
    """The process ends."""


class Assembler:
    """Makes sheets of published videos; calls `tell` with SheetsMade for each job.

    marks: whether they say that they are synthetic
    signer: signs them; None for none
    """

    def __init__(self, results: Results, tell: Callable[[Event], None]) -> None:
        self._results = results
        self._tell = tell
        self.marks = True
        self.signer: signing.Signer | None = None
        self._is_ending = threading.Event()
        self._thread = ThreadPoolExecutor(1, "sheets", initializer=_give_way)

    def assemble(self, job: Job, prompts: Sequence[Prompt]) -> None:
        """Make the sheets of a job with these prompts of a sweep, on the thread."""

        def answer(made: Future[tuple[str, ...]]) -> None:
            error = made.exception() if not made.cancelled() else _Stopped()
            if not isinstance(error, _Stopped):
                self._tell(SheetsMade(job.id, () if error else made.result(), error))

        self._thread.submit(self._work, job, prompts).add_done_callback(answer)

    def _work(self, job: Job, prompts: Sequence[Prompt]) -> tuple[str, ...]:
        """Make the sheets, and return their names."""
        sheets = SheetsOf(job, self._results)
        if not sheets.begin():
            raise ReeldropError("the process ended each time they were made")
        try:
            return tuple(self._make_all(job, prompts, sheets))
        except _Stopped:
            sheets.take_back()
            raise

    def _make_all(self, job: Job, prompts: Sequence[Prompt], sheets: SheetsOf) -> list[str]:
        """Make the missing sheets, and return the names of all."""
        found = self._results.reserved(job).items()
        videos = {number: video for number, video in found if is_published(video)}
        if len(videos.keys() & {prompt.number for prompt in prompts}) < _LEAST:
            return []
        with self._results.opened(job.source) as folder:
            sources = {number: _source(video, folder) for number, video in videos.items()}
            return self._make_from(job, prompts, sources, sheets)

    def _make_from(
        self,
        job: Job,
        prompts: Sequence[Prompt],
        sources: Mapping[int, Source],
        sheets: SheetsOf,
    ) -> list[str]:
        labels, names, until = Labels(), list[str](), time.thread_time() + MAX_SECONDS
        models = dict.fromkeys(prompt.model for prompt in prompts)
        mark = synthetic.packet_of(models) if self.marks else ""

        def check() -> None:
            if self._is_ending.is_set():
                raise _Stopped
            if time.thread_time() > until:
                raise ReeldropError(f"they take longer than {MAX_SECONDS:g} s")

        for number, sheet in enumerate(arrangement.arranged(prompts)):
            check()
            drawing = Drawing(sheet, sources, labels, check, mark)
            writers = {
                POSTER_SUFFIX: self._signed(drawing.write_picture, "jpg", models),
                VIDEO_SUFFIX: self._signed(drawing.write_video, "mp4", models),
            }
            names.append(sheets.publish(number, writers))
        if labels.lacking:
            signs = "".join(sorted(labels.lacking))[:20]
            remedy = "install one, such as the package fonts-noto-cjk for Chinese"
            _log.warning("sheets_lack_a_font", job_id=job.id, signs=signs, remedy=remedy)
        return names

    def _signed(self, write: Write, kind: str, models: Iterable[str]) -> Write:
        """Return a function that writes a file and signs it; if it can't sign, that is logged."""

        def write_and_sign(path: Path) -> bool:
            if not write(path):
                return False
            if self.signer is not None:
                try:
                    self.signer.sign_sheet(path, kind, models)
                except signing.SigningError as error:
                    _log.error("not_signed", sheet=path.name, format=kind, reason=str(error))
            return True

        return write_and_sign

    def close(self) -> None:
        """End after the current frame; missing sheets are made at the next start."""
        self._is_ending.set()
        self._thread.shutdown(cancel_futures=True)


def _give_way() -> None:
    """Lower the priority of this thread, and of those that it starts."""
    with contextlib.suppress(OSError):  # a sandbox may not allow it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _source(video: Video, folder: Path) -> Source:
    """Return the files of a video, below a folder that is held open."""
    files = {file.suffix: folder / file.name for file in video.files}
    return Source(folder / video.poster.name, next((files[s] for s in _BEST if s in files), None))
