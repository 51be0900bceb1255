"""The things of the world, as polygons with a paint each. Knows nothing of scenes or motion.

A paint is "main" (the colour that was asked for), "shade" or "tint" (darker and lighter than it),
or a fixed colour. Things face right; later parts lie over earlier ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Points = list[tuple[float, float]]  # y points down
Colour = tuple[int, int, int]
Paint = str | Colour

SKIN, WHITE, INK = (236, 190, 150), (252, 252, 252), (22, 22, 26)
BOARD, LIGHT, GLOW = (255, 226, 110), (255, 30, 70), (255, 214, 220)
TROUSERS, SUIT, STEEL, VISOR = (35, 65, 225), (248, 249, 252), (168, 174, 188), (36, 52, 100)
WOOD, BEAK = (122, 78, 44), (250, 160, 30)


@dataclass(frozen=True, slots=True)
class Part:
    """One polygon of a thing."""

    paint: Paint
    points: Points


def _ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return [(x + rx * np.cos(a), y + ry * np.sin(a)) for a in angles]


def _limb(width: float, *joints: tuple[float, float], paint: Paint) -> list[Part]:
    """Return a line of some width with round joints."""
    parts = [Part(paint, _ellipse(x, y, width / 2, width / 2)) for x, y in joints]
    for (x0, y0), (x1, y1) in pairwise(joints):
        length = float(np.hypot(x1 - x0, y1 - y0))
        nx, ny = (y0 - y1) / length * width / 2, (x1 - x0) / length * width / 2
        corners = [(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)]
        parts.append(Part(paint, corners))
    return parts


def _ball() -> list[Part]:
    return [Part("main", _ellipse(0, 0, 1, 1)), Part("tint", _ellipse(-0.36, -0.4, 0.26, 0.2))]


def _star() -> list[Part]:
    corners = ((1.0 if k % 2 == 0 else 0.45, k * np.pi / 5) for k in range(10))
    return [Part("main", [(r * np.sin(a), -r * np.cos(a)) for r, a in corners])]


def _heart() -> list[Part]:
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    lobes = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    outline = list(zip(np.sin(t) ** 3, -lobes / 16, strict=True))
    return [Part("main", outline), Part("tint", _ellipse(-0.48, -0.38, 0.2, 0.16))]


def _balloon() -> list[Part]:
    return [
        Part(WOOD, [(-0.3, 0.74), (0.3, 0.74), (0.24, 1.1), (-0.24, 1.1)]),
        Part("main", _ellipse(0, -0.25, 0.9, 0.84)),
        Part("main", [(-0.8, 0.0), (0.8, 0.0), (0.24, 0.78), (-0.24, 0.78)]),
        Part("tint", _ellipse(0, -0.25, 0.3, 0.84)),
        Part("tint", [(-0.28, 0.0), (0.28, 0.0), (0.12, 0.78), (-0.12, 0.78)]),
    ]


def _kite() -> list[Part]:
    top, right, low, left, middle = (0, -1.0), (0.72, -0.25), (0, 0.62), (-0.72, -0.25), (0, -0.25)
    tail = _limb(0.14, low, (0.2, 0.84), (-0.06, 1.06), (0.2, 1.3), paint="shade")
    bows = [
        Part("main", [(x - 0.26, y - 0.13), (x + 0.26, y + 0.13), (x + 0.26, y - 0.13),
                      (x - 0.26, y + 0.13)])
        for x, y in ((0.14, 0.86), (0.06, 1.2))
    ]  # fmt: skip
    quarters = [Part("main", [top, right, low, left]), Part("tint", [top, middle, left]),
                Part("tint", [right, middle, low])]  # fmt: skip
    return [*tail, *bows, *quarters]


def _fish() -> list[Part]:
    return [
        Part("shade", [(-0.5, 0.0), (-1.2, -0.55), (-1.0, 0.0), (-1.2, 0.55)]),
        Part("shade", [(-0.35, -0.4), (-0.15, -0.78), (0.4, -0.38)]),
        Part("shade", [(-0.2, 0.4), (-0.05, 0.72), (0.25, 0.38)]),
        Part("main", _ellipse(0.05, 0, 0.85, 0.5)),
        Part("tint", _ellipse(-0.02, 0.12, 0.17, 0.1)),
        Part("tint", _ellipse(-0.38, 0.0, 0.15, 0.1)),
        Part(WHITE, _ellipse(0.52, -0.12, 0.16, 0.16)),
        Part(INK, _ellipse(0.56, -0.12, 0.09, 0.09)),
    ]


def _bird() -> list[Part]:
    return [
        Part("shade", [(0.0, 0.0), (0.2, -0.85), (0.62, -1.1), (0.5, -0.5), (0.42, 0.05)]),
        Part("shade", [(-0.5, 0.1), (-1.3, -0.06), (-1.12, 0.18), (-1.3, 0.42)]),
        Part(BEAK, [(0.85, -0.16), (1.3, 0.04), (0.85, 0.16)]),
        Part("main", _ellipse(0, 0.2, 0.78, 0.38)),
        Part("main", _ellipse(0.7, 0.0, 0.3, 0.28)),
        Part("tint", [(-0.42, 0.22), (-0.72, -0.78), (-0.5, -1.12), (-0.2, -0.84), (0.05, -0.8),
                      (0.36, 0.2)]),
        Part(INK, _ellipse(0.78, -0.07, 0.09, 0.09)),
    ]  # fmt: skip


def _boat() -> list[Part]:
    mast = _limb(0.09, (-0.08, -1.05), (-0.08, 0.35), paint=WOOD)
    return [
        *mast,
        Part("tint", [(-0.04, -0.95), (0.82, 0.34), (-0.04, 0.34)]),
        Part("tint", [(-0.12, -0.7), (-0.68, 0.34), (-0.12, 0.34)]),
        Part("main", [(-1.05, 0.3), (1.1, 0.3), (0.72, 0.85), (-0.72, 0.85)]),
        Part("shade", [(-0.85, 0.6), (0.88, 0.6), (0.72, 0.85), (-0.72, 0.85)]),
    ]


def _on_a_board(legs: Paint) -> list[Part]:
    """Return a surfer's crouching body without head: board, legs, torso, arms."""
    return [
        Part(BOARD, [(-1.0, 0.84), (-0.7, 0.96), (0.7, 0.96), (1.12, 0.7), (1.0, 0.98),
                     (0.72, 1.14), (-0.72, 1.14)]),
        *_limb(0.26, (-0.08, 0.18), (-0.46, 0.44), (-0.42, 0.86), paint=legs),
        *_limb(0.26, (0.02, 0.18), (0.44, 0.36), (0.46, 0.86), paint=legs),
        *_limb(0.2, (0.06, -0.36), (-0.4, -0.22), (-0.78, -0.44), paint="main"),
        *_limb(0.2, (0.12, -0.36), (0.5, -0.2), (0.84, -0.42), paint="main"),
        *_limb(0.4, (-0.02, 0.14), (0.1, -0.3), paint="main"),
    ]  # fmt: skip


def _surfer() -> list[Part]:
    return [
        *_on_a_board(TROUSERS),
        Part("main", _ellipse(0.2, -0.76, 0.28, 0.3)),
        Part(WHITE, [(0.2, -0.86), (0.02, -0.76), (0.16, -0.68)]),
        Part(WHITE, [(0.26, -0.86), (0.46, -0.78), (0.3, -0.68)]),
    ]


def _knight() -> list[Part]:
    cape = [(0.1, -0.5), (-0.25, -0.42), (-0.95, 0.42), (-0.5, 0.5), (0.0, 0.3)]
    return [
        Part("shade", cape),
        *_on_a_board("main"),
        *_limb(0.17, (0.82, -0.5), (0.96, -1.42), paint=LIGHT),
        *_limb(0.07, (0.84, -0.56), (0.96, -1.4), paint=GLOW),
        Part("main", [(-0.16, -0.42), (-0.1, -0.8), (0.02, -1.04), (0.2, -1.1), (0.38, -1.04),
                      (0.48, -0.8), (0.56, -0.42)]),
        Part(STEEL, [(0.04, -0.84), (0.44, -0.84), (0.38, -0.74), (0.1, -0.74)]),
        Part(STEEL, [(0.24, -0.68), (0.4, -0.5), (0.12, -0.5)]),
    ]  # fmt: skip


def _rider() -> list[Part]:
    horse = [
        *_limb(0.16, (-0.6, 0.22), (-0.92, 0.14), (-1.08, 0.5), paint="shade"),
        *_limb(0.15, (-0.42, 0.5), (-0.36, 0.8), (-0.6, 1.02), paint="shade"),
        *_limb(0.15, (0.42, 0.5), (0.48, 0.82), (0.3, 1.02), paint="shade"),
        *_limb(0.16, (-0.52, 0.45), (-0.78, 0.72), (-0.92, 1.02), paint="main"),
        *_limb(0.16, (0.5, 0.45), (0.86, 0.62), (0.8, 0.94), paint="main"),
        Part("main", _ellipse(-0.02, 0.36, 0.66, 0.27)),
        Part("main", [(0.3, 0.4), (0.62, -0.42), (0.9, -0.3), (0.66, 0.42)]),
        *_limb(0.24, (0.76, -0.3), (1.06, -0.1), paint="main"),
        Part("main", [(0.64, -0.34), (0.7, -0.62), (0.82, -0.4)]),
        *_limb(0.1, (0.34, 0.1), (0.6, -0.4), paint="shade"),
        Part(INK, _ellipse(0.86, -0.28, 0.055, 0.055)),
    ]
    astronaut = [
        Part(STEEL, [(-0.5, -0.5), (-0.22, -0.56), (-0.18, 0.02), (-0.46, 0.06)]),
        *_limb(0.4, (-0.1, 0.06), (-0.06, -0.34), paint=SUIT),
        *_limb(0.2, (-0.06, 0.14), (0.2, 0.32), (0.12, 0.66), paint=SUIT),
        *_limb(0.06, (-0.02, 0.24), (0.1, 0.32), paint=STEEL),
        *_limb(0.16, (0.0, -0.3), (0.22, -0.08), (0.46, -0.06), paint=SUIT),
        Part(SUIT, _ellipse(-0.04, -0.8, 0.34, 0.34)),
        Part(VISOR, _ellipse(0.08, -0.8, 0.2, 0.19)),
        Part(GLOW, _ellipse(0.13, -0.87, 0.06, 0.05)),
    ]
    return [*horse, *astronaut]


_BUILDERS = {
    "ball": _ball, "star": _star, "heart": _heart, "boat": _boat, "balloon": _balloon,
    "kite": _kite, "fish": _fish, "bird": _bird, "surfer": _surfer, "knight": _knight,
    "rider": _rider,
}  # fmt: skip
THINGS = tuple(_BUILDERS)


@cache
def paints(thing: str) -> tuple[Paint, ...]:
    """Return the paints of a thing, each once; "main" is the first."""
    return tuple(dict.fromkeys(["main", *(part.paint for part in _BUILDERS[thing]())]))


def mixed(paint: Paint, main: Colour) -> Colour:
    """Return the colour that a paint has on a thing whose colour is `main`."""
    if paint == "main":
        return main
    if paint == "shade":
        return tuple(round(0.68 * value) for value in main)  # type: ignore[return-value]
    if paint == "tint":
        return tuple(round(value + 0.5 * (255 - value)) for value in main)  # type: ignore[return-value]
    return paint  # type: ignore[return-value]


@cache
def label_map(thing: str, pixels: int, facing: int) -> npt.NDArray[np.uint8]:
    """Return 1 + the number of the paint of each point, 0 beside the thing; centred.

    The larger side is `pixels` wide; `facing` is 1 for right, -1 for left. (pixels, pixels)
    """
    parts = _BUILDERS[thing]()
    points = np.array([point for part in parts for point in part.points])
    low, high = points.min(0), points.max(0)
    centre, half = (low + high) / 2, (high - low).max() / 2
    image = Image.new("L", (pixels, pixels))
    draw = ImageDraw.Draw(image)
    for part in parts:
        scaled = ((np.array(part.points) - centre) / half + 1) / 2 * pixels - 0.5
        label = 1 + paints(thing).index(part.paint)
        draw.polygon([(float(x), float(y)) for x, y in scaled], fill=label)
    return np.ascontiguousarray(np.asarray(image)[:, ::facing])
