"""check: what is tried in the folders disturbs nobody, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Site
from reeldrop import check, config, durable
from reeldrop.config import Config


@pytest.fixture
def settings(site: Site) -> Config:
    """The config.yaml of a site."""
    return config.load(site.folder / "config.yaml")


def left(site: Site) -> list[str]:
    """Return the names of all temporary files."""
    return [path.name for path in site.folder.rglob("*") if durable.is_temporary(path.name)]


def test_two_that_check_at_once_do_not_disturb_each_other(
    settings: Config, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon starts while a person runs `reeldrop check`: both find that all is well."""
    rename, rows = os.rename, []

    def interrupted(source: Path, target: Path) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", rename)
            patched.setattr(os, "getpid", os.getppid)
            rows.extend(check.folders(settings))
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    rows.extend(check.folders(settings))
    assert len(rows) > 20
    assert [] == [row for row in rows if not row.ok]
    assert [] == left(site)


KILLED_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from reeldrop import check, config
os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
list(check.folders(config.load(Path(sys.argv[1]))))
"""


def test_what_a_kill_has_left_of_a_check_goes_with_the_next_one(
    settings: Config, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process has stays: it may be in the middle of its own check."""
    file = str(site.folder / "config.yaml")
    subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, file], check=False)
    (killed,) = left(site)
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", os.getppid)
        others = check._canary(settings.inbox, "2")
    others.touch()
    assert all(row.ok for row in check.folders(settings))
    assert [others.name] == left(site)
    assert killed != others.name


def test_what_somebody_names_like_a_check_is_left_alone(settings: Config, site: Site) -> None:
    """The inbox is everybody's: no name in it keeps the daemon from its start."""
    for pid in ("x", "", "-1", "9" * 30, "\u0662"):
        durable.temporary(site.inbox / "x", f"check-{pid}-1").touch()
    durable.temporary(site.inbox / "x", "check-999999999-1").mkdir()
    before = left(site)
    assert all(row.ok for row in check.folders(settings))
    assert before == left(site)
