"""The denoiser: a UNet3DConditionModel that predicts a clip's clean latents from noised ones.

Trained first on single frames, then on short clips, then on whole ones. Predicting the clean clip
(not the noise) suits a model this narrow: clips lie on a small manifold, noise does not.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UNet3DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.resnet import TemporalConvLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from . import autoencoder, text, training, world

WIDTHS = (80, 112)
HEADS = 4


def build_denoiser() -> UNet3DConditionModel:
    """Return an untrained denoiser."""
    return UNet3DConditionModel(
        sample_size=autoencoder.LATENT_SIZE,
        in_channels=autoencoder.LATENT_CHANNELS,
        out_channels=autoencoder.LATENT_CHANNELS,
        block_out_channels=WIDTHS,
        down_block_types=("DownBlock3D", "CrossAttnDownBlock3D"),
        up_block_types=("CrossAttnUpBlock3D", "UpBlock3D"),
        layers_per_block=1,
        cross_attention_dim=text.WIDTH,
        attention_head_dim=HEADS,
        norm_num_groups=16,
    )


def build_scheduler() -> DPMSolverMultistepScheduler:
    """Return the scheduler that the denoiser is trained for."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        solver_order=2,
        algorithm_type="dpmsolver++",
    )


def speed_up(model: UNet3DConditionModel) -> None:
    """Swap in equal but faster temporal convolutions and attention; for training only."""
    training.use_channels_last(model)
    model.set_attn_processor(
        AttnProcessor()
    )  # with heads this small, twice as fast as the fused one
    for module in model.modules():
        if isinstance(module, TemporalConvLayer):
            module.forward = types.MethodType(_temporal_convolutions, module)


def _temporal_convolutions(layer: TemporalConvLayer, hidden: Tensor, num_frames: int = 1) -> Tensor:
    images, channels, height, width = hidden.shape
    rows = hidden.permute(0, 2, 3, 1).reshape(-1, num_frames, height * width, channels)
    clips = rows.permute(0, 3, 1, 2)  # (clips, channels, frames, cells), channels last in memory
    for stage in (layer.conv1, layer.conv2, layer.conv3, layer.conv4):
        normed = F.silu(stage[0](clips))
        conv = stage[-1]
        clips = F.conv2d(normed, conv.weight.squeeze(-1), conv.bias, padding=(1, 0))
    residual = (
        clips.permute(0, 2, 3, 1).reshape(images, height, width, channels).permute(0, 3, 1, 2)
    )
    return hidden + residual


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips to denoise; all have the same number of frames."""

    latents: Tensor  # (clips, LATENT_CHANNELS, frames, LATENT_SIZE, LATENT_SIZE)
    weights: Tensor  # (clips, 1, frames, LATENT_SIZE, LATENT_SIZE): larger where the thing is
    places: Tensor  # (clips, frames, 3): progress through the clip, x, y; each about -1..1
    codes: Tensor  # (clips, MAX_TOKENS, text.WIDTH)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many clips of how many frames a step of the training takes."""

    frames: int
    clips: int


FRAMES_PER_STEP = 64
THING_WEIGHT = 8.0
EMPTY_SHARE = 0.08
PLACE_SCALE = (1.0, 0.35, 0.35)


def plan_step(step: int, steps: int, seed: int) -> Plan:
    """Choose single frames first, then clips of 8 frames, then mostly of 16."""
    progress, dice = step / steps, np.random.default_rng([seed, step]).random()
    if progress < 0.125:
        frames = 1
    elif progress < 0.55:
        frames = 8
    else:
        frames = 16 if dice < 0.8 else 8 if dice < 0.88 else 24 if dice < 0.94 else 32
    return Plan(frames, max(1, FRAMES_PER_STEP // frames))


def draw_batch(
    codec: autoencoder.Codec, book: text.Codebook, rng: np.random.Generator, frames: int, clips: int
) -> Batch:
    """Draw specs, their codes and clips; single frames come from anywhere in a clip."""
    specs = [world.sample_spec(rng) for _ in range(clips)]
    latents, weights, places = [], [], []
    for spec in specs:
        path, progress = _draw_path(spec, rng, frames)
        masks = world.coverage(spec, path)
        latents.append(codec.encode_frames(world.paint(spec, masks)))
        weights.append(1 + THING_WEIGHT * _touched_cells(masks))
        places.append(np.stack([progress, path.x, path.y], 1) / np.array(PLACE_SCALE, np.float32))
    return Batch(
        torch.stack(latents).transpose(1, 2),
        torch.from_numpy(np.stack(weights))[:, None],
        torch.from_numpy(np.stack(places)),
        book.states(specs, rng, EMPTY_SHARE),
    )


def _draw_path(
    spec: world.Spec, rng: np.random.Generator, frames: int
) -> tuple[world.Track, world.Floats]:
    """Return a clip's path, or one place on a wide one, and the progress through the clip."""
    if frames > 1:
        path = world.track(spec, frames, rng)
        return path, np.linspace(-1, 1, frames, dtype=np.float32)
    path = world.track(spec, world.NUM_FRAMES, rng, world.WIDE_JITTER)
    chosen = rng.integers(len(path.x), size=1)
    return world.Track(path.x[chosen], path.y[chosen]), np.zeros(1, np.float32)


def _touched_cells(masks: world.Floats) -> world.Floats:
    """Tell which cells of the latents the thing lies on.

    (frames, height, width) -> (frames, 8, 8)
    """
    size, cell = autoencoder.LATENT_SIZE, world.FRAME_SIZE // autoencoder.LATENT_SIZE
    blocks = masks.reshape(-1, size, cell, size, cell)
    touched: world.Floats = (blocks.max((2, 4)) > 0).astype(np.float32)
    return touched


class Trainee(nn.Module):
    """The denoiser, and a head on its middle that must know when and where the thing is.

    A UNet3DConditionModel is not told which frame is which; alone it is slow to find out.
    """

    def __init__(self, unet: UNet3DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        cells = (autoencoder.LATENT_SIZE // 2 ** (len(WIDTHS) - 1)) ** 2
        self.head = nn.Linear(cells * WIDTHS[-1], len(PLACE_SCALE))
        self._middle: Tensor | None = None
        unet.mid_block.register_forward_hook(self._keep_middle)

    def _keep_middle(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._middle = output

    def forward(self, noised: Tensor, timesteps: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the clean latents and the places, as in `Batch`."""
        clean = self.unet(noised, timesteps, codes, return_dict=False)[0]
        assert self._middle is not None
        clips, frames = noised.shape[0], noised.shape[2]
        return clean, self.head(self._middle.reshape(clips, frames, -1))


@cache
def signal_and_noise() -> tuple[Tensor, Tensor]:
    """Return the scheduler's alpha and sigma of each timestep.  # (1000,) each"""
    alphas = build_scheduler().alphas_cumprod
    return alphas.sqrt(), (1 - alphas).sqrt()


def denoising_loss(
    trainee: Trainee, batch: Batch, timesteps: Tensor, noise: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss to descend and, for the progress bar, its parts."""
    alpha, sigma = (
        s.to(timesteps.device)[timesteps].view(-1, 1, 1, 1, 1) for s in signal_and_noise()
    )
    noised = alpha * batch.latents + sigma * noise
    dtype = trainee.head.weight.dtype
    clean, places = trainee(noised.to(dtype), timesteps, batch.codes.to(dtype))
    squares = (clean.float() - batch.latents).pow(2)
    urgency = (1 / sigma.pow(2)).clamp(max=2.0)
    loss = (squares * batch.weights * urgency).mean() / batch.weights.mean()
    thing = (squares * (batch.weights - 1)).mean() / (batch.weights - 1).mean()
    place = (places.float() - batch.places).pow(2).mean()
    if batch.latents.shape[2] > 1:
        loss = loss + 0.2 * place
    return loss, {
        "error": float(squares.detach().mean()),
        "thing": float(thing.detach()),
        "place": float(place.detach()),
    }


def train_denoiser(worker: training.Worker, work_dir: Path, steps: int, seed: int) -> None:
    """Train the denoiser on drawn clips; write `unet.safetensors` at each checkpoint."""
    torch.manual_seed(seed)
    codec, book = autoencoder.Codec.load(work_dir / "codec.safetensors"), text.Codebook()
    trainee = Trainee(build_denoiser().eval()).to(worker.device, worker.dtype)
    speed_up(trainee.unet)
    optimiser = training.Optimiser(trainee.parameters(), ema_decay=0.998, weight_decay=0.01)
    checkpoint = work_dir / "unet.checkpoint"
    start = training.load_checkpoint(checkpoint, optimiser)
    means = training.RunningMeans()
    for step in training.steps_with_progress(worker, "denoiser", start, steps, lambda: str(means)):
        plan, rng = plan_step(step, steps, seed), np.random.default_rng([seed, worker.rank, step])
        clips = max(1, plan.clips // worker.count)
        batch = draw_batch(codec, book, rng, plan.frames, clips)
        loss, parts = denoising_loss(trainee, *_noise(batch, rng, worker.device))
        loss.backward()
        optimiser.step(worker, training.learning_rate(step, steps, 1.2e-3, warmup=200), step)
        means.add(**parts)
        if worker.leads and (step + 1) % 250 == 0:
            training.save_checkpoint(checkpoint, step + 1, optimiser)
            _save_average(trainee, optimiser, work_dir)
    if worker.leads:
        _save_average(trainee, optimiser, work_dir)


def _noise(
    batch: Batch, rng: np.random.Generator, device: torch.device
) -> tuple[Batch, Tensor, Tensor]:
    """Draw timesteps, spread over the batch and more of them noisy than not, and noise."""
    clips = len(batch.latents)
    spread = (np.arange(clips) + rng.random(clips)) / clips
    timesteps = torch.from_numpy((spread**0.65 * 1000).astype(np.int64)).clamp(max=999)
    noise = torch.from_numpy(rng.standard_normal(batch.latents.shape, dtype=np.float32))
    moved = Batch(
        *(t.to(device) for t in (batch.latents, batch.weights, batch.places, batch.codes))
    )
    return moved, timesteps.to(device), noise.to(device)


def _save_average(trainee: Trainee, optimiser: training.Optimiser, work_dir: Path) -> None:
    names = [name for name, _ in trainee.named_parameters()]
    averages = zip(names, optimiser.averages, strict=True)
    weights = {
        n.removeprefix("unet."): a.cpu().contiguous() for n, a in averages if n.startswith("unet.")
    }
    partial = work_dir / "unet.partial"
    save_file(weights, partial)
    partial.replace(work_dir / "unet.safetensors")


def load_denoiser(work_dir: Path) -> UNet3DConditionModel:
    """Return the denoiser as it was at the last checkpoint."""
    model = build_denoiser()
    model.load_state_dict(load_file(work_dir / "unet.safetensors"))
    return model.eval()
