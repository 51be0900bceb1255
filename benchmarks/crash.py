"""Kill the daemon and commands at random moments, and count what is lost or doubled.

A real daemon process with a tiny pipeline of a real class works through prompt files of every kind,
and is killed with SIGKILL again and again. `submit`, `retry` and `cancel` run beside it; they are
killed, too, or slowed down. In the end, each prompt file has to be exactly once in the results or
in `_failed/`, each requested video exactly once in the results, complete, and nothing left over.

    python benchmarks/crash.py --kills 1000
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import av

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from harness.fakes import save_tiny_pipeline
from harness.zygote import Zygote
from reeldrop.base import temporaries
from reeldrop.base.names import ERROR_SUFFIX, LOG_SUFFIX, NOTE_SUFFIX, PICTURES_SUFFIX

CONFIG = """\
results: {results}
failed: {results}/_failed
settle_seconds: 0.02
scan_seconds: 0.1
retry_seconds: 0.2
min_free_gib: 0
page: false
max_attempts: 100
model: tiny
models:
  tiny:
    path: {pipeline}
    max_batch_size: 2
    defaults: {{num_inference_steps: 2, num_frames: 2, height: 32, width: 32}}
    limits: {{num_frames: 8, height: 64, width: 64, num_inference_steps: 10}}
"""

COMMANDS = 0.5
"""The probability that a command runs beside a daemon."""

MOST_CALLS = 20
"""Upper bound on the calls with which a command changes folders."""


@dataclass
class Count:
    """The state of the files after a run of kills."""

    kills: int = 0
    jobs: int = 0
    videos: int = 0
    lost: int = 0
    doubled: int = 0
    half_visible: int = 0
    leftover: int = 0

    def plus(self, other: Count) -> Count:
        """Return the sum of both."""
        return Count(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Count)))

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.half_visible or self.leftover)


@dataclass(frozen=True)
class Order:
    """A prompt file, and the number of videos that it asks for; with none, it has to fail.

    frames: of each video
    """

    name: str
    text: str
    videos: int
    frames: int = 2

    @property
    def fails(self) -> bool:
        return self.videos == 0


def order(number: int, dice: random.Random) -> Order:
    """Return a prompt file of a random kind, with a unique name."""
    folder = dice.choice(["", "poems/", "a/b/"])
    kinds = (
        ("txt", "A red balloon\nA white boat\n", 2),
        ("txt", "# a comment\n大鹏一日同风起\n", 1),
        ("yaml", "prompt: a star\nseed: [1, 2, 3]\n", 3),
        ("yaml", "prompts: [one, {prompt: two, format: [mp4, gif]}]\n", 2),
        ("yaml", "prompt: a\n---\nprompt: a\n", 2),
        ("yaml", "promt: a mistake\n", 0),
        ("txt", "# nothing\n", 0),
    )
    suffix, text, videos = dice.choice(kinds)
    return Order(f"{folder}{number:05}.{suffix}", text, videos)


def drop(order: Order, inbox: Path) -> None:
    """Put a prompt file into the inbox by a rename, as a sync tool does."""
    path = inbox / order.name
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_text(order.text)
    unfinished.rename(path)


@dataclass(frozen=True)
class Site:
    """An inbox, a daemon's folders and its log. The results may be on another file system."""

    folder: Path
    results: Path
    zygote: Zygote

    @classmethod
    def make(cls, folder: Path, results: Path, pipeline: Path, zygote: Zygote) -> Site:
        (folder / "inbox").mkdir(parents=True)
        config = CONFIG.format(pipeline=pipeline, results=results)
        (folder / "config.yaml").write_text(config)
        return cls(folder, results, zygote)

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    def start(self, *options: str, kill_at: int = 0) -> int:
        """Start a daemon with an empty log, and return its pid."""
        self.log.write_bytes(b"")
        command = ["run", *options, "--config", str(self.folder / "config.yaml")]
        return self.zygote.start(command, self.log, kill_at)

    def drain(self, kill_at: int = 0) -> int:
        """Run a daemon with `--drain`, and return its exit code."""
        return self.zygote.wait(self.start("--drain", kill_at=kill_at))

    def command(self, *arguments: str, kill_at: int = 0, slow: float = 0.0) -> int:
        """Start a command beside the daemon, and return its pid."""
        config = ("--config", str(self.folder / "config.yaml"))
        return self.zygote.start([*arguments, *config], self.commands, kill_at, slow=slow)

    @property
    def commands(self) -> Path:
        return self.folder / "commands.log"

    def retry_all(self) -> None:
        """Put every prompt file in `_failed/` back into the inbox."""
        assert self.zygote.wait(self.command("retry", "--all")) == 0

    def await_ready(self) -> None:
        """Wait until the daemon has loaded its model."""
        while b'"event": "ready"' not in self.log.read_bytes():
            time.sleep(0.01)


def kill_at_random(site: Site, kills: int, seed: int, longest: float) -> tuple[Count, list[Order]]:
    """Kill a daemon `kills` times while prompt files are dropped, then let it finish."""
    dice = random.Random(seed)
    orders: list[Order] = []
    for kill in range(kills):
        pid = site.start()
        for _ in range(dice.randrange(3)):
            orders.append(order(len(orders), dice))
            drop(orders[-1], site.folder / "inbox")
        beside = Beside.begin(site, orders, dice) if dice.random() < COMMANDS else None
        if dice.random() < 0.9:
            site.await_ready()
        time.sleep(dice.uniform(0, longest))
        os.kill(pid, signal.SIGKILL)
        site.zygote.wait(pid)
        if beside is not None:
            orders += beside.end()
        if kill % 50 == 49:
            print(f"{kill + 1} kills, {len(orders)} prompt files", file=sys.stderr)
    return finish(site, orders, kills), orders


@dataclass
class Beside:
    """A command that runs beside the daemon; `submitted` is its order, None if it makes none."""

    site: Site
    pid: int
    submitted: Order | None
    was_killed: bool = False

    @classmethod
    def begin(cls, site: Site, orders: list[Order], dice: random.Random) -> Beside:
        """Start a random command: unchanged, slow, or killed at a random call."""
        how = {
            "slow": dice.choice([0.0, 0.02, 0.2]),
            "kill_at": dice.choice([0, dice.randint(1, 20)]),
        }
        single = [
            o.name for o in orders if o.videos < 2 and (site.folder / "inbox" / o.name).exists()
        ]
        failed = site.results / "_failed"
        lying = [o.name for o in orders if (failed / o.name).exists()]
        kind = dice.choice(
            ["submit", "submit", "cancel", "cancel", "retry", "retry", "retry --all"]
        )
        if kind == "cancel" and single:
            return cls(site, site.command("cancel", dice.choice(single), **how), None)
        if kind == "retry" and lying:
            return cls(site, site.command("retry", dice.choice(lying), **how), None)
        if kind == "retry --all" and lying:
            killed = {"slow": 0.0, "kill_at": dice.randint(1, 60)}  # there may be very many
            return cls(site, site.command("retry", "--all", **killed), None)
        name = f"by command {len(orders):05} {dice.randrange(10**6)}"
        submitted = Order(f"{name.replace(' ', '_')}.yaml", "", 1)
        return cls(site, site.command("submit", name, **how), submitted)

    def end(self) -> list[Order]:
        """Wait for the command, and return its orders; if it was killed, only those that exist."""
        code = self.site.zygote.wait(self.pid)
        self.was_killed = code == -signal.SIGKILL
        if self.submitted is None:
            return []
        name = Path(self.submitted.name)
        places = (
            self.site.folder / "inbox" / name,
            self.site.results / name.stem,
            self.site.results / "_failed" / name,
            *(self.site.folder / "spool" / "active").glob(f"*/{name}"),
        )
        is_there = code == 0 or any(map(os.path.lexists, places))
        return [self.submitted] * is_there


A_GOOD_AND_A_BAD = [
    Order("poems/two.yaml", "prompts: [a, {prompt: b, format: [mp4, gif]}]\n", 2),
    Order("bad.txt", "# nothing\n", 0),
]


def kill_commands_before_each_change(
    base: Path, results: Path, pipeline: Path, zygote: Zygote
) -> Count:
    """Kill commands before the first change that they make to a folder, the second, and so on.

    Each run uses another prompt file. The sweep is done without a daemon, and beside one.
    """
    total = Count()
    for beside in (False, True):
        site = Site.make(base / f"commands{beside:d}", results / f"{beside:d}", pipeline, zygote)
        orders = [Order(f"poems/retry{n:02}.txt", "# nothing\n", 1) for n in range(MOST_CALLS)]
        for order in orders:
            drop(order, site.folder / "inbox")
        assert site.drain() == 1
        for order in orders:  # correct the prompt file
            (site.results / "_failed" / order.name).write_text("a horse\n")
        daemon = site.start() if beside else 0
        kills = sum(sweep(site, command, orders) for command in ("retry", "cancel", "submit"))
        if beside:
            os.kill(daemon, signal.SIGKILL)
            zygote.wait(daemon)
        total = total.plus(finish(site, orders, kills))
    return total


def sweep(site: Site, command: str, orders: list[Order]) -> int:
    """Kill a command before each of its calls in turn; return the number of kills.

    Adds the command's orders to `orders`.
    """
    for call in range(MOST_CALLS):
        submitted, argument = None, f"poems/{command}{call:02}.txt"
        if command == "cancel":
            orders.append(Order(argument, "a horse\n", 1))
            drop(orders[-1], site.folder / "inbox")
        elif command == "submit":
            argument = f"by command {call:02}"
            submitted = Order(f"by_command_{call:02}.yaml", "", 1)
        beside = Beside(site, site.command(command, argument, kill_at=call + 1), submitted)
        orders += beside.end()
        if not beside.was_killed:
            return call
    raise AssertionError(f"{command} makes more calls than that")


def kill_before_each_change(
    base: Path, results: Path, pipeline: Path, zygote: Zygote, stride: int = 1
) -> Count:
    """Kill a daemon before the first change that it makes to a folder, the second, and so on.

    Each daemon starts on a new site with a good and a bad prompt file. `stride` skips some changes.
    """
    total = Count()
    for kill_at in itertools.count(1, stride):
        site = Site.make(base / str(kill_at), results / str(kill_at), pipeline, zygote)
        for order in A_GOOD_AND_A_BAD:
            drop(order, site.folder / "inbox")
        if site.drain(kill_at) != -signal.SIGKILL:
            return total
        total = total.plus(finish(site, A_GOOD_AND_A_BAD, kills=1, retry=False))
    raise AssertionError("itertools.count never ends")


def start_in_each_state(base: Path, results: Path, pipeline: Path, zygote: Zygote) -> Count:
    """Start a daemon in each state that a kill before a change of another would have left.

    One daemon runs to its end and copies its folders meanwhile. That takes a quarter of the time of
    `kill_before_each_change`: a state that several changes find is tried once.
    """
    site = Site.make(base / "site", results / "site", pipeline, zygote)
    for order in A_GOOD_AND_A_BAD:
        drop(order, site.folder / "inbox")
    folders, states = (site.folder / "inbox", site.folder / "spool", site.results), base / "states"
    program = [sys.executable, str(Path(__file__).with_name("copying_daemon.py"))]
    arguments = ["run", "--drain", "--config", str(site.folder / "config.yaml")]
    with site.log.open("wb") as log:
        streams = (log.fileno(),) * 3
        command = [*program, *map(str, (states, *folders)), "--", *arguments]
        assert zygote.run(command, streams).wait() == 1, site.log.read_text()
    total = Count()
    for state in sorted(states.iterdir()):
        for folder in folders:  # at the same place, because records may have their paths
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                (state / folder.name).rename(folder)
        total = total.plus(finish(site, A_GOOD_AND_A_BAD, kills=1, retry=False))
    return total


def finish(site: Site, orders: list[Order], kills: int, *, retry: bool = True) -> Count:
    """Drain the inbox, retry what failed, drain again, and count.

    Without `retry`, nothing is retried if all is as it should be after the first drain.
    """
    drain_to_the_end(site)
    count = check(site, orders)
    if retry or not count.is_clean:
        site.retry_all()
        drain_to_the_end(site)
        count = check(site, orders)
    count.kills = kills
    return count


def drain_to_the_end(site: Site) -> None:
    """Drain the inbox by a daemon that has to end by itself."""
    code = site.drain()
    assert code in (0, 1), f"the last daemon ended with {code}, see {site.log}"


def check(site: Site, orders: list[Order]) -> Count:
    """Count the faults after all prompt files have ended."""
    count = Count(jobs=len(orders))
    results, failed = site.results, site.results / "_failed"
    for order in orders:
        name = Path(order.name)
        folder = results / name.with_suffix("")
        named_so = folder.glob(f"{name.stem}*{name.suffix}")
        finished = [p for p in named_so if not p.with_suffix(".jpg").exists()]  # no sidecars
        set_aside = [p for p in failed.glob(f"{name.parent}/{name.stem}*") if p.suffix != ".txt"
                     or p.name == name.name]  # fmt: skip
        beside = (ERROR_SUFFIX, PICTURES_SUFFIX, ".log")
        at = len(finished) + len([p for p in set_aside if not p.name.endswith(beside)])
        count.lost += at == 0 or bool(finished) == order.fails
        count.doubled += at > 1
        videos = list(folder.glob("*.mp4"))
        count.videos += len(videos)
        count.lost += max(0, order.videos - len(videos))
        count.doubled += max(0, len(videos) - order.videos)
        count.half_visible += sum(not is_whole(video, order.frames) for video in videos)
        posters, sidecars = list(folder.glob("*.jpg")), list(folder.glob("*.yaml"))
        extra = len([p for p in finished if p.suffix == ".yaml"])
        count.half_visible += len(posters) != len(videos)
        count.half_visible += len(sidecars) - extra != len(videos)
    paths = [*results.rglob("*"), *(site.folder / "inbox").rglob("*")]
    left = [path for path in paths if path.is_file() and not is_left_by_a_command(path)]
    count.leftover += sum(p.name.startswith(".") or temporaries.is_temporary(p.name) for p in left)
    count.leftover += sum(path.is_relative_to(site.folder / "inbox") for path in left)
    count.leftover += sum(not is_reported(p) for p in left if p.is_relative_to(failed))
    count.leftover += sum(1 for _ in (site.folder / "spool" / "active").iterdir())
    return count


def is_left_by_a_command(path: Path) -> bool:
    """Return whether a killed command left a file; another command removes it after an hour."""
    return temporaries.is_temporary(path.name) and "-command-" in path.name


def is_reported(path: Path) -> bool:
    """Return whether a file in `_failed/` is, or belongs to, a prompt file that has a report."""
    if path.parent.name.endswith(PICTURES_SUFFIX):
        path = path.parent
    for suffix in (ERROR_SUFFIX, LOG_SUFFIX, ".job-2.log", NOTE_SUFFIX, PICTURES_SUFFIX):
        path = path.with_name(path.name.removesuffix(suffix))
    return path.exists() and path.with_name(path.name + ERROR_SUFFIX).exists()


def is_whole(video: Path, frames: int = 2) -> bool:
    """Return whether a video can be decoded completely."""
    try:
        with av.open(str(video)) as container:
            return sum(1 for _ in container.decode(video=0)) == frames
    except (av.FFmpegError, IndexError):  # IndexError: it has no video stream
        return False


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="at random moments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=1.0, help="seconds from ready to a kill")
    parser.add_argument("--sweep", action="store_true", help="also before every change in turn")
    parser.add_argument("--results", type=Path, help="a folder, for instance on another disk")
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="reeldrop-crash-"))
    results = Path(tempfile.mkdtemp(prefix="reeldrop-crash-", dir=arguments.results or base))
    zygote, pipeline = Zygote(), save_tiny_pipeline(base / "tiny")
    site = Site.make(base / "random", results / "random", pipeline, zygote)
    random_kills, _ = kill_at_random(site, arguments.kills, arguments.seed, arguments.longest)
    counts = {"random": random_kills}
    if arguments.sweep:
        counts["sweep"] = kill_before_each_change(base, results, pipeline, zygote)
        counts["commands"] = kill_commands_before_each_change(base, results, pipeline, zygote)
    zygote.close()
    print(f"{'':14}" + "".join(f"{name:>9}" for name in counts))
    for field in fields(Count):
        row = (f"{getattr(count, field.name):9}" for count in counts.values())
        print(f"{field.name.replace('_', ' '):14}" + "".join(row))
    print(json.dumps({name: asdict(count) for name, count in counts.items()}))
    if not all(count.is_clean for count in counts.values()):
        sys.exit(f"the files are in {base} and {results}")
    for folder in (base, results):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
