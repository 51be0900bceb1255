"""Programs that tests need on this machine."""

from __future__ import annotations

import os
import shutil

import pytest


def needs(*programs: str) -> None:
    """Skip the test if a program is missing; fail where all programs have to be installed."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/usr/lib/openssh"
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        end = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        end(f"there is no {' and no '.join(missing)} on this machine")
