"""Put the trained parts together, in memory or in the folder that is shipped; film with them."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline, TextToVideoSDPipeline

from . import autoencoder, denoiser, schedule, text, world

STEPS = schedule.STEPS
GUIDANCE = 1.0
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def assemble(work_dir: Path) -> TextToVideoSDPipeline:
    """Return the pipeline made of what the stages left in `work_dir`."""
    tokenizer = text.load_tokenizer(work_dir)
    with _quiet():
        pipeline = TextToVideoSDPipeline(
            vae=autoencoder.load_autoencoder(work_dir),
            text_encoder=text.load_text_encoder(work_dir, tokenizer),
            tokenizer=tokenizer,
            unet=denoiser.load_denoiser(work_dir),
            scheduler=schedule.build_scheduler(),
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write_artefact(work_dir: Path, folder: Path) -> None:
    """Replace the model in `folder` by the one in `work_dir`, in float16; other files stay."""
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
    pipeline = assemble(work_dir).to(dtype=torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True, variant="fp16")
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors makes them private; a service has a user of its own


def load_artefact(folder: Path) -> TextToVideoSDPipeline:
    """Load the shipped model as any other, computing in float32."""
    with _quiet():
        pipeline = DiffusionPipeline.from_pretrained(
            folder, variant="fp16", dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _quiet() -> warnings.catch_warnings[None]:
    """Silence diffusers' warning that the pipeline's class, which reeldrop uses, is deprecated."""
    return warnings.catch_warnings(action="ignore", category=FutureWarning)


def film(
    pipeline: TextToVideoSDPipeline,
    prompts: list[str],
    seeds: list[int],
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    num_frames: int = world.NUM_FRAMES,
) -> world.Frames:
    """Render each prompt with its seed.  # (prompts, frames, height, width, 3) uint8"""
    output = pipeline(
        prompts,
        num_frames=num_frames,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="np",
    ).frames
    frames: world.Frames = np.rint(np.asarray(output) * 255).astype(np.uint8)
    return frames
