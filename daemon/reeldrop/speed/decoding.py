"""Decode latents in parts: image VAEs several frames at a time, video VAEs in tiles."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DecoderOutput

_PIXELS_AT_ONCE = {"cuda": 16 * 256 * 256, "cpu": 4 * 128 * 128}
"""Enough to use all of a GPU; on a CPU, as many as fit into its cache."""


class ChunkedAutoencoderKL(AutoencoderKL):
    """Decodes several frames at a time; one by one if slicing is enabled.

    Their number depends only on the size of the frames, so that a video does not depend on others.
    """

    pixels_at_once = 0

    def decode(
        self, z: torch.Tensor, return_dict: bool = True, **_generator: None
    ) -> DecoderOutput | tuple[torch.Tensor]:
        decode = super().decode
        pictures = torch.cat([decode(part).sample for part in z.split(self._at_once(z))])
        return DecoderOutput(sample=pictures) if return_dict else (pictures,)

    def _at_once(self, z: torch.Tensor) -> int:
        factor = 2 ** (len(self.decoder.up_blocks) - 1)
        pixels = z.shape[-2] * z.shape[-1] * factor**2
        return 1 if self.use_slicing else max(1, self.pixels_at_once // pixels)


def decode_in_chunks(vae: Any, device: str) -> None:
    """Let an image VAE decode several frames at a time on a device type, cpu or cuda.

    Other VAEs are not changed: video VAEs decide by themselves how they go through the frames.
    """
    if type(vae) is AutoencoderKL:
        vae.__class__ = ChunkedAutoencoderKL
        vae.pixels_at_once = _PIXELS_AT_ONCE[device]


def decode(vae: Any, *, in_parts: bool, in_tiles: bool) -> None:
    """Choose how a VAE decodes from now on.

    in_parts: whether image VAEs decode frame by frame, to save memory
    in_tiles: whether video VAEs decode in tiles
    """
    if hasattr(vae, "use_slicing"):
        vae.use_slicing = in_parts
    if hasattr(vae, "use_tiling") and not isinstance(vae, AutoencoderKL):
        vae.use_tiling = in_tiles


def is_tiled(vae: Any) -> bool:
    """Return whether a VAE decodes in tiles."""
    return bool(getattr(vae, "use_tiling", False))
