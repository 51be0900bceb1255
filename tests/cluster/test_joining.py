"""How a bridge joins a real Ray cluster, or starts one, without any renderer."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import ray
import ray.exceptions
from harness.processes import DEADLINE_SECONDS
from harness.ray_cluster import RayCluster
from ray._private import utils
from reeldrop.cluster import access, joining, process
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
        assert Connected(1, 0) == link.recv()
        (folder,) = short_folder.glob("reeldrop-ray-*")
        assert list(folder.glob("session_2*/logs/raylet.out"))
    assert [] == list(short_folder.iterdir())


def last_words(link: Connection[object, object]) -> str:
    """Return what a bridge has told last, once it has ended."""
    told: list[object] = []
    with contextlib.suppress(EOFError):
        while link.poll(DEADLINE_SECONDS):
            told.append(link.recv())
    assert isinstance(told[-1], Trouble)
    return told[-1].reason


def test_a_defect_of_the_bridge_is_told_with_its_text(short_folder: Path) -> None:
    """In each of its threads. A lost connection to the cluster would be another trouble."""
    environment = {**access.environment("local", None), "TMPDIR": str(short_folder)}
    with process.bridge(environment) as link:
        link.send("what no service says")
        told = last_words(link)
    assert told.startswith("a defect of the process for Ray: AttributeError: ")
    with process.bridge(environment) as link:
        link.send(Start("local", "", "", 0, b""))
        assert link.poll(DEADLINE_SECONDS)
        assert Connected(1, 0) == link.recv()
        link.send_bytes(b"half")
        told = last_words(link)
    assert told.startswith("a defect of the process for Ray: UnpicklingError: ")


def test_logs_of_renderers_that_have_ended_are_removed_after_a_day(tmp_path: Path) -> None:
    """Not that of one that lives and has nothing to say, nor those of Ray itself."""
    with subprocess.Popen(["true"]) as process:
        gone = process.pid
    old = tmp_path / "old"
    old.mkdir()
    kept = [
        tmp_path / f"worker-0a1b-01000000-{os.getpid()}.out",
        tmp_path / f"python-core-worker-0a1b_{os.getpid()}.log",
        tmp_path / "raylet.out",
    ]
    ended = [
        tmp_path / f"worker-2c3d-01000000-{gone}.err",
        tmp_path / f"worker-2c3d-01000000-{gone}.1.out",
        tmp_path / f"python-core-worker-2c3d_{gone}.log",
        old / f"worker-2c3d-01000000-{gone}.out",
    ]
    for log in (*kept, *ended):
        log.touch()
        os.utime(log, (0, 0))
    kept.append(tmp_path / f"worker-2c3d-01000000-{gone}.out")  # it has ended just now
    kept[-1].touch()
    joining.remove_old_logs(tmp_path)
    assert sorted(kept) == sorted(path for path in tmp_path.rglob("*") if path != old)


def refusal(cluster: RayCluster) -> Trouble:
    """Return why a bridge does not join a cluster."""
    environment = access.environment(cluster.address, cluster.token_file)
    with process.bridge(environment) as link:
        link.send(Start(cluster.address, cluster.ip(0), "", 0, b""))
        assert link.poll(DEADLINE_SECONDS)
        told = link.recv()
    assert isinstance(told, Trouble)
    return told


def test_a_cluster_of_another_version_is_named_with_both_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray tells them below the first line of its error, which names neither."""
    versions = {"ray_version": "2.59.0", "python_version": "3.11.2"}

    def init(*_: object, **__: object) -> None:
        utils.check_version_info(versions, "10.0.0.2")

    monkeypatch.setattr(joining, "require_tokens", lambda _: None)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(joining.NotJoined) as refused:
        joining.Membership(Start("10.0.0.1:6379", "", "", 0, b""))
    assert "the cluster at 10.0.0.1:6379: Version mismatch" in refused.value.reason
    assert "Ray: 2.59.0" in refused.value.reason
    assert f"Ray: {ray.__version__}" in refused.value.reason
    assert not refused.value.is_final


def test_what_ray_raises_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the bridge would end without one."""

    def init(*_: object, **__: object) -> None:
        raise ray.exceptions.RaySystemError("no port is free")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(joining, "require_tokens", lambda _: None)
    with pytest.raises(joining.NotJoined, match="no port is free"):
        joining.Membership(Start("10.0.0.1:6379", "", "", 0, b""))


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
