"""The rows of the table of `reeldrop check`."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from reeldrop.base import trouble
from reeldrop.base.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one check.

    detail: what was found, or what is wrong
    may_pass: it is not ok now, but may be later without a change of config.yaml, such as a share
        that is not mounted
    doubt: no problem was found, but it may not work
    """

    what: str
    ok: bool
    detail: str
    may_pass: bool = False
    doubt: bool = False

    @property
    def mark(self) -> str:
        """The result in two letters."""
        return "NO" if not self.ok else "??" if self.doubt else "ok"


def row_of(what: str, attempt: Callable[[], str]) -> Row:
    """Return the row of something that an attempt describes, or of the error that it raises."""
    try:
        return Row(what, True, attempt())
    except ConfigError as error:
        return Row(what, False, str(error))
    except OSError as error:
        may_pass = error.errno != errno.EXDEV
        return Row(what, False, trouble.in_words(error), may_pass)
