"""docs/models.md is true of the built-in profiles."""

from __future__ import annotations

import re

import models_table
from reeldrop.base import strict_yaml
from reeldrop.config import builtin, config


def test_the_table_is_up_to_date() -> None:
    """`python tools/models_table.py` writes it, with a row for each profile."""
    text = models_table.PAGE.read_text(encoding="utf-8")
    assert models_table.page(text) == text
    rows = re.findall(r"^\| \[?`([^`]+)`", models_table.table(), flags=re.MULTILINE)
    assert list(builtin.profiles()) == rows


def test_the_examples_are_right() -> None:
    """Each YAML block of the page is a valid config.yaml."""
    text = models_table.PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    .*\n)+(?:\n(?:    .*\n)+)*", text, flags=re.MULTILINE)
    examples = [block for block in blocks if re.match(r"    (model|models):", block)]
    assert 7 == len(examples)
    for example in examples:
        unindented = re.sub(r"^    ", "", example, flags=re.MULTILINE)
        assert strict_yaml.load_all(unindented)
        config.parse(unindented, models_table.PAGE)
