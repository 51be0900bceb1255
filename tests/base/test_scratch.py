"""Temporary folders of processes that were killed are removed, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from reeldrop.base import scratch

HOLDER = "from reeldrop.base import scratch; print(scratch.make('ours-'), flush=True); input()"


def test_what_a_killed_process_has_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what another process still uses, nor has just made, nor has another name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert holder.stdout is not None
    held = Path(holder.stdout.readline().decode().strip())
    (held / "file").touch()
    young, other = tmp_path / "ours-young", tmp_path / "theirs-old"
    for folder in (young, other):
        folder.mkdir()
    for old in (held, other):
        os.utime(old, (0, 0))
    mine = scratch.make("ours-")
    assert {held, young, other, mine} == set(tmp_path.iterdir())
    assert 0o700 == mine.stat().st_mode & 0o777
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    os.utime(mine, (0, 0))
    again = scratch.make("ours-")
    assert {young, other, mine, again} == set(tmp_path.iterdir())
