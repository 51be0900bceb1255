"""Call a function, or kill a process, right before the n-th call that changes the disk."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from reeldrop.base import durable

from harness.zygote import use_huge_pages

CALLS = ("rename", "replace", "link", "unlink", "fsync", "mkdir", "rmdir", "utime")


def interposed(at: int, act: Callable[[], None], patch: pytest.MonkeyPatch) -> Iterator[int]:
    """Call a function right before the `at`-th call that changes something; yield the calls."""
    calls = itertools.count(1)
    acting = False

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            nonlocal acting
            if not acting and next(calls) == at:
                acting = True
                act()
                acting = False
            return function(*arguments, **keywords)

        return wrapper

    for name in CALLS:
        patch.setattr(os, name, wrap(getattr(os, name)))
    patch.setattr(durable, "rename_exclusively", wrap(durable.rename_exclusively))
    return calls


def is_killed(at: int, command: Callable[[], None], patch: pytest.MonkeyPatch) -> bool:
    """Run a command in a process, killed before its `at`-th call; return whether it got there."""
    if at == 1:  # many are to follow
        use_huge_pages()
    pid = os.fork()
    if not pid:
        try:
            interposed(at, lambda: os.kill(os.getpid(), signal.SIGKILL), patch)
            command()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0
