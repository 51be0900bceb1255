"""Metrics for Prometheus: a file for node_exporter's textfile collector, or a port of loopback.

Counters begin at the start of this process.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import start_http_server as start_server

from reeldrop.base import durable
from reeldrop.notices.happenings import Happening
from reeldrop.store.status import Numbers, State, Status

_STEPS = (
    "other models released",
    "smaller batch",
    "decoding in parts",
    "model_offload",
    "sequential_offload",
    "given up",
)
"""What is done when memory runs out. A counter that appears with its first event has not increased
for Prometheus: an alert would miss that event."""

_SECONDS = (0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """The metrics of one service."""

    def __init__(self, folders: dict[str, Path]) -> None:
        """Begin with zeros. `folders` has, by name, those whose free space is measured."""
        self._folders = folders
        self._registry = registry = CollectorRegistry()
        self._up = Gauge("reeldrop_up", "Whether the daemon runs.", registry=registry)
        self._state = Gauge(
            "reeldrop_state", "1 for the state of the daemon.", ["state"], registry=registry
        )
        self._waiting = Gauge(
            "reeldrop_waiting_prompt_files", "Prompt files that wait.", registry=registry
        )
        self._oldest = Gauge(
            "reeldrop_oldest_waiting_seconds",
            "How long the oldest prompt file has waited.",
            registry=registry,
        )
        self._strays = Gauge(
            "reeldrop_unrecognised_files", "Files that are never taken.", registry=registry
        )
        self._has_several = False
        self._renderers = Gauge(
            "reeldrop_renderers",
            "Renderers by what they do, if there may be several.",
            ["state"],
            registry=registry,
        )
        self._each = Gauge(
            "reeldrop_renderer",
            "1 for what each renderer does, if there may be several; its device names its machine.",
            ["renderer", "device", "state"],
            registry=registry,
        )
        self._together = Gauge(
            "reeldrop_batch_size", "Videos that are rendered at once now.", registry=registry
        )
        self._seconds = Histogram(
            "reeldrop_batch_seconds",
            "Seconds of the batch that a video was rendered in.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._busy = Counter(
            "reeldrop_render_seconds",
            "Seconds of renders: each video counts for its part of its batch.",
            ["model"],
            registry=registry,
        )
        self._memory = Gauge(
            "reeldrop_device_memory_bytes",
            "Memory of the device: free for renders, and used.",
            ["memory"],
            registry=registry,
        )
        self._in_hand = Counter(
            "reeldrop_busy_seconds",
            "Seconds in which a batch was in hand, of all renderers together.",
            registry=registry,
        )
        self._shortages = Counter(
            "reeldrop_memory_shortages",
            "How often the device's memory ran out, by what was done about it.",
            ["next"],
            registry=registry,
        )
        self._restarts = Counter(
            "reeldrop_restarts",
            "Starts of the daemon, by how the process before ended.",
            ["reason"],
            registry=registry,
        )
        for reason in ("normal", "error", "killed", "memory", "machine"):
            self._restarts.labels(reason)
        for step in _STEPS:
            self._shortages.labels(step)
        self._last: Numbers | None = None
        self._videos = Counter("reeldrop_videos", "Videos.", ["model"], registry=registry)
        self._jobs = Counter("reeldrop_jobs", "Prompt files that ended.", registry=registry)
        self._failures = Counter("reeldrop_failures", "Failures.", registry=registry)
        self._free = Gauge("reeldrop_disk_free_bytes", "Free space.", ["folder"], registry=registry)

    def count(self, happenings: Sequence[Happening]) -> None:
        """Count events."""
        for happening in happenings:
            match happening.kind:
                case "video":
                    model = happening.facts["model"]
                    self._videos.labels(model).inc()
                    seconds = float(happening.facts["seconds"])
                    self._seconds.labels(model).observe(seconds)
                    self._busy.labels(model).inc(seconds / int(happening.facts["batch_size"]))
                case "job":
                    self._jobs.inc()
                case "failed":
                    self._failures.inc()

    def show(self, status: Status | None, *, is_running: bool) -> None:
        """Update the gauges from the daemon's status, and from the disks."""
        self._up.set(is_running)
        for state in State:
            is_now = is_running and status is not None and status.state == state
            self._state.labels(str(state)).set(is_now)
        now = status if is_running else None
        found = now.renderers if now is not None else ()
        self._each.clear()
        for one in found:
            self._each.labels(one.id, one.device, str(one.state)).set(1)
        if status is not None:
            self._waiting.set(status.waiting_count)
            self._oldest.set(status.waiting_seconds if status.waiting_count else 0)
            self._strays.set(status.unrecognised_count)
            alone = now.rendering.together if now is not None and now.rendering is not None else 0
            self._together.set(sum(r.together for r in found) if found else alone)
            self._has_several |= bool(found)
            for state in (State.IDLE, State.RENDERING, State.LOADING, State.WARMING_UP):
                if self._has_several:
                    self._renderers.labels(str(state)).set(sum(r.state is state for r in found))
            self._take(status.numbers)
        for name, folder in self._folders.items():
            with contextlib.suppress(OSError):  # it is gone, or a share that does not answer
                self._free.labels(name).set(shutil.disk_usage(folder).free)

    def _take(self, numbers: Numbers) -> None:
        """Add what the daemon has counted since the last look; its numbers begin at its start."""
        last = self._last if self._last is not None else numbers
        if numbers.began != last.began:
            self._restarts.labels(numbers.last_end).inc()
            last = Numbers()
        self._last, before = numbers, dict(last.shortages)
        self._in_hand.inc(max(0.0, numbers.busy_seconds - last.busy_seconds))
        for done, count in numbers.shortages:
            self._shortages.labels(done).inc(max(0, count - before.get(done, 0)))
        self._memory.clear()
        free, total = numbers.device_free, numbers.device_total
        if free is not None and total is not None:
            self._memory.labels("free").set(free)
            self._memory.labels("used").set(max(0, total - free))

    def write(self, file: Path) -> None:
        """Replace a file by one with all metrics, readable by everybody.

        Raises:
            OSError: it can't be written.
        """
        durable.write_unsynced(file, generate_latest(self._registry), rights=0o644)

    def serve(self, port: int) -> None:
        """Serve all metrics on a port, for this machine only, from now on.

        Raises:
            OSError: the port is taken.
        """
        start_server(port, addr="127.0.0.1", registry=self._registry)
