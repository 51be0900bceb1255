"""Measure how similar two videos are. Frames are (frames, height, width, 3) uint8."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from reeldrop.base.job import Frames

_WINDOW = 7
_STABLE = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr_db(ours: Frames, theirs: Frames) -> float:
    """Return the peak signal-to-noise ratio in dB; infinite if the frames are equal."""
    error = float(np.mean((ours.astype(np.float64) - theirs) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def ssim(ours: Frames, theirs: Frames) -> float:
    """Return the mean structural similarity of all frames and colours; 1 if they are equal.

    Windows are squares of 7 pixels with equal weights. The measure is that of Wang, Bovik, Sheikh
    and Simoncelli, "Image Quality Assessment", IEEE Transactions on Image Processing 13 (2004).

    Raises:
        ValueError: the frames are smaller than a window.
    """
    if min(ours.shape[1:3]) < _WINDOW:
        raise ValueError(f"frames of {ours.shape[2]}x{ours.shape[1]} are smaller than a window")
    pairs = zip(ours, theirs, strict=True)
    return float(np.mean([_ssim(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs]))


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    mean_a, mean_b = _means(a), _means(b)
    spread = _means(a * a) - mean_a**2 + _means(b * b) - mean_b**2
    together = _means(a * b) - mean_a * mean_b
    first, second = _STABLE
    likeness = (2 * mean_a * mean_b + first) * (2 * together + second)
    return float(np.mean(likeness / ((mean_a**2 + mean_b**2 + first) * (spread + second))))


def _means(values: np.ndarray) -> np.ndarray:
    """Return the mean of each window, (height - 6, width - 6, 3)."""
    sums = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0), (0, 0)))
    n = _WINDOW
    means: np.ndarray = (sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n]) / n**2
    return means
