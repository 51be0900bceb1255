"""Open jobs: their batches, their results, and how each job ends. Real folders."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import pytest
import structlog
from harness.jobs import (
    ENDING,
    NOW,
    RENDERED,
    RETRY_SECONDS,
    Place,
    empty_place,
    next_batch,
    prompts,
    says,
)
from harness.processes import await_that
from reeldrop.base.errors import (
    ConfigError,
    Mistake,
    PromptError,
    RenderCancelled,
    RenderError,
    Unrenderable,
)
from reeldrop.base.fleet import BatchLimit
from reeldrop.base.job import Batch, Cause, Job, Member, Prompt, Video
from reeldrop.service import limits, suspects
from reeldrop.service.jobs import Jobs
from reeldrop.store import job_files
from reeldrop.store.spool import Spool

MEASURED = {"m": BatchLimit(16, is_measured=True)}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Empty folders."""
    with empty_place(tmp_path) as made:
        yield made


def has_suspect(process: Jobs) -> bool:
    """Return whether an open job was in hand when a process ended."""
    return any(job.is_suspect for job in process.opened.views(NOW))


def attempts(job: Job) -> list[list[int]]:
    """Return the numbers of the prompts in hand at each recorded attempt."""
    path = job.folder / "attempts.json"
    return [found["numbers"] for found in json.loads(path.read_text())] if path.exists() else []


def test_an_attempt_is_recorded_when_rendering_begins(place: Place) -> None:
    """Not before: a job that waits has not been tried."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(3))
    assert [] == attempts(job)
    first = next_batch(place.jobs)
    assert first is not None
    assert [1, 2] == [prompt.number for prompt in first.prompts]
    assert [[1, 2]] == attempts(job)
    place.publish(first, 0)
    assert next_batch(place.jobs) is not None
    assert [[2, 3]] == attempts(job), "one is published, one is encoded, one is rendered"


def test_a_job_ends_with_its_last_video(place: Place) -> None:
    """Its prompt file moves beside the videos, and the spool is empty."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(2))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.publish(batch, 0)
    assert 1 == len(place.jobs.opened)
    place.publish(batch, 1)
    assert 0 == len(place.jobs.opened)
    names = sorted(path.name for path in (place.root / "results/a").iterdir())
    videos = [f"p{n}.{suffix}" for n in (1, 2) for suffix in ("jpg", "mp4", "yaml")]
    assert ["a.txt", "job.log", *videos] == names
    assert [] == list(place.spool.active.iterdir())


def published_together(place: Place, *names: str) -> list[Job]:
    """Return jobs whose only videos are published, one after the other."""
    jobs = [place.claim(name) for name in names]
    for job in jobs:
        place.jobs.opened.open(job, prompts(1))
        batch = next_batch(place.jobs)
        assert batch is not None
        place.publish(batch, 0)
    return jobs


def test_jobs_that_end_together_are_filed_away_together(place: Place) -> None:
    """Two that have one folder of results are filed away one after the other."""
    with place.jobs.ends.gathered():
        found = published_together(place, "a.txt", "b.txt", "a.yaml", "x:y.txt", "x_y.yaml")
        assert [True, True, False, True, False] == [*map(job_files.is_in_hand, found)]
    assert not any(map(job_files.is_in_hand, found))
    for name in ("a/a.txt", "b/b.txt", "a/a.yaml"):
        assert (place.root / "results" / name).exists()
    assert [] == list(place.spool.active.iterdir())


def test_of_jobs_that_end_together_one_may_have_to_wait(place: Place) -> None:
    """A program still writes into its prompt file; the others end."""
    with place.jobs.ends.gathered():
        first, written, last = published_together(place, "a.txt", "b.txt", "c.txt")
        writer = written.prompt_file.open("a")
    with writer:
        in_hand = [*map(job_files.is_in_hand, (first, written, last))]
        assert ([False, True, False], 1) == (in_hand, place.spooled.postponed())


def test_a_disk_that_fails_at_a_look_postpones_the_filing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process ends by it; the prompt file comes to its videos later."""
    place.jobs.use(replace(place.jobs.limits, retry_seconds=0))
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(1))
    batch = next_batch(place.jobs)
    assert batch is not None
    publish, patch = place.jobs.batches.published, pytest.MonkeyPatch()

    def fail(path: Path) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    def fail_from_now_on(video: Video) -> None:
        patch.setattr(os, "lstat", fail)
        publish(video)

    monkeypatch.setattr(place.jobs.batches, "published", fail_from_now_on)
    try:
        place.publish(batch)
    finally:
        patch.undo()
    assert (1, True) == (place.spooled.postponed(), job_files.is_in_hand(job))
    left = partial(place.spooled.views, time.monotonic() + 1)
    await_that(lambda: not (left() or job_files.is_in_hand(job)), "the filing")
    names = {path.name for path in (place.root / "results/a").iterdir()}
    assert {"a.txt", "job.log", "p1.jpg", "p1.mp4", "p1.yaml"} == names


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_in_trouble_costs_no_attempt_and_no_prompt(place: Place, number: int) -> None:
    """The job returns to the spool for a while, and nothing new is begun."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(3))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.jobs.batches.failed(job.id, batch.prompts[0], OSError(number, "trouble"))
    assert 1 == len(place.jobs.opened), "the other prompt of the batch is still being encoded"
    place.publish(batch, 1)
    assert (0, 1, True) == (
        len(place.jobs.opened),
        place.spooled.postponed(),
        bool(place.jobs.trouble()),
    )
    assert [] == attempts(job)
    assert job.prompt_file.exists()
    (due,) = place.jobs.due(opens=True)
    assert [] == place.jobs.due(opens=False), "who opens none would wake up for nothing, for ever"
    assert place.spooled.unfinished(due - RETRY_SECONDS / 2) is None
    again = place.spooled.unfinished(due)
    assert again == job
    place.jobs.opened.open(again, prompts(3))
    batch = next_batch(place.jobs)
    assert batch is not None
    assert [1, 3] == [prompt.number for prompt in batch.prompts], "what is published is not redone"


def test_an_error_of_one_file_is_a_failure(place: Place) -> None:
    """A name that one video can't have fails only that prompt."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(1))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.jobs.batches.failed(job.id, batch.prompts[0], OSError(errno.ENAMETOOLONG, "too long"))
    assert (0, 0, False) == (
        len(place.jobs.opened),
        place.spooled.postponed(),
        bool(place.jobs.trouble()),
    )
    assert "too long" in (place.root / "results/_failed/a.txt.error.txt").read_text()


def test_a_video_whose_folder_is_removed_while_it_is_encoded_comes_later(place: Place) -> None:
    """Somebody has tidied up, or a sync tool has; the prompt is not to blame."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(1))
    batch = next_batch(place.jobs)
    assert batch is not None

    def encode(path: Path, _format: str, _settings: str) -> None:
        path.touch()
        shutil.rmtree(place.root / "results/a")

    with pytest.raises(FileNotFoundError) as caught:
        place.results.publish(job, batch.prompts[0], RENDERED, encode)
    place.jobs.batches.failed(job.id, batch.prompts[0], caught.value)
    (due,) = place.jobs.due(opens=False)
    batch = next_batch(place.jobs, due)
    assert batch is not None
    place.publish(batch)
    names = {path.name for path in (place.root / "results/a").iterdir()}
    assert {"a.txt", "job.log", "p1.jpg", "p1.mp4", "p1.yaml"} == names


def test_results_that_are_removed_are_made_again_for_what_fails(place: Place) -> None:
    """Not as a part of the way to `_failed/`: they would be taken for another folder."""
    for name in ("a.txt", "b.txt"):
        job = place.claim(name)
        place.jobs.opened.open(job, prompts(2))
        batch = next_batch(place.jobs)
        assert batch is not None
        if name == "a.txt":
            place.publish(batch)
        else:
            place.jobs.batches.failed(job.id, batch.prompts[0], Unrenderable("broken"))
        shutil.rmtree(place.root / "results")
        place.jobs.batches.failed(job.id, batch.prompts[1], Unrenderable("broken"))
    assert [] == list(place.spool.unfinished())
    published_together(place, "c.txt")
    assert (place.root / "results/_failed/b.txt").exists()


def test_after_max_attempts_only_what_was_in_hand_fails(place: Place) -> None:
    """Published videos stay, other prompts are rendered; `_failed/` has the prompt to blame."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(4))
    assert next_batch(place.jobs) is not None  # the process ends with 1 and 2 in hand

    second = place.again()
    (unfinished,) = place.spool.unfinished()
    second.opened.open(unfinished, prompts(4))
    place.jobs = second
    one = next_batch(second)
    assert one is not None
    assert [1] == [prompt.number for prompt in one.prompts]
    assert next_batch(second) is None, "the next one waits until this one is published"
    place.publish(one)
    assert next_batch(second) is not None  # the process ends with 2 in hand

    third = place.again()
    (unfinished,) = place.spool.unfinished()
    third.opened.open(unfinished, prompts(4))
    place.jobs = third
    for number in (3, 4):
        one = next_batch(third)
        assert one is not None
        assert [number] == [prompt.number for prompt in one.prompts]
        place.publish(one)
    assert (0, 1) == (len(third.opened), third.outcome.failed_jobs)
    left = (place.root / "results/_failed/a.yaml").read_text()
    assert ["prompt: p2"] == [x for x in left.splitlines() if x.startswith("prompt")]
    report = (place.root / "results/_failed/a.yaml.error.txt").read_text()
    assert "the process ended in the middle of it 2 times" in report
    assert 2 == report.count(ENDING)
    assert (place.root / "results/a/a.txt").exists()


def in_hand_at(
    place: Place,
    name: str,
    *ends: tuple[str, Cause],
    device_worked: bool = True,
    numbers: tuple[int, ...] = (1,),
) -> Job:
    """Claim a file, one of whose prompts was alone in hand at these ends of a process."""
    job = place.claim(name)
    for how, cause in ends:
        (job,) = (found for found in place.spool.unfinished() if found.id == job.id)
        place.spool.attempts.begin(job, numbers, device_worked=device_worked)
        place.spool.note_ending(how, cause)
    (job,) = (found for found in place.spool.unfinished() if found.id == job.id)
    return job


KILL = ("killed", Cause.UNKNOWN)
CRASH = (ENDING, Cause.WORK)


@pytest.mark.parametrize(
    ("ends", "fails"),
    [
        ([CRASH], False),
        ([CRASH, CRASH], True),
        ([KILL] * 5, False),
        ([KILL] * 6, True),
        ([CRASH, *[KILL] * 4], False),
        ([CRASH, *[KILL] * 5], True),
    ],
)
def test_kills_that_nobody_can_explain_count_for_less(
    ends: list[tuple[str, Cause]], fails: bool, place: Place
) -> None:
    """A third of an end that has a cause in the prompt (with two attempts allowed)."""
    job = in_hand_at(place, "a.txt", *ends)
    place.jobs.opened.open(job, prompts(1))
    assert int(fails) == place.jobs.outcome.failed_jobs


@pytest.mark.parametrize(("kills", "fails"), [(6, False), (11, False), (12, True)])
def test_kills_before_anything_else_was_rendered_say_nothing(
    kills: int, fails: bool, place: Place
) -> None:
    """A person kills the service whatever it does; but this does not protect for ever."""
    job = in_hand_at(place, "a.txt", *[KILL] * kills, device_worked=False)
    place.jobs.opened.open(job, prompts(1))
    assert int(fails) == place.jobs.outcome.failed_jobs


def test_what_was_in_hand_at_several_kills_goes_behind_the_others(place: Place) -> None:
    """Then another kill with it in hand counts: the process had rendered others."""
    job, other = in_hand_at(place, "a.txt", KILL, KILL), place.claim("b.txt")
    place.jobs.opened.open(job, prompts(1))
    assert place.jobs.suspects.due()
    place.jobs.opened.open(other, prompts(1))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.publish(batch)
    place.jobs.opened.open(job, prompts(1))
    assert [("a.txt", [1])] == place.next()
    assert json.loads((job.folder / "attempts.json").read_text())[-1]["device_worked"]


def test_what_was_never_alone_at_an_end_that_counts_does_not_fail(place: Place) -> None:
    """Being alone at a kill proves nothing about two crashes with others in hand."""
    job, other = place.claim("a.txt"), place.claim("b.txt")
    for (how, cause), beside in ((CRASH, True), (CRASH, True), (KILL, False)):
        for each in (job, other)[: 1 + beside]:
            (each,) = (found for found in place.spool.unfinished() if found.id == each.id)
            place.spool.attempts.begin(each, [1])
        place.spool.note_ending(how, cause)
    first = next(place.spool.unfinished())
    assert [False, False, True] == [attempt.was_alone for attempt in first.attempts]
    place.jobs.opened.open(first, prompts(1))
    assert 0 == place.jobs.outcome.failed_jobs


def test_the_report_says_of_each_end_what_it_was_and_what_to_do(place: Place) -> None:
    """The reader learns whether to change the prompt, the machine, or whoever kills."""
    memory, hang = ("memory ran out", Cause.WORK), ("stalled: for 5 s", Cause.WORK)
    job = in_hand_at(place, "a.txt", memory, hang, CRASH, KILL)
    place.jobs.opened.open(job, prompts(1))
    report = (place.root / "results/_failed/a.txt.error.txt").read_text()
    assert "in the middle of it 4 times (at 20" in report
    told = (": memory ran out;", ": stalled: for 5 s;", f": {ENDING};", ": killed)")
    advice = ("a smaller size or fewer frames", "It hung", "It crashed", "who kills the service")
    assert [] == [text for text in (*told, *advice) if text not in report]


def test_what_is_to_blame_waits_until_something_else_is_rendered(place: Place) -> None:
    """A broken device also ends processes: until something is rendered, no prompt is set aside.

    Begun prompts may be about to fail, too.
    """
    job, other = in_hand_at(place, "a.txt", CRASH, CRASH), place.claim("b.txt")
    place.jobs.opened.open(job, prompts(1))
    found = place.spooled.unfinished(NOW)
    assert found is not None
    assert (other.id, 0, True) == (
        found.id,
        place.jobs.outcome.failed_jobs,
        place.jobs.suspects.due() != {},
    )
    place.jobs.opened.open(other, prompts(1))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.publish(batch)
    found = place.spooled.unfinished(NOW)
    assert found is not None
    assert job.id == found.id
    place.jobs.opened.open(found, prompts(1))
    assert (1, {}) == (place.jobs.outcome.failed_jobs, place.jobs.suspects.due())


def test_what_is_to_blame_does_not_wait_for_ever(place: Place) -> None:
    """If the files of the inbox are never rendered, it is set aside anyway."""
    place.jobs.use(replace(place.jobs.limits, retry_seconds=0))
    place.jobs.suspects.others_wait = lambda: True
    job = in_hand_at(place, "a.txt", CRASH, CRASH)
    looks = 0
    while place.jobs.outcome.failed_jobs == 0:
        place.jobs.opened.open(job, prompts(1))
        looks += 1
    assert suspects.MAX_HOLDS + 1 == looks
    assert (place.root / "results/_failed/a.txt").exists()


def test_two_that_are_to_blame_do_not_wait_for_each_other(place: Place) -> None:
    """Neither can prove that the device works."""
    first = in_hand_at(place, "a.txt", CRASH, CRASH)
    second = in_hand_at(place, "b.txt", CRASH, CRASH)
    for job in (first, second, first):
        place.jobs.opened.open(job, prompts(1))
    assert 2 == place.jobs.outcome.failed_jobs


def test_a_suspected_prompt_of_a_file_does_not_keep_the_others_waiting(place: Place) -> None:
    """The others prove that the device works."""
    job = in_hand_at(place, "a.txt", CRASH, CRASH)
    place.jobs.suspects.others_wait = lambda: True
    place.jobs.opened.open(job, prompts(2))
    batch = next_batch(place.jobs)
    assert batch is not None
    assert [2] == [prompt.number for prompt in batch.prompts]
    place.publish(batch)
    assert (1, 1) == (place.jobs.outcome.videos, place.jobs.outcome.failed_jobs)


def test_a_model_that_ends_the_process_fails_its_job(place: Place) -> None:
    """Loading a model is an attempt, too; without a limit it would end each process."""
    job = place.claim("a.txt")
    for process in (place.jobs, place.again()):
        assert job == process.loads.begin_to_read(job.id)
        place.spool.note_ending(ENDING)
        (job,) = place.spool.unfinished()
    assert place.again().loads.begin_to_read(job.id) is None
    report = (place.root / "results/_failed/a.txt.error.txt").read_text()
    assert "in the middle of loading its model 2 times" in report


def test_a_model_that_is_loaded_is_no_attempt(place: Place) -> None:
    """The record is removed when the model is loaded."""
    job = place.claim("a.txt")
    place.spooled.needs.add(job, "m")
    assert job == place.jobs.loads.begin_to_read(job.id)
    assert [[]] == attempts(job)
    assert place.jobs.loads.end(job, "m")
    assert ([], "") == (attempts(job), place.spooled.needs.of(job.id))


def mixed(*models: str) -> tuple[Prompt, ...]:
    """Return a prompt of each model, in this order."""
    of_each = zip(prompts(len(models)), models, strict=True)
    return tuple(replace(prompt, model=model) for prompt, model in of_each)


def test_a_model_that_is_loaded_again_for_an_open_job_is_an_attempt_without_prompts(
    place: Place,
) -> None:
    """The process that ends meanwhile blames none of them, and its next one tries again."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(2))
    assert job == place.jobs.loads.begin_to_render(job.id, "m")
    assert [[]] == attempts(job)
    assert not place.jobs.loads.end(job, "m")
    assert [] == attempts(job)
    assert job == place.jobs.loads.begin_to_render(job.id, "m")
    place.jobs = place.again()
    (job,) = place.spool.unfinished()
    assert [()] == [attempt.numbers for attempt in job.attempts]
    place.jobs.opened.open(job, prompts(2))
    assert job == place.jobs.loads.begin_to_render(job.id, "m")
    place.jobs.opened.put_down()
    assert [[]] == attempts(job), "a stop costs nothing"


def test_a_model_that_ends_the_process_when_it_is_loaded_again_fails_its_own_prompts(
    place: Place,
) -> None:
    """Those of another model in the same file are rendered; before that, somebody else is."""
    job = in_hand_at(place, "a.txt", CRASH, CRASH, numbers=())
    other = place.claim("b.txt")
    place.jobs.opened.open(other, prompts(1))
    place.jobs.opened.open(job, mixed("n", "m", "n"))
    assert place.jobs.loads.begin_to_render(job.id, "n") is None
    assert [job.id] == [*place.jobs.suspects.due()]
    assert [("b.txt", [1])] == place.next()
    place.publish(Batch((Member(other.id, prompts(1)[0]),)))
    place.jobs.opened.open(job, mixed("n", "m", "n"))
    assert place.jobs.loads.begin_to_render(job.id, "n") is None
    assert [("a.txt", [2])] == place.next()
    place.publish(Batch((Member(job.id, mixed("n", "m", "n")[1]),)))
    report = (place.root / "results/_failed/a.yaml.error.txt").read_text()
    assert "in the middle of loading its model 2 times" in report
    left = (place.root / "results/_failed/a.yaml").read_text()
    assert ["p1", "p3"] == [p for p in ("p1", "p2", "p3") if f"prompt: {p}" in left]


def test_a_model_that_cannot_be_loaded_again_fails_its_own_prompts(place: Place) -> None:
    """In all files that wait for it; the others go on."""
    jobs = [place.claim(name) for name in ("a.txt", "b.txt")]
    place.jobs.opened.open(jobs[0], mixed("n", "m"))
    place.jobs.opened.open(jobs[1], mixed("n"))
    place.jobs.loads.refuse("n", ConfigError(Mistake("there is no such folder")))
    assert [("a.txt", [2])] == place.next()
    assert (1, 1) == (len(place.jobs.opened), place.jobs.outcome.failed_jobs)
    report = (place.root / "results/_failed/b.txt.error.txt").read_text()
    assert "there is no such folder" in report


def test_an_attempt_that_cannot_be_recorded_is_none(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No model is loaded for the job; it waits in the spool."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(2))

    def full(*_: object, **_how: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(place.spool.attempts, "begin", full)
    assert place.jobs.loads.begin_to_render(job.id, "m") is None
    assert (0, True) == (len(place.jobs.opened), bool(place.jobs.trouble()))


@pytest.mark.parametrize("hiccup", [RenderError("a hiccup"), MemoryError("a hiccup")])
def test_a_failed_render_is_tried_again_after_a_pause(place: Place, hiccup: Exception) -> None:
    """Others are rendered meanwhile; after `max_attempts` it fails."""
    job, other = place.claim("a.txt"), place.claim("b.txt")
    place.jobs.opened.open(job, prompts(1))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.jobs.opened.open(other, prompts(1))
    place.jobs.batches.failed(job.id, batch.prompts[0], hiccup)
    after = next_batch(place.jobs)
    assert after is not None
    assert [other.id] == [member.job_id for member in after.members]
    (due,) = place.jobs.due(opens=False)
    assert next_batch(place.jobs, due - 1) is None
    again = next_batch(place.jobs, due)
    assert again is not None
    assert batch.members == again.members
    place.jobs.batches.failed(job.id, batch.prompts[0], hiccup)
    assert "a hiccup" in (place.root / "results/_failed/a.txt.error.txt").read_text()
    assert [] == place.jobs.due(opens=True)


def test_what_rests_is_not_in_hand(place: Place) -> None:
    """It is not blamed if the process ends meanwhile."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(2))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.jobs.batches.failed(job.id, batch.prompts[0], RenderError("a hiccup"))
    assert [[2]] == attempts(job)
    place.jobs.batches.failed(job.id, batch.prompts[1], RenderError("a hiccup"))
    assert [] == attempts(job)


def test_an_end_that_cannot_be_filed_is_no_attempt(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is rendered; a full disk is not the job's fault."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(1))
    batch = next_batch(place.jobs)
    assert batch is not None

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(place.spool, "finish", full)
    place.publish(batch)
    assert (0, 1, []) == (len(place.jobs.opened), place.spooled.postponed(), attempts(job))


def test_what_had_failed_before_its_model_was_in_trouble_stays_failed(place: Place) -> None:
    """Neither its tries nor its end are forgotten while the job waits in the spool."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(3))
    for error in (RenderError("a hiccup"), Unrenderable("too large")):
        batch = next_batch(place.jobs)
        assert batch is not None
        for prompt in batch.prompts:
            place.jobs.batches.failed(job.id, prompt, error)
    place.jobs.opened.hold("m", math.inf)
    assert (0, "m") == (len(place.jobs.opened), place.spooled.needs.of(job.id))
    place.jobs.opened.open(job, prompts(3))
    for number in (1, 2):
        batch = next_batch(place.jobs)
        assert batch is not None
        assert [number] == [prompt.number for prompt in batch.prompts], "alone, and 3 has failed"
        place.jobs.batches.failed(job.id, batch.prompts[0], RenderError("a hiccup"))
    assert (0, 1) == (len(place.jobs.opened), place.jobs.outcome.failed_jobs)


def test_rests_end_when_there_is_another_renderer(place: Place) -> None:
    """It may have what others lack; what is being translated waits on."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(2))
    opened = place.jobs.opened[job.id]
    for prompt, until in zip(opened.drop_waiting(), (9e9, math.inf), strict=True):
        opened.rest(prompt, until)
    assert not place.next()
    place.jobs.opened.end_rests()
    assert [("a.txt", [1])] == place.next()
    assert opened.is_translated


def test_what_can_never_be_rendered_is_tried_once(place: Place) -> None:
    """Another try would fail in the same way."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(1))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.jobs.batches.failed(job.id, batch.prompts[0], Unrenderable("too large"))
    assert (0, 1) == (len(place.jobs.opened), place.jobs.outcome.failed_jobs)


def test_what_was_in_hand_when_a_process_ended_is_suspect(place: Place) -> None:
    """It must be rendered alone; after a clean stop nothing is suspect."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(1))
    next_batch(place.jobs)
    assert not has_suspect(place.jobs)
    place.jobs.opened.put_down()
    (unfinished,) = place.spool.unfinished()
    innocent = place.again()
    innocent.opened.open(unfinished, prompts(1))
    next_batch(innocent)
    assert not has_suspect(innocent)

    again = place.again()  # without having been put down
    (unfinished,) = place.spool.unfinished()
    again.opened.open(unfinished, prompts(1))
    assert has_suspect(again)


def test_where_renderers_end_alone_a_prompt_is_suspect_after_several_ends(place: Place) -> None:
    """After the first it is only rendered alone; the rest of its file never waits for it."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(5))
    next_batch(place.jobs)
    begun: list[Batch] = []
    for ends in (1, 2):
        place.spool.note_ending("without a trace", Cause.UNKNOWN)
        place.jobs = place.again()
        place.jobs.suspects.ends = 2
        (unfinished,) = place.spool.unfinished()
        (spooled,) = place.spooled.views(NOW)
        place.jobs.opened.open(unfinished, prompts(5))
        assert not spooled.is_suspect
        assert not has_suspect(place.jobs)
        assert {1, 2} == place.jobs.opened[job.id].alone
        while (ends == 2 or not begun) and (batch := next_batch(place.jobs)) is not None:
            begun.append(batch)
    numbers = [[prompt.number for prompt in batch.prompts] for batch in begun]
    assert [[1], [2], [3, 4], [5]] == numbers
    assert has_suspect(place.jobs)
    for batch in begun[1:]:
        for number in range(len(batch.prompts)):
            place.publish(batch, number)
    assert [("a.txt", [1])] == place.next()
    assert has_suspect(place.jobs)


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("name", ["a.yaml", "a.txt"])
def test_a_stale_report_goes_when_a_later_attempt_succeeds(
    name: str, killed: bool, place: Place
) -> None:
    """A prompt is either in the results or in `_failed/`, not both."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(2))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.spool.failed.write(job, name, b"prompt: p2\n", says(f"why\n\nJob {job.id}, now\n"))
    if not killed:
        place.jobs.opened.put_down()

    again = place.again()  # the process ended before it could move the prompt file
    (unfinished,) = place.spool.unfinished()
    again.opened.open(unfinished, prompts(2))
    place.jobs = again
    while (batch := next_batch(again)) is not None:
        for number in range(len(batch.prompts)):
            place.publish(batch, number)
    assert 2 == again.outcome.videos
    assert [] == list((place.root / "results/_failed").iterdir())


def test_cancelling_fails_what_waits(place: Place) -> None:
    """Waiting prompts are dropped; the caller cancels those in the renderer."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(4))
    batch = next_batch(place.jobs)
    assert batch is not None
    assert set() == place.jobs.batches.cancel_asked([job.id])
    job_files.ask_to_cancel(job)
    assert {job.id} == place.jobs.batches.cancel_asked([job.id])
    assert next_batch(place.jobs) is None
    for prompt in batch.prompts:
        place.jobs.batches.failed(job.id, prompt, RenderCancelled("cancelled"))
    assert 0 == len(place.jobs.opened)
    assert (place.root / "results/_failed/a.txt").exists()


def test_a_failed_batch_is_rendered_one_by_one(place: Place) -> None:
    """So that only the prompt to blame has no video."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(3))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.jobs.batches.give_back(batch, alone=True)
    order = []
    while (one := next_batch(place.jobs)) is not None:
        order.append([prompt.number for prompt in one.prompts])
    assert [[1], [2], [3]] == order


def test_prompts_of_several_files_are_rendered_together(place: Place) -> None:
    """If their settings are equal; each file has its own record of the attempt."""
    opened = [place.claim(f"{name}.txt") for name in "abc"]
    for job in opened:
        place.jobs.opened.open(job, prompts(1))
    assert [("a.txt", [1]), ("b.txt", [1])] == place.next()
    assert [[[1]], [[1]], []] == [attempts(job) for job in opened]
    assert [("c.txt", [1])] == place.next()


def test_the_end_of_a_file_goes_along_with_the_next(place: Place) -> None:
    """A batch is filled with the first prompts of the next file."""
    place.jobs.opened.open(place.claim("a.txt"), prompts(1))
    place.jobs.opened.open(place.claim("b.txt"), prompts(3))
    assert [("a.txt", [1]), ("b.txt", [1])] == place.next()
    assert [("b.txt", [2, 3])] == place.next()


def test_nobody_is_passed_over_twice(place: Place) -> None:
    """A prompt of another kind waits for one batch of later ones at most."""
    for name, num_frames in {"a": 4, "b": 4, "x": 8, "y": 16, "c": 4, "d": 4}.items():
        place.jobs.opened.open(
            place.claim(f"{name}.txt"), prompts(1 if name != "b" else 2, num_frames)
        )
    assert [("a.txt", [1]), ("b.txt", [1])] == place.next()
    assert [("b.txt", [2]), ("c.txt", [1])] == place.next(), "x and y are passed over"
    place.jobs.opened.open(place.claim("x2.txt"), prompts(1, 8))
    assert [("x.txt", [1])] == place.next(), "y is not passed over again"
    assert [("y.txt", [1])] == place.next()
    assert [("d.txt", [1])] == place.next()


def test_who_has_had_a_batch_may_be_passed_over_again(place: Place) -> None:
    """The mark is removed when the job leads a batch."""
    place.jobs.opened.open(place.claim("a.txt"), prompts(1))
    place.jobs.opened.open(place.claim("x.txt"), prompts(3, 8))
    place.jobs.opened.open(place.claim("c.txt"), prompts(1))
    assert [("a.txt", [1]), ("c.txt", [1])] == place.next(), "x is passed over"
    assert [("x.txt", [1, 2])] == place.next()
    (place.root / "inbox/p.txt").write_text("anything\n")
    urgent = place.spool.claim(PurePosixPath("p.txt"), (), 1)
    assert urgent is not None
    place.jobs.opened.open(urgent, prompts(1))
    place.jobs.opened.open(place.claim("z.txt"), prompts(1))
    assert [("p.txt", [1]), ("z.txt", [1])] == place.next()
    assert [("x.txt", [3])] == place.next()


def test_the_rest_of_a_file_is_passed_over_once(place: Place) -> None:
    """A file with two kinds of prompts has had its turn for one of them only."""
    mixed = (*prompts(1), *(replace(prompt, number=2) for prompt in prompts(1, 8)))
    place.jobs.opened.open(place.claim("a.txt"), prompts(1))
    place.jobs.opened.open(place.claim("m.txt"), mixed)
    place.jobs.opened.open(place.claim("b.txt"), prompts(1))
    assert [("a.txt", [1]), ("m.txt", [1])] == place.next()
    place.jobs.opened.open(place.claim("x.txt"), prompts(1, 8))
    assert [("m.txt", [2]), ("x.txt", [1])] == place.next(), "b is passed over"
    assert [("b.txt", [1])] == place.next()


def test_there_is_room_beside_what_is_not_a_whole_batch(place: Place) -> None:
    """Files are claimed while the batch has room, until one would be passed over twice."""
    place.jobs.opened.open(place.claim("a.txt"), prompts(1))
    assert (True, False) == (place.has_room_for(1), place.has_room_for(2))
    place.jobs.opened.open(place.claim("x.txt"), prompts(2, 8))
    assert place.has_room_for(1)
    place.jobs.opened.open(place.claim("b.txt"), prompts(1))
    assert not place.has_room_for(1)
    assert [("a.txt", [1]), ("b.txt", [1])] == place.next()
    assert not place.has_room_for(1), "x is a batch by itself"


def test_as_many_go_together_as_fit(place: Place) -> None:
    """One until that is measured, if the profile has no size; else the profile's size."""
    place.jobs.opened.open(place.claim("a.txt"), prompts(40))
    place.jobs.use(replace(place.jobs.limits, batch_sizes=MEASURED))
    sizes = []
    for fits in (3, 100, 1):
        batch = next_batch(place.jobs)
        assert batch is not None
        sizes.append(len(batch.members))
        place.jobs.opened.fits.note(batch, fits)
    assert [1, 3, MEASURED["m"].most] == sizes
    assert [("a.txt", [21])] == place.next()
    place.jobs.use(replace(place.jobs.limits, batch_sizes={"m": BatchLimit(2)}))
    assert [("a.txt", [22, 23])] == place.next(), "the operator's word goes over it"


@pytest.mark.parametrize(("guidance", "together"), [(1.0, 5), (0.0, 5), (1.5, 1)])
def test_with_guidance_less_fits_than_without(place: Place, guidance: float, together: int) -> None:
    """Guidance doubles the batch, so measurements without it do not apply."""

    def at(scale: float) -> tuple[Prompt, ...]:
        return tuple(
            replace(prompt, arguments=(*prompt.arguments, ("guidance_scale", scale)))
            for prompt in prompts(5)
        )

    place.jobs.use(replace(place.jobs.limits, batch_sizes=MEASURED))
    place.jobs.opened.fits.note(Batch((Member("j", at(1.0)[0]),)), 9)
    place.jobs.opened.open(place.claim("a.txt"), at(guidance))
    assert [("a.txt", list(range(1, together + 1)))] == place.next()


def test_what_fits_is_not_remembered_of_all_that_was_ever_asked_for(place: Place) -> None:
    """Prompt files choose the sizes; the oldest entries are dropped."""
    kinds = [Batch((Member("j", prompts(1, n)[0]),)) for n in range(limits.MAX_KINDS + 1)]
    for batch in kinds:
        place.jobs.opened.fits.note(batch, 9)
    place.jobs.use(replace(place.jobs.limits, batch_sizes=MEASURED))
    place.jobs.opened.open(place.claim("a.txt"), prompts(9, 0))
    place.jobs.opened.open(place.claim("b.txt"), prompts(9, 1))
    assert [("a.txt", [1])] == place.next()
    while place.next() != [("a.txt", [9])]:
        pass
    assert [("b.txt", list(range(1, 10)))] == place.next()


def test_one_of_several_files_that_cannot_be_begun_does_not_hold_up_the_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its attempt can't be recorded, so it waits in the spool."""
    bad, good = place.claim("a.txt"), place.claim("b.txt")
    for job in (bad, good):
        place.jobs.opened.open(job, prompts(1))
    begin_attempt = place.spool.attempts.begin

    def failing(job: Job, numbers: Iterable[int], *, device_worked: bool) -> None:
        if job.id == bad.id:
            raise OSError(errno.EIO, "Input/output error")
        begin_attempt(job, numbers, device_worked=device_worked)

    monkeypatch.setattr(place.spool.attempts, "begin", failing)
    assert [("b.txt", [1])] == place.next()
    assert 1 == place.spooled.postponed()


def test_files_of_a_batch_whose_process_ended_are_rendered_alone(place: Place) -> None:
    """One of them may be to blame."""
    for name in "ab":
        place.jobs.opened.open(place.claim(f"{name}.txt"), prompts(1))
    assert [("a.txt", [1]), ("b.txt", [1])] == place.next()
    place.jobs = place.again()
    for job in list(place.spool.unfinished()):
        place.jobs.opened.open(job, prompts(1))
    batch = next_batch(place.jobs)
    assert batch is not None
    assert ["a.txt"] == [
        place.jobs.opened[member.job_id].job.source.name for member in batch.members
    ]
    assert [] == place.next(), "nothing is rendered while a is encoded"
    place.publish(batch)
    assert [("b.txt", [1])] == place.next()


def test_an_end_with_others_in_hand_blames_nobody_yet(place: Place) -> None:
    """Even with one allowed attempt, only a prompt that was alone in hand fails.

    And only after another one has been rendered.
    """
    for name in "ab":
        place.jobs.opened.open(place.claim(f"{name}.txt"), prompts(1))
    assert [("a.txt", [1]), ("b.txt", [1])] == place.next()
    for _ in range(2):
        place.jobs = place.again()
        place.jobs.use(replace(place.jobs.limits, max_attempts=1))
        for job in list(place.spool.unfinished()):
            place.jobs.opened.open(job, prompts(1))
        in_hand = place.next()
    assert [("b.txt", [1])] == in_hand
    assert not (place.root / "results/_failed").exists()
    place.publish(Batch((Member(job.id, prompts(1)[0]),)))
    (job,) = place.spool.unfinished()
    place.jobs.opened.open(job, prompts(1))
    assert "Segmentation fault" in (place.root / "results/_failed/a.txt.error.txt").read_text()


def test_a_failed_batch_of_several_files_is_rendered_one_by_one(place: Place) -> None:
    """Each prompt waits in its own file, and none is in hand meanwhile."""
    opened = [place.claim(f"{name}.txt") for name in "ab"]
    for job in opened:
        place.jobs.opened.open(job, prompts(1))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.jobs.batches.give_back(batch, alone=True)
    assert [[], []] == [attempts(job) for job in opened]
    assert [("a.txt", [1])] == place.next()
    assert [("b.txt", [1])] == place.next()


def test_a_report_says_what_to_do(place: Place) -> None:
    """First without a shell; it says that the file may be right only if it may."""
    errors = {
        "a b": RenderError("a hiccup"),
        "c": RenderCancelled("it was cancelled on request"),
        "d": PromptError(Mistake("unknown key 'x'", "remove it", 3)),
        "e": PromptError(Mistake("unknown key 'x'", "remove it", 3, file="_defaults.yaml")),
    }
    with structlog.testing.capture_logs() as events:
        for name, error in errors.items():
            place.jobs.ends.fail(place.claim(f"{name}.txt"), error)
    cancelled = [e for e in events if e["event"] == "job_cancelled"]
    assert [("c.txt", "info")] == [(e["prompt_file"], e["log_level"]) for e in cancelled]
    assert 3 == sum(e["event"] == "job_failed" for e in events)
    reports = [(place.root / f"results/_failed/{n}.txt.error.txt").read_text() for n in errors]
    anew = "Put a corrected {}.txt into the inbox: when it is rendered, this report goes"
    anew += "; under another name, it stays.\n"
    move = "move {}.txt from here into the inbox.\n"
    retry = "In a shell, `reeldrop retry {}` moves it.\n"
    assert (
        "\nIf nothing is wrong with the file, "
        + (move + anew).format("a b", "a b")
        + retry.format("'a b.txt'")
    ) in reports[0]
    assert f"\nTo render it after all, {move}{retry}".format("c", "c.txt") in reports[1]
    assert f"\n{anew}Or correct it here, and {move}{retry}".format("d", "d", "d.txt") in reports[2]
    assert f"\nMend what is named above, then {move}{retry}".format("e", "e.txt") in reports[3]
    assert 1 == sum("nothing is wrong" in report for report in reports)
    told = "reeldrop has not rendered c.txt\n\nWhat happened:  it was cancelled on request\n"
    assert reports[1].startswith(told), "nothing is wrong, and nothing has failed"
    assert reports[0].startswith("reeldrop could not render a b.txt\n\nWhat is wrong:  a hiccup\n")


def test_the_report_of_a_foreign_mp4_does_not_ask_for_a_corrected_one(place: Place) -> None:
    """Nobody can correct a video."""
    job = place.claim("film.mp4")
    place.jobs.ends.fail(job, PromptError(Mistake("it is not ours", "write a prompt file")))
    report = (place.root / "results/_failed/film.mp4.error.txt").read_text()
    assert "corrected" not in report
    assert "\nWrite a .txt or .yaml file in its place, and delete film.mp4" in report


def test_what_the_author_should_know_is_in_the_log_of_the_job(place: Place) -> None:
    """Each note once, with the numbers of its prompts."""
    one, two, three = prompts(3)
    noted = (replace(one, notes=("cut",)), replace(two, notes=("cut", "mark")), three)
    with structlog.testing.capture_logs() as events:
        place.jobs.opened.open(place.claim("a.txt"), noted)
    found = [(e["note"], e["prompts"]) for e in events if e["event"] == "prompt_note"]
    assert [("cut", [1, 2]), ("mark", [2])] == found


def test_a_file_that_has_videos_is_not_set_aside_without_a_warning(place: Place) -> None:
    """If its prompts can't be read any more, a retry would render its videos twice."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(2))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.publish(batch, 1)
    (unfinished,) = place.spool.unfinished()
    place.again().ends.fail(unfinished, RenderError("its model is gone"))
    report = (place.root / "results/_failed/a.txt.error.txt").read_text()
    assert f"already in {place.root / 'results/a'}: 2." in report
    assert (place.root / "results/a/p2.mp4").exists()


@pytest.mark.parametrize("removed", ["jpg", "mp4"])
def test_what_a_person_has_left_of_a_video_stays_when_another_one_fails(
    place: Place, removed: str
) -> None:
    """The poster, or the video itself, was taken away while the rest of its file was rendered."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(2))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.publish(batch, 0)
    (place.root / f"results/a/p1.{removed}").unlink()
    place.jobs.batches.failed(job.id, batch.prompts[1], Unrenderable("broken"))
    names = {path.name for path in (place.root / "results/a").iterdir()}
    assert {"a.txt", "job.log", "p1.jpg", "p1.mp4", "p1.yaml"} - {f"p1.{removed}"} == names


def test_what_a_kill_has_left_of_a_video_goes_when_that_fails(place: Place) -> None:
    """Its sidecar would be an order for a video that nobody can see."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(2))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.publish(batch, 0)
    left = place.results.publish(job, batch.prompts[1], RENDERED, lambda path, *_: path.touch())
    left.files[0].unlink()
    place.jobs.batches.failed(job.id, batch.prompts[1], Unrenderable("broken"))
    names = {path.name for path in (place.root / "results/a").iterdir()}
    assert {"a.txt", "job.log", "p1.jpg", "p1.mp4", "p1.yaml"} == names


def test_what_is_begun_but_not_open_is_told(place: Place) -> None:
    """A job that waits in the spool is listed in the status."""
    job = place.claim("a.txt")
    place.jobs.ends.postpone(job, OSError(errno.ENOSPC, "No space left on device"))
    expected = [("a.txt", "begun; No space left on device (make room there)")]
    assert expected == [(w.prompt_file, w.reason) for w in place.jobs.waiting()]
    assert "No space left" in place.jobs.trouble()


def test_a_report_names_the_first_mistake(place: Place) -> None:
    """A job that fails as a whole is set aside with its own reason."""
    job = place.claim("a.txt")
    place.jobs.ends.fail(job, RenderError("the model returned nothing"))
    assert (
        "the model returned nothing" in (place.root / "results/_failed/a.txt.error.txt").read_text()
    )
    assert limits.Outcome(videos=0, failed_jobs=1) == place.jobs.outcome


def unreadable(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    """Make the records of a job unreadable, as on a bad sector."""
    read = job_files.read

    def failing(path: Path) -> Any:
        if path.parent == job.folder:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    monkeypatch.setattr(job_files, "read", failing)


def test_a_record_on_a_bad_sector_holds_up_no_other_job(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when the last end is recorded at the start, nor later."""
    bad, good = place.claim("a.txt"), place.claim("b.txt")
    place.jobs.opened.open(bad, prompts(1))
    assert next_batch(place.jobs) is not None
    unreadable(monkeypatch, bad)
    process = place.again()
    found = process.spooled.unfinished(NOW)
    assert (good.id, "") == (found.id if found else "", process.trouble())
    assert [good.id] == [view.id for view in process.spooled.views(NOW)]


def test_who_waits_for_the_whole_spool_looks_at_nothing_else_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading jobs from a spool that does not answer would block the main thread."""
    stuck, _ = place.claim("a.txt"), place.claim("b.txt")
    (place.root / "results").mkdir(exist_ok=True)
    (place.root / "results/_failed").write_text("in the way")
    place.jobs.ends.fail(stuck, RenderError("broken"))

    def failing(_spool: Spool) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    assert 1 == len(place.jobs.due(opens=True))
    monkeypatch.setattr(Spool, "ids", failing)
    assert place.spooled.unfinished(NOW) is None
    assert 1 == len(place.jobs.due(opens=True))


def test_a_job_that_has_failed_tries_does_not_go_back(place: Place) -> None:
    """The spool has no record of them, so they would be tried for ever."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, prompts(2))
    batch = next_batch(place.jobs)
    assert batch is not None
    (view,) = place.jobs.opened.views(NOW)
    assert not view.may_go_back
    place.jobs.batches.give_back(batch, alone=True)
    (view,) = place.jobs.opened.views(NOW)
    assert (2, False) == (view.count, view.may_go_back)


def test_a_job_of_the_night_goes_back_with_failed_tries_only_when_the_night_is_over(
    place: Place,
) -> None:
    """By night it would be tried again at once, without its pause; without any, it goes on."""
    (place.root / "inbox/NIGHT").mkdir()
    jobs = [place.claim(f"NIGHT/{name}.txt") for name in "ab"]
    for job in jobs:
        place.jobs.opened.open(job, prompts(2))
    opened = place.jobs.opened[jobs[0].id]
    [prompt] = opened.begin(1, device_worked=True)
    place.jobs.batches.failed(jobs[0].id, prompt, RenderError("broken"))
    first, second = place.jobs.opened.views(NOW)
    assert [(jobs[0].id, True, False), (jobs[1].id, True, True)] == [
        (found.id, found.may_leave, found.may_go_back) for found in (first, second)
    ]
    place.jobs.opened.put_back(jobs[1].id)
    assert place.jobs.are_begun
    place.jobs.opened.put_back(jobs[0].id, is_over=True)
    assert [False, True] == [found.was_begun for found in place.spooled.views(NOW)]


def test_a_job_that_went_back_and_was_removed_by_hand_is_not_begun(place: Place) -> None:
    """New settings would wait for its end for ever. Until then, its group keeps its turn."""
    (place.root / "inbox/ann").mkdir()
    job = place.claim("ann/a.txt")
    place.jobs.opened.open(job, prompts(2))
    place.jobs.opened.put_back(job.id)
    assert [job.id] == [view.id for view in place.spooled.views(NOW)]
    assert (True, {"ann"}) == (place.jobs.are_begun, place.jobs.groups())
    shutil.rmtree(job.folder)
    assert [] == list(place.spooled.views(NOW))
    assert not place.jobs.are_begun
