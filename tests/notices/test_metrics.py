"""metrics: what others may read of them, and what they do not stumble over."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from reeldrop.notices.metrics import Metrics
from reeldrop.store.status import RendererNow, State, Status


def test_the_file_is_for_everybody(tmp_path: Path) -> None:
    """Whatever the umask is; and a folder that can't be asked is left out."""
    file = tmp_path / "reeldrop.prom"
    metrics = Metrics({"results": tmp_path, "spool": tmp_path / ("x" * 300)})
    before = os.umask(0o077)
    try:
        metrics.show(None, is_running=False)
        metrics.write(file)
    finally:
        os.umask(before)
    assert 0o644 == file.stat().st_mode & 0o777
    assert 'reeldrop_disk_free_bytes{folder="results"}' in file.read_text()


def test_several_renderers_are_counted_by_what_they_do(tmp_path: Path) -> None:
    """Their batches add up; when all are lost, none does anything."""
    file, metrics = tmp_path / "reeldrop.prom", Metrics({})
    busy = RendererNow("a", "T4", State.RENDERING, together=3)
    found = Status(1, State.RENDERING, "m", "now", renderers=(busy, replace(busy, id="b")))
    metrics.show(found, is_running=True)
    metrics.write(file)
    assert 'reeldrop_renderers{state="rendering"} 2.0' in file.read_text()
    assert "reeldrop_batch_size 6.0" in file.read_text()
    metrics.show(replace(found, state=State.NO_RENDERER, renderers=()), is_running=True)
    metrics.write(file)
    assert 'reeldrop_renderers{state="rendering"} 0.0' in file.read_text()
