"""What the service does now and what has failed, as scripts for the page."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from reeldrop.base import plain_files
from reeldrop.base.escaping import shown
from reeldrop.base.names import PICTURES_SUFFIX
from reeldrop.page import scripts
from reeldrop.page.gallery import write as write_file
from reeldrop.page.status_text import MAX_LISTED, OUTDATED_SECONDS, cut
from reeldrop.store import reports
from reeldrop.store.history import Failure, is_plain
from reeldrop.store.status import Rendering, Status, Waiting

MAX_RETRY_BYTES = 8_000
"""A failed prompt file of more bytes can't be saved from the page."""


def write(
    data: Path,
    status: Status,
    failures: Sequence[Failure],
    failed: Path,
    aside: str,
    *,
    has_preview: bool,
) -> None:
    """Write status and failures for the page into its folder of data.

    aside: where failed prompt files are, for people who see the results
    has_preview: whether there is a picture of what is rendered
    """
    told = _status(status) | {"has_preview": has_preview}
    write_file(data / "status.js", scripts.call("status", told))
    listed = [_failure(failure, failed) for failure in failures[:MAX_LISTED]]
    found = {"listed": listed, "more": len(failures) > MAX_LISTED, "aside": aside}
    write_file(data / "failed.js", scripts.call("failed", found))


def _status(status: Status) -> dict[str, object]:
    return {
        "state": status.state,
        "said": cut(status.said()),
        "is_obstacle": status.state.is_obstacle,
        "updated": status.updated,
        "outdated_seconds": OUTDATED_SECONDS,
        "rendering": _rendering(status.rendering),
        "renderers": [
            {"prompt_file": cut(f"{r.id}, {r.device}"), "reason": cut(r.said())}
            for r in status.renderers[:MAX_LISTED]
        ],
        "queue": _files(status.waiting),
        "queue_count": status.waiting_count,
        "unrecognised": _files(status.unrecognised),
    }


def _rendering(now: Rendering | None) -> dict[str, object] | None:
    if now is None:
        return None
    texts = {"prompt": cut(now.prompt), "prompt_file": cut(now.prompt_file)}
    return dataclasses.asdict(now) | texts


def _files(found: Sequence[Waiting]) -> list[dict[str, str]]:
    return [
        {"prompt_file": cut(waiting.prompt_file), "reason": cut(waiting.reason)}
        for waiting in found[:MAX_LISTED]
    ]


def _failure(failure: Failure, failed: Path) -> dict[str, object]:
    """Return a failure, with its prompt file's text if that is one and short."""
    text = None
    with contextlib.suppress(OSError, ValueError):
        text = plain_files.content(failed / failure.name, MAX_RETRY_BYTES).decode()
    has_pictures = (failed / f"{failure.name}{PICTURES_SUFFIX}").is_dir()
    into = failure.name if has_pictures else _goes_back_to(failed / failure.name, failure.name)
    goes_back = is_plain(failed / failure.name) and not reports.is_reserved(PurePosixPath(into))
    found = {"name": cut(failure.name), "into": shown(into), "reason": cut(failure.reason)}
    found |= {"failed": failure.failed}
    return {**found, "text": text, "has_pictures": has_pictures, "goes_back": goes_back}


def _goes_back_to(place: Path, name: str) -> str:
    """Return the path in the inbox of what failed: with the name that it had there.

    Rendered under its own name, it is cleared.
    """
    path = PurePosixPath(name)
    if before := reports.name_before(place):
        return str(path.with_name(before))
    was = PurePosixPath(reports.about(reports.beside(place)))
    if was.stem and re.fullmatch(re.escape(was.stem) + "-[0-9]+", path.stem):
        return str(path.with_name(was.stem + path.suffix))
    return name
