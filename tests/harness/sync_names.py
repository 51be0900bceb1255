"""Names that real tools give to files that are no prompt files, or not yet complete."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """Names that a tool uses: always ignored ones, and those until a.txt is complete."""

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

COPIES = {
    "Syncthing": [
        "a.sync-conflict-20261122-160257-I6L4PPB.txt",
        "a.sync-conflict-20140401-101112.txt",
    ],
    "Nextcloud": [
        "a (conflicted copy 2026-11-24 101112).txt",
        "a_conflict-20261124-101112.txt",
        "a (conflicted copy anna 2026-11-24 101112).txt",
        "a_conflict-anna-20261124-101112.txt",
        "a (case clash from anna).txt",
    ],
    "Resilio Sync": [
        "a.Conflict.txt",
        "a.Conflict2.txt",
        "a.txt.Conflict",
        "a.Conflict.Conflict.Conflict.txt",
    ],
    "rclone": ["a.txt.conflict1", "a.conflict2.txt", "a.txt..path1", "a.txt..path2"],
    "Dropbox": [
        "a (Anna's conflicted copy 2026-11-24).txt",
        "a (conflicted copy).txt",
        "a (conflicted copy 2026-11-24 1).txt",
        "a (Conflicted copy ThinkPad-T14-G5 202603121129).txt",
        "a (Annas in Konflikt stehende Kopie 2026-11-24).txt",
        "a (In Konflikt stehende Kopie von Anna 2026-11-24).txt",
        "a (Copie en conflit de SEMLOG-GTH-0001 2026-11-24).txt",
        "a (Copia en conflicto de Ana 2026-11-24).txt",
        "a (Copia conflictiva de Ana 2026-11-24).txt",
        "a (Cópia em conflito de Contabilidade 2026-08-25 1).txt",
        "a (Copia in conflitto di MBP-di-Marco.fritz.box 2026-10-08).txt",
        "a (kopia powodująca konflikt użytkownika Jan 2026-10-02).txt",
        "a (Конфликтующая копия с компьютера MAIN-PC 2017-11-01).txt",  # noqa: RUF001
        "a (平川知明 の競合コピー 2023-10-29).txt",
        "a (G Z 的冲突副本 2018-01-21).txt",
        "a(Cong-Windows的冲突副本1_2026-06-26 02-11-37).txt",
        "a (小明的衝突複本 2026-11-24).txt",
        "a (김의 충돌된 사본 2026-09-29).txt",
        "a (conflicting copy).txt",
        "a (conflicting copy 3).txt",
        "a (case conflict).txt",
        "a (Case Conflict (1)).txt",
        "a (Unicode Encoding Conflict).txt",
        "a (unicode conflict 2).txt",
        "a (selective sync conflict).txt",
    ],
    "Google Drive": ["a_conf(1).txt"],
    "OneDrive": [
        "a-DESKTOP-1A2B-safeBackup-0001.txt",
        "a-box-safeBackup-0012.txt",
        "a-DESKTOP-1A2B3C4.txt",
        "a-LAPTOP-0ABCDEF1.txt",
        "a-WIN-0123456789A-2.txt",
    ],
    "Synology Drive": [
        "a_Andy-PC_Jan-03-0901-2013_CaseConflict_1.txt",
        "a_840G11-WEBER_oct.-05-085858-2026_CaseConflict.txt",
        "a_edge_nas_2_Jan-21-173321-2026_Conflict.txt",
        "a_PC_1月-03-0901-2026_WhiteSpaceConflict.txt",
    ],
    "Seafile": [
        "a (SFConflict anna@example.org 2026-11-24-10-11-12).txt",
        "a (SFConflict 2026-11-24-10-11-12).txt",
        "a.txt (SFConflict anna@example.org 2026-11-24-10-11-12)",
        "a.txt (SFConflict anna@example.org 2026-11-24-10-11-12).txt",
        "a.txt(SFConflict anna 2026-11-24-10-11-12)",
    ],
    "pCloud": ["a (conflicted).txt", "a (conflicted 12).txt", "a.txt.conflicted"],
    "Unison": [
        "a.txt (conflict_on_2026-11-24)",
        "a.txt (conflict #2_on_2026-11-24)",
        "a.txt (conflict_on_2026-11-24_was_deleted)",
    ],
    "FileCloud": ["a(Conflict_other (Web browser)_2020-03-25-22-50-36).txt"],
    "Cryptomator": ["a.txt (Conflict a4ab3033)", "a (Conflict a4ab3033).txt"],
}
"""Names of copies of a.txt, most of them seen in public with another name than `a`."""
