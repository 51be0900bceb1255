"""The world of the bundled model: what exists in it, and how a clip of it is drawn.

Everything is rigid and nearly determined by the `Spec`: things on a fixed background, moved along a
smooth path with a little jitter. Knows nothing of captions or models.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from . import scenes, shapes

Frames = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

FRAME_SIZE = scenes.FRAME_SIZE
NUM_FRAMES = 16
FPS = 8

THINGS = shapes.THINGS
COLOURS: dict[str, shapes.Colour] = {
    "red": (225, 40, 40),
    "orange": (248, 140, 25),
    "yellow": (252, 228, 50),
    "green": (25, 155, 60),
    "blue": (35, 65, 225),
    "purple": (140, 45, 185),
    "white": (252, 252, 252),
    "black": shapes.INK,
    "brown": (128, 76, 36),
}
SCENES, TIMES = scenes.SCENES, scenes.TIMES
MOTIONS = ("still", "right", "left", "rising", "falling", "bouncing")
COUNTS = ("one", "two")
RADII = {"small": 0.46, "big": 0.64}  # half of the larger side, the frame's half-width being 1
SIZES = tuple(RADII)
PAIR_RADIUS = 0.39  # of each of two things; they have no other size
PAIR_OFFSET = 0.45  # of each of two things from their common centre
PAIR_STAGGER = 0.06

JITTER = 0.02  # of the frame's half-width: a pixel or so; little variety, steady outlines
WIDE_JITTER = 0.05  # for the parts of the training that must know things anywhere
MARGIN = 0.03
SUBPIXELS = 4
HELD_OUT_ONE_IN = 10


@dataclass(frozen=True, slots=True)
class Spec:
    """What a clip shows, all of it."""

    thing: str
    colour: str
    scene: str
    time: str
    motion: str
    size: str
    count: str


@dataclass(frozen=True, slots=True)
class Track:
    """Where the centre of what moves is in each frame; the frame spans -1 to 1, y points down."""

    x: Floats  # (frames,)
    y: Floats  # (frames,)


def all_specs() -> Iterator[Spec]:
    """Yield every combination of attributes; two things are small."""
    kinds = (("small", "one"), ("big", "one"), ("small", "two"))
    for thing in THINGS:
        for colour in COLOURS:
            for scene in SCENES:
                for time in TIMES:
                    for motion in MOTIONS:
                        for size, count in kinds:
                            yield Spec(thing, colour, scene, time, motion, size, count)


def is_held_out(spec: Spec) -> bool:
    """Return whether no stage of the training may see this combination."""
    return zlib.crc32("|".join(astuple(spec)).encode()) % HELD_OUT_ONE_IN == 0


def sample_spec(rng: np.random.Generator, held_out: bool = False) -> Spec:
    """Draw a combination that the training may see, or one that it may not."""
    while True:
        values = (THINGS, tuple(COLOURS), SCENES, TIMES, MOTIONS)
        chosen = [options[rng.integers(len(options))] for options in values]
        count = COUNTS[int(rng.random() < 0.4)]
        size = "small" if count == "two" else SIZES[rng.integers(2)]
        spec = Spec(*chosen, size, count)
        if is_held_out(spec) is held_out:
            return spec


def radius(spec: Spec) -> float:
    """Return half of the larger side of each thing."""
    return PAIR_RADIUS if spec.count == "two" else RADII[spec.size]


def offsets(spec: Spec) -> list[tuple[float, float]]:
    """Return each thing's place from the common centre; those of a pair never overlap."""
    if spec.count == "one":
        return [(0.0, 0.0)]
    if spec.motion in ("right", "left"):
        return [(PAIR_STAGGER, -PAIR_OFFSET), (-PAIR_STAGGER, PAIR_OFFSET)]
    return [(-PAIR_OFFSET, PAIR_STAGGER), (PAIR_OFFSET, -PAIR_STAGGER)]


def track(spec: Spec, num_frames: int, rng: np.random.Generator, jitter: float = JITTER) -> Track:
    """Draw a path with jitter from `rng`; more frames only sample it more finely."""
    stagger = 0.0 if spec.count == "one" else PAIR_STAGGER
    reach = 1 - radius(spec) - stagger - MARGIN
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


def facing(spec: Spec) -> int:
    """Return -1 for what goes to the left, else 1."""
    return -1 if spec.motion == "left" else 1


@cache
def _stamp(thing: str, half: float, side: int, shift_x: int, shift_y: int) -> Frames:
    """Return each paint's coverage of pixels, the thing lying `shift / SUBPIXELS` right and down.

    (paints, pixels, pixels)
    """
    fine = 2  # finer than the shifts, so that edges stay smooth
    unit = SUBPIXELS * fine
    labels = shapes.label_map(thing, round(half * FRAME_SIZE) * unit, side)
    pixels = labels.shape[0] // unit + 1
    canvas = np.zeros((pixels * unit, pixels * unit), np.uint8)
    top, left = shift_y * fine, shift_x * fine
    canvas[top : top + labels.shape[0], left : left + labels.shape[1]] = labels
    blocks = canvas.reshape(pixels, unit, pixels, unit)
    count = len(shapes.paints(thing))
    shares = [(blocks == label).mean((1, 3)) for label in range(1, count + 1)]
    return np.rint(np.stack(shares) * 255).astype(np.uint8)


def places(spec: Spec, path: Track) -> Iterator[tuple[int, slice, slice, Frames]]:
    """Yield frame, rows, columns and stamp of each thing in each frame."""
    half = radius(spec)
    for frame, (x, y) in enumerate(zip(path.x, path.y, strict=True)):
        for dx, dy in offsets(spec):
            left, shift_x = _pixels(x + dx - half)
            top, shift_y = _pixels(y + dy - half)
            stamp = _stamp(spec.thing, half, facing(spec), shift_x, shift_y)
            side = stamp.shape[1]
            yield frame, slice(top, top + side), slice(left, left + side), stamp


def _pixels(place: float) -> tuple[int, int]:
    return divmod(round((place + 1) / 2 * FRAME_SIZE * SUBPIXELS), SUBPIXELS)


def coverage(spec: Spec, path: Track) -> Floats:
    """Return how much of each pixel the things cover, 0 to 1.  # (frames, height, width)"""
    masks = np.zeros((len(path.x), FRAME_SIZE, FRAME_SIZE), np.float32)
    for frame, rows, columns, stamp in places(spec, path):
        masks[frame, rows, columns] += stamp.sum(0) / np.float32(255)
    return masks


def paint(spec: Spec, path: Track) -> Frames:
    """Lay the things over their scene.  # (frames, height, width, 3) uint8"""
    frames = np.repeat(scenes.background(spec.scene, spec.time)[None], len(path.x), axis=0)
    main = COLOURS[spec.colour]
    colours = np.array([shapes.mixed(p, main) for p in shapes.paints(spec.thing)], np.float32)
    for frame, rows, columns, stamp in places(spec, path):
        shares = stamp.astype(np.float32) / 255
        window = frames[frame, rows, columns]
        window *= 1 - shares.sum(0)[..., None]
        window += np.einsum("pyx,pc->yxc", shares, colours)
    return np.rint(frames).astype(np.uint8)


def draw_clip(spec: Spec, seed: int, num_frames: int = NUM_FRAMES) -> Frames:
    """Draw the clip that `spec` and `seed` stand for.  # (frames, height, width, 3) uint8"""
    return paint(spec, track(spec, num_frames, np.random.default_rng(seed)))
