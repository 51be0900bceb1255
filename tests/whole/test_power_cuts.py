"""Power cuts and the states that they leave: `benchmarks/power_cuts.py` at small size."""

from __future__ import annotations

from pathlib import Path

import power_cuts
import pytest
from power_cuts import Count, Place, number_of
from reeldrop.base import temporaries

MANY = 300
"""Fewer acknowledgements would mean that next to nothing was done between the cuts."""


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(("kind", "cuts", "states"), [("ext4", 6, 8), ("xfs", 6, 8)])
def test_a_power_cut_loses_and_tears_nothing(kind: str, cuts: int, states: int) -> None:
    """Acknowledged files are there and complete, and everything completes afterwards."""
    counts = power_cuts.run(kind, cuts, states, seed=1)
    assert Count(cuts, counts["cuts"].acknowledged, []) == counts["cuts"]
    assert Count(states, counts["states"].acknowledged, []) == counts["states"]
    assert counts["cuts"].acknowledged + counts["states"].acknowledged > MANY


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("kind", power_cuts.MEGABYTES)
def test_without_fsync_power_cuts_lose_and_tear_files(kind: str) -> None:
    """The cuts are real: without fsync, acknowledged videos are lost."""
    for count in power_cuts.run(kind, cuts=4, states=4, seed=1, without="all").values():
        found = count.row()
        assert found["lost"] > 0
        assert found["torn"] > 0


@pytest.mark.usefixtures("root")
def test_without_fsync_of_folders_power_cuts_lose_files() -> None:
    """One missing fsync of a folder is detected."""
    counts = [
        power_cuts.run(kind, cuts=6, states=6, seed=1, without="folders")
        for kind in power_cuts.MEGABYTES
    ]
    found = sum((count for run in counts for count in run.values()), Count()).row()
    assert found["lost"] > 0
    assert 0 == found["torn"]


def worked_on(folder: Path) -> Place:
    """Return a site, on an ordinary disk, on which everything has completed."""
    place = Place(folder, "any")
    for name in ("inbox/poems", "spool", "results"):
        (place.site / name).mkdir(parents=True)
    place.start(last=60).join()
    assert Count(1, 60, []) == power_cuts.check(place, power_cuts.read_told(place.told))
    return place


def test_damage_that_is_done_on_purpose_is_found(tmp_path: Path) -> None:
    """Each kind of damage is counted, and no damage is not."""
    place = worked_on(tmp_path)
    site, told = place.site, power_cuts.read_told(place.told)
    dropped = {number for path in power_cuts.files(site) if (number := number_of(path)) is not None}
    gone, half, whole, *_ = sorted(site.rglob("*.mp4"))
    gone.unlink()
    half.write_bytes(half.read_bytes()[:4096])
    again = whole.with_name(f"{whole.stem}-2.mp4")
    again.write_bytes(whole.read_bytes())
    left = temporaries.beside(half, "20260101-000000-000000-abcdef")
    left.touch()

    lost, doubled, leftover = (str(path.relative_to(site)) for path in (gone, again, left))
    assert {("lost", gone.name)} == set(power_cuts.not_kept(site, told))
    torn = {("torn", str(path.relative_to(site))) for path in (half, again)}
    assert torn == set(power_cuts.torn(site))
    assert {("lost", lost), ("doubled", doubled), ("leftover", leftover)} == set(
        power_cuts.not_as_ordered(site, dropped)
    )
