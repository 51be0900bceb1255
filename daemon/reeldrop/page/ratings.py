"""What people think of videos: taken from the inbox, kept in the results, counted for everybody.

The page can't write. It saves the ratings of whoever looks at it as a file for the inbox. Each
browser has one vote for a video: the file that it saved last replaces all that it said before.
A kill between keeping a file and removing it from the inbox only means that it is taken again.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from reeldrop.base import plain_files
from reeldrop.base.names import RATINGS_FOLDER, is_ratings_name
from reeldrop.base.roots import NOTHING_THERE, Root
from reeldrop.page import scripts
from reeldrop.page.gallery import write as write_file
from reeldrop.store.status import Waiting

MAX_BYTES = 1 << 20
MAX_FILES = 100
"""Most files of the inbox that are read in one look."""
MAX_VOTERS = 200
MAX_VIDEOS = 50_000
"""Most videos with ratings; further ones are not counted."""

NAME = "ratings.js"

_FOLDER = PurePath(RATINGS_FOLDER)
_VOTER = re.compile(r"[0-9a-f]{8,64}")
_VIDEO = re.compile(r"[0-9a-z-]{1,64}/[0-9]{1,6}")
_BEST = 5
_LATEST = 1 << 53

_State = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Ballot:
    """The votes of a browser.

    saved: milliseconds since 1970, by the browser's clock
    votes: for each video, as <job>/<number>, whether it is a favourite, and its rating; 0 if none
    """

    voter: str
    saved: int
    votes: dict[str, tuple[bool, int]]

    @classmethod
    def parsed(cls, data: bytes) -> Ballot:
        """Return the ballot in a file.

        Raises:
            ValueError: it has none, or not a whole one; the message says why.
        """
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            raise _refusal("it is not whole, or not JSON") from None
        match found:
            case {"voter": str(voter), "saved": int(saved), "videos": dict(videos)}:
                pass
            case _:
                raise _refusal("it is not of the form that the gallery saves")
        if not _VOTER.fullmatch(voter) or not 0 <= saved <= _LATEST:
            raise _refusal("`voter` or `saved` is not of the form that the gallery saves")
        return cls(voter, saved, dict(map(_vote, videos.items())))

    def encoded(self) -> bytes:
        """Return the content of a file with these votes."""
        videos = {
            video: {"favourite": is_favourite, "rating": rating}
            for video, (is_favourite, rating) in self.votes.items()
        }
        found = {"voter": self.voter, "saved": self.saved, "videos": videos}
        return json.dumps(found, separators=(",", ":")).encode()  # never longer than what was read


def _vote(item: tuple[str, object]) -> tuple[str, tuple[bool, int]]:
    match item:
        case (video, {"favourite": bool(is_favourite), "rating": int(rating)}) if (
            _VIDEO.fullmatch(video) and type(rating) is int and 0 <= rating <= _BEST
        ):
            return video, (is_favourite, rating)
    raise _refusal("the vote for a video is not of the form that the gallery saves")


def _refusal(reason: str) -> ValueError:
    remedy = "save it from the gallery again, or delete it"
    return ValueError(f"no file of ratings: {reason}; {remedy}")


@dataclass(frozen=True, slots=True)
class _Left:
    """A file that a look has left in the inbox.

    reason: why it is refused; empty if that has to be seen once more, since it may be a part
    """

    state: _State
    reason: str = ""


class Ratings:
    """The ratings that lie in the inbox."""

    def __init__(self, inbox: Root) -> None:
        self._inbox = inbox
        self._left: dict[str, _Left] = {}
        self._last = ""

    @property
    def refused(self) -> tuple[Waiting, ...]:
        """Those that can't be taken and have not changed between two looks, with the reasons."""
        left = sorted(self._left.items())
        return tuple(Waiting.of(PurePosixPath(n), one.reason) for n, one in left if one.reason)

    def take(self, results: Root) -> bool:
        """Move ratings from the inbox into the results; return whether there were any.

        Each look begins behind the file that was read last: so nobody's files keep those of others
        from being read.
        """
        before, self._left = self._left, {}
        read, taken = 0, False
        with contextlib.suppress(OSError), self._inbox.opened() as inbox:
            for name in self._in_turn(filter(is_ratings_name, os.listdir(inbox))):
                left, is_same = before.get(name), False
                try:
                    state = _state(inbox / name)
                    is_same = left is not None and left.state == state
                    if read >= MAX_FILES:
                        if left is not None and is_same:
                            self._left[name] = left
                        continue
                    read, self._last = read + 1, name
                    self._left[name] = _Left(state)
                    _keep(Ballot.parsed(plain_files.content(inbox / name, MAX_BYTES)), results)
                    if _state(inbox / name) == state:  # else it is another one by now
                        os.unlink(inbox / name)
                    del self._left[name]
                    taken = True
                except FileNotFoundError:
                    self._left.pop(name, None)
                except (OSError, ValueError) as error:
                    if is_same:
                        self._left[name] = _Left(state, _in_words(error))
        return taken

    def _in_turn(self, names: Iterable[str]) -> list[str]:
        """Return names in their order, those behind the last one that was read first."""
        ordered = sorted(names)
        behind = bisect.bisect(ordered, self._last)
        return ordered[behind:] + ordered[:behind]


def _state(path: Path) -> _State:
    found = path.lstat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _in_words(error: Exception) -> str:
    return f"can't be taken: {error.strerror}" if isinstance(error, OSError) else str(error)


def _keep(ballot: Ballot, results: Root) -> None:
    """Write the votes into the results, unless later ones of the same browser are there.

    Raises:
        ValueError: there are too many others.
    """
    now = int(time.time() * 1000)
    ballot = Ballot(ballot.voter, min(ballot.saved, now), ballot.votes)  # its clock may be ahead
    with results.opened(_FOLDER, make=True) as folder:
        path = folder / f"{ballot.voter}.json"
        before = _read(path)
        if before is not None and ballot.saved < before.saved <= now:  # else ours was ahead then
            return
        if not path.exists() and sum(1 for _ in _kept(folder)) >= MAX_VOTERS:
            where = f"{RATINGS_FOLDER}/ in the results"
            raise ValueError(f"{where} has those of {MAX_VOTERS} browsers: delete some there")
        write_file(path, ballot.encoded())


def _kept(folder: Path) -> Iterator[Path]:
    for name in sorted(os.listdir(folder)):
        if name.endswith(".json") and _VOTER.fullmatch(name[:-5]):
            yield folder / name


def _read(path: Path) -> Ballot | None:
    with contextlib.suppress(OSError, ValueError):
        return Ballot.parsed(plain_files.content(path, MAX_BYTES))
    return None


def write(data: Path, results: Root) -> None:
    """Write the counts for the page into its folder of data.

    For each video: how many call it a favourite, the sum of its ratings, and their number.
    """
    counts: dict[str, list[int]] = {}
    with contextlib.suppress(*NOTHING_THERE), results.opened(_FOLDER) as folder:
        for path in list(_kept(folder))[:MAX_VOTERS]:
            ballot = _read(path)
            for video, (is_favourite, rating) in ballot.votes.items() if ballot else ():
                if video in counts or len(counts) < MAX_VIDEOS:
                    count = counts.setdefault(video, [0, 0, 0])
                    count[0] += is_favourite
                    count[1] += rating
                    count[2] += rating > 0
    write_file(data / NAME, scripts.call("ratings", counts))
