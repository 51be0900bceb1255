"""`reeldrop run`: set up the daemon, and run it until it is stopped."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from reeldrop.base.errors import FileError
from reeldrop.base.escaping import short
from reeldrop.commands import check, exit_codes, fits, folders, progress
from reeldrop.config import config as configuration
from reeldrop.config import salvage
from reeldrop.host import log, process
from reeldrop.store import status
from reeldrop.store.status import MAX_REASON, State, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from reeldrop.base.events import Event
    from reeldrop.config.config import Config
    from reeldrop.render.fleet import Fleet


def run_daemon(path: Path | None, *, drain: bool) -> int:
    """Render what is put into the inbox, and return the exit code.

    path: the config.yaml; None for the one that is found
    drain: end when every prompt file is done
    """
    process.withstand()
    file = configuration.find(path)  # once: it may be away while somebody replaces it
    began, is_attended = datetime.now(UTC).replace(microsecond=0), sys.stdin.isatty()
    try:
        return _run(file, drain=drain, is_attended=is_attended)
    except FileError as error:
        if not is_attended:  # else there is somebody who reads it
            _report(file, error, began)
        raise


def _report(file: Path, error: FileError, began: datetime) -> None:
    """Report why a start has failed, for those who are told of that; not beside another daemon."""
    config = salvage.readable(file)
    if config is None or folders.is_at_work(config):
        return
    report, now = config.spool / status.FILE_NAME, datetime.now(UTC).isoformat(timespec="seconds")
    last = status.read(report) or Status(0, State.STOPPED, config.model, now)
    is_own = last.pid == os.getpid()  # in a container, also of the one before
    if is_own and datetime.fromisoformat(last.updated) >= began:  # it has told its end
        return
    reason = short(" ".join(str(error).split()), MAX_REASON)
    told = Status(os.getpid(), State.STOPPED, last.model, now, reason=reason, numbers=last.numbers)
    with contextlib.suppress(OSError):
        status.write(report, told)


def _run(file: Path, *, drain: bool, is_attended: bool) -> int:
    check.require_folders(configuration.load(file))
    with progress.bar_of_status(sys.stdout.isatty()) as observe:
        log.to_stdout()
        structlog.get_logger().info("loading_libraries")  # nothing else is logged for seconds
        observe(_loading_libraries())
        with process.importing():
            from reeldrop.cluster import access
            from reeldrop.cluster.fleet import ClusterFleet
            from reeldrop.config import profiles, settings
            from reeldrop.render import devices, fleet
            from reeldrop.service import service  # imports torch: takes seconds

        def read() -> tuple[Config, str]:
            found = configuration.load(file)
            profiles.signer(found)  # raises, so that a start ends and a reload is refused
            model = found.selected_model(cuda=devices.cuda_is_available())
            if fits.loads_here(found):
                for name in sorted(profiles.chosen(found) - {"auto"} | {model}):
                    if lack := fits.lack(name, found, fits.this_machine()):
                        structlog.get_logger().warning("model_may_not_fit", reason=lack)
            if found.engine == "ray":
                access.require(found.ray.interface, found.ray.token_file)
            return found, model

        def make_fleet(found: Config, tell: Callable[[Event], None]) -> Fleet:
            if found.engine == "ray":
                return ClusterFleet(found, tell)
            return fleet.OwnRenderer(profiles.sources(found), tell)

        def placed(error: FileError) -> FileError:
            return configuration.placed(error, file)

        with configuration.placing(file):
            outcome = service.Service(
                settings.Settings(read, placed),
                make_fleet,
                drain=drain,
                is_attended=is_attended,
                observe=observe,
            ).run()
    return exit_codes.FAILED if drain and outcome.failed_jobs else 0


def _loading_libraries() -> Status:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Status(os.getpid(), State.LOADING, "", now, reason="the libraries that render")
