"""What a process is given by who starts it, made such that it neither ends nor spoils the work.

Standard streams, signals, the umask, the number of open files. Knows nothing of what is done.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import resource
import signal
import sys
from typing import Any, TextIO, cast

OPEN_FILES = 4096
"""So many files may be open at once, where the hard limit allows it; each open job has one."""

_OWNERS_RIGHTS = 0o700
_WRITABLE = "reeldrop.writable"
_MEAN_NOTHING = (
    signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF,
    signal.SIGIO, signal.SIGPWR, signal.SIGSTKFLT,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)  # fmt: skip
"""Nobody sends these to ask for an end, and each ends a process that does not know it."""


def prepare() -> None:
    """Make what every command needs: standard streams, and rights to what it writes itself.

    Where names of files are not UTF-8, the command begins again so that they are.
    """
    _fill_gaps()
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors=_WRITABLE)
    sys.stdout = cast(TextIO, Steadfast(sys.stdout))
    sys.stderr = cast(TextIO, Steadfast(sys.stderr))
    os.umask(os.umask(0o077) & ~_OWNERS_RIGHTS)


def _fill_gaps() -> None:
    """Open /dev/null in place of each standard stream that is closed.

    Else the next file to be opened, perhaps a video, would get what is printed.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


def _as_writable(error: UnicodeError) -> tuple[bytes, int]:
    r"""Return the bytes of file names as they are, and what the stream can't take as \uXXXX."""
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
    """Make what a daemon needs besides: it ends when it is asked to, and by nothing else.

    SIGHUP waits until `hear` is called. What is printed is a log, which may be lost.
    """
    if isinstance(sys.stdout, Steadfast):
        sys.stdout.is_log = True
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        os.getcwd()
    except FileNotFoundError:  # it is deleted: libraries that look for it end the process
        os.chdir("/")
    for number in _MEAN_NOTHING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.SIG_IGN)
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # then nobody's end can be waited for
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def hear() -> None:
    """Let the signals through for which there are handlers by now, whoever has blocked them."""
    signal.pthread_sigmask(
        signal.SIG_UNBLOCK, {signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGABRT}
    )


class Steadfast:
    """A stream that may fail: what can't be written is lost, and the work goes on.

    `lost` says why, if anything was, which matters unless it `is_log`.
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
        """Write what is left, or lose it: else Python tries again, and ends with its own code."""
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
    """Write what was printed to its end; return why something is lost that was asked for."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Steadfast):
            stream.close_down()
    if isinstance(sys.stdout, Steadfast) and not sys.stdout.is_log:
        return sys.stdout.lost
    return None
