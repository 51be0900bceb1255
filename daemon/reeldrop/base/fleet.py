"""What a renderer is, and what it sends if it works in another process: records."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class BatchLimit(NamedTuple):
    """How many prompts may be rendered together; if `is_measured`, only as many as fit.

    in_few_sizes: whether smaller batches are powers of two, as each size is compiled by itself
    """

    most: int
    is_measured: bool = False
    in_few_sizes: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """A video that its renderer has encoded, to be completed by what is known when it is published.

    files: by format, a poster as "jpg"; a path is that of a file to be removed then
    sizes: those of the files that are paths, in bytes
    """

    files: Mapping[str, bytes | Path]
    sizes: Mapping[str, int] = field(default_factory=dict)

    def file(self, format: str) -> bytes | Path:
        """Return the file of a format.

        Raises:
            OSError: it can't be looked up; EIO if it has lost its end on the way, as on a share.
        """
        found = self.files[format]
        if isinstance(found, Path) and found.stat().st_size != self.sizes[format]:
            raise OSError(errno.EIO, "its end is missing", str(found))
        return found

    @property
    def nbytes(self) -> int:
        """The size of its files, looked up for each that is a path; of a missing one 0."""
        return sum(map(_size, self.files.values()))


def _size(content: bytes | Path) -> int:
    if isinstance(content, bytes):
        return len(content)
    with contextlib.suppress(OSError):  # its video fails when it is completed
        return content.stat().st_size
    return 0


@dataclass(frozen=True, slots=True)
class Device:
    """What a renderer computes on.

    name: such as "NVIDIA H100 80GB HBM3"
    node: the machine; empty for this one
    memory_bytes: the size of its own memory; 0 if it computes in host memory
    limits: how many prompts of each profile may be rendered together; if empty, as on this machine
    place: a key of the GPU, or of the machine if it has none, also for the next renderer there;
        empty if every renderer has a place of its own
    gpu: the name of each of its GPUs, if `name` is of several
    """

    name: str
    node: str = ""
    memory_bytes: int = 0
    limits: Mapping[str, BatchLimit] = field(default_factory=dict)
    place: str = ""
    gpu: str = ""

    @property
    def tuned_as(self) -> str:
        """The device's name by which findings of `reeldrop tune` are kept."""
        return self.gpu or self.name

    @property
    def kind(self) -> str:
        """What renderers have in common for which the same was measured."""
        return f"{self.name}, {self.memory_bytes >> 30} GiB" if self.memory_bytes else self.name
