"""Authors who mean harm, with their own user ids: `benchmarks/hostile.py` at small size."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.programs import needs_root
from harness.zygote import Zygote
from hostile import let_loose
from hostile_count import Reckoning, Tally
from hostile_deeds import DEEDS
from hostile_site import FIRST_UID, GOOD_UID, Site, snapshot


@pytest.fixture
def site(tiny_pipeline: Path, zygote: Zygote) -> Iterator[Site]:
    """A site in a folder that every user can reach, unlike those of pytest."""
    needs_root()
    base = Path(tempfile.mkdtemp(prefix="reeldrop-hostile-"))
    base.chmod(0o755)
    yield Site.make(base / "root", 0, tiny_pipeline, zygote)
    shutil.rmtree(base)


def wait_for(process: int, site: Site, number: int = 0) -> int:
    """Wait until a process of the site has ended, by a signal if one is given."""
    if number:
        os.kill(process, number)
    return site.zygote.wait(process)


def test_whatever_authors_do_a_daemon_of_root_harms_nobody(site: Site) -> None:
    """Each attack once, and good files beside them: all ends well, and nothing outside is touched.

    The reckoning is checked, too: damage that is done on purpose is found.
    """
    hostile = site.author("brief", "h1", FIRST_UID, seed=1, pause=0)
    good = site.author("good", "good", GOOD_UID, seed=2, pause=1)
    before, tally = snapshot(site), Tally()
    daemon, well_meaning = site.start("run"), let_loose(good, site)
    assert let_loose(hostile, site).wait() == 0, site.beside("authors.log").read_text()
    well_meaning.kill()
    well_meaning.wait()
    assert wait_for(daemon, site, signal.SIGTERM) == 0
    assert wait_for(site.start("run", "--drain"), site) in (0, 1)
    Reckoning(site, tally).reckon(before)
    assert tally.problems == []
    assert {} == tally.count.harm()
    assert tally.count.hostile == len(DEEDS)
    assert tally.count.rendered == tally.count.good > 0

    damaged = Tally()
    first, second = list(tally.good.values())[:2]
    first.video(site.results).unlink()
    second.video(site.results).write_bytes(b"half")
    (site.failed / "x.yaml.error.txt").write_text("What is wrong: \x1b[31m\n")
    (site.results / "x.yaml").write_text(site.secret)
    (site.home(FIRST_UID) / "x.yaml").touch()
    (site.inbox / "x.yaml").touch()
    Reckoning(site, damaged).reckon(before)
    harm = {"missing", "broken", "bad_reports", "leaked", "touched"}
    assert harm == damaged.count.harm().keys()
