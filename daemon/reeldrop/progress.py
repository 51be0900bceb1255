"""A progress bar for people at a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TextColumn

from reeldrop.status import Status


@contextlib.contextmanager
def shown(for_people: bool) -> Iterator[Callable[[Status], None]]:
    """Show the steps of what is being rendered; the function yielded is told each new status."""
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
