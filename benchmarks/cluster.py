"""How many renderers one service keeps busy, and what each video costs it.

A real service, with real prompt files and published videos, and simulated renderers: each "renders"
a video by waiting, and answers with a video that was encoded before, as a renderer of a cluster
does. What is measured is the service alone: scheduling, sidecars, completing and publishing, on one
core and with all files in memory, as disks differ. With `--ray`, real renderers of a real Ray
cluster on this machine take their place.

    python benchmarks/cluster.py --renderers 1 64 512
    python benchmarks/cluster.py --renderers 512 --prompts 1
    python benchmarks/cluster.py --renderers 512 --cores 2 --folder /var/tmp
    python benchmarks/cluster.py --ray --renderers 1 2 3
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from harness.fakes import save_tiny_pipeline
from harness.ray_cluster import RayCluster
from reeldrop.base.events import (
    BatchRendered,
    Event,
    FromRenderer,
    MemoryChanged,
    ModelLoaded,
    ModelsReleased,
    RendererJoined,
    StepDone,
)
from reeldrop.base.fleet import Device
from reeldrop.base.job import Batch, Capabilities, Member, Prompt, Rendered
from reeldrop.base.residents import Memory, Resident
from reeldrop.cluster.fleet import ClusterFleet
from reeldrop.config import config as configuration
from reeldrop.config import settings
from reeldrop.config.config import Config
from reeldrop.host import log
from reeldrop.render import pipeline
from reeldrop.render.source import ModelSource
from reeldrop.service.service import Service
from reeldrop.video import remote

CONFIG = """\
page: false
min_free_gib: 0
settle_seconds: 0
scan_seconds: 1
model: tiny
models:
  tiny:
    path: {pipeline}
    max_batch_size: 1
    defaults: {{num_inference_steps: {steps}, num_frames: 16, height: 32, width: 32}}
    limits: {{num_inference_steps: 1000}}
"""

MEMORY = Path("/dev/shm")

STEPS, STEPS_ON_RAY = 4, 20
"""Of a video. Two seconds are what a large GPU takes with a model that was distilled to four."""

PROMPT = "a horse gallops through shallow water at sunset, its mane in the wind, seen from the side"


class Clock:
    """Calls functions later, all in one thread."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def at(self, due: float, call: Callable[[], None]) -> None:
        """Call at a time by `time.monotonic`."""
        with self._changed:
            heapq.heappush(self._calls, (due, next(self._numbers), call))
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                if not self._calls or self._calls[0][0] > now:
                    self._changed.wait(self._calls[0][0] - now if self._calls else None)
                    continue
                _, _, call = heapq.heappop(self._calls)
            call()


class SleepingRenderer:
    """Implements `Renderer`: renders a batch by waiting, tells its steps, and notes when it did."""

    def __init__(self, fleet: SleepingFleet, id: str) -> None:
        self._fleet = fleet
        self._id = id
        self._batches: list[Batch] = []
        self.times: list[tuple[float, float]] = []

    def load(self, model: str) -> None:
        self._say(MemoryChanged(Memory((Resident(model),), None, 1 << 40)))
        self._say(ModelLoaded(model, self._fleet.capabilities, 0.0))

    def release(self, model: str, *, keeps: bool) -> None:  # noqa: ARG002
        self._say(ModelsReleased((model,)))

    def use(self, sources: Mapping[str, ModelSource]) -> None:  # noqa: ARG002
        self._say(ModelsReleased(()))

    def render(self, batch: Batch) -> None:
        self._batches.append(batch)
        if len(self._batches) == 1:
            self._begin()

    def cancel(self, batch: Batch) -> None: ...

    def close(self) -> None: ...

    def _begin(self) -> None:
        self._step(self._batches[0], 0, time.monotonic())

    def _step(self, batch: Batch, step: int, began: float) -> None:
        if step:
            self._say(StepDone(batch, step))
        if step == batch.steps:
            self._done(began)
        else:
            due = began + self._fleet.seconds * (step + 1) / batch.steps
            self._fleet.clock.at(due, partial(self._step, batch, step + 1, began))

    def _done(self, began: float) -> None:
        self.times.append((began, time.monotonic()))
        batch = self._batches.pop(0)
        self._say(BatchRendered(batch, (self._fleet.video,), (RENDERED,), 1))
        if self._batches:
            self._begin()

    def _say(self, event: Event) -> None:
        self._fleet.tell(FromRenderer(self._id, event))  # type: ignore[arg-type]


RENDERED = Rendered("m", None, "P", "S", "none", "float32", (), 2.0, 100)


class SleepingFleet:
    """Implements `Fleet` with so many renderers, each of which takes `seconds` for a video."""

    can_lose = True

    def __init__(
        self, count: int, seconds: float, capabilities: Capabilities, tell: Callable[[Event], None]
    ) -> None:
        self.seconds, self.capabilities, self.tell = seconds, capabilities, tell
        self.clock = Clock()
        self.renderers = {f"r{n}": SleepingRenderer(self, f"r{n}") for n in range(count)}
        frames = np.random.default_rng(0).integers(0, 255, (16, 128, 128, 3), np.uint8)
        prompt = Prompt(1, "p", "tiny", (), 1, 8.0, ("mp4",))
        batch = Batch((Member("", prompt),))
        (self.video,) = remote.encoded(
            BatchRendered(batch, (frames,), (RENDERED,), 1), "libx264"
        ).frames

    def begin(self) -> Sequence[RendererJoined]:
        return [RendererJoined(name, Device("none", "here")) for name in self.renderers]

    def renderer(self, id: str) -> SleepingRenderer:
        return self.renderers[id]

    def end(self, id: str, reason: str) -> None:
        raise AssertionError(f"{id} was ended: {reason}")

    def close(self) -> None: ...


@dataclass(frozen=True)
class Row:
    """What so many renderers did: `busy` is the share of their time, `cpu` the service's seconds.

    `main` is the part of its main thread.

    busy is measured from the first batch of prompts to the last that began: None on Ray, where the
    renderers share the service's cores.
    """

    renderers: int
    videos: int
    seconds: float
    busy: float | None
    prompts_in_a_file: int
    cpu_ms_per_video: float
    main_ms_per_video: float
    cores: float


def measure(
    base: Path, count: int, videos: int, ray: RayCluster | None, options: argparse.Namespace
) -> Row:
    """Let a service render so many videos on so many renderers."""
    pipe = base / "tiny"
    if not pipe.exists():
        save_tiny_pipeline(pipe)
    site = base / f"{count}"
    (site / "inbox").mkdir(parents=True)
    steps = options.steps or (STEPS if ray is None else STEPS_ON_RAY)
    text = CONFIG.format(pipeline=pipe, steps=steps)
    if ray is not None:
        text = ray.settings.replace("}\n", f", renderers: {count}}}\n") + text
    (site / "config.yaml").write_text(text)
    for number in range(-(-videos // options.prompts)):
        lines = [f"Video {line} of file {number}, {PROMPT}\n" for line in range(options.prompts)]
        (site / "inbox" / f"{number:05}.txt").write_text("".join(lines))
    capabilities = pipeline.load(ModelSource("tiny", str(pipe))).capabilities
    fleets: list[SleepingFleet] = []

    def make_fleet(config: Config, tell: Callable[[Event], None]) -> SleepingFleet | ClusterFleet:
        if ray is not None:
            return ClusterFleet(config, tell)
        fleets.append(SleepingFleet(count, options.seconds, capabilities, tell))
        return fleets[0]

    def read() -> tuple[Config, str]:
        return configuration.load(site / "config.yaml"), "tiny"

    began, cpu, main = time.monotonic(), time.process_time(), time.thread_time()
    outcome = Service(settings.Settings(read), make_fleet, drain=True).run()
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    main = time.thread_time() - main
    busy = _busy(fleets[0]) if fleets else None
    return Row(
        count, outcome.videos, round(took, 2), busy, options.prompts,
        round(1000 * cpu / outcome.videos, 2), round(1000 * main / outcome.videos, 2),
        round(cpu / took, 2),
    )  # fmt: skip


def _busy(fleet: SleepingFleet) -> float:
    """Return how much of their time the renderers were busy, while there was enough to do."""
    times = [sorted(one.times)[1:] for one in fleet.renderers.values()]  # the warm-up is first
    begin = min(one[0][0] for one in times if one)
    end = max(one[-1][0] for one in times if one)
    spent = sum(max(0.0, min(e, end) - b) for one in times for b, e in one)
    return round(spent / (len(times) * (end - begin)), 4)


def _use_cores(count: int | None) -> None:
    """Keep this process on some of its cores; on all if None."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def main() -> None:
    """Measure, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--renderers", type=int, nargs="+", default=[1, 64, 512])
    parser.add_argument("--rounds", type=int, default=8, help="videos for each renderer")
    parser.add_argument("--prompts", type=int, default=16, help="of each prompt file")
    parser.add_argument("--seconds", type=float, default=2.0, help="for a simulated video")
    parser.add_argument(
        "--steps", type=int, help=f"of a video ({STEPS}; with --ray {STEPS_ON_RAY})"
    )
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--folder", type=Path, help="for the site: memory, if there is /dev/shm")
    parser.add_argument("--cores", type=int, help="1; with --ray all")
    options = parser.parse_args()
    _use_cores(options.cores or (None if options.ray else 1))
    folder = options.folder or (MEMORY if MEMORY.is_dir() else None)
    rows = []
    with (
        open(os.devnull, "w") as nowhere,
        tempfile.TemporaryDirectory(prefix="reeldrop-", dir=folder) as site,
    ):
        log.configure(nowhere, for_people=False)  # as a service does, or nearly
        base, ray = Path(site), None
        try:
            if options.ray:
                ray = RayCluster(base)
                ray.start(0, slots=max(options.renderers))
            for count in options.renderers:
                videos = max(options.prompts, count * options.rounds)
                rows.append(measure(base, count, videos, ray, options))
                print(rows[-1], flush=True)
        finally:
            if ray is not None:
                ray.close()
    print(json.dumps([row.__dict__ for row in rows]))


if __name__ == "__main__":
    main()
