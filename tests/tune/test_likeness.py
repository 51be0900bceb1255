"""Measures of likeness, for frames whose result can be computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from reeldrop.tune.likeness import psnr_db, ssim


def grey(value: int, size: int = 8) -> np.ndarray:
    """Return two grey frames."""
    return np.full((2, size, size, 3), value, dtype=np.uint8)


def noise(seed: int) -> np.ndarray:
    """Return two frames of independent noise."""
    return np.random.default_rng(seed).integers(0, 256, (2, 32, 24, 3), dtype=np.uint8)


def test_psnr_is_of_the_whole_range_of_colours() -> None:
    """A difference of one level everywhere is 48.13 dB, by definition."""
    assert math.isinf(psnr_db(grey(7), grey(7)))
    assert 48.13 == round(psnr_db(grey(7), grey(8)), 2)
    assert 0 == psnr_db(grey(0), grey(255))


def test_ssim_of_greys_is_of_their_means() -> None:
    """Without structure, the formula is (2ab + c) / (a² + b² + c)."""
    constant = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + constant) / (100**2 + 150**2 + constant)
    assert ssim(grey(100), grey(150)) == pytest.approx(expected)


def test_ssim_is_one_window_as_it_is_defined() -> None:
    """For frames of the size of one window, it follows from mean, variance and covariance."""
    a, b = (noise(seed)[:1, :7, :7].astype(float) for seed in (1, 2))
    expected = []
    for colour in range(3):
        x, y = a[0, :, :, colour].ravel(), b[0, :, :, colour].ravel()
        (var_x, cov), (_, var_y) = np.cov(x, y, bias=True)
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        means = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
        expected.append(means * (2 * cov + c2) / (var_x + var_y + c2))
    assert ssim(a.astype(np.uint8), b.astype(np.uint8)) == pytest.approx(np.mean(expected))


def test_ssim_knows_the_same_from_something_else() -> None:
    """Equal frames give 1, little noise almost 1, independent noise almost 0."""
    frames = noise(1)
    almost = (frames.astype(int) + noise(2) // 64).clip(0, 255).astype(np.uint8)
    assert 1 == pytest.approx(ssim(frames, frames))
    assert 0.98 < ssim(frames, almost) < 1
    assert abs(ssim(frames, noise(3))) < 0.1
