"""`reeldrop history`: list the videos, or what failed and why, newest first."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from reeldrop.base.names import CLEARED_FOLDER
from reeldrop.commands import folders, output
from reeldrop.store import history
from reeldrop.store.history import Failure

if TYPE_CHECKING:
    from reeldrop.config.config import Config


def list_videos(config: Config, limit: int, *, as_json: bool) -> None:
    """Print the newest videos, at most `limit`."""
    videos = history.videos(config.results, config.failed, limit)
    if as_json:
        output.print_json([dataclasses.asdict(video) for video in videos])
        return
    rows = (
        (
            output.path(video.files[0]),
            video.prompt,
            video.model,
            f"{video.seconds:.1f}",
            output.local_time(video.finished),
        )
        for video in videos
    )
    headings = ("video", "prompt", "model", "seconds", "finished")
    output.print_rows(rows, headings, spare=("model", "seconds", "prompt"))
    are_all = len(videos) < limit
    count = len(videos) if are_all else history.count(config.results, config.failed)
    _note_what_is_left_out(len(videos), count, "videos", "history")


def list_failures(config: Config, limit: int, *, as_json: bool) -> None:
    """Print what failed last, at most `limit` prompt files."""
    _list(folders.failures(config.failed, config), limit, "--failed", as_json=as_json)


def list_cleared(config: Config, limit: int, *, as_json: bool) -> None:
    """Print what failed last and has been rendered since, at most `limit` prompt files."""
    cleared = config.failed / CLEARED_FOLDER
    _list(folders.failures(cleared, config), limit, "--cleared", as_json=as_json)


def _list(failures: list[Failure], limit: int, option: str, *, as_json: bool) -> None:
    listed = failures[:limit]
    if as_json:
        output.print_json([dataclasses.asdict(failure) for failure in listed])
        return
    rows = ((f.name, f.reason, output.local_time(f.failed)) for f in listed)
    output.print_rows(rows, ("prompt file", "what is wrong", "when"))
    what = f"{option.removeprefix('--')} prompt files"
    _note_what_is_left_out(len(listed), len(failures), what, f"history {option}")


def _note_what_is_left_out(listed: int, count: int, what: str, command: str) -> None:
    if not count:
        output.note(f"there are no {what}")
    elif count > listed:
        rest = count - listed
        output.note(f"{rest} more; `reeldrop {command} --limit {count}` shows all {what}")
