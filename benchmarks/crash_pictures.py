"""Kill the daemon and commands before each change to the disk, while pictures move.

As `crash.py`, whose counting it uses, with a tiny pipeline that begins videos with pictures: a text
with the picture of its name, two files that share a picture, one that is refused and one whose
picture is damaged. In the end, each picture has to be exactly where its prompt file is.

    python benchmarks/crash_pictures.py
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import crash
from crash import Beside, Count, Order, Site
from harness import picture_models
from harness.zygote import Zygote
from PIL import Image

MOST_CALLS = 60
"""Upper bound on the calls with which a command changes folders."""


def picture(shade: int) -> bytes:
    """Return a PNG of one grey."""
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


ORDERS = [
    Order("poems/boat.txt", "a boat\n", 1),
    Order("first.yaml", "prompt: a\nimage: shared.png\n", 1),
    Order("second.yaml", "prompt: b\nimage: shared.png\n", 1),
    Order("bad.yaml", "prompt: c\nimage: kept.png\nseed: -1\n", 0),
    Order("broken.yaml", "prompt: d\nimage: broken.png\n", 0),
]
PICTURES = {
    "poems/boat.png": picture(1),
    "shared.png": picture(2),
    "kept.png": picture(3),
    "broken.png": picture(4)[:50],
}
PLACES = {
    "poems/boat/boat.png": "poems/boat.png",
    "first/shared.png": "shared.png",
    "second/shared.png": "shared.png",
    "_failed/bad.yaml.pictures/kept.png": "kept.png",
    "_failed/broken.yaml.pictures/broken.png": "broken.png",
}
"""Where each picture has to be in the results."""


def put(inbox: Path, name: str, data: bytes) -> None:
    """Put a picture into the inbox by a rename."""
    path = inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_bytes(data)
    unfinished.rename(path)


def misplaced(site: Site, expected: Mapping[str, bytes]) -> tuple[int, int]:
    """Return how many pictures are not where they have to be, and how many are where they do not.

    expected: the pictures by their paths in the results
    """
    tops = site.results, site.folder / "inbox", site.folder / "spool"
    found = {path: path.read_bytes() for top in tops for path in top.rglob("*.png")}
    wanted = {site.results / path: data for path, data in expected.items()}
    lost = sum(found.get(path) != data for path, data in wanted.items())
    return lost, len(found.keys() - wanted.keys())


def kill_daemons(base: Path, results: Path, pipeline: Path, zygote: Zygote, stride: int) -> Count:
    """Kill a daemon before the first change that it makes to a folder, the second, and so on."""
    total = Count()
    expected = {place: PICTURES[name] for place, name in PLACES.items()}
    for kill_at in itertools.count(1, stride):
        site = Site.make(base / str(kill_at), results / str(kill_at), pipeline, zygote)
        for name, data in PICTURES.items():
            put(site.folder / "inbox", name, data)
        for order in ORDERS:
            crash.drop(order, site.folder / "inbox")
        if site.drain(kill_at) != -signal.SIGKILL:
            return total
        total = total.plus(_finished(site, ORDERS, expected))
    raise AssertionError("itertools.count never ends")


def _finished(site: Site, orders: list[Order], expected: Mapping[str, bytes]) -> Count:
    """Let a daemon end everything after a kill, and count."""
    crash.drain_to_the_end(site)
    count = crash.check(site, orders)
    lost, doubled = misplaced(site, expected)
    return replace(count, kills=1, lost=count.lost + lost, doubled=count.doubled + doubled)


def kill_retries(base: Path, results: Path, pipeline: Path, zygote: Zygote) -> Count:
    """Kill `retry` before each of its calls, each time with another prompt file and picture."""
    site = Site.make(base / "retries", results / "retries", pipeline, zygote)
    asks = (f"prompt: a\nimage: {number:02}.png\n" for number in range(MOST_CALLS))
    orders = [Order(f"r{number:02}.yaml", text, 1) for number, text in enumerate(asks)]
    for number, order in enumerate(orders):
        put(site.folder / "inbox", f"{number:02}.png", picture(number))
        crash.drop(replace(order, text=f"{order.text}seed: -1\n"), site.folder / "inbox")
    assert site.drain() == 1
    for order in orders:
        (site.results / "_failed" / order.name).write_text(order.text)
    kills = 0
    for number, order in enumerate(orders):
        code = zygote.wait(site.command("retry", order.name, kill_at=number + 1))
        kills += code == -signal.SIGKILL
        if kills <= number:
            break
    else:
        raise AssertionError("retry makes more calls than that")
    site.retry_all()
    expected = {f"r{number:02}/{number:02}.png": picture(number) for number in range(MOST_CALLS)}
    return replace(_finished(site, orders, expected), kills=kills)


def kill_submissions(
    base: Path, results: Path, pipeline: Path, zygote: Zygote, *, beside: bool, stride: int = 1
) -> Count:
    """Kill `submit --image` before each of its calls, each time with another picture.

    One that is killed between picture and prompt file leaves a picture alone, which `status` lists
    and a person removes.

    beside: while a daemon works
    """
    site = Site.make(base / f"submits{beside:d}", results / f"submits{beside:d}", pipeline, zygote)
    orders: list[Order] = []
    expected: dict[str, bytes] = {}
    kills = 0
    daemon = site.start() if beside else 0
    for call in range(1, MOST_CALLS, stride):
        order = Order(f"by_command_{call:02}.yaml", "", 1)
        stem, file = Path(order.name).stem, site.folder / f"{call}.png"
        file.write_bytes(picture(call))
        arguments = ("submit", stem.replace("_", " "), "--image", str(file))
        command = Beside(site, site.command(*arguments, kill_at=call), order)
        if command.end():
            orders.append(order)
            expected[f"{stem}/{stem}.png"] = picture(call)
        else:
            (site.folder / "inbox" / f"{stem}.png").unlink(missing_ok=True)
        if not command.was_killed:
            break
        kills += 1
    else:
        raise AssertionError("submit makes more calls than that")
    if beside:
        os.kill(daemon, signal.SIGKILL)
        zygote.wait(daemon)
    return replace(_finished(site, orders, expected), kills=kills)


def main() -> None:
    """Run, and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stride", type=int, default=1, help="kill at every so many changes")
    parser.add_argument("--results", type=Path, help="a folder, for instance on another disk")
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="reeldrop-crash-"))
    results = Path(tempfile.mkdtemp(prefix="reeldrop-crash-", dir=arguments.results or base))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    zygote = Zygote()
    pipeline = picture_models.save("Stable Video Diffusion", base / "tiny")
    counts = {
        "daemons": kill_daemons(base, results, pipeline, zygote, arguments.stride),
        "retries": kill_retries(base, results, pipeline, zygote),
        "submissions": kill_submissions(base, results, pipeline, zygote, beside=False),
        "submissions beside": kill_submissions(base, results, pipeline, zygote, beside=True),
    }
    zygote.close()
    print(json.dumps({name: asdict(count) for name, count in counts.items()}))
    if not all(count.is_clean for count in counts.values()):
        sys.exit(f"the files are in {base} and {results}")
    shutil.rmtree(base, ignore_errors=True)
    shutil.rmtree(results, ignore_errors=True)


if __name__ == "__main__":
    main()
