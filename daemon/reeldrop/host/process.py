"""Set up what a process inherits, so that none of it ends the process or spoils its work.

Standard streams, signals, the umask, the limit of open files. Knows nothing of the work.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

OPEN_FILES = 4096
"""Limit of open files to set, if the hard limit allows it; each open job has one."""

_OWNERS_RIGHTS = 0o700
_WRITABLE = "reeldrop.writable"
_IGNORED = (
    signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF,
    signal.SIGIO, signal.SIGPWR, signal.SIGSTKFLT,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)  # fmt: skip
"""Signals that nobody sends to request an end, but that end a process without a handler."""

_WARN_OF_TORCHAO = (
    "torch.utils._pytree",
    "torchao",
    "diffusers.quantizers.torchao.torchao_quantizer",
)
"""Loggers that warn of details of torchao on stderr, at each start, where it is installed."""


def prepare() -> None:
    """Set up what every command needs: standard streams, and rights to its own files.

    If the encoding of file names is not UTF-8, start the command again with UTF-8 mode.
    """
    _fill_gaps()
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors=_WRITABLE)
    sys.stdout = cast(TextIO, Steadfast(sys.stdout))
    sys.stderr = cast(TextIO, Steadfast(sys.stderr))
    os.umask(os.umask(0o077) & ~_OWNERS_RIGHTS)
    quiet_torchao()


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Keep the garbage collector from searching while large libraries are imported.

    They are kept, so it finds next to nothing, in a tenth of the time that an import takes.
    """
    was_searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_searching:
            gc.enable()


def quiet_torchao() -> None:
    """Silence the warnings of torchao on stderr when diffusers is imported."""
    for name in _WARN_OF_TORCHAO:
        logging.getLogger(name).setLevel(logging.ERROR)


def _fill_gaps() -> None:
    """Open /dev/null in place of each closed standard stream.

    Otherwise the next opened file, perhaps a video, would receive what is printed.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


def _as_writable(error: UnicodeError) -> tuple[bytes, int]:
    r"""Return bytes of file names unchanged, and other characters that can't be encoded as \uXXXX.

    An error handler for codecs.
    """
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return b"".join(map(_escaped, text)), error.end


def _escaped(character: str) -> bytes:
    if "\udc80" <= character <= "\udcff":
        return character.encode("utf-8", "surrogateescape")
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)).encode()


codecs.register_error(_WRITABLE, _as_writable)


def withstand() -> None:
    """Set up what a daemon needs besides `prepare`: it ends on request only.

    SIGHUP is blocked until `hear` is called. What is printed is a log, which may be lost.
    """
    if isinstance(sys.stdout, Steadfast):
        sys.stdout.is_log = True
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        os.getcwd()
    except FileNotFoundError:  # deleted: libraries that ask for it would end the process
        os.chdir("/")
    for number in _IGNORED:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.SIG_IGN)
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # children could not be waited for
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal.

    It loses it when its shell dies, even if the terminal itself stays open.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def hear() -> None:
    """Unblock the signals that have handlers by now; our parent may have blocked them, too."""
    signal.pthread_sigmask(
        signal.SIG_UNBLOCK, {signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGABRT}
    )


class Steadfast:
    """Wraps a stream that may fail: what can't be written is lost, and the work continues.

    lost: the last error, None if nothing was lost
    is_log: losses do not matter
    """

    is_log = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self.lost = error
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self.lost = error

    def close_down(self) -> None:
        """Flush, or discard what can't be written: Python would retry, and change the exit code."""
        self.flush()
        if self.lost is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            with contextlib.suppress(OSError):
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def close_down() -> OSError | None:
    """Flush what was printed; return the error if output of a command was lost, else None."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Steadfast):
            stream.close_down()
    if isinstance(sys.stdout, Steadfast) and not sys.stdout.is_log:
        return sys.stdout.lost
    return None
