"""What a renderer had in hand when it was lost: who is to blame."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness.jobs import empty_place, next_batch, prompts
from reeldrop.base.events import RendererLeft
from reeldrop.base.job import Cause
from reeldrop.service.health import Health
from reeldrop.service.losses import Losses


@pytest.mark.parametrize(
    ("cause", "is_stopping", "blamed"),
    [
        (Cause.WORK, False, [(1, 2)]),
        (Cause.WORK, True, []),
        (Cause.MACHINE, False, []),
    ],
)
def test_only_what_it_rendered_is_to_blame_and_not_if_its_machine_or_the_service_ends(
    cause: Cause, is_stopping: bool, blamed: list[tuple[int, ...]], tmp_path: Path
) -> None:
    """Not what was handed over ahead: that was never begun. All of it is queued again."""
    with empty_place(tmp_path) as place:
        jobs, job = place.jobs, place.claim("a.txt")
        jobs.opened.open(job, prompts(4))
        batch, coming = next_batch(jobs), next_batch(jobs)
        more = {"loading": "", "warm_up": None, "loads_for": None}
        bench = SimpleNamespace(id="r", place="p", batch=batch, coming=coming, **more)
        stages: Any = SimpleNamespace(
            leave=lambda _id, _now: bench, benches=[], jobs=jobs, health=Health()
        )
        phase: Any = SimpleNamespace(is_stopping=is_stopping)
        losses = Losses(stages, phase, lambda: None)
        losses.lost(RendererLeft("r", "it burns", cause), 0.0)
        attempts = jobs.opened[job.id].job.attempts
        assert blamed == [attempt.numbers for attempt in attempts]
        assert not any(attempt.was_alone for attempt in attempts)
        assert [1, 2, 3, 4] == [prompt.number for prompt in jobs.opened[job.id].waiting]
