"""What the renderer is at: a model, the warm-up or a batch; how far that is, and whether it hangs.

The service's side of the renderer. Does not know where batches come from or frames go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reeldrop import ending
from reeldrop.ending import StallWatch
from reeldrop.job import Batch, Job, shown
from reeldrop.jobs import OpenJob
from reeldrop.status import Rendering

if TYPE_CHECKING:
    from reeldrop.renderer import Renderer


class Workbench:
    """One renderer, and the one thing that it has in hand.

    That is a `batch`, the batch of the `warm_up`, or the model that is `loading`; `loads_for` is
    the job that asked for that, None for the daemon's own model. `step` is the last one done.
    """

    def __init__(self, renderer: Renderer, stall_seconds: float) -> None:
        self._renderer = renderer
        self._stall = StallWatch(stall_seconds)
        self.batch: Batch | None = None
        self.warm_up: Batch | None = None
        self.loading: str | None = None
        self.loads_for: Job | None = None
        self.step = 0
        self._began = 0.0

    @property
    def is_busy(self) -> bool:
        return bool(self.batch or self.warm_up or self.loading)

    def load(self, model: str, job: Job | None = None) -> None:
        """Load a profile's pipeline, for a job or as the daemon's own."""
        self.loading, self.loads_for, self.step = model, job, 0
        self._renderer.load(model)

    def try_out(self, batch: Batch) -> None:
        """Render the warm-up."""
        self.warm_up, self.step = batch, 0
        self._renderer.render(batch)

    def render(self, batch: Batch, now: float) -> None:
        """Render a batch. `now` is monotonic, as everywhere here."""
        self.batch, self.step, self._began = batch, 0, now
        self._renderer.render(batch)

    def step_done(self, step: int) -> None:
        """Note a step."""
        self.step = step
        self._stall.progress()

    def clear(self) -> None:
        """Have nothing in hand any more: it has been answered for."""
        self.batch = self.warm_up = self.loading = None

    def cancel(self) -> None:
        """Stop what is rendered at the end of its step."""
        self._renderer.cancel()

    def close(self) -> None:
        """End the renderer, unless it is in the middle of something that can't be waited for."""
        if not self.is_busy:
            self._renderer.close()

    def hangs(self, now: float) -> bool:
        """Tell whether what is in hand does not go on any more.

        Until the first step is through, a model may have to be read.
        """
        sign = ending.mebibytes_moved() if self.is_busy and not self.step else 0
        return self._stall.is_stalled(now, busy=self.is_busy, sign=sign)

    def doing(self) -> str:
        """Return what is in hand, in words; empty if nothing is."""
        if self.loading:
            return f"loading {self.loading}"
        if self.warm_up:
            return f"warming up {self.warm_up.model}"
        return "rendering" if self.batch else ""

    def progress(self, batch: Batch, opened: OpenJob, now: float) -> Rendering:
        """Return how far the batch of an open job is."""
        steps = max(1, batch.steps)
        eta = None
        if self.step:
            seconds_per_step = (now - self._began) / self.step
            steps_left = steps - self.step + sum(waiting.steps for waiting in opened.waiting)
            eta = round(seconds_per_step * steps_left, 1)
        return Rendering(
            job_id=batch.job_id,
            prompt_file=shown(opened.job.source),
            prompt=batch.prompts[0].prompt,
            number=batch.prompts[0].number,
            count=opened.count,
            step=self.step,
            steps=steps,
            eta_seconds=eta,
        )
