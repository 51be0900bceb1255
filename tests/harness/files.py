"""Change files while a program works on them."""

from __future__ import annotations

import contextlib
import ctypes
import resource
from collections.abc import Iterator
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


@contextlib.contextmanager
def no_larger_than(size: int) -> Iterator[None]:
    """Let no file become larger than some bytes; the error of the kernel names none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
