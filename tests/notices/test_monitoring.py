"""The dashboard and the alerts in docs/monitoring ask for numbers that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families
from reeldrop.notices.happenings import Happening
from reeldrop.notices.metrics import Metrics

PAGES = Path(__file__).parents[2] / "docs" / "monitoring"
FACTS = {"model": "m", "seconds": "3.0", "batch_size": "2"}


def test_what_is_asked_for_is_there(tmp_path: Path) -> None:
    """Every name in an expression is that of a sample, which Prometheus' format has."""
    metrics = Metrics({"results": tmp_path})
    kinds = ("video", "job", "failed")
    metrics.count([Happening(kind, kind, 0.0, FACTS) for kind in kinds])
    metrics.show(None, is_running=False)
    metrics.write(tmp_path / "numbers")
    families = text_string_to_metric_families((tmp_path / "numbers").read_text())
    samples = {sample.name: sample.value for family in families for sample in family.samples}
    assert 1.5 == samples["reeldrop_render_seconds_total"]
    alerts = yaml.safe_load((PAGES / "alerts.yml").read_text())["groups"][0]["rules"]
    panels = json.loads((PAGES / "dashboard.json").read_text())["panels"]
    asked = [alert["expr"] for alert in alerts]
    asked += [target["expr"] for panel in panels for target in panel["targets"]]
    names = {name for expression in asked for name in re.findall(r"reeldrop_\w+", expression)}
    assert 5 == len(alerts)
    assert len(names) >= 10
    assert set() == names - samples.keys()
