"""ignored: the table of ignored and unfinished names, with a case for each row."""

from __future__ import annotations

import fnmatch
import random
import string

import pytest
from harness.sync_names import CASES
from hypothesis import given
from hypothesis import strategies as st
from reeldrop.base import durable, names, temporaries
from reeldrop.intake import ignored
from reeldrop.intake.ignored import TOOLS, Ignored, Tool


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_each_row_of_the_table(tool: Tool) -> None:
    """All names of a tool are ignored; unfinished ones give the name of the finished file."""
    case = CASES[tool.name]
    for name in (*case.ignored, *case.unfinished):
        assert name in Ignored()
    assert [] == [name for name in case.ignored if ignored.finished_name(name)]
    for name in case.unfinished:
        found = ignored.finished_name(name)
        assert found is not None
        assert "a.txt" == found[0]
    assert tool.why


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_each_pattern_has_a_case(tool: Tool) -> None:
    """Each glob matches a case that no other glob matches."""
    case = CASES[tool.name]
    seen = [name.lower() for name in (*case.ignored, *case.unfinished)]
    assert [] == [glob for glob in tool.ignored if not fnmatch.filter(seen, glob)]
    assert bool(tool.unfinished) == bool(case.unfinished)


def test_each_case_has_a_row() -> None:
    """The cases and the table name the same tools."""
    assert list(CASES) == [tool.name for tool in TOOLS]


@pytest.mark.parametrize(
    "name",
    ["a.txt", "a (1).txt", "a 2.txt", "a-laptop.txt", "Kopie von a.txt", "conflict.txt", "a.b.yaml",
     "path1.txt", "backup.txt", "a conflicted copy.txt", "A-Z.yml", "recycle.txt", "a~b.txt"],
)  # fmt: skip
def test_names_that_people_give(name: str) -> None:
    """Names that people may give are neither ignored nor taken for unfinished."""
    assert name not in Ignored()
    assert ignored.finished_name(name) is None


@pytest.mark.parametrize("lock", [".a.txt.swp", ".~lock.a.txt#", ".#a.txt", "a.txt~", "~$a.txt"])
def test_a_lock_or_backup_is_no_unfinished_file(lock: str) -> None:
    """An editor's lock or backup says nothing about the file, which is complete."""
    assert ignored.finished_name(lock) is None


def test_words_behind_a_hidden_name_are_no_transfers_of_rsync() -> None:
    """rsync's six random characters are neither a word nor a number."""
    for end in (
        "backup",
        "Backup",
        "BACKUP",
        "orig01",
        "save1",
        "202611",
        "edited",
        "Old123",
        "V00001",
    ):
        assert ignored.finished_name(f".poems.txt.{end}") is None, end
        assert f".poems.txt.{end}" in Ignored()
    for end in ("MAy4Ra", "hfO7nr", "aB3dEf", "1a2b3c", "abcDef", "ABCdEF"):
        assert ("poems.txt", "rsync") == ignored.finished_name(f".poems.txt.{end}"), end


def test_patterns_of_the_operator() -> None:
    """The operator's globs add to the table, and ignore case."""
    more = Ignored(["*.Draft.txt", "old?"])
    assert "a.draft.TXT" in more
    assert "OLD1" in more
    assert "old10" not in more
    assert ".a.txt.aB3dEf" in more
    assert "a.draft.txt" not in Ignored()


@given(st.text(alphabet=string.printable.replace("/", "") + "é诗", min_size=1, max_size=250))
def test_case_makes_no_difference(text: str) -> None:
    """Of any name."""
    for name in (text, f"{text}.txt"):
        assert (name in Ignored()) == (name.upper() in Ignored())


# What goes back out


@given(st.text(min_size=1, max_size=300))
def test_no_name_of_ours_is_passed_over_by_a_tool(text: str) -> None:
    """No published name is one that a tool ignores."""
    for name in (names.folder_name(text), names.video_name(text) + ".mp4"):
        assert name not in Ignored()
        assert ignored.finished_name(name) is None


FOR_US_ALONE = {".*", "#*#", "*___jb_*___", "*.error.txt", "*.not-rendered.txt"}
"""What no tool but an editor or reeldrop itself minds."""


@pytest.mark.parametrize(
    "glob", sorted({glob for tool in TOOLS for glob in tool.ignored} - FOR_US_ALONE)
)
def test_no_folder_of_ours_is_called_as_a_tools_own(glob: str) -> None:
    """A prompt file's stem may be such a name, but the folder of its videos is not."""
    like = glob.replace("*", "a").replace("?", "p").replace("[ia]", "i")
    assert names.folder_name(like) not in Ignored()


SKIPPED_BY = {
    "Syncthing": ["~syncthing~*"],
    "Nextcloud": ["*.~*"],
    "Dropbox": ["~*.tmp"],
    "OneDrive": ["~*", "*.tmp"],
    "Google Drive": ["*.tmp"],
    "Seafile": ["*.tmp"],
    "Insync": ["*.tmp"],
}
"""The globs by which tools skip what they find in a folder that they send."""


@pytest.mark.parametrize("tool", SKIPPED_BY)
def test_what_is_not_finished_is_not_sent(tool: str) -> None:
    """All tools that ignore names ignore our temporary names."""
    owner = f"20261124-101112-{random.randrange(10**6):06}-abcdef-1.mp4"
    for path in ("a.mp4", "a.yaml", "job.log"):
        name = temporaries.beside(durable.Path(path), owner).name
        assert any(fnmatch.fnmatch(name, glob) for glob in SKIPPED_BY[tool])
        assert name in Ignored()
