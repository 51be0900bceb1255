"""The first start of a daemon whose model is on the hub."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from harness.hub_server import served
from harness.processes import await_that
from harness.site import Daemon, Site
from reeldrop.render import pins


def test_a_daemon_downloads_its_model(
    site: Site, daemon: Callable[..., Daemon], tiny_pipeline: Path, tmp_path: Path
) -> None:
    """The status shows the progress; a kill loses nothing; the sidecar has the commit."""
    folder = tmp_path / "repository"
    shutil.copytree(tiny_pipeline, folder)
    (folder / "big.ckpt").write_bytes(bytes(1 << 20))
    config = site.folder / "config.yaml"
    with served() as hub:
        hub.add("some/tiny", folder)
        hub.holds_after = 1 << 10
        config.write_text(
            config.read_text().replace(f"path: {tiny_pipeline}", "repository: some/tiny")
        )
        about = "    about: {weights_gb: 100000, offloaded_gb: 100000}\n"
        config.write_text(config.read_text() + about)
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": "0",
        }
        first = daemon(**environment)
        status = site.spool / "status.json"

        def reason() -> str:
            return str(json.loads(status.read_text())["reason"]) if status.exists() else ""

        doubt = first.wait_for("model_may_not_fit")["reason"]
        assert "tiny may not fit: it needs 240000 GB of memory" in doubt
        await_that(lambda: reason().endswith(" MB downloaded"), "the status")
        assert reason().startswith("tiny, 0.0 of 0.")
        assert 0 <= json.loads(status.read_text())["downloaded"] < 0.1
        first.stop(signal.SIGKILL)
        hub.holds_after = None
        site.drop("ball.txt", "a red ball\n")
        daemon(**environment).wait_for("ready")
        hub.close()
        await_that((site.results / "ball" / "ball.txt").exists, "the video")
    assert {"some/tiny": "a" * 40} == pins.read(site.spool / pins.FILE_NAME)
    sidecar = next((site.results / "ball").glob("*.yaml")).read_text()
    assert f"revision: {'a' * 40}" in sidecar
