"""Open jobs in real folders, so that a test needs one line for each action."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from reeldrop.base.fleet import BatchLimit
from reeldrop.base.job import Batch, Job, Prompt, Rendered
from reeldrop.base.residents import Memory, Resident
from reeldrop.schedule import schedule
from reeldrop.schedule.decisions import Open, Render
from reeldrop.schedule.view import (
    FileView,
    RendererView,
    View,
)
from reeldrop.service.jobs import Jobs
from reeldrop.service.limits import Limits
from reeldrop.service.spooled import SpooledJobs
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool

NOW = 0.0
MODEL = "m"
READY = RendererView(memory=Memory((Resident(MODEL, host_bytes=1),), host_free=1))
"""A renderer with nothing to do that has loaded the model of all prompts here."""
RETRY_SECONDS = 20.0
ENDING = "Segmentation fault"
RENDERED = Rendered("m", None, "P", "S", "cpu", "float32", (), 1.0, 100)


@dataclass
class Place:
    """Folders of a daemon, with the jobs that are open in it."""

    root: Path
    spool: Spool
    results: Results
    jobs: Jobs
    processes: list[Jobs]

    @property
    def spooled(self) -> SpooledJobs:
        return self.jobs.spooled

    def claim(self, name: str) -> Job:
        """Drop a prompt file and claim it."""
        (self.root / "inbox" / name).write_text("anything\n")
        job = self.spool.claim(PurePosixPath(name), ())
        assert job is not None
        return job

    def next(self) -> list[tuple[str, list[int]]]:
        """Return whose prompts are rendered next, by the names of the prompt files."""
        batch = next_batch(self.jobs)
        members = batch.members if batch else ()
        return [
            (self.jobs.opened[job_id].job.source.name, [member.prompt.number for member in group])
            for job_id, group in groupby(members, key=lambda member: member.job_id)
        ]

    def has_room_for(self, count: int) -> bool:
        """Return whether a new file with this many prompts would join the next batch."""
        file = FileView("z.txt", (99, 0, 0.0, "z"), hash(prompts(1)[0].batch_key), count)
        view = View((READY,), self.jobs.opened.views(NOW), files=(file,))
        return isinstance(schedule.decide(view), Open)

    def publish(self, batch: Batch, number: int = 0) -> None:
        """Let one video of a batch be published."""
        member = batch.members[number]
        job, prompt = self.jobs.opened[member.job_id].job, member.prompt
        video = self.results.publish(
            job, prompt, RENDERED, lambda path, _format, _settings: path.write_bytes(b"x") and None
        )
        self.jobs.batches.published(video)

    def again(self) -> Jobs:
        """Return the jobs of the next process on the same folders."""
        self.spool.note_ending(ENDING)
        self.processes.append(open_jobs(self.spool, self.results))
        return self.processes[-1]


def open_jobs(spool: Spool, results: Results) -> Jobs:
    """Return the jobs of a process, with at most two attempts at everything."""
    limits = Limits(dict.fromkeys("mn", BatchLimit(2)), 2, RETRY_SECONDS)
    return Jobs(spool, results, limits)


@contextlib.contextmanager
def empty_place(folder: Path) -> Iterator[Place]:
    """Make the empty folders of a daemon; leave its jobs in the spool at the end of the block."""
    (folder / "inbox").mkdir()
    spool = Spool(folder / "spool", folder / "inbox", folder / "results" / "_failed")
    spool.prepare()
    results = Results(folder / "results")
    first = open_jobs(spool, results)
    made = Place(folder, spool, results, first, [first])
    yield made
    for process in made.processes:
        process.opened.put_down()


def next_batch(jobs: Jobs, now: float = NOW) -> Batch | None:
    """Begin the next batch of the open jobs, and return it; None if there is none."""
    batch = None
    while batch is None:
        found = schedule.decide(View((READY,), jobs.opened.views(now)))
        if not isinstance(found, Render):
            break
        batch = jobs.batches.begin(found)
    return batch


def prompts(count: int, num_frames: int = 4) -> tuple[Prompt, ...]:
    """Return prompts with equal settings."""
    frames = (("num_frames", num_frames), ("num_inference_steps", 2))
    return tuple(Prompt(n, f"p{n}", "m", frames, n, 8, ("mp4",)) for n in range(1, count + 1))


def says(text: str) -> Callable[[object], str]:
    """Return a report that is the same for every name of the prompt file in `_failed/`."""
    return lambda _name: text
