"""What `reeldrop check` says of the cluster that renders with `engine: ray`.

Starts no renderer, and no cluster.
"""

from __future__ import annotations

import importlib.metadata
import io
import pwd
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reeldrop.base.errors import ConfigError
from reeldrop.cluster import access, process
from reeldrop.cluster.wire import Connected, Start, Trouble
from reeldrop.commands.rows import Row, row_of
from reeldrop.host import log

if TYPE_CHECKING:
    from reeldrop.config.config import Config

CONNECT_SECONDS = 3.0
"""How long the head may take to accept a connection."""

JOIN_SECONDS = 40.0
"""How long it may take to join; an import of Ray alone takes seconds."""

_START_IT = (
    "prompts wait until it is there; `systemctl status reeldrop-ray` on its machines says more"
)


def rows(config: Config) -> Iterator[Row]:
    """Yield a row for each thing that a cluster needs; the last one joins it for a moment."""
    ray = config.ray
    found = [row_of("ray", _package)]
    if ray.token_file is not None:
        token = ray.token_file
        found.append(row_of("ray: token_file", lambda: _token(token)))
    if ray.interface is not None:
        interface = ray.interface
        found.append(row_of("ray: interface", lambda: _network(interface)))
    yield from found
    if ray.address == access.LOCAL:
        yield Row("ray: address", True, "local: it is started with the service, on this machine")
    elif all(row.ok for row in found):
        yield _address(config)


def _package() -> str:
    access.require_ray()
    return f"version {importlib.metadata.version('ray')}"


def _token(file: Path) -> str:
    access.require_token(file)
    owner = file.stat().st_uid
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    return f"{file}, which only {name} can read: the service has to run as that user"


def _network(interface: str) -> str:
    address, network = access.place_in_network(interface)
    return f"this machine is {address} in {network}"


def _address(config: Config) -> Row:
    """Join the cluster as the service does. That it is not there is no fault of config.yaml."""
    what, address = "ray: address", config.ray.address
    if ":" in address:
        try:
            socket.create_connection(access.host_and_port(address), CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            return Row(what, True, f"{address} can't be reached: {reason}; {_START_IT}", doubt=True)
    try:
        answer = _joined(config)
    except ConfigError as error:
        return Row(what, False, str(error))
    if isinstance(answer, Connected):
        machines = "1 machine" if answer.nodes == 1 else f"{answer.nodes} machines"
        return Row(what, True, f"{address}: a cluster of {machines}")
    detail = f"{address} can't be joined: {answer.reason}"
    if answer.is_final:
        return Row(what, False, f"key 'ray.address': {detail} (see docs/cluster.md)")
    return Row(what, True, f"{detail}; {_START_IT}", doubt=True)


def _joined(config: Config) -> Connected | Trouble:
    """Return what a bridge says first, which asks for no renderer; it ends with this call."""
    ray = config.ray
    node_ip, network = access.require(ray.interface, ray.token_file)
    log.configure(io.StringIO(), for_people=True)  # what Ray prints is not for the table
    with process.bridge(access.environment(ray.address, ray.token_file)) as link:
        link.send(Start(ray.address, node_ip, network, 0, b""))
        deadline = time.monotonic() + JOIN_SECONDS
        try:
            while link.poll(max(0.0, deadline - time.monotonic())):
                message = link.recv()
                if isinstance(message, Connected | Trouble):
                    return message
        except (EOFError, OSError):
            return Trouble("the process that joins it has ended")
        return Trouble(f"no answer for {JOIN_SECONDS:.0f} s")
