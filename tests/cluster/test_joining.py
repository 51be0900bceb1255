"""How a bridge joins a real Ray cluster, or starts one, without any renderer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.processes import DEADLINE_SECONDS
from harness.ray_cluster import RayCluster
from reeldrop.cluster import access, process
from reeldrop.cluster.wire import Connected, Start, Trouble


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path: Ray puts sockets below it."""
    folder = Path(tempfile.mkdtemp(prefix="rd-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_a_cluster_of_this_machine_leaves_nothing_behind(short_folder: Path) -> None:
    """Its files are in a folder of its own, from which old logs of renderers go."""
    environment = {**access.environment("local", None), "TMPDIR": str(short_folder)}
    with process.bridge(environment) as link:
        link.send(Start("local", "", "", 0, b""))
        assert link.poll(DEADLINE_SECONDS)
        assert Connected(1) == link.recv()
        (folder,) = short_folder.glob("reeldrop-ray-*")
        assert list(folder.glob("session_2*/logs/raylet.out"))
    assert [] == list(short_folder.iterdir())


def refusal(cluster: RayCluster) -> Trouble:
    """Return why a bridge does not join a cluster."""
    environment = access.environment(cluster.address, cluster.token_file)
    with process.bridge(environment) as link:
        link.send(Start(cluster.address, cluster.ip(0), "", 0, b""))
        assert link.poll(DEADLINE_SECONDS)
        told = link.recv()
    assert isinstance(told, Trouble)
    return told


def test_a_cluster_without_tokens_is_refused(tmp_path: Path) -> None:
    """It would take orders from anybody. One that is not there is waited for."""
    cluster = RayCluster(tmp_path, has_tokens=False)
    away = refusal(cluster)
    assert f"no head of a cluster answers at {cluster.address}" in away.reason
    assert not away.is_final
    try:
        cluster.start(0, slots=0)
        told = refusal(cluster)
    finally:
        cluster.close()
    assert f"the cluster at {cluster.address} was started without tokens" in told.reason
    assert told.is_final
