"""One memory layout: the same output, also by what runs on GPUs only, and nothing is moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import memory_traffic
import pytest
import torch
from diffusers import TextToVideoSDPipeline
from harness.fakes import tiny_unet, tiny_vae
from reeldrop.speed import channels_last, fast, unet3d
from torch import nn

TEXT = (7, 16)


def tiny() -> Any:
    """Return a pipeline of a tiny denoiser and VAE, none of whose weights are all zero."""
    torch.manual_seed(1)
    vae = tiny_vae()
    unet = tiny_unet()
    for parameter in (*unet.parameters(), *vae.parameters()):
        if parameter.device.type == "cpu" and not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return TextToVideoSDPipeline(
        vae=vae.eval(), text_encoder=None, tokenizer=None, unet=unet.eval(), scheduler=None
    )


def quick(*, is_guided: bool) -> Any:
    """Return the same pipeline with the fast path as on a GPU, before anything is compiled."""
    pipe = tiny()
    path = fast.FastPath(pipe, fast.resolve({}, "cuda"), "cuda", compiles=False)
    path.begin({"guidance_scale": 9.0 if is_guided else 1.0})
    return pipe


@pytest.fixture
def _on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the ways of GPUs on the CPU, however small the tensors."""
    monkeypatch.setattr(channels_last, "is_on_gpu", lambda _tensor: True)
    monkeypatch.setattr(channels_last, "LARGE", 0)


@pytest.mark.usefixtures("_on_gpu")
@pytest.mark.parametrize(
    ("frames", "height", "width", "is_guided"),
    [(5, 16, 24, True), (1, 8, 8, False), (4, 9, 7, True)],  # the last is not halved evenly
)
@torch.no_grad()
def test_what_runs_on_gpus_gives_the_same(
    frames: int, height: int, width: int, is_guided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The noise and the picture are equal up to rounding in float32, also of large frames."""
    monkeypatch.setattr(unet3d, "MOST_HEADS", 100)
    sample = torch.randn(2, 4, frames, height, width).repeat(1 + is_guided, 1, 1, 1, 1)
    text = torch.randn(len(sample), *TEXT)
    latents = torch.randn(frames, 4, height, width)

    def made(pipe: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return pipe.unet(sample, torch.tensor(3), text).sample, pipe.vae.decode(latents).sample

    for expected, found in zip(made(tiny()), made(quick(is_guided=is_guided)), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5 * expected.abs().max(), rtol=0)


@pytest.mark.usefixtures("_on_gpu")
def test_a_mean_far_from_zero_is_no_harm() -> None:
    """The moments are exact enough where a channel's mean is a hundred times its deviation."""
    torch.manual_seed(2)
    norm = channels_last.ChannelsLastGroupNorm(4, 16).eval()
    pictures = (torch.randn(3, 16, 8, 8) + 100).contiguous(memory_format=torch.channels_last)
    shift = torch.randn(3, 16)
    with torch.no_grad():
        found = norm(pictures, shift)
        expected = nn.functional.group_norm(pictures.double() + shift[..., None, None], 4)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), expected, atol=1e-2, rtol=0)


@pytest.mark.usefixtures("_on_gpu")
def test_nothing_is_moved_from_one_layout_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is copied, nothing is as large as a picture, and less is moved than before."""
    monkeypatch.setattr(memory_traffic, "TEXT", TEXT)
    monkeypatch.setattr(memory_traffic, "pipeline", lambda: tiny().to(dtype=torch.float16))

    def counted(part: Callable[[Any, int], Any]) -> Any:
        return part(memory_traffic.fast_path(), 1).found

    with memory_traffic.as_on_cuda():
        step, decoding = counted(memory_traffic.step), counted(memory_traffic.decoding)
        monkeypatch.setattr(channels_last, "LARGE", 10**9)  # torch's own norm
        before = counted(memory_traffic.step)
    assert step.copies < 8 < 50 < before.copies
    assert decoding.copies < 3
    assert step.moved < 0.85 * before.moved


def test_a_batch_of_true_shape_makes_few_copies() -> None:
    """A batch of eight copies only the call's arguments, what diffusers' upsampling copies, and the
    latents of each chunk decoded."""
    with memory_traffic.as_on_cuda():
        pipe = memory_traffic.fast_path()
        step, decoding = memory_traffic.step(pipe, 8), memory_traffic.decoding(pipe, 8)
    assert step.found.copies <= 12
    assert step.found.copied < 1.5
    assert decoding.found.copies <= 8
    assert step.found.moved + decoding.found.moved < 485
