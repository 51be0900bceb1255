"""What failed is cleared when a prompt file of its place and name is rendered, and never lost."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from harness.files import by_links
from harness.jobs import prompts
from harness.kills import is_killed
from reeldrop.base.errors import Mistake, PromptError
from reeldrop.base.job import Job
from reeldrop.base.picture_files import NO_PICTURES, PictureFiles
from reeldrop.base.roots import Root
from reeldrop.intake.repeats import Repeats
from reeldrop.prompts import lines
from reeldrop.prompts.key_value import Names
from reeldrop.store import history, job_files, withdrawn
from reeldrop.store.filing import Filing
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool

ERROR = PromptError(Mistake("unknown key 'promt'", "it is called prompt", 1))


@dataclass
class Folders:
    """The folders of a daemon, whose process may be another one each time."""

    folder: Path

    def __post_init__(self) -> None:
        self.inbox, self.failed = self.folder / "inbox", self.folder / "results" / "_failed"
        self.inbox.mkdir(parents=True)
        self.spool.prepare()

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / "spool", self.inbox, self.failed)

    @property
    def filing(self) -> Filing:
        return Filing(self.spool, Results(self.folder / "results"))

    def take(self, name: str, text: str = "anything", *beside: str) -> Job:
        """Drop a prompt file with pictures, and claim it."""
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for picture in beside:
            path.with_name(picture).write_text("a picture")
        path.write_text(text)
        pictures = PictureFiles(beside) if beside else NO_PICTURES
        job = self.spool.claim(PurePosixPath(name), (), beside=pictures)
        assert job is not None
        return job

    def fail(self, *names: str) -> None:
        for name in names:
            self.filing.set_aside(self.take(name), ERROR)

    def refuse(self, *names: str) -> None:
        """Set texts aside for what is written in them, as a daemon does."""
        for name in names:
            job = self.take(name, "prompt: a horse\nseed: 5\n")
            with pytest.raises(PromptError) as refused:
                lines.items(job.source.name, job.prompt_file.read_text(), Names())
            self.filing.set_aside(job, refused.value)

    def fail_in_part(self, name: str) -> None:
        failures = [(prompts(1)[0], ERROR)]
        self.filing.file_away(self.take(name), 1, failures, is_resumed=False)

    def cancel(self, name: str) -> None:
        """Cancel a file that waits: its report names no job."""
        (self.inbox / name).write_text("a horse")
        roots = Root(self.inbox), Root(self.failed)
        withdrawn.withdraw(
            *roots, PurePosixPath(name), lambda _at: f"reeldrop has not rendered {name}"
        )

    def render(self, name: str, text: str = "corrected") -> None:
        self.filing.file_away(self.take(name, text), 1, (), is_resumed=False)

    def listed(self) -> list[str]:
        """Return what `history --failed` lists."""
        found = history.failures(self.failed, lambda name: name.endswith((".txt", ".yaml")))
        return sorted(failure.name for failure in found)

    def cleared(self) -> list[str]:
        """Return the files of what was cleared."""
        folder = self.failed / "_cleared"
        return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture(params=["at once", "by links"])
def make(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Folders]]:
    """Folders on a file system that moves files atomically, or by links."""
    if request.param == "by links":
        by_links(monkeypatch)
    numbers = itertools.count()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        yield lambda: Folders(Path(memory) / str(next(numbers)))


def test_a_kill_at_any_call_leaves_each_file_once(
    make: Callable[[], Folders], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process clears the rest, beside what was cleared of that name before."""
    for at in itertools.count(1):
        place = make()
        place.fail("poems/a.txt")
        place.render("poems/a.txt")
        job = place.take("poems/a.txt", "a mistake", "boat.png")
        job_files.log_of(job).write_text("a log")
        place.filing.set_aside(job, ERROR)
        place.take("poems/a.txt", "corrected")

        def file_away(place: Folders = place) -> None:
            for job in place.spool.unfinished():
                place.filing.file_away(job, 1, (), is_resumed=True)

        killed = is_killed(at, file_away, monkeypatch)
        if os.path.lexists(place.failed / "poems/a.txt"):
            assert ["poems/a.txt"] == place.listed()
        file_away()
        assert [] == place.listed()
        assert ["_cleared", "poems"] == sorted(os.listdir(place.failed))
        assert [] == os.listdir(place.failed / "poems")
        assert [
            *(f"poems/a-2.txt{suffix}" for suffix in ("", ".error.txt", ".job.log")),
            "poems/a-2.txt.pictures/boat.png",
            *("poems/a.txt", "poems/a.txt.error.txt"),
        ] == place.cleared()
        assert "a mistake" == (place.failed / "_cleared/poems/a-2.txt").read_text()
        assert [] == list(place.spool.unfinished())
        if not killed:
            return


MOVED_BACK = "moved back by hand"
CASES = {
    "of that name": (lambda at: at.fail("a.yaml"), "a.yaml", []),
    "of that name, in another hurry": (
        lambda at: at.fail("x/a.yaml", "NIGHT/x/a.yaml", "AGAIN/x/a.yaml"),
        "NOW/x/a.yaml",
        ["AGAIN/x/a.yaml"],
    ),
    "twice": (lambda at: at.fail("a.yaml", "a.yaml"), "a.yaml", []),
    "of another folder": (lambda at: at.fail("b/a.yaml"), "a.yaml", ["b/a.yaml"]),
    "of another name that has a number": (
        lambda at: at.fail("a.yaml", "a-2.yaml"),
        "a.yaml",
        ["a-2.yaml"],
    ),
    "of another ending": (lambda at: at.fail("a.txt"), "a.yaml", ["a.txt"]),
    "a text that has to be YAML": (
        lambda at: at.refuse("x/a.txt", "x/a.txt", "NIGHT/x/a.txt", "x/a.yaml.txt", "x/a.JSON.txt"),
        "NOW/x/a.yaml",
        [],
    ),
    "other texts that have to be YAML": (
        lambda at: at.refuse("a.txt", "b/a.txt", "aa.txt", "a-2.txt", "a.b.txt"),
        "a.yaml",
        ["a-2.txt", "a.b.txt", "aa.txt", "b/a.txt"],
    ),
    "a text that had to be YAML, as a Mac writes it": (
        lambda at: at.refuse("pe\u0301.txt"),
        "p\u00e9.yaml",
        [],
    ),
    "of a name that had to change": (lambda at: at.fail("a?.yaml"), "a?.yaml", []),
    "of another name that had to change": (lambda at: at.fail("a?.yaml"), "a_.yaml", ["a_.yaml"]),
    "cancelled while it waited": (lambda at: at.cancel("a.yaml"), "a.yaml", []),
    "the rest of a text": (lambda at: at.fail_in_part("a.txt"), "a.txt", []),
    "the rest of a text, by its name": (lambda at: at.fail_in_part("a.txt"), "a.yaml", []),
    "the rests of a text, by the name that each goes back to": (
        lambda at: (at.fail_in_part("a.txt"), at.fail_in_part("a.txt")),
        "a.yaml",
        [],
    ),
    "of that name, as a Mac writes it": (
        lambda at: at.fail("pe\u0301.yaml", "pe\u0301.yaml"),
        "p\u00e9.yaml",
        [],
    ),
    "files in a folder named like its pictures": (
        lambda at: at.fail("a.yaml.pictures/b.txt"),
        "a.yaml",
        ["a.yaml.pictures/b.txt"],
    ),
    "files in a folder of that name": (
        lambda at: at.fail("a.yaml/b.txt"),
        "a.yaml",
        ["a.yaml/b.txt"],
    ),
    MOVED_BACK: (
        lambda at: (
            at.fail("a.yaml", "a.yaml"),
            *map(os.unlink, (at.failed / "a.yaml", at.failed / "a-2.yaml")),
        ),
        "a-2.yaml",
        ["a.yaml"],
    ),
    "with its report removed": (
        lambda at: (at.fail("a.yaml"), os.unlink(at.failed / "a.yaml.error.txt")),
        "a.yaml",
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_rendered_clears_only_its_own_failures(case: str, tmp_path: Path) -> None:
    """By place and name; the names that files got in `_failed/` count only for those."""
    prepare, rendered, left = CASES[case]
    place = Folders(tmp_path)
    prepare(place)
    before = place.listed()
    if (place.inbox / rendered).is_dir():
        shutil.rmtree(place.inbox / rendered)
    place.render(rendered)
    assert left == place.listed()
    is_report = case == MOVED_BACK
    assert sorted({*before} - {*left}) == [
        name.removesuffix(".error.txt" * is_report)
        for name in place.cleared()
        if is_report or not name.endswith(".error.txt")
    ]


def test_failures_of_later_files_stay(tmp_path: Path) -> None:
    """A file that was dropped while an earlier one of its name was rendered is another order."""
    place = Folders(tmp_path)
    job = place.take("a.yaml")
    place.fail("a.yaml")
    place.cancel("a.yaml")
    place.filing.file_away(job, 1, (), is_resumed=False)
    assert ["a-2.yaml", "a.yaml"] == place.listed()


def test_a_file_that_comes_back_after_it_was_cleared_is_known(tmp_path: Path) -> None:
    """A sync tool that brings the old one back asks for no render, and for no new report."""
    place = Folders(tmp_path)
    place.fail("a.yaml")
    old = (place.failed / "a.yaml").stat()
    place.render("a.yaml")
    job = place.take("a.yaml")
    os.utime(job.prompt_file, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert not Repeats(place.spool, Results(tmp_path / "results")).is_order(job)
    assert [] == place.listed()
    assert ["a.yaml", "a.yaml.error.txt", "a.yaml.not-rendered.txt"] == place.cleared()


def test_what_fails_again_or_in_part_clears_nothing(tmp_path: Path) -> None:
    """Only a file that was rendered as a whole does."""
    place = Folders(tmp_path)
    for _ in range(2):
        place.fail("a.yaml")
    place.fail_in_part("a.yaml")
    assert ["a-2.yaml", "a-3.yaml", "a.yaml"] == place.listed()


def test_what_cannot_be_cleared_holds_up_no_job(tmp_path: Path) -> None:
    """A file in the place of the folder: the job ends, and the failure stays listed."""
    place = Folders(tmp_path)
    place.fail("a.yaml")
    (place.failed / "_cleared").touch()
    place.render("a.yaml")
    assert ["a.yaml"] == place.listed()
    assert [] == list(place.spool.unfinished())


def test_a_folder_of_the_inbox_is_never_taken_for_what_was_cleared(tmp_path: Path) -> None:
    """Files in a folder of that name are refused, and listed like others."""
    place = Folders(tmp_path)
    place.fail("_cleared/a.txt")
    place.cancel("_cleared/b.txt")
    assert 2 == len(place.listed())
    assert not (place.failed / "_cleared").exists()
