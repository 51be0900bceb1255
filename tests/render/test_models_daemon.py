"""A real daemon renders with models of several classes, one after the other."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from harness.models import TINY, save
from harness.site import Site
from harness.videos import decoded

PROFILES = {"wan": "Wan 2.2 A14B", "ltx": "LTX 0.9.1", "hunyuan": "HunyuanVideo 1.5"}
"""Two transformers; noise from the decoder; no callback, and guidance in a guider."""


@pytest.fixture
def several(tmp_path: Path) -> Site:
    """A site with a profile for each of PROFILES, and one of a class that can't be used."""
    site = Site(tmp_path / "site")
    site.inbox.mkdir(parents=True)
    models = {
        name: {
            "path": str(save(tiny, tmp_path / name)),
            "defaults": {"num_inference_steps": 2, **TINY[tiny].ask},
        }
        for name, tiny in PROFILES.items()
    }
    picture = tmp_path / "picture"
    picture.mkdir()
    (picture / "model_index.json").write_text('{"_class_name": "I2VGenXLPipeline"}')
    models["picture"] = {"path": str(picture)}
    config = {"settle_seconds": 0.1, "min_free_gib": 0, "model": "wan", "models": models}
    (site.folder / "config.yaml").write_text(yaml.safe_dump(config))
    return site


def test_each_model_makes_what_it_is_asked_for(several: Site) -> None:
    """Files, sizes and speeds are those asked for; a sidecar makes its video again, pixel by pixel;
    a model that can't be used fails its own prompts only.
    """
    for name in PROFILES:
        several.drop(f"{name}.yaml", f"prompt: a horse runs\nmodel: {name}\nseed: 3\n")
    several.drop("film.yaml", "prompt: a cow\nmodel: ltx\nfps: 23.976\n")
    several.drop("wrong.yaml", "prompt: a cow\nmodel: wan\nnum_frames: 10\n")
    several.drop("picture.yaml", "prompt: a cow\nmodel: picture\n")
    assert 1 == several.drain().returncode
    for name, tiny in PROFILES.items():
        ask = TINY[tiny].ask
        video = several.results / name / "a_horse_runs.mp4"
        size = (ask["num_frames"], ask["height"], ask["width"])
        assert (*size, 3) == decoded(video).shape
        with av.open(str(video)) as container:
            assert (TINY[tiny].fps or 8) == container.streams.video[0].average_rate
        sidecar = yaml.safe_load(video.with_suffix(".yaml").read_text())
        assert list(size) == list(sidecar["rendered"]["made"].values())
        several.drop(f"again/{name}.yaml", video.with_suffix(".yaml").read_text())
    with av.open(str(several.results / "film" / "a_cow.mp4")) as container:
        assert abs(container.streams.video[0].average_rate - Fraction(23976, 1000)) < 1e-3
    assert "use 9 or 13" in (several.failed / "wrong.yaml.error.txt").read_text()
    report = (several.failed / "picture.yaml.error.txt").read_text()
    assert "I2VGenXLPipeline can't be used" in report
    assert 0 == several.drain().returncode
    for name in PROFILES:
        first = decoded(several.results / name / "a_horse_runs.mp4")
        again = decoded(several.results / "again" / name / "a_horse_runs.mp4")
        assert np.array_equal(first, again)
