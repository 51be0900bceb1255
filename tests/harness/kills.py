"""Call a function, or kill a process, right before the n-th call that changes the disk.

Or note these calls: what is flushed, and when, decides what a power cut leaves.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from reeldrop.base import durable, temporaries

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


def noted(patch: pytest.MonkeyPatch) -> list[str]:
    """Note the names of what is flushed, named and removed from now on; `~` is a temporary one."""
    steps = list[str]()

    def name(path: Any) -> str:
        found = os.path.basename(path)
        return "~" if temporaries.is_temporary(found) else found

    def note(module: Any, function: str, step: Callable[..., str]) -> None:
        real = getattr(module, function)

        def noting(*arguments: Any, **keywords: Any) -> None:
            real(*arguments, **keywords)
            steps.append(step(*arguments))

        patch.setattr(module, function, noting)

    note(os, "fsync", lambda fd: f"flush {name(os.readlink(f'/proc/self/fd/{fd}'))}")
    note(os, "unlink", lambda path: f"remove {name(path)}")
    for module, function in ((os, "link"), (os, "rename"), (os, "replace")):
        note(module, function, lambda _source, target: f"name {name(target)}")
    note(durable, "rename_exclusively", lambda _source, target: f"name {name(target)}")
    return steps


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
