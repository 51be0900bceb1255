"""An inbox that is scanned by a clock which the test moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reeldrop.base.job import Capabilities, Job
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.intake import Intake
from reeldrop.intake.pace import Intervals
from reeldrop.intake.reading import Reader
from reeldrop.prompts import parsing
from reeldrop.prompts.rules import ModelRules
from reeldrop.store.spool import Spool

from harness.jobs import says

SETTLE = 2.0
SCAN = 5.0
CAPABILITIES = Capabilities({"num_frames": int}, {"num_frames": 8}, 8, 1)
RULES: Mapping[str, ModelRules | None] = {"tiny": ModelRules("tiny", CAPABILITIES, {}, {})}


def claimed(intake: Intake) -> Iterator[Job]:
    """Claim one waiting file after the other, while that is possible."""
    while files := intake.first():
        [job] = intake.take_all(files[:1])
        if job is not None:
            yield job


@dataclass
class Place:
    """An inbox that is looked at by a clock of the test's own."""

    folder: Path
    patient: bool = True
    scan: float = SCAN
    idle: float = SCAN  # events come in real time, and nothing else here does
    rules: Mapping[str, ModelRules | None] = field(default_factory=lambda: RULES)
    now: float = 1000.0
    taken: list[Job] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inbox = self.folder / "inbox"
        self.inbox.mkdir(parents=True)
        self.spool = Spool(self.folder / "spool", self.inbox, self.folder / "failed")
        self.spool.prepare()
        self.intake = self.make_intake()

    def make_intake(self) -> Intake:
        box = Inbox(
            self.inbox, parsing.SUFFIXES, SETTLE, parsing.DEFAULTS_NAME, patient=self.patient
        )
        return Intake(
            box,
            self.spool,
            Reader(self.rules, next(iter(self.rules))),
            Intervals(self.scan, 1.0, self.idle),
            lambda: None,
            clock=lambda: self.now,
        )

    def drop(self, name: str, content: str | bytes = "a horse\n") -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def go_on(self, seconds: float) -> None:
        """Advance the clock, and do what a daemon does, until that time."""
        end = self.now + seconds
        while True:
            self.intake.look(self.now)
            for job in self.intake.cancelled():
                self.cancelled.append(str(job.source))
                self.spool.fail(job, says("cancelled"))
            for job, error in self.intake.refused(patient=True):
                self.refused[str(job.source)] = str(error)
                self.spool.fail(job, says(str(error)))
            self.taken += claimed(self.intake)
            if self.now >= end:
                break
            self.now = min(end, max(self.intake.due(), self.now + 0.01))

    def settle(self) -> None:
        """Let all files settle and be examined, but claim none."""
        self.intake.look(self.now)
        self.now += SETTLE + 0.1
        self.intake.look(self.now)
        assert [] == list(self.intake.refused(patient=True))

    def names(self) -> list[str]:
        """Return the names of the claimed files, in order."""
        return [str(job.source) for job in self.taken]

    def waiting(self) -> dict[str, str]:
        """Return why each file waits, or is not recognised, as `status` says it."""
        (waiting, _), (strays, _) = self.intake.waiting(self.now), self.intake.unrecognised()
        return {found.prompt_file: found.reason for found in (*waiting, *strays)}
