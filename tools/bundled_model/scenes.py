"""The scenes of the world, each by day and by night. Knows nothing of the things in them."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Floats = npt.NDArray[np.float32]
Colour = tuple[int, int, int]

FRAME_SIZE = 128
FINE = 4  # scenes are painted this much larger, so that edges are smooth
SCENES = ("sky", "sea", "meadow", "desert", "forest", "willow", "ice")
TIMES = ("day", "night")
_SIDE = FRAME_SIZE * FINE


@cache
def background(scene: str, time: str) -> Floats:
    """Return a scene without things, values 0 to 255; do not write to it.  # (height, width, 3)"""
    painted = np.asarray(_PAINTERS[scene](), dtype=np.float32)
    if time == "night":
        painted = painted * (0.26, 0.3, 0.42) + (12, 18, 50)
        painted = _light_the_sky(painted.clip(0, 255), stars=scene not in ("forest", "willow"))
    blocks = painted.reshape(FRAME_SIZE, FINE, FRAME_SIZE, FINE, 3)
    return blocks.mean((1, 3)).astype(np.float32)


def _light_the_sky(painted: Floats, stars: bool) -> Floats:
    image = Image.fromarray(np.rint(painted).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    places = ((14, 12), (40, 26), (70, 9), (88, 30), (22, 40), (56, 44), (120, 46)) if stars else ()
    for x, y in places:
        _disc(draw, x, y, 1.5, 1.5, (240, 240, 215))
    around = np.linspace(-1.9, 1.9, 40)
    outer = [(112 + 9.5 * np.cos(a + 0.5), 15 + 9.5 * np.sin(a + 0.5)) for a in around]
    inner = [(109 + 7.8 * np.cos(a + 0.5), 13.4 + 7.8 * np.sin(a + 0.5)) for a in around[::-1]]
    _shape(draw, (244, 240, 205), *outer, *inner)
    return np.asarray(image, dtype=np.float32)


def _gradient(*stops: tuple[float, Colour]) -> Image.Image:
    """Blend colours downwards; each stop is a share of the height and a colour."""
    rows = (np.arange(_SIDE) + 0.5) / _SIDE
    heights = [height for height, _ in stops]
    columns = [np.interp(rows, heights, [colour[k] for _, colour in stops]) for k in range(3)]
    picture = np.repeat(np.stack(columns, -1)[:, None], _SIDE, axis=1)
    return Image.fromarray(np.rint(picture).astype(np.uint8))


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, rx: float, ry: float, c: Colour) -> None:
    draw.ellipse([(x - rx) * FINE, (y - ry) * FINE, (x + rx) * FINE, (y + ry) * FINE], fill=c)


def _shape(draw: ImageDraw.ImageDraw, colour: Colour, *points: tuple[float, float]) -> None:
    draw.polygon([(x * FINE, y * FINE) for x, y in points], fill=colour)


def _hills(draw: ImageDraw.ImageDraw, colour: Colour, y: float, swell: float, turns: float,
           phase: float = 0.0) -> None:  # fmt: skip
    """Paint everything below a wavy line."""
    x = np.linspace(0, FRAME_SIZE, 129)
    edge = y + swell * np.sin(x / FRAME_SIZE * 2 * np.pi * turns + phase)
    outline = list(zip(x.tolist(), edge.tolist(), strict=True))
    _shape(draw, colour, *outline, (FRAME_SIZE, FRAME_SIZE), (0, FRAME_SIZE))


def _sky() -> Image.Image:
    image = _gradient((0, (85, 155, 235)), (1, (175, 212, 246)))
    draw = ImageDraw.Draw(image)
    for x, y, r in ((24, 24, 10), (98, 44, 9), (52, 102, 11)):
        for dx, dy, share in ((-1, 0.2, 0.75), (0, -0.25, 1), (1.05, 0.2, 0.7), (0.1, 0.4, 1)):
            _disc(draw, x + dx * r, y + dy * r, share * r * 1.1, share * r * 0.7, (206, 226, 246))
    return image


def _sea() -> Image.Image:
    image = _gradient((0, (150, 200, 238)), (0.4, (200, 226, 242)))
    draw = ImageDraw.Draw(image)
    bands = ((50, 2.5, 3, (62, 152, 186)), (70, 3.5, 2.5, (46, 132, 172)),
             (93, 4.5, 2, (34, 112, 156)), (116, 5, 1.5, (26, 94, 140)))  # fmt: skip
    for number, (y, swell, turns, colour) in enumerate(bands):
        _hills(draw, (196, 226, 236), y - 1.6, swell, turns, 1.9 * number)
        _hills(draw, colour, y, swell, turns, 1.9 * number)
    return image


def _meadow() -> Image.Image:
    image = _gradient((0, (140, 196, 240)), (0.6, (196, 226, 244)))
    draw = ImageDraw.Draw(image)
    _hills(draw, (158, 208, 112), 70, 7, 1.2)
    _hills(draw, (132, 194, 84), 88, 5, 1.0, 2.5)
    for x, y in ((12, 104), (34, 118), (58, 106), (84, 120), (104, 106), (120, 118)):
        _disc(draw, x, y, 2, 2, (250, 240, 160))
    return image


def _desert() -> Image.Image:
    image = _gradient((0, (246, 206, 164)), (0.6, (252, 230, 198)))
    draw = ImageDraw.Draw(image)
    _hills(draw, (226, 178, 112), 76, 8, 1.0)
    _hills(draw, (206, 152, 88), 98, 7, 0.9, 2.6)
    return image


def _forest() -> Image.Image:
    image = _gradient((0, (176, 202, 206)), (1, (130, 160, 150)))
    draw = ImageDraw.Draw(image)
    back, front = (84, 128, 108), (62, 104, 84)
    for x, tip, colour in ((12, 26, back), (50, 34, back), (90, 20, back), (124, 32, back),
                           (30, 58, front), (72, 64, front), (110, 56, front)):  # fmt: skip
        for level in range(3):
            top, reach = tip + level * 20, 13 + level * 6
            _shape(draw, colour, (x, top), (x + reach, top + 34), (x - reach, top + 34))
        _shape(draw, colour, (x - 3, tip + 60), (x + 3, tip + 60), (x + 3, 128), (x - 3, 128))
    return image


def _willow() -> Image.Image:
    image = _gradient((0, (176, 210, 230)), (0.8, (204, 226, 216)))
    draw = ImageDraw.Draw(image)
    _hills(draw, (150, 196, 104), 112, 2, 1)
    bark = (112, 100, 88)
    _shape(draw, bark, (4, 128), (9, 60), (6, 10), (18, 4), (18, 60), (24, 128))
    _shape(draw, bark, (10, 24), (60, 5), (128, 0), (128, 5), (64, 12), (14, 36))
    for number, x in enumerate(range(2, 128, 7)):
        length = 62 + 26 * np.sin(2.4 * number) + (18 if x < 30 or x > 100 else -14)
        _strand(draw, x, 6 + 2 * (number % 3), float(length), (-1) ** number)
    return image


def _strand(draw: ImageDraw.ImageDraw, x: float, top: float, length: float, side: int) -> None:
    """Hang a thin branch with leaves."""
    green, light = (126, 176, 66), (166, 206, 96)
    rows = np.linspace(0, 1, 12)
    for row in rows:
        middle = x + 2.5 * side * np.sin(2.2 * row)
        y = top + row * length
        for lean, colour in ((-1, green), (1, light)):
            _shape(draw, colour, (middle, y - 1), (middle + lean * 3.6, y + 4.5),
                   (middle + lean * 0.8, y + 3.2))  # fmt: skip


def _ice() -> Image.Image:
    image = _gradient((0, (150, 178, 204)), (0.4, (206, 218, 228)))
    draw = ImageDraw.Draw(image)
    far, snow = (128, 146, 168), (232, 238, 244)
    for x, tip, reach in ((18, 14, 34), (70, 6, 42), (114, 18, 30)):
        _shape(draw, far, (x, tip), (x + reach, 54), (x - reach, 54))
        _shape(draw, snow, (x, tip), (x + reach * 0.38, tip + 15), (x + 3, tip + 11),
               (x - 4, tip + 17), (x - reach * 0.38, tip + 15))  # fmt: skip
    _shape(draw, (70, 112, 146), (0, 50), (128, 50), (128, 128), (0, 128))
    ice, side = (206, 226, 240), (152, 190, 216)
    blocks = ((0, 52, 30, 15), (28, 55, 34, 14), (64, 51, 28, 16), (94, 54, 36, 15),
              (-8, 70, 30, 16), (26, 71, 28, 15), (58, 70, 36, 17), (98, 72, 34, 15),
              (-4, 112, 26, 11), (102, 108, 30, 12))  # fmt: skip
    for x, y, wide, high in blocks:
        top = ((x + 4, y), (x + wide * 0.5, y - 3), (x + wide - 3, y + 1), (x + wide, y + high / 2),
               (x + wide * 0.6, y + high * 0.62), (x, y + high / 2))  # fmt: skip
        low = [(px, py + high * 0.4) for px, py in top[3:]]
        _shape(draw, side, *top[3:], *reversed(low))
        _shape(draw, ice, *top)
    return image


_PAINTERS = {
    "sky": _sky, "sea": _sea, "meadow": _meadow, "desert": _desert, "forest": _forest,
    "willow": _willow, "ice": _ice,
}  # fmt: skip
