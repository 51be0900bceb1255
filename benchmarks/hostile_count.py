"""Count what hostile authors did to a daemon, from the files at the end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from crash import is_whole
from hostile_author import FORGED
from hostile_site import Seen, Site, changes, snapshot, walk
from reeldrop.base.escaping import shown
from reeldrop.base.names import ERROR_SUFFIX, NOTE_SUFFIX
from reeldrop.intake.ignored import Ignored
from reeldrop.prompts.parsing import DEFAULTS_NAME, SUFFIXES

BOUND_SECONDS = 300.0
"""How long a good file may take from its drop to its video, or from when strangers stop imitating
its temporary file: the daemon waits up to an hour for one that grows. It waits two minutes for
defaults that keep changing; then it is the file's turn, whatever others have ordered."""

IMITATED_SECONDS = 45.0
"""How long a stranger keeps a file growing that looks like a temporary one."""

_MARK = re.compile(r"[hst]\d-\d{5}|good\d{5}[0-9a-f]{8}")
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass
class Count:
    """The counts of a siege. All from `failed` on have to be 0."""

    good: int = 0
    rendered: int = 0
    longest_wait: float = 0.0
    hostile: int = 0
    commands: int = 0
    slowest_command: float = 0.0
    longest_silence: float = 0.0
    reports: int = 0
    memory_mib: float = 0.0
    drain_seconds: float = 0.0
    still_waiting: int = 0
    failed: int = 0
    missing: int = 0
    too_late: int = 0
    broken: int = 0
    lost_hostile: int = 0
    touched: int = 0
    leaked: int = 0
    bad_commands: int = 0
    bad_reports: int = 0
    strangers_folders: int = 0
    second_daemons: int = 0
    deaths: int = 0
    silences: int = 0
    unsaid: int = 0
    too_much_memory: int = 0
    bad_drains: int = 0
    author_ends: int = 0

    def harm(self) -> dict[str, int]:
        values = asdict(self)
        names = list(values)
        return {name: values[name] for name in names[names.index("failed") :] if values[name]}


@dataclass
class Good:
    """A good file.

    dropped: when, in seconds since the epoch.
    wait: seconds from the drop to the video; None without one.
    held: seconds from the drop until strangers stop imitating its temporary file.
    """

    token: str
    path: Path
    dropped: float
    wait: float | None = None
    held: float = 0.0

    def video(self, results: Path) -> Path:
        return results / self.path.parent / self.token / f"{self.token}.mp4"


@dataclass
class Tally:
    """The state of a siege while it runs; `kinds` maps the mark of a deed to its kind."""

    count: Count = field(default_factory=Count)
    good: dict[str, Good] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _length: int = 0

    def note(self, what: str, problem: str) -> None:
        """Count a problem, and keep its text; only the first 20 of each kind."""
        number = getattr(self.count, what) + 1
        setattr(self.count, what, number)
        if number <= 20:
            self.problems.append(f"{what}: {problem}")

    def see(self, site: Site) -> None:
        """Read the authors' journal, and record which good files have become videos."""
        self._read(site.beside("journal"))
        for good in self.good.values():
            if good.wait is None and good.video(site.results).exists():
                good.wait = time.time() - good.dropped

    def _read(self, journal: Path) -> None:
        with journal.open("rb") as file:
            file.seek(self._length)
            *lines, _ = file.read().split(b"\n")
        self._length += sum(len(line) + 1 for line in lines)
        for line in lines:
            told = json.loads(line)
            if told["kind"] == "good":
                self.good[told["mark"]] = Good(told["mark"], Path(told["path"]), told["time"])
            elif told["kind"] == "imitated" and told["mark"] in self.good:
                good = self.good[told["mark"]]
                good.held = told["time"] + IMITATED_SECONDS - good.dropped
            elif told["kind"] in ("withdrawn", "imitated"):
                self.withdrawn.add(told["mark"])
            else:
                self.kinds[told["mark"]] = told["kind"]


def hidden_harm(text: str) -> str:
    """Return the text's raw control character or forged line, if any; empty if none."""
    for character in text:
        is_control = (
            unicodedata.category(character) in ("Cc", "Zl", "Zp") and character not in "\n\t"
        )
        if is_control or character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
            return f"{character!r} stands in it raw"
    forged = [line for line in text.split("\n") if line.startswith(FORGED)]
    return f"a line of it is forged: {forged[0]!r}" if forged else ""


def forged_row(name: str, text: str) -> str:
    """Return the row of a command's output that shows a forged fact; empty if none."""
    for line in text.split("\n"):
        cells = line.split("\t")
        if len(cells) > 1 and any(cell.startswith((FORGED, "3170843")) for cell in cells):
            return f"{name} lists what was forged: {line!r}"
    return ""


class Reckoning:
    """Counts the outcome after the siege."""

    def __init__(self, site: Site, tally: Tally) -> None:
        self._site = site
        self._tally = tally
        self._places: dict[str, set[str]] = {}
        self._videos: Counter[str] = Counter()

    def reckon(self, before: dict[str, Seen]) -> None:
        """Check every file, and count faults; `before` is the snapshot of the files outside."""
        self._tally.see(self._site)
        for line in changes(before, snapshot(self._site)):
            self._tally.note("touched", line)
        self._find_places()
        self._count_good()
        self._count_hostile()
        self._read_reports()
        self._look_for_secrets()
        self._see_what_waits()
        active = [path.name for path in (self._site.spool / "active").iterdir()]
        if active:
            self._tally.note("unsaid", f"jobs are left in the spool: {active[:5]}")

    def _find_places(self) -> None:
        """Find where the names with each mark are, and how many copies of each video exist."""
        for where, path, seen in self._all_files():
            is_planted = where == "rendered" and "/" not in path and seen.st_uid != self._site.uid
            if where == "rendered" and path.endswith(".mp4"):
                self._videos[Path(path).name.split(".")[0].split("-")[0]] += 1
            if path.startswith(("_failed/", "refused/")):
                where = "refused"
            for mark in _MARK.findall(path) if not is_planted else ():
                self._places.setdefault(mark, set()).add(where)

    def _all_files(self) -> Iterator[tuple[str, str, os.stat_result]]:
        site = self._site
        tops = {"waiting": site.inbox, "rendered": site.results, "spool": site.spool}
        for where, top in tops.items():
            for path, seen in walk(top):
                yield where, path, seen

    def _count_good(self) -> None:
        count, note = self._tally.count, self._tally.note
        count.good = len(self._tally.good)
        for good in self._tally.good.values():
            where = self._places.get(good.token, set())
            if good.wait is not None:
                count.rendered += 1
                count.longest_wait = round(max(count.longest_wait, good.wait), 1)
                if good.wait - good.held > BOUND_SECONDS:
                    note("too_late", f"{good.path} took {good.wait:.0f} s")
                video, there = good.video(self._site.results), self._videos[good.token]
                if there != 1 or not is_whole(video):
                    note("broken", f"{video}, there {there} times")
            elif "refused" in where:
                note("failed", f"{good.path}: {self._reason(good.path)}")
            elif self._videos[good.token]:
                note("too_late", f"{good.path} was rendered after all, elsewhere")
            else:
                note("missing", f"{good.path} is in {where or 'no place'}")

    def _reason(self, path: Path) -> str:
        report = self._site.failed / path.with_name(path.name + ERROR_SUFFIX)
        return report.read_text(errors="replace")[:300] if report.exists() else "no report"

    def _count_hostile(self) -> None:
        """Count the outcomes of deeds; a deed with several files has the outcome of the best."""
        for mark, kind in self._tally.kinds.items():
            where = self._places.get(mark, set())
            best = next((w for w in ("rendered", "refused", "spool", "waiting") if w in where), "")
            if not best:
                best = "withdrawn" if mark in self._tally.withdrawn else "lost"
            if best == "lost":
                self._tally.note("lost_hostile", f"{mark}, {kind}")
            self._tally.outcomes.setdefault(kind, Counter())[best] += 1
        self._tally.count.hostile = len(self._tally.kinds)

    def _read_reports(self) -> None:
        """Check the reports, and the owners of the folders in the results and `_failed/`."""
        for path, seen in walk(self._site.results):
            own = seen.st_uid in (0, self._site.uid)
            if stat.S_ISDIR(seen.st_mode):
                if not own and "/" in path:
                    self._tally.note("strangers_folders", path)
            elif own and path.endswith((ERROR_SUFFIX, NOTE_SUFFIX)) and stat.S_ISREG(seen.st_mode):
                self._tally.count.reports += 1
                wrong = hidden_harm((self._site.results / path).read_text(errors="replace"))
                if wrong:
                    self._tally.note("bad_reports", f"{path}: {wrong}")

    def _look_for_secrets(self) -> None:
        """Check that no content from outside is in the inbox, the results or the spool."""
        site, secret = self._site, self._site.secret.encode()
        tops = {"waiting": site.inbox, "rendered": site.results, "spool": site.spool}
        for where, path, seen in self._all_files():
            is_small = stat.S_ISREG(seen.st_mode) and seen.st_size < 1 << 22
            if path.startswith("old/") or not is_small:
                continue
            with contextlib.suppress(OSError):
                file = tops[where] / path
                if site.secret in path or secret in file.read_bytes():
                    self._tally.note("leaked", str(file))

    def _see_what_waits(self) -> None:
        """Check that `status` lists every prompt file that is left in the inbox."""
        site, log = self._site, self._site.beside("status.log")
        log.write_bytes(b"")
        site.zygote.wait(site.start("status", "--json", log="status.log", uid=0))
        told: dict[str, Any] = json.loads(log.read_text(errors="surrogateescape"))
        names = {one["prompt_file"] for one in (*told["waiting"], *told["unrecognised"])}
        left = [*map(shown, self._left_in_inbox())]
        self._tally.count.still_waiting = len(left)
        unsaid = [path for path in left if not _is_told(path, names)]
        counted = told["waiting_count"] + told["unrecognised_count"]
        if len(unsaid) > counted - len(names):  # `status` lists only the first ones
            for path in unsaid:
                self._tally.note("unsaid", f"{path} waits, and nobody says so")

    def _left_in_inbox(self) -> Iterator[str]:
        """Yield paths named like prompt files that are in no folder named like one."""
        ignored = Ignored()
        for path, _ in walk(self._site.inbox):
            *above, name = path.split("/")
            if name in ignored or any(part in ignored for part in above) or name == DEFAULTS_NAME:
                continue
            if _is_like_a_prompt_file(name) and not any(map(_is_like_a_prompt_file, above)):
                yield path


def _is_told(path: str, names: Container[str]) -> bool:
    """Return whether `names` has a path or a folder above it."""
    return path in names or any(str(folder) in names for folder in PurePosixPath(path).parents)


def _is_like_a_prompt_file(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES
