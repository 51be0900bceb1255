"""Start commands quickly: fork them from a process that has imported torch already.

Each command is a real process of its own; only the time for imports is saved. It gets the given
arguments, environment, folder and streams, and exits as Python does. Run as a program, this serves
sockets: a request has a command, its streams and the caller's mount namespace, and the answer is
the fork's process id.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import functools
import gc
import importlib
import io
import itertools
import json
import multiprocessing.util
import os
import random
import re
import runpy
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from reeldrop.base import durable

REELDROP = (sys.executable, "-m", "reeldrop")

ADDRESS = "REELDROP_TESTS_ZYGOTE"
"""Environment variable with the socket of the zygote that all processes of a test run share."""

_READ_LATE = {
    ADDRESS, "COLUMNS", "JOURNAL_STREAM", "NOTIFY_SOCKET", "NO_COLOR", "OMP_NUM_THREADS", "PATH",
    "PYTEST_CURRENT_TEST", "PYTEST_XDIST_TESTRUNUID", "PYTEST_XDIST_WORKER",
    "PYTEST_XDIST_WORKER_COUNT", "REELDROP_CONFIG", "TERM", "TORCHINDUCTOR_CACHE_DIR",
    "WATCHDOG_PID", "WATCHDOG_USEC", "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR",
}  # fmt: skip
"""Environment variables that are read on use, not on import.

torch sets the last one itself, before each load of a library that it compiled. Forks always have
one thread for OpenMP.
"""

_OF_THE_HUB = {"HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE"}
"""Environment variables that one module reads on import; forks import it again."""

_SLOW_IMPORTS = (
    "reeldrop.commands.cancel", "reeldrop.commands.check", "reeldrop.commands.cli",
    "reeldrop.commands.history", "reeldrop.commands.init", "reeldrop.commands.progress",
    "reeldrop.commands.reload", "reeldrop.commands.retry", "reeldrop.commands.run",
    "reeldrop.commands.status", "reeldrop.commands.submit", "reeldrop.commands.tune",
    "reeldrop.render.pipeline", "reeldrop.render.renderer",
    "reeldrop.service.service", "reeldrop.store.history", "reeldrop.tune.tuning",
    "diffusers.guiders", "diffusers.schedulers.scheduling_ddpm", "harness.models", "hypothesis",
    "PIL.GifImagePlugin", "PIL.JpegImagePlugin", "PIL.PngImagePlugin",
    "reeldrop.commands.top_screen", "selenium.webdriver.chrome.webdriver",
    "torch._inductor.compile_fx", "watchdog.observers",
)  # fmt: skip
"""Modules that commands and tests import, or that libraries import when they load a pipeline."""

_TESTS = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Fault:
    """A disk error below some folders.

    number: the errno of the failing calls.
    at: the number of the failing call, counted from 1 while the file `marker` exists.
    for_good: all later calls fail, too, until the marker is removed.
    reads: count the calls that read, instead of those that change something.
    journal: the file in which each counted call is recorded as a line of JSON.
    """

    number: int
    at: int
    folders: tuple[str, ...]
    marker: str
    journal: str
    for_good: bool = False
    reads: bool = False


class Process:
    """A forked process, with the parts of `subprocess.Popen` that tests use."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._zygote = zygote
        self._pidfd = os.pidfd_open(pid)  # before a wait, the pid can't be reused
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, self._pidfd)

    def poll(self) -> int | None:
        """Return the exit code, or minus the signal that ended it; None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended, and return what `poll` does.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process is known to have ended."""
        if self.returncode is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _wait(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._pidfd, select.POLLIN)
            if waiting.poll(None if seconds is None else seconds * 1000):
                with self._lock:  # it can be waited for only once
                    if self.returncode is None:
                        self.returncode = self._zygote.wait(self.pid)
        return self.returncode


_spawnv_passfds: Any = multiprocessing.util.spawnv_passfds  # type: ignore[attr-defined]


def let_multiprocessing_fork(server: Callable[[], Zygote]) -> None:
    """Start the processes of multiprocessing as forks of this zygote: they need not import torch.

    They are not this process's children, so multiprocessing does not know how they ended.
    """

    def spawn(path: bytes, command: Sequence[bytes | str], pass_fds: Sequence[int]) -> int:
        if "--multiprocessing-fork" not in command:  # the one that looks after resources
            return int(_spawnv_passfds(path, command, pass_fds))
        return server().run([*map(os.fsdecode, command)], [0, 1, 2, *pass_fds]).pid

    multiprocessing.util.spawnv_passfds = spawn  # type: ignore[attr-defined]


def is_python(command: Sequence[str]) -> bool:
    """Return whether a command is `python -m reeldrop` or a Python script."""
    return tuple(command[:3]) == REELDROP or (
        command[0] == sys.executable and command[1].endswith(".py")
    )


class Zygote:
    """A process that forks commands on demand. They end with it, and it ends with this process."""

    def __init__(self, address: str = "") -> None:
        """Start the process; it also serves others that connect to the socket `address`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        served = [theirs]
        if address:
            served.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            served[1].bind(address)
            served[1].listen()
        numbers = [one.fileno() for one in served]
        self._process = subprocess.Popen(
            [sys.executable, __file__, *map(str, numbers)],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            pass_fds=numbers,
        )
        for one in served:
            one.close()
        self._use(ours)

    @classmethod
    def shared(cls, address: str) -> Zygote:
        """Return the zygote that another process has started with this address.

        That process had the environment of this one, except for changes by imports.
        """
        made, connection = cls.__new__(cls), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(address)
        made._process = None
        made._use(connection)
        return made

    def _use(self, connection: socket.socket) -> None:
        self._environment = dict(os.environ)
        self._socket = connection
        self._lock = threading.Lock()

    def _ask(self, request: object, streams: Sequence[int] = ()) -> int:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], streams)
            return int(self._socket.recv(100))

    def can_run(self, command: Sequence[str], environment: Mapping[str, str] | None) -> bool:
        """Return whether a fork for this command is equivalent to a new process.

        It is not for other programs, or if variables that are read on import differ.
        """
        given = os.environ if environment is None else environment
        return is_python(command) and not self.changed(given)

    def changed(self, environment: Mapping[str, str]) -> set[str]:
        """Return the variables that are read on import and differ from the zygote's."""
        names = (environment.keys() | self._environment.keys()) - _READ_LATE - _OF_THE_HUB
        return {name for name in names if environment.get(name) != self._environment.get(name)}

    def run(
        self,
        command: Sequence[str],
        streams: Sequence[int],
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start Python with a module or a script, with stdin, stdout and stderr.

        Further ones are open in it with the numbers that they have here.
        """
        return Process(self, self._start(command, streams, folder, environment))

    def _start(
        self,
        command: Sequence[str],
        streams: Sequence[int],
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        kill_at: int = 0,
        fault: Fault | None = None,
        uid: int = 0,
        slow: float = 0.0,
    ) -> int:
        request = {
            "command": list(command),
            "folder": str(folder or Path.cwd()),
            "environment": dict(os.environ if environment is None else environment),
            "kill_at": kill_at,
            "fault": dataclasses.asdict(fault) if fault is not None else None,
            "uid": uid,
            "slow": slow,
            "numbers": [0, 1, 2, *streams[3:]],
        }
        with open("/proc/self/ns/mnt", "rb") as mounts:
            return self._ask(request, [*streams, mounts.fileno()])

    def start(
        self,
        arguments: list[str],
        log: Path,
        kill_at: int = 0,
        fault: Fault | None = None,
        uid: int = 0,
        slow: float = 0.0,
    ) -> int:
        """Start `reeldrop` with its output appended to `log`, and return its pid.

        kill_at: kill it right before its change of a folder or fsync with this number; 0: never.
        slow: delay each such call by up to this many seconds.
        fault: the fault of its disk.
        uid: run it as this user, with the rights of the service.
        """
        with log.open("ab") as output, open(os.devnull, "rb") as nothing:
            streams = (nothing.fileno(), output.fileno(), output.fileno())
            command = [*REELDROP, *arguments]
            return self._start(command, streams, kill_at=kill_at, fault=fault, uid=uid, slow=slow)

    def wait(self, pid: int) -> int:
        """Wait for a child to end, and return its exit code, or minus the signal."""
        with open(os.pidfd_open(pid)) as child:  # here, as the zygote must not wait
            select.select([child], [], [])
        return self._ask(pid)

    def close(self) -> None:
        """End the process and all forks of this connection."""
        self._socket.close()
        if self._process is not None:
            self._process.wait()


_MOST = 1 << 20
"""The most bytes of a message."""

_MOST_STREAMS = 16


def _serve(first: socket.socket, listener: socket.socket | None) -> list[str]:
    """Fork on each request; in the fork, return the command that it has to run."""
    with _silence():
        sys.path.append(_TESTS)
        for module in _SLOW_IMPORTS:
            importlib.import_module(module)
        sys.path.remove(_TESTS)
        _warm_up()
    from preloaded import Preloaded  # beside this program

    preloaded = Preloaded()
    for one in weakref.finalize._registry.values():  # type: ignore[attr-defined]
        one.atexit = False  # at its end, a fork would take back each operator of torch
    make_forks_cheap()
    children: dict[socket.socket, set[int]] = {first: set()}
    while True:
        for ready in select.select([*children, *([listener] if listener else [])], [], [])[0]:
            if ready is listener:
                children[listener.accept()[0]] = set()
                continue
            message, streams = b"", list[int]()
            with contextlib.suppress(ConnectionResetError):
                message, streams, _, _ = socket.recv_fds(ready, _MOST, _MOST_STREAMS)
            if not message:
                if ready is first:
                    sys.exit()
                _end(children.pop(ready))
                ready.close()
                continue
            request = json.loads(message)
            with _silence():
                preloaded.load()
            if isinstance(request, int):
                answer = os.waitstatus_to_exitcode(os.waitpid(request, 0)[1])
                children[ready].discard(request)
            elif answer := os.fork():
                children[ready].add(answer)
                for stream in streams:
                    os.close(stream)
            else:
                for one in (*children, *([listener] if listener else [])):
                    one.close()
                preloaded.close()
                of_tests = "--multiprocessing-fork" not in request["command"]
                if "-c" not in request["command"][1:3] or not of_tests:
                    preloaded.offer()
                return _become(streams=streams, **request)
            with contextlib.suppress(BrokenPipeError):
                ready.send(str(answer).encode())


_MADV_COLLAPSE = 25
_HUGE_PAGE = 1 << 21


def make_forks_cheap() -> None:
    """Let forks of this process copy little memory: else, each takes 50 ms once torch is imported.

    What exists now is no longer searched by the collector, which would write to all pages.
    """
    gc.freeze()
    use_huge_pages()


def use_huge_pages() -> None:
    """Let this process's memory be in few huge pages, as a fork copies an entry for each.

    It takes a second where much has been allocated since the last call.
    """
    collapse = ctypes.CDLL(None).madvise
    collapse.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for mapping in Path("/proc/self/maps").read_text().splitlines():
        addresses, rights, *_ = mapping.split()
        if rights == "rw-p":
            start, end = (int(address, 16) for address in addresses.split("-"))
            first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
            for page in range(first, end - _HUGE_PAGE + 1, _HUGE_PAGE):
                collapse(page, _HUGE_PAGE, _MADV_COLLAPSE)  # where it can


def _end(pids: set[int]) -> None:
    """End the forks of a process that has ended."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Drop the libraries' output on stderr."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _keep_progress_bars_apart() -> None:
    """Give each fork its own lock of tqdm: if a fork with a shared one is killed, others hang."""
    from tqdm import std

    std.TqdmDefaultWriteLock.mp_lock = None
    std.tqdm.monitor_interval = 0  # no thread that could hold the other lock at a fork


def _warm_up() -> None:
    """Render a video once, so that forks need not set up what is set up on first use."""
    _keep_progress_bars_apart()
    import typer.main
    from fakes import save_tiny_pipeline  # beside this program
    from reeldrop.base.job import Prompt
    from reeldrop.commands import cli
    from reeldrop.config import builtin
    from reeldrop.render import pipeline, rendering
    from reeldrop.render.source import ModelSource
    from reeldrop.video import encoder

    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(cli.app)
    builtin.profiles()
    pipeline.versions()
    settings = {"num_frames": 2, "height": 32, "width": 32, "num_inference_steps": 2}
    prompt = Prompt(1, "a", "m", tuple(settings.items()), 1, 8, ("mp4",))
    with tempfile.TemporaryDirectory() as folder:
        place = save_tiny_pipeline(Path(folder) / "tiny", blocks=1)
        loaded = pipeline.load(ModelSource("m", str(place)))
        (frames,) = rendering.render(loaded, (prompt,), lambda _step: None)
        for kind in ("mp4", "jpg", "gif"):
            encoder.encode(frames, Path(folder) / f"a.{kind}", kind, 8.0, "")
    warnings._filters_mutated()  # type: ignore[attr-defined]  # forks warn once more


_CLONE_NEWNS = 0x20000
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_CAP_VERSION_3 = 0x20080522
_CAP_LEASE = 1 << 28
_ASIDE = 1000


def _become(
    command: list[str],
    folder: str,
    environment: dict[str, str],
    streams: list[int],
    kill_at: int,
    fault: dict[str, Any] | None,
    uid: int,
    slow: float,
    numbers: list[int],
) -> list[str]:
    """Bring this fork into the state of a new process, and return its command."""
    mounts = streams.pop()
    if not os.path.samestat(os.fstat(mounts), os.stat("/proc/self/ns/mnt")):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(mounts, _CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "setns")
    os.close(mounts)
    aside = [fcntl.fcntl(stream, fcntl.F_DUPFD, _ASIDE) for stream in streams]
    for stream in streams:
        os.close(stream)
    for number, stream in zip(numbers, aside, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    _open_streams_anew()
    os.chdir(folder)
    is_other_hub = any(os.environ.get(name) != environment.get(name) for name in _OF_THE_HUB)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    if is_other_hub:
        importlib.reload(sys.modules["huggingface_hub.constants"])
    if address := environment.get(ADDRESS):
        let_multiprocessing_fork(functools.cache(lambda: Zygote.shared(address)))
    if uid:
        _become_service(uid)
    # Die with the parent. Set only now: a change of ids resets it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if kill_at or slow:
        _kill_before(kill_at, slow)
    if fault is not None:
        _FaultyDisk(Fault(**fault)).install()
    return command


def _become_service(uid: int) -> None:
    """Give this process the rights of reeldrop.service: an ordinary user with CAP_LEASE."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(_CAP_VERSION_3, 0)
    # Effective, permitted and inheritable: first of the lower 32 capabilities, then of the rest.
    sets = (ctypes.c_uint32 * 6)(_CAP_LEASE, _CAP_LEASE, 0, 0, 0, 0)
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")
    libc.prctl(_PR_SET_DUMPABLE, 1)
    os.umask(0o027)


def _open_streams_anew() -> None:
    """Replace Python's standard streams, which remember whether the old files were seekable."""
    for name, errors in (("stdout", "strict"), ("stderr", "backslashreplace")):
        number = getattr(sys, name).fileno()
        is_eager = name == "stderr" or os.isatty(number)
        file = os.fdopen(number, "wb", closefd=False)
        setattr(sys, name, io.TextIOWrapper(file, errors=errors, line_buffering=is_eager))
    sys.stdin = os.fdopen(0, closefd=False)


def _run_to_its_end(command: list[str]) -> NoReturn:
    """Run a command, and exit as Python does, but without the slow teardown of all modules."""
    code: object = 1
    try:
        _run(command)
        code = 0
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]  # wait for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else code is not None)


def _run(command: list[str]) -> None:
    """Run a command line as Python does."""
    is_safe = command[1] == "-P"
    command = [command[0], *command[1 + is_safe :]]
    if "-c" in command[1:3]:  # not that of a command of ours
        at = command.index("-c")
        sys.argv, sys.path[0] = command[at : at + 1] + command[at + 2 :], ""
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(command[at + 1], vars(main))
    elif command[1] == "-m":
        sys.path[:1] = [] if is_safe else [os.getcwd()]
        sys.argv = command[2:]
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(command[1])
        sys.argv = command[1:]
        runpy.run_path(command[1], run_name="__main__")


def _kill_before(call: int, slow: float) -> None:
    """Kill this process right before its disk-changing call number `call`; 0: never.

    Each such call is delayed by up to `slow` seconds.
    """
    calls, dice = itertools.count(1), random.Random(call)

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: Any, **keywords: Any) -> object:
            # Not counted: the status, whose writes depend on time and differ between runs.
            if not str(arguments[0]).endswith("status.tmp") and next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            if slow:
                time.sleep(dice.uniform(0, slow))
            return function(*arguments, **keywords)

        return wrapper

    for name in ("rename", "replace", "link", "unlink", "fsync", "mkdir", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    durable.rename_exclusively = counted(durable.rename_exclusively)


_CHANGES = (
    "rename", "replace", "link", "symlink", "unlink", "remove", "rmdir", "mkdir", "fsync",
    "fdatasync", "truncate", "ftruncate", "utime", "chmod", "sendfile",
)  # fmt: skip
_LOOKS = ("stat", "lstat", "scandir", "listdir")
_NOT_COUNTED = (
    "described.json", "described.tmp", "ending", "lock", "status.json", "status.tmp",
)  # fmt: skip
_DEVICES = {errno.ENOSPC: "/dev/full", errno.EIO: "/proc/self/mem"}
"""Files on which every write fails with this errno, even in C code."""


class _FaultyDisk:
    """Makes this process's calls fail as a `Fault` says.

    It also checks the fsync rule: after a failed fsync, the kernel may have dropped unwritten data,
    so the file must be neither synced again nor published. Files in the inbox are exempt: they
    belong to others, and reeldrop can't rewrite them.
    """

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._calls = itertools.count(1)
        self._journal = os.open(fault.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._unsynced: set[tuple[int, int]] = set()
        self._stat = os.stat

    def install(self) -> None:
        """Wrap the process's calls."""
        import av

        for name in _CHANGES if not self._fault.reads else (*_CHANGES, *_LOOKS):
            setattr(os, name, self._failing(name, getattr(os, name)))
        durable.rename_exclusively = self._failing("rename", durable.rename_exclusively)
        os.open = self._failing_os_open(os.open)
        builtins.open = io.open = self._failing_open(builtins.open)
        av.open = self._failing_av_open(av.open)

    def meets(self, call: str, *places: Any, is_change: bool = True, **keywords: Any) -> bool:
        """Count a call, and return whether it has to fail."""
        paths = [_path(place, keywords.get("dir_fd")) for place in places]
        concerned = next((path for path in paths if self._concerns(path)), None)
        # os.access, because it is not wrapped
        if concerned is None or not os.access(self._fault.marker, os.F_OK):
            return False
        if is_change == self._fault.reads:
            return False
        number = next(self._calls)
        fails = number == self._fault.at or (self._fault.for_good and number > self._fault.at)
        self._tell(call=call, path=concerned, number=number, fails=fails)
        return fails

    def check(self, call: str, *places: Any, is_change: bool = True, **keywords: Any) -> None:
        """Count a call, and raise the error if it has to fail."""
        if self.meets(call, *places, is_change=is_change, **keywords):
            raise OSError(self._fault.number, os.strerror(self._fault.number), str(places[0]))

    def _concerns(self, path: str) -> bool:
        inside = any(f"{path}/".startswith(f"{folder}/") for folder in self._fault.folders)
        return inside and os.path.basename(path) not in _NOT_COUNTED

    def _tell(self, **record: object) -> None:
        os.write(self._journal, (json.dumps({**record, "time": time.monotonic()}) + "\n").encode())

    def _failing(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        two_places = name in ("rename", "replace", "link")

        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            places = arguments[: 2 if two_places else 1] or (".",)
            self._hold_to_the_rule(name, places[0], keywords.get("dir_fd"))
            try:
                self.check(name, *places, is_change=name in _CHANGES, **keywords)
            except OSError:
                if name in ("fsync", "fdatasync") and "/inbox/" not in _path(places[0], None):
                    self._unsynced |= self._identity(places[0], None)
                raise
            return function(*arguments, **keywords)

        return wrapper

    def _identity(self, place: Any, dir_fd: int | None) -> set[tuple[int, int]]:
        """Return a set with a file's device and inode; empty for a folder or a missing file."""
        try:
            found = self._stat(place, dir_fd=dir_fd, follow_symlinks=isinstance(place, int))
        except (OSError, ValueError):
            return set()
        return set() if stat.S_ISDIR(found.st_mode) else {(found.st_dev, found.st_ino)}

    def _hold_to_the_rule(self, name: str, place: Any, dir_fd: int | None) -> None:
        if not self._unsynced or name not in _CHANGES:
            return
        touched = self._unsynced & self._identity(place, dir_fd)
        if touched and name in ("fsync", "fdatasync", "rename", "replace", "link"):
            self._tell(violation=name, path=_path(place, dir_fd))
        elif touched and name in ("unlink", "remove", "truncate", "ftruncate"):
            self._unsynced -= touched

    def _failing_os_open(self, function: Callable[..., int]) -> Callable[..., int]:
        changing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

        def wrapper(path: Any, flags: int, *arguments: Any, **keywords: Any) -> int:
            self.check("open", path, is_change=bool(flags & changing), **keywords)
            opened = function(path, flags, *arguments, **keywords)
            if flags & os.O_TRUNC:
                self._unsynced -= self._identity(opened, None)
            return opened

        return wrapper

    def _failing_open(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(
            file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **keywords: Any
        ) -> Any:
            changes = not mode.startswith("r") or "+" in mode
            if isinstance(file, int) or not self._concerns(_path(file, None)):
                return function(file, mode, buffering, *arguments, **keywords)
            self.check("open", file, is_change=changes)
            raw = _FaultyFile(self, file, mode.replace("b", "").replace("t", ""))
            if mode.startswith("w"):
                self._unsynced -= self._identity(raw.fileno(), None)
            return _buffered(raw, mode, buffering, *arguments, **keywords)

        return wrapper

    def _failing_av_open(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Fail where FFmpeg opens a file, and, through a device, where its C code writes."""
        from av.error import err_check

        def wrapper(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
            if mode == "w" and self.meets("av.open", file):
                err_check(-self._fault.number, file)
            if mode == "w" and self.meets("av.write", file):
                if self._fault.number not in _DEVICES:
                    err_check(-self._fault.number, file)
                file = _DEVICES[self._fault.number]
            return function(file, mode, *arguments, **keywords)

        return wrapper


class _FaultyFile(io.FileIO):
    """A file whose reads and writes may fail."""

    def __init__(self, disk: _FaultyDisk, path: Any, mode: str) -> None:
        super().__init__(path, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        self._disk.check("write", self.name)
        return super().write(data)

    def readinto(self, buffer: Any) -> int | None:
        self._disk.check("read", self.name, is_change=False)
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self._disk.check("read", self.name, is_change=False)
        return super().readall()


def _buffered(
    raw: io.FileIO,
    mode: str,
    buffering: int,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> Any:
    """Return what `open` returns for a raw file."""
    if buffering == 0:
        return raw
    if "+" in mode:
        binary: Any = io.BufferedRandom(raw)
    else:
        binary = io.BufferedReader(raw) if mode.startswith("r") else io.BufferedWriter(raw)
    return binary if "b" in mode else io.TextIOWrapper(binary, encoding, errors, newline)


def _path(place: Any, dir_fd: int | None) -> str:
    """Return the absolute path of a path or a file descriptor."""
    if isinstance(place, int):
        return os.readlink(f"/proc/self/fd/{place}")
    path = os.fsdecode(place)
    if dir_fd is not None and not path.startswith("/"):
        path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
    if found := re.fullmatch("(/proc/self/fd/[0-9]+)(|/.*)", path):  # below an open folder
        path = os.readlink(found[1]) + found[2]
    return os.path.abspath(path)


if __name__ == "__main__":
    _served = [socket.socket(fileno=int(_number)) for _number in sys.argv[1:]]
    _run_to_its_end(_serve(*_served, *[None] * (2 - len(_served))))
