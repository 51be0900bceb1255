"""The judge: what does a clip show? Deterministic, from pixels alone.

It learns from the world's drawings how scenes and things look, but is not told what was asked
for, and it does not tidy up: a stray blob, a torn outline or a wrong tint all count against the
clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from . import scenes, shapes, world
from .components import Masks, components

Floats = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

FOREIGN = 54.0  # sum of the differences from the scene in red, green and blue, of 765
GRID = 40  # things are compared on a grid of this many points a side
SCALES = (1.0, 0.9)  # of the grid: soft edges make an area larger than the thing
REACH = 2.2  # the grid's half side, in radii of the disc of the same area
WRONG_COLOUR = 240.0  # a difference from the template's colour this large counts as nothing there
LEAST_LIKENESS = 0.42  # what is less like every template than this is none of the things
LEAST_AREA = 0.008  # of the frame; a smaller part is no thing
LEAST_TRAVEL = 0.3  # of the frame's half-width; less is standing still


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a clip shows; None where it shows nothing that can be named."""

    scene: str
    time: str
    colour: str | None
    thing: str | None
    motion: str | None
    size: str | None
    count: str | None
    likeness: float  # mean share of outline and colours that are as on the best template, 0 to 1
    steadiness: float  # mean IoU of outlines of neighbouring frames, the motion taken out, 0 to 1
    strangeness: float  # mean share of the frame that differs from the scene and is no thing


def judge(frames: world.Frames) -> Verdict:
    """Say what `frames` show.  # (frames, height, width, 3) uint8"""
    video = frames.astype(np.float32)
    scene, time = _nearest_scene(video)
    away = np.abs(video - scenes.background(scene, time)).sum(-1)
    foreign = away > FOREIGN
    least = round(LEAST_AREA * foreign[0].size)
    parts = [components(mask, least) for mask in foreign]
    masks = np.stack([np.any(p, axis=0) if p else np.zeros_like(foreign[0]) for p in parts])
    strangeness = float((foreign & ~masks).mean())
    seen = [index for index, found in enumerate(parts) if found]
    if len(seen) < 0.75 * len(frames):
        return Verdict(scene, time, None, None, None, None, None, 0.0, 0.0, strangeness)
    count = _count(parts)
    thing, colour, likeness = _nearest_thing(
        [(video[k], away[k] * part) for k in seen for part in parts[k]]
    )
    centres = np.array([_centre(masks[k]) for k in seen])
    return Verdict(
        scene,
        time,
        colour,
        thing,
        _motion(centres / (world.FRAME_SIZE / 2)),
        _size([part for found in parts for part in found], thing, count),
        count,
        likeness,
        _steadiness(masks, centres) if len(seen) == len(frames) else 0.0,
        strangeness,
    )


def _nearest_scene(video: Floats) -> tuple[str, str]:
    """The median ignores the things, whatever they are."""
    typical = np.median(video[::2], axis=0)
    places = [(scene, time) for scene in world.SCENES for time in world.TIMES]
    return min(places, key=lambda place: _distance(typical, scenes.background(*place)))


def _distance(one: Floats, other: Floats) -> float:
    """Return the mean difference, limited for each pixel, so that things matter little."""
    return float(np.minimum(np.abs(one - other).sum(-1), 100).mean())


def _count(parts: list[list[Masks]]) -> str | None:
    """Name the number of parts that nearly all frames have."""
    numbers = np.array([len(found) for found in parts])
    typical = int(np.median(numbers))
    if not 1 <= typical <= len(world.COUNTS) or np.mean(numbers == typical) < 0.75:
        return None
    return world.COUNTS[typical - 1]


def _centre(mask: Masks) -> tuple[float, float]:
    """Return the centre of mass, x and y in pixels from the frame's centre."""
    rows, columns = np.nonzero(mask)
    middle = (world.FRAME_SIZE - 1) / 2
    return float(columns.mean() - middle), float(rows.mean() - middle)


def _grid(mask: Masks, scale: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns of a grid centred on the outline and as large as its area says."""
    rows, columns = np.nonzero(mask)
    steps = np.linspace(-REACH, REACH, GRID) * scale * np.sqrt(len(rows) / np.pi)
    return np.rint(rows.mean() + steps).astype(int), np.rint(columns.mean() + steps).astype(int)


def _sampled(picture: npt.NDArray[np.generic], rows: npt.NDArray[np.intp],
             columns: npt.NDArray[np.intp]) -> npt.NDArray[np.generic]:  # fmt: skip
    """Sample at the grid's points, with 0 beside the picture.  # (GRID, GRID, ...)"""
    inside = ((rows >= 0) & (rows < len(picture)))[:, None]
    inside = inside & (columns >= 0) & (columns < picture.shape[1])
    taken = picture[rows.clip(0, len(picture) - 1)][:, columns.clip(0, picture.shape[1] - 1)]
    taken[~inside] = 0
    return taken


@cache
def templates() -> tuple[list[tuple[str, str]], Floats, Masks]:
    """Return things and colours, how each looks on the grid, and where it is.

    (templates, points, 3), (templates, points)
    """
    names, looks, outlines = [], [], []
    for thing in world.THINGS:
        for facing in (1, -1):
            labels = shapes.label_map(thing, 480, facing)
            sampled = _sampled(labels, *_grid(labels > 0, 1.0)).reshape(-1)
            for colour, main in world.COLOURS.items():
                palette = [(0, 0, 0), *(shapes.mixed(p, main) for p in shapes.paints(thing))]
                names.append((thing, colour))
                looks.append(np.array(palette, np.float32)[sampled])
                outlines.append(sampled > 0)
    return names, np.stack(looks), np.stack(outlines)


def _nearest_thing(found: list[tuple[Floats, Floats]]) -> tuple[str | None, str | None, float]:
    """Return the thing and the colour that all parts of all frames are most like together."""
    names, looks, outlines = templates()
    total = np.zeros((len(SCALES), len(names)))
    for picture, away in found:
        for row, scale in zip(total, SCALES, strict=True):
            rows, columns = _grid(away > 0, scale)
            distance = _sampled(away, rows, columns).reshape(-1)
            pixels = _sampled(picture, rows, columns).reshape(-1, 3)
            row += _likeness(pixels, distance, looks, outlines)
    best = int(total.max(0).argmax())
    likeness = float(total[:, best].max() / len(found))
    return (*names[best], likeness) if likeness >= LEAST_LIKENESS else (None, None, likeness)


def _likeness(pixels: Floats, distance: Floats, looks: Floats, outlines: Masks) -> Floats:
    """Return the share of the union of outlines that has the template's colour.  # (templates,)

    `distance` is the pixels' from the scene, 0 beside the part: what is hardly seen beside the
    template, such as the soft edge of a part, hardly counts.
    """
    points = np.flatnonzero(distance)
    wrong = np.abs(looks[:, points] - pixels[points]).sum(-1) / WRONG_COLOUR
    inside = outlines[:, points]
    right = ((1 - np.minimum(wrong, 1)) * inside).sum(1)
    beside = (~inside * np.minimum(distance[points] / WRONG_COLOUR, 1)).sum(1)
    likeness: Floats = right / (outlines.sum(1) + beside)
    return likeness


def _motion(centres: Points) -> str | None:
    """Name the path.  # (frames, 2), the frame's half-width being 1"""
    (dx, dy), (wide, high) = centres[-1] - centres[0], np.ptp(centres, axis=0)
    if max(wide, high) < LEAST_TRAVEL:
        return "still"
    if high > wide and abs(dy) < 0.5 * high:
        return "bouncing" if _turns(centres[:, 1]) >= 2 else None
    if abs(dx) > 2 * high:
        return "right" if dx > 0 else "left"
    if abs(dy) > 2 * wide:
        return "falling" if dy > 0 else "rising"
    return None


def _turns(heights: npt.NDArray[np.float64]) -> int:
    """Count the changes of direction, not counting those of less than half of the least travel."""
    turns, heading, extreme = 0, 0.0, heights[0]
    for height in heights:
        if (height - extreme) * heading >= 0 and heading:
            extreme = height
        elif abs(height - extreme) > 0.5 * LEAST_TRAVEL:
            turns += heading != 0
            heading, extreme = float(np.sign(height - extreme)), height
    return turns


def _size(parts: list[Masks], thing: str | None, count: str | None) -> str | None:
    """Compare the area with the outline's at each size; two things have one size only."""
    if thing is None or count is None:
        return None
    if count == "two":
        return "small"
    share = (shapes.label_map(thing, 480, 1) > 0).mean()
    side = float(np.sqrt(np.median([part.mean() for part in parts]) / share))
    return min(world.SIZES, key=lambda size: abs(np.log(side / world.RADII[size])))


def iou(one: Masks, other: Masks) -> float:
    """Return the shared share of two outlines, 0 to 1."""
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 0.0


def _steadiness(masks: Masks, centres: Points) -> float:
    pairs = zip(masks[:-1], masks[1:], np.diff(centres, axis=0), strict=True)
    return float(np.mean([_moved_iou(before, after, move) for before, after, move in pairs]))


def _moved_iou(before: Masks, after: Masks, move: Points) -> float:
    """Move the earlier outline onto the later one, whole pixels only, and compare."""
    candidates = [
        (int(np.floor(move[0])) + i, int(np.floor(move[1])) + j) for i in (0, 1) for j in (0, 1)
    ]
    return max(iou(np.roll(before, (dy, dx), (0, 1)), after) for dx, dy in candidates)


ATTRIBUTES = ("scene", "time", "colour", "motion", "thing", "size", "count")


def matches(spec: world.Spec, verdict: Verdict) -> dict[str, bool]:
    """Return which attributes came out as asked; "all" where each did."""
    right = {name: getattr(spec, name) == getattr(verdict, name) for name in ATTRIBUTES}
    return {**right, "all": all(right.values())}
