"""Decoding some frames at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from reeldrop.render import pipeline
from reeldrop.render.source import ModelSource
from reeldrop.speed import decoding


@pytest.mark.parametrize(
    ("frames", "size", "by_frame", "chunks"),
    [
        (10, 32, False, [4, 4, 2]),
        (3, 16, False, [3]),
        (3, 64, False, [1, 1, 1]),
        (3, 128, False, [1, 1, 1]),
        (3, 16, True, [1, 1, 1]),
    ],
)
def test_frames_are_decoded_in_chunks(
    frames: int, size: int, by_frame: bool, chunks: list[int], tiny_pipeline: Path
) -> None:
    """As many as their size allows, or one by one if memory is short, with the same frames."""
    vae = pipeline.load(ModelSource("tiny", str(tiny_pipeline))).pipe.vae
    vae.pixels_at_once = 4 * 32 * 32
    vae.use_slicing = by_frame
    seen: list[int] = []
    vae.decoder.register_forward_pre_hook(lambda _decoder, given: seen.append(len(given[0])))
    torch.manual_seed(1)
    latents = torch.randn(frames, 4, size // 2, size // 2)
    with torch.inference_mode():
        found = vae.decode(latents).sample
        (same,) = vae.decode(latents, return_dict=False)
        assert chunks * 2 == seen
        expected = vae.decoder(vae.post_quant_conv(latents))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert torch.equal(found, same)


def test_a_vae_of_videos_decodes_in_tiles_only_where_it_is_asked_to(wan_pipeline: Path) -> None:
    """If its profile asks for it, or, by auto, if memory is short; not in other renders."""
    loaded = pipeline.load(ModelSource("wan", str(wan_pipeline)))
    vae = loaded.pipe.vae
    for in_parts, tiles in ((True, False), (False, False), (False, True)):
        decoding.decode(vae, in_parts=in_parts, in_tiles=tiles)
        assert (tiles, tiles, in_parts) == (decoding.is_tiled(vae), vae.use_tiling, vae.use_slicing)
    for tiling, expected in (("auto", [False, True]), (True, [True, True]), (False, [False] * 2)):
        asked = dataclasses.replace(loaded, source=ModelSource("wan", "", tiling=tiling))
        assert expected == [asked.decodes_in_tiles(is_short=short) for short in (False, True)]


def test_a_vae_of_pictures_has_no_tiles(tiny_pipeline: Path) -> None:
    """It decodes frame by frame, with the same frames."""
    vae = pipeline.load(ModelSource("tiny", str(tiny_pipeline))).pipe.vae
    decoding.decode(vae, in_parts=True, in_tiles=False)
    assert (False, True) == (decoding.is_tiled(vae), vae.use_slicing)
