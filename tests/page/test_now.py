"""What the page is told of failures."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from reeldrop.base.names import portable
from reeldrop.page import now
from reeldrop.store import reports
from reeldrop.store.history import Failure
from reeldrop.store.status import State, Status


def told(results: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return what the page is told of the files in `_failed/`, by name."""
    failures = [Failure(name, "why", "") for name in names]
    status = Status(1, State.IDLE, "tiny", "")
    now.write(results, status, failures, results / "_failed", "_failed/", has_preview=False)
    script = (results / "failed.js").read_text()
    listed = json.loads(script.removeprefix("reeldrop.failed(").removesuffix(");\n"))["listed"]
    return {found["name"]: found for found in listed}


def test_only_what_may_be_rendered_is_to_be_put_back(tmp_path: Path) -> None:
    """Not what is only a report, as on a folder; what is a link; nor what has a reserved name."""
    for name in ("a.txt", "_ours/b.txt", "poems/_c.txt"):
        file = tmp_path / "_failed" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a ball\n")
    os.symlink("a.txt", tmp_path / "_failed/link.txt")
    reports.beside(tmp_path / "_failed/folder.txt").write_text("reeldrop could not render it\n")
    found = told(tmp_path, ["a.txt", "_ours/b.txt", "poems/_c.txt", "link.txt", "folder.txt"])
    assert ["a.txt"] == [name for name, failure in found.items() if failure["goes_back"]]


def test_what_got_a_portable_name_goes_back_under_its_own(tmp_path: Path) -> None:
    """`nul.txt` is `nul_.txt` in `_failed/`; rendered as that, its results would be elsewhere."""
    file = tmp_path / "_failed/poems/nul_.txt"
    file.parent.mkdir(parents=True)
    file.write_text("a ball\n")
    reports.beside(file).write_text("reeldrop could not render poems/nul.txt\n")
    found = told(tmp_path, ["poems/nul_.txt"])
    assert "poems/nul.txt" == found["poems/nul_.txt"]["into"]


def test_what_goes_back_has_its_whole_name_however_long(tmp_path: Path) -> None:
    """A saved file with a cut one would end with no suffix of a prompt file."""
    folder, name = "f" * 60, f"{'x' * 180}.txt"
    kept = str(portable(PurePosixPath(folder, name)))
    file = tmp_path / "_failed" / kept
    file.parent.mkdir(parents=True)
    file.write_text("a ball\n")
    reports.beside(file).write_text(f"reeldrop could not render {folder}/{name}\n")
    found = told(tmp_path, [kept])
    assert f"{folder}/{name}" == found[kept]["into"]
