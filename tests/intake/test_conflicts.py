"""conflicts: names of conflict copies, as tools write them, and names that only look similar."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from harness.sync_names import COPIES
from reeldrop.intake import conflicts
from reeldrop.intake.conflicts import NAMINGS, Naming, conflict_copy
from reeldrop.intake.inbox import Inbox

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
    """A name tells the tool that wrote it, and the file that it is a copy of."""
    for tool, names in COPIES.items():
        for name in names:
            copy = conflict_copy(name)
            assert copy is not None, name
            assert (tool, True) == (copy.tool, "a.txt" in copy.originals), (name, copy)


def test_each_pattern_is_needed() -> None:
    """Each pattern matches a case that no other pattern matches."""
    assert set(COPIES) == {naming.tool for naming in NAMINGS}
    for naming in NAMINGS:
        others = [other for other in NAMINGS if other is not naming]
        assert any(tool_by(others, name) != naming.tool for name in COPIES[naming.tool]), naming


def tool_by(namings: list[Naming], name: str) -> str:
    """Return the tool of a name by the given patterns only."""
    patterns = (pair for pair in conflicts._PATTERNS if pair[0] in namings)
    return next((naming.tool for naming, pattern in patterns if pattern.fullmatch(name)), "")


def test_names_that_people_give_are_no_copies() -> None:
    """Names that people may give are not copies: both files may be wanted."""
    for name in HONEST.replace("\n", " | ").split(" | "):
        assert conflict_copy(name.strip()) is None, name


def test_letters_that_a_mac_takes_apart() -> None:
    """Decomposed names (NFD) are recognised, and their originals are decomposed, too."""
    taken_apart = unicodedata.normalize("NFD", "é (Cópia em conflito de Zé 2026-08-25).txt")
    copy = conflict_copy(taken_apart)
    assert copy is not None
    assert {"é.txt", "e\u0301.txt"} <= set(copy.originals)


def test_copies_of_copies() -> None:
    """The outermost mark is removed first: the original of a copy's copy is that copy."""
    copy = "a.sync-conflict-20261122-160257-I6L4PPB.txt"
    found = conflict_copy("a.sync-conflict-20261122-160257-I6L4PPB.conflict2.txt")
    assert found is not None
    assert copy in found.originals


def test_a_copy_that_has_lost_its_ending_is_told(tmp_path: Path) -> None:
    """A mark after the ending is recognised, though the name is not a prompt file's any more."""
    box = Inbox(tmp_path, frozenset({".txt"}), 0.0, "_defaults.yaml")
    lost = {n for names in COPIES.values() for n in names if not n.endswith(".txt")}
    for name in lost:
        (tmp_path / name).touch()
    box.scan(0.0)
    told = {str(path): why for path, why in box.strays()}
    assert lost == set(told)
    assert all("a conflict copy by " in why for why in told.values()), told


def test_the_worst_names_take_no_time() -> None:
    """Names that repeat what a pattern looks for are matched: one that backtracks would hang."""
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
