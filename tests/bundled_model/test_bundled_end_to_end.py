"""In a new folder, without CUDA: the published video shows what the prompt asks for."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from bundled_model import judge
from harness.processes import run
from harness.zygote import REELDROP

SEEN = {
    "a red balloon rising over the sea": ("sea", "red", "balloon", "rising"),
    "一个蓝色的大球在草地上弹跳": ("meadow", "blue", "ball", "bouncing"),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of `reeldrop init`, a prompt file for each video, and `run --drain`."""
    config = tmp_path_factory.mktemp("fresh") / "films" / "config.yaml"
    run([*REELDROP, "init", str(config.parent)]).check_returncode()
    text = config.read_text()
    config.write_text(text.replace("model: auto", "model: bundled", 1))
    for number, prompt in enumerate(SEEN):
        (config.parent / "inbox" / f"{number}.yaml").write_text(f"prompt: {prompt}\nseed: 11\n")
    run([*REELDROP, "run", "--drain", "--config", str(config)]).check_returncode()
    return config.parent / "results"


@pytest.mark.parametrize("prompt", SEEN, ids=["balloon", "ball"])
def test_a_dropped_prompt_is_filmed(prompt: str, results: Path) -> None:
    """The decoded mp4 shows it."""
    (video,) = results.rglob(f"{prompt.replace(' ', '_')}.mp4")
    with av.open(str(video)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    verdict = judge.judge(frames)
    assert SEEN[prompt] == (verdict.scene, verdict.colour, verdict.thing, verdict.motion)
