"""Kill the daemon at random moments, start it again, and count what is lost or doubled.

A real daemon process with a real pipeline class at tiny size works through prompt files of every
kind while it is killed by SIGKILL again and again. In the end each prompt file has to be exactly
once in the results or in `_failed/`, each video that was asked for exactly once in the results,
whole, and nothing may be left over.

    python benchmarks/crash.py --kills 1000
"""

from __future__ import annotations

import argparse
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

from fakes import save_tiny_pipeline
from reeldrop import durable
from zygote import Zygote

CONFIG = """\
results: {results}
failed: {results}/_failed
settle_seconds: 0.02
scan_seconds: 0.1
retry_seconds: 0.2
min_free_gib: 0
max_attempts: 100
model: tiny
models:
  tiny:
    path: {pipeline}
    max_batch_size: 2
    defaults: {{num_inference_steps: 2, num_frames: 2, height: 32, width: 32}}
    limits: {{num_frames: 8, height: 64, width: 64, num_inference_steps: 10}}
"""


@dataclass
class Count:
    """What a run of kills has done to the files."""

    kills: int = 0
    jobs: int = 0
    videos: int = 0
    lost: int = 0
    doubled: int = 0
    half_visible: int = 0
    leftover: int = 0

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.half_visible or self.leftover)


@dataclass(frozen=True)
class Order:
    """A prompt file, the number of videos that it asks for, and whether it has to fail."""

    name: str
    text: str
    videos: int

    @property
    def fails(self) -> bool:
        return self.videos == 0


def order(number: int, dice: random.Random) -> Order:
    """Return a prompt file of some kind, with a name of its own."""
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
    """Put a prompt file into the inbox as a sync tool does: by a rename."""
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
        """Let a daemon work through what is there, and return its exit code."""
        return self.zygote.wait(self.start("--drain", kill_at=kill_at))

    def await_ready(self) -> None:
        """Wait until the daemon has loaded its model."""
        while b'"event": "ready"' not in self.log.read_bytes():
            time.sleep(0.01)


def kill_at_random(site: Site, kills: int, seed: int, longest: float) -> tuple[Count, list[Order]]:
    """Kill a daemon that many times while prompt files come in, then let it finish."""
    dice = random.Random(seed)
    orders: list[Order] = []
    for kill in range(kills):
        pid = site.start()
        for _ in range(dice.randrange(3)):
            orders.append(order(len(orders), dice))
            drop(orders[-1], site.folder / "inbox")
        if dice.random() < 0.9:
            site.await_ready()
        time.sleep(dice.uniform(0, longest))
        os.kill(pid, signal.SIGKILL)
        site.zygote.wait(pid)
        if kill % 50 == 49:
            print(f"{kill + 1} kills, {len(orders)} prompt files", file=sys.stderr)
    return finish(site, orders, kills), orders


def kill_before_each_change(
    base: Path, results: Path, pipeline: Path, zygote: Zygote, stride: int = 1
) -> Count:
    """Kill a daemon before the first change that it makes to a folder, the second, and so on.

    Each time it begins anew with one good and one bad prompt file. `stride` skips some.
    """
    total = Count()
    orders = [
        Order("poems/two.yaml", "prompts: [a, {prompt: b, format: [mp4, gif]}]\n", 2),
        Order("bad.txt", "# nothing\n", 0),
    ]
    for kill_at in itertools.count(1, stride):
        site = Site.make(base / str(kill_at), results / str(kill_at), pipeline, zygote)
        for order in orders:
            drop(order, site.folder / "inbox")
        if site.drain(kill_at) != -signal.SIGKILL:
            return total
        count = finish(site, orders, kills=1)
        for field in fields(Count):
            setattr(total, field.name, getattr(total, field.name) + getattr(count, field.name))
    raise AssertionError("itertools.count never ends")


def finish(site: Site, orders: list[Order], kills: int) -> Count:
    """Let a daemon work to its end, and count."""
    code = site.drain()
    assert code in (0, 1), f"the last daemon ended with {code}, see {site.log}"
    count = check(site, orders)
    count.kills = kills
    return count


def check(site: Site, orders: list[Order]) -> Count:
    """Count what is not as it should be after all prompt files have been worked through."""
    count = Count(jobs=len(orders))
    results, failed = site.results, site.results / "_failed"
    for order in orders:
        name = Path(order.name)
        folder = results / name.with_suffix("")
        finished = list(folder.glob(f"{name.stem}*{name.suffix}"))
        set_aside = [p for p in failed.glob(f"{name.parent}/{name.stem}*") if p.suffix != ".txt"
                     or p.name == name.name]  # fmt: skip
        at = len(finished) + len([p for p in set_aside if not p.name.endswith(".error.txt")])
        count.lost += at == 0 or bool(finished) == order.fails
        count.doubled += at > 1
        videos = list(folder.glob("*.mp4"))
        count.videos += len(videos)
        count.lost += max(0, order.videos - len(videos))
        count.doubled += max(0, len(videos) - order.videos)
        count.half_visible += sum(not is_whole(video) for video in videos)
        posters, sidecars = list(folder.glob("*.jpg")), list(folder.glob("*.yaml"))
        extra = len([p for p in finished if p.suffix == ".yaml"])
        count.half_visible += len(posters) != len(videos)
        count.half_visible += len(sidecars) - extra != len(videos)
    names = [path.name for path in results.rglob("*")]
    count.leftover += sum(name.startswith(".") or durable.is_temporary(name) for name in names)
    count.leftover += sum(1 for path in (site.folder / "inbox").rglob("*") if path.is_file())
    count.leftover += sum(1 for _ in (site.folder / "spool" / "active").iterdir())
    return count


def is_whole(video: Path) -> bool:
    """Tell whether a video decodes to its end."""
    try:
        with av.open(str(video)) as container:
            return sum(1 for _ in container.decode(video=0)) == 2
    except (av.FFmpegError, IndexError):  # IndexError: it has no picture at all
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
    zygote.close()
    print(f"{'':14}" + "".join(f"{name:>8}" for name in counts))
    for field in fields(Count):
        row = (f"{getattr(count, field.name):8}" for count in counts.values())
        print(f"{field.name.replace('_', ' '):14}" + "".join(row))
    print(json.dumps({name: asdict(count) for name, count in counts.items()}))
    if not all(count.is_clean for count in counts.values()):
        sys.exit(f"the files are in {base} and {results}")
    for folder in (base, results):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
