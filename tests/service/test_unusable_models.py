"""Models that can't be used: for how long, and what happens to their prompts."""

from __future__ import annotations

from reeldrop.base.errors import ConfigError, Mistake, Unavailable
from reeldrop.schedule.retries import MAX_PAUSE_SECONDS
from reeldrop.service.models import Models

NOT_NOW, WRONG = Unavailable(Mistake("no memory")), ConfigError(Mistake("no such folder"))


def test_what_becomes_of_prompts_of_a_model_in_trouble() -> None:
    """They wait if the problem may pass, or if their author did not choose the model.

    A drain does not wait.
    """
    for own, is_patient, error, waits in (
        ("m", True, NOT_NOW, True),
        ("m", True, WRONG, True),
        ("other", True, NOT_NOW, True),
        ("other", True, WRONG, False),
        ("m", False, WRONG, False),
        ("other", False, NOT_NOW, False),
    ):
        found = Models(own, 10.0, is_patient=is_patient)
        assert found.failed("m", error, 100.0)
        expected = ({"m": 110.0}, None) if waits else ({}, error)
        assert expected == (found.resting(109.9), found.refusal("m", 109.9)), (own, error)
        assert ({}, None) == (found.resting(110.0), found.refusal("m", 110.0))
        assert found.refusal("another", 100.0) is None


def test_prompts_fail_if_the_only_renderer_can_never_use_their_model() -> None:
    """Also those of the daemon's own profile; they wait if another renderer may join."""
    for own in ("m", "other"):
        for error, is_patient, fails in (
            (WRONG, True, True),
            (NOT_NOW, True, False),
            (NOT_NOW, False, True),
        ):
            found = Models(own, 10.0, is_patient=is_patient)
            found.join("only")
            found.exclude("m", error, "only")
            expected = ({}, error) if fails else ({"m": 110.0}, None)
            assert expected == (found.resting(100.0), found.refusal("m", 100.0)), (own, error)


def test_pauses_grow_until_the_model_works() -> None:
    """Up to ten minutes; the same reason is logged only once."""
    found = Models("m", 10.0, is_patient=True)
    news, pauses = [], []
    for _ in range(8):
        news.append(found.failed("m", NOT_NOW, 0.0))
        pauses.append(found.resting(0.0)["m"])
    assert [True] + [False] * 7 == news
    assert [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, *[MAX_PAUSE_SECONDS] * 2] == pauses
    found.works("m")
    assert {} == found.resting(0.0)
    assert found.failed("m", NOT_NOW, 0.0)
    assert {"m": 10.0} == found.resting(0.0)


def test_a_long_pause_of_config_yaml_stays() -> None:
    """`retry_seconds` may be longer than ten minutes."""
    found = Models("m", 3600.0, is_patient=True)
    found.failed("m", NOT_NOW, 0.0)
    assert {"m": 3600.0} == found.resting(0.0)


def test_a_renderer_that_can_never_use_a_model_is_never_asked_to() -> None:
    """Prompts wait for another renderer; what keeps that from it is what is told."""
    found = Models("own", 10.0, is_patient=True)
    found.join("small")
    found.exclude("m", NOT_NOW, "small")
    assert {"m": 110.0} == found.resting(100.0)
    assert {"m": 1e9 + 10} == found.resting(1e9)
    assert ({"m": "no memory"}, {}) == (found.problems(), found.problems_of("small"))
    assert not found.failed("m", WRONG, 0.0, "small")
    assert {"m"} == found.unusable("small", 1e9)
    assert found.refusal("m", 1e9) is None
    found.join("large")
    assert ({}, {}) == (found.resting(100.0), found.problems())
    assert (frozenset("m"), frozenset()) == (found.unusable("small", 0), found.unusable("large", 0))
    found.failed("m", WRONG, 100.0, "large")
    assert (WRONG, {"m": "no such folder"}) == (found.refusal("m", 100.0), found.problems())
    found.leave("small")
    found.leave("large")
    assert ({}, {}) == (found.resting(100.0), found.problems())
