"""What users see while they wait: a progress bar on a terminal, and why nothing is rendered."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TextColumn

from reeldrop.store.status import State, Status

_NO_DAEMON = "no daemon is running; waiting until one is (`reeldrop run` starts it)"


@contextlib.contextmanager
def shown(for_people: bool) -> Iterator[Callable[[Status], None]]:
    """Show a progress bar; yield the function that updates it with a new status.

    Shows nothing unless `for_people`.
    """
    if not for_people:
        yield lambda _status: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=None)

        def observe(status: Status) -> None:
            rendering = status.rendering
            if rendering is None:
                bar.update(task, description=status.line(), total=None, completed=0)
                return
            eta = rendering.eta_seconds
            text = status.line() if eta is None else f"{status.line()}, about {eta:.0f} s left"
            bar.update(task, description=text, total=rendering.steps, completed=rendering.step)

        yield observe


def with_trouble(
    observe: Callable[[Status], None], tell: Callable[[str], None]
) -> Callable[[Status], None]:
    """Return an observer that passes each status to `observe`, and each new obstacle to `tell`."""
    told: State | None = None

    def observe_and_tell(status: Status) -> None:
        nonlocal told
        if status.state != told and status.state.is_obstacle:  # its reason may change each time
            is_missing = status.state == State.NOT_RUNNING
            tell(_NO_DAEMON if is_missing else f"waiting: {status.said()}")
        told = status.state
        observe(status)

    return observe_and_tell
