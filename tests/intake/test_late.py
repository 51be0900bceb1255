"""late: what is written into a prompt file after it was read is noted beside it, and kept."""

from __future__ import annotations

from pathlib import Path, PurePath, PurePosixPath

from reeldrop.base.errors import Mistake, PromptError
from reeldrop.base.job import Job
from reeldrop.base.roots import Root
from reeldrop.intake import late
from reeldrop.intake.places import Place
from reeldrop.prompts import parsing
from reeldrop.service.jobs import Jobs
from reeldrop.service.limits import Limits
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool

JOB = Job("20261124-000000-000000-abcdef", PurePosixPath("x/poems.txt"), Path("/nowhere"), ())

CASES: dict[str, tuple[bytes, bytes, str, list[str]]] = {
    "a line": (b"a\n", b"b\n", "line 2 (2 bytes)", ["b"]),
    "lines": (b"a\nb\n", b"c\nd\ne", "line 3 to line 5 (5 bytes)", ["c", "d", "e"]),
    "the end of a line": (b"a ho", b"rse\n", "the end of line 1 (4 bytes)", ["rse"]),
    "more than that": (
        b"a\nb ho",
        b"rse\nc\n",
        "the end of line 2 to line 3 (6 bytes)",
        ["rse", "c"],
    ),
    "into an empty file": (b"", b"a\n", "line 1 (2 bytes)", ["a"]),
    "no text": (b"a\n", b"\xff\x1b\n", "line 2 (3 bytes)", ["\\xff\\x1b"]),
    "too much": (b"a\n", bytes(parsing.MAX_BYTES), f"{parsing.MAX_BYTES} bytes", []),
}
"""What was there, what came later, and what is said of it."""


def said(folder: Path, before: bytes, after: bytes, name: str = "poems.txt") -> str:
    """Return the note beside a file that has grown; empty if there is none."""
    (folder / name).write_bytes(before + after)
    late.tell(JOB, Place(Root(folder), PurePath(name)), len(before))
    note = folder / f"{name}.not-rendered.txt"
    return note.read_text() if note.exists() else ""


def test_late_lines_are_named(tmp_path: Path) -> None:
    """The note has their numbers, their size, their text, and what to do."""
    for number, (before, after, which, lines) in enumerate(CASES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        note = said(folder, before, after)
        assert "x/poems.txt was still being written when its videos were made" in note
        assert f"and was not rendered: {which}." in note
        assert "put it into a new prompt file in the inbox" in note
        assert lines == [line[4:] for line in note.split("\n") if line.startswith("    ")]
        assert before + after == (folder / "poems.txt").read_bytes()


def test_very_many_late_lines_are_counted(tmp_path: Path) -> None:
    """The note stays short: it repeats some lines, and counts the others."""
    note = said(tmp_path, b"a\n", b"b\n" * 50)
    assert late.MAX_LINES == note.count("    b\n")
    assert "    and 30 more\n" in note


def test_a_late_part_of_a_video_is_named_by_its_size(tmp_path: Path) -> None:
    """An mp4 has no lines, so the note has only the size."""
    assert "and was not rendered: 5 bytes.\n" in said(tmp_path, b"ftyp", b"a\nb\nc", "a.mp4")


def test_nothing_is_said_of_a_file_as_it_was_read(tmp_path: Path) -> None:
    """No note if only a line end was added, or the file has shrunk or is gone."""
    assert "" == said(tmp_path, b"a horse\n", b"")
    assert "" == said(tmp_path, b"a horse", b"\n\n")
    (tmp_path / "poems.txt").write_bytes(b"a")
    late.tell(JOB, Place(Root(tmp_path), PurePath("poems.txt")), 8)
    late.tell(JOB, Place(Root(tmp_path), PurePath("gone/poems.txt")), 8)
    assert ["poems.txt"] == [path.name for path in tmp_path.iterdir()]


def test_what_is_being_written_is_not_copied(tmp_path: Path, elsewhere: Path) -> None:
    """A file that failed is moved to another file system only after its writer has closed it."""
    (tmp_path / "inbox").mkdir()
    spool = Spool(tmp_path / "spool", tmp_path / "inbox", elsewhere / "failed")
    spool.prepare()
    jobs = Jobs(spool, Results(elsewhere / "results"), Limits({}, 1, 0.0))
    with (tmp_path / "inbox" / "a.txt").open("w") as writer:
        job = spool.claim(PurePosixPath("a.txt"), ())
        assert job is not None
        late.require_closed(job, unless_moved_into=tmp_path / "not" / "made")
        jobs.ends.fail(job, PromptError(Mistake("it is empty")))
        assert "still being written by" in jobs.waiting()[0].reason
        writer.write("late\n")
    jobs.ends.fail(job, PromptError(Mistake("it is empty")))
    assert ("late\n", []) == ((elsewhere / "failed" / "a.txt").read_text(), jobs.waiting())
