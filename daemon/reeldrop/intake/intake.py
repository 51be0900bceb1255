"""From the inbox into the spool: when to scan, what settled files ask for, which is next.

Used by the service: connects `inbox`, `prompts` and `spool`, and owns the watch. Does not know the
renderer, nor the open jobs.
"""

from __future__ import annotations

import errno
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import structlog

from reeldrop.base.errors import DISK_ERRORS, Mistake, PromptError, UnfinishedError
from reeldrop.base.job import DefaultsFile, Job, shown
from reeldrop.intake import inbox, share, writers
from reeldrop.intake.inbox import Candidate, Inbox, Watch
from reeldrop.prompts import parsing
from reeldrop.prompts.parsing import NotDescribed, PromptFile
from reeldrop.prompts.rules import ModelRules
from reeldrop.schedule import turns
from reeldrop.schedule.schedule import LOOK_THROUGH, FileView
from reeldrop.schedule.turns import Queue, Turns
from reeldrop.store import status
from reeldrop.store.spool import Spool
from reeldrop.store.status import Waiting
from reeldrop.video import encoder

EXAMINE_SECONDS = 0.1
"""How long new files are read before the renderer is served again."""

EXAMINE_FIRST_SECONDS = 3.0
"""The same while no file is queued: the file of the highest priority should be the first."""

SCAN_PAUSE_SECONDS = 0.02
SETTLE_PAUSE_SECONDS = 2.0
SCAN_SHARE = 40
"""After a scan, pause for this many times its CPU time, so that scanning costs at most 2.5 % of a
core; and at least for its wall time, on a slow share. Meanwhile, settled files are looked for
without a scan, after shorter pauses.
"""

QUIET_SECONDS = 60.0
"""After this long without a change, the inbox is scanned less often."""

_log = structlog.get_logger()


class Intake:
    """The files that wait in the inbox.

    rules, model: as for `parsing.parse`
    wake: called from another thread when the inbox may have changed
    clock: the clock of all times that methods take and return
    """

    def __init__(
        self,
        folder: Inbox,
        spool: Spool,
        rules: Mapping[str, ModelRules | None],
        model: str,
        scan_seconds: float,
        retry_seconds: float,
        wake: Callable[[], None],
        idle_scan_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        order: Turns | None = None,
    ) -> None:
        self._clock = clock
        self._inbox = folder
        self._idle_scan_seconds = max(scan_seconds, idle_scan_seconds)
        self._quiet_since = -math.inf
        self._tells_all = share.tells_all(folder.folder)
        self._knows_writers = share.knows_writers(folder.folder)
        self._spool = spool
        self._rules = rules
        self._model = model
        self._scan_seconds = scan_seconds
        self._retry_seconds = retry_seconds
        self._wake = wake
        self._woken = True
        self._next_scan = 0.0
        self._earliest_scan = 0.0
        self._settles = math.inf
        self._unexamined: list[Candidate] = []
        self._queue: Queue[Candidate] = Queue(order or Turns())
        self._disk_trouble = ""
        self._held_until = 0.0
        self._watch = self._make_watch()
        self._listed: tuple[tuple[Waiting, ...], int] | None = None
        self._oldest: float | None = None
        self.problem = ""
        self.scanned = False

    def _make_watch(self) -> Watch | None:
        try:
            return Watch(self._inbox.folder, self._on_event)
        except OSError as error:
            _log.warning("no_events", reason=str(error), remedy="the inbox is scanned by the clock")
            return None

    def _on_event(self) -> None:
        if not self._woken:  # one wake for any number of events
            self._woken = True
            self._wake()

    def close(self) -> None:
        """Close the watch."""
        if self._watch is not None:
            self._watch.close()

    def due(self) -> float:
        """Return when to look again at the latest."""
        if self._unexamined and not self.is_held_up():
            return 0.0
        scan = self._earliest_scan if self._woken else self._next_scan
        return min(self._settles, scan, self._held_until if self.is_held_up() else math.inf)

    def is_empty(self) -> bool:
        """Return whether the inbox has been scanned and has no file that can be claimed."""
        left = len(self._inbox) - self.blocked()
        return self.scanned and not self._woken and left == 0

    def blocked(self) -> int:
        """Return how many files of the inbox can't be claimed."""
        return self._inbox.blocked(self._clock())

    def look(self, now: float) -> None:
        """Look for settled files; scan first if something may have changed, or a scan is due."""
        is_due = now >= (self._earliest_scan if self._woken else self._next_scan)
        if not is_due and now < self._settles:
            return
        began = time.thread_time()
        if is_due:
            self._woken = False
            self._next_scan = now + self._pause(now)
            try:
                renamed = self._watch.renamed if self._watch is not None else ()
                if self._inbox.scan(now, renamed) or not self.scanned:
                    self._quiet_since = now
                    self._next_scan = now + self._scan_seconds
                self.scanned = True
                self._note("")
            except OSError as error:
                self._next_scan = now + self._scan_seconds
                self._note(f"the inbox can't be read: {error.strerror}")
        self._sort(now)
        settles = self._inbox.seconds_to_settle(now)
        work, wait = time.thread_time() - began, self._clock() - now
        pause = max(SCAN_PAUSE_SECONDS, work * SCAN_SHARE, wait)
        if settles is None:
            self._settles = math.inf
        else:
            self._settles = now + max(settles, min(pause, SETTLE_PAUSE_SECONDS))
        if is_due:
            self._earliest_scan = self._clock() + pause
            self._next_scan = max(self._next_scan, self._earliest_scan)
        if self._watch is not None and not self._watch.is_alive():
            _log.warning("events_ended", remedy="the inbox is scanned by the clock")
            self._watch = None

    def _pause(self, now: float) -> float:
        """Return the seconds to the next scan if no event arrives: more in a quiet inbox.

        Only where events report every change; elsewhere a file would be found late.
        """
        is_told = self._watch is not None and self._tells_all
        is_quiet = now - self._quiet_since >= QUIET_SECONDS
        return self._idle_scan_seconds if is_told and is_quiet else self._scan_seconds

    def _sort(self, now: float) -> None:
        """Sort out what has settled. Needs no scan: a file is checked when it is claimed."""
        self._listed = None
        settled = self._inbox.settled(now)
        self._unexamined = _by_turns(c for c in settled if not c.examined)
        self._queue.fill((*_place(c), c) for c in settled if c.examined)

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.error("inbox_gone", reason=problem, remedy="work goes on when it is back")
        elif self.problem and not problem:
            _log.info("inbox_back")
            self.close()  # the old watch gets no events of the new folder
            self._watch = self._make_watch()
            self._tells_all = share.tells_all(self._inbox.folder)
            self._knows_writers = share.knows_writers(self._inbox.folder)
        self.problem = problem

    def refused(self, *, patient: bool) -> Iterator[tuple[Job, PromptError]]:
        """Read newly settled files; claim and yield those that can't be rendered.

        Their authors get the error at once, whatever is being rendered. Other files are queued by
        priority. If `patient`, reading may take longer while nothing is queued.
        """
        seconds = EXAMINE_FIRST_SECONDS if patient and not self._queue else EXAMINE_SECONDS
        end = self._clock() + seconds
        while self._unexamined and self._clock() < end and not self.is_held_up():
            candidate = self._unexamined.pop()
            if self._is_being_written(candidate):
                continue
            candidate.examined = True
            if what := self._inbox.waited_in_vain(candidate, self._clock()):
                self._say_unfinished(candidate, what)
            defaults: tuple[DefaultsFile, ...] = ()
            try:
                defaults = self._inbox.defaults_for(candidate.path, parsing.MAX_DEFAULTS_BYTES)
                with self._inbox.opened(candidate.path) as file:
                    found = self._parse(candidate.path, file, defaults)
                kinds = {hash(prompt.batch_key) for prompt in found.prompts}
                candidate.kind = kinds.pop() if len(kinds) == 1 else 0
                candidate.count, candidate.model = len(found.prompts), found.prompts[0].model
                self._enqueue(candidate, found.priority)
            except NotDescribed as unknown:
                candidate.kind, candidate.count, candidate.model = 0, 0, unknown.model
                self._enqueue(candidate, unknown.priority)
            except OSError as error:
                candidate.examined = False
                if self._inbox.is_unchanged(candidate):  # else the next scan decides
                    self._block(candidate, f"can't be read: {error.strerror}", error)
            except PromptError as error:
                if isinstance(error, UnfinishedError) and self._holds_nul(candidate):
                    continue
                if self._inbox.is_unchanged(candidate):
                    job = self._claim(candidate, defaults or _refused_defaults(error))
                    if job is not None:
                        yield job, error

    def examine_again(self) -> None:
        """Read the files again whose model was not known: it may have been loaded since."""
        for candidate in self._queue:
            candidate.examined = candidate.count > 0
        self._sort(self._clock())

    def _is_being_written(self, candidate: Candidate) -> bool:
        """Let a file wait that a program on this machine is writing; return whether it waits."""
        if not self._knows_writers:
            return False
        try:
            with self._inbox.opened(candidate.path) as file:
                if not writers.is_written(file):
                    return False
                what = candidate.held or f"still being written by {writers.name_of_writer(file)}"
        except OSError:  # whoever opens it next gets the error
            return False
        again = self._clock() + max(self._inbox.settle_seconds, SETTLE_PAUSE_SECONDS)
        return self._hold(candidate, what, again)

    def _holds_nul(self, candidate: Candidate) -> bool:
        """Let a file wait that has its size but not all of its bytes; return whether it waits."""
        return self._inbox.patient and self._hold(candidate, "holds NUL bytes so far", math.inf)

    def _hold(self, candidate: Candidate, what: str, until: float) -> bool:
        """Let an unfinished file wait; return whether it waits: not if it has for long enough."""
        if not self._inbox.hold(candidate, what, until, self._clock()):
            if not candidate.examined:  # else it has been logged before
                self._say_unfinished(candidate, what)
            return False
        candidate.examined = False
        self._settles = min(self._settles, candidate.held_until)
        self._listed = None
        return True

    def _say_unfinished(self, candidate: Candidate, what: str) -> None:
        _log.warning("taken_unfinished", prompt_file=shown(candidate.path), reason=what)

    def trouble(self) -> str:
        """Return why nothing can be claimed for now; empty if something can."""
        return self._disk_trouble if self.is_held_up() else ""

    def is_held_up(self) -> bool:
        """Return whether nothing can be claimed for now, because a disk is in trouble."""
        return self._clock() < self._held_until

    def _enqueue(self, candidate: Candidate, priority: int) -> None:
        candidate.priority = priority
        self._queue.add(*_place(candidate), candidate)

    def first(self) -> tuple[FileView, ...]:
        """Return the next files, in order; none while nothing can be claimed."""
        if self.is_held_up():
            return ()
        return tuple(
            FileView(str(c.path), rank, c.kind, c.count, c.was_passed_over, c.model)
            for rank, c in self._queue.first(LOOK_THROUGH)
        )

    def groups(self) -> set[str]:
        """Return the groups that have a file waiting here."""
        return self._queue.groups()

    def pass_over(self, paths: Iterable[str]) -> None:
        """Mark those of the paths that wait here as passed over by a batch."""
        for path in paths:
            candidate = self._inbox.find(path)
            if candidate is not None:
                candidate.was_passed_over = True

    def take(self, file: FileView | None = None) -> Job | None:
        """Claim a file, the next one by default.

        None if nothing waits, or the file has changed, is being written or can't be claimed.
        """
        while not self.is_held_up():
            taken = file or next(iter(self.first()), None)
            if taken is None:
                return None
            priority, _, since, path = taken.rank
            group = turns.group(PurePosixPath(path))
            candidate = self._queue.remove(-priority, group, since, path)
            defaults = self._defaults_if_as_examined(candidate) if candidate else None
            if candidate is not None and defaults is not None:
                return self._claim(candidate, defaults)
            if file is not None:
                break
        return None

    def _defaults_if_as_examined(self, candidate: Candidate) -> tuple[DefaultsFile, ...] | None:
        """Return a file's defaults; None if it has changed, is being written, or on an error."""
        if candidate not in self._inbox or not self._inbox.is_unchanged(candidate):
            return None
        if self._is_being_written(candidate):
            return None
        try:
            return self._inbox.defaults_for(candidate.path, parsing.MAX_DEFAULTS_BYTES)
        except PromptError:  # the defaults have changed: examine the file again
            candidate.examined = False
        except OSError as error:
            candidate.examined = False
            self._block(candidate, f"can't be read: {error.strerror}", error)
        return None

    def _claim(self, candidate: Candidate, defaults: tuple[DefaultsFile, ...]) -> Job | None:
        self._listed = None
        try:
            job = self._spool.claim(
                candidate.path, defaults, candidate.priority, is_same=candidate.is_same
            )
        except OSError as error:
            self._claim_failed(candidate, error)
            return None
        self._inbox.forget(candidate)
        self._disk_trouble = ""
        return job

    def _claim_failed(self, candidate: Candidate, error: OSError) -> None:
        """Block a file for now, and all others if the disk is in trouble."""
        self._block(candidate, f"can't be taken: {error.strerror}", error)
        if error.errno in DISK_ERRORS:
            self._held_until = candidate.blocked_until
            candidate.blocked_until += self._retry_seconds  # it may be the cause: try others first

    def _block(self, candidate: Candidate, reason: str, error: OSError) -> None:
        """Block a file for now, and log the reason unless it is the last one logged."""
        again = self._clock() + self._retry_seconds
        is_told = reason in (candidate.blocked, self._disk_trouble)
        if error.errno in DISK_ERRORS:
            self._disk_trouble = reason
        if not is_told:
            _log.error("claim_failed", prompt_file=shown(candidate.path), reason=str(error))
        candidate.blocked, candidate.blocked_until = reason, again
        self._settles = min(self._settles, again)
        self._listed = None

    def read(self, job: Job) -> PromptFile:
        """Return the prompts of a claimed file.

        Raises:
            PromptError: it can't be rendered; also if reading it raised an unexpected error.
            NotDescribed: it has to be read again when a model has been loaded.
            OSError: the disk is in trouble, or the file is gone.
        """
        if job.is_damaged:
            problem = (
                "the record of it in the spool is damaged: its place in the inbox is not known"
            )
            raise PromptError(
                Mistake(problem, "put it there again, and mind that folder's defaults")
            )
        return self._parse(job.source, job.prompt_file, job.defaults, job.drawn_seed)

    def _parse(
        self,
        source: PurePosixPath,
        file: Path,
        defaults: tuple[DefaultsFile, ...],
        draw_seed: Callable[[int], int] = lambda number: number,
    ) -> PromptFile:
        status = file.lstat()
        refusal = inbox.refusal(source, status.st_mode, status.st_mtime_ns)
        if refusal is not None:
            raise refusal
        try:
            if source.suffix.lower() == ".mp4":
                data = encoder.embedded_settings(file)
            else:
                data = inbox.read_plain(file, parsing.MAX_BYTES)
            return parsing.parse(source.name, data, defaults, self._rules, self._model, draw_seed)
        except (PromptError, NotDescribed):
            raise
        except OSError as error:
            if error.errno in DISK_ERRORS or error.errno == errno.ENOENT:
                raise
            mistake = Mistake(
                f"can't read it: {error.strerror}", "put a plain, readable file there"
            )
            raise PromptError(mistake) from None
        except Exception as error:
            _log.exception("unexpected_error", prompt_file=str(source))
            problem = f"reeldrop stumbled over this file: {type(error).__name__}: {error}"
            raise PromptError(Mistake(problem, "please report this")) from error

    def waiting(self, now: float) -> tuple[tuple[Waiting, ...], int]:
        """Return the first unclaimed files with the reasons, and the number of all."""
        if self._listed is None:
            self._listed = self._list(now)
            self._oldest = self._inbox.oldest()
        return self._listed

    def waiting_seconds(self, now: float) -> int:
        """Return the age of the file that has waited longest, in seconds."""
        if self._oldest is None:
            return 0
        return max(0, int(now - self._oldest))

    def _list(self, now: float) -> tuple[tuple[Waiting, ...], int]:
        queued = (c for _, c in self._queue.first(status.MAX_WAITING))
        unexamined = reversed(self._unexamined)
        settled = (
            (c.path, "waits for its turn")
            for c in itertools.chain(queued, unexamined)
            if c in self._inbox
        )
        found = itertools.chain(settled, self._inbox.waiting(now))
        listed = itertools.islice(found, status.MAX_WAITING)
        waiting = tuple(Waiting(shown(path), reason) for path, reason in listed)
        return waiting, self._inbox.waiting_count()


def _place(candidate: Candidate) -> tuple[int, str, float, str]:
    """Return a file's place in the queue: priority, group, first seen, path."""
    path = str(candidate.path)
    return candidate.priority, turns.group(candidate.path), candidate.first_seen, path


def _by_turns(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return files in reverse reading order, so that the last is read first; groups take turns."""
    counts: Counter[str] = Counter()
    found = []
    for candidate in sorted(candidates, key=inbox.rank):
        group = turns.group(candidate.path)
        found.append((counts[group], candidate))
        counts[group] += 1
    return [c for _, c in sorted(found, key=lambda entry: entry[0])][::-1]


def _refused_defaults(error: PromptError) -> tuple[DefaultsFile, ...]:
    """Return invalid stand-ins for unreadable defaults, so that a job never runs without them."""
    return tuple(DefaultsFile(m.file, b"]") for m in error.mistakes if m.file)
