"""What fails at one place is tried at others, as far as they can; real jobs, and no renderer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from harness.jobs import NOW, RETRY_SECONDS, Place, empty_place, prompts
from reeldrop.base.errors import RenderError, Unavailable
from reeldrop.base.events import RendererJoined
from reeldrop.base.fleet import Device
from reeldrop.base.job import Attempt, Batch, Job, Member, Prompt
from reeldrop.base.residents import Memory, Resident
from reeldrop.service.benches import Benches
from reeldrop.service.elsewhere import HOLD_SECONDS, Elsewhere
from reeldrop.service.forecast import Forecast
from reeldrop.service.health import MOST, Health
from reeldrop.service.models import Models
from reeldrop.service.workbench import Workbench
from reeldrop.store import job_files

READY = Memory((Resident("m"),))


class Orders:
    """A fleet and its renderers, which ignore their orders."""

    can_lose = True

    def renderer(self, _id: str) -> Orders:
        return self

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_args, **_more: None


@dataclass
class Cluster:
    """Two places, `a` and `b`, with a model loaded; prompts 1 to 3 of a job have failed at `a`."""

    place: Place
    elsewhere: Elsewhere
    job: Job
    prompts: tuple[Prompt, ...]
    a: Workbench
    b: Workbench

    @property
    def failed(self) -> list[tuple[str, int]]:
        """The keys of what has failed."""
        return [(self.job.id, prompt.number) for prompt in self.prompts[:MOST]]

    def fail(self, bench: Workbench, prompt: Prompt) -> None:
        """Let a prompt that waits fail at a place."""
        opened, error = self.place.jobs.opened[self.job.id], RenderError("broken")
        opened.waiting.remove(prompt)
        opened.in_hand.add(prompt.number)
        health = self.elsewhere.health
        health.failed(bench.place, bench.id, self.job.id, prompt, "broken", NOW)
        self.place.jobs.batches.failed(self.job.id, prompt, error, bench.place)

    def rests(self) -> list[bool]:
        """Return of each prompt that rests whether it does so for the usual pause."""
        resting = self.place.jobs.opened[self.job.id].resting
        due = [at for at, _ in sorted(resting, key=lambda found: found[1].number)]
        return [at - min(due) > RETRY_SECONDS / 2 for at in due]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster as described there."""
    with empty_place(tmp_path) as place:
        jobs, orders, benches = place.jobs, Orders(), Benches(Forecast())
        fleet: Any = orders
        models, health = Models("m", 1.0, is_patient=True), Health()
        for name in "ab":
            device = Device(f"card {name}", place=name)
            benches.join(RendererJoined(f"{name}/1", device), fleet, 600.0).memory = READY
            models.join(f"{name}/1")
        jobs.opened.kinds = {bench.kind: {} for bench in benches}
        elsewhere = Elsewhere(benches, jobs.opened, models, health)
        jobs.batches.places = elsewhere.places
        job = place.claim("a.txt")
        found = prompts(8)
        jobs.opened.open(job, found)
        a, b = benches
        made = Cluster(place, elsewhere, job, found, a, b)
        for prompt in found[:MOST]:
            made.fail(a, prompt)
        yield made


def cancel(cluster: Cluster) -> None:
    """Cancel the job: nothing of it is left."""
    job_files.ask_to_cancel(cluster.job)
    cluster.place.jobs.batches.cancel_asked([cluster.job.id])


def lose_model(cluster: Cluster) -> None:
    """Let the other place be without the model."""
    cluster.b.memory = Memory()


def suspect(cluster: Cluster) -> None:
    """Let other prompts fail at the other place."""
    for prompt in cluster.prompts[MOST : 2 * MOST]:
        cluster.fail(cluster.b, prompt)


def be_too_small(cluster: Cluster) -> None:
    """Let such prompts be too large for the other place."""
    batch = Batch((Member(cluster.job.id, cluster.prompts[0]),))
    cluster.place.jobs.opened.fits.note(batch, 0, cluster.b.kind)


def render(cluster: Cluster) -> None:
    """Let the other place have rendered all that has failed."""
    cluster.elsewhere.health.rendered("b", cluster.failed)


def be_busy(cluster: Cluster) -> None:
    """Let the other place be in a long video."""
    batch = Batch((Member(cluster.job.id, cluster.prompts[-1]),))
    cluster.b.render(batch, NOW - 10 * HOLD_SECONDS)
    cluster.b.step_done(1, NOW - 1)


@pytest.mark.parametrize("end", [cancel, lose_model, suspect, be_too_small, render, be_busy])
def test_a_suspected_place_waits_only_for_those_who_can_try_what_failed(
    end: Callable[[Cluster], None], cluster: Cluster
) -> None:
    """Else its renderer would have nothing to do for ever."""
    held = cluster.elsewhere.is_held
    assert [True, False] == [held(cluster.a, NOW), held(cluster.b, NOW)]
    end(cluster)
    assert not held(cluster.a, NOW)


def test_a_suspected_place_does_not_wait_for_ever(cluster: Cluster) -> None:
    """It waits until the last of what failed has been tried, but for a limited time."""
    held = cluster.elsewhere.is_held
    cluster.elsewhere.health.rendered("b", cluster.failed[:-1])
    assert held(cluster.a, NOW + HOLD_SECONDS - 1)
    assert not held(cluster.a, NOW + HOLD_SECONDS)


def test_a_place_waits_for_the_load_that_others_have_begun(cluster: Cluster) -> None:
    """Nobody else tries a load only because it failed there."""
    health, held = cluster.elsewhere.health, cluster.elsewhere.is_held
    health.forget("a")
    for number in range(MOST):
        health.load_failed("a", f"a/{number}", "n", "killed", NOW, works_elsewhere=False)
    assert not held(cluster.a, NOW)
    cluster.b.load("n")
    assert held(cluster.a, NOW)
    cluster.b.clear()
    health.loaded("b", "n")
    assert not held(cluster.a, NOW)


@pytest.mark.parametrize("end", [lose_model, suspect, be_too_small])
def test_the_last_place_that_can_render_is_not_left_out(
    end: Callable[[Cluster], None], cluster: Cluster
) -> None:
    """However broken it is."""
    render(cluster)
    assert ["a"] == [place for place, _ in cluster.elsewhere.health.broken()]
    assert cluster.elsewhere.can_spare("a", NOW)
    end(cluster)
    assert not cluster.elsewhere.can_spare("a", NOW)


def test_a_prompt_goes_elsewhere_at_once_only_where_it_can_be_rendered(cluster: Cluster) -> None:
    """Else all its tries would be used up in a row, at the same place."""
    cluster.elsewhere.models.exclude("m", Unavailable("it is too small"), "b/1")
    cluster.fail(cluster.a, cluster.prompts[MOST])
    assert [False] * MOST + [True] == cluster.rests()
    opened = cluster.place.jobs.opened[cluster.job.id]
    opened.wake(float("inf"))
    cluster.fail(cluster.a, cluster.prompts[MOST])
    assert [MOST + 1] == [*opened.failures]


def lost_load(name: str) -> Attempt:
    """Return an attempt whose renderer ended while it loaded a model at a place."""
    return Attempt("then", (), "killed", renderer=f"{name}/1", place=name)


@pytest.mark.parametrize(
    ("ends", "usable", "fails"),
    [("aa", True, False), ("aa", False, True), ("ab", True, True), ("aaaa", True, True)],
)
def test_a_job_does_not_fail_after_lost_loads_at_one_place(
    ends: str, usable: bool, fails: bool, cluster: Cluster
) -> None:
    """If others can use the model; but they have to come to it at some time."""
    jobs, loads = cluster.place.jobs, cluster.place.jobs.loads
    loads.are_recorded = False
    for name in ends:
        loads.lost(cluster.job, lost_load(name))
    if not usable:
        cluster.elsewhere.models.exclude("m", Unavailable("it is too small"), "b/1")
    began = loads.begin_to_render(cluster.job.id, "m")
    assert fails == (began is None) == (cluster.job.id not in jobs.opened)


def test_what_failed_at_a_broken_place_is_forgotten_in_the_spool_too(cluster: Cluster) -> None:
    """Jobs wait there that were open, or were never."""
    jobs, spool = cluster.place.jobs, cluster.place.spool
    other = cluster.place.claim("b.txt")
    for name in "ab":
        found = spool.find(other.id)
        assert found is not None
        jobs.loads.lost(found, lost_load(name))
    opened = jobs.opened[cluster.job.id]
    jobs.spooled.past[cluster.job.id] = opened.past
    jobs.spooled.past["c"] = replace(opened.past, tries={})
    jobs.spooled.forgive("a")
    assert {1: {}, 2: {}, 3: {}} == jobs.spooled.past[cluster.job.id].tries
    assert {} == jobs.spooled.past["c"].tries
    found = spool.find(other.id)
    assert found is not None
    assert ["b"] == [attempt.place for attempt in found.attempts]
