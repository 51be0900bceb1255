"""What a model films, judged: the share of held-out captions of which each attribute came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from diffusers import TextToVideoSDPipeline

from . import artefact, captions, judge, world

CAPTION_SEED, FILM_SEED = 2026, 1_000_000  # no training has seen these


@dataclass(slots=True)
class Tally:
    """Counts of what came out right, and what did not."""

    films: int = 0
    right: Counter[str] = field(default_factory=Counter)
    steadiness: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, example: captions.Example, frames: world.Frames) -> bool:
        """Judge a film; return whether all of it is right."""
        verdict = judge.judge(frames)
        matches = judge.matches(example.spec, verdict)
        self.films += 1
        self.right.update(name for name, right in matches.items() if right)
        self.steadiness.append(verdict.steadiness)
        if not matches["all"]:
            seen = [f"{n}: {getattr(verdict, n)}" for n in judge.ATTRIBUTES if not matches[n]]
            self.wrong.append(f"{example.text!r}: {', '.join(seen)}")
        return matches["all"]

    def shares(self) -> dict[str, float]:
        """Return the share of films with each attribute right, and the mean steadiness."""
        shares = {name: self.right[name] / self.films for name in (*judge.ATTRIBUTES, "all")}
        return {**shares, "steadiness": float(np.mean(self.steadiness))}


def films(
    pipeline: TextToVideoSDPipeline,
    examples: list[captions.Example],
    seeds: Iterable[int],
    batch: int = 4,
    steps: int = artefact.STEPS,
    guidance: float = artefact.GUIDANCE,
) -> Iterator[tuple[captions.Example, world.Frames]]:
    """Film each caption with its seed, a few at once."""
    pairs = list(zip(examples, seeds, strict=True))
    for start in range(0, len(pairs), batch):
        some = pairs[start : start + batch]
        texts, numbers = [x.text for x, _ in some], [seed for _, seed in some]
        made = artefact.film(pipeline, texts, numbers, steps, guidance)
        yield from zip((x for x, _ in some), made, strict=True)


def measure(pipeline: TextToVideoSDPipeline, count: int, **settings: float) -> Tally:
    """Film and judge held-out captions."""
    tally = Tally()
    examples = captions.held_out_captions(count, CAPTION_SEED)
    seeds = range(FILM_SEED, FILM_SEED + count)
    for example, frames in films(pipeline, examples, seeds, **settings):  # type: ignore[arg-type]
        tally.add(example, frames)
    return tally


def measure_examples(
    pipeline: TextToVideoSDPipeline, seeds: int, **settings: float
) -> dict[str, Tally]:
    """Film and judge each line of the examples with some seeds."""
    tallies = {}
    for text, spec in captions.EXAMPLES.items():
        tally = tallies[text] = Tally()
        example = captions.Example(text, spec)
        for _, frames in films(pipeline, [example] * seeds, range(seeds), **settings):  # type: ignore[arg-type]
            tally.add(example, frames)
    return tallies


def check(work_dir: Path, count: int = 24) -> dict[str, float]:
    """Say how good the model in the making is, for the training's log."""
    return measure(artefact.assemble(work_dir), count).shares()
