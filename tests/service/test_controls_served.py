"""Who has only the folders steers a real daemon: pause, cancel, NOW, NIGHT and AGAIN."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from harness.processes import await_that
from harness.site import Daemon, Hold, Site
from reeldrop.base import strict_yaml
from reeldrop.store import status
from reeldrop.store.status import State, Status


def of(site: Site) -> Status:
    """Return the daemon's last status."""
    found = status.read(site.spool / status.FILE_NAME)
    assert found is not None
    return found


def settings(sidecar: Path) -> dict[str, Any]:
    """Return the settings of a video."""
    found: dict[str, Any] = strict_yaml.plain(strict_yaml.load_all(sidecar.read_text())[0])
    return found


def night(*hours: int) -> str:
    """Return a line of config.yaml: the night is so many hours from now."""
    begin, end = (f"{datetime.now() + timedelta(hours=hour):%H:%M}" for hour in hours)
    return f'night: "{begin}-{end}"'


def test_the_folder_steers(site: Site, daemon: Callable[..., Daemon]) -> None:
    """One day of somebody who has only the folders."""
    hold = Hold(site.folder / "hold")
    hold.hold("a slow one")
    site.configure("page: true", night(2, 3))
    running = daemon(hold.program)
    running.wait_for("ready")

    def waits(name: str) -> str:
        return next((w.reason for w in of(site).waiting if w.prompt_file == name), "")

    # In the middle of a render: a pause, and a cancel of what is rendered and of what waits.
    site.drop("slow.txt", "a slow one\na second one\na third one\n")
    await_that(lambda: of(site).rendering is not None, "the slow one")
    site.drop("gone.txt", "never\nnor this\n")
    site.drop("first.yaml", "prompt: first\nseed: 5\n")
    await_that(lambda: waits("gone.txt") and waits("first.yaml"), "the queue")
    await_that(lambda: waits("gone.txt").endswith(": 2 videos"), "how many videos it asks for")
    site.drop("PAUSE.txt", "")
    await_that(lambda: of(site).state is State.PAUSED, "the pause")
    said = "paused by inbox/PAUSE.txt; delete it to go on"
    assert (said, False) == (of(site).said(), of(site).rendering is None)
    text = site.results / "STATUS.txt"
    await_that(lambda: text.exists() and said in text.read_text(), "the text of the status")
    site.drop("slow.txt.cancel", "")
    site.drop("gone.txt.cancel", "")
    await_that(lambda: len(list(site.failed.glob("*.error.txt"))) == 2, "the ends of both")
    await_that(lambda: of(site).rendering is None, "the end of the render")
    assert {"PAUSE.txt", "first.yaml"} == {path.name for path in site.inbox.iterdir()}
    assert "waits for its turn" == waits("first.yaml")
    assert "cancel" in (site.failed / "gone.txt.error.txt").read_text()

    # While it is paused, two more come: one that goes first, and one that waits for the night.
    site.drop("NIGHT/poems/late.yaml", "prompt: late\nformat: gif\n")
    site.drop("NOW/poems/soon.yaml", "prompt: soon\nformat: gif\n")
    await_that(lambda: len(of(site).waiting) == 3, "all three")
    assert "NOW/poems/soon.yaml" == of(site).waiting[0].prompt_file
    assert waits("NIGHT/poems/late.yaml").startswith("waits for the night, until ")
    (site.inbox / "PAUSE.txt").unlink()
    await_that((site.results / "first/first.yaml").exists, "the first one")
    await_that(lambda: len(running.events("job_ended")) == 3, "both")
    assert (site.results / "poems/soon/soon.gif").exists()
    started = [event["prompt_file"] for event in running.events("job_started")]
    assert ["NOW/poems/soon.yaml", "first.yaml"] == started[-2:]

    # Once more, from what came back; with the name and the time of the original.
    sidecar = site.results / "first/first.yaml"
    again = site.inbox / "AGAIN/first.yaml"
    again.parent.mkdir()
    shutil.copy2(sidecar, again)
    takes = site.results / "first"
    await_that(lambda: len(list(takes.glob("*.mp4"))) == 2, "another take")
    assert not again.exists()
    one, other = (settings(mp4.with_suffix(".yaml")) for mp4 in sorted(takes.glob("*.mp4")))
    assert ("first", "first") == (one["prompt"], other["prompt"])
    assert 5 in (one["seed"], other["seed"])
    assert one["seed"] != other["seed"]
    await_that((site.results / "first/_order/first.yaml").exists, "the order")

    # The night begins.
    assert (site.inbox / "NIGHT/poems/late.yaml").exists()
    site.configure(night(-1, 1))
    assert 0 == site.command("reload").returncode
    await_that((site.results / "poems/late/late.gif").exists, "the late one")
