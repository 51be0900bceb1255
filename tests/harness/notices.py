"""Results as a daemon publishes them, without rendering anything."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

from reeldrop.base.errors import Mistake, PromptError, RenderCancelled
from reeldrop.base.job import Job, Prompt
from reeldrop.store import reports
from reeldrop.store.results import Results

from harness.videos import rendered_by


class Place:
    """Results with `_failed/`."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"
        self.failed = self.results / "_failed"
        self.failed.mkdir(parents=True)

    def publish(
        self, source: str, prompt: str, number: int = 1, formats: tuple[str, ...] = ("mp4",)
    ) -> Path:
        """Publish a video, and return its sidecar."""
        made = Prompt(number, prompt, "tiny", (), 7, 8.0, formats)
        rendered = replace(rendered_by("someone/model"), seconds=1.5)
        results = Results(self.results)
        job = _job(source)
        return results.publish(job, made, rendered, lambda path, *_: path.touch()).sidecar

    def end(self, source: str) -> None:
        """Publish the log of a job that has ended."""
        events = [{"event": "job_started", "job_id": _job(source).id, "prompt_file": source}]
        folder = Results(self.results).folder_for(PurePosixPath(source))
        (folder / "job.log").write_text("".join(json.dumps(event) + "\n" for event in events))

    def fail(self, source: str, problem: str, *, is_cancelled: bool = False) -> None:
        """Set a prompt file aside with a report."""
        target = self.failed / source
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        error = RenderCancelled(problem) if is_cancelled else PromptError(Mistake(problem))
        job = _job(source)
        reports.write(target, reports.encoded(reports.text(job.source, job.id, error, "")), job.id)


def _job(source: str) -> Job:
    return Job(
        hashlib.sha256(source.encode()).hexdigest()[:12],
        PurePosixPath(source),
        Path("/nowhere"),
        (),
    )
