"""The bundled model's captions: they cover the world, and exclude held-out combinations."""

from __future__ import annotations

import numpy as np
import pytest
from bundled_model import captions, world


def test_a_plain_caption_reads_like_a_prompt() -> None:
    """Plain words, in the order that people use."""
    spec = world.Spec("balloon", "red", "sea", "rising", "big")
    assert captions.plain_caption(spec) == "a big red balloon rising over the sea"


def test_every_attribute_value_can_be_said() -> None:
    """The words cover each value of each attribute."""
    assert set(world.THINGS) == set(captions.NOUNS) == set(captions.NATURAL_MOTION)
    assert set(world.COLOURS) == set(captions.COLOUR_WORDS)
    assert set(world.SCENES) == set(captions.SCENE_WORDS)
    assert set(world.MOTIONS) == set(captions.MOTION_WORDS)
    assert set(world.SIZES) == set(captions.SIZE_WORDS)


@pytest.mark.parametrize(
    "words", [captions.SCENE_WORDS, captions.MOTION_WORDS, captions.COLOUR_WORDS, captions.NOUNS]
)
def test_no_phrase_means_two_things(words: dict[str, tuple[str, ...]]) -> None:
    """A phrase belongs to one value only."""
    said = [phrase for phrases in words.values() for phrase in set(phrases)]
    assert sorted(set(said)) == sorted(said)


def test_a_caption_says_the_colour_the_thing_and_the_scene() -> None:
    """With any words and order, each attribute is in the caption."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        spec = world.sample_spec(rng)
        text = captions.caption(spec, rng)
        assert any(word in text for word in captions.COLOUR_WORDS[spec.colour])
        assert any(word in text for word in captions.NOUNS[spec.thing])
        assert any(phrase in text for phrase in captions.SCENE_WORDS[spec.scene])
        assert any(phrase in text for phrase in captions.MOTION_WORDS[spec.motion])


def test_examples_never_stand_for_held_out_combinations() -> None:
    """Not even if an attribute is left out and its default completes one."""
    rng = np.random.default_rng(1)
    assert not any(world.is_held_out(captions.sample_example(rng).spec) for _ in range(500))


def test_held_out_captions_are_all_held_out_and_repeatable() -> None:
    """The measured combinations, and a quarter of their word orders, were never trained."""
    examples = captions.held_out_captions(40, seed=7)
    assert captions.held_out_captions(40, seed=7) == examples
    assert all(world.is_held_out(example.spec) for example in examples)
    assert not set(captions.TEMPLATES) & set(captions.HELD_OUT_TEMPLATES)


def test_the_default_is_in_the_world_and_not_held_out() -> None:
    """A prompt of unknown words only has a meaning."""
    assert captions.default_spec() in set(world.all_specs())
    assert not world.is_held_out(captions.default_spec())
