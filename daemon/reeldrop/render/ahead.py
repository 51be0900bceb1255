"""Encode the texts of the next batch while another one is rendered, if the device has room."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from reeldrop.render import devices, rendering

if TYPE_CHECKING:
    from reeldrop.base.job import Batch
    from reeldrop.render.loaded import LoadedPipeline


@torch.inference_mode()
def encode(loaded: LoadedPipeline | None, batch: Batch) -> None:
    """Encode and keep the texts of a batch while another is rendered."""
    if loaded is None or loaded.source.name != batch.model or not _has_room_beside(loaded):
        return
    if loaded.fast_path.texts is not None:
        with torch.cuda.stream(_stream_beside()):
            rendering.texts(loaded, batch.prompts)


def _has_room_beside(loaded: LoadedPipeline) -> bool:
    """Return whether texts can be encoded during a render: only on a GPU, without offloading.

    On a CPU a second computing thread would slow down all later renders: with more threads than
    cores, OpenMP's threads go to sleep between tasks.
    """
    return loaded.placement == "cuda"


@functools.cache
def _stream_beside() -> Any:
    stream: Any = torch.cuda.Stream
    return stream() if devices.cuda_is_available() else None
