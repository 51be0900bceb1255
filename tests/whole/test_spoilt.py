"""A spool and results with damage of every kind: everything else still works."""

from __future__ import annotations

import json
import os
from pathlib import Path

from harness.site import Site


def claimed(site: Site, number: int, name: str) -> Path:
    """Leave a job in the spool, as an ended daemon does, and return its folder."""
    folder = site.spool / "active" / f"20260101-00000{number}-000000-abcdef"
    folder.mkdir(parents=True)
    (folder / name).write_text("a red ball\n")
    (folder / "job.json").write_text(json.dumps({"source": name, "defaults": []}))
    return folder


def spoil(site: Site) -> None:
    """Damage one record of each kind, each in another way."""
    record = claimed(site, 1, "record.txt") / "job.json"
    record.unlink()
    record.mkdir()
    (claimed(site, 2, "long.txt") / "job.json").write_text(json.dumps({"source": "x" * 5000}))
    (claimed(site, 3, "attempts.txt") / "attempts.json").mkdir()
    os.mkfifo(claimed(site, 4, "pipe.txt") / "attempts.json")
    (claimed(site, 5, "log.txt") / "job.log").mkdir()
    for name in ("status.json", "status.tmp", "ending"):
        (site.spool / name).mkdir()
    (site.spool / "tuned.json").write_text('{"tiny": {"speed": {"no way": true}}}')
    (site.failed / "bad.txt.error.txt").mkdir(parents=True)
    (site.failed / "old.txt.error.txt").write_bytes(b"What is wrong:  \x1b[2J\xff\n")
    (site.results / "forged").mkdir()
    os.mkfifo(site.results / "forged/forged.yaml")


def test_one_bad_record_stops_nothing(site: Site) -> None:
    """Good files are rendered, damaged ones are set aside, and all commands work."""
    spoil(site)
    site.drop("good.txt", "a red ball\n")
    site.drop("bad.txt", "# nothing\n")
    drained = site.drain()
    assert (1, False) == (drained.returncode, "Traceback" in drained.stdout + drained.stderr)
    videos = {path.parent.name for path in site.results.rglob("*.mp4")}
    assert {"good", "attempts", "pipe", "log"} == videos
    failed = {path.name for path in site.failed.glob("*.txt") if path.is_file()}
    assert {"record.txt", "long.txt"} <= failed
    assert not any((site.spool / "active").iterdir())
    for command in ("status", "history", "history --failed", "retry --all", "status --json"):
        ended = site.command(*command.split())
        assert (0, False) == (ended.returncode, "Traceback" in ended.stderr), command
        assert "\x1b" not in ended.stdout + ended.stderr
