"""Which names in the inbox belong to control files: `PAUSE`, and `NAME.cancel` beside `NAME`.

They are empty, so that their existence says all, however they are sent. Knows names and sizes only.
A conflict copy has another name, and so is no control file.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_BYTES = 256
"""Some editors save no empty file. One with more bytes is something else, and is not removed."""

CANCEL = ".cancel"

_LIKE_A_CONTROL = re.compile(r"\Apause|\.cancel", re.IGNORECASE)
"""A part that all their names have: a cheap test, for inboxes with many other files."""

_PAUSE = re.compile(r"pause(\.txt)?", re.IGNORECASE)
_CANCEL = re.compile(r"(?P<name>.+)\.cancel(\.txt)?", re.IGNORECASE | re.DOTALL)


def is_pause(path: str) -> bool:
    """Return whether a file with this path in the inbox asks for a pause."""
    return _PAUSE.fullmatch(path) is not None


def cancelled(name: str) -> str:
    """Return the name of the prompt file that a file of this name cancels; empty if none."""
    found = _CANCEL.fullmatch(name)
    return found["name"] if found is not None else ""


def is_control(name: str, folder: str, size: int, is_prompt_file: Callable[[str], bool]) -> bool:
    """Return whether a plain file is a control file.

    With an ending that Windows or a phone has added, it must be empty, or it is a prompt file.
    """
    if not _LIKE_A_CONTROL.search(name) or size > (0 if is_prompt_file(name) else MAX_BYTES):
        return False
    return (not folder and is_pause(name)) or is_prompt_file(cancelled(name))


def reason(name: str, size: int, *, is_on: bool) -> str:
    """Return why a file that is named like a control file is none; empty for any other name."""
    if not (is_pause(name) or cancelled(name)):
        return ""
    if not is_on:
        return "does nothing: control files are turned off here"
    if size > MAX_BYTES:
        return f"does nothing: it has more than {MAX_BYTES} bytes, and a control file is empty"
    if is_pause(name):
        return "does nothing here: put it at the top of the inbox"
    example = f"the name of a prompt file with {CANCEL} behind it, such as a.txt{CANCEL}"
    return f"cancels nothing: its name must be {example}"
