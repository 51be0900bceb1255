"""Who may use a cluster: the token's file, the network, what config.yaml has to say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from reeldrop.base.errors import ConfigError
from reeldrop.cluster import access
from reeldrop.cluster import process as bridge
from reeldrop.config import config
from reeldrop.translation import process as translator

UNIT = Path(__file__).parents[2] / "systemd/reeldrop-ray.service"
CLUSTER = "interface: wg0, token_file: token"


@pytest.mark.parametrize(
    ("ray", "key", "says"),
    [
        ("{address: 10.0.0.1}", "ray.address", "use local, auto, or host:port"),
        ("{address: 'h:6379'}", "ray", "token_file is missing"),
        ("{address: auto, token_file: t}", "ray", "interface is missing"),
        ("{renderers: 0}", "ray.renderers", "all"),
        ("{adress: local}", "ray.adress", "did you mean 'address'"),
    ],
)
def test_config_yaml_says_what_is_wrong_with_a_cluster(ray: str, key: str, says: str) -> None:
    """A cluster of several machines has a token and an interface, or no start."""
    with pytest.raises(ConfigError) as error:
        config.parse(f"engine: ray\nray: {ray}\n", Path("config.yaml"))
    assert 2 == error.value.mistakes[0].line
    assert key in str(error.value)
    assert says in str(error.value)


def test_the_brackets_of_an_ipv6_address_are_not_part_of_it() -> None:
    """Ray writes them into the address that it finds for `auto`."""
    assert ("fd00::1", 6379) == access.host_and_port("[fd00::1]:6379")
    assert ("node.example", 1) == access.host_and_port("node.example:1")


def test_a_cluster_of_several_machines_can_be_named() -> None:
    """The token's file is relative to config.yaml; without anything, nothing is on Ray."""
    ray = f"{{address: '10.0.0.1:6379', renderers: 3, {CLUSTER}}}"
    found = config.parse(f"engine: ray\nray: {ray}\n", Path("/etc/reeldrop/config.yaml"))
    assert Path("/etc/reeldrop/token") == found.ray.token_file
    assert 3 == found.ray.renderers
    usual = config.parse("models: {bundled: {}}\n", Path("config.yaml"))
    assert ("in_process", "local", "all") == (usual.engine, usual.ray.address, usual.ray.renderers)


def test_a_token_that_others_can_read_or_guess_is_refused(tmp_path: Path) -> None:
    """Each refusal names the command that mends it."""
    file = tmp_path / "token"
    with pytest.raises(ConfigError, match="openssl rand -hex 32"):
        access.require_token(file)
    file.write_text("f" * 64)
    file.chmod(0o640)
    with pytest.raises(ConfigError, match=f"chmod 600 {file}"):
        access.require_token(file)
    file.chmod(0o600)
    access.require_token(file)
    file.write_text("secret\n")
    with pytest.raises(ConfigError, match="6 characters"):
        access.require_token(file)


def test_the_network_of_a_cluster_is_that_of_an_interface() -> None:
    """It is named, stands for one of this machine's addresses, or is given itself.

    So it has to be where an interface has the address of one machine alone (/32): as often in
    WireGuard, and in pods.
    """
    assert ("127.0.0.1", "127.0.0.0/8") == access.place_in_network("lo")
    assert ("127.0.0.9", "127.0.0.0/8") == access.place_in_network("127.0.0.9")
    assert ("127.0.0.1", "127.0.0.0/30") == access.place_in_network("127.0.0.0/30")
    with pytest.raises(ConfigError, match=r"has no address in 198\.51\.100\.0/24 \(it has lo"):
        access.place_in_network("198.51.100.0/24")
    with pytest.raises(ConfigError, match="no interface 'wg7'"):
        access.place_in_network("wg7")
    with pytest.raises(ConfigError, match=r"does not have the address 198\.51\.100\.1"):
        access.place_in_network("198.51.100.1")


@pytest.mark.parametrize("command", [bridge.COMMAND, translator.COMMAND])
def test_a_process_imports_nothing_from_where_it_is_started(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    """Somebody may start the service in an inbox, into which everybody can write."""
    (tmp_path / "reeldrop").mkdir()
    (tmp_path / "reeldrop/__init__.py").write_text("raise SystemExit(9)")
    quick = (*command[:-1], "reeldrop.cluster.wire")  # it needs neither Ray nor torch
    ended = subprocess.run(quick, cwd=tmp_path, stdin=subprocess.DEVNULL, check=False)
    assert 0 == ended.returncode


def test_tokens_are_on_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So is what else Ray would read there: nothing of it is passed on."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    named = access.environment("auto", tmp_path / "token")
    assert ("token", "0") == (named["RAY_AUTH_MODE"], named["RAY_USAGE_STATS_ENABLED"])
    assert str(tmp_path / "token") == named["RAY_AUTH_TOKEN_PATH"]
    assert "RAY_ADDRESS" not in named
    own, other = (access.environment("local", None)["RAY_AUTH_TOKEN"] for _ in range(2))
    assert 64 == len(own)
    assert own != other


def test_the_unit_of_a_machine_sets_what_a_cluster_of_one_machine_gets() -> None:
    """A renderer has its environment from the Ray of its machine, not from the service."""
    unit = UNIT.read_text()
    lines = (line.removeprefix("Environment=") for line in unit.splitlines())
    told = {line for line in lines if line.startswith("RAY_")}
    token = "RAY_AUTH_TOKEN_PATH=/etc/reeldrop/ray-token"
    of_one = access.environment("auto", Path("/etc/reeldrop/ray-token"))
    ours = {f"{name}={value}" for name, value in of_one.items() if name.startswith("RAY_")}
    assert token in told
    assert ours - {"RAY_COLOR_PREFIX=0"} == told


def test_units_that_are_kept_to_an_interface_follow_it() -> None:
    """systemd looks it up at their start only: one that is made anew would be closed to them."""
    page = (UNIT.parents[1] / "docs/cluster.md").read_text()
    (printed,) = (line for line in page.splitlines() if "[Service]" in line and "wg0" in line)
    drop_in = printed.partition("printf '")[2].partition("'")[0].replace("\\n", "\n")
    for text in (drop_in, UNIT.with_name("cluster.conf").read_text()):
        assert "\nRestrictNetworkInterfaces=lo wg0\n" in text
        lines = [line.split("=") for line in text.splitlines() if "wg-quick@wg0.service" in line]
        assert ["After", "PartOf"] == [key for key, _ in lines]


def test_a_machine_keeps_the_files_of_its_last_starts_only(tmp_path: Path) -> None:
    """Ray makes a folder at each start, and removes none."""
    (line,) = (line for line in UNIT.read_text().splitlines() if line.startswith("ExecStartPre="))
    command = line.partition(" -c ")[2].strip("'").replace("%C", str(tmp_path))
    folder = tmp_path / "reeldrop-ray"
    assert 0 == subprocess.run(["/bin/sh", "-c", command], check=False).returncode
    for number in range(6):
        made = folder / f"session_2026-01-0{number + 1}_10-00-00_1_1"
        made.mkdir(parents=True)
        os.utime(made, (number, number))
    (folder / "session_latest").symlink_to(made)
    subprocess.run(["/bin/sh", "-c", command], check=True)
    days = sorted(path.name[8:18] for path in folder.iterdir() if not path.is_symlink())
    assert ["2026-01-04", "2026-01-05", "2026-01-06"] == days
    assert made == (folder / "session_latest").resolve()
