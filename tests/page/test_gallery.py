"""The gallery's data: made from the sidecars, a little at a time, and mended after any kill."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from harness.zygote import use_huge_pages
from reeldrop.base.job import Job, Prompt, Rendered
from reeldrop.base.roots import Root
from reeldrop.page import gallery, scripts, site
from reeldrop.page.gallery import Gallery
from reeldrop.page.page import Page
from reeldrop.page.ratings import Ballot
from reeldrop.page.scripts import Record
from reeldrop.store.results import Results
from reeldrop.store.status import State, Status

RENDERED = Rendered("repo", None, "P", "S", "cpu", "float32", (("torch", "2"),), 1.5, 100)


class Place:
    """Results, and a gallery that shows them."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"
        self.data = self.results / "_page" / "data"
        self.data.mkdir(parents=True)
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        self.gallery = Gallery()

    def publish(self, source: str, prompt: str = "a ball", seed: int = 7) -> Path:
        """Publish a video as a job does, and return its sidecar."""
        job = Job("j", PurePosixPath(source), Path("/nowhere"), ())
        made = Prompt(1, prompt, "tiny", (), seed, 8.0, ("mp4",))
        results = Results(self.results)
        return results.publish(job, made, RENDERED, lambda path, *_: path.touch()).sidecar

    def rate(self, voter: int) -> None:
        """Put a browser's ratings into the inbox."""
        votes = {"j/1": {"favourite": True, "rating": 4}}
        found = {"voter": f"{voter:08x}", "saved": voter, "videos": votes}
        (self.inbox / f"ratings-{voter}.json").write_text(json.dumps(found))

    def look(self, second: int) -> None:
        """Write all that is due, as a new process does at its start."""
        failed = Root(self.results / "_failed")
        page = Page(Root(self.results), failed, Root(self.inbox), lambda _name: True)
        updated = f"2026-03-01T13:{second // 60:02}:{second % 60:02}+00:00"
        page._status = Status(1, State.IDLE, "m", updated)
        page._ending.set()
        page._look()
        assert not page._problem

    def require_whole(self) -> None:
        """Check that each file of the page is whole, or is not there."""
        for source in WEB.iterdir():
            folder = self.results if source.name == "index.html" else self.data.parent
            with contextlib.suppress(FileNotFoundError):
                assert source.read_bytes() == (folder / source.name).read_bytes()
        for script in self.data.glob("*.js"):
            assert script.read_text().endswith(");\n")
        for ballot in self.results.glob("_ratings/*.json"):
            assert Ballot.parsed(ballot.read_bytes())

    def refresh(self) -> None:
        """Compare everything with the sidecars, as a new process does."""
        self.gallery = Gallery()
        self.gallery.refresh(self.data, self.results, self.results / "_failed")

    def add(self, *sidecars: Path) -> None:
        """Show videos that were just published."""
        self.gallery.add(self.data, self.results, sidecars)

    def listed(self) -> dict[str, int]:
        """Return what the list of chunks says."""
        text = (self.data / "list.js").read_text()
        return dict(json.loads(text.removeprefix("reeldrop.list(").removesuffix(");\n")))

    def shown(self) -> list[list[str]]:
        """Return the paths in each chunk; every file has to be whole."""
        found = []
        for number in range(1, self.listed()["chunks"] + 1):
            data = (self.data / f"{number:04}.js").read_bytes()
            records = list(scripts.records(data))
            assert data == scripts.chunk(number, records)
            found.append([record.path for record in records])
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Empty results."""
    return Place(tmp_path)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that are full with two videos."""
    monkeypatch.setattr(gallery, "CHUNK_BYTES", 400)


def test_a_record_survives_its_script() -> None:
    """Whatever is in a prompt: no script ends early, and what is read back is what was written."""
    texts = ["</script><b>", "a\u2028b\u2029c", '"\\', "\n],\n);", "大鹏", "\x00\x1b"]
    made = [Record.of(f"p/{text}", 0.1, {"prompt": text}) for text in texts]
    data = scripts.chunk(3, made)
    assert made == list(scripts.records(data))
    assert "<" not in data.decode()
    assert not {"\u2028", "\u2029"} & {*data.decode()}
    assert len(texts) + 2 == data.count(b"\n")


@pytest.mark.usefixtures("small_chunks")
def test_full_chunks_are_never_written_again(place: Place) -> None:
    """A new video costs a sync tool one small file, however many there are."""
    for number in range(3):
        place.publish(f"{number}.txt")
    place.refresh()
    assert [2, 1] == [len(chunk) for chunk in place.shown()]
    first = (place.data / "0001.js").stat()
    place.add(place.publish("3.txt"), place.publish("4.txt"))
    assert [["0/a_ball", "1/a_ball"], ["2/a_ball", "3/a_ball"], ["4/a_ball"]] == place.shown()
    assert {"chunks": 3, "videos": 5} == place.listed()
    assert first.st_ino == (place.data / "0001.js").stat().st_ino
    before = sorted(path.stat().st_ino for path in place.data.iterdir())
    place.refresh()
    assert before == sorted(path.stat().st_ino for path in place.data.iterdir())


@pytest.mark.usefixtures("small_chunks")
def test_what_was_moved_deleted_or_damaged_is_shown_as_it_is(place: Place) -> None:
    """By whoever cleans up, or a disk; a prompt file or a lone sidecar is no video."""
    sidecars = [place.publish(f"{number}.txt") for number in range(5)]
    place.refresh()
    sidecars[0].unlink()
    (place.results / "2").rename(place.results / "moved")
    (place.data / "0003.js").write_text("reeldrop.chunk(3,[\n[torn")
    sidecars[3].with_suffix(".jpg").unlink()
    (place.results / "1/other.yaml").write_text("prompt: a ball\n")
    place.refresh()
    assert {"1/a_ball", "moved/a_ball", "4/a_ball"} == {p for chunk in place.shown() for p in chunk}
    (place.data / "0001.js").unlink()
    place.refresh()
    assert ["1/a_ball"] in place.shown()


@pytest.mark.usefixtures("small_chunks")
def test_a_video_that_was_found_before_it_was_told_counts_once(place: Place) -> None:
    """It may be published while the sidecars are compared: else one would seem to be missing."""
    sidecars = [place.publish(f"{number}.txt") for number in range(3)]
    place.refresh()
    place.add(*sidecars)
    assert {"chunks": 2, "videos": 3} == place.listed()
    assert [2, 1] == [len(chunk) for chunk in place.shown()]


@pytest.mark.parametrize("line", ["[" * 100_000, f'["a",1{"0" * 400},{{}}]', "[1", '"abc"'])
def test_lines_of_strangers_in_a_chunk_are_left_out(place: Place, line: str) -> None:
    """Whoever may write into the results can't end the thread that writes the page."""
    place.publish("a.txt")
    place.refresh()
    chunk = place.data / "0001.js"
    before = chunk.read_text()
    chunk.write_text(before.replace("[\n", f"[\n{line},\n", 1))
    place.refresh()
    assert before == chunk.read_text()


def test_a_strangers_chunk_of_a_high_number_is_passed_over(place: Place) -> None:
    """Else a million chunks would be written up to it. What is missing before ours is not."""
    for number in (9999, 999_999):
        (place.data / f"{number}.js").write_text("mine")
    place.publish("a.txt")
    place.refresh()
    place.add(place.publish("b.txt"))
    assert {"chunks": 1, "videos": 2} == place.listed()
    assert ["0001.js", "9999.js", "999999.js", "list.js"] == sorted(os.listdir(place.data))


def test_a_seed_keeps_all_its_digits(place: Place) -> None:
    """A page's numbers have 53 bits, and other tools draw seeds of 64."""
    place.publish("a.txt", seed=2**63 - 1)
    place.refresh()
    assert f'"seed":"{2**63 - 1}"' in (place.data / "0001.js").read_text()


def test_all_is_made_again_from_the_sidecars(place: Place) -> None:
    """Nothing is lost with the page: it only shows what is there."""
    for number in range(3):
        place.publish(f"{number}.txt")
    place.refresh()
    before = {path.name: path.read_bytes() for path in place.data.iterdir()}
    for path in place.data.iterdir():
        path.unlink()
    place.refresh()
    assert before == {path.name: path.read_bytes() for path in place.data.iterdir()}


def test_a_page_of_somebody_else_is_not_replaced(place: Place) -> None:
    """The files of the page come with reeldrop; an older page of ours is replaced, no other."""
    site.write(place.results, place.data.parent)
    names = {path.name for path in (place.results / "_page").iterdir()}
    assert {"style.css", "main.js", "data"} <= names
    page = place.results / "index.html"
    for name in names - {"data"}:
        assert name in page.read_text()
    page.write_text("an older page " + '<meta name="generator" content="reeldrop">')
    site.write(place.results, place.data.parent)
    assert "an older page" not in page.read_text()
    page.write_text("my own page")
    with pytest.raises(FileExistsError, match=r"index\.html in the results is not reeldrop's"):
        site.write(place.results, place.data.parent)


CALLS = ("replace", "fsync", "open", "unlink")
WEB = Path(site.__file__).parent / "web"


@pytest.mark.usefixtures("small_chunks")
def test_kills_leave_nothing_torn_and_nothing_stale(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 processes are killed at random calls while they write all of the page; the next one
    mends it.
    """
    monkeypatch.setattr(os, "fsync", lambda _fd: None)  # kills lose no write, only time
    use_huge_pages()
    dice = random.Random(7)
    killed = 0
    for number in range(100):
        if number % 4 == 0:
            place.publish(f"{number}.txt", f"ball {number}")
            place.rate(number)
        if number % 20 == 19:
            next(place.results.glob("*/*.yaml")).unlink()
            shutil.rmtree(place.data.parent, ignore_errors=True)
        killed += is_killed(lambda at=number: place.look(at), dice.randrange(150), monkeypatch)
        if (place.data / "list.js").exists():
            place.shown()
        place.require_whole()
    assert killed > 40
    place.look(100)
    there = {
        str(p.with_suffix("").relative_to(place.results)) for p in place.results.glob("*/*.yaml")
    }
    assert sorted(there) == sorted(path for chunk in place.shown() for path in chunk)
    assert [] == list(place.results.rglob("*.tmp"))
    assert [] == os.listdir(place.inbox)
    assert '{"j/1":[25,100,25]}' in (place.data / "ratings.js").read_text()
    assert "13:01:40" in (place.results / "STATUS.txt").read_text()
    assert {*os.listdir(WEB)} <= {*os.listdir(place.data.parent), "index.html"}


def is_killed(deed: Callable[[], None], at: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do something in a process that is killed at its n-th call to the disk, if it gets there."""
    child = os.fork()
    if not child:
        left = [at]
        for name in CALLS:
            monkeypatch.setattr(os, name, dying(getattr(os, name), left))
        try:
            deed()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def dying(call: Callable[..., object], left: list[int]) -> Callable[..., object]:
    """Return a call that kills the process at its turn: every second time when it is done."""
    dies_after = left[0] % 2

    def counted(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] == 0 and not dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = call(*args, **kwargs)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return counted
