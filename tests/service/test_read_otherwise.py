"""Prompt files that another version has begun, which read them otherwise. Real folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from harness.jobs import RENDERED, Place, empty_place, next_batch, prompts
from reeldrop.base import strict_yaml
from reeldrop.base.job import Job, Prompt


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Empty folders."""
    with empty_place(tmp_path) as made:
        yield made


def asked(*texts: str, seeds: Sequence[int] = ()) -> tuple[Prompt, ...]:
    """Return prompts with these texts, one after the other."""
    found = zip(prompts(len(texts)), texts, seeds or range(1, len(texts) + 1), strict=True)
    return tuple(replace(prompt, prompt=text, seed=seed) for prompt, text, seed in found)


def begun(place: Place, found: tuple[Prompt, ...], published: Sequence[int]) -> Job:
    """Return a job whose process was killed when these numbers had been published."""
    job = place.claim("a.txt")
    place.jobs.opened.open(job, found)
    while (batch := next_batch(place.jobs)) is not None:
        for at, member in enumerate(batch.members):
            if member.prompt.number in published:
                place.publish(batch, at)
    return job


def go_on(place: Place, found: tuple[Prompt, ...], most: int = 99) -> list[str]:
    """Render what is left of the job in the next process, and return its texts."""
    place.jobs = place.again()
    rendered = list[str]()
    for job in place.spool.unfinished():
        place.jobs.opened.open(job, found)
        reserved = place.jobs.opened[job.id].reserved
        while len(rendered) < most and (batch := next_batch(place.jobs)) is not None:
            for prompt in batch.prompts:
                rendered.append(prompt.prompt)
                video = place.results.publish(
                    job, prompt, RENDERED, write, reserved.get(prompt.number)
                )
                place.jobs.batches.published(video)
    return rendered


def write(path: Path, _format: str, _settings: str) -> None:
    """Write a file of a video."""
    path.write_bytes(b"x")


def told(place: Place) -> list[tuple[int, str, int]]:
    """Return number, text and seed of the videos, by their numbers."""
    sidecars = sorted((place.results.folder / "a").glob("*.yaml"))
    found = (strict_yaml.plain(strict_yaml.load_all(s.read_text())[0]) for s in sidecars)
    return sorted((one["rendered"]["number"], one["prompt"], one["seed"]) for one in found)


@pytest.mark.parametrize("most", [1, 99])
@pytest.mark.parametrize("now", ["x a b c d", "a x b c d", "a b x y c d", "y a x b c d", "b a d c"])
def test_each_text_is_rendered_once_though_its_number_was_another(
    place: Place, now: str, most: int
) -> None:
    """Also if that process is killed, too: the numbers stay, and no two videos have the same."""
    begun(place, asked(*"abcd"), [1, 2])
    found = asked(*now.split())
    rendered = go_on(place, found, most) + go_on(place, found)
    assert Counter(set(now.split()) - {"a", "b"}) == Counter(rendered)
    videos = told(place)
    assert [(1, "a"), (2, "b")] == [video[:2] for video in videos[:2]]
    assert len(videos) == len({number for number, _, _ in videos})


def test_the_same_text_with_another_seed_is_another_video(place: Place) -> None:
    """Its takes are told apart by their settings."""
    begun(place, asked("a", "a", "a", "b", seeds=[7, 8, 9, 1]), [2, 3])
    now = asked("x", "x", "x", "a", "a", "a", "b", seeds=[7, 8, 9, 7, 8, 9, 1])
    assert ["a", "b", "x", "x", "x"] == sorted(go_on(place, now))
    assert [7, 8, 9] == sorted(seed for _, text, seed in told(place) if text == "a")


def test_the_same_text_with_the_same_number_may_be_another_video(place: Place) -> None:
    """Where a text is there twice, its second take has the number that its first one had."""
    begun(place, asked("a", "a", "b", seeds=[7, 8, 1]), [2])
    go_on(place, asked("x", "a", "a", "b", seeds=[5, 7, 8, 1]))
    assert [7, 8] == sorted(seed for _, text, seed in told(place) if text == "a")


def test_another_seed_in_a_sidecar_changes_no_number(place: Place) -> None:
    """Somebody has edited it; the video is not rendered again."""
    found = asked("a", "a", "b")
    begun(place, found, [1, 2])
    (sidecar, *_) = sorted((place.results.folder / "a").glob("a*.yaml"))
    sidecar.write_text(sidecar.read_text().replace("seed: 1\n", "seed: 99\n"))
    assert ["b"] == go_on(place, found)
    assert [(1, "a"), (2, "a"), (3, "b")] == [video[:2] for video in told(place)]


@pytest.mark.parametrize("now", ["abc", "bac", "bca"])
def test_a_video_that_is_not_asked_for_any_more_stands_for_no_other_text(
    place: Place, now: str
) -> None:
    """As when a profile's `num_videos_per_prompt` was 2, and is 1 after a restart."""
    begun(place, asked(*"aabbcc"), [1, 2])
    assert ["b", "c"] == go_on(place, asked(*now), 1) + go_on(place, asked(*now))
    numbers = [number for number, _, _ in told(place)]
    assert len(numbers) == len(set(numbers))


def test_an_incomplete_video_is_rendered_again_under_its_own_name(place: Place) -> None:
    """Not another text, which has its number now."""
    begun(place, asked("a", "b", "c"), [1, 2])
    (place.results.folder / "a" / "b.mp4").unlink()
    assert ["b", "c", "x"] == sorted(go_on(place, asked("a", "x", "b", "c")))
    videos = (place.results.folder / "a").glob("*.mp4")
    assert ["a", "b", "c", "x"] == sorted(video.stem for video in videos)


def test_a_text_that_reads_otherwise_keeps_its_number(place: Place) -> None:
    """As that of a list whose marks are left out now."""
    begun(place, asked("- a", "- b", "- c"), [1, 2])
    assert ["c"] == go_on(place, asked("a", "b", "c"))
