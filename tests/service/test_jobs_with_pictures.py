"""jobs: what becomes of one whose pictures are gone, after a kill or because somebody took them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from harness.jobs import NOW, RENDERED, Place, empty_place, next_batch, prompts
from reeldrop.base.job import Job, Picture, Prompt
from reeldrop.store import pictures


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return the empty folders of a daemon."""
    with empty_place(tmp_path) as made:
        yield made


def shown(job: Job, count: int) -> tuple[Prompt, ...]:
    """Return prompts that start from the picture of a job, with its hash if it is there."""
    place = pictures.place(job, "x.png")
    picture = Picture("image", "x.png", place, "a hash" if place.exists() else "")
    return tuple(replace(prompt, pictures=(picture,)) for prompt in prompts(count))


def put(job: Job) -> Path:
    """Put a picture into the folder of a job."""
    place = pictures.place(job, "x.png")
    place.parent.mkdir()
    place.write_text("a picture")
    return place


def test_a_job_whose_videos_are_all_there_needs_no_picture(place: Place) -> None:
    """A kill has come when the pictures were filed away, and before the prompt file was."""
    job = place.claim("a.txt")
    put(job)
    place.jobs.opened.open(job, shown(job, 2))
    batch = next_batch(place.jobs)
    assert batch is not None
    for prompt in batch.prompts:
        place.results.publish(job, prompt, RENDERED, lambda path, *_: path.touch())
    pictures.file_away(job, place.results.folder_for(job.source))
    again = place.again()
    found = again.spooled.unfinished(NOW)
    assert found is not None
    again.opened.open(found, shown(job, 2))
    folder = place.results.folder_for(job.source)
    assert (folder / "a.txt").exists()
    assert (folder / "x.png").exists()
    assert not list(place.spool.failed.root.path.rglob("*.txt"))


def test_a_prompt_whose_picture_is_gone_fails_with_its_name(place: Place) -> None:
    """Nothing is rendered from something else."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, shown(job, 1))
    report = (place.spool.failed.root.path / "a.txt.error.txt").read_text()
    assert "the picture x.png was there when the prompt file was taken" in report
