"""What a loaded pipeline is for those who render with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reeldrop.base.job import Capabilities, Prompt
from reeldrop.render import noisy
from reeldrop.render.classes import kind_of
from reeldrop.render.lora_files import LoraFile
from reeldrop.render.ranks import Ranks
from reeldrop.render.source import ModelSource
from reeldrop.speed import fast


@dataclass(frozen=True, slots=True)
class LoadedPipeline:
    """A loaded pipeline, and how it was loaded.

    ranks: the processes that have to call it, too; None if there are none, or this is one of them
    """

    source: ModelSource
    pipe: Any
    capabilities: Capabilities
    device: str
    dtype: str
    revision: str | None
    placement: str
    fast_path: fast.FastPath
    loras: tuple[LoraFile, ...] = ()
    ranks: Ranks | None = None

    def renders_alone(self, prompt: Prompt) -> bool:
        """Return whether prompts like this are rendered one at a time, never in a batch."""
        kind = kind_of(type(self.pipe))
        is_one_picture = bool(prompt.pictures) and not kind.pairs
        has_own_noise = noisy.from_each(self.pipe, prompt.argument("eta"))
        is_mixed = kind.draws(self.pipe) or not has_own_noise
        return kind.renders_alone or is_one_picture or is_mixed

    def decodes_in_tiles(self, *, is_short: bool) -> bool:
        """Return whether its VAE decodes in tiles, with too little memory or with enough."""
        if self.source.tiling == "auto":
            return is_short or kind_of(type(self.pipe)).tiles
        return self.source.tiling is True
