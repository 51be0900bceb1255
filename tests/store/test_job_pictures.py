"""pictures: taken with their prompt file, filed away or set aside before it, and never lost."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest
from harness.jobs import RENDERED, says
from harness.kills import interposed
from reeldrop.base import durable, moves, strict_yaml
from reeldrop.base.errors import RenderError
from reeldrop.base.job import Job, Picture, Prompt
from reeldrop.base.picture_files import MOST_BYTES, PictureFiles
from reeldrop.base.roots import Root
from reeldrop.intake.pictures import problem_of, resolved
from reeldrop.store import job_files, pictures, retried, withdrawn
from reeldrop.store.filing import Filing
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from structlog.testing import capture_logs

SERVICE, ANN = 65534, 65533
PAIR = PictureFiles(("boat.png",), (), "boat.png")


@dataclass(frozen=True)
class Folders:
    """An inbox, a spool, and results that may be on another file system."""

    folder: Path
    results: Path

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    @property
    def failed(self) -> Path:
        return self.results / "_failed"

    def spool(self) -> Spool:
        """Return the spool as a process that has just started sees it."""
        return Spool(self.folder / "spool", self.inbox, self.failed)

    def drop(self, **pictures: str) -> None:
        for name, content in pictures.items():
            path = self.inbox / "poems" / name.replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def claimed(self, name: str, beside: PictureFiles, **pictures: str) -> Job:
        self.drop(**pictures)
        (self.inbox / "poems" / name).write_text("a prompt")
        job = self.spool().claim(PurePosixPath("poems", name), (), beside=beside)
        assert job is not None
        return job

    def files(self) -> dict[str, str]:
        """Return every file of inbox and results, and what is in hand, with its content."""
        tops = self.inbox, self.results, self.folder / "spool"
        found = (path for top in tops for path in sorted(top.rglob("*")) if path.is_file())
        return {str(path): path.read_text() for path in found if path.name != "job.json"}


@pytest.fixture(params=["one file system", "two file systems"])
def folders(request: pytest.FixtureRequest, tmp_path: Path, elsewhere: Path) -> Folders:
    """Return the empty folders of a daemon."""
    is_near = request.param == "one file system"
    made = Folders(tmp_path, (tmp_path if is_near else elsewhere) / "results")
    made.inbox.mkdir()
    made.results.mkdir(parents=True)
    made.spool().prepare()
    return made


def taken(folders: Folders, job: Job) -> dict[str, str]:
    """Return the pictures in a job's folder with their content, and see that others left."""
    assert [job] == list(folders.spool().unfinished())
    return {path.name: path.read_text() for path in pictures.of(job)}


# Out of the inbox


def test_a_job_takes_its_pictures_and_a_new_process_knows_them(folders: Folders) -> None:
    """They are the very files of the inbox, in a folder inside the job's."""
    folders.drop(boat_png="the boat")
    inode = (folders.inbox / "poems" / "boat.png").stat().st_ino
    job = folders.claimed("boat.txt", PAIR)
    assert {"boat.png": "the boat"} == taken(folders, job)
    assert inode == pictures.place(job, "boat.png").stat().st_ino
    assert [] == os.listdir(folders.inbox / "poems")


def test_pictures_that_a_kill_left_in_the_inbox_are_taken_later(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as the job is opened; what is not there is no error here."""
    with monkeypatch.context() as broken:
        broken.setattr(pictures, "take", lambda *_: None)
        job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    assert {} == taken(folders, job)
    for _ in range(2):
        folders.spool().take_pictures(job)
        assert {"boat.png": "the boat"} == taken(folders, job)
    folders.drop(boat_png="another boat")
    folders.spool().take_pictures(job)
    assert {"boat.png": "the boat"} == taken(folders, job)
    assert ["boat.png"] == os.listdir(folders.inbox / "poems")


def test_shared_pictures_are_copied(folders: Folders) -> None:
    """The one that others wait for stays in the inbox."""
    both = PictureFiles(("a.png", "b.png"), ("b.png",))
    job = folders.claimed("boat.txt", both, a_png="1", b_png="2")
    assert {"a.png": "1", "b.png": "2"} == taken(folders, job)
    assert ["b.png"] == os.listdir(folders.inbox / "poems")


def test_a_picture_that_may_not_be_moved_is_copied(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another user's, in a folder with the sticky bit."""

    def refused(source: Path, _target: Path) -> None:
        raise PermissionError(errno.EPERM, "no", str(source))

    monkeypatch.setattr(durable, "rename_new", refused)
    monkeypatch.setattr(moves, "copy", lambda one, other, _: shutil.copy(one, other))
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    assert {"boat.png": "the boat"} == taken(folders, job)
    assert ["boat.png"] == os.listdir(folders.inbox / "poems")


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("is_shared", [False, True])
def test_a_picture_that_is_private_is_named_as_the_cause(is_shared: bool) -> None:
    """Another user's may neither be moved, in a folder with the sticky bit, nor be read there."""
    with tempfile.TemporaryDirectory() as top:
        folders = Folders(Path(top), Path(top) / "results")
        pair = PictureFiles(("boat.png",), ("boat.png",) if is_shared else ())
        (folders.inbox / "poems").mkdir(parents=True)
        folders.spool().prepare()
        folders.drop(boat_png="the boat")
        (folders.inbox / "poems" / "boat.png").chmod(0o600)
        (folders.inbox / "poems" / "boat.txt").write_text("a boat")
        for path in Path(top).rglob("*"):
            os.chown(path, SERVICE, SERVICE)
        for path in (folders.inbox / "poems", folders.inbox / "poems" / "boat.png"):
            os.chown(path, ANN, ANN)
        (folders.inbox / "poems").chmod(0o777 if is_shared else 0o1777)
        os.chown(top, SERVICE, SERVICE)
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.setresuid(SERVICE, SERVICE, SERVICE)
                spool = folders.spool()
                job = spool.claim(PurePosixPath("poems/boat.txt"), (), beside=pair)
                assert job is not None
                spool.take_pictures(job)
                picture = Picture("image", "boat.png", Path(), "")
                prompt = Prompt(1, "a boat", "m", (), 1, 8.0, ("mp4",), pictures=(picture,))
                [found] = resolved(job, [prompt])
                os.write(writing, str(problem_of(found)).encode())
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writing)
        with open(reading, "rb") as told:
            assert told.read().startswith(b"the picture boat.png was there when the prompt file")
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_picture_that_another_job_has_not_taken_yet_is_copied(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk let the first one wait: it finds its picture when there is room."""
    with monkeypatch.context() as broken:
        broken.setattr(pictures, "take", lambda *_: None)
        first = folders.claimed("a.yaml", PictureFiles(("x.png",), ("x.png",)), x_png="1")
    second = folders.claimed("b.yaml", PictureFiles(("x.png",)))
    folders.spool().take_pictures(first)
    assert ["1", "1"] == [pictures.place(job, "x.png").read_text() for job in (first, second)]


def test_a_picture_that_can_not_be_taken_stays(folders: Folders) -> None:
    """The job is one all the same, and says why when it is opened."""
    (folders.inbox / "poems").mkdir()
    os.mkfifo(folders.inbox / "poems" / "boat.png")
    (folders.inbox / "poems" / "large.png").touch()
    os.truncate(folders.inbox / "poems" / "large.png", MOST_BYTES + 1)
    job = folders.claimed("boat.txt", PictureFiles(("boat.png", "large.png", "gone.png")))
    assert {} == taken(folders, job)
    assert ["boat.png", "large.png"] == sorted(os.listdir(folders.inbox / "poems"))


DAMAGED = [
    {"names": ["../x.png"]},
    {"names": ["x.png"], "shared": [["x.png"]]},
    {"names": ["job.json"]},
    {"names": [3]},
    {"colour": "red"},
    [],
]


@pytest.mark.parametrize("record", DAMAGED)
def test_a_damaged_record_of_pictures_leads_nowhere(folders: Folders, record: object) -> None:
    """Such a job counts as damaged, and is set aside."""
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    text = (job.folder / "job.json").read_text()
    whole = '{"names": ["boat.png"], "shared": [], "pair": "boat.png"}'
    assert whole in text
    damaged = text.replace(whole, str(record).replace("'", '"'))
    (job.folder / "job.json").write_text(damaged)
    (found,) = folders.spool().unfinished()
    assert found.is_damaged
    folders.spool().fail(found, says("no"))
    assert ["a prompt", "no", "the boat"] == sorted(folders.files().values())


def test_a_picture_that_is_left_in_an_ended_job_is_not_removed(folders: Folders) -> None:
    """Somebody has taken the prompt file out of the spool: the log says what is left."""
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    job.prompt_file.unlink()
    with capture_logs() as logs:
        folders.spool().prepare()
    assert ["spool_untidy"] == [line["event"] for line in logs]
    assert [] == list(folders.spool().unfinished())
    assert "the boat" == pictures.place(job, "boat.png").read_text()


# Into the results


def finish(folders: Folders, job: Job) -> None:
    """File a job away beside its videos."""
    results = Results(folders.results)
    with results.opened(job.source, make=True) as folder:
        folders.spool().finish(job, folder)


def test_pictures_are_filed_away_beside_the_videos(folders: Folders) -> None:
    """Under unique names; the same bytes are not kept twice; `.jpg` are posters alone."""
    for content, name in (("1", "boat.txt"), ("1", "boat-2.txt"), ("2", "boat-3.txt")):
        job = folders.claimed(
            "boat.txt", PictureFiles(("boat.JPG", "x.png")), boat_JPG=content, x_png="x"
        )
        finish(folders, job)
        assert str(folders.results / "poems" / "boat" / name) in folders.files()
    there = folders.results / "poems" / "boat"
    kept = {path.name: path.read_text() for path in there.iterdir() if path.suffix != ".txt"}
    assert {"boat.jpeg": "1", "boat-2.jpeg": "2", "x.png": "x"} == kept
    assert [] == os.listdir(folders.folder / "spool" / "active")


def test_a_sidecar_names_no_picture_that_the_inbox_refuses() -> None:
    """What no file system may have becomes an underscore, and begins no name."""
    names = ("?end.png", '"boat".jpg', "a?b.webp")
    found = [pictures.published_name(PurePosixPath("a.yaml"), name) for name in names]
    assert ["end.png", "boat_.jpeg", "a_b.webp"] == found


def with_pictures(job: Job, *names: str) -> Prompt:
    """Return a prompt of a job that starts from pictures."""
    prompt = Prompt(1, "a boat", "m", (), 7, 8, ("mp4",))
    named = zip(("image", "last_image"), names, strict=False)
    found = (
        Picture(key, name, pictures.place(job, name), f"hash of {name}") for key, name in named
    )
    return replace(prompt, pictures=tuple(found))


def publish(folders: Folders, job: Job, prompt: Prompt) -> dict[str, object]:
    """Publish a video, and return its sidecar."""
    video = Results(folders.results).publish(
        job, prompt, RENDERED, lambda path, _format, _settings: path.write_bytes(b"x") and None
    )
    found: dict[str, object] = strict_yaml.plain(strict_yaml.load_all(video.sidecar.read_text())[0])
    return found


def test_a_sidecar_names_pictures_that_lie_beside_it(folders: Folders) -> None:
    """Before its job has ended, too; with their hashes, and by the names that they have there."""
    there = folders.results / "poems" / "boat"
    there.mkdir(parents=True)
    (there / "boat.jpeg").write_text("a stranger's")
    both = PictureFiles(("boat.jpg", "end.png"))
    job = folders.claimed("boat.txt", both, boat_jpg="the boat", end_png="the end")
    for number in (1, 2):
        prompt = replace(with_pictures(job, *both.names), number=number)
        sidecar = publish(folders, job, prompt)
        assert ("boat-2.jpeg", "end.png") == (sidecar["image"], sidecar["last_image"])
        rendered = sidecar["rendered"]
        assert isinstance(rendered, dict)
        hashes = {"boat-2.jpeg": "hash of boat.jpg", "end.png": "hash of end.png"}
        assert hashes == rendered["pictures"]
        assert "the boat" == (there / "boat-2.jpeg").read_text()
    finish(folders, job)
    kept = sorted(path.name for path in there.iterdir() if "boat" in path.name)
    assert ["a_boat-2.jpg", "a_boat-2.mp4", "a_boat-2.yaml", "a_boat.jpg", "a_boat.mp4"] == kept[:5]
    assert ["a_boat.yaml", "boat-2.jpeg", "boat.jpeg", "boat.txt"] == kept[5:]


def test_a_video_may_have_the_name_of_its_picture(folders: Folders) -> None:
    """The picture of a prompt is often called like it."""
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    publish(folders, job, replace(with_pictures(job, "boat.png"), prompt="boat"))
    names = {path.name for path in (folders.results / "poems" / "boat").iterdir()}
    assert {"boat.png", "boat.mp4", "boat.jpg", "boat.yaml"} == names


def test_pictures_whose_names_differ_in_case_are_apart(folders: Folders) -> None:
    """Windows and macOS would mix them; in `_failed/`, prompt files know them by their names."""
    names = ("boat.png", "Boat.png")
    (folders.inbox / "poems").mkdir()
    job = folders.claimed("boat.txt", PictureFiles(names))
    for name in names:
        pictures.place(job, name).parent.mkdir(exist_ok=True)
        pictures.place(job, name).write_text(name)
    assert "Boat.png" == publish(folders, job, with_pictures(job, "Boat.png"))["image"]
    finish(folders, job)
    there = folders.results / "poems" / "boat"
    assert names == ((there / "boat-2.png").read_text(), (there / "Boat.png").read_text())
    job = folders.claimed("boat.txt", PictureFiles(names))
    for name in names:
        pictures.place(job, name).parent.mkdir(exist_ok=True)
        pictures.place(job, name).write_text(name)
    folders.spool().fail(job, says("no"))
    kept = folders.failed / "poems" / "boat.txt.pictures"
    assert set(names) == set(os.listdir(kept))


# Into `_failed/` and back


def test_pictures_go_into_failed_and_come_back(folders: Folders) -> None:
    """In a folder that belongs to the prompt file alone; a retry puts both back."""
    for number in ("", "-2"):
        job = folders.claimed("boat.txt", PAIR, boat_png=f"boat{number}")
        folders.spool().fail(job, says("no"))
        aside_in = folders.failed / "poems" / f"boat{number}.txt.pictures"
        assert [f"boat{number}.png"] == os.listdir(aside_in)
    for number in ("", "-2"):
        name = PurePosixPath("poems", f"boat{number}.txt")
        at = retried.put_back(Root(folders.failed), Root(folders.inbox), name)
        assert folders.inbox / name == at
        picture = folders.inbox / "poems" / f"boat{number}.png"
        assert f"boat{number}" == picture.read_text()
    assert [] == os.listdir(folders.failed / "poems")


def test_a_retry_overwrites_no_other_picture(folders: Folders) -> None:
    """It says which one is in the way, and has moved nothing; an equal one is no obstacle."""
    both = PictureFiles(("a.png", "b.png"))
    job = folders.claimed("boat.txt", both, a_png="1", b_png="2")
    folders.spool().fail(job, says("no"))
    folders.drop(a_png="1", b_png="3")
    before = folders.files()
    roots = Root(folders.failed), Root(folders.inbox)
    with pytest.raises(FileExistsError, match=r"b\.png"):
        retried.put_back(*roots, PurePosixPath("poems/boat.txt"))
    assert before == folders.files()
    (folders.inbox / "poems" / "b.png").unlink()
    assert retried.put_back(*roots, PurePosixPath("poems/boat.txt"))
    in_inbox = {path.name: path.read_text() for path in (folders.inbox / "poems").iterdir()}
    assert {"a.png": "1", "b.png": "2", "boat.txt": "a prompt"} == in_inbox


def test_what_is_left_of_a_job_gets_copies_of_its_pictures(folders: Folders) -> None:
    """The prompts that failed need theirs; all of them go beside the videos."""
    names = ("a.png", "b.png")
    job = folders.claimed("boat.txt", PictureFiles(names), a_png="1", b_png="2")
    publish(folders, job, with_pictures(job, "a.png"))
    failed = replace(with_pictures(job, "b.png"), number=2)
    results = Results(folders.results)
    filing = Filing(folders.spool(), results)
    filing.file_away(job, 1, [(failed, RenderError("no"))], is_resumed=True)
    left = folders.failed / "poems" / "boat.yaml"
    assert "image: b.png" in left.read_text()
    kept = left.with_name("boat.yaml.pictures")
    assert {"b.png": "2"} == {path.name: path.read_text() for path in kept.iterdir()}
    there = folders.results / "poems" / "boat"
    assert ("1", "2") == tuple((there / name).read_text() for name in names)


def test_what_a_resumed_job_had_set_aside_goes_with_its_pictures(folders: Folders) -> None:
    """A prompt that had failed has a video after all."""
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    failed = with_pictures(job, "boat.png")
    needed = [picture.path for picture in failed.pictures]
    folders.spool().failed.write(job, "boat.yaml", b"prompt: a", says(f"Job {job.id}"), needed)
    assert ["boat.yaml", "boat.yaml.error.txt", "boat.yaml.pictures"] == sorted(
        os.listdir(folders.failed / "poems")
    )
    folders.spool().failed.take_back(job, "boat.yaml")
    assert [] == os.listdir(folders.failed / "poems")
    assert {"boat.png": "the boat"} == taken(folders, job)


def test_a_link_in_the_place_of_the_pictures_is_not_followed(folders: Folders) -> None:
    """Strangers may put one into `_failed/`: the job waits, and nothing is written through it."""
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    (folders.failed / "poems").mkdir(parents=True)
    elsewhere = folders.folder / "elsewhere"
    elsewhere.mkdir()
    (folders.failed / "poems" / "boat.txt.pictures").symlink_to(elsewhere)
    folders.spool().fail(job, says("no"))  # under another name
    assert [] == os.listdir(elsewhere)
    assert ["boat-2.png"] == os.listdir(folders.failed / "poems" / "boat-2.txt.pictures")


def test_setting_aside_can_be_done_again(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails behind any picture loses and doubles none."""
    names = ("a.png", "b.png", "c.png")
    job = folders.claimed("boat.txt", PictureFiles(names), a_png="1", b_png="2", c_png="3")
    left = [1, 0, 1, 9]
    move = pictures._move

    def failing(*arguments: object) -> None:
        if not left[0]:
            raise OSError(errno.EIO, "broken")
        left[0] -= 1
        move(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "_move", failing)
    report = says(f"Job {job.id}")
    while len(left) > 1:
        with pytest.raises(OSError, match="broken"):
            folders.spool().fail(job, report)
        left.pop(0)
        assert [job] == list(folders.spool().unfinished())
    folders.spool().fail(job, report)
    there = folders.failed / "poems"
    assert ["boat.txt", "boat.txt.error.txt", "boat.txt.pictures"] == sorted(os.listdir(there))
    kept = {path.name: path.read_text() for path in (there / "boat.txt.pictures").iterdir()}
    assert dict(zip(names, "123", strict=True)) == kept
    assert not job.folder.exists()


def test_a_job_that_was_half_set_aside_gets_its_pictures_back(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart, what had failed is rendered again."""
    (folders.failed / "poems").mkdir(parents=True)
    (folders.failed / "poems" / "boat.txt").touch()
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    set_aside = pictures.set_aside

    def cut_short(job: Job, folder: Path, prompt_file: str) -> None:
        set_aside(job, folder, prompt_file)
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(pictures, "set_aside", cut_short)
        with pytest.raises(ZeroDivisionError):
            folders.spool().fail(job, says(f"Job {job.id}"))
    assert ["boat-2.png"] == os.listdir(folders.failed / "poems" / "boat-2.txt.pictures")
    folders.spool().take_pictures(job)
    assert {"boat.png": "the boat"} == taken(folders, job)
    assert ["boat-2.txt.error.txt", "boat.txt"] == sorted(os.listdir(folders.failed / "poems"))


def test_pictures_of_a_job_are_its_own_files_only(folders: Folders) -> None:
    """A copy that a kill cut short is none, and goes with the job."""
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    (job.folder / job_files.PICTURES / f"~syncthing~reeldrop-{job.id}-copy.~.tmp").write_text("ha")
    assert {"boat.png": "the boat"} == taken(folders, job)
    finish(folders, job)
    assert not job.folder.exists()


def litter(folder: Path, job: Job) -> set[str]:
    """Put into a folder what a killed copy and others leave there; return the names of these."""
    (folder / f"~syncthing~reeldrop-{job.id}-copy.~.tmp").write_text("ha")
    (folder / ".DS_Store").write_text("a Mac's")
    (folder / "@eaDir").mkdir()
    return {".DS_Store", "@eaDir"}


@pytest.mark.parametrize("is_whole", [False, True])
def test_what_a_person_has_mended_is_cleared_with_its_pictures(
    is_whole: bool, folders: Folders
) -> None:
    """What the job had set aside before a kill: its rest, or the whole file and its pictures."""
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    needed, report = [pictures.place(job, "boat.png")], says(f"Job {job.id}")
    name = "boat.txt" if is_whole else "boat.yaml"
    folders.spool().failed.write(job, name, b"prompt: a", report, needed)
    if is_whole:
        needed[0].unlink()  # on one file system it is moved
    (folders.failed / "poems" / name).write_text("mended")
    if is_whole:
        folders.spool().fail(job, report)
        at = folders.failed / "poems" / "boat.txt.pictures" / "boat.png"
        assert "the boat" == at.read_text()
    else:
        folders.spool().failed.take_back(job, name)
        assert [] == os.listdir(folders.failed / "poems")
        assert {"boat.png": "the boat"} == taken(folders, job)
    cleared = folders.failed / "_cleared" / "poems"
    assert "mended" == (cleared / name).read_text()
    assert "the boat" == (cleared / f"{name}.pictures" / "boat.png").read_text()


def test_what_others_put_beside_pictures_holds_up_no_end(folders: Folders) -> None:
    """A NAS and a Mac do; nor does a copy that a kill cut short."""
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    needed = [pictures.place(job, "boat.png")]
    folders.spool().failed.write(job, "boat.yaml", b"prompt: a", says(f"Job {job.id}"), needed)
    kept = folders.failed / "poems" / "boat.yaml.pictures"
    others = litter(kept, job)
    folders.spool().failed.take_back(job, "boat.yaml")
    assert ["boat.yaml.pictures"] == os.listdir(folders.failed / "poems")
    assert others == set(os.listdir(kept))


def test_a_retry_moves_pictures_alone(folders: Folders) -> None:
    """What others put beside them stays, and is in nobody's way."""
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    folders.spool().fail(job, says("no"))
    kept = folders.failed / "poems" / "boat.txt.pictures"
    others = litter(kept, job)
    (folders.inbox / "poems" / ".DS_Store").write_text("another one")
    roots = Root(folders.failed), Root(folders.inbox)
    assert retried.put_back(*roots, PurePosixPath("poems/boat.txt"))
    assert {".DS_Store", "boat.png", "boat.txt"} == set(os.listdir(folders.inbox / "poems"))
    assert others == set(os.listdir(kept))


def test_copies_of_one_picture_come_back_with_each_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever a daemon takes that of the first one, which is in the inbox already."""
    picture = PictureFiles(("boat.png",))
    for at in itertools.count(1):
        folders = Folders(tmp_path / f"{at}", tmp_path / f"{at}" / "results")
        folders.inbox.mkdir(parents=True)
        folders.spool().prepare()
        for name in ("a.yaml", "b.yaml"):
            folders.spool().fail(folders.claimed(name, picture, boat_png="1"), says("no"))
        roots = Root(folders.failed), Root(folders.inbox)
        retried.put_back(*roots, PurePosixPath("poems/a.yaml"))
        there = folders.inbox / "poems"

        def take_first(folders: Folders = folders, there: Path = there) -> None:
            shared = picture.names if (there / "b.yaml").exists() else ()
            beside = replace(picture, shared=shared)
            folders.spool().claim(PurePosixPath("poems/a.yaml"), (), beside=beside)

        with monkeypatch.context() as patch:
            calls = interposed(at, take_first, patch)
            retried.put_back(*roots, PurePosixPath("poems/b.yaml"))
        take_first()
        assert ["b.yaml", "boat.png"] == sorted(os.listdir(there))
        assert [] == os.listdir(folders.failed / "poems")
        if next(calls) <= at:
            return


def test_a_file_that_was_cancelled_comes_back_to_the_picture_of_its_name(folders: Folders) -> None:
    """The picture has stayed in the inbox, and the file got another name in `_failed/`."""
    roots = Root(folders.inbox), Root(folders.failed)
    source = PurePosixPath("poems/boat.txt")
    for picture in ("", "a picture"):
        folders.drop(boat_txt="a boat")
        if picture:
            folders.drop(boat_png=picture)
        report = f"reeldrop has not rendered {source}\n"
        at = withdrawn.withdraw(*roots, source, lambda _at, report=report: report, across=True)
    assert at == folders.failed / "poems/boat-2.txt"
    assert retried.put_back(*reversed(roots), PurePosixPath("poems/boat-2.txt"))
    assert ["boat.png", "boat.txt"] == sorted(os.listdir(folders.inbox / "poems"))
    assert retried.put_back(*reversed(roots), source) == folders.inbox / "poems/boat-2.txt"


def test_a_job_that_was_rendered_takes_no_picture_that_came_later(folders: Folders) -> None:
    """A kill came when its own were filed away: the one in the inbox is that of another file."""
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    folders.spool().attempts.begin(job, [1])
    pictures.file_away(job, folders.results / "poems" / "boat")
    folders.drop(boat_png="another boat")
    folders.spool().take_pictures(job)
    assert {} == taken(folders, job)
    assert ["boat.png"] == os.listdir(folders.inbox / "poems")


def test_a_job_that_was_half_set_aside_takes_no_picture_that_came_later(folders: Folders) -> None:
    """Its own is in `_failed/`."""
    job = folders.claimed("boat.txt", PAIR, boat_png="the boat")
    prompt_file = job.prompt_file.read_bytes()
    folders.spool().fail(job, says(f"Job {job.id}"))
    (folders.failed / "poems" / "boat.txt").unlink()  # as if it had not been moved yet
    job.folder.mkdir()
    job_files.write_record(job, is_cancelled=False)
    job.prompt_file.write_bytes(prompt_file)
    folders.drop(boat_png="another boat")
    folders.spool().take_pictures(job)
    assert {"boat.png": "the boat"} == taken(folders, job)
    assert ["boat.png"] == os.listdir(folders.inbox / "poems")


def test_what_is_put_in_the_place_of_a_picture_that_is_moved_goes_back(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link could not be filed away on another file system: its job would never end."""

    def exchanged(picture: Path) -> None:
        picture.unlink()
        picture.symlink_to("/etc/hostname")

    folders.drop(boat_png="the boat")
    job = folders.claimed("boat.txt", PictureFiles())
    job = replace(job, pictures=PAIR)
    monkeypatch.setattr(durable, "fsync_untrusted", exchanged)
    folders.spool().take_pictures(job)
    assert [] == pictures.of(job)
    assert (folders.inbox / "poems" / "boat.png").is_symlink()
