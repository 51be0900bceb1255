"""The loaded pipelines: on the device, ready to render, or kept in host memory.

Does not decide which of them stay loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from reeldrop.base.errors import RendererDied
from reeldrop.base.residents import Memory, Resident
from reeldrop.render import devices, measure, memory, pipeline, placements, split
from reeldrop.render.ranks import Ranks

if TYPE_CHECKING:
    from reeldrop.render import downloads
    from reeldrop.render.loaded import LoadedPipeline
    from reeldrop.render.source import ModelSource

_log = structlog.get_logger()


class Residents:
    """The loaded pipelines, the least recently used first.

    stays: a lock; while it is held, no pipeline is moved
    on_download: called with a model, its bytes downloaded so far, and all of its bytes
    lost: called if another process ends that renders together with this one
    """

    def __init__(
        self,
        sources: Mapping[str, ModelSource],
        on_download: Callable[[str, int, int], None] = lambda _model, _done, _total: None,
        lost: Callable[[RendererDied], None] = lambda _error: None,
    ) -> None:
        self.stays = threading.Lock()
        self._sources = sources
        self._on_download = on_download
        self._lost = lost
        self._loaded: OrderedDict[str, LoadedPipeline] = OrderedDict()
        self._kept: set[str] = set()

    def ready(self, model: str) -> LoadedPipeline | None:
        """Return a model's pipeline if it is ready to render, else None."""
        return self._loaded.get(model) if model not in self._kept else None

    def make_ready(self, model: str) -> LoadedPipeline:
        """Return a pipeline that is ready to render; load it or bring it back to the device first.

        Raises:
            ConfigError: it can't be loaded.
            Unavailable: it could not be downloaded.
        """
        loaded = self.ready(model)
        if loaded is None:
            with self.stays:
                loaded = self._back(model) if model in self._kept else self._load(model)
        self._loaded[model] = loaded
        self._loaded.move_to_end(model)
        if loaded.ranks is not None:  # memory that runs out in one process is the end of all
            self.release_others(model)
        return loaded

    def _load(self, model: str) -> LoadedPipeline:
        source, tell = self._sources[model], functools.partial(self._on_download, model)
        is_alone = source.gpus == 1
        loaded = pipeline.load(source, tell) if is_alone else self._load_together(source, tell)
        path = loaded.fast_path
        _log.info("fast_path", model=model, taken=path.taken, inapplicable=path.inapplicable)
        return loaded

    def _load_together(self, source: ModelSource, tell: downloads.Tell) -> LoadedPipeline:
        """Load a pipeline in several processes; first let go of another one that is."""
        for name in [name for name, loaded in self._loaded.items() if loaded.ranks is not None]:
            self._discard(name)
        split.require_gpus(source)
        ranks = Ranks(source, self._lost)
        try:
            loaded = pipeline.load(source, tell, join=ranks.meet)
            ranks.await_loaded()
        except BaseException:
            ranks.close()
            raise
        return dataclasses.replace(loaded, ranks=ranks)

    def _back(self, model: str) -> LoadedPipeline:
        try:
            loaded = placements.bring_back(self._loaded[model])
        except RuntimeError:  # too little memory: the device must not keep some of the parts
            placements.keep_in_host_memory(self._loaded[model])
            raise
        self._kept.discard(model)
        return loaded

    def place_again(self, loaded: LoadedPipeline, placement: str) -> LoadedPipeline:
        """Move a pipeline to a placement that takes less memory of the device."""
        with self.stays:
            if loaded.ranks is not None:
                loaded.ranks.place_again(placement)
            moved = placements.put_again(loaded, placement)
        self._loaded[loaded.source.name] = moved
        return moved

    def release(self, model: str, *, keeps: bool) -> None:
        """Remove a pipeline from the device; with `keeps`, its weights stay in host memory.

        Never those of a pipeline in several processes: each of them would take as much.
        """
        with self.stays:
            if keeps and self._loaded[model].ranks is None:
                self._kept.add(model)  # first: if the move fails halfway, it is not ready
                placements.keep_in_host_memory(self._loaded[model])
            else:
                self._discard(model)
        measure.empty_cache()

    def _discard(self, model: str) -> None:
        self._kept.discard(model)
        loaded = self._loaded.pop(model, None)
        if loaded is None:  # an earlier attempt failed after this
            return
        try:
            loaded.fast_path.discard()
        finally:
            if loaded.ranks is not None:
                loaded.ranks.close()

    def use(self, sources: Mapping[str, ModelSource]) -> tuple[str, ...]:
        """Load from these sources from now on; release and return models whose source differs."""
        changed = [n for n, loaded in self._loaded.items() if sources.get(n) != loaded.source]
        for name in changed:
            self.release(name, keeps=False)
        self._sources = sources
        return tuple(changed)

    def release_others(self, model: str) -> bool:
        """Remove all other pipelines from the device, and return whether there were any.

        As far as host memory has room, they stay there.
        """
        others = [name for name in self._loaded if name != model and name not in self._kept]
        for name in others:
            size = _resident(self._loaded[name], is_ready=True).device_bytes
            self.release(name, keeps=0 < size <= memory.available_bytes())
        return bool(others)

    def memory(self) -> Memory:
        """Return which models are loaded, and how much memory is free."""
        found = tuple(
            _resident(loaded, is_ready=name not in self._kept)
            for name, loaded in self._loaded.items()
        )
        host_free = memory.available_bytes()
        return Memory(found, devices.free_bytes(), host_free, devices.total_bytes())

    def close(self) -> None:
        """Let go of all pipelines, and free the memory that they take."""
        with self.stays:
            for model in list(self._loaded):
                with contextlib.suppress(RendererDied):  # nothing is loaded after this
                    self._discard(model)
        with contextlib.suppress(RendererDied):  # a broken device has nothing to give back
            measure.empty_cache()


def _resident(loaded: LoadedPipeline, *, is_ready: bool) -> Resident:
    size = placements.weight_bytes(loaded.pipe)
    if is_ready and loaded.placement == "cuda":
        return Resident(loaded.source.name, device_bytes=size)
    return Resident(loaded.source.name, host_bytes=size, is_ready=is_ready)
