#!/usr/bin/env python3
"""Train the small text-to-video model that comes with reeldrop, from nothing.

    python tools/train_bundled_model.py

Draws its own clips, uses every CPU core or a CUDA device, and takes up where it was stopped.
Stages, in order: codec (seconds), decoder, text, denoiser, artefact, sheet. `--scale 0.01` goes
through all of them in a few minutes, to try the command out; its result is of no use.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from bundled_model import artefact, autoencoder, denoiser, sheet, text, training

ROOT = Path(__file__).resolve().parent.parent
DENOISER_SEED = 3
DECODER_STEPS, DECODER_BATCH = 1400, 16
TEXT_STEPS, TEXT_BATCH = 2000, 96
DENOISER_STEPS = 4800


def make_codec(work_dir: Path, scale: float) -> None:
    """Fit the linear map from pixels to latents."""
    autoencoder.fit_codec(0, clips=max(40, round(600 * min(1, scale)))).save(
        work_dir / "codec.safetensors"
    )


def make_decoder(work_dir: Path, scale: float) -> None:
    """Train the way back to pixels."""
    steps = max(1, round(DECODER_STEPS * scale))
    training.run_workers(autoencoder.train_decoder, work_dir, steps, DECODER_BATCH, 1)


def make_text(work_dir: Path, scale: float) -> None:
    """Train the tokenizer and the text encoder."""
    text.train_text_encoder(work_dir, max(1, round(TEXT_STEPS * scale)), TEXT_BATCH, 2)


def make_denoiser(work_dir: Path, scale: float) -> None:
    """Train the denoiser, the longest stage."""
    training.run_workers(
        denoiser.train_denoiser, work_dir, max(1, round(DENOISER_STEPS * scale)), DENOISER_SEED
    )


STAGES: dict[str, Callable[[Path, float], None]] = {
    "codec": make_codec,
    "decoder": make_decoder,
    "text": make_text,
    "denoiser": make_denoiser,
}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work-dir", type=Path, default=ROOT / "build" / "bundled_model")
    parser.add_argument("--out", type=Path, default=ROOT / "daemon" / "reeldrop" / "bundled_model")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each stage's steps")
    parser.add_argument("--stages", nargs="+", choices=[*STAGES, "artefact", "sheet"],
                        default=[*STAGES, "artefact", "sheet"])  # fmt: skip
    parser.add_argument("--again", action="store_true", help="repeat stages that are done already")
    return parser.parse_args()


def main() -> None:
    """Run the stages that were asked for and are not done yet."""
    arguments = parse_arguments()
    work_dir: Path = arguments.work_dir
    work_dir.mkdir(parents=True, exist_ok=True)
    for name, make in STAGES.items():
        done = work_dir / f"{name}.done"
        if name not in arguments.stages or (done.exists() and not arguments.again):
            continue
        make(work_dir, arguments.scale)
        done.touch()
    if "artefact" in arguments.stages:
        artefact.write_artefact(work_dir, arguments.out)
        print(f"model: {arguments.out}")
    if "sheet" in arguments.stages:
        path = work_dir / "sheet.png"
        sheet.write_sheet(artefact.load_artefact(arguments.out), path)
        print(f"contact sheet: {path}")


if __name__ == "__main__":
    main()
