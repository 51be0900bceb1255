"""Names that differ only in case are kept apart, also where a folder's time changes rarely."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

import pytest
from harness.processes import await_that
from harness.programs import needs, needs_root
from reeldrop.store.folded import Names
from reeldrop.store.results import Results


@pytest.fixture
def coarse_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that counts whole seconds, as ext4 does with the inodes of old or small disks."""
    needs_root()
    needs("mkfs.ext4")
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-I", "128", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def test_files_of_one_moment_get_folders_that_differ(coarse_disk: Path) -> None:
    """Folders made within the second of the last look are known."""
    for number in range(10):
        folder = coarse_disk / f"{number}"
        folder.mkdir()
        for name in ("x.yaml", "Poems.yaml", "poems.yaml"):
            with Results(folder).opened(PurePosixPath(name), make=True):
                pass
        assert 3 == len({name.casefold() for name in os.listdir(folder)})


def test_a_folder_that_rests_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a change would show, names are remembered until there is one."""
    listdir, read, names = os.listdir, list[Path](), Names(tmp_path)

    def noting(folder: Path) -> list[str]:
        read.append(folder)
        return listdir(folder)

    def is_remembered() -> bool:
        read.clear()
        assert names.clashes(Path("Poems")) == (tmp_path / "poems").exists()
        return not read

    monkeypatch.setattr(os, "listdir", noting)
    await_that(is_remembered, "the names to be remembered")
    (tmp_path / "poems").mkdir()
    assert not is_remembered()
    await_that(is_remembered, "the new name to be remembered")


def test_a_disk_that_fails_has_no_name_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of one moment would else part a prompt file from its videos, for ever."""
    (tmp_path / "poems").mkdir()
    names = Names(tmp_path)

    def fail(path: Path) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    for call in ("lstat", "listdir"):
        place = Path("poems" if call == "lstat" else "Poems")
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(OSError, match="Input/output"):
                names.apart(place)
    assert Path("poems") == names.apart(Path("poems"))
    assert Path("Poems") != names.apart(Path("Poems"))
