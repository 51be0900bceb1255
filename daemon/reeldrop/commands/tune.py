"""`reeldrop tune`: time each way to render on this machine, and note which are fastest."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reeldrop.base.errors import WrongUsage
from reeldrop.commands import check, folders, output
from reeldrop.host import log
from reeldrop.store.lock import TUNER

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.tune.tuning import Trial, Tuner


def find_fastest(config: Config, model: str, rounds: int, *, as_json: bool) -> None:
    """Time each way of a profile, print the measurements, and note what is fastest.

    model: the profile; empty for the daemon's own
    rounds: how often each way is timed

    Raises:
        WrongUsage: there is no such profile.
    """
    check.require_folders(config)
    log.configure(sys.stderr, for_people=True)
    from reeldrop.config import profiles
    from reeldrop.render import pipeline
    from reeldrop.tune import tuned, tuning  # imports torch: takes seconds

    name = model or config.selected_model(cuda=pipeline.cuda_is_available())
    if name not in config.models:
        raise WrongUsage(f"there is no profile '{name}' under models in config.yaml")
    with folders.spool_of(config).lock.held(role=TUNER):
        tuner = tuning.Tuner(*profiles.to_tune(name, config), rounds)
        trials = list(_noted(tuner))
        finding = tuned.Finding(profiles.basis(tuner.source), tuner.speed, tuner.batch_size)
        file = tuned.note(config.spool, name, finding)
    if as_json:
        measured = list(map(dataclasses.asdict, trials))
        output.print_json({"model": name, "trials": measured, "file": file})
        return
    headings = ("way", "seconds", "times as fast", "PSNR", "SSIM", "")
    output.print_rows((trial.cells for trial in trials), headings)
    print(f"{name} is rendered like this from the daemon's next start on: {file}")


def _noted(tuner: Tuner) -> Iterator[Trial]:
    """Yield the trials of a tuner; note the number and the verdict of each, and the time so far."""
    began = time.monotonic()
    most = tuner.most_trials
    output.note(f"at most {most} trials; rounds of each: {tuner.rounds}")
    for number, trial in enumerate(tuner.trials(), start=1):
        seconds = time.monotonic() - began
        output.note(f"{number}/{most}, {seconds:.0f} s: {trial.what}: {trial.verdict}")
        yield trial
