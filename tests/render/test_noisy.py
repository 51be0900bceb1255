"""Schedulers that add noise in their steps: a video does not depend on its batch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
from harness.models import TINY, save
from harness.tiny_renderer import Model, like
from reeldrop.render import noisy

pytestmark = pytest.mark.filterwarnings("default")

SMALL = SimpleNamespace(ask={"num_frames": 5, "height": 32, "width": 48})
SDE = {"algorithm_type": "sde-dpmsolver++"}
PLAIN_BY_DEFAULT = {"DDIM", "DPMSolver", "EDM", "EulerDiscrete", "FlowMatchEuler", "FlowMatchHeun"}
"""Parts of the names of schedulers that add noise only if they are asked to."""


@pytest.mark.parametrize(
    ("name", "scheduler", "settings"),
    [
        ("ms-1.7b", "EulerAncestralDiscreteScheduler", {}),
        ("ms-1.7b", "DPMSolverMultistepScheduler", SDE),
        ("Wan 2.1", "FlowMatchLCMScheduler", {}),
        ("Wan 2.1", "FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
        ("AnimateDiff", "LCMScheduler", {}),
        ("CogVideoX", "CogVideoXDPMScheduler", {}),
        ("ms-1.7b", "DDIMScheduler", {"eta": 0.9}),
    ],
)
def test_a_batch_gives_each_prompt_what_it_gets_alone(
    name: str,
    scheduler: str,
    settings: Mapping[str, Any],
    tiny_pipeline: Path,
    tmp_path: Path,
) -> None:
    """Also the noise that is added on the way is each prompt's own; no batch fails first."""
    own = dict(settings)
    more = {"num_inference_steps": 4}  # the last step adds no noise
    more |= {"eta": own.pop("eta")} if "eta" in own else {}  # which prompts ask for
    chosen = {"scheduler": scheduler, "scheduler_settings": own}
    if name in TINY:
        model = Model(name, TINY[name], save(name, tmp_path), **chosen)
    else:
        model = Model(name, SMALL, tiny_pipeline, variant="fp16", **chosen)
    first, other = model.prompt(seed=1, **more), model.prompt("a cow", seed=2, **more)
    alone = [model.render(one).frames[0] for one in (first, other)]
    assert all(map(like, alone, model.render(first, other).frames))
    assert all(map(like, alone[::-1], model.render(other, first).frames))
    assert not np.array_equal(*alone)


def test_all_schedulers_that_draw_are_known() -> None:
    """Each that can draw noise is known to do it, or not to do it by default."""
    kinds = [getattr(diffusers, name) for name in dir(diffusers) if name.endswith("Scheduler")]
    drawing = {kind for kind in kinds if "randn" in inspect.getsource(kind)}
    drawing.remove(diffusers.RFD4ProteinaScheduler)  # of proteins
    assert len(drawing) > 20
    plain = {kind for kind in drawing if any(part in kind.__name__ for part in PLAIN_BY_DEFAULT)}
    for kind in drawing:
        scheduler = kind.from_config({})
        assert noisy.adds_noise(scheduler) is (kind not in plain), kind
