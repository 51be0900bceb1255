"""`reeldrop reload`: let the daemon read config.yaml again, and return its answer."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from reeldrop.base.errors import Mistake, Unavailable
from reeldrop.commands import folders
from reeldrop.store import status
from reeldrop.store.lock import DAEMON, Holder

if TYPE_CHECKING:
    from reeldrop.config.config import Config

POLL_SECONDS = 0.2
RELOAD_SECONDS = 30.0
"""How long the daemon has to report that it has read config.yaml again."""


def ask_daemon(config: Config) -> str:
    """Let the daemon read config.yaml again; return the reason if it refuses it, else nothing.

    Raises:
        Unavailable: no daemon works on this spool, it is on another machine, or doesn't answer.
        PermissionError: only the daemon's own user can read which process it is.
    """
    lock = folders.spool_of(config).lock
    holder = lock.holder()
    file = config.spool / status.FILE_NAME
    before = status.read(file)
    if holder is None and lock.is_held():
        reason = "only its own user and root can ask the daemon that works here"
        raise PermissionError(errno.EACCES, reason, str(config.spool))
    if holder is None:
        problem = f"no daemon is at work on {config.spool}"
        raise Unavailable(Mistake(problem, "start it; if `spool:` was changed, restart it"))
    _require_daemon_here(holder, config.spool)
    pid = holder.pid
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + RELOAD_SECONDS
    while time.monotonic() < deadline:
        now = status.read(file)
        earlier = before.readings if before is not None and before.pid == pid else 0
        if now is not None and now.pid == pid and now.readings > earlier:
            return now.refused
        time.sleep(POLL_SECONDS)
    raise Unavailable(Mistake(f"process {pid} has not answered", "see its log"))


def _require_daemon_here(holder: Holder, folder: Path) -> None:
    """Raise Unavailable if SIGHUP would end the lock's holder, or hit another process by its pid.

    Only the daemon handles SIGHUP, and the pid is meaningful only on its own machine.
    """
    if holder.role != DAEMON:
        problem = f"the {holder.role} {holder.pid} works on {folder}, and no daemon"
        raise Unavailable(Mistake(problem, "the daemon reads config.yaml when it starts"))
    if not holder.is_here:
        problem = f"the daemon at work on {folder} is on another machine or in a container"
        raise Unavailable(Mistake(problem, "run this command there"))
