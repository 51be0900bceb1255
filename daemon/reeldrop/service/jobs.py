"""All jobs in hand, by what is done with them: open, in the spool, rendered, ended.

Used by the service. Does not render or encode, nor know where files go in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from reeldrop.schedule.turns import Turns
from reeldrop.service.batches import Batches
from reeldrop.service.limits import Limits, Outcome
from reeldrop.service.loads import Loads
from reeldrop.service.open_jobs import OpenJobs
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.store.status import Waiting


class Jobs:
    """The jobs in hand.

    turns: whose turn it is among the groups of one priority
    outcome: what this run has done
    opened: those whose prompts are known
    spooled: the others
    suspects: those of them that are held back
    ends: ends them
    batches: what goes out of the open ones to be rendered, and what comes back
    loads: the models that are loaded for jobs
    """

    def __init__(self, spool: Spool, results: Results, limits: Limits) -> None:
        self.turns = Turns()
        self.outcome = Outcome()
        self.opened = OpenJobs(spool, results, limits, self.turns, self.outcome)
        self.spooled = self.opened.spooled
        self.suspects = self.spooled.suspects
        self.ends = self.spooled.ends
        self.batches = Batches(self.opened, self.outcome)
        self.loads = Loads(spool.attempts, self.opened, self.batches)

    @property
    def limits(self) -> Limits:
        """What config.yaml sets."""
        return self.opened.limits

    def use(self, limits: Limits) -> None:
        """Apply other limits. Only while no job is begun."""
        self.opened.limits = self.ends.limits = limits
        self.spooled.begin_anew()

    @property
    def are_begun(self) -> bool:
        """Return whether any job has been opened and has not ended."""
        return len(self.opened) > 0 or self.spooled.are_begun

    def groups(self) -> set[str]:
        """Return the groups that have a job in hand, as far as they are known."""
        return {opened.group for opened in self.opened} | self.spooled.groups()

    def due(self, *, opens: bool) -> list[float]:
        """Return when failed prompts are to be tried again; if `opens`, postponed jobs, too."""
        resting = [at for opened in self.opened for at, _ in opened.resting]
        return [*resting, *self.spooled.due()] if opens else resting

    def waiting(
        self, unusable: Mapping[str, str] = MappingProxyType({}), night: str = ""
    ) -> list[Waiting]:
        """Return the jobs that were begun and wait to go on.

        unusable: why models can't be used for now
        night: why jobs wait for the night; empty if it is night
        """
        return [*self.opened.waiting(night), *self.spooled.waiting(unusable, night)]

    def trouble(self) -> str:
        """Return why nothing new should begin, a disk or a share in trouble; empty if it may."""
        return self.spooled.retries.trouble()
