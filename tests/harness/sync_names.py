"""Names that real tools give to files which are no prompt files, or not yet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """Names that a tool uses: to be passed over; until a.txt is whole."""

    ignored: tuple[str, ...]
    unfinished: tuple[str, ...] = ()


CASES = {
    "Syncthing": Case(
        (".stfolder", ".stfolder.removed-20261124-101112", ".stignore", ".stversions"),
        (".syncthing.a.txt.tmp", "~syncthing~a.txt.tmp"),
    ),
    "Nextcloud": Case(
        ("a.txt.nextcloud", "a.txt.owncloud", ".sync_0123456789ab.db", ".sync_0123456789ab.db-wal",
         "._sync_0123456789ab.db", ".owncloudsync.log"),
        (".a.txt.~1f2e3d", ".a.txt.~0"),
    ),
    "Nextcloud's server": Case((), ("a.txt.ocTransferId1628934.part",)),
    "iCloud": Case((), (".a.txt.icloud",)),
    "rsync": Case((".~tmp~", ".rsync-partial"), (".a.txt.MAy4Ra", ".a.txt.hfO7nr")),
    "rclone": Case((), ("a.txt.1a2b3c4d.partial",)),
    "Dropbox": Case((".dropbox", ".dropbox.cache", ".dropbox.attr")),
    "Google Drive": Case((".tmp.driveupload", ".tmp.drivedownload")),
    "OneDrive": Case(("~DF1234.TMP", "a.txt.tmp")),
    "Resilio Sync": Case(
        (".sync", ".SyncID", ".SyncIgnore", ".SyncArchive", "a.txt.SyncOld", ".SyncOld"),
        ("a.txt.!Sync", "a.txt.SyncPart", "a.txt.SyncTemp"),
    ),
    "Unison": Case((".unison.b.tmp",), (".unison.a.txt.0123456789abcdef.unison.tmp",)),
    "Seafile": Case(
        ("a.txt.sbak",),
        ("a.txt.seaftmp", "a.txt.SeafTmp~"),
    ),
    "WinSCP": Case((), ("a.txt.filepart",)),
    "a browser": Case((), ("a.txt.crdownload", "a.txt.part", "a.txt.download")),
    "Windows": Case(("Thumbs.db", "Desktop.ini", "~$a.txt", ".smbdelete0a1b", "$RECYCLE.BIN")),
    "a NAS": Case(("@eaDir", "#recycle", "@Recycle", "#snapshot", "@Recently-Snapshot")),
    "macOS": Case(
        ("._a.txt", ".DS_Store", ".Trashes", ".Spotlight-V100", ".localized", "__MACOSX")
    ),
    "NFS": Case((".nfs000000000001", ".fuse_hidden0000001")),
    "an editor": Case(
        (".a.txt.swp", ".a.txt.swo", "a.txt~", ".#a.txt", "#a.txt#", ".~lock.a.txt#",
         ".goutputstream-XYZ123", ".a.txt.kate-swp", "a.txt___jb_old___"),
        ("a.txt___jb_tmp___",),
    ),
    "reeldrop": Case(("a.txt.error.txt", "a.txt.not-rendered.txt")),
    "anything": Case((".hidden.txt", ".git")),
}  # fmt: skip
