"""Shared fixtures and helpers: a tiny pipeline on disk, a site, a daemon as a real process."""

from __future__ import annotations

import os

# One thread is fastest for such small pipelines; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import ctypes
import functools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from zygote import REELDROP, Process, Zygote

DEADLINE_SECONDS = 120.0

NEW_PROCESS = (sys.executable, "-s", "-m", "reeldrop")
"""`reeldrop` as a new process, not a fork: for tests of how a process starts."""


SLOW = (
    "test_systemd", "test_crash", "test_compiled", "test_sync_recipes", "test_io_faults",
    "test_power_cuts", "test_tuning", "test_benchmarks", "test_syncthing", "test_sync_tools",
    "test_faults", "test_soak", "test_reload", "test_cli",
)  # fmt: skip
"""The slowest files: they run first, so that no process has to wait for another at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first."""
    ranks = {name: rank for rank, name in enumerate(SLOW)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


_CLONE_NEWNS = 0x20000


def pytest_configure() -> None:
    """Make the mounts of this test process private to it.

    Otherwise, a test process that boots a machine copies all mounts, and a file system that is
    unmounted here stays in use until that copy goes.
    """
    if os.geteuid() == 0 and ctypes.CDLL(None).unshare(_CLONE_NEWNS) == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def pytest_unconfigure() -> None:
    """End the process that the tests share."""
    if fork_server.cache_info().currsize:
        fork_server().close()


for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    # Under nohup, or after a shell's `&`, these signals are ignored, and child processes would
    # inherit that. A handled signal is reset to the default in child processes.
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)


@functools.cache
def fork_server() -> Zygote:
    """Return the zygote that starts commands for the tests of this process."""
    return Zygote()


@pytest.fixture(scope="session")
def zygote() -> Zygote:
    """A process that starts daemons quickly."""
    return fork_server()


def start(
    command: Sequence[str],
    stdin: Any = 0,
    stdout: Any = 1,
    stderr: Any = 2,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Process | subprocess.Popen[bytes]:
    """Start a command like `subprocess.Popen`, but as a fork if that is equivalent."""
    stderr = stdout if stderr == subprocess.STDOUT else stderr
    if fork_server().can_run(command, env):
        streams = [s if isinstance(s, int) else s.fileno() for s in (stdin, stdout, stderr)]
        return fork_server().run(command, streams, cwd, env)
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env)


def run(
    command: Sequence[str], errors: str = "strict", **kwargs: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and return its exit code and output."""
    with _scratch(errors) as stdout, _scratch(errors) as stderr:
        process = start(command, stdout=stdout, stderr=stderr, **kwargs)
        try:
            code = process.wait(DEADLINE_SECONDS)
        finally:
            process.kill()
            process.wait()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(command, code, stdout.read(), stderr.read())


def _scratch(errors: str) -> Any:
    return os.fdopen(os.memfd_create("output"), "r+", errors=errors)


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real text-to-video pipeline that renders in a fraction of a second."""
    from fakes import save_tiny_pipeline

    return save_tiny_pipeline(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def least_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline that loads faster, for tests that start hundreds of daemons."""
    from fakes import save_tiny_pipeline

    return save_tiny_pipeline(tmp_path_factory.mktemp("model") / "least", blocks=1)


@pytest.fixture(scope="session")
def wan_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline with a transformer, which compiles in seconds."""
    from fakes import save_tiny_wan

    return save_tiny_wan(tmp_path_factory.mktemp("model") / "wan")


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


@pytest.fixture
def site(tmp_path: Path, tiny_pipeline: Path) -> Site:
    """An empty inbox, and a config.yaml with the tiny pipeline."""
    return make_site(tmp_path / "site", tiny_pipeline)


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
        with self._log.open("a") as log:
            self._from = log.tell()
            self.process = start(
                [*program, "run", *options, "--config", str(site.folder / "config.yaml")],
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Return the events that the daemon has logged so far, all or those of one name."""
        with self._log.open() as log:
            log.seek(self._from)
            events = [json.loads(line) for line in log if line.endswith("\n")]
        return [event for event in events if not name or event["event"] == name]

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


@pytest.fixture
def daemon(site: Site) -> Iterator[Callable[..., Daemon]]:
    """A function that starts daemons on the site; its keyword arguments are environment variables.

    The daemons are killed after the test.
    """
    started: list[Daemon] = []

    def start(**environment: str) -> Daemon:
        started.append(Daemon(site, **environment))
        return started[-1]

    yield start
    for daemon in started:
        daemon.process.kill()
        daemon.process.wait()


def says(text: str) -> Callable[[object], str]:
    """Return a report that is the same for every name of the prompt file in `_failed/`."""
    return lambda _name: text


def await_that(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; fail after DEADLINE_SECONDS."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
