"""`reeldrop tune`: time each way to render, and note which are fastest.

On the device of this machine, or with `engine: ray` on each kind of card of the cluster.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Iterator
from operator import itemgetter
from typing import TYPE_CHECKING

from reeldrop.base.errors import WrongUsage
from reeldrop.base.trial import Trial, Tried, Tuned
from reeldrop.commands import check, folders, output
from reeldrop.host import log
from reeldrop.store.lock import TUNER

if TYPE_CHECKING:
    from reeldrop.config.config import Config


def find_fastest(config: Config, model: str, rounds: int, *, as_json: bool) -> None:
    """Time each way of a profile, print the measurements, and note what is fastest.

    model: the profile; empty for the daemon's own
    rounds: how often each way is timed

    Raises:
        WrongUsage: there is no such profile.
        ConfigError: the model or the cluster can't be used.
        Unavailable: there is no renderer, or one could not measure; what others found is noted.
    """
    check.require_folders(config)
    log.configure(sys.stderr, for_people=True)
    from reeldrop.config import profiles
    from reeldrop.render import devices
    from reeldrop.tune import tuned  # imports torch: takes seconds

    name = model or config.selected_model(cuda=devices.cuda_is_available())
    if name not in config.models:
        raise WrongUsage(f"there is no profile '{name}' under models in config.yaml")
    plain, file = profiles.untuned(name, config), config.spool / tuned.FILE_NAME
    trials: list[tuple[str, Trial]] = []
    with folders.spool_of(config).lock.held(role=TUNER):
        output.note(f"rounds of each trial: {rounds}")
        for device, told in _noted(_told(config, name, rounds)):
            if isinstance(told, Tried):
                trials.append((device, told.trial))
            else:
                basis = profiles.basis(plain, device)
                found = tuned.Finding(basis, dict(told.speed), told.batch_size)
                tuned.note(config.spool, name, device, found)
    if as_json:
        measured = [{"device": device, **dataclasses.asdict(trial)} for device, trial in trials]
        output.print_json({"model": name, "trials": measured, "file": file})
        return
    headings = ("device", "way", "seconds", "times as fast", "PSNR", "SSIM", "")
    by_device = sorted(trials, key=itemgetter(0))
    output.print_rows(((device, *trial.cells) for device, trial in by_device), headings)
    print(f"{name} is rendered like this from the daemon's next start on: {file}")


def _told(config: Config, name: str, rounds: int) -> Iterator[tuple[str, Tried | Tuned]]:
    """Yield the trials of each device, and at its end what is fastest on it."""
    from reeldrop.config import profiles
    from reeldrop.render import devices
    from reeldrop.tune.tuning import Tuner

    if config.engine == "ray":
        from reeldrop.cluster import tuners

        yield from tuners.tune(config, name, rounds)
    else:
        plain = profiles.untuned(name, config)
        tuner = Tuner(*profiles.to_tune(plain, config.allowed(name)), rounds)
        yield from ((devices.name(), told) for told in tuner.tell())


def _noted(told: Iterator[tuple[str, Tried | Tuned]]) -> Iterator[tuple[str, Tried | Tuned]]:
    """Pass on what devices tell; note the number and verdict of each trial, and the time so far."""
    began = time.monotonic()
    numbers: Counter[str] = Counter()
    for device, one in told:
        if isinstance(one, Tried):
            numbers[device] += 1
            seconds, trial = time.monotonic() - began, one.trial
            at = f"{device}: {numbers[device]}/{one.most}, {seconds:.0f} s"
            output.note(f"{at}: {trial.what}: {trial.verdict}")
        yield device, one
