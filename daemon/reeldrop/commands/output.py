"""Print the output of commands: rows, JSON and paths to stdout, notes to stderr.

Rows are a table on a terminal, and tab-separated lines elsewhere. Escapes control characters.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from reeldrop.base.escaping import shown, shown_lines

LONGEST_UNBROKEN = 20
"""Columns with longer cells are wrapped if the terminal is too narrow for the table."""


def note(text: str) -> None:
    """Print a note or an error to stderr."""
    print(shown_lines(text), file=sys.stderr)


def print_json(value: Any) -> None:
    """Print JSON on one line, with what is not printable as JSON's own escapes."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    print("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text))


def print_rows(
    rows: Iterable[Sequence[str]], headings: Sequence[str] = (), spare: Sequence[str] = ()
) -> None:
    """Print a table on a terminal; elsewhere, one line of tab-separated cells for each row.

    spare: the columns to leave out on a narrow terminal, the first one first
    """
    lines = [list(map(printable, row)) for row in rows]
    if not sys.stdout.isatty():
        for line in lines:
            print("\t".join(line))
    elif lines:
        _print_table(lines, headings, spare)


def _print_table(
    lines: Sequence[Sequence[str]], headings: Sequence[str], spare: Sequence[str]
) -> None:
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    titles = headings or [""] * len(lines[0])
    columns = list(zip(titles, *lines, strict=True))
    needs = {title: min(max(map(cell_len, (title, *cells))), 40) + 3 for title, *cells in columns}
    kept = needs.keys() - set(spare)
    for title in reversed(spare):
        if sum(needs[column] for column in {*kept, title}) <= console.width:
            kept |= {title}
    table = Table(show_header=bool(headings), box=box.SIMPLE_HEAD, pad_edge=False)
    visible = [column for column in columns if column[0] in kept]
    for title, *cells in visible:
        is_short = max(map(cell_len, cells)) <= LONGEST_UNBROKEN
        table.add_column(title, overflow="fold", no_wrap=is_short)
    for row in zip(*(cells for _title, *cells in visible), strict=True):
        table.add_row(*map(Text, row))
    console.print(table)


def cut(text: str) -> str:
    """Return a text as one printable line; on a terminal, no wider than the terminal."""
    line = printable(text)
    if not sys.stdout.isatty():
        return line
    from rich.cells import cell_len, set_cell_size
    from rich.console import Console

    width = Console().width
    return line if cell_len(line) <= width else set_cell_size(line, width - 1).rstrip() + "…"


def printable(text: object) -> str:
    """Return a text escaped for stdout; for programs, the bytes of file names are kept."""
    return shown(text, raw_bytes=not sys.stdout.isatty())


def path(file: Path) -> str:
    """Return a path in full; on a terminal, relative to the current folder if it is below it."""
    with contextlib.suppress(FileNotFoundError):  # the current folder may have been deleted
        if sys.stdout.isatty() and file.is_relative_to(Path.cwd()):
            return str(file.relative_to(Path.cwd()))
    return str(file)


def local_time(iso: str) -> str:
    """Return an ISO 8601 time as local time; any other text unchanged."""
    try:
        return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return iso
