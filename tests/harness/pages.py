"""Extract the code blocks of the documentation, so that tests can run them unchanged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_HEADING_OR_BLOCK = re.compile(r"^#+ (.*)\n|((?:^ {4}.*\n|^\n(?= {4}))+)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """The unindented text of an indented block, and the heading above it."""

    heading: str
    text: str


def blocks(page: Path, heading: str | None = None) -> list[Block]:
    """Return the blocks of a page, or those under one heading, in order."""
    found, above = [], ""
    for match in _HEADING_OR_BLOCK.finditer(page.read_text()):
        if match[1] is not None:
            above = match[1]
        elif match[2].strip():
            lines = match[2].strip("\n").splitlines()
            found.append(Block(above, "\n".join(line[4:] for line in lines) + "\n"))
    return [block for block in found if heading in (None, block.heading)]
