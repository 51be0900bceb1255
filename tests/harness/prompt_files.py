"""Parse prompt files with the rules of two small models."""

from __future__ import annotations

import pytest
from reeldrop.base.errors import Mistake, PromptError
from reeldrop.base.job import Capabilities, DefaultsFile, Prompt
from reeldrop.prompts import parsing
from reeldrop.prompts.parsing import PromptFile
from reeldrop.prompts.rules import ModelRules

CAPABILITIES = Capabilities(
    settings={
        "negative_prompt": str,
        "height": int,
        "width": int,
        "num_frames": int,
        "num_inference_steps": int,
        "guidance_scale": float,
        "eta": float,
        "clean_caption": bool,
    },
    defaults={
        "negative_prompt": None,
        "height": 64,
        "width": 64,
        "num_frames": 9,
        "num_inference_steps": 50,
        "guidance_scale": 5.0,
        "eta": None,
        "clean_caption": False,
    },
    size_multiple=8,
    frames_multiple=4,
)
TINY = ModelRules(
    "tiny",
    CAPABILITIES,
    defaults={"num_inference_steps": 3, "fps": 12},
    limits={"num_frames": (5, 33), "height": (8, 128), "guidance_scale": (0, 20)},
)
OTHER = ModelRules("other", CAPABILITIES, defaults={}, limits={})
RULES = {"tiny": TINY, "other": OTHER, "unloaded": None}

Defaults = list[tuple[str, str]]


def parse(
    content: str | bytes, name: str = "a.yaml", defaults: Defaults | None = None
) -> PromptFile:
    """Parse a prompt file; the n-th drawn seed is 1000 + n."""
    return parsing.parse(
        name,
        content if isinstance(content, bytes) else content.encode(),
        [DefaultsFile(file, text.encode()) for file, text in defaults or []],
        RULES,
        "tiny",
        lambda number: 1000 + number,
    )


def texts(content: str | bytes, name: str = "a.txt") -> list[str]:
    """Return the texts of a file's prompts."""
    return [prompt.prompt for prompt in parse(content, name).prompts]


def one(content: str, defaults: Defaults | None = None) -> Prompt:
    """Return the only prompt of a YAML file."""
    (prompt,) = parse(content, "a.yaml", defaults).prompts
    return prompt


def mistakes(
    content: str | bytes, name: str = "a.yaml", defaults: Defaults | None = None
) -> tuple[Mistake, ...]:
    """Return the mistakes in a file."""
    with pytest.raises(PromptError) as caught:
        parse(content, name, defaults)
    return tuple(caught.value.mistakes)


def mistake(
    content: str | bytes, name: str = "a.yaml", defaults: Defaults | None = None
) -> Mistake:
    """Return the only mistake in a file."""
    (found,) = mistakes(content, name, defaults)
    return found
