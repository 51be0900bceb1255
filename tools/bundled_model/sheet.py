"""Contact sheets of films, for a person's eye: with a number or a caption over each film."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import world

COLUMNS = 2
SHOWN = 4  # frames of each film, evenly spread
GAP, LABEL = 6, 20  # pixels


def write_sheet(
    path: Path,
    films: Sequence[world.Frames],
    labels: Sequence[str],
    font: Path | None = None,
) -> None:
    """Lay out a few frames of each film below its label; Chinese needs a font that has it."""
    letters = ImageFont.truetype(str(font), 14) if font else ImageFont.load_default(14)
    wide, high = SHOWN * world.FRAME_SIZE + GAP, world.FRAME_SIZE + LABEL
    rows = -(-len(films) // COLUMNS)
    image = Image.new("RGB", (COLUMNS * wide - GAP, rows * high), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for number, (film, label) in enumerate(zip(films, labels, strict=True)):
        row, column = divmod(number, COLUMNS)
        chosen = np.linspace(0, len(film) - 1, SHOWN).round().astype(int)
        strip = Image.fromarray(np.concatenate(list(film[chosen]), axis=1))
        draw.text((column * wide + 2, row * high + 1), label, fill=(0, 0, 0), font=letters)
        image.paste(strip, (column * wide, row * high + LABEL))
    image.save(path)
