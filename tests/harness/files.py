"""Change files while a program works on them."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from reeldrop.base import durable

_EXCHANGE = 2


def exchange(one: Path, other: Path) -> None:
    """Exchange two names atomically, by renameat2(2)."""
    assert 0 == ctypes.CDLL(None).renameat2(-100, bytes(one), -100, bytes(other), _EXCHANGE)


def by_links(patch: pytest.MonkeyPatch) -> None:
    """Let files be moved as on file systems without RENAME_NOREPLACE: by a flag that none knows."""
    patch.setattr(durable, "_RENAME_NOREPLACE", 1 << 30)
