"""Kill renderers, nodes, the head and the service of a Ray cluster; count what is lost or doubled.

A real Ray cluster of three nodes on this machine, a real service with a tiny pipeline of a real
class, and SIGKILL at random moments to one of: a renderer, a node, the head, the service. What
ends is started again, as systemd does. The files are checked as in `crash.py`.

    python benchmarks/crash_cluster.py --kills 100 --files 200
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import crash
from crash import Count, Order, Site
from harness.fakes import save_tiny_pipeline
from harness.ray_cluster import RayCluster
from harness.zygote import Zygote

KINDS = {"renderer": 5, "service": 2, "node": 2, "head": 1}
"""What is killed, and how often in ten kills."""

AMID_WORK = 0.7
"""The share of kills that wait for a video first. The others come while renderers start."""

WAIT_SECONDS = 90.0
"""How long they wait at most: the inbox may be empty."""


def kill_at_random(
    site: Site, cluster: RayCluster, kills: int, files: int, seed: int
) -> tuple[Count, Counter[str]]:
    """Kill something `kills` times while prompt files are dropped, then let all be finished."""
    dice = random.Random(seed)
    orders: list[Order] = []
    killed: Counter[str] = Counter()
    service = site.start()
    for number in range(kills):
        while len(orders) * kills < files * (number + 1):
            orders.append(crash.order(len(orders), dice))
            crash.drop(orders[-1], site.folder / "inbox")
        if dice.random() < AMID_WORK:
            _await_videos(site, cluster, dice.randrange(3))
        time.sleep(dice.uniform(0, 1))
        kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
        if kind == "service":
            os.kill(service, signal.SIGKILL)
            site.zygote.wait(service)
            service = site.start()
        else:
            kind = kill(cluster, kind, dice)
        killed[kind] += 1
        print(f"kill {number + 1}: {kind}, {_videos(site)} videos", file=sys.stderr, flush=True)
    os.kill(service, signal.SIGKILL)
    site.zygote.wait(service)
    cluster.await_all()  # a drain ends early where no renderer is there for two minutes
    return crash.finish(site, orders, kills), killed


def kill(cluster: RayCluster, kind: str, dice: random.Random) -> str:
    """Kill a part of the cluster; a node and a head are started again. Return what it was."""
    if kind == "head":
        cluster.kill(0)
        cluster.start(0, slots=0)
        return kind
    renderers = [pid for node in (1, 2) for pid in cluster.actors(node)]
    if kind == "renderer" and renderers:
        os.kill(dice.choice(renderers), signal.SIGKILL)
        return kind
    node = dice.choice((1, 2))
    cluster.kill(node)
    cluster.start(node, wait=False)
    return "node"


def _await_videos(site: Site, cluster: RayCluster, more: int) -> None:
    """Wait until more than so many videos are published; start nodes that have ended."""
    deadline, wanted = time.monotonic() + WAIT_SECONDS, _videos(site) + more
    while _videos(site) <= wanted and time.monotonic() < deadline:
        cluster.restart_ended()
        time.sleep(0.1)


def _videos(site: Site) -> int:
    names = (name for _, _, names in os.walk(site.results) for name in names)
    return sum(name.endswith(".mp4") for name in names)  # folders vanish meanwhile


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reeldrop-") as folder:
        base = Path(folder)
        zygote, cluster = Zygote(), RayCluster(base)
        try:
            cluster.start(0, slots=0)
            for node in (1, 2):
                cluster.start(node)
            pipeline = save_tiny_pipeline(base / "pipeline", blocks=1)
            site = Site.make(base / "site", base / "results", pipeline, zygote)
            config = site.folder / "config.yaml"
            config.write_text(cluster.settings + config.read_text())
            count, killed = kill_at_random(
                site, cluster, options.kills, options.files, options.seed
            )
        finally:
            cluster.close()
            zygote.close()
    for name, number in (*asdict(count).items(), *killed.items()):
        print(f"{name:14}{number:6}")
    print(json.dumps({**asdict(count), **killed, "seconds": round(time.monotonic() - began)}))
    sys.exit(0 if count.is_clean else 1)


if __name__ == "__main__":
    main()
