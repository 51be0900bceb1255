"""Measure how similar two videos are. Frames are (frames, height, width, 3) uint8."""

from __future__ import annotations

import functools
import math
import statistics
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

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
    No model makes frames that are smaller than a window.
    """
    return statistics.fmean(_ssim(*pair) for pair in zip(ours, theirs, strict=True))


def _ssim(ours: np.ndarray, theirs: np.ndarray) -> float:
    a, b = (torch.tensor(frame, dtype=torch.float64).movedim(2, 0) for frame in (ours, theirs))
    means = functools.partial(F.avg_pool2d, kernel_size=_WINDOW, stride=1)
    mean_a, mean_b = means(a), means(b)
    spread = means(a * a) - mean_a**2 + means(b * b) - mean_b**2
    together = means(a * b) - mean_a * mean_b
    first, second = _STABLE
    likeness = (2 * mean_a * mean_b + first) * (2 * together + second)
    return float((likeness / ((mean_a**2 + mean_b**2 + first) * (spread + second))).mean())
