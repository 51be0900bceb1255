"""Let the zygote load pipelines that forks load often, so that later forks have them at once.

A fork notes in a file what it has loaded. If a pipeline's files have changed, it is loaded again.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import pickle
from collections import Counter
from typing import Any

import diffusers
from reeldrop.render import pipeline
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.source import ModelSource

_OFTEN = 2
"""After this many loads by forks, the zygote loads a pipeline."""

_MOST = 4
"""Upper bound on the pipelines that it keeps; the oldest is dropped."""

_load, _from_pretrained = pipeline.load, vars(diffusers.DiffusionPipeline)["from_pretrained"]


class Preloaded:
    """The pipelines of a zygote, by their sources and files."""

    def __init__(self) -> None:
        self._file = os.memfd_create("loaded")
        self._notes = f"/proc/{os.getpid()}/fd/{self._file}"
        self._read_to = 0
        self._loads: Counter[bytes] = Counter()
        self._pipelines: dict[bytes, Any] = {}

    def load(self) -> None:
        """In the zygote: load what forks have noted often enough."""
        noted = os.pread(self._file, os.fstat(self._file).st_size, self._read_to)
        self._read_to += len(noted)
        for line in noted.splitlines():
            self._loads[line] += 1
            if self._loads[line] == _OFTEN:
                with contextlib.suppress(Exception):  # a line that was cut off, a folder that went
                    source, files = pickle.loads(base64.b64decode(line))
                    if files == _files(source.location):
                        self._pipelines[line] = _load(source)
        while len(self._pipelines) > _MOST:
            del self._pipelines[next(iter(self._pipelines))]

    def close(self) -> None:
        """In a fork: close all files that a new process would not have open."""
        os.close(self._file)

    def offer(self) -> None:
        """In a fork: let reeldrop's first load of each of these pipelines return it at once."""

        def load(source: ModelSource, *tell: Any, **how: Any) -> LoadedPipeline:
            own = vars(diffusers.DiffusionPipeline)["from_pretrained"]
            is_other = own is not _from_pretrained or not os.path.isabs(source.location)
            if is_other or source.loras or source.gpus > 1 or how:
                return _load(source, *tell, **how)
            key = (dataclasses.replace(source, pins=None), _files(source.location))
            line = base64.b64encode(pickle.dumps(key))
            if (loaded := self._pipelines.pop(line, None)) is None:
                loaded = _load(source, *tell)
                if loaded.fast_path.options.compile == "off":  # else it has threads
                    with contextlib.suppress(OSError), open(self._notes, "ab", 0) as notes:
                        notes.write(line + b"\n")
            return dataclasses.replace(loaded, source=source)

        pipeline.load = load


def _files(folder: str) -> list[tuple[str, int, int]]:
    """Return the path, size and time of each file below a folder."""
    paths = (os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)
    found = ((path, os.lstat(path)) for path in sorted(paths))
    return [(path, status.st_size, status.st_mtime_ns) for path, status in found]
