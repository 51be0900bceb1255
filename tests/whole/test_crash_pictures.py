"""Kills while pictures move: `benchmarks/crash_pictures.py` at small size."""

from __future__ import annotations

from pathlib import Path

import crash_pictures
from crash import Count
from harness import picture_models
from harness.zygote import Zygote

STRIDE = 67
"""The benchmark kills before every change; here, only before every so many."""


def test_a_kill_before_a_change_to_the_disk_loses_and_doubles_no_picture(
    tmp_path: Path, zygote: Zygote
) -> None:
    """Whatever call a kill precedes, each picture ends where its prompt file is.

    So it is for `submit --image`, beside a daemon.
    """
    pipeline = picture_models.save("Stable Video Diffusion", tmp_path / "tiny")
    folders = tmp_path / "sites", tmp_path / "results"
    count = crash_pictures.kill_daemons(*folders, pipeline, zygote, STRIDE)
    assert count.kills > 2
    assert Count(count.kills, count.jobs, count.jobs // 5 * 3) == count
    count = crash_pictures.kill_submissions(*folders, pipeline, zygote, beside=True, stride=3)
    assert count.kills > 2
    assert Count(count.kills, count.jobs, count.jobs) == count
