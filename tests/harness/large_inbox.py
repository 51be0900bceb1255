"""Inboxes with very many files."""

from __future__ import annotations

import json
from pathlib import Path


def fill_inbox(inbox: Path, files: int) -> None:
    """Put `files` prompt files into an inbox, a thousand in each folder."""
    for number in range(files):
        folder = inbox / f"{number // 1000:04}"
        if number % 1000 == 0:
            folder.mkdir()
        (folder / f"{number:06}.txt").write_text(f"A red balloon, number {number}\n")


def waiting_count(site: Path) -> int:
    """Return the daemon's count of prompt files that wait."""
    try:
        status = json.loads((site / "spool" / "status.json").read_bytes())
    except FileNotFoundError:
        return -1
    return int(status["waiting_count"])
