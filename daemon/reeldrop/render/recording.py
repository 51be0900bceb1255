"""Record how videos were rendered, for their sidecars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from reeldrop.base.job import Rendered
from reeldrop.render import loras, measure, pipeline, unread
from reeldrop.speed import decoding

if TYPE_CHECKING:
    from reeldrop.base.job import Prompt
    from reeldrop.render.loaded import LoadedPipeline
    from reeldrop.render.rendering import Footage


def records(
    loaded: LoadedPipeline, prompts: tuple[Prompt, ...], footage: Footage, seconds: float
) -> Iterator[Rendered]:
    """Yield the record of each of the prompts that were rendered together in `seconds`."""
    gpus = f"{loaded.source.gpus} x " if loaded.ranks is not None else ""
    for prompt, frames, sound in zip(prompts, footage.frames, footage.sounds, strict=True):
        yield Rendered(
            model=loaded.source.location,
            revision=loaded.revision,
            pipeline=type(loaded.pipe).__name__,
            scheduler=type(loaded.pipe.scheduler).__name__,
            device=gpus + loaded.device,
            dtype=loaded.dtype,
            versions=pipeline.versions(),
            seconds=seconds,
            peak_memory_mib=measure.peak_memory_mib(loaded),
            batch_size=len(prompts),
            ignored=unread.of_texts(loaded, prompt),
            speed=tuple(loaded.fast_path.used),
            tiling=decoding.is_tiled(getattr(loaded.pipe, "vae", None)),
            made=(len(frames), *frames.shape[1:3]),
            profile=loaded.source.changes | _windows(loaded),
            not_kept=footage.not_kept,
            loras=loras.used(loaded.loras, prompt.loras or ()),
            sound=sound,
        )


def _windows(loaded: LoadedPipeline) -> dict[str, object]:
    windows = loaded.capabilities.windows
    return {"window": windows.frames, "overlap": windows.overlap} if windows.frames else {}
