"""Which places fail what others render."""

from __future__ import annotations

import math

from reeldrop.base.job import Prompt
from reeldrop.service.health import MOST, Health
from reeldrop.service.models import ENDS, Models

NOW = 100.0


def fail(health: Health, place: str, *numbers: int) -> None:
    """Let prompts fail at a place."""
    for number in numbers:
        prompt = Prompt(number, "p", "m", (), 0, 8, ("mp4",))
        health.failed(place, f"{place}/1", "job", prompt, f"reason {number}", NOW)


def test_a_place_is_broken_when_others_render_what_fails_there() -> None:
    """All of several failures in a row, and not if they fail anywhere."""
    health = Health()
    fail(health, "a", 1, 2)
    health.rendered("b", [("job", 1)])
    assert "" == health.suspicion("a")
    fail(health, "a", 3)
    assert "3 failures in a row, the last one: reason 3" == health.suspicion("a")
    health.rendered("b", [("job", 3)])
    assert [] == health.broken()  # one may be a bad prompt
    health.rendered("b", [("job", 2)])
    assert [("a", "a/1")] == health.broken()
    health.forget("a")
    assert [] == health.broken()

    fail(health, "a", *range(10, 10 + MOST))
    assert {"m"} == {failure.model for failure in health.failures("a")}
    assert [] == health.broken()
    fail(health, "b", 10)  # it fails there, too
    assert "" == health.suspicion("a") == health.suspicion("b")
    fail(health, "a", 13)
    health.rendered("a", [("job", 14)])
    health.rendered("b", [("job", 11)])
    assert [] == health.broken()


def test_a_place_is_broken_when_only_there_a_model_ends_renderers() -> None:
    """It was loaded elsewhere before, or is so later."""
    health = Health()
    for number in range(MOST):
        health.load_failed("a", f"a/{number}", "m", "killed", NOW, works_elsewhere=False)
    health.loaded("a", "m")
    health.loaded("b", "n")
    assert [] == health.broken()
    health.loaded("b", "m")
    assert [("a", f"a/{MOST - 1}")] == health.broken()
    for number in range(MOST):
        health.load_failed("c", f"c/{number}", "m", "killed", NOW, works_elsewhere=True)
    assert ["a", "c"] == [place for place, _ in health.broken()]


def test_a_model_that_ends_each_renderer_rests_for_longer_each_time() -> None:
    """Until it has rendered something: to be loaded is not enough."""
    models, now = Models("m", 20.0, is_patient=True), 1000.0
    told = [models.ended("m", "killed", now, "a") for _ in range(ENDS + 3)]
    assert [None] * (ENDS - 1) == told[: ENDS - 1]
    assert all(told[ENDS - 1 :])
    assert now + 20 * 2**3 == models.resting(now)["m"]
    assert (
        "6 renderers in a row ended while they loaded it, the last one: killed"
        == (models.problems()["m"])
    )
    assert models.ends_renderers("m", now)
    models.join("a")
    models.works("m", "a")
    models.leave("a")
    assert models.ends_renderers("m", now)
    assert not models.ends_renderers("m", math.inf)
    models.renders("m", "a")
    assert {} == models.problems() == models.resting(now)


def test_a_model_is_not_condemned_while_another_place_tries_it() -> None:
    """The place may be to blame; but a place where it has ended a renderer says nothing new."""
    models = Models("m", 20.0, is_patient=False)
    assert not any(models.ended("m", "killed", NOW, "a", {"b"}) for _ in range(ENDS + 3))
    assert {} == models.problems()
    assert models.ended("m", "killed", NOW, "b", {"a"}) is not None
    assert models.refusal("m", NOW) is not None
