"""Make the original model's pipeline at its true shape with random weights.

Its speed and memory are those of text-to-video-ms-1.7b; its videos are noise. Nothing has to be
downloaded. Needs 8 GB of memory and 4 GB of disk.

    python benchmarks/full_size_model.py
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    TextToVideoSDPipeline,
    UNet3DConditionModel,
)
from diffusers.models.resnet import TemporalConvLayer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from harness.fakes import scheduler

FOLDER = Path(tempfile.gettempdir()) / "reeldrop-full-size-model"
"""Where the comparisons keep it, to reuse it."""

DOWN_BLOCKS = ("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",)
UP_BLOCKS = ("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 3


def unet() -> UNet3DConditionModel:
    """Return the UNet, with 1.4 billion parameters."""
    return UNet3DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        layers_per_block=2,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=DOWN_BLOCKS,
        up_block_types=UP_BLOCKS,
        cross_attention_dim=1024,
        attention_head_dim=64,
        norm_num_groups=32,
        norm_eps=1e-5,
        act_fn="silu",
    )


def text_encoder() -> CLIPTextModel:
    """Return the text encoder."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=23,
            num_attention_heads=16,
            max_position_embeddings=77,
            projection_dim=512,
            hidden_act="gelu",
            layer_norm_eps=1e-5,
            bos_token_id=0,
            eos_token_id=2,
            pad_token_id=1,
        )
    )


def vae() -> AutoencoderKL:
    """Return the autoencoder."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=512,
        scaling_factor=0.18215,
    )


def tokenizer(folder: Path) -> CLIPTokenizer:
    """Return a tokenizer of letters: with random weights, the prompt's meaning doesn't matter."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<pad>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    made = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token="<pad>")
    made.model_max_length = 77
    return made


def enliven(model: UNet3DConditionModel) -> None:
    """Randomise the zero-initialised convolutions: otherwise, all frames would be equal."""
    for module in model.modules():
        if isinstance(module, TemporalConvLayer):
            torch.nn.init.normal_(module.conv4[-1].weight, std=0.02)


def save(folder: Path) -> Path:
    """Save the pipeline in fp16 in a folder, unless it exists."""
    if (folder / "model_index.json").exists():
        return folder
    torch.manual_seed(0)
    model = unet()
    enliven(model)
    pipe = TextToVideoSDPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(folder.parent / f"{folder.name}-vocabulary"),
        unet=model,
        scheduler=scheduler(),
    )
    for part in (pipe.vae, pipe.text_encoder, pipe.unet):
        part.eval()
    pipe.to(dtype=torch.float16)
    pipe.save_pretrained(folder, safe_serialization=True, variant="fp16")
    return folder


def main() -> None:
    """Save the pipeline, and print where."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    print(save(parser.parse_args().folder))


if __name__ == "__main__":
    main()
