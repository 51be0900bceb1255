"""How a bridge joins a cluster, or starts one of this machine alone.

Knows nothing of renderers.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray._private import services
from ray._raylet import AuthenticationTokenLoader, GcsClient  # type: ignore[attr-defined]

from reeldrop.base import scratch
from reeldrop.cluster import places
from reeldrop.cluster.access import HEAD_SECONDS, LOCAL, host_and_port
from reeldrop.cluster.errors import first_line, reason_of
from reeldrop.cluster.wire import Start

_OWN_IP = "127.0.0.2"
"""Address of a cluster of this machine alone; for 127.0.0.1, Ray takes one of the network."""

_PREFIX = "reeldrop-ray-"
"""Of a folder for the files of such a cluster. Short: the names of its sockets are bounded."""

LOG_SECONDS = 86400.0
"""The age at which the logs of renderers that have ended are removed there."""

_PROCESS = re.compile(r"[-_](\d+)(?:\.\d+)?\.(?:out|err|log)")
"""In the name of a log: the id of the process that writes it."""


class NotJoined(Exception):
    """Why there is no cluster; if `is_final`, no later try will do better."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_final = is_final


class Membership:
    """This process in a cluster, until `leave`. Ray ends the process if it loses the head.

    Raises:
        NotJoined: there is none that can be used.
    """

    def __init__(self, start: Start) -> None:
        self._folder: Path | None = None
        known: dict[str, Any] = {"log_to_driver": False, "include_dashboard": None}
        if start.address == LOCAL and start.node_ip in ("", "127.0.0.1"):
            known["_node_ip_address"] = _OWN_IP
        elif start.node_ip:
            known["_node_ip_address"] = start.node_ip
        try:
            if start.address == LOCAL:
                self._folder = scratch.make(_PREFIX)
                known |= {"include_dashboard": False, "_temp_dir": str(self._folder)}
                ray.init("local", **known, **_own_resources())
            else:
                if address := services.canonicalize_bootstrap_address(start.address):
                    require_tokens(address)
                ray.init(start.address, **known)
        except ray.exceptions.AuthenticationError as error:
            problem = f"the cluster refuses the token: {first_line(error)}"
            raise NotJoined(problem, is_final=True) from None
        except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
            where = "" if start.address == LOCAL else f"the cluster at {start.address}: "
            raise NotJoined(where + reason_of(str(error) or repr(error))) from None

    def leave(self) -> None:
        """Leave the cluster; end that of this machine alone, and remove its files."""
        ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def tidy(self) -> None:
        """Remove the logs of renderers that have ended long ago, in a cluster of our own."""
        if self._folder is not None:
            for logs in self._folder.glob("session_*/logs"):
                remove_old_logs(logs)


def remove_old_logs(folder: Path) -> None:
    """Remove logs of renderers that have ended, `LOG_SECONDS` after the last line of each.

    folder: Ray's, on this machine
    """
    for log in folder.rglob("*worker*"):  # Ray moves some into a folder below
        found = _PROCESS.search(log.name)
        with contextlib.suppress(OSError):
            is_old = log.stat().st_mtime < time.time() - LOG_SECONDS
            if is_old and found is not None and not Path("/proc", found[1]).exists():
                log.unlink()


def require_tokens(address: str) -> None:
    """Check that a cluster, at host:port, takes orders from those only who have its token, as we.

    One that was started without tokens takes any: so it is asked with a wrong one first.

    Raises:
        NotJoined: it takes any, or not ours, or there is none at this address.
    """
    try:  # first: Ray would end this process, after 20 s and without a reason
        socket.create_connection(host_and_port(address), HEAD_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise NotJoined(f"no head of a cluster answers at {address}: {error}") from None
    loader, own = AuthenticationTokenLoader.instance(), dict(os.environ)
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    loader.reset_cache()
    try:
        takes_any = _takes_token(address)
    finally:
        os.environ.pop("RAY_AUTH_TOKEN")
        os.environ |= own
        loader.reset_cache()
    if takes_any:
        problem = f"the cluster at {address} was started without tokens: anybody can command it"
        remedy = (
            "set RAY_AUTH_MODE=token for `ray start` on each machine, as reeldrop-ray.service does"
        )
        raise NotJoined(f"{problem}; {remedy}", is_final=True)
    if not _takes_token(address):
        problem = f"the cluster at {address} refuses the token of this machine"
        raise NotJoined(f"{problem}: copy the one of its head into ray.token_file", is_final=True)


def _takes_token(address: str) -> bool:
    """Return whether the head of a cluster lets this process in with its token of the moment."""
    try:
        GcsClient(address=address)
    except ray.exceptions.AuthenticationError:
        return False
    except (ray.exceptions.RayError, RuntimeError, ValueError) as error:
        raise NotJoined(f"no head of a cluster answers at {address}: {first_line(error)}") from None
    return True


def _own_resources() -> dict[str, Any]:
    """Return what a cluster of this machine alone offers: its GPUs, or one place without any.

    No CPU: Ray would start a Python for each at once, and renderers ask for none.
    """
    from ray._private.accelerators import NvidiaGPUAcceleratorManager as Nvidia

    count = Nvidia.get_current_node_num_accelerators()
    own = {"num_gpus": count} if count else {"resources": {places.SLOTS: 1}}
    return {"num_cpus": 0, **own}
