"""The dashboard and the alerts in docs/monitoring ask for numbers that there are."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families
from reeldrop.notices.happenings import Happening
from reeldrop.notices.metrics import Metrics
from reeldrop.store.status import Numbers, RendererNow, State, Status

PAGES = Path(__file__).parents[2] / "docs" / "monitoring"
FACTS = {"model": "m", "seconds": "3.0", "batch_size": "2"}


def test_what_is_asked_for_is_there(tmp_path: Path) -> None:
    """Every name in an expression is that of a sample, which Prometheus' format has."""
    metrics = Metrics({"results": tmp_path})
    kinds = ("video", "job", "failed")
    metrics.count([Happening(kind, kind, 0.0, FACTS) for kind in kinds])
    metrics.show(status(Numbers("a", "", 1.0)), is_running=True)
    ladder = (("smaller batch", 2), ("given up", 1))
    numbers = Numbers("a", "", 4.0, (("given up", 1),), 3 << 30, 8 << 30)
    several = (RendererNow("x", "T4", State.IDLE), RendererNow("y", "T4", State.RENDERING))
    metrics.show(replace(status(numbers), renderers=several), is_running=True)
    metrics.show(status(replace(numbers, busy_seconds=4.5, shortages=ladder)), is_running=True)
    metrics.show(status(Numbers("b", "memory", 2.0, ladder, 1, 2)), is_running=True)
    metrics.write(tmp_path / "numbers")
    families = text_string_to_metric_families((tmp_path / "numbers").read_text())
    found = [sample for family in families for sample in family.samples]
    labelled = {(one.name, *one.labels.values()): one.value for one in found}
    assert 5.5 == labelled["reeldrop_busy_seconds_total",]
    expected = {"smaller batch": 4.0, "given up": 2.0}
    assert expected == {k: labelled["reeldrop_memory_shortages_total", k] for k in expected}
    assert 1.0 == labelled["reeldrop_restarts_total", "memory"]
    assert 0.0 == labelled["reeldrop_restarts_total", "killed"]
    assert (1.0, 1.0) == tuple(
        labelled["reeldrop_device_memory_bytes", kind] for kind in ("free", "used")
    )
    samples = {sample.name: sample.value for sample in found}
    assert 1.5 == samples["reeldrop_render_seconds_total"]
    alerts = yaml.safe_load((PAGES / "alerts.yml").read_text())["groups"][0]["rules"]
    panels = json.loads((PAGES / "dashboard.json").read_text())["panels"]
    asked = [alert["expr"] for alert in alerts]
    asked += [target["expr"] for panel in panels for target in panel["targets"]]
    names = {name for expression in asked for name in re.findall(r"reeldrop_\w+", expression)}
    assert len(alerts) >= 5
    assert len(names) >= 10
    assert set() == names - samples.keys()


def test_the_page_lists_all_numbers() -> None:
    """And no others."""
    page = (PAGES.parent / "operations.md").read_text()
    table = page.partition("| metric, after `reeldrop_` |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    listed = re.findall(r"`(\w+)(?:\{[\w,]+\})?`", " ".join(cells))
    found = [
        metric.name.removeprefix("reeldrop_") + "_total" * (metric.type == "counter")
        for metric in vars(Metrics({}))["_registry"].collect()
    ]
    assert sorted(found) == sorted(listed)


def status(numbers: Numbers) -> Status:
    """Return a status with numbers."""
    return Status(1, State.IDLE, "m", "2026-01-01T00:00:00+00:00", numbers=numbers)
