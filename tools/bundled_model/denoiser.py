"""The denoiser: a UNet3DConditionModel that predicts a clip's clean latents from noised ones.

Trained first on single frames, then on short clips, then on whole ones. Predicting the clean clip
(not the noise) suits a model this narrow: clips lie on a small manifold, noise does not. Most whole
clips are not drawn and noised but come the way they come when a film is made: what the model is
given at a step is what it made of the steps before, so that it learns to mend its own mistakes.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet3DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.resnet import TemporalConvLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from . import autoencoder, batches, budget, schedule, text, training, world

WIDTHS = (96, 128)
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
class Plan:
    """How many clips of how many frames a step of the training takes."""

    frames: int
    clips: int
    filmed: bool = False  # the clips come by the sampler's way, not drawn and noised


FRAMES_PER_STEP = 64
SINGLES_UNTIL, SHORT_UNTIL = 0.12, 0.5  # shares of the stage's time
FILMED_SHARE = 0.9  # of the whole clips
EMPTY_SHARE = 0.08  # of the drawn clips: their captions are empty
PEAK_RATE = 1e-3
CHECK_EVERY = 0.1  # of the time: a judgement for the log


def plan_step(step: budget.Step, seed: int) -> Plan:
    """Choose single frames first, then clips of 8 frames, then mostly of 16."""
    dice, other_dice = np.random.default_rng([seed, step.number]).random(2)
    if step.share < SINGLES_UNTIL:
        frames = 1
    elif step.share < SHORT_UNTIL:
        frames = 8
    else:
        frames = 16 if dice < 0.8 else 8 if dice < 0.9 else 24 if dice < 0.96 else 32
    filmed = frames == world.NUM_FRAMES and other_dice < FILMED_SHARE
    return Plan(frames, max(1, FRAMES_PER_STEP // frames), filmed)


class Trainee(nn.Module):
    """The denoiser, and a head on its middle that must know when and where the thing is.

    A UNet3DConditionModel is not told which frame is which; alone it is slow to find out.
    """

    def __init__(self, unet: UNet3DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        cells = (autoencoder.LATENT_SIZE // 2 ** (len(WIDTHS) - 1)) ** 2
        self.head = nn.Linear(cells * WIDTHS[-1], len(batches.PLACE_SCALE))
        self._middle: Tensor | None = None
        unet.mid_block.register_forward_hook(self._keep_middle)

    def _keep_middle(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._middle = output

    def forward(self, noised: Tensor, timesteps: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the clean latents and the places, as in `batches.Batch`."""
        clean = self.unet(noised, timesteps, codes, return_dict=False)[0]
        assert self._middle is not None
        clips, frames = noised.shape[0], noised.shape[2]
        return clean, self.head(self._middle.reshape(clips, frames, -1))


def denoising_loss(
    trainee: Trainee,
    importance: Tensor,
    batch: batches.Batch,
    timesteps: Tensor,
    noised: Tensor,
) -> tuple[Tensor, dict[str, float], Tensor]:
    """Return the loss to descend, for the log its parts, and the clean latents it is of.

    importance: that of each latent, (LATENT_CHANNELS,)
    """
    sigma = schedule.signal_and_noise()[1].to(timesteps.device)[timesteps].view(-1, 1, 1, 1, 1)
    dtype = trainee.head.weight.dtype
    clean, places = trainee(noised.to(dtype), timesteps, batch.codes.to(dtype))
    squares = (clean.float() - batch.latents).pow(2) * importance.view(-1, 1, 1, 1)
    urgency = (1 / sigma.pow(2)).clamp(max=3.0)
    loss = (squares * batch.weights * urgency).mean() / batch.weights.mean()
    thing = (squares * (batch.weights - 1)).mean() / (batch.weights - 1).mean()
    place = (places.float() - batch.places).pow(2).mean()
    if batch.latents.shape[2] > 1:
        loss = loss + 0.2 * place
    return loss, {
        "error": float(squares.detach().mean()),
        "thing": float(thing.detach()),
        "place": float(place.detach()),
    }, clean.detach().float()  # fmt: skip


def train_denoiser(
    worker: training.Worker,
    work_dir: Path,
    seconds: float,
    seed: int,
    check: Callable[[Path], dict[str, float]],
) -> None:
    """Train the denoiser on drawn clips; write `unet.safetensors` at each checkpoint.

    `check(work_dir)` says for the log how good the model is by now.
    """
    torch.manual_seed(seed)
    codec = autoencoder.Codec.load(work_dir / "codec.safetensors")
    imitated = functools.partial(text.Codebook().states, empty_share=EMPTY_SHARE)
    read = text.Reader(work_dir).states
    trainee = Trainee(build_denoiser().eval()).to(worker.device, worker.dtype)
    speed_up(trainee.unet)
    importance = codec.importance().to(worker.device)
    optimiser = training.Optimiser(
        trainee.parameters(), ema_decay=0.998, weight_decay=0.01, inner=inner_matrices(trainee.unet)
    )
    stage = budget.Stage(worker, work_dir, "denoiser", seconds, optimiser)
    films = batches.Films(
        lambda rng: batches.draw_batch(codec, read, rng, world.NUM_FRAMES, 1, jitter=0.0),
        worker.device,
    )
    checked = 0.0

    def keep(step: budget.Step) -> None:
        nonlocal checked
        _save_average(trainee, optimiser, work_dir)
        if step.share >= checked + CHECK_EVERY:
            checked = step.share
            torch.set_num_threads(worker.count)  # the other processes wait for this one
            stage.write_log(step, judged=check(work_dir))
            torch.set_num_threads(1)

    for step in stage.steps(keep):
        plan = plan_step(step, seed)
        rng = np.random.default_rng([seed, worker.rank, step.number])
        clips = max(1, plan.clips // worker.count)
        if plan.filmed:
            taken = films.take(rng, clips)
        else:
            drawn = batches.draw_batch(codec, imitated, rng, plan.frames, clips)
            taken = batches.with_noise(drawn, rng, worker.device)
        loss, parts, clean = denoising_loss(trainee, importance, *taken)
        if plan.filmed:
            films.go_on(clean)
        loss.backward()
        optimiser.step(worker, budget.learning_rate(step, PEAK_RATE, warmup=200), step.number)
        stage.means.add(**parts)


def inner_matrices(unet: UNet3DConditionModel) -> Iterator[nn.Parameter]:
    """Yield the matrices between the first layers and the last one."""
    outer = ("conv_in.", "conv_out.", "time_embedding.")
    for name, parameter in unet.named_parameters():
        if parameter.dim() > 1 and not name.startswith(outer):
            yield parameter


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
