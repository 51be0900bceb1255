"""A site: the folders of one daemon, and the daemon as a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.processes import DEADLINE_SECONDS, FAULTY, await_that, run, start
from harness.zygote import REELDROP


@dataclass(frozen=True)
class Site:
    """The folders of one daemon, and its commands."""

    folder: Path

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def failed(self) -> Path:
        return self.results / "_failed"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def drop(self, name: str, content: str | bytes) -> Path:
        """Put a prompt file into the inbox."""
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def configure(self, *lines: str) -> None:
        """Set the keys in these lines in config.yaml; they replace existing ones."""
        config = self.folder / "config.yaml"
        keys = tuple(line.partition(":")[0] + ":" for line in lines)
        kept = [line for line in config.read_text().splitlines() if not line.startswith(keys)]
        config.write_text("\n".join([*lines, *kept]) + "\n")

    def command(
        self, *arguments: str, program: Sequence[str] = (), **kwargs: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a reeldrop command to its end."""
        config = str(self.folder / "config.yaml")
        return run([*(program or REELDROP), *arguments, "--config", config], **kwargs)

    def drain(self, program: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run `reeldrop run --drain`."""
        return self.command("run", "--drain", program=program)


CONFIG = """\
settle_seconds: 0.1
scan_seconds: 0.2
retry_seconds: 0.1
min_free_gib: 0
page: false
model: tiny
models:
  tiny:
    path: {pipeline}
    variant: fp16
    scheduler: DPMSolverMultistepScheduler
    max_batch_size: 2
    defaults: {{num_inference_steps: 3, num_frames: 4, height: 32, width: 32}}
    limits: {{num_frames: 32, height: 128, width: 128, num_inference_steps: 1000}}
"""


def make_site(folder: Path, pipeline: Path) -> Site:
    """Make a site in a new folder: an empty inbox, and a config.yaml with the pipeline."""
    made = Site(folder)
    made.inbox.mkdir(parents=True)
    (made.folder / "config.yaml").write_text(CONFIG.format(pipeline=pipeline))
    return made


class Hold:
    """Holds the renders of some prompts in their first step, until they are released.

    Works with daemons that were started with its `program`, or with `several` renderers.
    """

    def __init__(self, sign: Path) -> None:
        """Hold nothing yet. `sign` is the file that tells the daemons what to hold."""
        self._sign = sign
        self.program = (*FAULTY, f"--hold={sign}")
        self.several = (*FAULTY, f"--several={sign}")

    def hold(self, text: str) -> None:
        """Hold the renders of prompts with this text, and no others."""
        new = self._sign.with_suffix(".new")
        new.write_text(text)
        new.rename(self._sign)

    def release(self) -> None:
        """Let the renders go on."""
        self._sign.unlink(missing_ok=True)


class Daemon:
    """A daemon in a process of its own, with its log as a list of events."""

    def __init__(
        self,
        site: Site,
        program: Sequence[str] = REELDROP,
        options: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.site = site
        self._log = site.folder / "daemon.log"
        self._events: list[dict[str, Any]] = []
        with self._log.open("a") as log:
            self._read_to = log.tell()
            self.process = start(
                [*program, "run", *options, "--config", str(site.folder / "config.yaml")],
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Return the events that the daemon has logged so far, all or those of one name."""
        with self._log.open("rb") as log:
            log.seek(self._read_to)
            whole, end, _half_a_line = log.read().rpartition(b"\n")
        self._read_to += len(whole + end)
        self._events += map(json.loads, whole.splitlines())
        return [event for event in self._events if not name or event["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> dict[str, Any]:
        """Wait until the daemon has logged an event `count` times, and return the last one."""
        await_that(lambda: len(self.events(name)) >= count or self._ended(), f"the event {name}")
        return self.events(name)[count - 1]

    def _ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)
