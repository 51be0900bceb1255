"""The order of the files of tests: the longest first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness import durations

REPORTS = [
    ("tests/base/test_a.py::test_x", 1.0),
    ("tests/whole/test_b.py::test_x[a::b]", 2.0),
    ("tests/base/test_a.py::test_y", 0.5),
]


def test_the_seconds_of_a_file_are_those_of_its_tests() -> None:
    """They are written sorted, the longest first, and read back."""
    found = durations.read(durations.written(REPORTS))
    assert [("whole/test_b.py", 2.0), ("base/test_a.py", 1.5)] == list(found.items())


def test_the_longest_files_begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Unknown files come first; within a file, tests keep their order."""
    (tmp_path / "durations.txt").write_text(durations.written(REPORTS))
    monkeypatch.setattr(durations, "FILE", tmp_path / "durations.txt")
    names = ("base/test_a.py", "base/test_new.py", "whole/test_b.py")
    items: list[Any] = [
        SimpleNamespace(path=tmp_path / name, number=number) for name in names for number in (1, 2)
    ]
    durations.pytest_collection_modifyitems(items)
    order = [(item.path.name, item.number) for item in items]
    expected = ("test_new.py", "test_b.py", "test_a.py")
    assert [(name, number) for name in expected for number in (1, 2)] == order
