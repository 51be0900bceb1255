"""Run the test files that took longest first, so that no process is idle at the end.

A pytest plugin. `pytest --note-durations` writes the seconds into `tests/durations.txt`.
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "durations.txt"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the file."""
    parser.addoption("--note-durations", action="store_true", help=f"write {FILE.name}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests: unknown files first, then the longest files."""
    known = read(FILE.read_text())
    items.sort(key=lambda item: -known.get(_name(item.path), float("inf")))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the file, if the option is set."""
    config = terminalreporter.config
    if config.getoption("--note-durations"):
        reports = [one for group in terminalreporter.stats.values() for one in group]
        noted = [one for one in reports if isinstance(one, pytest.TestReport)]
        FILE.write_text(written([(one.nodeid, one.duration) for one in noted]))


def written(durations: list[tuple[str, float]]) -> str:
    """Return a line for each file, the longest first, from the durations of node ids."""
    seconds: Counter[str] = Counter()
    for node, duration in durations:
        seconds[node.partition("::")[0].removeprefix("tests/")] += duration
    return "".join(f"{value:6.1f} {name}\n" for name, value in seconds.most_common())


def read(text: str) -> dict[str, float]:
    """Return the seconds of each file."""
    pairs = (line.split(maxsplit=1) for line in text.splitlines())
    return {name: float(value) for value, name in pairs}


@functools.cache
def _name(path: Path) -> str:
    return path.relative_to(FILE.parent).as_posix() if FILE.parent in path.parents else str(path)
