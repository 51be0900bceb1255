"""A daemon whose prompts use LoRAs in turn: none is mixed with another, and nothing loads anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import diffusers
import numpy as np
import pytest
from harness import lora_maker, models
from harness.site import Site, make_site
from harness.videos import decoded
from reeldrop.base import strict_yaml

CONFIG = """\
settle_seconds: 0.1
scan_seconds: 0.2
retry_seconds: 0.1
min_free_gib: 0
page: false
model: tiny
models:
  tiny:
    path: {model}
    max_batch_size: 4
    defaults: {{num_inference_steps: 2, num_frames: 9, height: 32, width: 48}}
    loras: {{a: {{path: {a}}}, b: {{path: {b}}}}}
"""
NUMBERS = 1, 2
ASKED = {"a": "a", "none": "[]", "b": "{b: 0.5}"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a config.yaml with a tiny model and two LoRAs for it."""
    folder = models.save("Wan 2.1", tmp_path_factory.mktemp("model"))
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    layers = {"a": r".*\.to_[qkv]", "b": r".*(proj|net\.2)"}
    made = {
        name: lora_maker.save(
            type(pipe), folder / "loras", lora_maker.tensors(pipe.transformer, part), name
        )
        for name, part in layers.items()
    }
    return CONFIG.format(model=folder, **made)


def rendered(folder: Path, config: str, asked: Mapping[str, str]) -> tuple[Site, list[str]]:
    """Let a new process render two prompts for each; return its site and its events."""
    site = make_site(folder, folder)
    (site.folder / "config.yaml").write_text(config)
    prompts = (
        f"prompt: {name} {number}\nseed: {number}\nloras: {loras}\n"
        for name, loras in asked.items()
        for number in NUMBERS
    )
    site.drop("all.yaml", "---\n".join(prompts))
    done = site.drain()
    assert 0 == done.returncode, done.stdout
    return site, [json.loads(line)["event"] for line in done.stdout.splitlines()]


def frames(site: Site, name: str, number: int) -> np.ndarray:
    """Return a video, which was rendered together with the other one of its kind."""
    video = site.results / "all" / f"{name}_{number}.mp4"
    sidecar = strict_yaml.plain(strict_yaml.load_all(video.with_suffix(".yaml").read_text())[0])
    record = sidecar["rendered"]
    assert 2 == record["batch_size"]
    assert [name] == [lora["name"] for lora in record.get("loras", [{"name": "none"}])]
    found: np.ndarray = decoded(video)
    return found


def test_in_turn_they_are_as_in_processes_of_their_own(tmp_path: Path, config: str) -> None:
    """Those of one kind are rendered together, and give the pixels of a process with no other."""
    together, events = rendered(tmp_path / "together", config, ASKED)
    assert 1 == events.count("model_loaded")
    for name, loras in ASKED.items():
        alone, _ = rendered(tmp_path / name, config, {name: loras})
        for number in NUMBERS:
            assert np.array_equal(frames(alone, name, number), frames(together, name, number))
