"""What the denoiser is trained on: clips, drawn and noised, or on the sampler's way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import autoencoder, schedule, world

THING_WEIGHT = 8.0
PLACE_SCALE = (1.0, 0.35, 0.35)
HARD_THINGS, HARD_SHARE = ("surfer", "knight", "rider", "kite", "bird"), 0.4  # of small parts
PAIRS_SHARE = 0.3  # pairs are small, and fail twice as often
FAINT = {  # colours that stand out little from what is behind them
    ("brown", "desert"), ("orange", "desert"), ("white", "desert"),
    ("white", "willow"), ("black", "willow"),
}  # fmt: skip
FAINT_SHARE = 0.2
OTHER_STEPS, OTHER_SHARE = (3, 16), 0.4  # films of 3 to 15 steps instead of the usual number


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips to denoise; all have the same number of frames."""

    latents: Tensor  # (clips, LATENT_CHANNELS, frames, LATENT_SIZE, LATENT_SIZE)
    weights: Tensor  # (clips, 1, frames, LATENT_SIZE, LATENT_SIZE): larger where the thing is
    places: Tensor  # (clips, frames, 3): progress through the clip, x, y; each about -1..1
    codes: Tensor  # (clips, tokens, text.WIDTH)

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what it consists of, in order."""
        return self.latents, self.weights, self.places, self.codes


States = Callable[[list[world.Spec], np.random.Generator], Tensor]
"""Returns the text encoder's states for some specs."""


def draw_batch(
    codec: autoencoder.Codec,
    states: States,
    rng: np.random.Generator,
    frames: int,
    clips: int,
    jitter: float = world.JITTER,
) -> Batch:
    """Draw specs, their codes and clips; single frames come from anywhere in a clip."""
    specs = [draw_spec(rng) for _ in range(clips)]
    latents, weights, places = [], [], []
    for spec in specs:
        path, progress = _draw_path(spec, rng, frames, jitter)
        masks = world.coverage(spec, path)
        latents.append(codec.encode_frames(world.paint(spec, path)))
        weights.append(1 + THING_WEIGHT * _touched_cells(masks))
        places.append(np.stack([progress, path.x, path.y], 1) / np.array(PLACE_SCALE, np.float32))
    return Batch(
        torch.stack(latents).transpose(1, 2),
        torch.from_numpy(np.stack(weights))[:, None],
        torch.from_numpy(np.stack(places)),
        states(specs, rng),
    )


def draw_spec(rng: np.random.Generator) -> world.Spec:
    """Draw a combination that the training may see; the hard ones more often."""
    is_hard, is_pair = rng.random() < HARD_SHARE, rng.random() < PAIRS_SHARE
    is_faint = rng.random() < FAINT_SHARE
    while True:
        spec = world.sample_spec(rng)
        if (
            (not is_hard or spec.thing in HARD_THINGS)
            and (not is_pair or spec.count == "two")
            and (not is_faint or (spec.colour, spec.scene) in FAINT)
        ):
            return spec


def _draw_path(
    spec: world.Spec, rng: np.random.Generator, frames: int, jitter: float
) -> tuple[world.Track, world.Floats]:
    """Return a clip's path, or one place on a wide one, and the progress through the clip."""
    if frames > 1:
        path = world.track(spec, frames, rng, jitter)
        return path, np.linspace(-1, 1, frames, dtype=np.float32)
    path = world.track(spec, world.NUM_FRAMES, rng, world.WIDE_JITTER)
    chosen = rng.integers(len(path.x), size=1)
    return world.Track(path.x[chosen], path.y[chosen]), np.zeros(1, np.float32)


def _touched_cells(masks: world.Floats) -> world.Floats:
    """Return which cells of the latents the thing lies on.

    (frames, height, width) -> (frames, 8, 8)
    """
    size, cell = autoencoder.LATENT_SIZE, world.FRAME_SIZE // autoencoder.LATENT_SIZE
    blocks = masks.reshape(-1, size, cell, size, cell)
    touched: world.Floats = (blocks.max((2, 4)) > 0).astype(np.float32)
    return touched


def with_noise(
    batch: Batch, rng: np.random.Generator, device: torch.device
) -> tuple[Batch, Tensor, Tensor]:
    """Draw timesteps, spread over the batch and more of them noisy than not, and add noise."""
    clips = len(batch.latents)
    spread = (np.arange(clips) + rng.random(clips)) / clips
    timesteps = torch.from_numpy((spread**0.65 * 1000).astype(np.int64)).clamp(max=999)
    alpha, sigma = (part[timesteps].view(-1, 1, 1, 1, 1) for part in schedule.signal_and_noise())
    noise = torch.from_numpy(rng.standard_normal(batch.latents.shape, dtype=np.float32))
    noised = alpha * batch.latents + sigma * noise
    return _moved(batch, device), timesteps.to(device), noised.to(device)


def _moved(batch: Batch, device: torch.device) -> Batch:
    return Batch(*(part.to(device) for part in batch.parts()))


class Film:
    """A clip on the sampler's way from noise."""

    def __init__(self, rng: np.random.Generator, device: torch.device) -> None:
        self._scheduler = schedule.build_scheduler()
        other = rng.random() < OTHER_SHARE
        self._scheduler.set_timesteps(int(rng.integers(*OTHER_STEPS)) if other else schedule.STEPS)
        self._step = 0
        size = autoencoder.LATENT_SIZE
        shape = 1, autoencoder.LATENT_CHANNELS, world.NUM_FRAMES, size, size
        noise = rng.standard_normal(shape, dtype=np.float32)
        self.latents = torch.from_numpy(noise).to(device)

    def is_done(self) -> bool:
        """Return whether the noise is gone."""
        return self._step == len(self._scheduler.timesteps)

    def timestep(self) -> Tensor:
        """Return how noisy the latents are now."""
        return self._scheduler.timesteps[self._step].to(self.latents.device)

    def go_on(self, clean: Tensor) -> None:
        """Take a step towards the clean latents that the model says."""
        timestep = self._scheduler.timesteps[self._step]
        self.latents = self._scheduler.step(clean, timestep, self.latents, return_dict=False)[0]
        self._step += 1


class Films:
    """Clips on the sampler's way: each time they are taken, they are a step of the sampler on.

    A model that is trained on clean clips with noise alone never sees what it is given when it
    films: clips that it made itself, softer ones, with noise. Here it does, at no cost: what a step
    of the training computes is what the sampler goes on with. The clips to become have to follow
    from their codes alone: with jitter, of which the noise says nothing, all outlines get blurred,
    and the losses of clips for the empty text would outweigh all others.
    """

    def __init__(
        self, draw: Callable[[np.random.Generator], Batch], device: torch.device, kept: int = 16
    ) -> None:
        self._draw, self._device, self._kept = draw, device, kept
        self._films: list[tuple[Batch, Film]] = []
        self._taken: list[Film] = []

    def take(self, rng: np.random.Generator, clips: int) -> tuple[Batch, Tensor, Tensor]:
        """Return the clips as they should become, the timesteps, and the latents as they are.

        They are any of the `kept` ones, so that steps that follow each other see different clips.
        """
        self._films = [pair for pair in self._films if not pair[1].is_done()]
        while len(self._films) < max(self._kept, clips):
            goal = _moved(self._draw(rng), self._device)
            self._films.append((goal, Film(rng, self._device)))
        some = [self._films[k] for k in rng.choice(len(self._films), clips, replace=False)]
        self._taken = [film for _, film in some]
        parts = zip(*(goal.parts() for goal, _ in some), strict=True)
        return (
            Batch(*(torch.cat(part) for part in parts)),
            torch.stack([film.timestep() for film in self._taken]),
            torch.cat([film.latents for film in self._taken]),
        )

    def go_on(self, clean: Tensor) -> None:
        """Take each clip that was taken last a step on with what the model says it should be."""
        for film, part in zip(self._taken, clean.split(1), strict=True):
            film.go_on(part)
