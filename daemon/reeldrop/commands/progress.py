"""What users see while they wait: a progress bar on a terminal, and why nothing is rendered."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TextColumn

from reeldrop.store.status import NOT_RUNNING, Status

_GOES_ON = ("idle", "rendering", "loading", "warming", "stop")
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
    told = ""

    def observe_and_tell(status: Status) -> None:
        nonlocal told
        kind = status.state.partition(":")[0]  # the rest may change with each status
        if kind != told and not kind.startswith(_GOES_ON):
            tell(_NO_DAEMON if kind == NOT_RUNNING else f"waiting: {status.state}")
        told = kind
        observe(status)

    return observe_and_tell
