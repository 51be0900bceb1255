"""conflicts: names of conflict copies, as tools really write them, and names that only look so."""

from __future__ import annotations

import string
import unicodedata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from reeldrop.intake import conflicts
from reeldrop.intake.conflicts import NAMINGS, Naming, conflict_copy
from reeldrop.intake.inbox import Inbox

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

HONEST = """
a.txt | a (1).txt | a 2.txt | a-laptop.txt | a-2.txt | Kopie von a.txt | conflict.txt | a.b.yaml
path1.txt | backup.txt | a conflicted copy.txt | A-Z.yml | recycle.txt | a~b.txt | cat (1).txt
Ball conflict.txt | Ball.conflict.txt | Ball - conflict.txt | the conflict (part 2).txt
meeting-Alice's MacBook.txt | meeting-ALICE-PC.txt | a-DESKTOP.txt | a-DESKTOP-background.txt
a-desktop-1a2b3c4.txt | a-WIN-or-lose.txt | shots_Jan-03-2026.txt
a_Jan-03-0901-2013_Conflict.md.txt | Romeo and Juliet (Conflicts between families).txt
Git (Conflict resolution chapter).txt | feelings (a conflicted heart).txt
war (copie en conflit).txt | Konflikt (2026-11-24).txt
conflict_on_2026-11-24.txt | Copia in conflitto di interessi.txt | 冲突副本.txt | a.conflicting.txt
class conflict (1848-02-21).txt | unresolved (conflicts 2026-11-24).txt | a.conflicted.txt
"""
"""Names that people give, and what looks like a mark at a second glance only."""


def test_copies_of_each_tool_are_known() -> None:
    """A name as the tool writes it says whose it is, and of what file it is a copy."""
    for tool, names in COPIES.items():
        for name in names:
            copy = conflict_copy(name)
            assert copy is not None, name
            assert (tool, True) == (copy.tool, "a.txt" in copy.originals), (name, copy)


def test_each_pattern_is_needed() -> None:
    """A row that no name of the cases needs would be there for nothing, or be wrong."""
    assert set(COPIES) == {naming.tool for naming in NAMINGS}
    for naming in NAMINGS:
        others = [other for other in NAMINGS if other is not naming]
        assert any(tool_by(others, name) != naming.tool for name in COPIES[naming.tool]), naming


def tool_by(namings: list[Naming], name: str) -> str:
    """Return the tool of a name by some of the patterns alone."""
    patterns = (pair for pair in conflicts._PATTERNS if pair[0] in namings)
    return next((naming.tool for naming, pattern in patterns if pattern.fullmatch(name)), "")


def test_names_that_people_give_are_no_copies() -> None:
    """Two files of such names may both be wanted."""
    for name in HONEST.replace("\n", " | ").split(" | "):
        assert conflict_copy(name.strip()) is None, name


def test_letters_that_a_mac_takes_apart() -> None:
    """The name may come in the other form of Unicode, and so does the original's."""
    taken_apart = unicodedata.normalize("NFD", "é (Cópia em conflito de Zé 2026-08-25).txt")
    copy = conflict_copy(taken_apart)
    assert copy is not None
    assert {"é.txt", "e\u0301.txt"} <= set(copy.originals)


def test_copies_of_copies() -> None:
    """The outermost mark comes off first: the original of a copy's copy is that copy."""
    copy = "a.sync-conflict-20261122-160257-I6L4PPB.txt"
    found = conflict_copy("a.sync-conflict-20261122-160257-I6L4PPB.conflict2.txt")
    assert found is not None
    assert copy in found.originals


def test_a_copy_that_has_lost_its_ending_is_told(tmp_path: Path) -> None:
    """Tools that write behind the ending make a name that is no prompt file's any more."""
    box = Inbox(tmp_path, frozenset({".txt"}), 0.0, "_defaults.yaml")
    lost = {n for names in COPIES.values() for n in names if not n.endswith(".txt")}
    for name in lost:
        (tmp_path / name).touch()
    box.scan(0.0)
    told = {str(path): why for path, why in box.waiting(1e9)}
    assert lost == set(told)
    assert all("a conflict copy by " in why for why in told.values()), told


@given(st.text(alphabet=string.printable.replace("/", "") + "é诗", min_size=1, max_size=250))
def test_names_take_no_time(text: str) -> None:
    """Whatever a stranger calls a file, its name is told at once."""
    for name in (text, f"a{text}conflict", "(" * 80 + text + " conflicted copy" * 9):
        assert conflict_copy(name) == conflict_copy(name)


def test_the_worst_names_take_no_time() -> None:
    """Each pattern, with what it looks for again and again."""
    for part in (
        "(冲突副本2026-11-24",
        " (conflict_2026",
        ".Conflict",
        "_x-01-0101-2026",
        "-WIN-",
        "((",
    ):
        name = part * (250 // len(part.encode()))
        for end in ("", ".txt", "x", ")", ").txt"):
            conflict_copy(name + end)
