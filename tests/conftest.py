"""Fixtures of all tests: tiny pipelines on disk, a site, daemons."""

from __future__ import annotations

import os

# Set before torch is imported. One thread is fastest for such small pipelines. The compiler trusts
# the processor's own list of its vector instructions: else it tries out each kind for seconds,
# for each new cache.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")
# Hundreds of processes read what is compiled once; some containers turn that off.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import ctypes
import functools
import gc
import logging
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import execnet
import hypothesis
import pytest
import structlog
from _pytest.assertion import rewrite
from harness import HARNESS
from harness.processes import fork_server
from harness.programs import lacks, needs_root
from harness.site import Daemon, Site, make_site
from harness.zygote import (
    ADDRESS,
    REELDROP,
    Zygote,
    let_multiprocessing_fork,
)

sys.dont_write_bytecode = False
pytest_plugins = ["harness.durations"]

_CLONE_NEWNS = 0x20000
_SHARED = pytest.StashKey[Zygote]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the mounts of this test process private to it, and start what all of them share.

    Otherwise, a test process that boots a machine copies all mounts, and a file system that is
    unmounted here stays in use until that copy goes.
    """
    if os.geteuid() == 0 and ctypes.CDLL(None).unshare(_CLONE_NEWNS) == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    if config.getoption("numprocesses", None):  # not a process that runs tests, but their parent
        folder = tempfile.mkdtemp(prefix="reeldrop-tests-")  # only this user may connect
        os.environ[ADDRESS] = f"{folder}/zygote"
        config.stash[_SHARED] = Zygote(os.environ[ADDRESS])
        _rewrite_tests(config)  # while that imports


def _rewrite_tests(config: pytest.Config) -> None:
    """Rewrite the asserts of all tests: otherwise each process that runs tests would do it."""
    state = config.stash[rewrite.assertstate_key]
    for path in HARNESS.parent.rglob("test_*.py"):
        made = rewrite.get_cache_dir(path) / f"{path.stem}{rewrite.PYC_TAIL}"
        if rewrite.try_makedirs(made.parent) and rewrite._read_pyc(path, made) is None:
            digest, code = rewrite._rewrite_test(path, config)
            rewrite._write_pyc(state, code, digest, made)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[execnet.XSpec]) -> None:
    """Fork the processes that run tests: what they need is imported once."""
    python = shlex.join([sys.executable, str(HARNESS / "fork_of_python.py")])
    specs[:] = [
        execnet.XSpec(f"execmodel=main_thread_only//popen//python={python}//id={spec.id}")
        for spec in specs
    ]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Know the zygote of the run before a test changes the environment.

    From here on, the garbage collector passes over what was imported: each full collection, as at
    the end of a renderer, would take half a second.
    """
    if hasattr(session.config, "workerinput"):
        fork_server()
    let_multiprocessing_fork(fork_server)
    _draw_once()
    gc.freeze()


# How long an example takes tells how busy the machine is, and not what is right.
hypothesis.settings.register_profile(
    "busy",
    hypothesis.settings.default,  # that of a CI run draws the same examples each time
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("busy")


@hypothesis.settings(max_examples=1, database=None, suppress_health_check=[*hypothesis.HealthCheck])
@hypothesis.given(hypothesis.strategies.none())
def _draw(_nothing: None) -> None:
    """Let hypothesis look who refers to its dice, which it does once."""


def _draw_once() -> None:
    """Draw, without a search: the collector does not know of what was there before a fork."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "get_referrers", lambda dice: [dice])
        _draw()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Fail the test that leaves the log configured, or the environment changed.

    Later tests would not see what is logged; and later starts could not be forks: each would
    import torch anew, which takes seconds.
    """
    yield
    if isinstance(structlog.get_config()["logger_factory"], structlog.WriteLoggerFactory):
        structlog.reset_defaults()
        pytest.fail("left the log configured: needs the fixture `log_restored`")
    if fork_server.cache_info().currsize:
        changed = fork_server().changed(os.environ)
        assert set() == changed, "left changed in the environment"


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process that the tests share."""
    if fork_server.cache_info().currsize:
        fork_server().close()
    if zygote := config.stash.get(_SHARED, None):
        zygote.close()
        shutil.rmtree(Path(os.environ[ADDRESS]).parent)


for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    # Under nohup, or after a shell's `&`, these signals are ignored, and child processes would
    # inherit that. A handled signal is reset to the default in child processes.
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)


@pytest.fixture
def log_restored() -> Iterator[None]:
    """Restore the log's configuration, for tests that change it."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def root() -> None:
    """The rights of root; see `needs_root`."""
    needs_root()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than `tmp_path`."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        if os.stat(folder).st_dev == tmp_path.stat().st_dev:
            lacks("file system beside that of TMPDIR and /dev/shm")
        yield Path(folder)


@pytest.fixture(scope="session")
def zygote() -> Zygote:
    """A process that starts daemons quickly."""
    return fork_server()


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real text-to-video pipeline that renders in a fraction of a second."""
    from harness.fakes import save_tiny_pipeline

    return save_tiny_pipeline(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def least_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline that loads faster, for tests that start hundreds of daemons."""
    from harness.fakes import save_tiny_pipeline

    return save_tiny_pipeline(tmp_path_factory.mktemp("model") / "least", blocks=1)


@pytest.fixture(scope="session")
def wan_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline with a transformer, which compiles in seconds."""
    from harness.fakes import save_tiny_wan

    return save_tiny_wan(tmp_path_factory.mktemp("model") / "wan")


@pytest.fixture
def without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch.compile trace and guard as ever, but generate no code, which takes seconds."""
    import torch

    traced = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", traced)


@pytest.fixture
def site(tmp_path: Path, tiny_pipeline: Path) -> Site:
    """An empty inbox, and a config.yaml with the tiny pipeline."""
    return make_site(tmp_path / "site", tiny_pipeline)


@pytest.fixture
def daemon(site: Site) -> Iterator[Callable[..., Daemon]]:
    """A function that starts daemons on the site; its other arguments are environment variables.

    The daemons are killed after the test.
    """
    started: list[Daemon] = []

    def start(program: Sequence[str] = REELDROP, **environment: str) -> Daemon:
        started.append(Daemon(site, program, **environment))
        return started[-1]

    yield start
    for daemon in started:
        daemon.process.kill()
        daemon.process.wait()
