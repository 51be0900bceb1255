"""metrics: what others may read of them, and what they do not stumble over."""

from __future__ import annotations

import os
from pathlib import Path

from reeldrop.notices.metrics import Metrics


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
