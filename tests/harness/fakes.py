"""Save tiny pipelines of diffusers' real classes for tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    TextToVideoSDPipeline,
    UNet3DConditionModel,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, UMT5Config, UMT5EncoderModel

MAX_TOKENS = 24

FAULTY_WORD = "gryphon"
"""A pipeline saved with `faulty=True` has a token for this word, but no embedding for the token."""


def tiny_vae() -> AutoencoderKL:
    """Return a VAE with random weights that halves height and width."""
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )


def save_tiny_pipeline(
    folder: Path, seed: int = 0, *, faulty: bool = False, blocks: int = 2
) -> Path:
    """Save a randomly initialised `TextToVideoSDPipeline`, with its fp16 variant.

    blocks: their number in each half of the UNet; with one, a daemon starts faster.
    faulty: it can't render a prompt with FAULTY_WORD, as if somebody had added the word to the
        tokenizer, but not to the text encoder.
    """
    torch.manual_seed(seed)
    tokenizer = letters_tokenizer(folder.parent / f"{folder.name}-vocabulary")
    vocabulary_size = len(tokenizer)
    if faulty:
        tokenizer.add_tokens([FAULTY_WORD])
    pipe = TextToVideoSDPipeline(
        vae=tiny_vae(),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary_size,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=MAX_TOKENS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        ),
        tokenizer=tokenizer,
        unet=tiny_unet(blocks),
        scheduler=scheduler(),
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    pipe.to(dtype=torch.float16)
    pipe.save_pretrained(folder, safe_serialization=True, variant="fp16")
    return folder


def tiny_unet(blocks: int = 2) -> UNet3DConditionModel:
    """Return a randomly initialised UNet of the original model's kind."""
    return UNet3DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16)[:blocks],
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D")[-blocks:],
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D")[:blocks],
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )


def scheduler() -> DDIMScheduler:
    """Return the original model's own noise schedule, which the script replaced."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def save_tiny_wan(folder: Path, layers: int = 1) -> Path:
    """Save a randomly initialised `WanPipeline`: a pipeline with a transformer."""
    torch.manual_seed(0)
    tokenizer = letters_tokenizer(folder.parent / f"{folder.name}-vocabulary")
    pipe = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(
            UMT5Config(
                vocab_size=len(tokenizer), d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2
            )
        ),
        vae=AutoencoderKLWan(
            base_dim=4,
            z_dim=16,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        transformer=WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=16,
            out_channels=16,
            text_dim=16,
            freq_dim=32,
            ffn_dim=16,
            num_layers=layers,
            rope_max_seq_len=32,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def letters_tokenizer(folder: Path) -> CLIPTokenizer:
    """Make a tokenizer that knows the ASCII letters, each within and at the end of a word."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.model_max_length = MAX_TOKENS
    return tokenizer
