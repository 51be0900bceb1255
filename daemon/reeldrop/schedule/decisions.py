"""What may be done next: the output of a decision of `schedule`.

Pure records: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

from reeldrop.schedule.view import FileView, JobView, SpoolView


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until something happens.

    left: the jobs and files that renderers with nothing to do leave to quicker ones
    """

    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """Open a job of the spool, or claim and open a file, for the next batch.

    also: the files after it that are claimed at the same time
    """

    what: SpoolView | FileView
    also: tuple[FileView, ...] = ()


@dataclass(frozen=True, slots=True)
class PutBack:
    """Put an open job back into the spool until its turn comes, to make room for another.

    is_over: until the next night instead
    """

    job_id: str
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """Let a renderer free the device from a model.

    keeps: whether the weights are kept in host memory, from where they come back fast
    """

    renderer: int
    model: str
    keeps: bool


@dataclass(frozen=True, slots=True)
class Load:
    """Let a renderer load the model that a job needs: to be read, or for its first prompt."""

    renderer: int
    what: SpoolView | JobView


@dataclass(frozen=True, slots=True)
class Render:
    """Let a renderer render prompts of open jobs in one batch.

    picks: the jobs, each with how many of its first waiting prompts; the first job leads the batch
    passed_over: the jobs and files that had other prompts waiting ahead of the last pick
    waits: the jobs and files that were first, but need a model that is not loaded
    """

    renderer: int
    picks: tuple[tuple[str, int], ...]
    passed_over: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()


Decision = Wait | Open | PutBack | Release | Load | Render
