"""The autoencoder: an encoder that is built, not trained, and a decoder that is trained to undo it.

The encoder is four levels of principal components of 2x2 blocks, written into the weights of an
ordinary AutoencoderKL. Its latents are a fixed linear map of the pixels, known before any
training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from . import budget, training, world

LATENT_CHANNELS = 64
LATENT_SIZE = 8
WIDTHS = (12, 32, 64, 64, 136)
GROUPS = 4
PEDESTAL = 32.0  # constant channels this large fix the last norm's scale, so that it stays linear
ROOM = 10.0  # SiLU is the identity, near enough, this far to the right
KEPT = (12, 32, 64, LATENT_CHANNELS)  # components after each halving of the picture


@dataclass(frozen=True, slots=True)
class Codec:
    """The linear map from pixels to latents."""

    bases: tuple[Tensor, ...]  # (components, 4 * previous components) each
    offset: Tensor  # (LATENT_CHANNELS,)

    def encode(self, images: Tensor) -> Tensor:
        """(images, 3, height, width) in -1..1 -> (images, LATENT_CHANNELS, cells, cells)."""
        latents = images
        for basis in self.bases:
            blocks = F.pixel_unshuffle(latents, 2)
            latents = torch.einsum("oc,nchw->nohw", basis, blocks)
        return latents + self.offset[:, None, None]

    def encode_frames(self, frames: world.Frames) -> Tensor:
        """(..., height, width, 3) uint8 -> (..., LATENT_CHANNELS, height / 16, width / 16)."""
        latents = self.encode(to_images(frames.reshape(-1, *frames.shape[-3:])))
        return latents.reshape(*frames.shape[:-3], *latents.shape[1:])

    def importance(self) -> Tensor:
        """Return how much an error in each latent counts: half way to its size in pixels.

        (LATENT_CHANNELS,), the mean is 1
        """
        in_pixels = 1 / self.bases[-1].norm(dim=1)
        return in_pixels / in_pixels.mean()

    def save(self, path: Path) -> None:
        bases = {f"basis.{level}": basis.contiguous() for level, basis in enumerate(self.bases)}
        save_file({**bases, "offset": self.offset}, path)

    @classmethod
    def load(cls, path: Path) -> Codec:
        tensors = load_file(path)
        bases = tuple(tensors[f"basis.{level}"] for level in range(len(KEPT)))
        return cls(bases, tensors["offset"])


def to_images(frames: world.Frames) -> Tensor:
    """(frames, height, width, 3) uint8 -> (frames, 3, height, width) in -1..1."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_frames(images: Tensor) -> world.Frames:
    """(frames, 3, height, width) in -1..1 -> (frames, height, width, 3) uint8."""
    pixels = (images.float().clamp(-1, 1) + 1) * 127.5
    frames: world.Frames = pixels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return frames


def sample_frames(rng: np.random.Generator, clips: int, per_clip: int) -> world.Frames:
    """Draw frames of clips whose specs are not held out.

    (clips * per_clip, height, width, 3) uint8
    """
    return np.concatenate([_some_frames(rng, per_clip) for _ in range(clips)])


def _some_frames(rng: np.random.Generator, count: int) -> world.Frames:
    spec = world.sample_spec(rng)
    path = world.track(spec, world.NUM_FRAMES, rng, world.WIDE_JITTER)
    chosen = rng.choice(world.NUM_FRAMES, size=count, replace=False)
    return world.paint(spec, world.Track(path.x[chosen], path.y[chosen]))


def fit_codec(seed: int, clips: int = 600) -> Codec:
    """Fit the components level by level on drawn frames; seconds."""
    frames = sample_frames(np.random.default_rng(seed), clips, 4)
    level = to_images(frames)
    bases = []
    for kept in KEPT[:-1]:
        blocks = F.pixel_unshuffle(level, 2)
        basis, _ = _components(blocks, kept)
        bases.append(basis)
        level = torch.einsum("oc,nchw->nohw", basis, blocks)
    blocks = F.pixel_unshuffle(level, 2)
    mean = blocks.mean((0, 2, 3))
    basis, deviations = _components(blocks - mean[:, None, None], KEPT[-1])
    # The square root keeps the order of importance but lets fine components rise above the noise.
    scale = deviations.sqrt() / deviations.mean().sqrt() / deviations
    basis = basis * scale[:, None]
    return Codec((*bases, basis), -(basis @ mean))


def _components(blocks: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Return the leading principal components and the deviations along them."""
    rows = blocks.permute(0, 2, 3, 1).reshape(-1, blocks.shape[1]).double()
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    order = torch.arange(len(values) - 1, len(values) - 1 - kept, -1)
    return vectors[:, order].T.float(), values[order].sqrt().float()


def build_autoencoder(codec: Codec) -> AutoencoderKL:
    """Return an AutoencoderKL whose encoder is `codec` and whose decoder is untrained."""
    levels = len(WIDTHS)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=GROUPS,
        sample_size=world.FRAME_SIZE,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )
    _write_encoder(model, codec)
    return model


@torch.no_grad()
def _write_encoder(model: AutoencoderKL, codec: Codec) -> None:
    encoder = model.encoder
    _write_copy(encoder.conv_in)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            _write_identity(resnet)
    for resnet in encoder.mid_block.resnets:
        _write_identity(resnet)
    signals, mirrors, highs, lows = _last_channels()
    for level, basis in enumerate(codec.bases):
        conv = encoder.down_blocks[level].downsamplers[0].conv
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
        inputs = basis.shape[1] // 4
        taps = basis.view(-1, inputs, 2, 2)
        conv.weight[: len(taps), :inputs, :2, :2] = taps
        if level == len(codec.bases) - 1:
            conv.bias[: len(taps)] = codec.offset
    _spread_channels(encoder.down_blocks[-1].resnets[0], signals, mirrors)
    bias = encoder.mid_block.resnets[-1].conv2.bias
    bias[highs], bias[lows] = PEDESTAL, -PEDESTAL
    _write_head(model, signals)


def _last_channels() -> tuple[list[int], list[int], list[int], list[int]]:
    """Place signals, their negatives (so that the norm's mean is 0) and pedestals in each group."""
    width, each = WIDTHS[-1] // GROUPS, LATENT_CHANNELS // GROUPS
    starts = [group * width for group in range(GROUPS)]
    signals = [start + k for start in starts for k in range(each)]
    mirrors = [start + each + k for start in starts for k in range(each)]
    highs = [start + 2 * each for start in starts]
    return signals, mirrors, highs, [high + 1 for high in highs]


def _write_copy(conv: nn.Conv2d) -> None:
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    middle = conv.kernel_size[0] // 2
    for channel in range(min(conv.in_channels, conv.out_channels)):
        conv.weight[channel, channel, middle, middle] = 1


def _write_identity(resnet: nn.Module) -> None:
    nn.init.zeros_(resnet.conv2.weight)
    nn.init.zeros_(resnet.conv2.bias)
    if resnet.conv_shortcut is not None:
        _write_copy(resnet.conv_shortcut)


def _spread_channels(resnet: nn.Module, signals: list[int], mirrors: list[int]) -> None:
    nn.init.zeros_(resnet.conv_shortcut.weight)
    for source, (signal, mirror) in enumerate(zip(signals, mirrors, strict=True)):
        resnet.conv_shortcut.weight[signal, source, 0, 0] = 1
        resnet.conv_shortcut.weight[mirror, source, 0, 0] = -1


def _write_head(model: AutoencoderKL, signals: list[int]) -> None:
    """Undo the last norm's known scale, step clear of SiLU's bend, and read the signals."""
    norm, conv = model.encoder.conv_norm_out, model.encoder.conv_out
    shrink = (2 * PEDESTAL**2 / (WIDTHS[-1] // GROUPS)) ** 0.5
    nn.init.constant_(norm.weight, shrink / 2)
    nn.init.constant_(norm.bias, ROOM)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    for channel, signal in enumerate(signals):
        conv.weight[channel, signal, 1, 1] = 2
        conv.bias[channel] = -2 * ROOM
    conv.bias[LATENT_CHANNELS:] = -20  # the logarithm of the variance: next to none
    _write_copy(model.quant_conv)
    _write_copy(model.post_quant_conv)


def train_decoder(
    worker: training.Worker, work_dir: Path, seconds: float, batch: int, seed: int
) -> None:
    """Train the decoder on drawn frames and their noised latents; write `vae.safetensors`."""
    torch.manual_seed(seed)
    codec = Codec.load(work_dir / "codec.safetensors")
    model = build_autoencoder(codec).to(worker.device)
    decoder = model.decoder.to(worker.dtype)
    training.use_channels_last(decoder)
    optimiser = training.Optimiser(decoder.parameters(), ema_decay=0.995, weight_decay=1e-4)
    stage = budget.Stage(worker, work_dir, "decoder", seconds, optimiser)
    for step in stage.steps():
        rng = np.random.default_rng([seed, worker.rank, step.number])
        images, latents = decoder_batch(codec, rng, batch // worker.count)
        loss, psnr = decoder_loss(decoder, images.to(worker.device), latents.to(worker.device))
        loss.backward()
        optimiser.step(worker, budget.learning_rate(step, 2e-3), step.number)
        stage.means.add(loss=loss.item(), psnr=psnr)
    optimiser.load_averages()
    if worker.leads:
        model = model.float().cpu()
        save_file(
            {k: v.contiguous() for k, v in model.state_dict().items()}, work_dir / "vae.safetensors"
        )


def decoder_batch(codec: Codec, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
    """Draw images and their latents, with as much noise as a denoiser may leave in them."""
    frames = sample_frames(rng, max(1, size // 2), 2)
    images = to_images(frames)
    latents = codec.encode(images)
    noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
    amount = torch.from_numpy(rng.uniform(0, 0.15, (len(latents), 1, 1, 1)).astype(np.float32))
    return images, latents + amount * noise


def decoder_loss(decoder: nn.Module, images: Tensor, latents: Tensor) -> tuple[Tensor, float]:
    """Return the loss to descend and the signal-to-noise ratio of the decoded images in dB."""
    dtype = next(decoder.parameters()).dtype
    error = decoder(latents.to(dtype)).float() - images
    mse = error.pow(2).mean()
    return error.abs().mean() + mse, float(10 * torch.log10(4 / mse.detach()))


def load_autoencoder(work_dir: Path) -> AutoencoderKL:
    """Return the trained autoencoder."""
    model = build_autoencoder(Codec.load(work_dir / "codec.safetensors"))
    model.load_state_dict(load_file(work_dir / "vae.safetensors"))
    return model.eval()
