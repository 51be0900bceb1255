"""Test reeldrop on NFS; test_sync_recipes.py runs this on a virtual machine set up as documented.

The server exports `/export/reeldrop`; reeldrop sees it mounted on `/srv/reeldrop`. The server gives
no delegations, like many others.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.processes import await_that
from harness.site import Daemon, Site, make_site
from harness.zygote import REELDROP
from reeldrop.intake import share

SERVED, SEEN = Path("/export/reeldrop"), Path("/srv/reeldrop")
OWNER = 1000, 1000
"""The uid and gid that the documented export maps everybody to."""
WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Runs a command without capabilities, so that it has no more rights than a user."""


@dataclass
class Live:
    """A daemon on the mounted share, and the same site as the server sees it."""

    site: Site
    served: Site
    daemon: Daemon


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """Mount the export, and run a daemon on it."""
    Path("/proc/sys/fs/leases-enable").write_text("0")
    SERVED.mkdir(parents=True)
    os.chown(SERVED, *OWNER)
    SEEN.mkdir(parents=True)
    subprocess.run(["exportfs", "-ra"], check=True)
    subprocess.run(["mount", SEEN], check=True)
    site = make_site(SEEN / "site", Path(os.environ["PIPELINE"]))
    site.configure("settle_seconds: 3", "scan_seconds: 1", "idle_scan_seconds: 3600")
    daemon = Daemon(site, program=(*WITHOUT_CAPABILITIES, *REELDROP))
    try:
        daemon.wait_for("ready")
        yield Live(site, Site(SERVED / "site"), daemon)
    finally:
        daemon.process.kill()
        daemon.process.wait()
        subprocess.run(["umount", SEEN], check=True)


def test_what_is_said_of_it(live: Live) -> None:
    """Changes by other machines cause no events; otherwise it is like a local disk."""
    found = {finding.what: finding for finding in share.measure(live.site.inbox, 5.0)}
    assert "nfs4 reports changes by this machine only" in found["events"].text
    assert ["renames", "times", "clock"] == [what for what in found if found[what].ok]
    deletion = "a file that is deleted while it is open stays under another name"
    assert deletion == found["deletion"].text


def test_what_another_machine_puts_there(live: Live) -> None:
    """It is found by a scan, settles, is claimed, and its results are on the server."""
    poem = live.served.drop("poems/first.txt", "the first horse\n")
    os.chown(poem.parent, *OWNER)
    folder = live.served.results / "poems" / "first"
    await_that((folder / "first.txt").exists, "the first")
    assert (folder / "the_first_horse.mp4").stat().st_size > 0
    assert not (live.served.inbox / "poems" / "first.txt").exists()
    await_that(lambda: not any((live.served.spool / "active").iterdir()), "the end")
    assert [] == list(live.served.results.rglob("*reeldrop-*"))


def test_what_another_machine_writes_slowly(live: Live) -> None:
    """A file that grows has not settled, even though its size is cached for a second."""
    with (live.served.inbox / "slow.txt").open("w") as file:
        for number in range(8):
            file.write(f"# line {number}\n")
            file.flush()
            size = os.fstat(file.fileno()).st_size
            seen = live.site.inbox / "slow.txt"
            await_that(lambda: seen.stat().st_size == size, "the line")  # noqa: B023
        file.write("the slow horse\n")
    await_that((live.served.results / "slow" / "slow.txt").exists, "the end of the slow one")
    assert (live.served.results / "slow" / "the_slow_horse.mp4").exists()
    assert [] == live.daemon.events("job_failed")


def test_what_this_machine_puts_there(live: Live) -> None:
    """No file waits for a writer: a refused lease does not imply one on NFS."""
    live.site.drop("second.txt", "the second horse\n")
    await_that((live.served.results / "second" / "second.txt").exists, "the second")
    started = [event["prompt_file"] for event in live.daemon.events("job_started")]
    assert 1 == started.count("second.txt")
    assert 0 == live.daemon.stop()
