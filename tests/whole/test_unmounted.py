"""Results that are unmounted while a daemon runs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.processes import await_that
from harness.programs import needs_root
from harness.site import Daemon, Site


@pytest.fixture
def share(site: Site, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A file system for the results, mounted; calling the function mounts or unmounts it."""
    needs_root()
    disk = tmp_path / "disk"
    disk.mkdir()
    site.results.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)

    def do(what: str) -> None:
        how = ["--bind", str(disk)] if what == "mount" else ["--lazy"]  # a look may keep it busy
        subprocess.run([what, *how, site.results], check=True)

    do("mount")
    yield do
    while os.path.ismount(site.results):
        do("umount")
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_nothing_is_rendered_while_the_results_are_not_mounted(
    site: Site, daemon: Callable[..., Daemon], share: Callable[[str], None]
) -> None:
    """Status and log say so, nothing comes under the mount point or leaves the inbox, a bad file
    neither; when they are back, all is done.
    """
    started = daemon()
    started.wait_for("ready")
    share("umount")
    paused = started.wait_for("paused")
    assert f"{site.results}: another folder is in its place" in paused["reason"]
    site.drop("a.txt", "a horse\n")
    site.drop("bad.yaml", "prompt: a\nwidth: x\n")

    def status() -> tuple[bool, int]:
        found = json.loads((site.spool / "status.json").read_text())
        return found["state"] == "paused", found["waiting_count"]

    await_that(lambda: status() == (True, 2), "the status")
    assert [] == os.listdir(site.results)
    assert {"a.txt", "bad.yaml"} == set(os.listdir(site.inbox))
    share("mount")
    started.wait_for("job_ended")
    started.wait_for("job_failed")
    assert (site.results / "a/a_horse.mp4").exists()
    assert (site.failed / "bad.yaml.error.txt").exists()
    share("umount")
    assert [] == os.listdir(site.results)
