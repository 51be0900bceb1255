"""The bundled model's world: what exists in it, and how a clip of it is drawn.

Everything is rigid and nearly determined by the `Spec`: a flat silhouette on a fixed background,
moved along a smooth path with a little jitter. That is what makes it learnable in an hour. Knows
nothing of captions or models.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Frames = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

FRAME_SIZE = 128
NUM_FRAMES = 16
FPS = 8

THINGS = ("ball", "star", "heart", "boat", "bird", "balloon")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 40, 40),
    "orange": (248, 140, 25),
    "yellow": (252, 228, 50),
    "green": (25, 155, 60),
    "blue": (35, 65, 225),
    "purple": (140, 45, 185),
    "white": (252, 252, 252),
}
SCENES = ("sky", "sea", "meadow", "desert", "forest", "night")
MOTIONS = ("still", "right", "left", "rising", "falling", "bouncing")
RADII = {
    "small": 0.42,
    "big": 0.6,
}  # half of the larger side of the thing, the frame's half-width being 1
SIZES = tuple(RADII)

JITTER = 0.02  # of the frame's half-width: a pixel or so; little variety, steady outlines
WIDE_JITTER = 0.05  # for the parts of the training that must know things anywhere
MARGIN = 0.04
SUBPIXELS = 4
HELD_OUT_ONE_IN = 10


@dataclass(frozen=True, slots=True)
class Spec:
    """What a clip shows, all of it."""

    thing: str
    colour: str
    scene: str
    motion: str
    size: str


@dataclass(frozen=True, slots=True)
class Track:
    """Where the thing's centre is in each frame; the frame spans -1 to 1, y points down."""

    x: Floats  # (frames,)
    y: Floats  # (frames,)


def all_specs() -> Iterator[Spec]:
    """Yield every combination of attributes."""
    for thing in THINGS:
        for colour in COLOURS:
            for scene in SCENES:
                for motion in MOTIONS:
                    for size in SIZES:
                        yield Spec(thing, colour, scene, motion, size)


def is_held_out(spec: Spec) -> bool:
    """Return whether no stage of the training may see this combination."""
    return zlib.crc32("|".join(astuple(spec)).encode()) % HELD_OUT_ONE_IN == 0


def sample_spec(rng: np.random.Generator, held_out: bool = False) -> Spec:
    """Draw a combination that the training may see, or one that it may not."""
    while True:
        values = (THINGS, tuple(COLOURS), SCENES, MOTIONS, SIZES)
        spec = Spec(*(options[rng.integers(len(options))] for options in values))
        if is_held_out(spec) is held_out:
            return spec


def track(spec: Spec, num_frames: int, rng: np.random.Generator, jitter: float = JITTER) -> Track:
    """Draw a path with jitter from `rng`; more frames only sample it more finely."""
    reach = 1 - RADII[spec.size] - MARGIN
    travel = reach * (1 - 2 * jitter * rng.random())
    x0, y0 = rng.uniform(-jitter, jitter, size=2)
    u = np.linspace(0, 1, num_frames)
    x, y = np.full(num_frames, x0), np.full(num_frames, y0)
    match spec.motion:
        case "right":
            x = travel * (2 * u - 1)
        case "left":
            x = travel * (1 - 2 * u)
        case "rising":
            y = travel * (1 - 2 * u)
        case "falling":
            y = travel * (2 * u - 1)
        case "bouncing":
            y = travel * (1 - 2 * np.abs(np.sin(2 * np.pi * u)))
    return Track(x.astype(np.float32), y.astype(np.float32))


def _ellipse(x: float, y: float, rx: float, ry: float) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return [(x + rx * np.cos(a), y + ry * np.sin(a)) for a in angles]


def _outlines(thing: str) -> list[list[tuple[float, float]]]:
    """Return the polygons whose union is the thing, in units of its own."""
    match thing:
        case "ball":
            return [_ellipse(0, 0, 1, 1)]
        case "star":
            corners = ((1.0 if k % 2 == 0 else 0.45, k * np.pi / 5) for k in range(10))
            return [[(r * np.sin(a), -r * np.cos(a)) for r, a in corners]]
        case "heart":
            t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
            lobes = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
            return [list(zip(16 * np.sin(t) ** 3, -lobes, strict=True))]
        case "boat":
            hull = [(-1.0, 0.25), (1.0, 0.25), (0.6, 0.8), (-0.6, 0.8)]
            sail = [(-0.3, -1.0), (-0.1, -1.0), (0.75, 0.3), (-0.3, 0.3)]
            return [hull, sail]
        case "bird":
            wing = [(-0.55, -1.0), (-0.25, -1.0), (0.5, 0.15), (-0.35, 0.25)]
            tail = [(-0.5, 0.15), (-1.2, -0.25), (-1.15, 0.45)]
            beak = [(0.85, -0.12), (1.25, 0.08), (0.85, 0.18)]
            return [
                _ellipse(0, 0.25, 0.78, 0.42),
                _ellipse(0.7, 0.03, 0.27, 0.27),
                wing,
                tail,
                beak,
            ]
        case "balloon":
            taper = [(-0.75, 0.0), (0.75, 0.0), (0.2, 0.72), (-0.2, 0.72)]
            basket = [(-0.32, 0.68), (0.32, 0.68), (0.32, 1.05), (-0.32, 1.05)]
            return [_ellipse(0, -0.2, 0.88, 0.82), taper, basket]
    raise ValueError(f"no such thing: {thing}")


@cache
def silhouette(thing: str, pixels: int) -> npt.NDArray[np.bool_]:
    """Return the thing's outline filled, its larger side `pixels` wide, centred.

    (pixels, pixels)
    """
    polygons = _outlines(thing)
    points = np.array([point for polygon in polygons for point in polygon])
    low, high = points.min(0), points.max(0)
    centre, half = (low + high) / 2, (high - low).max() / 2
    image = Image.new("1", (pixels, pixels))
    draw = ImageDraw.Draw(image)
    for polygon in polygons:
        scaled = ((np.array(polygon) - centre) / half + 1) / 2 * pixels - 0.5
        draw.polygon([(float(x), float(y)) for x, y in scaled], fill=1)
    return np.asarray(image)


@cache
def _stamp(thing: str, size: str, shift_x: int, shift_y: int) -> Floats:
    """Return the thing's coverage of pixels when it lies `shift / SUBPIXELS` right and down."""
    fine = 4  # finer than the shifts, so that edges stay smooth
    unit = SUBPIXELS * fine
    filled = silhouette(thing, round(RADII[size] * FRAME_SIZE) * unit)
    side = filled.shape[0] // unit + 1
    canvas = np.zeros((side * unit, side * unit), np.float32)
    top, left = shift_y * fine, shift_x * fine
    canvas[top : top + filled.shape[0], left : left + filled.shape[1]] = filled
    stamp: Floats = canvas.reshape(side, unit, side, unit).mean((1, 3))
    return stamp


def coverage(spec: Spec, path: Track) -> Floats:
    """Return how much of each pixel the thing covers, 0 to 1.  # (frames, height, width)"""
    masks = np.zeros((len(path.x), FRAME_SIZE, FRAME_SIZE), np.float32)
    corner = RADII[spec.size]
    for mask, x, y in zip(masks, path.x, path.y, strict=True):
        left, shift_x = divmod(round((x - corner + 1) / 2 * FRAME_SIZE * SUBPIXELS), SUBPIXELS)
        top, shift_y = divmod(round((y - corner + 1) / 2 * FRAME_SIZE * SUBPIXELS), SUBPIXELS)
        stamp = _stamp(spec.thing, spec.size, shift_x, shift_y)
        mask[top : top + len(stamp), left : left + len(stamp)] = stamp
    return masks


def _gradient(top: tuple[int, int, int], bottom: tuple[int, int, int], rows: int) -> Floats:
    t = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    column = np.array(top, np.float32) * (1 - t) + np.array(bottom, np.float32) * t
    return np.broadcast_to(column, (rows, FRAME_SIZE, 3)).copy()


@cache
def background(scene: str) -> Floats:
    """Return the scene without its thing, values 0 to 255; do not write to it.

    (height, width, 3)
    """
    match scene:
        case "sky":
            return _paint_clouds(_gradient((85, 155, 235), (160, 205, 245), FRAME_SIZE))
        case "sea":
            return _ground(
                (165, 205, 238), (190, 220, 240), (70, 165, 190), (30, 115, 150), 0.52, 2.5
            )
        case "meadow":
            return _ground(
                (150, 200, 240), (185, 220, 242), (150, 205, 95), (105, 170, 65), 0.6, 5.0
            )
        case "desert":
            return _ground(
                (245, 205, 165), (250, 225, 190), (215, 165, 100), (185, 130, 75), 0.66, 4.0
            )
        case "forest":
            return _paint_firs(_gradient((95, 125, 125), (70, 100, 95), FRAME_SIZE))
        case "night":
            return _paint_stars(_gradient((12, 12, 40), (40, 42, 92), FRAME_SIZE))
    raise ValueError(f"no such scene: {scene}")


def _ground(
    sky_top: tuple[int, int, int],
    sky_bottom: tuple[int, int, int],
    top: tuple[int, int, int],
    bottom: tuple[int, int, int],
    horizon: float,
    swell: float,
) -> Floats:
    """Paint sky above ground whose edge swings by `swell` pixels."""
    x, y = np.meshgrid(np.arange(FRAME_SIZE), np.arange(FRAME_SIZE))
    edge = horizon * FRAME_SIZE + swell * np.sin(x / FRAME_SIZE * 4 * np.pi)
    below = np.clip(y - edge + 0.5, 0, 1)[..., None].astype(np.float32)
    sky = _gradient(sky_top, sky_bottom, FRAME_SIZE)
    return sky * (1 - below) + _gradient(top, bottom, FRAME_SIZE) * below


def _paint_clouds(sky: Floats) -> Floats:
    x, y = np.meshgrid(np.arange(FRAME_SIZE), np.arange(FRAME_SIZE))
    for cx, cy, width in ((26, 24, 24), (100, 40, 22), (60, 104, 30)):
        inside = 1.2 - ((x - cx) / width) ** 2 - ((y - cy) / (width * 0.42)) ** 2
        veil = 0.45 * np.clip(inside * 2, 0, 1)[..., None].astype(np.float32)
        sky = sky * (1 - veil) + 235 * veil
    return sky


def _paint_firs(mist: Floats) -> Floats:
    image = Image.fromarray(mist.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for x, tip, colour in ((10, 22, (30, 62, 52)), (52, 34, (30, 62, 52)), (92, 18, (30, 62, 52)),
                           (122, 30, (30, 62, 52)), (30, 48, (20, 46, 40)), (72, 56, (20, 46, 40)),
                           (110, 52, (20, 46, 40))):  # fmt: skip
        draw.polygon([(x, tip), (x + 26, 128), (x - 26, 128)], fill=colour)
    return np.asarray(image, dtype=np.float32)


def _paint_stars(dark: Floats) -> Floats:
    x, y = np.meshgrid(np.arange(FRAME_SIZE), np.arange(FRAME_SIZE))
    for cx, cy in ((14, 16), (44, 36), (78, 12), (112, 30), (20, 70), (104, 84), (60, 112)):
        glow = np.clip(2.4 - np.hypot(x - cx, y - cy), 0, 1)[..., None].astype(np.float32)
        dark = dark * (1 - glow) + np.array((235, 235, 215), np.float32) * glow
    return dark


def paint(spec: Spec, masks: Floats) -> Frames:
    """Lay the thing over its scene.

    (frames, height, width) -> (frames, height, width, 3) uint8
    """
    cover = masks[..., None]
    colour = np.array(COLOURS[spec.colour], np.float32)
    frames = background(spec.scene) * (1 - cover) + colour * cover
    return np.rint(frames).astype(np.uint8)


def draw_clip(spec: Spec, seed: int, num_frames: int = NUM_FRAMES) -> Frames:
    """Draw the clip that `spec` and `seed` stand for.  # (frames, height, width, 3) uint8"""
    path = track(spec, num_frames, np.random.default_rng(seed))
    return paint(spec, coverage(spec, path))
