"""Room on real file systems."""

from __future__ import annotations

from pathlib import Path

from reeldrop.host import disk


def test_room_enough(tmp_path: Path) -> None:
    """Nothing is said where nothing is amiss."""
    assert "" == disk.shortage([tmp_path], 0)


def test_too_little_room_is_named(tmp_path: Path) -> None:
    """The folder, what is free and what was asked for."""
    found = disk.shortage([tmp_path], 1e9)
    assert f"GiB free in {tmp_path}, less than min_free_gib: 1e+09" in found


def test_a_folder_that_is_gone_is_not_short(tmp_path: Path) -> None:
    """Whoever writes there says what is wrong with it."""
    assert "" == disk.shortage([tmp_path / "gone"], 1e9)
