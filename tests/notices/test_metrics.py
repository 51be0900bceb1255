"""metrics: what others may read of them, and what they do not stumble over."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from reeldrop.notices.metrics import Metrics
from reeldrop.render.memory import Fit
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


def test_the_first_shortage_is_an_increase(tmp_path: Path) -> None:
    """For Prometheus only if the counter was there before it: each step has one from the start."""
    file, metrics = tmp_path / "reeldrop.prom", Metrics({})
    metrics.write(file)
    fit, steps = Fit(2, "cuda"), {"other models released"}
    while fit is not None:
        frugal = fit.more_frugal()
        steps.add(fit.step_to(frugal))
        fit = frugal
    assert 6 == len(steps)
    begun = file.read_text()
    assert [] == [s for s in steps if f'memory_shortages_total{{next="{s}"}} 0.0' not in begun]


def test_several_renderers_are_counted_by_what_they_do(tmp_path: Path) -> None:
    """Their batches add up; when all are lost, or the daemon was killed, none does anything."""
    file, metrics = tmp_path / "reeldrop.prom", Metrics({})
    busy = RendererNow("a", "T4", State.RENDERING, together=3)
    found = Status(1, State.RENDERING, "m", "now", renderers=(busy, replace(busy, id="b")))
    metrics.show(found, is_running=True)
    metrics.write(file)
    assert 'reeldrop_renderers{state="rendering"} 2.0' in file.read_text()
    assert "reeldrop_batch_size 6.0" in file.read_text()
    lost = replace(found, state=State.NO_RENDERER, renderers=())
    for gone, is_running in ((lost, True), (found, False)):
        metrics.show(found, is_running=True)
        metrics.show(gone, is_running=is_running)
        metrics.write(file)
        assert 'reeldrop_renderers{state="rendering"} 0.0' in file.read_text()
        assert "reeldrop_batch_size 0.0" in file.read_text()


def test_each_renderer_is_shown(tmp_path: Path) -> None:
    """With its machine and what it does; no more once it has left or changed, or nothing runs."""
    file, metrics = tmp_path / "reeldrop.prom", Metrics({})

    def shown(*renderers: RendererNow, is_running: bool = True) -> set[tuple[str, ...]]:
        found = Status(1, State.RENDERING, "m", "now", renderers=renderers)
        metrics.show(found, is_running=is_running)
        metrics.write(file)
        families = text_string_to_metric_families(file.read_text())
        samples = (sample for family in families for sample in family.samples)
        each = [sample for sample in samples if sample.name == "reeldrop_renderer"]
        assert all(sample.value == 1 for sample in each)
        return {tuple(sample.labels[k] for k in ("renderer", "device", "state")) for sample in each}

    busy = RendererNow("a/1", 'a: "T4"', State.RENDERING)
    other = RendererNow("b/2", "b: L4", State.LOADING, "m")
    there = ("a/1", 'a: "T4"', "rendering")
    assert {there, ("b/2", "b: L4", "loading")} == shown(busy, other)
    assert {there, ("b/2", "b: L4", "idle")} == shown(busy, replace(other, state=State.IDLE))
    assert {there} == shown(busy)
    assert not shown(busy, is_running=False)
