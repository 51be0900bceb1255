"""`reeldrop top`: what the daemon does, live in a terminal, with keys to steer it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reeldrop.base.errors import WrongUsage

if TYPE_CHECKING:
    from reeldrop.config.config import Config

_MISSING = """\
`reeldrop top` needs the package textual, which is not installed; this installs it:
    {python} -m pip install 'reeldrop[top]'
`reeldrop status` shows the same once, without it"""


def show(config: Config) -> int:
    """Show the state until somebody quits; return the exit code.

    Raises:
        WrongUsage: there is no terminal, or Textual is not installed.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        raise WrongUsage("`reeldrop top` needs a terminal; `reeldrop status` does not")
    try:
        from reeldrop.commands.top_screen import Top
    except ModuleNotFoundError as error:
        if error.name != "textual":
            raise
        raise WrongUsage(_MISSING.format(python=sys.executable)) from None
    return Top(config).show()
