"""What tests need of the machine that they run on."""

from __future__ import annotations

import os
import shutil

import pytest


def lacks(what: str) -> None:
    """Skip a test in a person's own run; fail it where all that tests need has to be there."""
    end = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    end(f"there is no {what} on this machine")


def needs_root() -> None:
    """End the test unless root runs it, who may mount, give files away and act as others."""
    if os.geteuid() != 0:
        lacks("right to do what only root may")


def needs(*programs: str) -> None:
    """End the test if a program is missing."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/usr/lib/openssh"
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        lacks(" and no ".join(missing))
