"""A renderer of several processes on a real Ray cluster, of which each is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import crash
from crash import Order, Site
from harness.processes import await_that
from harness.ray_cluster import RayCluster
from harness.zygote import Zygote

SLOW = "prompt: a horse\nnum_inference_steps: 90\nseed: [1, 2]\n"


def test_each_video_comes_once_whichever_process_is_killed(
    tmp_path: Path, wan_pipeline: Path, zygote: Zygote
) -> None:
    """The loss of one is the loss of the renderer, with a reason; no other one outlives it."""
    cluster = RayCluster(tmp_path)
    try:
        cluster.start(0, slots=1)
        site = Site.make(tmp_path / "site", tmp_path / "results", wan_pipeline, zygote)
        config = site.folder / "config.yaml"
        text = config.read_text().replace("num_frames: 2,", "num_frames: 5,")
        text = text.replace("e_steps: 10", "e_steps: 90").replace("_size: 2", "_size: 1")
        config.write_text(cluster.settings + text + "    gpus: 2\n")

        def logged(event: str) -> int:
            return site.log.read_text().count(f'"event": "{event}"')

        service = site.start()
        await_that(lambda: logged("ready"), "the warm-up")
        order = Order("slow.yaml", SLOW, 2, frames=5)
        crash.drop(order, site.folder / "inbox")
        await_that(lambda: logged("video_published"), "the first video")
        [rank] = cluster.ranks(0)
        os.kill(rank, signal.SIGKILL)
        await_that(lambda: logged("renderer_joined") == 2, "another renderer")
        assert "the process of rank 1 has ended (signal 9)" in site.log.read_text()

        await_that(lambda: cluster.ranks(0), "another process")
        [rank] = cluster.ranks(0)
        os.kill(cluster.actors(0)[0], signal.SIGKILL)
        await_that(lambda: not Path(f"/proc/{rank}/cmdline").exists(), "its end")
        os.kill(service, signal.SIGKILL)
        zygote.wait(service)
        count = crash.finish(site, [order], kills=3, retry=False)
        assert crash.Count(3, jobs=1, videos=2) == count
    finally:
        cluster.close()
