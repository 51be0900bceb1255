"""The bundled model's world: its drawings, its captions, and the judge of what a video shows."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
from bundled_model import captions, components, judge, quality, scenes, text, world


def test_the_judge_is_right_on_drawn_clips() -> None:
    """Every attribute of held-out clips of any length is recognised, and most things are there."""
    rng, tally, things = np.random.default_rng(4), quality.Tally(), set[str]()
    for seed in range(15):
        spec, num_frames = world.sample_spec(rng, held_out=True), (8, 8, 8, 16, 32)[seed % 5]
        things.add(spec.thing)
        tally.add(captions.Example("", spec), world.draw_clip(spec, seed, num_frames))
    assert [] == tally.wrong
    assert len(things) >= 7
    assert tally.shares()["steadiness"] > 0.9


def test_the_judge_does_not_see_what_is_not_there() -> None:
    """An empty scene, noise and a bar are none of the things; what loses its half is not steady."""
    sea = np.repeat(np.rint(scenes.background("sea", "night"))[None].astype(np.uint8), 8, axis=0)
    verdict = judge.judge(sea)
    assert ("sea", "night", None, None, None) == (
        verdict.scene, verdict.time, verdict.thing, verdict.colour, verdict.count
    )  # fmt: skip
    noise = np.random.default_rng(0).integers(0, 256, sea.shape, dtype=np.uint8)
    bar, specks = sea.copy(), sea.copy()
    specks[:, ::8, ::8] = world.COLOURS["red"]
    bar[:, 60:66, 4:124] = world.COLOURS["red"]
    assert judge.judge(noise).thing is None
    assert verdict.strangeness < 0.001 < 0.01 < judge.judge(specks).strangeness
    assert judge.judge(bar).thing is None
    flickers = world.draw_clip(captions.EXAMPLES["Spiderman is surfing"], 0, 8)
    steady = judge.judge(flickers).steadiness
    flickers[::2, 64:] = scenes.background("sea", "day")[64:]
    assert judge.judge(flickers).steadiness < 0.8 < steady


def test_things_have_different_silhouettes() -> None:
    """No two things of equal area share more than 85 % of their union."""
    names, _, outlines = judge.templates()
    shapes = {thing: outline for (thing, _), outline in zip(names, outlines, strict=True)}
    assert set(world.THINGS) == set(shapes)
    alike = {
        (one, other): judge.iou(shapes[one], shapes[other])
        for one, other in combinations(world.THINGS, 2)
    }
    assert {} == {pair: value for pair, value in alike.items() if value > 0.85}


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
    assert ((4, world.FRAME_SIZE, world.FRAME_SIZE, 3), np.uint8) == (one.shape, one.dtype)
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
    specs = list(world.all_specs())
    kept_away = [spec for spec in specs if world.is_held_out(spec)]
    assert 11 * 9 * 7 * 2 * 6 * 3 == len(set(specs))
    assert 0.09 < len(kept_away) / len(specs) < 0.11
    for name in judge.ATTRIBUTES:  # something of every value
        assert {getattr(s, name) for s in specs} == {getattr(s, name) for s in kept_away}
    held_out = captions.held_out_captions(40, seed=7)
    assert captions.held_out_captions(40, seed=7) == held_out
    assert all(world.is_held_out(example.spec) for example in held_out)
    assert 20 == sum(bool(re.search(text.HAN, example.text)) for example in held_out)
    # What the examples' lines stand for, and what goes without saying, is trained.
    meant = {captions.DEFAULT, *captions.RESIDENTS.values(), *captions.VERSES.values()}
    assert meant < set(specs) - set(kept_away)


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


@pytest.mark.parametrize("name", captions.LANGUAGES)
def test_a_caption_says_all_of_its_spec(name: str) -> None:
    """With any words and order; only one, day, and what size a thing has by nature go unsaid."""
    rng, language = np.random.default_rng(0), captions.LANGUAGES[name]
    for number in range(300):
        spec = world.sample_spec(rng)
        said = captions.caption(spec, rng, language, held_out_order=number % 4 == 0)
        nouns = [
            noun.one if spec.count == "one" else noun.two for noun in language.nouns[spec.thing]
        ]
        pieces = [[piece.strip() for piece in noun.split("{c}")] for noun in nouns]
        assert any(all(piece in said for piece in some) for some in pieces), (said, spec)
        groups = [("colours", spec.colour), ("scenes", spec.scene), ("motions", spec.motion)]
        groups += [("times", "night")] if spec.time == "night" else []
        if spec.count == "one" and spec.size != captions.NATURAL_SIZE[spec.thing]:
            groups.append(("sizes", spec.size))
        assert spec.count == "one" or re.search("two|pair|couple|[2两二对双]", said), (said, spec)
        for group, value in groups:
            phrases = getattr(language, group)[value]
            assert any(phrase.rstrip("的") in said for phrase in phrases), (said, group, value)


def test_plain_captions_read_like_prompts() -> None:
    """Plain words, in the order that people use."""
    one = world.Spec("balloon", "red", "sea", "night", "rising", "big", "one")
    two = world.Spec("bird", "yellow", "willow", "day", "still", "small", "two")
    assert "a big red balloon rising over the sea at night" == captions.plain_caption(one)
    assert "两只黄色的鸟在柳树上静止不动" == captions.plain_caption(two, captions.CHINESE)
