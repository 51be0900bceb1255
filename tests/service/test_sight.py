"""What is kept of the renderers is what a look at each of them would show."""

from __future__ import annotations

import gc
import math
import random
import weakref
from dataclasses import replace
from typing import Any

import pytest
from reeldrop.base.errors import Unavailable
from reeldrop.base.events import RendererJoined
from reeldrop.base.fleet import Device
from reeldrop.base.job import Batch, Member, Prompt
from reeldrop.base.residents import Memory, Resident
from reeldrop.schedule.view import RendererView
from reeldrop.service.benches import Benches
from reeldrop.service.forecast import Forecast
from reeldrop.service.models import Models
from reeldrop.service.sight import Sight
from reeldrop.service.workbench import Workbench

STEPS = 10


class Fleet:
    """Its renderers ignore their orders."""

    can_lose = True

    def renderer(self, _id: str) -> Fleet:
        return self

    def __getattr__(self, name: str) -> Any:
        return lambda *_given, **_named: None


class World:
    """Renderers to which anything happens at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.benches = Benches(Forecast())
        self.models = Models("m", 5.0, is_patient=True)
        self.held = frozenset[Workbench]()
        self.sight = Sight(self.benches, self.models, lambda _now: self.held)
        self.joined = 0
        self.join()

    def join(self) -> None:
        self.joined += 1
        found = RendererJoined(f"r{self.joined}", Device("card"))
        fleet: Any = Fleet()
        self.models.join(self.benches.join(found, fleet, 600.0).id)

    def leave(self, bench: Workbench) -> None:
        if len(self.benches) > 1:
            self.benches.leave(bench.id)
            self.models.leave(bench.id)
            bench.memory = Memory()  # told late

    def render(self, bench: Workbench) -> None:
        if bench.coming is None:
            arguments = (("num_inference_steps", STEPS),)
            prompt = Prompt(1, "p", "m", arguments, 1, 8.0, ("mp4",))
            bench.render(Batch((Member("j", prompt),)), self.now)

    def step(self, bench: Workbench) -> None:
        if bench.batch is not None and bench.step < STEPS:
            bench.step_done(bench.step + 1, self.now)

    def be_held(self, bench: Workbench) -> None:
        self.held ^= {bench}

    def remember(self, bench: Workbench) -> None:
        resident = Resident(self.random.choice("mn"), device_bytes=1)
        bench.memory = Memory((resident,), 1, 1)

    def happen(self) -> None:
        """Let something happen on one of them."""
        bench, name = self.random.choice([*self.benches]), self.random.choice("mn")
        self.random.choice(
            [
                self.join,
                lambda: self.leave(bench),
                *[lambda: self.render(bench)] * 3,
                *[lambda: self.step(bench)] * 6,
                lambda: bench.batch_done(self.now),
                lambda: bench.load(name),
                lambda: bench.release(name, keeps=True),
                bench.clear,
                lambda: self.remember(bench),
                lambda: self.be_held(bench),
                lambda: self.models.failed(name, Unavailable("no"), self.now, bench.id) and None,
                lambda: self.models.exclude(name, Unavailable("small"), bench.id),
                lambda: self.models.works(name, bench.id),
            ]
        )()
        self.now += self.random.choice([0.0, 0.1, 1.0, 10.0])

    def looked_at(self, bench: Workbench) -> RendererView:
        found = bench.view(self.now, self.models.unusable(bench.id, self.now))
        if bench in self.held:
            return replace(found, is_busy=True, seconds_left=math.inf, is_held=True)
        return found


def what_counts(view: RendererView, now: float) -> tuple[object, ...]:
    """Return what a decision is made by, but for forecasts, which only events change."""
    return (
        *(view.is_busy, view.is_free, view.memory, view.loading, view.unusable, view.is_held),
        view.idle_seconds(now),
    )


@pytest.mark.parametrize("seed", range(8))
def test_what_is_kept_is_what_a_look_at_each_shows(seed: int) -> None:
    """After any events, in any order, and after time alone."""
    world = World(seed)
    for _ in range(400):
        for _ in range(world.random.choice([0, 1, 1, 3])):
            world.happen()
        order, views = world.sight.look(world.now)
        assert [*world.benches] == [*order]
        expected = [what_counts(world.looked_at(bench), world.now) for bench in order]
        assert expected == [what_counts(view, world.now) for view in views]
        assert world.benches.are_busy == all(bench.is_busy for bench in order)
        assert world.benches.is_any_busy == any(bench.is_busy for bench in order)


def test_a_renderer_that_has_left_is_forgotten_though_nobody_looks() -> None:
    """As during a pause: for weeks, machines come and go, and nothing is decided."""
    world = World(0)
    world.sight.look(world.now)
    world.join()
    *_, bench = world.benches
    bench.memory = Memory()
    left = weakref.ref(bench)
    world.leave(bench)
    del bench
    gc.collect()
    assert left() is None


def test_a_model_that_no_renderer_can_use_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look asks once whether its prompts fail, not for each of hundreds of renderers."""
    world = World(0)
    for _ in range(20):
        world.join()
    for bench in world.benches:
        world.models.exclude("n", Unavailable("small"), bench.id)
    asked: list[str] = []
    refusal = Models.refusal

    def noted(models: Models, model: str, now: float) -> Exception | None:
        asked.append(model)
        return refusal(models, model, now)

    monkeypatch.setattr(Models, "refusal", noted)
    _, views = world.sight.look(world.now)
    assert {frozenset("n")} == {view.unusable for view in views}
    assert ["n"] == asked
