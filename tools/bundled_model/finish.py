"""The last touch: the decoder learns to draw sharply what the denoiser leaves soft.

A decoder that knows only the latents of drawn frames shows a film's uncertain outlines as they are.
What a film should become is known, and little of it is uncertain: so it can be learnt.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from . import autoencoder, batches, budget, denoiser, text, training, world

FRAMES_KEPT = 320
STEPS_PER_FILM = 3
FILMED_SHARE = 0.75  # of a batch; the others are drawn frames
PEAK_RATE = 1e-3


def train_on_films(
    worker: training.Worker, work_dir: Path, seconds: float, batch: int, seed: int
) -> None:
    """Train the decoder further, on frames of films; replace `vae.safetensors`."""
    torch.manual_seed(seed)
    codec = autoencoder.Codec.load(work_dir / "codec.safetensors")
    model = autoencoder.load_autoencoder(work_dir).to(worker.device)
    decoder = model.decoder.to(worker.dtype)
    training.use_channels_last(decoder)
    optimiser = training.Optimiser(decoder.parameters(), ema_decay=0.99, weight_decay=1e-4)
    stage = budget.Stage(worker, work_dir, "finish", seconds, optimiser)
    films = _Films(worker, work_dir)
    size = batch // worker.count
    filmed = round(FILMED_SHARE * size)
    for step in stage.steps():
        rng = np.random.default_rng([seed, worker.rank, step.number])
        images, latents = films.take(rng, filmed)
        others = autoencoder.decoder_batch(codec, rng, size - filmed)
        images = torch.cat([images, others[0].to(worker.device)])
        latents = torch.cat([latents, others[1].to(worker.device)])
        loss, psnr = autoencoder.decoder_loss(decoder, images, latents)
        loss.backward()
        optimiser.step(worker, budget.learning_rate(step, PEAK_RATE), step.number)
        stage.means.add(loss=loss.item(), psnr=psnr)
    optimiser.load_averages()
    if worker.leads:
        weights = model.float().cpu().state_dict()
        save_file({k: v.contiguous() for k, v in weights.items()}, work_dir / "vae.safetensors")


class _Films:
    """The frames of the last films, as they should be and as the denoiser leaves them."""

    def __init__(self, worker: training.Worker, work_dir: Path) -> None:
        self._unet = denoiser.load_denoiser(work_dir).to(worker.device, worker.dtype)
        denoiser.speed_up(self._unet)
        self._codec = autoencoder.Codec.load(work_dir / "codec.safetensors")
        self._reader = text.Reader(work_dir)
        self._device, self._dtype = worker.device, worker.dtype
        self._images = torch.empty(0)
        self._latents = torch.empty(0)
        self._taken = 0

    def take(self, rng: np.random.Generator, frames: int) -> tuple[Tensor, Tensor]:
        """Return some frames' images and latents."""
        if self._taken % STEPS_PER_FILM == 0:
            self._film(rng)
        self._taken += 1
        some = torch.from_numpy(rng.choice(len(self._images), frames)).to(self._device)
        return self._images[some], self._latents[some]

    @torch.no_grad()
    def _film(self, rng: np.random.Generator) -> None:
        spec = batches.draw_spec(rng)
        clip = world.paint(spec, world.track(spec, world.NUM_FRAMES, rng, jitter=0.0))
        codes = self._reader.states([spec], rng).to(self._device, self._dtype)
        film = batches.Film(rng, self._device)
        while not film.is_done():
            noised, timestep = film.latents.to(self._dtype), film.timestep()
            film.go_on(self._unet(noised, timestep, codes, return_dict=False)[0].float())
        images = autoencoder.to_images(clip).to(self._device)
        latents = film.latents[0].transpose(0, 1)
        self._images = torch.cat([images, self._images])[:FRAMES_KEPT]
        self._latents = torch.cat([latents, self._latents])[:FRAMES_KEPT]
