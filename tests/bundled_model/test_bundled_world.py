"""The bundled model's world: drawings are deterministic, rigid and inside the frame."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from bundled_model import judge, world

SPEC = world.Spec("bird", "blue", "meadow", "right", "big")


def test_the_same_seed_draws_the_same_clip() -> None:
    """A clip is a function of spec, seed and number of frames."""
    assert np.array_equal(world.draw_clip(SPEC, 5), world.draw_clip(SPEC, 5))


def test_another_seed_draws_another_clip() -> None:
    """Other seeds give other clips."""
    assert not np.array_equal(world.draw_clip(SPEC, 5), world.draw_clip(SPEC, 6))


@pytest.mark.parametrize("num_frames", [8, 16, 24, 32])
def test_a_clip_has_the_frames_that_were_asked_for(num_frames: int) -> None:
    """Frames are uint8, of the fixed size."""
    frames = world.draw_clip(SPEC, 0, num_frames)
    assert (num_frames, 128, 128, 3) == frames.shape
    assert np.uint8 == frames.dtype


def test_things_have_different_silhouettes() -> None:
    """No two things of equal area share more than 85 % of their union."""
    likeness = {
        (one, other): judge.iou(judge.template(one), judge.template(other))
        for one, other in combinations(world.THINGS, 2)
    }
    assert {pair: value for pair, value in likeness.items() if value > 0.85} == {}


def test_colours_stand_out_from_every_scene() -> None:
    """No colour of a thing comes near to any large part of a scene."""
    for scene in world.SCENES:
        for colour in world.COLOURS.values():
            distance = np.abs(world.background(scene) - np.array(colour)).sum(-1)
            assert np.mean(distance < 60) < 0.02


@pytest.mark.parametrize("motion", world.MOTIONS)
@pytest.mark.parametrize("size", world.SIZES)
def test_a_thing_stays_whole_and_inside_the_frame(motion: str, size: str) -> None:
    """Its area is equal in each frame, and it never touches the edge."""
    spec = world.Spec("boat", "red", "sea", motion, size)
    path = world.track(spec, 32, np.random.default_rng(0), world.WIDE_JITTER)
    cover = world.coverage(spec, path)
    assert np.ptp(cover.sum((1, 2))) < 0.01 * cover[0].sum()
    assert (
        cover[:, 0].max() + cover[:, -1].max() + cover[:, :, 0].max() + cover[:, :, -1].max() == 0
    )


def test_one_combination_in_ten_is_held_out() -> None:
    """By a hash of the attributes, which is stable and takes from every value."""
    specs = list(world.all_specs())
    held_out = [spec for spec in specs if world.is_held_out(spec)]
    assert len(specs) == 6 * 7 * 6 * 6 * 2
    assert 0.08 < len(held_out) / len(specs) < 0.12
    assert set(world.THINGS) == {spec.thing for spec in held_out}


def test_training_never_draws_what_is_held_out() -> None:
    """`sample_spec` separates both sets."""
    rng = np.random.default_rng(0)
    assert not any(world.is_held_out(world.sample_spec(rng)) for _ in range(300))
    assert all(world.is_held_out(world.sample_spec(rng, held_out=True)) for _ in range(30))
