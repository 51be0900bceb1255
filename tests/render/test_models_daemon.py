"""A real daemon renders with a tiny model of each class, one after the other."""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml
from harness import models, picture_models
from harness.models import TINY
from harness.picture_models import TINY_WITH_PICTURES
from harness.site import Site
from harness.videos import decoded
from PIL import Image

pytestmark = pytest.mark.filterwarnings("default")  # diffusers' own, while models are saved


def profile_name(tiny: str) -> str:
    """Return a name for the profile of a tiny model, which no profile of reeldrop's own has."""
    return "tiny-" + re.sub(r"\W+", "-", tiny).lower()


ALL: dict[str, tuple[Any, Callable[[Path], Path]]] = {
    **{
        profile_name(name): (tiny, lambda folder, name=name: models.save(name, folder))
        for name, tiny in TINY.items()
    },
    **{
        f"{profile_name(name)}-i2v": (
            tiny,
            lambda folder, name=name: picture_models.save(name, folder),
        )
        for name, tiny in TINY_WITH_PICTURES.items()
    },
}
"""What is known of each tiny model, and how to save it, by the name of its profile."""

AGAIN = (
    "tiny-wan-2-1",
    "tiny-ltx-2",
    "tiny-sana-video",
    "tiny-stable-video-diffusion-i2v",
    "tiny-wan-2-1-first-and-last-i2v",
)
"""Models whose sidecars are of different kinds: with sound and a rate of their own, a setting of
another type, no text, two pictures. Those of all models are read in `test_classes_of_models.py`
and `test_classes_with_pictures.py`."""


def site_with(names: tuple[str, ...], folder: Path) -> Site:
    """Return a site with a profile for each of these models, and one that can't be used."""
    site = Site(folder / "site")
    site.inbox.mkdir(parents=True)
    profiles: dict[str, Any] = {}
    for name in names:
        tiny, save = ALL[name]
        taken = {"num_frames", *inspect.signature(tiny.kind.__call__).parameters}
        asked = {key: value for key, value in tiny.ask.items() if key in taken}
        defaults = {"num_inference_steps": 2, **asked}
        profiles[name] = {"path": str(save(folder / name)), "defaults": defaults}
    unusable = folder / "unusable"
    unusable.mkdir()
    (unusable / "model_index.json").write_text('{"_class_name": "I2VGenXLPipeline"}')
    profiles["unusable"] = {"path": str(unusable)}
    config = {"settle_seconds": 0.1, "min_free_gib": 0, "page": False, "model": names[0]}
    text = yaml.safe_dump({**config, "models": profiles})
    (site.folder / "config.yaml").write_text(text)
    return site


def drop(site: Site, name: str) -> None:
    """Drop a prompt for a model, with the pictures that it takes."""
    tiny, _ = ALL[name]
    wanted: dict[str, Any] = {"prompt": "a horse runs", "model": name, "seed": 3}
    if "negative_prompt" in inspect.signature(tiny.kind.__call__).parameters:
        wanted["negative_prompt"] = "the grass"  # some of the tiny tokenizers make nothing of none
    size = (tiny.ask["width"], tiny.ask["height"])
    for number, key in enumerate(getattr(tiny, "pictures", ())):
        wanted[key] = f"{key}.png"
        site.drop(f"{name}/{key}.png", picture(size, number))
    site.drop(f"{name}/film.yaml", yaml.safe_dump(wanted))


def picture(size: tuple[int, int], seed: int) -> bytes:
    """Return a png of smooth colours."""
    colours = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(file, "png")
    return file.getvalue()


def film(site: Site, folder: str) -> Path:
    """Return the place of the video of a prompt that was dropped into a folder."""
    return site.results / folder / "film" / "a_horse_runs.mp4"


def rate(video: Path) -> Fraction:
    """Return the frames per second of a video."""
    with av.open(str(video)) as container:
        found = container.streams.video[0].average_rate
        assert found is not None
        return found


def test_each_model_makes_what_it_is_asked_for(tmp_path: Path) -> None:
    """Sizes and speeds are those asked for, and a sidecar makes its video again, pixel by pixel."""
    site = site_with(tuple(ALL), tmp_path)
    for name in ALL:
        drop(site, name)
    end = site.drain()
    assert 0 == end.returncode, end.stdout[-5000:]
    for name, (tiny, _) in ALL.items():
        video = film(site, name)
        size = [tiny.ask[key] for key in ("num_frames", "height", "width")]
        assert (*size, 3) == decoded(video).shape, name
        assert (getattr(tiny, "fps", None) or rate(video)) == rate(video), name
        rendered = yaml.safe_load(video.with_suffix(".yaml").read_text())["rendered"]
        assert (size, tiny.kind.__name__) == ([*rendered["made"].values()], rendered["pipeline"])
    for name in AGAIN:
        for shown in film(site, name).parent.glob("*.png"):
            site.drop(f"again/{name}/{shown.name}", shown.read_bytes())
        sidecar = film(site, name).with_suffix(".yaml").read_bytes()
        site.drop(f"again/{name}/film.yaml", sidecar)
    assert 0 == site.drain().returncode
    for name in AGAIN:
        first, again = (decoded(film(site, part)) for part in (name, f"again/{name}"))
        assert np.array_equal(first, again), name


def test_what_fails_for_one_model_stops_no_other(tmp_path: Path) -> None:
    """A number of frames that a model can't make, a model that can't be used; `fps` is exact."""
    site = site_with(("tiny-ltx-0-9-1", "tiny-wan-2-1"), tmp_path)
    site.drop("slower.yaml", "prompt: a cow\nmodel: tiny-ltx-0-9-1\nfps: 23.976\n")
    site.drop("wrong.yaml", "prompt: a cow\nmodel: tiny-wan-2-1\nnum_frames: 10\n")
    site.drop("unusable.yaml", "prompt: a cow\nmodel: unusable\n")
    assert 1 == site.drain().returncode
    assert abs(rate(site.results / "slower" / "a_cow.mp4") - Fraction(23976, 1000)) < 1e-3
    assert "use 9 or 13" in (site.failed / "wrong.yaml.error.txt").read_text()
    report = (site.failed / "unusable.yaml.error.txt").read_text()
    assert "I2VGenXLPipeline can't be used" in report
