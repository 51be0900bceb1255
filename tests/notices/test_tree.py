"""tree: what is new in the results is found once, and only when it is whole."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path, PurePosixPath

import pytest
from harness.notices import Place
from reeldrop.notices.tree import Tree

SINCE = 1e9 + 1


def test_what_is_new_is_found_once(tmp_path: Path) -> None:
    """Videos, ended jobs and failures, the oldest first; what was there before `since` is not."""
    place = Place(tmp_path)
    old = place.publish("old.txt", "old")
    os.utime(old, (1e9, 1e9))
    tree = Tree(place.results, place.failed)
    assert [] == tree.look(SINCE)
    place.publish("poems/a.txt", "a boat")
    place.end("poems/a.txt")
    place.fail("deep/er/has not rendered.yaml", "unknown key 'stpes'")
    place.fail("c.yaml", "it was cancelled", is_cancelled=True)
    found = {happening.kind: happening for happening in tree.look(SINCE)}
    assert {"video", "job", "failed"} == found.keys()
    assert ["a boat", "poems/a.txt"] == [found["video"].facts[k] for k in ("prompt", "prompt_file")]
    assert place.results / "poems" / "a" / "a_boat.jpg" == found["video"].poster
    assert str(place.results / "poems" / "a") == found["job"].facts["folder"]
    failure = found["failed"].facts
    expected = ["deep/er/has not rendered.yaml", "unknown key 'stpes'"]
    assert expected == [failure[key] for key in ("prompt_file", "reason")]
    assert [] == tree.look(SINCE)
    place.publish("poems/a.txt", "another", number=2)
    assert ["another"] == [happening.facts["prompt"] for happening in tree.look(SINCE)]
    ids = {happening.id for happening in found.values()}
    again = Tree(place.results, place.failed).look(0.0)
    assert ids < {happening.id for happening in again}
    (place.failed / "_cleared").mkdir()
    (place.failed / "deep").rename(place.failed / "_cleared/deep")
    assert [] == tree.look(SINCE)


def test_copies_of_old_results_are_not_new(tmp_path: Path) -> None:
    """Whatever times and places they have; and what was put elsewhere has the id that it had."""
    place = Place(tmp_path)
    sidecar = place.publish("a.txt", "a boat")
    place.end("a.txt")
    place.fail("b.txt", "unknown key 'stpes'")
    first = {happening.id for happening in Tree(place.results, place.failed).look(0.0)}
    shutil.copytree(place.results, tmp_path / "copies")
    (tmp_path / "copies").rename(place.results / "copies")
    sidecar.write_text(sidecar.read_text().replace("finished: '20", "finished: '19"))
    now = time.time()
    found = Tree(place.results, place.failed).look(now - 3600)
    assert first == {happening.id for happening in found}
    videos = {one.facts["sidecar"]: one.at for one in found if one.kind == "video"}
    assert videos.pop(str(sidecar)) < now - 3600
    assert videos.keys() == {str(place.results / "copies" / "a" / "a_boat.yaml")}
    assert min(videos.values()) > now - 3600


def test_a_video_counts_when_all_its_files_are_there(tmp_path: Path) -> None:
    """Not between sidecar and video, and not without its poster."""
    place = Place(tmp_path)
    tree = Tree(place.results, place.failed)
    sidecar = place.publish("a.txt", "a boat", formats=("mp4", "gif"))
    kept = tmp_path / "kept"
    kept.mkdir()
    for suffix in (".gif", ".mp4", ".jpg"):
        sidecar.with_suffix(suffix).rename(kept / f"a{suffix}")
    for suffix in (".jpg", ".mp4"):
        assert [] == tree.look(0.0)
        (kept / f"a{suffix}").rename(sidecar.with_suffix(suffix))
    assert [] == tree.look(0.0)
    (kept / "a.gif").rename(sidecar.with_suffix(".gif"))
    assert 1 == len(tree.look(0.0))


@pytest.mark.usefixtures("root")
def test_what_strangers_put_there_is_nothing(tmp_path: Path) -> None:
    """Prompt files, links, broken sidecars and logs, folders that can't be read or are gone."""
    place = Place(tmp_path)
    folder = place.publish("a.txt", "a boat").parent
    tree = Tree(place.results, place.failed)
    assert 1 == len(tree.look(0.0))
    (folder / "b.yaml").write_text("rendered: [")
    (folder / "b.jpg").touch()
    (folder / "job-2.log").write_text("[1]\n{}\nnull\n")
    (folder / "job-3.log").mkdir()
    (folder / "job-4.log").touch()
    (folder / "job-5.log").write_text("[" * 100_000)
    (folder / "c.yaml").symlink_to(folder / "a_boat.yaml")
    (folder / "loop").symlink_to(folder)
    assert [] == tree.look(0.0)
    sidecar = folder / "d.yaml"
    sidecar.write_bytes((folder / "a_boat.yaml").read_bytes())
    os.chown(sidecar, 12345, 12345)
    for suffix in (".jpg", ".mp4"):
        (folder / f"d{suffix}").touch()
    assert [] == tree.look(0.0)
    folder.rename(tmp_path / "away")
    assert [] == tree.look(0.0)


@pytest.mark.parametrize("behind", [0, 3600])
def test_a_change_without_another_time_is_found(behind: int, tmp_path: Path) -> None:
    """A folder that has just changed is read again, even if its modification time is the same.

    Also on a share whose clock is behind this machine's.
    """
    place = Place(tmp_path)
    folder = place.publish("a.txt", "one").parent
    tree = Tree(place.results, place.failed)
    now = time.time_ns() - behind * 10**9
    os.utime(folder, ns=(now, now))
    assert 1 == len(tree.look(0.0))
    place.publish("a.txt", "two", number=2)
    os.utime(folder, ns=(now, now))
    assert 1 == len(tree.look(0.0))


def test_portable_names_are_shown_as_they_were(tmp_path: Path) -> None:
    """The facts have the path from the inbox."""
    place = Place(tmp_path)
    source = PurePosixPath("why?/a.txt")
    place.publish(str(source), "one")
    [found] = Tree(place.results, place.failed).look(0.0)
    assert str(source) == found.facts["prompt_file"]
