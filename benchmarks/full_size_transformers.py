"""Make Wan 2.1 1.3B and LTX-Video at their true shapes with random weights.

Denoisers and autoencoders have the published shapes, so a step takes as long as theirs, and a
video shows noise. The text encoder has the published width, but one layer: it is called once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers as d
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from harness.models import UNIPC, t5, words_tokenizer

TEXT_WIDTH = 4096


def wan() -> Any:
    """Return the pipeline of Wan 2.1 1.3B."""
    transformer = d.WanTransformer3DModel(
        num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=30,
        text_dim=TEXT_WIDTH, cross_attn_norm=True,
    )  # fmt: skip
    return d.WanPipeline(
        vae=d.AutoencoderKLWan(), transformer=transformer, text_encoder=t5(TEXT_WIDTH),
        tokenizer=words_tokenizer(), scheduler=d.UniPCMultistepScheduler(**UNIPC),
    )  # fmt: skip


def ltx() -> Any:
    """Return the pipeline of LTX-Video's first version, 2B."""
    return d.LTXPipeline(
        vae=d.AutoencoderKLLTXVideo(), transformer=d.LTXVideoTransformer3DModel(),
        text_encoder=t5(TEXT_WIDTH), tokenizer=words_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


SHAPES: dict[str, tuple[Callable[[], Any], dict[str, int]]] = {
    "wan2.1-1.3b": (wan, {"num_frames": 81, "height": 480, "width": 832}),
    "ltx-video": (ltx, {"num_frames": 121, "height": 512, "width": 704}),
}
"""How to build each pipeline, and what it is asked for."""


def save(name: str, folder: Path) -> Path:
    """Save a pipeline in bfloat16 in a folder, unless it exists."""
    if (folder / "model_index.json").exists():
        return folder
    torch.manual_seed(0)
    SHAPES[name][0]().to(dtype=torch.bfloat16).save_pretrained(folder)
    return folder
