"""docs/models.md is true of the built-in profiles."""

from __future__ import annotations

import re

import models_table
from reeldrop.config import builtin


def test_the_table_is_up_to_date() -> None:
    """`python tools/models_table.py` writes it, with a row for each profile."""
    text = models_table.PAGE.read_text(encoding="utf-8")
    assert models_table.page(text) == text
    rows = re.findall(r"^\| \[?`([^`]+)`", models_table.table(), flags=re.MULTILINE)
    assert list(builtin.profiles()) == rows
