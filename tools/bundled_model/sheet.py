"""The contact sheet: what the model makes of a few prompts, to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from diffusers import TextToVideoSDPipeline
from PIL import Image

from . import artefact

PROMPTS = (
    "a red balloon rising over the sea",
    "a yellow sun sinking behind green hills",
    "a white boat sailing to the right at night",
    "a big blue ball bouncing on grass",
    "a purple bird flying to the left over a dark forest",
    "an orange star falling in the desert",
    "a big green heart standing still in the sky",
    "a white bird flying to the right over the ocean",
    "two golden orioles in the park",
    "a huge purple balloon moving left in the desert",
    "Spiderman is surfing",
    "An astronaut riding a horse",
    "Big bird rises with the same wind in one day",
    "大鹏一日同风起",
)
COLUMNS = 8


def write_sheet(
    pipeline: TextToVideoSDPipeline, path: Path, prompts: tuple[str, ...] = PROMPTS
) -> None:
    """Film each prompt with seed 0 and lay out every other frame, one prompt a row."""
    rows = []
    for prompt in prompts:
        frames = artefact.film(pipeline, [prompt], [0])[0]
        rows.append(np.concatenate(list(frames[:: len(frames) // COLUMNS][:COLUMNS]), axis=1))
    Image.fromarray(np.concatenate(rows)).save(path)
