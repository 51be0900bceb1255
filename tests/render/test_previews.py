"""Previews: small pictures of what is rendered, which change nothing of it."""

from __future__ import annotations

import io
import queue

import numpy as np
import pytest
from PIL import Image
from reeldrop.base.events import BatchFailed, BatchRendered, Event, Previewed
from reeldrop.base.job import Batch, Member, Prompt
from reeldrop.render import pipeline, previews
from reeldrop.render.renderer import InProcessRenderer
from reeldrop.render.source import ModelSource

SETTINGS = {"num_frames": 8, "height": 128, "width": 128, "num_inference_steps": 4}


class Bundled:
    """The bundled model in a renderer."""

    def __init__(self, preview_steps: int) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        source = ModelSource(
            "bundled", str(pipeline.bundled()), variant="fp16", preview_steps=preview_steps
        )
        self._renderer = InProcessRenderer({"bundled": source}, self._events.put)

    def render(self, text: str) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the frames of a video, and its previews."""
        prompt = Prompt(1, text, "bundled", tuple(SETTINGS.items()), 1, 8, ("mp4",))
        batch = Batch((Member("job", prompt),))
        self._renderer.render(batch)
        shown = []
        while not isinstance(event := self._events.get(timeout=120), BatchRendered):
            assert not isinstance(event, BatchFailed), event.error
            if isinstance(event, Previewed):
                assert event.batch is batch
                shown.append(np.asarray(Image.open(io.BytesIO(event.picture)), float))
        return event.frames[0], shown

    def close(self) -> None:
        self._renderer.close()


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
    without, shown = plain.render(star)
    assert [] == shown
    plain.close()
    model = Bundled(1)
    first, shown = model.render(star)
    assert [] == shown  # nothing was learned so far
    assert np.array_equal(without, first)
    second, _ = model.render(balloon)
    third, shown = model.render(ball)
    model.close()
    assert 3 == len(shown)  # the last of four steps is followed by the video itself
    distances = [distance(picture, third[4]) for picture in shown]
    assert sorted(distances, reverse=True) == distances
    assert 2 * distances[-1] < min(distance(shown[-1], other[4]) for other in (first, second))


def test_a_preview_is_small_whatever_it_shows() -> None:
    """A sync tool carries it: 20 kB, even of noise in a wide frame."""
    noise = np.random.default_rng(1).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    data = previews.jpeg(Image.fromarray(noise))
    assert len(data) <= 20_000
    square = previews.jpeg(Image.fromarray(noise[:160, :160]))
    assert len(square) <= 20_000
