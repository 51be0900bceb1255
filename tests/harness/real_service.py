"""The service, installed on a machine with a real systemd, and helpers for its tests."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from harness.real_systemd import PYTHON, Machine
from harness.site import CONFIG, Site

UNIT = "reeldrop.service"
DROP_INS = "/run/systemd/system"
MODEL = "/opt/model"
CONFIG_FILE = "/etc/reeldrop/config.yaml"
FOLDERS = """\
inbox: {0}/inbox
results: {0}/results
spool: {0}/spool
failed: {0}/results/_failed
"""

FOR_TESTS = f"""\
[Service]
Environment=LD_LIBRARY_PATH={PYTHON}/lib OMP_NUM_THREADS=1 TORCHINDUCTOR_VEC_ISA_OK=1
RestartSec=100ms
"""
"""The changes that tests make to every service: Python's library, a shorter pause, and what
conftest.py sets."""


def with_model(machine: Machine, pipeline: Path, folder: str = MODEL) -> None:
    """Copy a pipeline to a machine, readable for everybody."""
    shutil.copytree(pipeline, machine.path(folder))
    machine.run("chmod", "--recursive", "a+rX", folder)


class Service:
    """A unit on a machine, with its folders and its config.yaml."""

    def __init__(self, machine: Machine, unit: str = UNIT, folder: str = "/srv/reeldrop") -> None:
        self.machine = machine
        self.unit = unit
        self.folder = folder
        self.site = Site(machine.path(folder))
        self.since: tuple[str, ...] = ()

    def configure(self, **changes: Any) -> None:
        """Write a config.yaml with the tiny pipeline and these keys."""
        keys = tuple(f"{key}:" for key in changes)
        kept = [line for line in self._config().splitlines() if not line.startswith(keys)]
        lines = [*(f"{key}: {value}" for key, value in changes.items()), *kept]
        self.machine.path(CONFIG_FILE).write_text("\n".join(lines) + "\n")

    def _config(self) -> str:
        return FOLDERS.format(self.folder) + CONFIG.format(pipeline=MODEL)

    def is_as_begun(self, *more: str) -> bool:
        """Return whether the service works as after `begin`, with only these drop-ins added."""
        drop_ins = {f"{name}.conf" for name in ("for-tests", *more)}
        return (
            self.show("ActiveState") == "active"
            and drop_ins == {*os.listdir(self.machine.path(f"{DROP_INS}/{self.unit}.d"))}
            and self._config() == self.machine.path(CONFIG_FILE).read_text()
        )

    def drop_in(self, name: str, text: str) -> None:
        """Add a drop-in, as an operator does."""
        folder = self.machine.path(f"{DROP_INS}/{self.unit}.d")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.conf").write_text(text)
        self.machine.run("systemctl", "daemon-reload")

    def systemctl(self, verb: str, *, check: bool = True) -> str:
        """Run a systemctl command on the unit, and return its output."""
        done = self.machine.run("systemctl", verb, self.unit, check=check)
        return done.stdout + done.stderr

    def show(self, name: str) -> str:
        """Return a property of the unit."""
        return self.machine.show(self.unit, name)[name]

    def await_state(self, name: str, value: str) -> None:
        """Wait until a property of the unit has a value."""
        self.machine.await_that(lambda: self.show(name) == value, f"{name}={value}")

    def await_files(self, *names: str) -> None:
        """Wait until files are in the results."""
        wanted = [self.site.results / name for name in names]
        self.machine.await_that(lambda: all(path.exists() for path in wanted), f"{names}")

    def await_step(self, name: str) -> None:
        """Wait until the daemon tells systemd that it is in step 1 or later of a prompt file."""
        is_in_a_step = re.compile(rf"rendering {re.escape(name)} .*, step [1-9]").search
        self.machine.await_that(lambda: is_in_a_step(self.show("StatusText")), f"a step of {name}")

    def drop(self, name: str, content: str) -> None:
        """Put a prompt file into the inbox."""
        self.site.drop(name, content)

    def journal(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the unit's journal entries since the test began."""
        return self.machine.journal(f"--unit={self.unit}", *self.since, *arguments)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the unit's journal entries of one event."""
        return self.journal(f"EVENT={name}")

    def begin(self) -> None:
        """Reset the service and its folders before a test."""
        self.systemctl("stop", check=False)
        self.systemctl("reset-failed", check=False)
        shutil.rmtree(self.machine.path(f"{DROP_INS}/{self.unit}.d"), ignore_errors=True)
        self.machine.run("systemd-tmpfiles", "--create", "reeldrop.conf")
        for folder in (self.site.inbox, self.site.results, self.site.spool):
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.begin_journal()
        self.configure()
        self.drop_in("for-tests", FOR_TESTS)

    def clear(self) -> None:
        """Empty the inbox and the results while the service works."""
        for folder in (self.site.inbox, self.site.failed, self.site.results):
            for path in folder.iterdir():
                if path != self.site.failed:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def begin_journal(self) -> None:
        """Let `journal` and `events` return what is logged from now on."""
        (last,) = self.machine.journal("--lines=1")
        # Not --after-cursor: in systemd 252, it skips one matching entry too many.
        seconds, rest = divmod(int(last["__REALTIME_TIMESTAMP"]) + 1, 1_000_000)
        self.since = (f"--since=@{seconds}.{rest:06}",)
