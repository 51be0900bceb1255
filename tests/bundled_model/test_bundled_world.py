"""The bundled model's world: its drawings, its captions, and the judge of what a video shows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from bundled_model import captions, components, judge, quality, scenes, text, world


def test_the_judge_is_right_on_drawn_clips() -> None:
    """Every attribute of held-out clips is recognised, and every thing is among them."""
    rng, tally, things = np.random.default_rng(4), quality.Tally(), set[str]()
    for seed in range(15):
        spec = world.sample_spec(rng, held_out=True)
        things.add(spec.thing)
        tally.add(captions.Example("", spec), world.draw_clip(spec, seed, 8))
    assert [] == tally.wrong
    assert len(things) >= 7
    assert tally.shares()["steadiness"] > 0.9


def test_the_judge_does_not_see_what_is_not_there() -> None:
    """An empty scene, noise, a bar, and a thing that loses its half are none of the things."""
    sea = np.repeat(np.rint(scenes.background("sea", "night"))[None].astype(np.uint8), 8, axis=0)
    verdict = judge.judge(sea)
    assert ("sea", "night", None, None) == (
        verdict.scene, verdict.time, verdict.thing, verdict.count
    )  # fmt: skip
    noise = np.random.default_rng(0).integers(0, 256, sea.shape, dtype=np.uint8)
    bar = sea.copy()
    bar[:, 60:66, 4:124] = world.COLOURS["red"]
    assert judge.judge(noise).thing is None
    assert judge.judge(bar).thing is None
    flickers = world.draw_clip(captions.EXAMPLES["Spiderman is surfing"], 0, 8)
    steady = judge.judge(flickers).steadiness
    flickers[::2, 64:] = scenes.background("sea", "day")[64:]
    assert judge.judge(flickers).steadiness < 0.8 < steady


def test_parts_touch_by_sides_not_by_corners() -> None:
    """A ring, what lies in it, and a blob that touches the ring at a corner are three parts."""
    mask = np.zeros((12, 12), bool)
    mask[1:8, 1:8] = True
    mask[2:7, 2:7] = False
    mask[4, 4] = mask[8, 8] = True
    sizes = [int(part.sum()) for part in components.components(mask, 1)]
    assert [24, 1, 1] == sizes
    assert [24] == [int(part.sum()) for part in components.components(mask, 2)]


def test_drawings_are_repeatable_and_whole() -> None:
    """The same seed draws the same; nothing is cut at the edge, wherever a thing goes."""
    rng = np.random.default_rng(1)
    for motion in world.MOTIONS:
        for size, count in (("big", "one"), ("small", "two")):
            spec = world.Spec("rider", "brown", "desert", "day", motion, size, count)
            cover = world.coverage(spec, world.track(spec, 9, rng, world.WIDE_JITTER))
            assert np.ptp(cover.sum((1, 2))) < 0.02 * cover[0].sum()
            assert 0 == max(cover[:, 0].max(), cover[:, -1].max(), cover[:, :, 0].max(),
                            cover[:, :, -1].max())  # fmt: skip
    one, other, third = (world.draw_clip(spec, seed, 4) for seed in (5, 5, 6))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, third)


def test_colours_stand_out_from_every_scene() -> None:
    """No colour of a thing comes near to any large part of a scene, by day and by night."""
    for scene in world.SCENES:
        for time in world.TIMES:
            picture = scenes.background(scene, time)
            for name, colour in world.COLOURS.items():
                near = np.abs(picture - np.array(colour)).sum(-1) < judge.FOREIGN
                assert near.mean() < 0.04, (scene, time, name)


def test_training_never_sees_what_is_held_out() -> None:
    """Neither a drawn clip nor a caption, not even by what goes without saying."""
    rng = np.random.default_rng(1)
    assert not any(world.is_held_out(world.sample_spec(rng)) for _ in range(300))
    assert not any(world.is_held_out(captions.sample_example(rng).spec) for _ in range(600))
    share = np.mean([world.is_held_out(spec) for spec in world.all_specs()])
    assert 0.09 < share < 0.11
    held_out = captions.held_out_captions(40, seed=7)
    assert captions.held_out_captions(40, seed=7) == held_out
    assert all(world.is_held_out(example.spec) for example in held_out)
    assert 20 == sum(bool(re.search(text.HAN, example.text)) for example in held_out)
    # The examples' lines are trained, so what they stand for must not count as held out.
    assert not any(world.is_held_out(spec) for spec in captions.VERSES.values())


@pytest.mark.parametrize("name", captions.LANGUAGES)
def test_each_language_can_say_everything(name: str) -> None:
    """Each value has words, and no phrase means two things."""
    language = captions.LANGUAGES[name]
    assert set(world.THINGS) == set(language.nouns)
    groups = {"colours": world.COLOURS, "sizes": world.SIZES, "scenes": world.SCENES,
              "times": world.TIMES, "motions": world.MOTIONS}  # fmt: skip
    for group, values in groups.items():
        said = getattr(language, group)
        assert set(values) == set(said)
        phrases = [phrase for options in said.values() for phrase in set(options)]
        assert sorted(set(phrases)) == sorted(phrases)
    assert not set(language.templates) & set(language.held_out_templates)


def test_plain_captions_read_like_prompts() -> None:
    """Plain words, in the order that people use."""
    one = world.Spec("balloon", "red", "sea", "night", "rising", "big", "one")
    two = world.Spec("bird", "yellow", "willow", "day", "still", "small", "two")
    assert "a big red balloon rising over the sea at night" == captions.plain_caption(one)
    assert "两只黄色的鸟在柳树上静止不动" == captions.plain_caption(two, captions.CHINESE)
