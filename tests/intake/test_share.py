"""share: what a folder's file system can do is tested, and reported in plain words."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from reeldrop.intake import share
from reeldrop.intake.share import Trait
from reeldrop.intake.watch import Watch


def measured(folder: Path) -> dict[str, Trait]:
    """Return the results of all tests of a folder, by name."""
    return {found.what: found for found in share.measure(folder, 5.0)}


def test_a_good_folder(tmp_path: Path) -> None:
    """Each test passes on a local disk, and leaves no file."""
    found = measured(tmp_path)
    assert ["events", "renames", "times", "clock", "deletion"] == list(found)
    assert [] == [f for f in found.values() if not f.ok and f.what != "events"]
    assert found["events"].ok == share.reports_all(tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_the_file_system_is_told_by_the_nearest_mount() -> None:
    """The nearest mount above a folder decides on its file system."""
    assert "proc" == share.file_system(Path("/proc/self"))
    assert not share.reports_all(Path("/proc"))


@pytest.mark.usefixtures("root")
def test_a_mount_is_found_under_any_name(tmp_path: Path) -> None:
    """Of two mounts on one point the last counts; escaped characters are decoded."""
    for name in ("b\u00fc ro\\\n", os.fsdecode(b"\xff")):
        folder = tmp_path / name
        folder.mkdir()
        for kind in ("ramfs", "tmpfs"):
            subprocess.run(["mount", "-t", kind, "none", folder], check=True)
        try:
            assert "tmpfs" == share.file_system(folder)
        finally:
            for _ in range(2):
                subprocess.run(["umount", folder], check=True)


@pytest.mark.usefixtures("root")
def test_a_containers_own_root(tmp_path: Path) -> None:
    """An overlay reports every change, also in a folder that came with the image."""
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)  # none lies upon another
    image, upper, work, root = (tmp_path / name for name in ("image", "upper", "work", "root"))
    for folder in (image / "inbox" / "poems", upper, work, root):
        folder.mkdir(parents=True)
    layers = f"lowerdir={image},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "none", root], check=True)
    try:
        for folder in (root / "inbox", root / "inbox" / "poems"):
            text = "overlay reports every change: new files are seen at once"
            assert Trait("events", True, text) == measured(folder)["events"]
            assert [] == [f for f in measured(folder).values() if not f.ok]
    finally:
        subprocess.run(["umount", root, tmp_path], check=True)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p", ""])
def test_a_share_is_said_to_be_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share reports only this machine's changes, and the text says so."""
    monkeypatch.setattr(share, "file_system", lambda _folder: kind)
    found = measured(tmp_path)["events"]
    assert not found.ok
    assert (
        "reports changes by this machine only: of others, new files are found by a scan every 5 s"
        in found.text
    )


def test_no_events_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that can't be watched is scanned by the clock."""

    def none(*_: object) -> Watch:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(share, "Watch", none)
    assert "reports no changes: new files are found" in measured(tmp_path)["events"].text


@pytest.mark.parametrize(
    ("step", "text"),
    [(1, "nanoseconds"), (100, "100 ns"), (1000, "microseconds"), (10**6, "milliseconds"),
     (10**9, "whole seconds"), (2 * 10**9, "two seconds"),
     (4 * 10**9, "more than two seconds: files that come back may be rendered again")],
)  # fmt: skip
def test_how_finely_times_are_kept(
    step: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems truncate times: FAT to two seconds, some servers to one."""
    before = os.utime
    monkeypatch.setattr(
        os, "utime", lambda path, ns: before(path, ns=tuple(t // step * step for t in ns))
    )
    assert text in measured(tmp_path)["times"].text


@pytest.mark.parametrize(("off", "text"), [(100, "100 s ahead"), (-4000, "4000 s behind")])
def test_a_clock_that_is_wrong(
    off: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text has the difference, and says that reeldrop does not use that clock."""
    now = share.time.time
    monkeypatch.setattr(share.time, "time", lambda: now() - off)
    assert text in measured(tmp_path)["clock"].text


def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    """`measure` raises OSError, which `reeldrop check` reports."""
    with pytest.raises(OSError, match="No such file"):
        measured(tmp_path / "nowhere")


MARKS = [
    ("Syncthing", ".stfolder/"),
    ("Nextcloud", ".sync_0123456789ab.db"),
    ("Nextcloud", ".nextcloudsync.log"),
    ("ownCloud", "._sync_0123456789ab.db"),
    ("ownCloud", ".owncloudsync.log"),
    ("a server of Nextcloud or ownCloud", ".ocdata"),
    ("a server of Nextcloud", ".ncdata"),
    ("Dropbox", ".dropbox"),
    ("Dropbox", ".dropbox.cache/"),
    ("Maestral", ".maestral.cache/"),
    ("Google Drive", ".tmp.drivedownload/"),
    ("OneDrive", ".849C9593-D756-4E56-8D6E-42412F2A707B"),
    ("Synology Drive", ".SynologyWorkingDirectory/"),
]


def test_a_folder_that_a_tool_syncs_is_known_by_its_mark(tmp_path: Path) -> None:
    """The mark is in the folder or above it, also behind a link."""
    for number, (tool, name) in enumerate(MARKS):
        top = tmp_path / str(number)
        spool = top / "x" / "spool"
        spool.mkdir(parents=True)
        before = share.synced_by(spool)
        assert before is None
        (top / name).mkdir() if name.endswith("/") else (top / name).touch()
        (tmp_path / f"link{number}").symlink_to(spool)
        for folder in (spool, tmp_path / f"link{number}", top):
            assert (tool, top / name) == share.synced_by(folder)


def test_marks_of_other_folders_do_not_count(tmp_path: Path) -> None:
    """Marks beside or below the folder, and Dropbox's settings in a home, do not count."""
    (tmp_path / "home" / ".dropbox").mkdir(parents=True)
    (tmp_path / "home" / "inbox" / ".stfolder").mkdir(parents=True)
    (tmp_path / "home" / "spool" / "active" / ".stfolder").mkdir(parents=True)
    assert share.synced_by(tmp_path / "home" / "spool") is None
    assert share.synced_by(tmp_path / "home" / "not made yet") is None
