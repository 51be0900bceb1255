"""Videos that are longer than their model makes, through a real daemon, and what comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml
from harness.site import Site
from harness.videos import decoded

FRAMES = 21
"""Of a video: with windows of 8 that share 3, there are four, the last of which shares more."""


def sidecar(site: Site, folder: str, name: str) -> dict[str, Any]:
    """Return what the sidecar of a video says."""
    text = (site.results / folder / f"{name}.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_long_videos_of_a_file_and_their_sidecars(site: Site) -> None:
    """Both of a batch have all frames, made of windows; a sidecar renders the same; limits hold."""
    site.drop("whole.yaml", f"num_frames: {FRAMES}\nseed: 3\nprompt: waves\n")
    assert 0 == site.drain().returncode
    config = site.folder / "config.yaml"
    keys = "    window: 8\n    overlap: 3\n    preview_steps: 1\n    scheduler:"
    config.write_text(config.read_text().replace("    scheduler:", keys))
    site.drop("long.yaml", f"num_frames: {FRAMES}\nseed: 3\nprompts: [waves, clouds]\n")
    site.drop("too_long.yaml", "num_frames: 33\nprompt: waves\n")
    assert 1 == site.drain().returncode
    assert "num_frames" in (site.failed / "too_long.yaml.error.txt").read_text()
    videos = {name: decoded(site.results / "long" / f"{name}.mp4") for name in ("waves", "clouds")}
    for name, video in videos.items():
        assert FRAMES == len(video)
        profile = sidecar(site, "long", name)["rendered"]["profile"]
        assert (8, 3) == (profile["window"], profile["overlap"])
    whole = decoded(site.results / "whole" / "waves.mp4")
    for other in (videos["clouds"], whole):
        assert np.abs(videos["waves"].astype(int) - other).mean() > 5
    site.drop("again.yaml", (site.results / "long" / "waves.yaml").read_text())
    assert 0 == site.drain().returncode
    again = sidecar(site, "again", "waves")
    assert (FRAMES, 3) == (again["num_frames"], again["seed"])
    same = decoded(site.results / "again" / "waves.mp4")
    assert FRAMES == len(same)
    assert np.abs(same.astype(int) - videos["waves"]).mean() < 2  # alone, and encoded again


def test_a_window_without_effect_is_refused(site: Site) -> None:
    """The report says in which line of config.yaml, and what to do about it."""
    config = site.folder / "config.yaml"
    lines = [*config.read_text().splitlines(), "  long:", "    base: tiny", "    window: 32"]
    config.write_text("\n".join(lines))
    site.drop("a.yaml", "prompt: waves\nmodel: long\n")
    assert 1 == site.drain().returncode
    report = (site.failed / "a.yaml.error.txt").read_text()
    place = f"{config}, line {len(lines)}, column 5, key 'models.long.window'"
    assert f"Where:          {place}\n" in report
    assert "a window of 32 frames has no effect: the longest video has 32\n" in report
    assert "raise num_frames under limits, or leave window and overlap out" in report
