"""repeats: an order that came back has the pictures of its twin; another picture is an order."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from harness.jobs import says
from reeldrop.base.job import Job
from reeldrop.base.picture_files import PictureFiles
from reeldrop.intake.places import Place
from reeldrop.intake.repeats import Repeats
from reeldrop.store import pictures, reports
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool

OLD = 1_600_000_000 * 10**9 + 123_456_789
BOAT = PurePosixPath("boat.txt")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return an empty spool, with an inbox beside it."""
    (tmp_path / "inbox").mkdir()
    found = Spool(tmp_path / "spool", tmp_path / "inbox", tmp_path / "results" / "_failed")
    found.prepare()
    return found


def deliver(spool: Spool, picture: str) -> Job:
    """Put a prompt file and its picture into the inbox, and claim both."""
    prompt_file = spool.inbox.path / BOAT
    prompt_file.write_text("a boat\n")
    os.utime(prompt_file, ns=(OLD, OLD))
    prompt_file.with_name("boat.png").write_text(picture)
    job = spool.claim(BOAT, (), beside=PictureFiles(("boat.png",), (), "boat.png"))
    assert job is not None
    return job


def finish(spool: Spool, job: Job) -> None:
    """File a job away."""
    spool.finish(job, Results(spool.failed.root.path.parent).folder_for(BOAT))


def fail(spool: Spool, job: Job) -> None:
    """Set a job aside."""
    spool.fail(job, says(reports.text(BOAT, job.id, ValueError("no"), "Then.")))


def stay(_spool: Spool, _job: Job) -> None:
    """Leave a job in hand."""


@pytest.mark.parametrize("end", [finish, fail, stay])
def test_what_came_back_is_laid_upon_its_twin_with_its_pictures(spool: Spool, end: object) -> None:
    """Wherever the first one lies; the same text with another picture is rendered."""
    assert callable(end)
    repeats = Repeats(spool, Results(spool.failed.root.path.parent))
    end(spool, deliver(spool, "a boat"))
    again = deliver(spool, "a boat")
    assert not repeats.is_order(again)
    assert not again.folder.exists()
    kept = [p.read_text() for p in spool.folder.parent.rglob("*.png")]
    assert ["a boat"] == kept

    other = deliver(spool, "another boat")
    assert repeats.is_order(other)
    assert ["boat.png"] == [path.name for path in pictures.of(other)]


def test_a_repeat_that_a_kill_cut_short_ends_the_next_time(spool: Spool) -> None:
    """Its picture may be gone already: the twin has it."""
    repeats = Repeats(spool, Results(spool.failed.root.path.parent))
    finish(spool, deliver(spool, "a boat"))
    again = deliver(spool, "a boat")
    pictures.drop(again)
    assert not repeats.is_order(again)
    assert [] == os.listdir(spool.folder / "active")


def test_a_twin_that_is_changed_at_the_last_moment_stays(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job that came back keeps its pictures, and is an order by now."""
    repeats = Repeats(spool, Results(spool.failed.root.path.parent))
    fail(spool, deliver(spool, "a boat"))
    again, twin = deliver(spool, "a boat"), spool.failed.root.path / BOAT
    with monkeypatch.context() as patch:
        patch.setattr(Place, "write_note", lambda *_arguments: twin.write_text("a person's"))
        with pytest.raises(OSError, match="changed meanwhile"):
            repeats.is_order(again)
    assert "a person's" == twin.read_text()
    assert repeats.is_order(again)
    assert ["boat.png"] == [path.name for path in pictures.of(again)]


@pytest.mark.parametrize("picture", ["a boat", "another boat"])
def test_a_conflict_copy_with_another_picture_is_an_order(spool: Spool, picture: str) -> None:
    """Also if both texts are the same."""
    copy = PurePosixPath("boat.sync-conflict-20261124-101112-ABCDEFG.txt")
    finish(spool, deliver(spool, "a boat"))
    (spool.inbox.path / copy).write_text("a boat\n")
    beside = copy.with_suffix(".png").name
    (spool.inbox.path / beside).write_text(picture)
    job = spool.claim(copy, (), beside=PictureFiles((beside,), (), beside))
    assert job is not None
    repeats = Repeats(spool, Results(spool.failed.root.path.parent))
    assert (picture != "a boat") == repeats.is_order(job)
