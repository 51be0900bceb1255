#!/usr/bin/env python3
"""Train the small text-to-video model that comes with reeldrop.

    python tools/train_bundled_model.py --hours 2.8
    python benchmarks/model_quality.py --model build/bundled_model/model

The first trains, the second measures. The first once more, with `--out
daemon/reeldrop/bundled_model`, only puts what was trained into the place of what is shipped.

Draws its own clips and uses every CPU core, at most eight, or a CUDA device. Each stage has a share
of the hours, to which its learning rate is bound. They are hours of processor time of one process:
other work on the machine delays the training but does not shorten it. A CPU without AVX-512 trains
in float32 and needs more of them for the same number of steps.

Stopped or killed, the same command takes up from the last checkpoint, at most three minutes back.
What is done has a file `STAGE.done` in the work directory and is not repeated; to train a stage
for longer, delete that file and give more hours. `finish` belongs to the denoiser that it follows:
after a better one, delete `finish.checkpoint`, too. `log.jsonl` has the losses every half a minute,
and ten times what a judge says of 24 held-out captions.

`--hours 0.05 --work-dir build/trial --out build/trial/model` goes through all stages, to try the
command out; its result is of no use.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from bundled_model import artefact, autoencoder, denoiser, finish, quality, text, training

ROOT = Path(__file__).resolve().parent.parent
DECODER_BATCH, TEXT_BATCH = 16, 96
DECODER_SEED, TEXT_SEED, DENOISER_SEED, FINISH_SEED = 1, 2, 3, 4


def make_codec(work_dir: Path, seconds: float) -> None:
    """Fit the linear map from pixels to latents; half a minute."""
    clips = max(40, min(500, round(3 * seconds)))
    autoencoder.fit_codec(0, clips).save(work_dir / "codec.safetensors")


def make_decoder(work_dir: Path, seconds: float) -> None:
    """Train the way back to pixels."""
    training.run_workers(autoencoder.train_decoder, work_dir, seconds, DECODER_BATCH, DECODER_SEED)


def make_text(work_dir: Path, seconds: float) -> None:
    """Make the tokenizer and train the text encoder."""
    text.build_tokenizer(work_dir)
    training.run_workers(text.train_text_encoder, work_dir, seconds, TEXT_BATCH, TEXT_SEED)


def make_denoiser(work_dir: Path, seconds: float) -> None:
    """Train the denoiser, the longest stage."""
    training.run_workers(denoiser.train_denoiser, work_dir, seconds, DENOISER_SEED, quality.check)


def make_finish(work_dir: Path, seconds: float) -> None:
    """Train the decoder further, on what the denoiser films."""
    training.run_workers(finish.train_on_films, work_dir, seconds, DECODER_BATCH, FINISH_SEED)


# Each stage with its share of the time. The codec is fitted once and takes what it takes.
STAGES: dict[str, tuple[Callable[[Path, float], None], float]] = {
    "codec": (make_codec, 0.02),
    "text": (make_text, 0.05),
    "decoder": (make_decoder, 0.20),
    "denoiser": (make_denoiser, 0.67),
    "finish": (make_finish, 0.06),
}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work-dir", type=Path, default=ROOT / "build" / "bundled_model")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bundled_model" / "model")
    parser.add_argument("--hours", type=float, default=2.8, help="of all stages together")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    return parser.parse_args()


def main() -> None:
    """Run the stages that are not done yet, then write the model."""
    arguments = parse_arguments()
    work_dir: Path = arguments.work_dir
    work_dir.mkdir(parents=True, exist_ok=True)
    for name in arguments.stages:
        done = work_dir / f"{name}.done"
        if not done.exists():
            make, share = STAGES[name]
            make(work_dir, arguments.hours * 3600 * share)
            done.touch()
    if all((work_dir / f"{name}.done").exists() for name in STAGES):
        arguments.out.mkdir(parents=True, exist_ok=True)
        artefact.write_artefact(work_dir, arguments.out)
        print(f"model: {arguments.out}")


if __name__ == "__main__":
    main()
