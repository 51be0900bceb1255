"""What the gallery costs with 10,000 videos: to write, to add one video, to sync, to open.

    python benchmarks/gallery.py [--videos 10000]

The videos are empty files; their sidecars are what a job writes. Twenty people have rated a third
of them. Chromium opens the page from the
disk. Prints a table and a line of JSON; ends with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from harness.browser import Browser, browser
from reeldrop.base.job import Job, Prompt, Rendered
from reeldrop.base.names import INDEX_NAME, PAGE_FOLDER, RATINGS_FOLDER
from reeldrop.base.roots import Root
from reeldrop.page import now, ratings, site
from reeldrop.page.gallery import Gallery
from reeldrop.page.ratings import Ballot
from reeldrop.store import sidecars
from reeldrop.store.status import State, Status

RENDERED = Rendered(
    "damo-vilab/text-to-video-ms-1.7b",
    "8227dddca75a8561bf858d604cc5dae52b954d01",
    "TextToVideoSDPipeline",
    "DPMSolverMultistepScheduler",
    "cuda",
    "float16",
    (("reeldrop", "0.1.0"), ("torch", "2.13.0"), ("diffusers", "0.42.1")),
    12.345,
    6000,
    4,
    speed=("exact", "mixed_precision"),
)
WORDS = ("red", "blue", "old", "quiet", "balloon", "harbour", "orioles", "snow", "at night", "大鹏")
ARGUMENTS = (
    ("negative_prompt", "blurry"),
    ("height", 256),
    ("width", 256),
    ("num_frames", 16),
    ("num_inference_steps", 25),
    ("guidance_scale", 9.0),
)
JOB = "20261128-105900-123456-%06x"
PEOPLE = 20

GOAL_ADDED_BYTES = 100_000
GOAL_FIRST_BYTES = 2_000_000
GOAL_SECONDS = 1.0


@dataclass(frozen=True)
class Found:
    """What was measured.

    build_seconds: to write the whole page from the sidecars
    restart_seconds: to compare it with them when nothing has changed
    add_seconds, added_bytes: to add one video: time, and the size of the files that are written;
        the most of a hundred
    first_bytes: of what is read before the first videos are shown
    all_bytes: of the whole page
    open_seconds: until the first videos are shown
    all_seconds: until all can be searched
    search_seconds: from a key to the result
    """

    videos: int
    build_seconds: float
    restart_seconds: float
    add_seconds: float
    added_bytes: int
    first_bytes: int
    all_bytes: int
    open_seconds: float
    all_seconds: float
    search_seconds: float

    @property
    def meets_goals(self) -> bool:
        return (
            self.added_bytes < GOAL_ADDED_BYTES
            and self.first_bytes < GOAL_FIRST_BYTES
            and self.open_seconds < GOAL_SECONDS
        )


def make(results: Path, number: int) -> Path:
    """Make the files of a video, and return its sidecar."""
    words = [WORDS[(number // 10**place + place) % len(WORDS)] for place in range(5)]
    prompt = f"A {' '.join(words)} with the same wind in one day, a photograph, {number // 3}"
    source = PurePosixPath(f"person{number % 20}/order{number // 8}.yaml")
    job = Job(JOB % number, source, Path("/nowhere"), ())
    made = Prompt(1, prompt, "ms-1.7b", ARGUMENTS, number, 8.0, ("mp4",))
    folder = results / source.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    sidecar = folder / f"video{number}.yaml"
    sidecar.write_text(sidecars.text(job, made, RENDERED))
    sidecar.with_suffix(".jpg").touch()
    sidecar.with_suffix(".mp4").touch()
    return sidecar


def rate(results: Path, videos: int) -> None:
    """Let some people rate every third video."""
    (results / RATINGS_FOLDER).mkdir()
    votes = {f"{JOB % number}/1": (number % 2 == 0, number % 6) for number in range(0, videos, 3)}
    for voter in range(PEOPLE):
        ballot = Ballot(f"{voter:032x}", 0, votes)
        (results / RATINGS_FOLDER / f"{ballot.voter}.json").write_bytes(ballot.encoded())


def measure(folder: Path, videos: int, seen: Browser) -> Found:
    """Measure a page with so many videos, in a new folder, as a browser sees it."""
    results = folder / "results"
    data = results / PAGE_FOLDER / "data"
    data.mkdir(parents=True)
    for number in range(videos):
        make(results, number)
    build_seconds = seconds_of_refresh(Gallery(), data, results)
    site.write(results, results / PAGE_FOLDER)
    now.write(
        data,
        Status(1, State.IDLE, "m", "2026-11-28T12:00:00+00:00"),
        (),
        results / "_failed",
        "_failed/",
        has_preview=False,
    )
    rate(results, videos)
    ratings.write(data, Root(results))
    gallery = Gallery()
    restart_seconds = seconds_of_refresh(gallery, data, results)
    added = [add(gallery, data, results, videos + more) for more in range(100)]
    first = first_files(results)
    times = opened(seen, results / INDEX_NAME, videos + len(added))
    return Found(
        videos,
        round(build_seconds, 2),
        round(restart_seconds, 2),
        round(max(seconds for seconds, _ in added), 3),
        max(written for _, written in added),
        size(first),
        size(path for path in (results / PAGE_FOLDER).rglob("*") if path.is_file()),
        *times,
    )


def add(gallery: Gallery, data: Path, results: Path, number: int) -> tuple[float, int]:
    """Add a video; return the seconds that it took, and the size of what was written."""
    before = {path: path.stat().st_ino for path in data.iterdir()}
    sidecar = make(results, number)
    began = time.perf_counter()
    gallery.add(data, results, [sidecar])
    seconds = time.perf_counter() - began
    return seconds, size(path for path in data.iterdir() if before.get(path) != path.stat().st_ino)


def seconds_of_refresh(gallery: Gallery, data: Path, results: Path) -> float:
    """Return how long it takes to compare all with the sidecars."""
    began = time.perf_counter()
    gallery.refresh(data, results, results / "_failed")
    return time.perf_counter() - began


def first_files(results: Path) -> list[Path]:
    """Return the files that are read before the first videos are shown."""
    folder = results / PAGE_FOLDER
    chunks = sorted((folder / "data").glob("[0-9]*.js"))[-3:]
    own = [path for path in folder.iterdir() if path.is_file()]
    data = [folder / "data" / name for name in ("list.js", "status.js", "failed.js", "ratings.js")]
    return [results / INDEX_NAME, *own, *data, *chunks]


def size(paths: Iterable[Path]) -> int:
    """Return the size of files together, in bytes."""
    return sum(path.stat().st_size for path in paths)


def opened(seen: Browser, page: Path, count: int) -> tuple[float, float, float]:
    """Open the page; return when its first videos and all were there, and the time of a search."""
    seen.do("Page.enable")
    watch = seen.do("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
    seen.open(page)
    seen.do("Page.removeScriptToEvaluateOnNewDocument", **watch)
    seen.wait_for(f"reeldrop.allVideos().length === {count}")
    seen.ask("document.getElementById('words').focus()")
    first, whole = (float(seen.ask(f"window.times.{name}")) / 1000 for name in ("first", "all"))
    search = SEARCH % "snow 大鹏"
    return round(first, 3), round(whole, 3), round(float(seen.ask(search)) / 1000, 3)


WATCH = """
window.times = {first: 0, all: 0};
const look = () => {
  if (!times.first && document.querySelector('.card')) times.first = performance.now();
  const count = document.getElementById('count')?.textContent ?? '';
  if (times.first && count && !count.includes('arrived')) times.all = performance.now();
  if (!times.all) requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
SEARCH = """(() => {
  const words = document.getElementById('words');
  const began = performance.now();
  words.value = '%s';
  words.dispatchEvent(new Event('input', {bubbles: true}));
  return performance.now() - began;
})()"""


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=10_000)
    videos = parser.parse_args().videos
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as seen:
        found = measure(Path(folder), videos, seen)
    for name, value in asdict(found).items():
        print(f"{name:16} {value:>12,}")
    print(json.dumps(asdict(found)))
    return 0 if found.meets_goals else 1


if __name__ == "__main__":
    sys.exit(main())
