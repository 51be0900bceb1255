"""Send the libraries' messages to the log, not to stdout and stderr."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import diffusers
import transformers


def libraries() -> None:
    """Keep libraries off stdout and stderr: no progress bars, messages through logging."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.disable_default_handler()
        library.enable_propagation()
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "torch":
            _leave_to_the_log(logging.getLogger(name))
    # The renderer reports prompts that are too long.
    logging.getLogger("transformers.tokenization_utils_base").setLevel(logging.ERROR)
    # Its errors are raised as well, and reported by the caller.
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)


def _leave_to_the_log(logger: logging.Logger) -> None:
    """Remove the handlers for stderr that torch gives to its loggers."""
    if any(type(handler) is logging.StreamHandler for handler in logger.handlers):
        logger.handlers.clear()
        logger.propagate = True


@contextlib.contextmanager
def about_deprecation() -> Iterator[None]:
    """Silence diffusers' notice at each load that TextToVideoSDPipeline is deprecated."""
    logger = logging.getLogger("diffusers.pipelines.pipeline_utils")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
