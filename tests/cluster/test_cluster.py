"""A service with renderers on a real Ray cluster of three nodes, each part of which is killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import crash
import pytest
from crash import Order
from harness.processes import await_that
from harness.ray_cluster import RayCluster
from harness.site import CONFIG, Site, make_site
from harness.zygote import Zygote
from reeldrop.commands import exit_codes
from reeldrop.video import remote

SLOW = "prompt: {text}\nnum_inference_steps: 30\nseed: [1, 2, 3, 4]\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """A head without a renderer, and two nodes with one each. The last test kills them."""
    made = RayCluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.start(0, slots=0)
        for node in (1, 2):  # in turn: those of one machine choose from the same ports
            made.start(node)
        yield made
    finally:
        made.close()


def checked(site: Site) -> tuple[int, str]:
    """Return the exit code of `check`, and what it says of the cluster."""
    done = site.command("check", "--json")
    rows = {row["what"]: row for row in json.loads(done.stdout)}
    assert all(rows[f"ray: {key}"]["ok"] for key in ("token_file", "interface"))
    row = rows["ray: address"]
    return done.returncode, f"{row['ok']} {row['doubt']} {row['detail']}"


def test_check_joins_the_cluster_and_begins_nothing_in_it(
    tmp_path: Path, least_pipeline: Path, cluster: RayCluster
) -> None:
    """It tells a cluster that answers from a token that is wrong; the other test, from one away."""
    site = make_site(tmp_path / "site", least_pipeline)
    (site.folder / "config.yaml").write_text(
        cluster.settings + CONFIG.format(pipeline=least_pipeline)
    )
    assert (0, f"True False {cluster.address}: a cluster of 3 machines") == checked(site)
    assert [] == cluster.actors(1)
    token = cluster.token_file.read_text()
    cluster.token_file.write_text("0" * 64)
    code, refused = checked(site)
    assert (exit_codes.CONFIG, "False") == (code, refused.partition(" ")[0])
    assert "refuses the token" in refused
    cluster.token_file.write_text(token)


def test_each_video_comes_once_whatever_is_killed(
    tmp_path: Path, least_pipeline: Path, zygote: Zygote, cluster: RayCluster
) -> None:
    """A renderer, a node, the head and the service are killed, while something is in hand.

    While the head is away, `check` says that prompts wait.
    """
    site = crash.Site.make(tmp_path / "site", tmp_path / "results", least_pipeline, zygote)
    config = site.folder / "config.yaml"
    config.write_text(cluster.settings + config.read_text().replace("e_steps: 10", "e_steps: 90"))
    orders: list[Order] = []

    def drop_and_await_its_start() -> None:
        """Drop a prompt file, and wait until it is in hand."""
        name = f"{len(orders)}.yaml"
        orders.append(Order(name, SLOW.format(text=name), 4))
        crash.drop(orders[-1], site.folder / "inbox")
        await_that(lambda: list((site.folder / "spool/active").glob(f"*/{name}")), name)

    def logged(event: str) -> int:
        return site.log.read_text().count(f'"event": "{event}"')

    service = site.start()
    await_that(lambda: logged("renderer_joined") == 2, "two renderers")
    drop_and_await_its_start()
    os.kill(cluster.actors(1)[0], signal.SIGKILL)
    await_that(lambda: logged("renderer_joined") == 3, "another renderer on that node")

    drop_and_await_its_start()
    cluster.kill(2)
    drop_and_await_its_start()
    cluster.kill(0)
    await_that(lambda: logged("renderers_missing"), "what the service says of the head")
    os.kill(service, signal.SIGKILL)
    zygote.wait(service)
    code, away = checked(Site(site.folder))
    assert (0, "True True") == (code, away[:9])
    assert f"{cluster.address} can't be reached: Connection refused; prompts wait" in away

    cluster.start(0, slots=0)
    cluster.kill(1)
    cluster.start(1)
    count = crash.finish(site, orders, kills=4, retry=False)
    assert crash.Count(4, jobs=3, videos=12) == count
    assert not list(site.results.glob(f"{remote.FOLDER}*"))
