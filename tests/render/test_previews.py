"""Previews: small pictures of what is rendered, which change nothing of it."""

from __future__ import annotations

import io
import itertools
import queue
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reeldrop.base.events import BatchFailed, BatchRendered, Event, Previewed
from reeldrop.base.job import Batch, Member, Prompt
from reeldrop.render import previews
from reeldrop.render.renderer import InProcessRenderer
from reeldrop.render.source import ModelSource, bundled_model
from structlog.testing import capture_logs

SETTINGS = {
    "num_frames": 8, "height": 128, "width": 128, "num_inference_steps": 4, "guidance_scale": 1.0,
}  # fmt: skip


class Bundled:
    """The bundled model in a renderer."""

    def __init__(self, preview_steps: int) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._previewed: list[Previewed] = []
        source = ModelSource(
            "bundled", str(bundled_model()), variant="fp16", preview_steps=preview_steps
        )
        self._renderer = InProcessRenderer({"bundled": source}, self._take)

    def _take(self, event: Event) -> None:
        if isinstance(event, Previewed):
            self._previewed.append(event)
        else:
            self._events.put(event)

    def render(self, text: str) -> tuple[Batch, np.ndarray]:
        """Render a video; return its batch and its frames."""
        prompt = Prompt(1, text, "bundled", tuple(SETTINGS.items()), 1, 8, ("mp4",))
        batch = Batch((Member("job", prompt),))
        self._renderer.render(batch)
        while not isinstance(event := self._events.get(timeout=120), BatchRendered):
            assert not isinstance(event, BatchFailed), event.error
        return batch, event.frames[0]

    def close(self) -> None:
        """End, once all previews are made: they may come after their video."""
        self._renderer.close()

    def shown(self, batch: Batch) -> list[np.ndarray]:
        """Return the previews of a batch."""
        pictures = (one.picture for one in self._previewed if one.batch is batch)
        return [np.asarray(Image.open(io.BytesIO(data)), float) for data in pictures]


def distance(picture: np.ndarray, frame: np.ndarray) -> float:
    """Return how far a preview is from a frame: the root of the mean square, in grey levels."""
    small = Image.fromarray(frame).resize(picture.shape[1::-1], Image.Resampling.BOX)
    return float(np.sqrt(np.mean((picture - np.asarray(small, float)) ** 2)))


def test_previews_look_like_the_video_and_leave_it_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They come closer to it with each step; the videos before have taught the colours."""
    monkeypatch.setattr(previews, "PAUSE_SECONDS", 0.0)
    star, balloon, ball = (
        "a yellow star standing still at night",
        "a red balloon rising over the sea",
        "a green ball bouncing on grass",
    )
    plain = Bundled(0)
    batch, without = plain.render(star)
    plain.close()
    assert [] == plain.shown(batch)
    model = Bundled(1)
    (batch, first), (_, second), (last, third) = map(model.render, (star, balloon, ball))
    model.close()
    assert [] == model.shown(batch)  # nothing was learned so far
    assert np.array_equal(without, first)
    shown = model.shown(last)
    assert 3 == len(shown)  # the last of four steps is followed by the video itself
    distances = [distance(picture, third[4]) for picture in shown]
    assert sorted(distances, reverse=True) == distances
    assert 2 * distances[-1] < min(distance(shown[-1], other[4]) for other in (first, second))


def test_an_error_of_a_preview_ends_neither_renders_nor_other_previews(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is logged, once for a model."""
    monkeypatch.setattr(previews, "PAUSE_SECONDS", 0.0)
    for place, name in ((previews.Colours, "learn"), (previews, "jpeg")):
        monkeypatch.setattr(place, name, failing_once(getattr(place, name)))
    with capture_logs() as events:
        model = Bundled(1)
        (_, _, (batch, _)) = map(model.render, ("a yellow star", "a red balloon", "a green ball"))
        model.close()
    assert 2 == len(model.shown(batch))  # of three
    warnings = [event for event in events if event["log_level"] == "warning"]
    assert [("no_previews", "ValueError: no picture")] == [
        (event["event"], event["reason"]) for event in warnings
    ]


def failing_once(act: Callable[..., object]) -> Callable[..., object]:
    """Return a function that fails at its first call."""
    calls = itertools.count()

    def acting(*arguments: object) -> object:
        if not next(calls):
            raise ValueError("no picture")
        return act(*arguments)

    return acting


def test_another_model_of_the_same_name_has_its_own_colours() -> None:
    """A reload may exchange a model that has left the memory; it may have other channels."""
    prompt = Prompt(1, "a", "m", tuple(SETTINGS.items()), 1, 8, ("mp4",))
    made = previews.Previews(lambda _batch, _picture: None)

    def colours(location: str) -> previews.Colours:
        loaded: Any = SimpleNamespace(source=ModelSource("m", location, preview_steps=1))
        found = made.of(loaded, Batch((Member("job", prompt),)))
        assert found is not None
        return found.colours

    assert colours("one") is colours("one") is not colours("another")
    made.close(1.0)


def test_a_preview_is_small_whatever_it_shows() -> None:
    """A sync tool carries it: 20 kB, even of noise in a wide frame."""
    noise = np.random.default_rng(1).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    data = previews.jpeg(Image.fromarray(noise))
    assert len(data) <= 20_000
    square = previews.jpeg(Image.fromarray(noise[:160, :160]))
    assert len(square) <= 20_000
