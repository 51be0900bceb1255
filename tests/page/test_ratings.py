"""Ratings: what strangers put into the inbox is checked, kept for each browser, and counted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from reeldrop.base.roots import Root
from reeldrop.page import ratings
from reeldrop.page.ratings import Ratings

LIKED = {"favourite": True, "rating": 5}
VIDEO = "20261128-105900-123456-00000a/1"
OTHER = "20261128-105900-123456-00000a/2"


class Place:
    """An inbox and results, and what takes ratings from one to the other."""

    def __init__(self, folder: Path) -> None:
        self.inbox, self.results = folder / "inbox", folder / "results"
        self.inbox.mkdir()
        self.results.mkdir()
        self.ratings = Ratings(Root(self.inbox))

    def drop(self, name: str, voter: str, saved: int, **votes: object) -> Path:
        """Put a file of ratings into the inbox."""
        videos = {VIDEO: votes} if votes else {}
        found = {"voter": voter * 16, "saved": saved, "videos": videos}
        path = self.inbox / name
        path.write_text(json.dumps(found))
        return path

    def take(self) -> bool:
        """Look at the inbox once."""
        return self.ratings.take(Root(self.results))

    def refused(self) -> dict[str, str]:
        """Return which files were refused, and why."""
        return {found.prompt_file: found.reason for found in self.ratings.refused}

    def counts(self) -> Mapping[str, list[int]]:
        """Return what the page is told."""
        ratings.write(self.results, Root(self.results))
        text = (self.results / "ratings.js").read_text()
        return dict(json.loads(text.removeprefix("reeldrop.ratings(").removesuffix(");\n")))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty inbox and empty results."""
    return Place(tmp_path)


def test_the_file_that_a_browser_saved_last_replaces_its_earlier_ones(place: Place) -> None:
    """In whatever order they arrive, also as a copy by a sync tool; others' votes are added."""
    place.drop("ratings-a.json", "a", 2000, favourite=True, rating=4)
    place.drop("ratings-b.json", "b", 1000, favourite=False, rating=1)
    assert place.take()
    assert {VIDEO: [1, 5, 2]} == place.counts()
    place.drop("Ratings-a.sync-conflict-20261128-101112-ABCDEFG.json", "a", 1000, **LIKED)
    place.drop("ratings-b (1).json", "b", 3000, favourite=True, rating=0)
    assert place.take()
    assert {VIDEO: [2, 4, 1]} == place.counts()
    place.drop("ratings-a.json", "a", 4000)
    place.take()
    assert {VIDEO: [1, 0, 0]} == place.counts()
    assert [] == os.listdir(place.inbox)
    assert not place.take()


def test_a_clock_that_is_ahead_shuts_no_later_file_out(place: Place) -> None:
    """What it will have saved in a hundred years counts as saved now."""
    place.drop("ratings.json", "a", 1 << 53, favourite=True, rating=0)
    place.take()
    now = int(os.stat(place.results).st_mtime * 1000) + 60_000
    place.drop("ratings.json", "a", now, favourite=False, rating=2)
    place.take()
    assert {VIDEO: [0, 2, 1]} == place.counts()


def test_a_clock_of_ours_that_was_ahead_shuts_no_later_file_out(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has been set back; what it called now before is in the future."""
    with monkeypatch.context() as ahead:
        ahead.setattr(ratings.time, "time", lambda: 4e9)
        place.drop("ratings.json", "a", 4 * 10**12, favourite=True, rating=5)
        assert place.take()
    place.drop("ratings.json", "a", 10**12, favourite=True, rating=1)
    assert place.take()
    assert {VIDEO: [1, 1, 1]} == place.counts()


BAD = {
    "half": b'{"voter": "aaaaaaaaaaaaaaaa", "saved": 1, "vid',
    "deep": b"[" * 100_000,
    "bytes": b"\xff\xfe\x00",
    "list": b"[]",
    "path": b'{"voter": "../../x", "saved": 1, "videos": {}}',
    "time": b'{"voter": "aaaaaaaaaaaaaaaa", "saved": -1, "videos": {}}',
    "number": b'{"voter": "aaaaaaaaaaaaaaaa", "saved": 1%s, "videos": {}}' % (b"0" * 5000),
    "rating": b'{"voter": "aaaaaaaaaaaaaaaa", "saved": 1, "videos": {"a/1": {"favourite": true, '
    b'"rating": 6}}}',
    "truth": b'{"voter": "aaaaaaaaaaaaaaaa", "saved": 1, "videos": {"a/1": {"favourite": true, '
    b'"rating": true}}}',
    "video": b'{"voter": "aaaaaaaaaaaaaaaa", "saved": 1, "videos": {"<b>/1": {"favourite": true, '
    b'"rating": 1}}}',
    "large": b'{"voter": "%s", "saved": 1, "videos": {}}' % (b"a" * ratings.MAX_BYTES),
}


def test_what_is_none_stays_with_a_reason(place: Place) -> None:
    """Once it has not changed between two looks: half a file is not refused while it grows."""
    for name, content in BAD.items():
        (place.inbox / f"ratings-{name}.json").write_bytes(content)
    (place.inbox / "ratings-link.json").symlink_to(place.drop("mine.json", "a", 1, **LIKED))
    os.mkfifo(place.inbox / "ratings-pipe.json")
    names = {f"ratings-{name}.json" for name in (*BAD, "link", "pipe")}
    assert not place.take()
    assert {} == place.refused()
    place.take()
    assert names == place.refused().keys()
    assert "save it from the gallery again, or delete it" in place.refused()["ratings-half.json"]
    assert "more than 1,048,576 bytes" in place.refused()["ratings-large.json"]
    (place.inbox / "ratings-half.json").write_bytes(BAD["half"] + b"eos")
    place.take()
    assert names - {"ratings-half.json"} == place.refused().keys()
    assert {} == place.counts()
    assert {*names, "mine.json"} == {*os.listdir(place.inbox)}


@pytest.mark.parametrize("is_changed", [False, True])
def test_nobodys_files_keep_others_from_being_read(
    place: Place, monkeypatch: pytest.MonkeyPatch, is_changed: bool
) -> None:
    """However many are no ratings, and also if they are written anew before each look."""
    monkeypatch.setattr(ratings, "MAX_FILES", 3)
    place.drop("ratings-z.json", "b", 1, **LIKED)
    bad = [place.inbox / f"ratings-{number}.json" for number in range(7)]
    for look in range(5):
        for path in bad:
            if is_changed or not look:
                path.write_text("{" * (look + 1))
        place.take()
    assert {VIDEO: [1, 5, 1]} == place.counts()
    assert {path.name for path in bad} == set(os.listdir(place.inbox))
    for _ in range(2 * 3):  # each is looked at twice, three of the seven at a time
        place.take()
    assert {path.name for path in bad} == place.refused().keys()


def test_no_link_in_the_place_of_the_ratings_is_followed(place: Place, tmp_path: Path) -> None:
    """Neither to write there nor to read; a file that can't be kept stays where it is."""
    (tmp_path / "elsewhere").mkdir()
    (place.results / "_ratings").symlink_to(tmp_path / "elsewhere")
    dropped = place.drop("ratings.json", "a", 1, **LIKED)
    place.take()
    place.take()
    assert "can't be taken: this is a link" in place.refused()["ratings.json"]
    assert [] == os.listdir(tmp_path / "elsewhere")
    dropped.rename(tmp_path / "elsewhere" / f"{'a' * 16}.json")
    assert {} == place.counts()


def test_there_is_an_end_to_the_voters_and_the_videos(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever saves as many browsers shuts out new ones, not the known ones."""
    monkeypatch.setattr(ratings, "MAX_VOTERS", 2)
    monkeypatch.setattr(ratings, "MAX_VIDEOS", 1)
    for voter in "abc":
        place.drop(f"ratings-{voter}.json", voter, 1, **LIKED)
    place.take()
    place.take()
    (reason,) = place.refused().values()
    assert "_ratings/ in the results has those of 2 browsers: delete some there" == reason
    known = place.drop("ratings-a.json", "a", 2, **LIKED)
    known.write_text(known.read_text().replace(VIDEO, OTHER))
    place.take()
    assert 1 == len(place.counts())
    assert not known.exists()


def test_no_file_of_the_results_ends_the_count(place: Place) -> None:
    """Whoever may write there can leave out votes, not more."""
    place.drop("ratings-a.json", "a", 1, **LIKED)
    place.take()
    folder = place.results / "_ratings"
    (folder / f"{'b' * 16}.json").write_text("[")
    (folder / f"{'c' * 16}.json").mkdir()
    (folder / "notes.txt").touch()
    assert {VIDEO: [1, 5, 1]} == place.counts()


def test_what_is_written_is_never_longer_than_what_was_read(place: Place) -> None:
    """Or a file of the allowed size could not be read back."""
    votes = b",".join(
        b'"%x/1":{"favourite":true,"rating":5}' % number for number in range(16**4, 16**4 + 26_000)
    )
    data = b'{"voter":"%s","saved":1,"videos":{%s}}' % (b"a" * 16, votes)
    assert ratings.MAX_BYTES * 0.9 < len(data) <= ratings.MAX_BYTES
    (place.inbox / "ratings.json").write_bytes(data)
    place.take()
    assert 26_000 == len(place.counts())
