"""What users see while they wait: a progress bar on a terminal, and why nothing is rendered."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from reeldrop.base import durations, escaping
from reeldrop.store.status import Rendering, State, Status

_NO_DAEMON = "no daemon is running; waiting until one is (`reeldrop run` starts it)"


@contextlib.contextmanager
def bar_of_status(for_people: bool) -> Iterator[Callable[[Status], None]]:
    """Show a progress bar; yield the function that updates it with a new status.

    The time left comes first, and a name that does not fit is cut. Shows nothing unless
    `for_people`.
    """
    if not for_people:
        yield lambda _status: None
        return
    text = Column(no_wrap=True, overflow="ellipsis")
    columns = (
        BarColumn(bar_width=12),
        TextColumn("{task.description}", markup=False, table_column=text),
    )
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=None)

        def observe(status: Status) -> None:
            rendering, share = status.rendering, status.downloaded
            if rendering is None:
                total = None if share is None else 1.0
                bar.update(task, description=status.line(), total=total, completed=share or 0)
            else:
                text = in_words(status, rendering)
                bar.update(task, description=text, total=rendering.steps, completed=rendering.step)

        yield observe


def in_words(status: Status, rendering: Rendering) -> str:
    """Return the progress of a render in words; the end may be cut off."""
    parts = [f"step {rendering.step}/{rendering.steps}"]
    if rendering.eta_seconds is not None:
        parts.insert(0, f"{durations.in_words(rendering.eta_seconds)} left")
    if status.waiting_count:
        parts.append(f"{status.waiting_count} waiting")
    beside = f" and {rendering.together - 1} beside it" if rendering.together > 1 else ""
    parts.append(f"video {rendering.number}/{rendering.count}{beside} of {rendering.prompt_file}")
    return escaping.shown(", ".join(parts))


def with_trouble(
    observe: Callable[[Status], None], tell: Callable[[str], None], prompt_file: str
) -> Callable[[Status], None]:
    """Return an observer that passes each status to `observe`, and each new obstacle to `tell`.

    One is that the model of the prompt file can't be used.
    """
    last: State | None = None
    last_of_model = ""

    def observe_and_tell(status: Status) -> None:
        nonlocal last, last_of_model
        if status.state != last and status.state.is_obstacle:  # its reason may change each time
            is_missing = status.state == State.NOT_RUNNING
            tell(_NO_DAEMON if is_missing else f"waiting: {status.said()}")
        last = status.state
        of_model = status.trouble_of_model(prompt_file)
        if of_model and of_model != last_of_model:
            tell(f"waiting: {of_model}")
            last_of_model = of_model
        observe(status)

    return observe_and_tell
