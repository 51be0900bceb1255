"""The judge: what does a clip show? Deterministic, from pixels alone.

It knows the world's palettes, scenes and silhouettes, but not what was asked for, and it does not
tidy up: a stray blob, a torn outline or a wrong tint all count against the clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from . import world

Masks = npt.NDArray[np.bool_]

GRID = 48  # outlines are compared on a grid of this many points a side
REACH = 1.9  # the grid's half side, in radii of the disc of the same area
LEAST_LIKENESS = 0.7  # an outline less like every silhouette than this is none of them
LEAST_AREA = 0.01  # a smaller share of the frame is no thing at all
LEAST_TRAVEL = 0.3  # of the frame's half-width; less is standing still


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a clip shows; None where it shows nothing that can be named."""

    scene: str
    colour: str | None
    thing: str | None
    motion: str | None
    size: str | None
    likeness: float  # mean IoU of the outline and the silhouette that it is most like, 0 to 1
    steadiness: float  # mean IoU of outlines of neighbouring frames, the motion taken out, 0 to 1
    strangeness: float  # mean distance of the pixels from scene and colour, 0 to 1


def judge(frames: world.Frames) -> Verdict:
    """Say what `frames` show.  # (frames, height, width, 3) uint8"""
    video = frames.astype(np.float32)
    scene = _nearest_scene(video)
    away = video - world.background(scene)
    colour = _nearest_colour(video, away)
    if colour is None:
        return Verdict(scene, None, None, None, None, 0.0, 0.0, float(np.abs(away).mean() / 255))
    tint = np.array(world.COLOURS[colour], np.float32)
    covered = _coverage(away, tint - world.background(scene))
    masks = covered > 0.5
    strangeness = _strangeness(video, scene, tint, masks)
    seen = masks.mean((1, 2)) > LEAST_AREA
    if seen.mean() < 0.75:
        return Verdict(scene, colour, None, None, None, 0.0, 0.0, strangeness)
    thing, likeness = _nearest_thing(masks[seen])
    centres = np.array([_centre(mask) for mask in masks[seen]])
    return Verdict(
        scene,
        colour,
        thing,
        _motion(centres / (world.FRAME_SIZE / 2)),
        _size(masks[seen], thing),
        likeness,
        _steadiness(masks, centres) if seen.all() else 0.0,
        strangeness,
    )


def _nearest_scene(video: world.Floats) -> str:
    """The median ignores the thing, whatever it is."""
    typical = np.median(video, axis=0)
    distances = {s: np.median(np.abs(typical - world.background(s)).sum(-1)) for s in world.SCENES}
    return min(distances, key=lambda scene: float(distances[scene]))


def _nearest_colour(video: world.Floats, away: world.Floats) -> str | None:
    """Let every pixel that is clearly not the scene vote for the palette's nearest colour."""
    foreign = video[np.abs(away).sum(-1) > 120]
    if len(foreign) < LEAST_AREA * video[..., 0].size:
        return None
    palette = np.array(list(world.COLOURS.values()), np.float32)
    distances = ((foreign[:, None] - palette) ** 2).sum(-1)
    votes = np.bincount(distances.argmin(-1), minlength=len(palette))
    return tuple(world.COLOURS)[int(votes.argmax())]


def _coverage(away: world.Floats, full: world.Floats) -> world.Floats:
    """Return how far each pixel is on the way from the scene to the thing's colour.

    (frames, height, width)
    """
    covered: world.Floats = (away * full).sum(-1) / (full**2).sum(-1)
    return covered


def _strangeness(video: world.Floats, scene: str, tint: world.Floats, masks: Masks) -> float:
    ideal = np.where(masks[..., None], tint, world.background(scene))
    return float(np.abs(video - ideal).mean() / 255)


def _centre(mask: Masks) -> tuple[float, float]:
    """Return the centre of mass, x and y in pixels from the frame's centre."""
    rows, columns = np.nonzero(mask)
    middle = (world.FRAME_SIZE - 1) / 2
    return float(columns.mean() - middle), float(rows.mean() - middle)


def _normalised(mask: Masks) -> Masks:
    """Sample the outline on a grid centred on it and as large as its area says.  # (GRID, GRID)"""
    rows, columns = np.nonzero(mask)
    radius = np.sqrt(len(rows) / np.pi)
    steps = np.linspace(-REACH, REACH, GRID) * radius
    y = np.rint(rows.mean() + steps).astype(int)
    x = np.rint(columns.mean() + steps).astype(int)
    inside_y = (y >= 0) & (y < mask.shape[0])
    inside_x = (x >= 0) & (x < mask.shape[1])
    grid: Masks = mask[np.clip(y, 0, mask.shape[0] - 1)][:, np.clip(x, 0, mask.shape[1] - 1)]
    grid &= inside_y[:, None] & inside_x
    return grid


@cache
def template(thing: str) -> Masks:
    """Return the silhouette as outlines are compared with it.  # (GRID, GRID)"""
    return _normalised(world.silhouette(thing, 512))


def iou(one: Masks, other: Masks) -> float:
    """Return the shared share of two outlines, 0 to 1."""
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 0.0


def _nearest_thing(masks: Masks) -> tuple[str | None, float]:
    outlines = [_normalised(mask) for mask in masks]
    likeness = {
        thing: float(np.mean([iou(outline, template(thing)) for outline in outlines]))
        for thing in world.THINGS
    }
    best = max(likeness, key=lambda thing: likeness[thing])
    return (best if likeness[best] >= LEAST_LIKENESS else None), likeness[best]


def _motion(centres: npt.NDArray[np.float64]) -> str | None:
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


def _size(masks: Masks, thing: str | None) -> str | None:
    """Compare the area with the silhouette's at each size."""
    if thing is None:
        return None
    share = world.silhouette(thing, 512).mean()
    side = float(np.sqrt(np.median(masks.mean((1, 2))) / share))  # of the frame's whole side
    return min(world.SIZES, key=lambda size: abs(np.log(side / world.RADII[size])))


def _steadiness(masks: Masks, centres: npt.NDArray[np.float64]) -> float:
    pairs = zip(masks[:-1], masks[1:], np.diff(centres, axis=0), strict=True)
    return float(np.mean([_moved_iou(before, after, move) for before, after, move in pairs]))


def _moved_iou(before: Masks, after: Masks, move: npt.NDArray[np.float64]) -> float:
    """Move the earlier outline onto the later one, whole pixels only, and compare."""
    candidates = [
        (int(np.floor(move[0])) + i, int(np.floor(move[1])) + j) for i in (0, 1) for j in (0, 1)
    ]
    return max(iou(np.roll(before, (dy, dx), (0, 1)), after) for dx, dy in candidates)


def matches(spec: world.Spec, verdict: Verdict) -> dict[str, bool]:
    """Return which attributes came out as asked; "all" where each did."""
    names = ("scene", "colour", "motion", "thing", "size")
    right = {name: getattr(spec, name) == getattr(verdict, name) for name in names}
    return {**right, "all": all(right.values())}
