"""A stage of the training within a given time: its clock, its checkpoints, its log.

The learning rate and the plan follow the share of the time that is spent, so that a stage ends in
time on any machine, and is resumed after a kill with at most `CHECKPOINT_SECONDS` lost. Its time is
the processor time of the leading process: on idle cores the time of a clock; a machine that has
other work takes longer, and the model gets as good. What is drawn at a step follows from the seed
and the step alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from .training import Optimiser, RunningMeans, Worker

CHECKPOINT_SECONDS = 180.0
LOG_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a stage: its number, and the share of the stage's time spent before it."""

    number: int
    share: float  # 0 to 1


class Stage:
    """The state of a stage, on disk every few minutes: the weights, the time spent, the step."""

    def __init__(
        self, worker: Worker, work_dir: Path, name: str, seconds: float, optimiser: Optimiser
    ) -> None:
        self.worker, self.name, self.seconds, self.optimiser = worker, name, seconds, optimiser
        self.checkpoint = work_dir / f"{name}.checkpoint"
        self.log = work_dir / "log.jsonl"
        self.means = RunningMeans()
        self.number, self.spent = 0, 0.0
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            optimiser.load_state_dict(state["optimiser"])
            self.number, self.spent = state["step"], state["spent"]

    def steps(self, on_checkpoint: Callable[[Step], None] | None = None) -> Iterator[Step]:
        """Yield steps until the time is spent; save, log, and call `on_checkpoint` in between.

        All processes see the same share, that of the leading one.
        """
        saved = logged = time.monotonic()
        before = self.spent - time.process_time()
        while (step := Step(self.number, self._agree(self.spent / self.seconds))).share < 1:
            yield step
            self.number += 1
            now = time.monotonic()
            self.spent = before + time.process_time()
            if now - saved >= CHECKPOINT_SECONDS:
                self._save(step, on_checkpoint)
                saved = time.monotonic()
            if self.worker.leads and now - logged >= LOG_SECONDS:
                self.write_log(step)
                logged = now
        self._save(step, on_checkpoint)
        self.write_log(step)

    def _agree(self, share: float) -> float:
        if self.worker.count == 1:
            return share
        value = torch.tensor([share], dtype=torch.float64)
        dist.broadcast(value, 0)
        return float(value)

    def _save(self, step: Step, on_checkpoint: Callable[[Step], None] | None) -> None:
        if not self.worker.leads:
            return
        partial = self.checkpoint.with_suffix(".partial")
        state = {"step": self.number, "spent": self.spent, "optimiser": self.optimiser.state_dict()}
        torch.save(state, partial)
        partial.replace(self.checkpoint)
        if on_checkpoint is not None:
            on_checkpoint(step)

    def write_log(self, step: Step, **more: object) -> None:
        """Append a line of JSON to the log and print it."""
        if not self.worker.leads:
            return
        line = {"stage": self.name, "step": self.number, "spent_s": round(self.spent, 1),
                "share": round(step.share, 4), **self.means.as_dict(), **more}  # fmt: skip
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def learning_rate(step: Step, peak: float, warmup: int = 100) -> float:
    """Rise linearly to `peak`, then fall along a cosine to a hundredth of it."""
    fall = 0.505 + 0.495 * math.cos(math.pi * min(1.0, step.share))
    return peak * min(1.0, (step.number + 1) / warmup) * fall
