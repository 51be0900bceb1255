"""durable, moves: files are whole or missing, none is overwritten, killed calls can be repeated."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from harness.files import by_links
from harness.kills import noted
from reeldrop.base import durable, moves, temporaries


def names(folder: Path) -> list[str]:
    """Return the names in a folder."""
    return sorted(os.listdir(folder))


def file(path: Path, content: str) -> Path:
    """Make a file."""
    path.write_text(content)
    return path


WRITTEN = ["flush ~", "name b", "flush y"]
RENAMED = ["name b", "flush y", "flush x"]
COPIED = ["flush y", "remove a", "flush x"]

STEPS: dict[str, tuple[Callable[[Path, Path], None], list[str]]] = {
    "write": (lambda _, b: durable.write(b, b"new", "me"), WRITTEN),
    "write new": (lambda _, b: durable.write_new(b, b"new", "me"), WRITTEN),
    "replace": (durable.replace, RENAMED),
    "rename": (durable.rename_new, RENAMED),
    "by links": (durable.rename_new, ["name b", "flush y", "remove a", "flush y", "flush x"]),
    "across": (lambda a, b: moves.move(a, b, "me"), [*WRITTEN, *COPIED]),
    "copied before": (lambda a, b: moves.move(a, b, "me"), COPIED),
}


@pytest.mark.parametrize("how", STEPS)
def test_each_step_is_on_the_disk_before_the_next_one(
    how: str, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut leaves a part of a file under its name, or a file under no name."""
    act, expected = STEPS[how]
    x, y = tmp_path / "x", (elsewhere if expected[-3:] == COPIED else tmp_path) / "y"
    for folder in (x, y):
        folder.mkdir()
    file(x / "a", "content")
    if how == "copied before":
        shutil.copy2(x / "a", y / "b")
    if how == "by links":
        by_links(monkeypatch)
    steps = noted(monkeypatch)
    act(x / "a", y / "b")
    assert expected == steps


def test_temporary_names_are_left_alone_by_sync_tools() -> None:
    """They begin like Syncthing's own, and end like the unfinished files of every tool."""
    name = temporaries.beside(Path("/x/video.mp4"), "job-1")
    assert Path("/x") == name.parent
    assert name.name.startswith("~syncthing~")
    assert name.name.endswith(".tmp")
    assert "job-1" in name.name
    assert name == temporaries.beside(Path("/x/other.mp4"), "job-1")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (temporaries.beside(Path("a"), "b").name, True),
        ("video.mp4", False),
        ("video.tmp", False),
        ("~syncthing~other.tmp", False),
    ],
)
def test_is_temporary(name: str, expected: bool) -> None:
    """Only names that `temporaries` makes may be removed."""
    assert expected is temporaries.is_temporary(name)


def test_remove_temporaries_of_one_owner(tmp_path: Path) -> None:
    """Only the owner's files are removed; those of other jobs and all other files stay."""
    temporaries.beside(tmp_path / "x", "job-1-write").touch()
    temporaries.beside(tmp_path / "x", "job-1").touch()
    other = temporaries.beside(tmp_path / "x", "job-2")
    other.touch()
    file(tmp_path / "job-1.tmp", "")
    temporaries.remove(tmp_path, "job-1")
    assert sorted([other.name, "job-1.tmp"]) == names(tmp_path)
    temporaries.remove(tmp_path / "missing", "job-1")


def test_commands_share_no_temporary_name() -> None:
    """Names differ even for equal process ids, as on two hosts or in containers."""
    assert 100 == len({temporaries.command_owner() for _ in range(100)})


def test_make_folder(tmp_path: Path) -> None:
    """Missing parents are made; a repeated call succeeds; a file in the way is an error."""
    durable.make_folder(tmp_path / "a" / "b" / "c")
    durable.make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    file(tmp_path / "f", "")
    with pytest.raises(NotADirectoryError):
        durable.make_folder(tmp_path / "f" / "g")


def test_a_folder_that_is_there_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An existing folder is flushed once: its maker may have failed before the fsync."""
    synced, fsync = [], os.fsync

    def failing(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def noting(fd: int) -> None:
        fsync(fd)
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))

    monkeypatch.setattr(durable, "_sure", set())  # it has the inodes of what tests have deleted
    (tmp_path / "killed").mkdir()
    durable.make_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        durable.make_folder(tmp_path / "failed")
    assert (tmp_path / "failed").is_dir()
    monkeypatch.setattr(os, "fsync", noting)
    for name in ("failed", "killed/new", "failed", "killed", "killed/new"):
        durable.make_folder(tmp_path / name)
    top = str(tmp_path)
    assert [top, top, f"{top}/killed"] == synced
    reused = (tmp_path / "failed").stat()  # by a new folder, which gets the inode of a deleted one
    durable.make_sure(tmp_path, reused, is_new=True)
    assert [top] == synced[3:]


def test_write_replaces_its_own(tmp_path: Path) -> None:
    """`write` replaces the caller's own file, and leaves no temporary file."""
    durable.write(tmp_path / "a", b"one", "me")
    durable.write(tmp_path / "a", b"two", "me")
    assert b"two" == (tmp_path / "a").read_bytes()
    assert ["a"] == names(tmp_path)


def test_write_replaces_what_a_kill_left(tmp_path: Path) -> None:
    """A temporary file that a killed call left does not disturb the next, whatever its size."""
    temporaries.beside(tmp_path / "a", "me-write").write_bytes(b"x" * 1000)
    durable.write(tmp_path / "a", b"one", "me")
    assert b"one" == (tmp_path / "a").read_bytes()
    assert ["a"] == names(tmp_path)


@pytest.mark.parametrize("write", [durable.write, moves.move])
def test_what_has_its_final_name_is_not_written_to(
    write: Callable[..., None], tmp_path: Path, elsewhere: Path
) -> None:
    """A kill between link and unlink leaves a file with both names, which readers may have."""
    final = file(tmp_path / "a", "before")
    for kind in ("write", "copy"):
        os.link(final, temporaries.beside(final, f"me-{kind}"))
    with final.open() as reader:
        if write is durable.write:
            durable.write(final, b"after", "me")
        else:
            final.unlink()
            moves.move(file(elsewhere / "b", "after"), final, "me")
        assert "before" == reader.read()
    assert "after" == final.read_text()


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_written_newly_never_overwrites(
    linked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the name is taken, its file stays, and no temporary file is left."""
    if linked:
        by_links(monkeypatch)
    durable.write_new(tmp_path / "a", b"one", "me")
    with pytest.raises(FileExistsError):
        durable.write_new(tmp_path / "a", b"two", "me")
    assert b"one" == (tmp_path / "a").read_bytes()
    assert ["a"] == names(tmp_path)


def test_a_write_that_fails_says_where(tmp_path: Path) -> None:
    """The error names the missing folder; no temporary file is left elsewhere."""
    with pytest.raises(FileNotFoundError, match="missing"):
        durable.write_new(tmp_path / "missing" / "a", b"one", "me")
    (tmp_path / "long").mkdir()
    with pytest.raises(OSError, match=r"File name too long.*aaaa") as caught:
        durable.write_new(tmp_path / "long" / ("a" * 300), b"one", "me")
    assert errno.ENAMETOOLONG == caught.value.errno
    assert [] == names(tmp_path / "long")


def test_replace_across_folders(tmp_path: Path) -> None:
    """The target's name gets the whole new file."""
    (tmp_path / "x").mkdir()
    durable.replace(file(tmp_path / "a", "new"), file(tmp_path / "x" / "b", "old"))
    assert "new" == (tmp_path / "x" / "b").read_text()
    assert ["x"] == names(tmp_path)


@pytest.mark.parametrize("number", [None, errno.EPERM, errno.EOPNOTSUPP])
def test_settle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None) -> None:
    """A file gets a free name and never a taken one, with or without hard links."""
    if number is not None:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "x").mkdir()
    source, taken = file(tmp_path / "a", "new"), file(tmp_path / "x" / "taken", "old")
    with pytest.raises(FileExistsError):
        durable.rename_new(source, taken)
    assert ("new", "old") == (source.read_text(), taken.read_text())
    durable.rename_new(source, tmp_path / "x" / "free")
    assert "new" == (tmp_path / "x" / "free").read_text()
    assert ["x"] == names(tmp_path)
    assert 1 == (tmp_path / "x" / "free").stat().st_nlink


def test_settle_finishes_after_a_kill(tmp_path: Path) -> None:
    """After a kill between link and unlink, the next call removes the old name."""
    source = file(tmp_path / "a", "content")
    os.link(source, tmp_path / "b")
    durable.rename_new(source, tmp_path / "b")
    assert ["b"] == names(tmp_path)
    assert "content" == (tmp_path / "b").read_text()


@pytest.mark.parametrize("kind", ["directory", "pipe", "link", "dangling"])
def test_settle_what_is_no_file(tmp_path: Path, kind: str) -> None:
    """Directories, pipes and links are moved unchanged, and never replace anything."""
    source = tmp_path / "a"
    match kind:
        case "directory":
            source.mkdir()
        case "pipe":
            os.mkfifo(source)
        case "link":
            source.symlink_to(file(tmp_path / "pointed", "to"))
        case _:
            source.symlink_to("nowhere")
    taken = file(tmp_path / "taken", "old")
    mode = source.lstat().st_mode
    with pytest.raises(FileExistsError):
        durable.rename_new(source, taken)
    durable.rename_new(source, tmp_path / "free")
    assert mode == (tmp_path / "free").lstat().st_mode
    assert not os.path.lexists(source)
    assert "old" == taken.read_text()


def test_a_dangling_link_takes_a_name(tmp_path: Path) -> None:
    """A dangling link counts as a taken name."""
    (tmp_path / "taken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for source in (file(tmp_path / "a", ""), tmp_path / "pipe"):
        with pytest.raises(FileExistsError):
            durable.rename_new(source, tmp_path / "taken")


def test_settle_does_not_cross_file_systems(tmp_path: Path, elsewhere: Path) -> None:
    """A rename to another file system raises EXDEV, and changes nothing."""
    source = file(tmp_path / "a", "x")
    with pytest.raises(OSError, match="cross-device") as caught:
        durable.rename_new(source, elsewhere / "a")
    assert errno.EXDEV == caught.value.errno
    assert source.exists()
    assert [] == names(elsewhere)


def test_move_across_file_systems(tmp_path: Path, elsewhere: Path) -> None:
    """The whole file arrives with its mtime, the source is removed, no temporary file is left."""
    source = file(tmp_path / "a", "content")
    os.utime(source, ns=(10**18, 10**18 + 7))
    moves.move(source, elsewhere / "a", "me")
    assert "content" == (elsewhere / "a").read_text()
    assert 10**18 + 7 == (elsewhere / "a").stat().st_mtime_ns
    assert not source.exists()
    assert ["a"] == names(elsewhere)


@pytest.mark.parametrize("change", ["content", "size", "time"])
def test_move_across_file_systems_never_overwrites(
    tmp_path: Path, elsewhere: Path, change: str
) -> None:
    """A file under the target's name is replaced by nothing, unless it is an exact copy."""
    source, taken = file(tmp_path / "a", "content"), elsewhere / "a"
    taken.write_text({"content": "contenT", "size": "content!", "time": "content"}[change])
    os.utime(source, ns=(5, 5))
    os.utime(taken, ns=(6, 6) if change == "time" else (5, 5))
    before = taken.read_text()
    with pytest.raises(FileExistsError):
        moves.move(source, taken, "me")
    assert ("content", before) == (source.read_text(), taken.read_text())
    assert ["a"] == names(elsewhere)


def test_move_finishes_after_a_kill_between_copy_and_unlink(
    tmp_path: Path, elsewhere: Path
) -> None:
    """If the target is our own copy, the next call only removes the source."""
    source = file(tmp_path / "a", "content")
    copied = elsewhere / "a"
    copied.write_text("content")
    os.utime(source, ns=(5, 5))
    os.utime(copied, ns=(5, 5))
    moves.move(source, copied, "me")
    assert not source.exists()
    assert ["a"] == names(elsewhere)


def test_a_twin_on_the_same_file_system_is_no_copy(tmp_path: Path) -> None:
    """Within one file system no copy is ever made, so an equal file belongs to somebody else."""
    source, taken = file(tmp_path / "a", "content"), file(tmp_path / "b", "content")
    os.utime(source, ns=(5, 5))
    os.utime(taken, ns=(5, 5))
    with pytest.raises(FileExistsError):
        moves.move(source, taken, "me")
    assert ["a", "b"] == names(tmp_path)


def test_a_copy_that_fails_leaves_the_source(tmp_path: Path, elsewhere: Path) -> None:
    """A move that fails raises an error, and changes nothing."""
    source = file(tmp_path / "a", "content")
    with pytest.raises(FileNotFoundError):
        moves.move(source, elsewhere / "missing" / "a", "me")
    assert "content" == source.read_text()
    assert [] == names(elsewhere)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", ["a.txt", "a-2.txt", "a-3.txt"]),
        ("a.b.txt", ["a.b.txt", "a.b-2.txt", "a.b-3.txt"]),
        ("job", ["job", "job-2", "job-3"]),
    ],
)
def test_free_names(name: str, expected: list[str]) -> None:
    """The name itself comes first, then -2, -3 before the suffix."""
    assert expected == list(islice(durable.free_names(name), 3))


def test_a_free_name_is_found_after_a_few_looks() -> None:
    """It is the first if all before it are taken; else any that is free."""
    for count in (*range(1, 70), 10_000):
        taken = {"a.txt", *(f"a-{number}.txt" for number in range(2, count + 1))}
        looks = Counter[str]()

        def is_taken(name: str, taken: set[str] = taken, looks: Counter[str] = looks) -> bool:
            looks[name] += 1
            return name in taken

        assert f"a-{count + 1}.txt" == durable.free_name("a.txt", is_taken)
        assert looks.total() < 30
    assert "a.txt" == durable.free_name("a.txt", {"a-2.txt"}.__contains__)
    assert "a-2.txt" == durable.free_name("a.txt", {"a.txt", "a-3.txt"}.__contains__)
    scattered = {"a.txt", *(f"a-{number}.txt" for number in range(2, 100) if number % 7)}
    assert durable.free_name("a.txt", scattered.__contains__) not in scattered


def test_a_file_that_may_be_lost_replaces_what_stands_in_its_place(tmp_path: Path) -> None:
    """A link under its name, or under that of the temporary file, is not followed."""
    strangers = file(tmp_path / "strangers", "theirs")
    for name in ("status.json", "status.tmp"):
        (tmp_path / name).symlink_to(strangers)
    for content in (b"first", b"second"):
        durable.write_unsynced(tmp_path / "status.json", content)
    assert "second" == (tmp_path / "status.json").read_text()
    assert "theirs" == strangers.read_text()


@pytest.mark.parametrize("far", [False, True])
def test_move_to_free_name(tmp_path: Path, elsewhere: Path, far: bool) -> None:
    """The folder is made, and each file gets the first free name, also on another file system."""
    folder = (elsewhere if far else tmp_path) / "made" / "too"
    placed = [
        moves.move_to_free_name(file(tmp_path / "a.txt", text), folder, "b.txt", "me")
        for text in ("one", "two", "three")
    ]
    assert [folder / "b.txt", folder / "b-2.txt", folder / "b-3.txt"] == placed
    assert ["one", "two", "three"] == [path.read_text() for path in placed]
    assert not (tmp_path / "a.txt").exists()


@pytest.mark.parametrize("far", [False, True])
def test_a_name_that_is_taken_often_is_not_tried_each_time(
    tmp_path: Path, elsewhere: Path, far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But what a move that was killed has left is found among them, and completed."""
    folder = elsewhere if far else tmp_path / "there"
    folder.mkdir(exist_ok=True)
    for number in range(1, 60):
        file(folder / ("b.txt" if number == 1 else f"b-{number}.txt"), f"the file {number}")
    tries: list[Path] = []
    rename_new = durable.rename_new

    def noted(source: Path, target: Path) -> None:
        tries.append(target)
        rename_new(source, target)

    monkeypatch.setattr(durable, "rename_new", noted)
    source = file(tmp_path / "a.txt", "mine")
    assert folder / "b-60.txt" == moves.move_to_free_name(source, folder, "b.txt", "me")
    assert len(tries) < 5
    source = file(tmp_path / "a.txt", "again")
    (folder / "b-7.txt").unlink()
    if far:
        shutil.copy2(source, folder / "b-7.txt")
    else:
        os.link(source, folder / "b-7.txt")
    assert folder / "b-7.txt" == moves.move_to_free_name(source, folder, "b.txt", "me")
    assert ("again", False) == ((folder / "b-7.txt").read_text(), source.exists())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1_600_000_001_123_456_789, 1_600_000_001_123_456_789, True),
        (1_600_000_001_123_456_789, 1_600_000_001_123_456_700, True),
        (1_600_000_001_123_456_789, 1_600_000_001_123_456_000, True),
        (1_600_000_001_123_000_000, 1_600_000_001_123_456_789, True),
        (1_600_000_001_000_000_000, 1_600_000_001_123_456_789, True),
        (1_600_000_001_120_000_000, 1_600_000_001_123_456_789, True),  # exFAT
        (1_600_000_000_000_000_000, 1_600_000_001_123_456_789, True),  # FAT
        (1_600_000_000_000_000_000, 1_600_000_002_000_000_001, False),
        (1_600_000_000_000_000_000, 1_599_999_999_999_999_999, False),
        (1_600_000_000_000_000_000, 1_600_000_001_000_000_000, False),  # `touch` on ext3
        (1_600_000_001_000_000_000, 1_600_000_002_123_456_789, False),
        (1_600_000_001_123_456_789, 1_600_000_001_123_456_788, False),
        (1_600_000_001_123_456_000, 1_600_000_001_123_457_000, False),
        (1_600_000_001_000_000_000, 1_600_000_002_000_000_000, False),
    ],
)
def test_times_are_the_same_as_far_as_they_are_kept(one: int, other: int, same: bool) -> None:
    """Times match if one is the other, truncated by a file system."""
    assert (same, same) == (moves.is_same_time(one, other), moves.is_same_time(other, one))


@pytest.mark.parametrize("how", ["saved, by links", "saved, by a copy", "written to, by a copy"])
def test_what_has_the_old_name_at_the_end_of_a_move_stays_if_it_is_another_file(
    how: str, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody saves the file, or writes into it, while the folder of the new name is flushed."""
    source, target = file(tmp_path / "a.txt", "old"), elsewhere / "a.txt"
    new = file(tmp_path / "new", "newer")
    flush = durable.fsync_folder

    def saving(folder: Path) -> None:
        flush(folder)
        if new.exists() and how.startswith("saved"):
            os.replace(new, source)
        elif new.exists():
            source.write_text(new.read_text())
            new.unlink()

    if how.endswith("links"):
        target = tmp_path / "there" / "a.txt"
        target.parent.mkdir()
        by_links(monkeypatch)
    monkeypatch.setattr(durable, "fsync_folder", saving)
    moves.move(source, target, "me")
    assert ("newer", "old") == (source.read_text(), target.read_text())
