"""Folders of the inbox and the results that their authors swap for links, at any moment."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from harness.files import exchange
from harness.jobs import says
from reeldrop.base import durable, temporaries
from reeldrop.base.errors import PlaceError
from reeldrop.base.job import Job
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.scan import Candidate
from reeldrop.store import withdrawn
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool


@dataclass(frozen=True)
class Place:
    """An inbox with the file d/a.txt and `swap`, a link to a folder outside with a similar file."""

    root: Path
    box: Inbox
    spool: Spool

    def scan(self) -> Candidate:
        self.box.scan(0.0)
        (found,) = self.box.settled(0.0)
        return found

    def swap(self) -> None:
        exchange(self.root / "inbox/d", self.root / "swap")

    def claim(self, candidate: Candidate) -> Job | None:
        return self.spool.claim(candidate.path, (), is_same=candidate.is_same)

    def outside(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.root / "outside").iterdir()}


OUTSIDE = {"a.txt": "secret", "_defaults.yaml": "seed: 7"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Two files of one name; only one is in the inbox."""
    for folder in ("inbox/d", "outside", "failed"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "inbox/d/a.txt").write_text("a horse")
    for name, text in OUTSIDE.items():
        (tmp_path / "outside" / name).write_text(text)
    (tmp_path / "swap").symlink_to(tmp_path / "outside")
    box = Inbox(tmp_path / "inbox", frozenset({".txt"}), 0.0, "_defaults.yaml", patient=False)
    spool = Spool(tmp_path / "spool", tmp_path / "inbox", tmp_path / "failed")
    spool.prepare()
    return Place(tmp_path, box, spool)


def test_a_folder_that_became_a_link_is_not_followed(place: Place) -> None:
    """Its files are gone until the folder is back; nothing outside is claimed or read."""
    found = place.scan()
    place.swap()
    assert not place.box.is_unchanged(found)
    assert place.claim(found) is None
    with pytest.raises(NotADirectoryError):
        place.box.defaults_for(found.path, 100)
    with pytest.raises(NotADirectoryError), place.box.opened(found.path):
        pass
    place.box.scan(1.0)
    assert 0 == len(place.box)
    place.swap()
    job = place.claim(found)
    assert job is not None
    assert ("a horse", OUTSIDE) == (job.prompt_file.read_text(), place.outside())


def test_a_folder_that_is_exchanged_in_the_middle_of_a_claim(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file in the opened folder is claimed."""
    found, fsync = place.scan(), durable.fsync_untrusted

    def late(path: Path) -> None:
        fsync(path)
        place.swap()

    monkeypatch.setattr(durable, "fsync_untrusted", late)
    job = place.claim(found)
    assert job is not None
    assert ("a horse", OUTSIDE) == (job.prompt_file.read_text(), place.outside())


@pytest.mark.parametrize("is_taken", [False, True])
def test_another_file_that_is_caught_in_a_claim_is_not_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch, is_taken: bool
) -> None:
    """It moves back; if its name is taken again, it becomes a job."""
    found, rename, file = place.scan(), os.rename, place.root / "inbox/d/a.txt"

    def late(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "rename", rename)
        file.with_name("new").write_text("another")
        file.with_name("new").replace(file)
        rename(source, target)
        if is_taken:
            file.write_text("a third")

    monkeypatch.setattr(os, "rename", late)
    job = place.claim(found)
    if is_taken:
        assert job is not None
        assert ("another", "a third") == (job.prompt_file.read_text(), file.read_text())
    else:
        assert (None, "another") == (job, file.read_text())
        assert [] == os.listdir(place.spool.active)


def test_folders_that_are_exchanged_over_and_over_lead_nowhere(place: Place) -> None:
    """Whenever a swap happens, only files of the inbox are claimed, each once."""
    done, claimed = threading.Event(), set()
    real = os.open(place.root / "inbox/d", os.O_RDONLY | os.O_DIRECTORY)  # wherever it is just now

    def flip() -> None:
        while not done.is_set():
            place.swap()

    flipping = threading.Thread(target=flip)
    flipping.start()
    try:
        while len(claimed) < 20:
            place.box.scan(0.0)
            for found in place.box.settled(0.0):
                with contextlib.suppress(NotADirectoryError):
                    assert () == place.box.defaults_for(found.path, 100)
                if job := place.claim(found):
                    assert "a horse" == job.prompt_file.read_text()
                    claimed.add(job.id)
                    Path(f"/proc/self/fd/{real}/a.txt").write_text("a horse")
    finally:
        done.set()
        flipping.join()
        os.close(real)
    assert OUTSIDE == place.outside()


@pytest.mark.parametrize("at", ["d", "d/a"])
def test_a_link_in_the_results_is_not_followed(place: Place, at: str) -> None:
    """Nothing is published, searched or removed through it."""
    results = Results(place.root / "results")
    job = place.claim(place.scan())
    assert job is not None
    link = results.folder / at
    link.parent.mkdir(parents=True)
    link.symlink_to(place.root / "outside")
    (place.root / "outside/a").mkdir()
    left = temporaries.beside(place.root / "outside/a/x", job.id)
    left.touch()
    temporaries.beside(place.root / "outside/x", job.id).touch()
    with pytest.raises(PlaceError, match="is a link"), results._opened_to_publish(job):
        pass
    assert ({}, []) == (results.reserved(job), results.clean(job))
    assert left.exists()
    assert {"a", "a.txt", "_defaults.yaml", left.name} == set(os.listdir(place.root / "outside"))


def test_a_link_in_failed_is_not_followed(place: Place) -> None:
    """The job stays in the spool, and nothing is written through the link."""
    job = place.claim(place.scan())
    assert job is not None
    (place.root / "failed/d").symlink_to(place.root / "outside")
    with pytest.raises(NotADirectoryError, match="no link is followed here"):
        place.spool.fail(job, says("why"))
    assert ([job], OUTSIDE) == (list(place.spool.unfinished()), place.outside())


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_has_the_name_of_a_report_is_not_opened(
    place: Place, make: Callable[[Path], None]
) -> None:
    """A pipe that was set aside under a report's name does not block."""
    job = place.claim(place.scan())
    assert job is not None
    (place.root / "failed/d").mkdir()
    make(place.root / "failed/d/a.txt.error.txt")
    assert place.root / "failed/d/a-2.txt" == place.spool.fail(job, says(f"Job {job.id}"))
    assert [] == list(
        place.spool.failed.earlier(PurePosixPath("d/b.txt"), job, lambda _status: True)
    )


def test_a_folder_is_not_withdrawn_into_failed(place: Place) -> None:
    """`withdraw` refuses a folder: its author could still write into it there."""
    (place.root / "inbox/x.txt").mkdir()
    name = PurePosixPath("x.txt")
    for across in (False, True):
        with pytest.raises(OSError, match="only the daemon takes this") as caught:
            withdrawn.withdraw(place.box.root, place.spool.failed.root, name, str, across=across)
        assert errno.EXDEV == caught.value.errno
    assert [] == os.listdir(place.root / "failed")
    assert (place.root / "inbox/x.txt").is_dir()
