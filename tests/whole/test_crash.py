"""What kills leave, and kills at random moments: `benchmarks/crash.py` at small size.

The benchmark also kills a daemon before each of its changes to the disk.
"""

from __future__ import annotations

from pathlib import Path

import crash
from harness.zygote import Zygote


def test_what_a_kill_before_any_change_to_the_disk_leaves_is_completed(
    tmp_path: Path, least_pipeline: Path, zygote: Zygote
) -> None:
    """The next start loses and doubles nothing, whichever such call the kill precedes."""
    count = crash.start_in_each_state(
        tmp_path / "sites", tmp_path / "results", least_pipeline, zygote
    )
    assert count.kills > 40
    assert crash.Count(count.kills, count.jobs, count.jobs) == count


def test_a_kill_before_any_change_that_a_command_makes_loses_and_doubles_nothing(
    tmp_path: Path, least_pipeline: Path, zygote: Zygote
) -> None:
    """So it is for submit, retry and cancel, beside a daemon and without one."""
    count = crash.kill_commands_before_each_change(
        tmp_path / "sites", tmp_path / "results", least_pipeline, zygote
    )
    assert count.kills > 20
    assert crash.Count(count.kills, count.jobs, count.jobs) == count


def test_kills_at_random_moments_lose_and_double_nothing(
    tmp_path: Path, least_pipeline: Path, zygote: Zygote
) -> None:
    """A stream of prompt files of every kind comes out complete, however often the daemon dies.

    The counting is checked, too: damage that is done on purpose is found.
    """
    site = crash.Site.make(tmp_path / "site", tmp_path / "results", least_pipeline, zygote)
    count, orders = crash.kill_at_random(site, kills=40, seed=1, longest=0.6)
    assert count.is_clean
    assert count.jobs == len(orders)

    videos = sorted(site.results.rglob("*.mp4"))
    videos[0].write_bytes(videos[0].read_bytes()[:300])
    videos[1].unlink()
    videos[2].with_name("again.mp4").write_bytes(videos[2].read_bytes())
    next(path for path in site.results.rglob("*.txt") if "_failed" not in path.parts).unlink()
    (site.results / "~syncthing~reeldrop-x.~.tmp").touch()
    damaged = crash.check(site, orders)
    assert (damaged.lost, damaged.doubled, damaged.leftover) == (2, 1, 1)
    assert damaged.half_visible >= 1
