"""A tiny model in a renderer of this process, and comparisons of its frames."""

from __future__ import annotations

import queue
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from reeldrop.base.events import (
    BatchFailed,
    BatchRendered,
    Event,
    ModelFailed,
    ModelLoaded,
    Previewed,
    RendererEnded,
    StepDone,
)
from reeldrop.base.job import Batch, Job, Member, Picture, Prompt
from reeldrop.prompts import parsing
from reeldrop.prompts.rules import ModelRules
from reeldrop.render.renderer import InProcessRenderer
from reeldrop.render.source import ModelSource
from reeldrop.store import sidecars

STEPS = 2
LIKE_DB = 60.0
"""Frames with at least this PSNR are equal up to rounding."""


class Model:
    """One tiny model, saved in a folder, in a renderer of this process that makes previews.

    tiny: how it was built; `ask` are settings of a small prompt
    settings: of its source, beside those that all have
    """

    def __init__(self, name: str, tiny: Any, folder: Path, **settings: Any) -> None:
        self.tiny = tiny
        self.folder = folder
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        common: dict[str, Any] = {"speed": {"mixed_precision": False}, "preview_steps": 1}
        source = ModelSource(name, str(folder), **common, **settings)
        self.renderer = InProcessRenderer({name: source}, self._take)
        self.renderer.load(name)
        loaded = self.events.get(timeout=120)
        assert isinstance(loaded, ModelLoaded), loaded
        self.rules = ModelRules(name, loaded.capabilities, {}, {})
        self.steps: list[int] = []
        self.previews: list[bytes] = []
        self._cancel_at = 0

    def _take(self, event: Event) -> None:
        if isinstance(
            event, ModelLoaded | ModelFailed | BatchRendered | BatchFailed | RendererEnded
        ):
            self.events.put(event)
        if isinstance(event, Previewed):
            self.previews.append(event.picture)
        if not isinstance(event, StepDone):
            return
        self.steps.append(event.step)
        if event.step == self._cancel_at:
            self.renderer.cancel(event.batch)

    def prompt(
        self,
        text: str = "a horse runs",
        seed: int = 1,
        pictures: tuple[Picture, ...] = (),
        **changed: Any,
    ) -> Prompt:
        """Return a small prompt, as a prompt file would give it."""
        settings = {"prompt": text, "num_inference_steps": STEPS, **self.tiny.ask, **changed}
        known = {key: value for key, value in settings.items() if key in self.rules.keys}
        resolved = self.rules.resolve({**known, "seed": seed})
        arguments = (
            (key, resolved[key])
            for key in self.rules.capabilities.settings
            if resolved[key] is not None
        )
        return Prompt(
            number=1,
            prompt=text,
            model=self.rules.name,
            arguments=tuple(arguments),
            seed=seed,
            fps=resolved["fps"],
            formats=("mp4",),
            pictures=pictures,
        )

    def answer(self, *prompts: Prompt, cancel_at: int = 0) -> BatchRendered | BatchFailed:
        """Render a batch."""
        self._cancel_at = cancel_at
        self.steps.clear()
        self.renderer.render(Batch(tuple(Member("job", prompt) for prompt in prompts)))
        event = self.events.get(timeout=120)
        assert isinstance(event, BatchRendered | BatchFailed)
        return event

    def render(self, *prompts: Prompt) -> BatchRendered:
        """Render a batch that must not fail."""
        event = self.answer(*prompts)
        assert isinstance(event, BatchRendered), event
        return event


def like(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether frames are equal up to rounding."""
    difference = one.astype(float) - other.astype(float)
    error = float(np.mean(difference**2))
    return one.shape == other.shape and (error == 0 or 10 * np.log10(255**2 / error) >= LIKE_DB)


def from_sidecar(model: Model, prompt: Prompt, done: BatchRendered) -> Prompt:
    """Return the prompt that a video's sidecar asks for."""
    job = Job("job", PurePosixPath("a.yaml"), Path("/nowhere"), ())
    text = sidecars.text(job, prompt, done.rendered[0])
    rules = {model.rules.name: model.rules}
    file = parsing.parse("a.yaml", text.encode(), (), rules, model.rules.name, lambda _number: 7)
    [again] = file.prompts
    return again
