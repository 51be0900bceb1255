"""`reeldrop` with a pipeline that breaks where a prompt says so; everything else is real.

A prompt with the word `segfault` in it ends the process in C code, `hang` never comes back. With
`--read-only-inbox` as the first argument, no text file can be moved.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
import threading
from typing import Any

import diffusers
from reeldrop import cli

PIPELINE = diffusers.TextToVideoSDPipeline


def _break(prompts: list[str]) -> None:
    text = " ".join(prompts)
    if "segfault" in text:
        ctypes.string_at(0)
    if "hang" in text:
        threading.Event().wait()


def _breaking(call: Any) -> Any:
    @functools.wraps(call)  # which prompt files may set what is read from the signature
    def wrapper(self: Any, prompt: list[str], **arguments: Any) -> Any:
        _break(prompt)
        return call(self, prompt, **arguments)

    return wrapper


def _stuck(rename: Any) -> Any:
    def wrapper(source: Any, target: Any) -> None:
        if str(source).endswith(".txt"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(source))
        rename(source, target)

    return wrapper


PIPELINE.__call__ = _breaking(PIPELINE.__call__)

if __name__ == "__main__":
    if sys.argv[1] == "--read-only-inbox":
        del sys.argv[1]
        os.rename = _stuck(os.rename)
    cli.main()
