"""Access to the cluster: the token, the network, Ray's environment.

Ray's tokens authenticate; they encrypt nothing.
"""

from __future__ import annotations

import fcntl
import importlib.util
import ipaddress
import os
import secrets
import socket
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

from reeldrop.base.errors import ConfigError, Mistake

LOCAL = "local"

_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B
_LEAST_TOKEN = 32

HEAD_SECONDS = 10
"""How long a bridge waits for a head that does not answer, before it ends; Ray's default is 60."""


def require(interface: str | None, token_file: Path | None) -> tuple[str, str]:
    """Return this machine's address and network; both empty if no interface is given.

    See `place_in_network`.

    Raises:
        ConfigError: the package ray is missing, or the token or the interface can't be used.
    """
    require_ray()
    if token_file is not None:
        require_token(token_file)
    return place_in_network(interface) if interface is not None else ("", "")


def require_ray() -> None:
    """Raise ConfigError if the package ray is missing."""
    if importlib.util.find_spec("ray") is None:
        problem = "engine: ray needs the package ray, which is missing"
        raise ConfigError(Mistake(problem, "pip install 'reeldrop[cluster]'", key="engine"))


def require_token(file: Path) -> None:
    """Raise ConfigError unless a file holds a token that only its owner can read."""
    try:
        found = file.stat()
        length = len(file.read_bytes().strip())
    except PermissionError:
        problem = f"the token file {file} can't be read by this user"
        remedy = f"run this as the service's user, or `chown` {file} to that"
        raise _refused("token_file", problem, remedy) from None
    except OSError as error:
        remedy = f"make one: (umask 077; openssl rand -hex 32 > {file}), the same on each machine"
        problem = f"the token file {file} can't be read: {error.strerror}"
        raise _refused("token_file", problem, remedy) from None
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        problem = f"users other than its owner have access to the token file {file}"
        raise _refused("token_file", problem, f"chmod 600 {file}")
    if length < _LEAST_TOKEN:
        problem = f"the token in {file} has only {length} characters, so it can be guessed"
        raise _refused("token_file", problem, f"openssl rand -hex 32 > {file}")


def place_in_network(interface: str) -> tuple[str, str]:
    """Return this machine's address on an interface, and its network, such as 10.0.0.0/24.

    interface: its name, such as wg0, or one of its addresses; or the network in which it has one,
        where its own netmask tells less, as /32 does

    Raises:
        ConfigError: there is no such interface or address.
    """
    network = _network(interface)
    for _, name in socket.if_nameindex():
        found = _address(name)
        if found is not None and interface in (name, str(found.ip)):
            return str(found.ip), str(found.network)
        if found is not None and network is not None and found.ip in network:
            return str(found.ip), str(network)
    try:
        address = ipaddress.ip_address(interface)
    except ValueError:
        what = (
            f"address in {interface}"
            if network
            else f"interface '{interface}' with an IPv4 address"
        )
        problem = f"this machine has no {what}"
    else:
        if address.is_loopback:
            return interface, "127.0.0.0/8"
        problem = f"this machine does not have the address {interface}"
    names = ", ".join(name for _, name in socket.if_nameindex())
    raise _refused("interface", problem, f"it has {names}; or start WireGuard first")


def _network(given: str) -> ipaddress.IPv4Network | None:
    """Return a network that is given as such; None for a name, an address, or another kind."""
    try:
        return ipaddress.IPv4Network(given, strict=False) if "/" in given else None
    except ValueError:
        return None


def _address(name: str) -> ipaddress.IPv4Interface | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = struct.pack("256s", name.encode()[:15])
        try:
            address, mask = (
                socket.inet_ntoa(fcntl.ioctl(asking, number, request)[20:24])
                for number in (_SIOCGIFADDR, _SIOCGIFNETMASK)
            )
        except OSError:  # it has no IPv4 address
            return None
    return ipaddress.IPv4Interface(f"{address}/{mask}")


def host_and_port(address: str) -> tuple[str, int]:
    """Split host:port; the host may be an IPv6 address in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def environment(address: str, token_file: Path | None) -> Mapping[str, str]:
    """Return the environment of a process that uses Ray: tokens on, usage statistics off.

    A cluster of this machine alone gets a random token, which is kept in no file.
    """
    found = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    found |= {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(HEAD_SECONDS),
        "RAY_process_group_cleanup_enabled": "true",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_ROTATION_MAX_BYTES": "20000000",
        "RAY_ROTATION_BACKUP_COUNT": "2",
        "RAY_COLOR_PREFIX": "0",
    }
    if token_file is not None:
        return found | {"RAY_AUTH_TOKEN_PATH": str(token_file)}
    assert address == LOCAL
    return found | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _refused(key: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError(Mistake(problem, remedy, key=f"ray.{key}"))
