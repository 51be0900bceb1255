"""Sweeps, end to end: videos, what they are named, their sheets, and what is made of these."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.processes import FAULTY, await_that
from harness.site import Daemon, Site
from reeldrop.base import strict_yaml, temporaries
from reeldrop.store import status

SWEEP = """\
prompt: a {red|green} fox
wildcards: all
seed: 3
matrix: {guidance_scale: [2, 5]}
"""


def settings(sidecar: Path) -> dict[str, Any]:
    """Return what a sidecar says."""
    found: dict[str, Any] = strict_yaml.plain(strict_yaml.load_all(sidecar.read_text())[0])
    return found


def test_a_sweep(site: Site, daemon: Callable[..., Daemon]) -> None:
    """Every combination is published by a name that tells it apart, once, whatever is killed.

    The sheets come at the end, are no results, and a sidecar renders just its video.
    """
    folder = site.results / "foxes"
    site.drop("foxes.yaml", SWEEP)
    site.drop("many.yaml", SWEEP + f"num_videos_per_prompt: {300}\n")
    first = daemon()
    await_that(lambda: list(site.spool.glob("active/*/sheets.json")), "the sheets")
    first.process.kill()
    first.process.wait()
    (begins,) = first.events("sweep_begins")
    assert 4 == begins["videos"]
    assert begins["about_seconds"] > 0
    assert "2 x 2 x 300 each = 1,200 videos" in (site.failed / "many.yaml.error.txt").read_text()
    stems = [f"a_{c}_fox_guidance_scale={g}" for c in ("green", "red") for g in (2, 5)]
    before = {stem: (folder / f"{stem}.mp4").stat().st_mtime_ns for stem in stems}
    second = daemon()
    await_that((folder / "foxes.yaml").exists, "the end of the job")
    (*_, made) = [*first.events("sheets_made"), *second.events("sheets_made")]
    assert ["_sheet"] == made["sheets"]
    expected = {f"{stem}.{suffix}" for stem in stems for suffix in ("mp4", "jpg", "yaml")}
    expected |= {"_sheet.jpg", "_sheet.mp4", "foxes.yaml", "job.log"}
    assert expected == {path.name for path in folder.iterdir()} - {"job-2.log"}
    assert before == {stem: (folder / f"{stem}.mp4").stat().st_mtime_ns for stem in stems}

    sidecar = settings(folder / f"{stems[0]}.yaml")
    assert {"wildcards": "green", "guidance_scale": 2} == sidecar["rendered"]["swept"]
    assert ("a green fox", 2.0, 3) == tuple(
        sidecar[key] for key in ("prompt", "guidance_scale", "seed")
    )
    shutil.copy(folder / f"{stems[0]}.yaml", site.inbox / "again.yaml")
    shutil.copy(folder / "_sheet.mp4", site.inbox / "sheet.mp4")
    await_that((site.results / "again" / "again.yaml").exists, "the same video")
    await_that((site.failed / "sheet.mp4.error.txt").exists, "the refusal of a sheet")
    names = {path.name for path in (site.results / "again").glob("*.*")}
    assert {f"a_green_fox.{s}" for s in ("mp4", "jpg", "yaml")} | {"again.yaml", "job.log"} == names
    assert "swept" not in settings(site.results / "again" / "a_green_fox.yaml")["rendered"]
    listed = json.loads(site.command("history", "--json").stdout)
    assert 5 == len(listed)

    counted = site.command("check", str(folder / "foxes.yaml"), "--json")
    assert (0, 4) == (counted.returncode, json.loads(counted.stdout)["videos"])
    ordered = site.command("submit", "a {b|c}", "--set", "wildcards=all", "--json")
    assert 2 == json.loads(ordered.stdout)["count"]
    refused = site.command("check", str(site.failed / "many.yaml"))
    assert (1, True) == (refused.returncode, "1,200 videos" in refused.stderr)


def test_sheets_that_hang_hold_up_nothing(site: Site, daemon: Callable[..., Daemon]) -> None:
    """Their job ends without them, those of other jobs are made, and a stop does not wait."""
    site.configure("stall_seconds: 8")
    running = daemon((*FAULTY, "--hang-sheets"))
    for name in ("hang.yaml", "fine.yaml"):
        site.drop(name, "prompt: a fox\nmatrix: {seed: [1, 2]}\n")
    reasons = set[str]()

    def has_ended() -> bool:
        found = status.read(site.spool / status.FILE_NAME)
        reasons.update(waiting.reason for waiting in (found.waiting if found is not None else ()))
        return len(running.events("job_ended")) == 2

    await_that(has_ended, "both jobs")
    assert any("sheets are being made, but for" in reason for reason in reasons)
    (given_up,) = running.events("sheets_not_made")
    assert "no progress for" in given_up["reason"]
    hung, made = (sorted((site.results / name).glob("_sheet.*")) for name in ("hang", "fine"))
    assert ([], ["_sheet.jpg", "_sheet.mp4"]) == (hung, [path.name for path in made])
    await_that((site.results / "hang/hang.yaml").exists, "its prompt file")
    owners = (f"{given_up['job_id']}-sheet.mp4", "another-sheet.mp4")
    ours, others = (temporaries.beside(site.results / "hang/x", owner) for owner in owners)
    for file in (ours, others):  # as if the thread had gone on until the end of the process
        file.touch()
    site.drop("hang again.yaml", "prompt: a fox\nmatrix: {seed: [1, 2]}\n")
    await_that(lambda: list(site.spool.glob("active/*/sheets.json")), "more sheets")
    assert 0 == running.stop()
    assert 0 == site.drain().returncode
    assert (False, True) == (ours.exists(), others.exists())
    assert [] == list((site.spool / "sheets-left").iterdir())
