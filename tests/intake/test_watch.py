"""The watch on a folder, and what the library behind it would tell."""

from __future__ import annotations

import warnings
from pathlib import Path

from reeldrop.intake.watch import Watch


def test_warnings_that_quote_all_folders_are_not_kept(tmp_path: Path) -> None:
    """Python would keep each text for the life of the process; other warnings come through."""
    kept: dict[str, int] = {}
    of_others: dict[str, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        watch = Watch(tmp_path, lambda: None)
        watch.close()
        for text in ("of one state of all folders", "of another"):
            warnings.warn_explicit(
                text, RuntimeWarning, "inotify.py", 1, "watchdog.observers.inotify", kept
            )
        with warnings.catch_warnings(record=True) as seen:
            warnings.warn_explicit("news", RuntimeWarning, "a.py", 1, "a.watchdog", of_others)
    assert [] == [text for text in kept if text != "version"]
    assert ["news"] == [str(warning.message) for warning in seen]
