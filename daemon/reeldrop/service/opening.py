"""Which prompts of a job are rendered when it is opened, which have a video, and which fail.

Does not know which jobs are open.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import replace

import structlog

from reeldrop.base.errors import PlaceError
from reeldrop.base.escaping import shown
from reeldrop.base.job import Job, Prompt, Video
from reeldrop.intake import pictures
from reeldrop.service import blame
from reeldrop.service.limits import Limits
from reeldrop.service.opened import OpenJob, first_place
from reeldrop.service.suspects import Suspects
from reeldrop.store import results as results_tree
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool

_log = structlog.get_logger()


def opened(
    job: Job,
    prompts: tuple[Prompt, ...],
    spool: Spool,
    results: Results,
    limits: Limits,
    suspects: Suspects,
) -> OpenJob | None:
    """Return a job with the prompts that have no video yet; None if it is held back.

    A prompt fails instead if it was in hand at `max_attempts` ends of a process, at one of them
    alone; ends that show no sign of its doing count for less. After the first end, prompts are
    rendered one at a time, to find the one to blame, suspected ones last. A job with only
    suspected ones left may be held back. If there is no place for their videos, all fail; and so
    does a prompt whose picture is gone.

    Raises:
        OSError: the results can't be read.
    """
    is_resumed = not spool.attempts.is_new(job)
    reserved = results.reserved(job) if is_resumed else {}
    prompts = _numbered_as_begun(job, prompts, reserved)
    published = {n for n, video in reserved.items() if results_tree.is_published(video)}
    left = [prompt for prompt in prompts if prompt.number not in published]
    problem = _problem_of_place(job, results) if left else None
    most = limits.max_attempts
    suspected = {p.number for p in left if blame.is_suspected(job, p.number, most)}
    numbers = {None, *(prompt.number for prompt in left)}
    ends = {n: count for n, count in blame.ends_of_processes(job).items() if n in numbers}
    is_suspect, alone = suspects.is_suspect(ends), suspects.prompts(ends)
    due = time.monotonic() + limits.retry_seconds
    if suspected and len(suspected) == len(left) and suspects.hold(job, due):
        return None
    found = OpenJob(
        job,
        spool.attempts,
        count=len(published.union(prompt.number for prompt in prompts)),
        reserved=reserved,
        videos=len(published),
        is_resumed=is_resumed,
        place=first_place(job),
        sweep=tuple(prompt for prompt in prompts if prompt.swept),
        is_suspect=is_suspect,
        suspects=alone,
        alone=blame.to_be_alone(job, is_suspect=is_suspect),
    )
    for prompt in sorted(left, key=lambda prompt: prompt.number in suspected | alone):
        if problem is not None:
            found.failures[prompt.number] = (prompt, problem)
        elif (gone := pictures.problem_of(prompt)) is not None:
            found.failures[prompt.number] = (prompt, gone)
        elif blame.has_ended_too_often(job, prompt.number, most):
            found.failures[prompt.number] = (prompt, blame.ended_with(job, prompt.number))
        else:
            found.waiting.append(prompt)
    return found


def _numbered_as_begun(
    job: Job, prompts: tuple[Prompt, ...], reserved: Mapping[int, Video]
) -> tuple[Prompt, ...]:
    """Return the prompts with the numbers of their videos.

    A version that reads the file otherwise may have begun it, or a profile with other defaults, so
    that the second text is the third now. A video of a text that is not in the file stands for the
    prompt that has its number; one more than are asked for of a text stands for none.
    """
    takes = {prompt.number: (prompt.prompt, prompt.seed) for prompt in prompts}
    moved = [video for n, video in sorted(reserved.items()) if takes.get(n) != _take_of(video)]
    others = reserved.keys() - {video.number for video in moved}
    numbers: dict[int, int] = {}
    needless = set[int]()
    for video in moved:
        (text, _), taken = _take_of(video), {*others, *numbers}
        alike = (p for p in prompts if p.prompt == text and p.number not in taken)
        same = max(alike, key=lambda prompt: _in_common(prompt, video), default=None)
        if same is not None:
            numbers[same.number] = video.number
        elif text in {text for text, _ in takes.values()}:
            needless.add(video.number)
    if not needless and all(own == number for own, number in numbers.items()):
        return prompts
    reason = "it was read otherwise when it was begun: its videos keep their numbers"
    _log.warning("read_otherwise", job_id=job.id, prompt_file=shown(job.source), reason=reason)
    used = {*reserved, *(takes.keys() - numbers.keys())}
    free = (number for number in itertools.count(1) if number not in used)
    for number in sorted(takes.keys() & {*numbers.values(), *needless} - numbers.keys()):
        numbers[number] = next(free)
    return tuple(replace(p, number=numbers.get(p.number, p.number)) for p in prompts)


def _take_of(video: Video) -> tuple[object, object]:
    """Return the text and the seed of a video."""
    return video.settings.get("prompt"), video.settings.get("seed")


def _in_common(prompt: Prompt, video: Video) -> tuple[int, bool]:
    """Return how much a prompt and a video of the same text have in common."""
    settings = prompt.as_settings().items()
    same = sum(video.settings.get(key) == value for key, value in settings)
    return same, prompt.number == video.number


def _problem_of_place(job: Job, results: Results) -> PlaceError | None:
    try:
        results.check_place(job.source)
    except PlaceError as problem:
        return problem
    return None
