"""Cut the power while prompt files are processed, and count what is lost or torn.

reeldrop's own code claims prompt files, publishes videos and ends jobs on a file system in an
image, and acknowledges each in a file elsewhere. Then the file system is shut down without a last
flush, or the disk's writes are replayed into a state that a cut could have left. Mounted again, it
has to hold everything that was acknowledged, and nothing torn; the same code has to finish all
jobs. As a control, the counts have to find faults if fsync is switched off.

    python benchmarks/power_cuts.py --cuts 200 --states 500    # as root
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from harness.jobs import MODEL, next_batch
from harness.logged_disk import Changes, logged_disk
from reeldrop.base import temporaries
from reeldrop.base.errors import Mistake, PromptError, Unrenderable
from reeldrop.base.fleet import BatchLimit
from reeldrop.base.job import Batch, Job, Prompt, Rendered
from reeldrop.base.names import video_name
from reeldrop.host import log
from reeldrop.intake.inbox import Inbox
from reeldrop.service.jobs import Jobs
from reeldrop.service.limits import Limits
from reeldrop.store import sidecars
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool

MEGABYTES = {"ext4": 48, "xfs": 320}
"""Image sizes: about the smallest that mkfs accepts."""

SHUT_DOWN = 0x8004587D  # FS_IOC_GOINGDOWN
WITHOUT_FLUSH = 2

AT_ONCE = 6
"""How many prompt files are dropped before they are processed."""

ENOUGH = 120
"""After this many acknowledgements, a worker shows nothing new."""

LONGEST_SECONDS = 0.3
STATES_PER_LOG = 25

CONTROLS = {"all": "no fsync at all", "folders": "no fsync of folders"}
CONTROL_SHARE = 5
"""Each control gets one in this many of the cuts and states."""

UNFINISHED = ".part"
"""The suffix of the dropper's temporary files, which reeldrop does not have to clean up."""

IMPOSSIBLE = "an impossible thing"
RENDERED = Rendered(MODEL, None, "None", "None", "cpu", "float32", (), 0.0, 0)

_fsync = os.fsync  # for the dropper, while reeldrop's is switched off


# The prompt files, and their expected outcome


def prompt_file(number: int) -> PurePosixPath:
    """Return the path in the inbox of a prompt file."""
    return PurePosixPath("poems" if number % 2 else "", f"{number:05}.txt")


def text(number: int) -> str:
    """Return a prompt file with two prompts, with one and an impossible one, or with none."""
    first, second = f"star {number:05} 1", f"star {number:05} 2"
    kinds = (f"{first}\n{second}\n",) * 3 + (f"{first}\n{IMPOSSIBLE}\n", "# nothing\n")
    return kinds[number % len(kinds)]


def prompts_of(text: str) -> tuple[Prompt, ...]:
    """Return the prompts of a prompt file."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        Prompt(number, line, MODEL, (("num_frames", 8),), number, 8.0, ("mp4",))
        for number, line in enumerate(lines, 1)
    )


def content(stem: str, suffix: str) -> bytes:
    """Return stand-in bytes for a video or poster, always the same for the same name."""
    dice = random.Random(stem + suffix)
    return dice.randbytes(dice.randrange(10_000, 50_000))


def outcome(number: int) -> set[str]:
    """Return exactly the files that a prompt file has to leave in the end."""
    source, prompts = prompt_file(number), prompts_of(text(number))
    failed, folder = f"results/_failed/{source}", f"results/{source.with_suffix('')}"
    if not prompts:
        return {failed, f"{failed}.error.txt"}
    stems = [video_name(p.prompt) for p in prompts if p.prompt != IMPOSSIBLE]
    videos = {f"{folder}/{stem}{end}" for stem in stems for end in (".yaml", ".jpg", ".mp4")}
    remainder = str(PurePosixPath(failed).with_suffix(".yaml"))
    aside = {remainder, f"{remainder}.error.txt"} if len(stems) < len(prompts) else set()
    return {f"{folder}/{source.name}", f"{folder}/job.log", *videos, *aside}


# The worker, in a process of its own


class Road:
    """Processes prompt files with reeldrop's code, and stand-ins for renderer and encoder.

    It acknowledges in `told`, a file on another file system, what it has done durably, and exits
    right after line `last`; never if that is 0.
    """

    def __init__(self, site: Path, told: Path, last: int = 0) -> None:
        self._site = site
        self._told = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._left = last
        self._spool = Spool(site / "spool", site / "inbox", site / "results" / "_failed")
        self._results = Results(site / "results")
        self._inbox = Inbox(site / "inbox", frozenset({".txt"}), 0.0, "_defaults.yaml")
        self._jobs = Jobs(self._spool, self._results, Limits({MODEL: BatchLimit(1)}, 100, 1))

    def tell(self, what: str, name: str, digest: str = "") -> None:
        """Write an acknowledgement; exit after the last one."""
        line = f"{json.dumps([time.monotonic_ns(), what, name, digest])}\n"
        os.write(self._told, line.encode())
        self._left -= 1
        if self._left == 0:
            os._exit(0)

    def drop_and_go(self) -> None:
        """Drop prompt files and process them, without end."""
        for number in itertools.count():
            drop(number, self._site / "inbox")
            if is_careful(number):
                self.tell("dropped", prompt_file(number).name)
            if number % AT_ONCE == AT_ONCE - 1:
                self.go()

    def go(self) -> None:
        """Process all prompt files that exist."""
        with self._spool.lock.held():
            self._spool.prepare()
            self._spool.note_ending("the power was cut")
            while (job := self._next_job()) is not None:
                self._work(job)
                if self._jobs.spooled.postponed():
                    sys.exit(f"the disk is in trouble: {self._jobs.waiting()}")
                self.tell("ended", job.source.name)

    def _next_job(self) -> Job | None:
        job = self._jobs.spooled.unfinished(time.monotonic())
        if job is None:
            self._inbox.scan(time.monotonic())
            for candidate in self._inbox.settled(time.monotonic())[:1]:
                defaults = self._inbox.defaults_for(candidate.path, max_bytes=1000)
                job = self._spool.claim(candidate.path, defaults)
                self.tell("claimed", candidate.path.name)
        return job

    def _work(self, job: Job) -> None:
        prompts = prompts_of(job.prompt_file.read_text())
        if not prompts:
            self._jobs.ends.fail(job, PromptError(Mistake("there is nothing in it")))
            return
        self._jobs.opened.open(job, prompts)
        while (batch := next_batch(self._jobs, time.monotonic())) is not None:
            self._render(batch)

    def _render(self, batch: Batch) -> None:
        [(job_id, prompt)] = ((member.job_id, member.prompt) for member in batch.members)
        opened = self._jobs.opened[job_id]
        if prompt.prompt == IMPOSSIBLE:
            self._jobs.batches.failed(job_id, prompt, Unrenderable("it can't be"))
            return

        def encode(path: Path, format: str, _settings: str) -> None:
            path.write_bytes(content(video_name(prompt.prompt), f".{format}"))

        self._jobs.batches.rendered(job_id, RENDERED)
        begun = opened.reserved.get(prompt.number)
        self._spool.attempts.flush(opened.job)
        video = self._results.publish(opened.job, prompt, RENDERED, encode, begun)
        self.tell("published", video.sidecar.stem, digest(video.sidecar))
        self._jobs.batches.published(video)


def is_careful(number: int) -> bool:
    """Return whether the dropper of a prompt file calls fsync. Most programs do not."""
    return number % 3 > 0


def drop(number: int, inbox: Path) -> None:
    """Drop a prompt file as a careful sync tool does, or as `cp` does."""
    path = inbox / prompt_file(number)
    if not is_careful(number):
        path.write_text(text(number))
        return
    unfinished = path.with_name(f".{path.name}{UNFINISHED}")
    unfinished.write_text(text(number))
    wait_for_disk(unfinished)
    unfinished.replace(path)
    wait_for_disk(path.parent)


def wait_for_disk(path: Path) -> None:
    """Sync a file or folder, even if reeldrop's fsync is switched off."""
    fd = os.open(path, os.O_RDONLY)
    _fsync(fd)
    os.close(fd)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def switch_off_fsync(of: str) -> None:
    """Make fsync do nothing in this process, for "files", "folders" or "all"."""

    def fsync(fd: int) -> None:
        kind = "folders" if stat.S_ISDIR(os.fstat(fd).st_mode) else "files"
        if of not in (kind, "all"):
            _fsync(fd)

    os.fsync = fsync


def walk(site: Path, told: Path, last: int, without: str) -> None:
    """Run the worker: for `last` acknowledgements, or until all jobs have ended if that is 0."""
    nowhere = open(os.devnull, "w")  # noqa: SIM115
    log.configure(nowhere, for_people=False)
    switch_off_fsync(without)
    road = Road(site, told, last)
    if last:
        os.dup2(nowhere.fileno(), 2)  # it prints errors when its disk goes
        road.drop_and_go()
    road.go()


@functools.cache
def _processes() -> ForkServerContext:
    """Return what forks processes from one that has imported this module once.

    Python 3.11 does not tell that one where modules are, and lets each fork import them again.
    """
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["__main__", "power_cuts"])
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if known is not None:
            os.environ["PYTHONPATH"] = known
    return made


def start_walk(site: Path, told: Path, last: int, without: str) -> ForkServerProcess:
    """Start a worker in a process of its own."""
    worker = _processes().Process(target=walk, args=(site, told, last, without))
    worker.start()
    return worker


# The disk


@dataclass(frozen=True)
class Place:
    """The images of one kind of file system, and their mount point."""

    folder: Path
    kind: str

    @classmethod
    def make(cls, folder: Path, kind: str) -> Place:
        """Make the first image, with an empty site in it."""
        folder.mkdir(parents=True)
        place = cls(folder, kind)
        place.site.mkdir()
        with open(place.first, "wb") as image:
            image.truncate(MEGABYTES[kind] << 20)
        subprocess.run([f"mkfs.{kind}", "-q", str(place.first)], check=True)
        with mounted(place.first, place.site):
            for name in ("inbox/poems", "spool", "results"):
                (place.site / name).mkdir(parents=True)
        return place

    @property
    def first(self) -> Path:
        return self.folder / "first.img"

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def told(self) -> Path:
        return self.folder / "told"

    def copy(self) -> Path:
        """Return a new copy of the first image."""
        image = self.folder / "copy.img"
        subprocess.run(["cp", "--sparse=always", str(self.first), str(image)], check=True)
        return image

    def start(self, last: int, without: str = "") -> ForkServerProcess:
        """Start a worker on the site; it ends after `last` acknowledgements or with its disk."""
        self.told.write_bytes(b"")
        return start_walk(self.site, self.told, last, without)

    def finish(self) -> list[Told]:
        """Let a worker finish all jobs, and return its acknowledgements."""
        told = self.folder / "told-later"
        worker = start_walk(self.site, told, 0, "")
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"who went on after the cut ended with {worker.exitcode}")
        return read_told(told)


@contextlib.contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    """Mount an image until the block ends."""
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def cut_power(folder: Path) -> int:
    """Shut a file system down without a flush; return the monotonic time of the start, in ns."""
    fd = os.open(folder, os.O_RDONLY)
    at = time.monotonic_ns()
    fcntl.ioctl(fd, SHUT_DOWN, struct.pack("I", WITHOUT_FLUSH))
    os.close(fd)
    return at


# The acknowledgements, and what remains after a cut


@dataclass(frozen=True)
class Told:
    """An acknowledgement: when, of what, and for a video the sidecar's digest."""

    at: int
    what: str
    name: str
    digest: str


def read_told(file: Path) -> list[Told]:
    """Return the acknowledgements in a file."""
    return [Told(*json.loads(line)) for line in file.read_text().splitlines()]


FAULTS = ("lost", "torn", "doubled", "leftover")

Fault = tuple[str, str]
"""The kind of fault, one of the above, and the file."""


@dataclass
class Count:
    """The faults after some cuts."""

    cuts: int = 0
    acknowledged: int = 0
    faults: list[Fault] = field(default_factory=list)

    def __add__(self, other: Count) -> Count:
        return Count(
            self.cuts + other.cuts,
            self.acknowledged + other.acknowledged,
            self.faults + other.faults,
        )

    def row(self) -> dict[str, int]:
        """Return the numbers of a row of the table."""
        kinds = Counter(kind for kind, _ in self.faults)
        numbers = {"cuts": self.cuts, "acknowledged": self.acknowledged}
        return numbers | {kind: kinds[kind] for kind in FAULTS}


def check(place: Place, told: list[Told], *, go_on: bool = True) -> Count:
    """Count the faults after a cut, and, if `go_on`, after the same code has finished all jobs."""
    faults = {*not_kept(place.site, told), *torn(place.site)}
    if go_on:
        drop_again(place.site)
        dropped = {number for path in files(place.site) if (number := number_of(path)) is not None}
        later = {ack.name for ack in place.finish() if ack.what == "published"}
        twice = {ack.name for ack in told if ack.what == "published"} & later
        faults |= {("doubled", name) for name in twice}
        faults |= {*torn(place.site), *not_as_ordered(place.site, dropped)}
    return Count(1, len(told), sorted(faults))


def drop_again(site: Path) -> None:
    """Rewrite the unclaimed prompt files that were dropped without fsync: they may be torn."""
    for path in (site / "inbox").rglob("*.txt"):
        number = number_of(path)
        if number is not None and not is_careful(number):
            path.write_text(text(number))


def files(site: Path) -> list[Path]:
    """Return the files in inbox, results and active jobs, without temporary ones of the dropper."""
    own = [p for top in ("inbox", "results") for p in (site / top).rglob("*") if p.is_file()]
    in_hand = (site / "spool" / "active").rglob("*")
    return [*(path for path in own if path.suffix != UNFINISHED), *in_hand]


def number_of(path: Path) -> int | None:
    """Return the number of the prompt file that a file belongs to; None if it belongs to none."""
    found = re.match(r"(?:star_)?(\d{5})[._]", path.name)
    return int(found[1]) if found else None


ALLOWED = {
    "dropped": {"inbox", "spool", "results"},
    "claimed": {"spool", "results"},
    "ended": {"results"},
}
"""Where a prompt file may be after each acknowledgement."""


def not_kept(site: Path, told: list[Told]) -> Iterator[Fault]:
    """Yield what was acknowledged and is missing, in a wrong place, or doubled."""
    found: dict[str, list[Path]] = {}
    for path in files(site):
        found.setdefault(path.name, []).append(path)
    for ack in told:
        if ack.what == "published":
            yield from not_published(found, ack)
            continue
        paths = found.get(ack.name, [])
        # A move is a link and an unlink, so one file may have two names.
        if len({path.stat().st_ino for path in paths}) > 1:
            yield "doubled", ack.name
        places = {path.relative_to(site).parts[0] for path in paths}
        if not places or places - ALLOWED[ack.what]:
            yield "lost", f"{ack.name}, which was {ack.what}"


def not_published(found: dict[str, list[Path]], ack: Told) -> Iterator[Fault]:
    """Yield the missing files of an acknowledged video; `torn` checks whether they are whole."""
    for suffix in (".yaml", ".jpg", ".mp4"):
        paths = found.get(ack.name + suffix, [])
        if not paths:
            yield "lost", ack.name + suffix
        elif suffix == ".yaml" and digest(paths[0]) != ack.digest:
            yield "torn", ack.name + suffix


def torn(site: Path) -> Iterator[Fault]:
    """Yield the files that have their final name and are incomplete."""
    for path in files(site):
        of_users = path.is_relative_to(site / "results") and not temporaries.is_temporary(path.name)
        is_claimed = path.is_relative_to(site / "spool") and path.suffix == ".txt"
        if (of_users or is_claimed) and not is_whole(path):
            yield "torn", str(path.relative_to(site))


def is_whole(path: Path) -> bool:
    """Return whether a file has exactly the content that its name implies."""
    data = path.read_bytes()
    if path.name.endswith(".error.txt"):
        return re.search(rb"\nJob [-0-9a-f]+, .*\n\Z", data) is not None
    if path.suffix == ".log":
        return re.match(rb'(\{.*\}\n)*\{.*"event": "job_ended".*\}\n\Z', data) is not None
    number = number_of(path)
    assert number is not None, f"{path} is a file that nobody has ordered"
    if path.suffix == ".txt":
        return data == text(number).encode()
    if path.suffix == ".yaml":
        return is_whole_yaml(path, number, data)
    return data == content(path.stem, path.suffix)


def is_whole_yaml(path: Path, number: int, data: bytes) -> bool:
    """Return whether a sidecar, or the remainder of a prompt file, has the expected content."""
    prompts = prompts_of(text(number))
    if "_failed" in path.parts:
        return (
            data == sidecars.remainder_text([p for p in prompts if p.prompt == IMPOSSIBLE]).encode()
        )
    [prompt] = [p for p in prompts if video_name(p.prompt) == path.stem]
    job = Job("", prompt_file(number), path, ())
    expected = sidecars.text(job, prompt, RENDERED).encode()
    changing = rb"(job|finished): .*"
    return re.sub(changing, b"", data) == re.sub(changing, b"", expected)


def not_as_ordered(site: Path, numbers: set[int]) -> Iterator[Fault]:
    """Yield the missing and the surplus files after all jobs have ended."""
    expected = {path for number in numbers for path in outcome(number)}
    paths = [str(path.relative_to(site)) for path in files(site)]
    # A job that is cut off after the move of its log, and before its own, starts a second log.
    found = {re.sub(r"job-\d+\.log$", "job.log", path) for path in paths}
    for path in expected - found:
        yield "lost", path
    for path in found - expected:
        is_left = temporaries.is_temporary(Path(path).name) or not path.startswith("results/")
        yield ("leftover" if is_left else "doubled"), path


# The two ways to cut


def cut_while_working(place: Place, dice: random.Random, without: str = "") -> Count:
    """Cut the power once: right after an acknowledgement, or at a random moment."""
    image = place.copy()
    with mounted(image, place.site):
        if dice.random() < 0.5:
            place.start(dice.randrange(1, ENOUGH), without).join()
            at = cut_power(place.site)
        else:
            at = cut_at_any_moment(place, dice, without)
    told = [ack for ack in read_told(place.told) if ack.at < at]
    if not told:
        raise RuntimeError("nothing was done before the cut, so it would show nothing")
    with mounted(image, place.site):
        return check(place, told, go_on=not without)


def cut_at_any_moment(place: Place, dice: random.Random, without: str) -> int:
    """Start a worker, and cut the power some time after the first acknowledgement."""
    worker = place.start(1_000_000, without)
    try:
        while not place.told.stat().st_size and worker.is_alive():
            time.sleep(0.001)
        time.sleep(dice.uniform(0, LONGEST_SECONDS))
        return cut_power(place.site)
    finally:
        worker.kill()
        worker.join()


def replay(place: Place, states: int, dice: random.Random, without: str = "") -> Count:
    """Run a worker on a logged disk, and check states that a cut could have left."""
    count, image, writes = Count(), place.copy(), place.folder / "writes"
    with logged_disk(image, writes, place.folder / "fuse") as disk, mounted(disk, place.site):
        place.start(ENOUGH, without).join()
    changes, told = Changes.read(writes), read_told(place.told)
    for _ in range(states):
        # A false acknowledgement shows right after it.
        at = dice.choice(told).at if dice.random() < 0.5 else dice.randint(told[0].at, told[-1].at)
        image = place.copy()
        changes.play(image, changes.count_until(at), dice)
        with mounted(image, place.site):
            count += check(place, [ack for ack in told if ack.at <= at], go_on=not without)
    return count


def fastest() -> Path | None:
    """Return /dev/shm for the images if it has enough room; else None, the default folder."""
    memory = Path("/dev/shm")
    is_large = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    return memory if is_large else None


def run(kind: str, cuts: int, states: int, seed: int, without: str = "") -> dict[str, Count]:
    """Make `cuts` power cuts on one kind of file system, and check `states` replayed states."""
    dice, logs = random.Random(f"{seed} {kind} {without}"), range(0, states, STATES_PER_LOG)
    with tempfile.TemporaryDirectory(prefix="reeldrop-power-cuts-", dir=fastest()) as folder:
        place = Place.make(Path(folder) / kind, kind)
        cut = [cut_while_working(place, dice, without) for _ in range(cuts)]
        played = [replay(place, min(STATES_PER_LOG, states - n), dice, without) for n in logs]
    return {"cuts": sum(cut, Count()), "states": sum(played, Count())}


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=20, help="in all; each file system gets half")
    parser.add_argument("--states", type=int, default=50, help="in all, too")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = measure(arguments.cuts // 2, arguments.states // 2, arguments.seed)
    show(rows)
    faults = [fault for row in rows.values() for fault in row[""].faults]
    for kind, what in faults[:50]:
        print(f"{kind}: {what}", file=sys.stderr)
    if not sum(len(row["all"].faults) for row in rows.values()):
        sys.exit("without fsync nothing was lost or torn, so this says nothing")
    if faults:
        sys.exit(1)


def measure(cuts: int, states: int, seed: int) -> dict[str, dict[str, Count]]:
    """Return, for each row of the table, the counts with and without fsync."""
    rows: dict[str, dict[str, Count]] = {}
    for kind in MEGABYTES:
        for without in ("", *CONTROLS):
            share = CONTROL_SHARE if without else 1
            counts = run(kind, -(-cuts // share), -(-states // share), seed, without)
            for manner, count in counts.items():
                rows.setdefault(f"{kind} {manner}", {})[without] = count
    return rows


def show(rows: dict[str, dict[str, Count]]) -> None:
    """Print a table and a line of JSON."""
    columns = list(Count().row())
    titles = "".join(f"{title:>30}" for title in CONTROLS.values())
    print(f"{'':12}" + "".join(f"{column:>14}" for column in columns) + titles)
    for name, counts in rows.items():
        kept = "".join(f"{number:14}" for number in counts[""].row().values())
        controls = (counts[of].row() for of in CONTROLS)
        broken = (f"{c['lost']} lost {c['torn']} torn of {c['acknowledged']}" for c in controls)
        print(f"{name:12}{kept}" + "".join(f"{text:>30}" for text in broken))
    print(json.dumps({n: {of or "kept": c.row() for of, c in r.items()} for n, r in rows.items()}))


if __name__ == "__main__":
    main()
