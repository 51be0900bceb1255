"""An end of the process is blamed on a prompt only if that may be the cause: real processes."""

from __future__ import annotations

import json
import os
import random
import signal
import time

from harness.processes import await_that
from harness.site import Site
from harness.zygote import Zygote
from reeldrop.host import ending

FILES = 12
KILLS = 25


def test_kills_at_random_set_nothing_aside(site: Site, zygote: Zygote) -> None:
    """Whoever kills the service again and again loses time, and no prompt file.

    Even where each kill comes before anything is rendered: those first in hand then go last.
    """
    site.configure("max_attempts: 3")
    names = sorted(f"{number}.yaml" for number in range(FILES))
    for name in names:
        site.drop(name, "prompt: a horse\nnum_inference_steps: 1\n")
    log = site.folder / "log"
    log.touch()
    run = ["run", "--drain", "--config", str(site.folder / "config.yaml")]
    chance = random.Random(14)
    for _ in range(KILLS):
        before = log.read_text().count("job_started")
        pid = zygote.start(run, log)
        await_that(lambda: log.read_text().count("job_started") > before, "a job")  # noqa: B023
        time.sleep(chance.uniform(0, 0.05))  # the subject of this test
        os.kill(pid, signal.SIGKILL)
        assert -signal.SIGKILL == zygote.wait(pid)
    assert 0 == zygote.wait(zygote.start(run, log))
    videos = [path.parent.name for path in site.results.glob("*/*.mp4")]
    assert names == sorted(f"{name}.yaml" for name in videos)
    assert [] == list(site.failed.iterdir())
    told = [json.loads(line) for line in log.read_text().splitlines()]
    ends = [event["reason"] for event in told if event["event"] == "previous_process_ended"]
    assert [ending.KILLED] * KILLS == ends
