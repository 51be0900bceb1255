"""Rules for the device's memory: how many prompts fit at once, and what to try when it runs out.

`renderer` measures, applies these rules and remembers what fitted.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reeldrop.base import proc

_NEXT_PLACEMENT = {"cuda": "model_offload", "model_offload": "sequential_offload"}

_KEPT_FREE = 0.1
"""Share of the free memory that is left unused, for fragmentation and other programs."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Settings of a render that decide how much memory it needs."""

    batch_size: int
    placement: str
    decodes_in_parts: bool = False

    def __str__(self) -> str:
        decoding = "in parts" if self.decodes_in_parts else "many frames at once"
        prompts = "1 prompt" if self.batch_size == 1 else f"{self.batch_size} prompts"
        return f"{prompts} at once, decoding {decoding}, placement {self.placement}"

    def more_frugal(self) -> Fit | None:
        """Return the next settings to try, which need less memory; None if there are none."""
        if self.batch_size > 1:
            return dataclasses.replace(self, batch_size=self.batch_size // 2)
        if not self.decodes_in_parts:
            return dataclasses.replace(self, decodes_in_parts=True)
        placement = _NEXT_PLACEMENT.get(self.placement)
        return None if placement is None else dataclasses.replace(self, placement=placement)

    def step_to(self, frugal: Fit | None) -> str:
        """Return what the next settings change, in words: a label of the metrics."""
        if frugal is None:
            return "given up"
        if frugal.batch_size < self.batch_size:
            return "smaller batch"
        return "decoding in parts" if frugal.placement == self.placement else frugal.placement


def how_many_fit(room: int, bytes_each: float) -> int:
    """Return how many prompts that take `bytes_each` fit into `room` bytes; at least one."""
    return max(1, int(room * (1 - _KEPT_FREE) / max(1.0, bytes_each)))


def available_bytes() -> int:
    """Return how much memory of the host this process may still take.

    That is MemAvailable (proc_meminfo(5)), within the limits of the process's cgroups, such as
    `MemoryMax=` in a unit (systemd.resource-control(5)).
    """
    found = dict(line.split(":") for line in proc.lines(Path("/proc/meminfo")))
    left = [int(found["MemAvailable"].removesuffix("kB")) << 10]
    with contextlib.suppress(OSError):  # a kernel without cgroups
        left += _left_in_cgroups()
    return min(left)


def _left_in_cgroups() -> Iterator[int]:
    """Yield how many bytes each cgroup of this process may still take, in cgroup v1 and v2."""
    for line in proc.lines(Path("/proc/self/cgroup")):
        number, controllers, path = line.split(":", 2)
        mounts: tuple[str, ...]
        if number == "0":
            mounts, limit, usage = ("", "unified"), "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            mounts, limit, usage = ("memory",), "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        for mount in mounts:
            own = Path("/sys/fs/cgroup", mount, path.lstrip("/"))
            for folder in (own, *own.parents):
                with contextlib.suppress(OSError, ValueError):  # no limit, or not readable
                    most = int((folder / limit).read_text(encoding="ascii"))
                    used = int((folder / usage).read_text(encoding="ascii"))
                    yield max(0, most - used + _reclaimable(folder))


def _reclaimable(cgroup: Path) -> int:
    """Return how many bytes of a cgroup are page cache that the kernel can drop."""
    found = dict(line.split() for line in proc.lines(cgroup / "memory.stat"))
    return int(found.get("total_inactive_file", found.get("inactive_file", "0")))
