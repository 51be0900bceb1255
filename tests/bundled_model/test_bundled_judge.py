"""The judge recognises drawn clips, and rejects broken ones."""

from __future__ import annotations

import numpy as np
import pytest
from bundled_model import judge, world

SPEC = world.Spec("star", "red", "night", "bouncing", "small")


@pytest.mark.parametrize("num_frames", [8, 16, 32])
def test_it_is_right_on_drawn_clips(num_frames: int) -> None:
    """Every attribute of every drawn clip is recognised."""
    rng = np.random.default_rng(num_frames)
    for seed in range(25):
        spec = world.sample_spec(rng)
        verdict = judge.judge(world.draw_clip(spec, seed, num_frames))
        assert {k: v for k, v in judge.matches(spec, verdict).items() if k == "all"} == {
            "all": True
        }


def test_a_rigid_thing_is_steady() -> None:
    """Drawn outlines differ only by the pixel grid."""
    assert judge.judge(world.draw_clip(SPEC, 0)).steadiness > 0.9


def test_an_outline_that_flickers_is_not_steady() -> None:
    """Frames of different things at the same places."""
    frames = world.draw_clip(SPEC, 0)
    others = world.draw_clip(world.Spec("boat", "red", "night", "bouncing", "small"), 0)
    frames[::2] = others[::2]
    assert judge.judge(frames).steadiness < 0.75


def test_noise_shows_nothing() -> None:
    """Without an outline, there is neither a thing nor a motion."""
    frames = np.random.default_rng(0).integers(0, 256, (16, 128, 128, 3), dtype=np.uint8)
    verdict = judge.judge(frames)
    assert (verdict.thing, verdict.strangeness > 0.1) == (None, True)


def test_an_empty_scene_has_no_thing() -> None:
    """The scene is recognised without a thing."""
    frames = np.repeat(world.background("sea")[None].astype(np.uint8), 16, axis=0)
    verdict = judge.judge(frames)
    assert (verdict.scene, verdict.colour, verdict.thing) == ("sea", None, None)


def test_a_blob_is_none_of_the_things() -> None:
    """An outline unlike any silhouette is not assigned to the nearest one."""
    spec = world.Spec("ball", "red", "sky", "still", "small")
    frames = world.draw_clip(spec, 0)
    frames[:, 10:14, 4:124] = world.COLOURS["red"]
    frames[:, 110:114, 4:124] = world.COLOURS["red"]
    assert judge.judge(frames).thing is None
