"""Rules for prompt files, for tests without a pipeline."""

from __future__ import annotations

from reeldrop.base.job import Capabilities
from reeldrop.prompts.rules import ModelRules

CAPABILITIES = Capabilities(
    settings={"negative_prompt": str, "height": int, "num_frames": int, "guidance_scale": float},
    defaults={"negative_prompt": None, "height": 64, "num_frames": 9, "guidance_scale": 5.0},
    size_multiple=8,
    frames_multiple=1,
)
RULES = {"tiny": ModelRules("tiny", CAPABILITIES, {}, {}), "unloaded": None}
