"""Folders below a root are opened without following links; a root must stay the same folder."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

import av
import pytest
from harness.files import exchange
from harness.programs import needs_root
from reeldrop.base import durable, plain_files, roots
from reeldrop.base.roots import Root


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A root that has the folder a/b, and beside it a folder `outside`."""
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "outside/b").mkdir(parents=True)
    return Root(tmp_path / "root")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Return a function that mounts at tmp_path/share; unmount everything afterwards."""
    needs_root()
    share = tmp_path / "share"
    share.mkdir()

    def mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments, share], check=True)

    yield mount
    while os.path.ismount(share):
        subprocess.run(["umount", share], check=True)


def test_what_is_done_in_a_folder_is_done_there(root: Root) -> None:
    """The path of an open folder works for every call; errors name the ordinary path."""
    with root.opened(PurePath("a/b")) as folder:
        (folder / "x").write_text("1")
        assert ["x"] == os.listdir(folder)
        os.rename(folder / "x", folder / "y")
        with pytest.raises(FileNotFoundError):
            os.rename(folder / "x", folder / "z")
    assert "1" == (root.path / "a/b/y").read_text()
    with pytest.raises(FileNotFoundError) as caught, root.opened(PurePath("a/b")) as folder:
        os.rename(folder / "x", folder / "z")
    assert str(root.path / "a/b/x") == caught.value.filename
    assert str(root.path / "a/b/z") == caught.value.filename2


@pytest.mark.parametrize("make", [False, True])
@pytest.mark.parametrize("link", ["a", "a/b"])
def test_no_link_below_the_root_is_followed(root: Root, link: str, make: bool) -> None:
    """A link at any depth is refused and named, with and without `make`."""
    path = root.path / link
    path.rename(root.path / "away")
    path.symlink_to(root.path.with_name("outside"))
    with (
        pytest.raises(NotADirectoryError, match="no link is followed here") as caught,
        root.opened(PurePath("a/b/c"), make=make),
    ):
        pass
    assert str(path) == caught.value.filename
    assert ["b"] == os.listdir(root.path.with_name("outside"))


def test_the_root_itself_may_be_a_link(root: Root) -> None:
    """The operator may use a link as the root."""
    link = root.path.with_name("link")
    link.symlink_to("root")
    with Root(link).opened(PurePath("a/c"), make=True) as folder:
        (folder / "x").touch()
    assert (root.path / "a/c/x").exists()


def test_a_folder_that_is_exchanged_meanwhile_stays_the_one_that_was_opened(root: Root) -> None:
    """After a swap for a link, calls still act on the folder that was opened."""
    outside, swap = root.path.with_name("outside"), root.path / "swap"
    swap.symlink_to(outside)
    with root.opened(PurePath("a")) as folder:
        exchange(root.path / "a", swap)
        (folder / "x").touch()
        durable.make_folder(folder / "new")
    assert ["b"] == os.listdir(outside)
    assert {"b", "new", "x"} == set(os.listdir(swap))


@pytest.mark.parametrize("path", ["..", "a/../../outside", "/etc"])
def test_no_path_leads_out(root: Root, path: str) -> None:
    """Paths with `..`, and absolute ones, are refused."""
    with pytest.raises(OSError, match="leads out"), root.opened(PurePath(path)):
        pass


def test_folders_are_made_durably(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder on the path is flushed once in its parent, whether new or not."""
    synced, fsync = [], os.fsync

    def noting(fd: int) -> None:
        fsync(fd)
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))

    monkeypatch.setattr(durable, "_sure", set())  # it has the inodes of what tests have deleted
    monkeypatch.setattr(os, "fsync", noting)
    for _ in range(2):
        with root.opened(PurePath("a/new/deep"), make=True):
            pass
    top = root.path
    assert [*map(str, (top.parent, top, top / "a", top / "a/new"))] == synced


def test_no_descriptor_is_left(root: Root) -> None:
    """All descriptors are closed, on success and on errors."""
    before = os.listdir("/proc/self/fd")
    (root.path / "link").symlink_to("a")
    for below in ("a/b", "missing", "link", "a/b/missing"):
        for _ in range(2):
            try:
                with root.opened(PurePath(below)):
                    raise OSError(errno.EIO, "Input/output error")
            except OSError:
                pass
    assert before == os.listdir("/proc/self/fd")


def test_a_root_that_another_folder_has_replaced_is_refused(root: Root) -> None:
    """ESTALE until the old folder is back; nothing is done in the other one."""
    root.check()
    away = root.path.with_name("away")
    root.path.rename(away)
    root.path.mkdir()
    for attempt in (root.check, root.opened(PurePath("x"), make=True).__enter__):
        with pytest.raises(OSError, match="another folder is in its place") as caught:
            attempt()
        assert errno.ESTALE == caught.value.errno
    assert [] == os.listdir(root.path)
    root.path.rmdir()
    away.rename(root.path)
    root.check()


def test_a_root_may_be_remade_where_that_is_said(root: Root) -> None:
    """With `may_be_remade`, a folder that was deleted and made anew is accepted."""
    root = Root(root.path, may_be_remade=True)
    root.check()
    root.path.rename(root.path.with_name("away"))
    root.path.mkdir()
    with root.opened(PurePath("x"), make=True):
        pass
    assert ["x"] == os.listdir(root.path)


def test_what_was_deleted_with_the_folder_above_it_is_made_anew(root: Root) -> None:
    """Results and `_failed` may be deleted together, and are made anew in either order."""
    both = [Root(path) for path in (root.path, root.path / "a")]
    for number, order in enumerate((both, both[::-1])):
        for each in order:
            each.check()
        root.path.rename(root.path.with_name(f"away-{number}"))
        for each in order:
            each.check()
        for each in order:
            with each.opened(PurePath("x"), make=True):
                pass
    assert {"a", "x"} == set(os.listdir(root.path))


def test_a_root_that_was_deleted_is_made_anew_where_that_is_asked_for(root: Root) -> None:
    """A deleted root is made anew if its parent is still in the same mount."""
    root.check()
    root.path.rename(root.path.with_name("away"))
    root.check()
    with pytest.raises(FileNotFoundError), root.opened():
        pass
    with root.opened(PurePath("x"), make=True):
        pass
    assert ["x"] == os.listdir(root.path)
    root.check()


@pytest.mark.parametrize("remade", [False, True])
@pytest.mark.parametrize("below", ["", "results"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_nothing_is_made_under_a_mount_point(
    below: str, kind: str, remade: bool, tmp_path: Path, mount: Callable[..., None]
) -> None:
    """While a share at or above the root is unmounted, the root is refused."""
    share, disk = tmp_path / "share", tmp_path / "disk"
    disk.mkdir()
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)
    try:
        mount("--bind", str(disk))
        root = Root(share / below, may_be_remade=remade)
        with root.opened(PurePath("a"), make=True):
            pass
        subprocess.run(["umount", share], check=True)
        for attempt in (root.check, root.opened(PurePath("b"), make=True).__enter__):
            with pytest.raises(OSError, match="or restart") as caught:
                attempt()
            assert errno.ESTALE == caught.value.errno
        assert [] == os.listdir(share)
        mount("--bind", str(disk))
        root.check()
        with root.opened(PurePath("b"), make=True):
            pass
        assert {"a", "b"} == set(os.listdir(disk / below))
    finally:
        if kind == "tmpfs":
            subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_what_is_missing_after_its_share_is_mounted_again_is_made_anew(
    kind: str, tmp_path: Path, mount: Callable[..., None]
) -> None:
    """As after an unclean end of a disk, before which a new folder had not reached it.

    The share's mount gets another number, which says nothing.
    """
    share, disk, other = tmp_path / "share", tmp_path / "disk", tmp_path / "other"
    disk.mkdir()
    other.mkdir()
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)
    try:
        mount("--bind", str(disk))
        root = Root(share / "_failed")
        with root.opened(make=True):
            pass
        subprocess.run(["umount", share], check=True)
        (disk / "_failed").rmdir()
        subprocess.run(["mount", "--bind", disk, other], check=True)  # takes the number
        with pytest.raises(OSError, match="not mounted any more"):
            root.check()
        mount("--bind", str(disk))
        root.check()
        with root.opened(PurePath("a"), make=True):
            pass
        assert ["a"] == os.listdir(disk / "_failed")
    finally:
        subprocess.run(["umount", "--lazy", other], check=True)
        if kind == "tmpfs":
            subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("source", ["server:/ours", "server:/others"])
def test_another_share_at_the_same_place_is_not_the_same(
    source: str, tmp_path: Path, mount: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems have no id of their own, and all are mounted from their root."""
    share, without_id = tmp_path / "share", os.statvfs_result((0,) * 11)
    monkeypatch.setattr(os, "statvfs", lambda _place: without_id)
    mount("-t", "tmpfs", "server:/ours")
    root = Root(share / "spool", may_be_remade=True)
    with root.opened(make=True):
        pass
    subprocess.run(["umount", share], check=True)
    (tmp_path / "other").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "other"], check=True)
    try:  # it takes the number of the device
        mount("-t", "tmpfs", source)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path / "other"], check=True)
    if source == "server:/ours":
        root.check()
        return
    with pytest.raises(OSError, match="not mounted any more"):
        root.check()
    (share / "spool").mkdir()  # with the inode that ours had
    with pytest.raises(OSError, match="another folder is in its place"):
        root.check()


def test_open_plain_opens_nothing_else(tmp_path: Path) -> None:
    """Links, folders and pipes are refused without blocking."""
    (tmp_path / "file").write_text("1")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(OSError, match="not a plain file"):
            plain_files.open_plain(tmp_path / name)
    with open(plain_files.open_plain(tmp_path / "file")) as file:
        assert "1" == file.read()


def test_open_plain_waits_for_no_pipe_that_takes_the_place_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that replaces the file after the check, before the open, does not block."""
    path, opening = tmp_path / "file", os.open
    path.write_text("1")

    def late(name: Path, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return opening(name, flags)

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(OSError, match="not a plain file"):
        plain_files.open_plain(path)


@pytest.mark.parametrize(("other", "expected"), [("12345", True), ("12346", False), ("1", False)])
def test_have_same_bytes(tmp_path: Path, other: str, expected: bool) -> None:
    """Two plain files are compared completely; links are refused."""
    (tmp_path / "one").write_text("12345")
    (tmp_path / "other").write_text(other)
    (tmp_path / "link").symlink_to("one")
    assert expected is plain_files.have_same_bytes(tmp_path / "one", tmp_path / "other")
    with pytest.raises(OSError, match="not a plain file"):
        plain_files.have_same_bytes(tmp_path / "one", tmp_path / "link")


def test_an_error_whose_path_is_fixed_tells_the_ordinary_path(tmp_path: Path) -> None:
    """PyAV's errors have a read-only path; the errno of a full disk must still arrive."""
    full = av.error.OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a.mp4"))
    with pytest.raises(OSError, match="left on") as found, roots._named(str(tmp_path), "inbox"):
        raise full
    assert (errno.ENOSPC, "inbox/a.mp4") == (found.value.errno, found.value.filename)
    assert "[Errno 28] No space left on device: 'inbox/a.mp4'" == str(found.value)


def test_an_error_of_writing_names_the_file(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells no path when a disk is full; people must know which disk."""

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (durable.write, durable.write_new):
        with pytest.raises(OSError, match="No space") as found, root.opened() as folder:
            write(folder / "a.txt", b"a", "me")
        assert str(root.path / "a.txt") == found.value.filename
