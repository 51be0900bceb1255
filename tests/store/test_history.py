"""history: videos and failures are read back from the files alone, newest first."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from reeldrop.base import yaml_text
from reeldrop.base.errors import Mistake, PromptError
from reeldrop.base.job import Job, Prompt, Rendered, Video
from reeldrop.store import history, reports
from reeldrop.store.history import Failure, PastVideo
from reeldrop.store.results import Results

RENDERED = Rendered("repo", None, "P", "S", "cpu", "float32", (), 1.5, 100)


def publish(
    results: Path,
    source: str,
    text: str,
    at: int,
    job_id: str = "j1",
    formats: tuple[str, ...] = ("mp4",),
) -> Video:
    """Publish a video as a job does, with a given time."""
    job = Job(job_id, PurePosixPath(source), Path("/nowhere"), (), 1)
    prompt = Prompt(1, text, "tiny", (), 7, 8.0, formats)
    video = Results(results).publish(job, prompt, RENDERED, lambda path, *_: path.touch())
    os.utime(video.sidecar, (at, at))
    return video


def prompts(results: Path, failed: Path | None = None, limit: int = 100) -> list[str]:
    """Return the prompts of the videos in the results."""
    return [video.prompt for video in history.videos(results, failed or results / "_failed", limit)]


def test_a_video_is_read_from_its_sidecar(tmp_path: Path) -> None:
    """All values are those of the sidecar; `files` has one for each format."""
    published = publish(tmp_path, "poems/大.txt", "大 bird", 5, "20261124-1", ("gif", "mp4"))
    (video,) = history.videos(tmp_path, tmp_path / "_failed", 10)
    assert (
        PastVideo(
            files=published.files,
            prompt="大 bird",
            prompt_file="poems/大.txt",
            job_id="20261124-1",
            model="tiny",
            seed=7,
            seconds=1.5,
            finished=video.finished,
            number=1,
            is_whole=True,
            batch_size=1,
        )
        == video
    )
    assert video.finished.endswith("+00:00")


def test_newest_first_and_no_more_than_asked_for(tmp_path: Path) -> None:
    """Videos are sorted by time across all folders, and limited."""
    for text, at in (("b", 20), ("c", 30), ("a", 10)):
        publish(tmp_path, f"{text}/{text}.txt", text, at)
    assert ["c", "b", "a"] == prompts(tmp_path)
    assert ["c", "b"] == prompts(tmp_path, limit=2)
    assert [] == prompts(tmp_path, limit=0)


def test_videos_are_counted(tmp_path: Path) -> None:
    """`count` counts only videos, not other YAML files, nor those in `_failed/`."""
    for text in ("a", "b", "c"):
        video = publish(tmp_path, f"{text}/{text}.yaml", text, 1)
        (video.sidecar.parent / "prompts.yaml").write_text("prompt: a\n")
    (tmp_path / "a").rename(tmp_path / "_failed")
    assert 2 == history.count(tmp_path, tmp_path / "_failed")
    assert 0 == history.count(tmp_path / "missing", tmp_path / "_failed")


def test_what_has_lost_its_video_is_no_video(tmp_path: Path) -> None:
    """A video that was deleted is not listed; of its formats, the existing ones are."""
    files = publish(tmp_path, "a.txt", "a", 1, formats=("mp4", "gif")).files
    files[0].unlink()
    (left,) = history.videos(tmp_path, tmp_path / "_failed", 10)
    assert files[1:] == left.files
    files[1].unlink()
    assert [] == prompts(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "prompt: a prompt file\n",
        "",
        "- a",
        "a: [",
        "rendered: 5\nformat: mp4",
        "rendered: {}\nformat: mp4",
        "rendered: {}\nformat: []",
        "rendered: {}\nformat: 5",
        "rendered: {}\nformat: a/b",
        "rendered: {}\nformat: ''",
        "prompt: a\nformat: mp4\nrendered: {job: 1}",
    ],
)
def test_other_yaml_files_are_passed_over(tmp_path: Path, text: str) -> None:
    """Prompt files beside videos, and other people's YAML files, are not videos."""
    publish(tmp_path, "a.txt", "a", 1)
    (tmp_path / "a" / "other.yaml").write_text(text)
    (tmp_path / "a" / "other.mp4").touch()
    (tmp_path / "a" / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert ["a"] == prompts(tmp_path)


def test_neither_failures_nor_links_are_videos(tmp_path: Path) -> None:
    """`_failed` is skipped, links are not followed, and a missing folder is empty."""
    published = publish(tmp_path, "a.txt", "a", 1)
    publish(tmp_path, "x/b.txt", "b", 2)
    (tmp_path / "x").rename(tmp_path / "_failed")
    (tmp_path / "linked").symlink_to(published.sidecar.parent)
    (tmp_path / "a" / "link.yaml").symlink_to(published.sidecar)
    (tmp_path / "a" / "link.mp4").touch()
    assert ["a"] == prompts(tmp_path)
    assert ["a", "b"] == sorted(prompts(tmp_path, tmp_path / "elsewhere"))
    assert [] == prompts(tmp_path / "missing")


def fail(failed: Path, name: str, text: str | bytes, at: int) -> None:
    """Write a report with a given time."""
    path = failed / f"{name}.error.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, (at, at))


def is_text(name: str) -> bool:
    """Return whether a name may be a prompt file's in these tests."""
    return name.endswith(".txt")


def test_failures_say_their_first_mistake(tmp_path: Path) -> None:
    """A failure has the name for `reeldrop retry` and one line of reason; newest first."""
    error = PromptError(Mistake("大: unknown key 'sed'", "use seed"), Mistake("more"))
    text = reports.text(PurePosixPath("x/a.yaml"), "j", error, "next")
    fail(tmp_path, "x/a.yaml", text, 10)
    fail(tmp_path, "b.txt", "What is wrong:  it crashed\n", 20)
    assert [
        Failure("b.txt", "it crashed", "1970-01-01T00:00:20+00:00"),
        Failure("x/a.yaml", "大: unknown key 'sed'", "1970-01-01T00:00:10+00:00"),
    ] == history.failures(tmp_path, is_text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", ""), ("\n\nby hand\nmore", "by hand"), (b"\xff\n", "\ufffd")],
)
def test_reports_that_are_not_ours(tmp_path: Path, text: str | bytes, reason: str) -> None:
    """A failure is listed whatever its report contains."""
    fail(tmp_path, "a.txt", text, 5)
    assert [("a.txt", reason)] == [(f.name, f.reason) for f in history.failures(tmp_path, is_text)]


def test_no_failures(tmp_path: Path) -> None:
    """Files that can't be prompt files are not listed; a missing folder is empty."""
    (tmp_path / "a.jpg").touch()
    assert [] == history.failures(tmp_path, is_text)
    assert [] == history.failures(tmp_path / "missing", is_text)


def test_a_prompt_file_without_a_report_is_listed(tmp_path: Path) -> None:
    """It was left by a killed command; files inside a folder that was set aside are not listed."""
    fail(tmp_path, "folder.txt", "What is wrong:  a directory\n", 10)
    (tmp_path / "x").mkdir()
    for name in ("a.txt", "x/b.txt", "folder.txt/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.utime(tmp_path / "a.txt", (30, 30))
    os.utime(tmp_path / "x/b.txt", (20, 20))
    assert [
        ("a.txt", history.NO_REPORT),
        ("x/b.txt", history.NO_REPORT),
        ("folder.txt", "a directory"),
    ] == [(f.name, f.reason) for f in history.failures(tmp_path, is_text)]


# What strangers have written


def forged(**changes: object) -> str:
    """Return a sidecar like the daemon's, with some values replaced."""
    rendered = {"job": "j", "number": 1, "prompt_file": "a.txt", "seconds": 1.5}
    rendered["finished"] = "2026-11-24T12:00:00+00:00"
    settings = {"prompt": "forged", "seed": 1, "format": "mp4", "model": "m"}
    changed_block = {**rendered, **{k: v for k, v in changes.items() if k in rendered}}
    changed = {**settings, **{k: v for k, v in changes.items() if k in settings}}
    return yaml_text.dump({**changed, "rendered": changed_block})


def put(folder: Path, stem: str, text: str, *suffixes: str) -> Path:
    """Write a sidecar into a folder, with other files of its stem."""
    folder.mkdir(exist_ok=True)
    for suffix in suffixes:
        (folder / f"{stem}{suffix}").touch()
    (folder / f"{stem}.yaml").write_text(text)
    return folder / f"{stem}.yaml"


def test_a_prompt_file_beside_a_dropped_video_is_no_video(tmp_path: Path) -> None:
    """A forged sidecar beside a dropped mp4 has no poster, so it is not a video."""
    publish(tmp_path, "a.txt", "a", 1)
    put(tmp_path / "a", "forged", forged(), ".mp4")
    put(tmp_path / "a", "a (conflicted copy)", forged(), ".mp4")
    assert ["a"] == prompts(tmp_path)
    assert 1 == history.count(tmp_path, tmp_path / "_failed")
    put(tmp_path / "a", "forged", forged(), ".mp4", ".jpg")
    assert ["a", "forged"] == sorted(prompts(tmp_path)), "this is what a sidecar is known by"


@pytest.mark.usefixtures("root")
def test_what_belongs_to_others_is_not_ours(tmp_path: Path) -> None:
    """A file counts only if its owner is its folder's; a restore gives both one owner."""
    published = publish(tmp_path, "a.txt", "a", 1)
    put(tmp_path / "a", "forged", forged(), ".mp4", ".jpg")
    fail(tmp_path / "_failed", "ours", "What is wrong:  a", 1)
    fail(tmp_path / "_failed", "theirs", "What is wrong:  b", 1)
    assert ["a", "forged"] == sorted(prompts(tmp_path))
    for path in (tmp_path / "a/forged.yaml", tmp_path / "_failed/theirs.error.txt"):
        os.chown(path, 4321, -1)
    assert ["a"] == prompts(tmp_path)
    assert 1 == history.count(tmp_path, tmp_path / "_failed")
    assert ["ours"] == [failure.name for failure in history.failures(tmp_path / "_failed", is_text)]
    for path in (tmp_path / "a", published.sidecar):
        os.chown(path, 1234, -1)
    assert ["a"] == prompts(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": 7}, {"prompt": None}, {"prompt": ["a"]}, {"seed": "x"}, {"seed": True},
        {"seed": 1.5}, {"model": {}}, {"prompt_file": 1}, {"job": None}, {"seconds": "long"},
        {"seconds": float("inf")}, {"seconds": -1}, {"seconds": 10**290}, {"seconds": None},
        {"finished": 5}, {"format": ["../../mp4"]}, {"format": [[1]]}, {"format": {"gif": 1}},
    ],
)  # fmt: skip
def test_values_that_no_sidecar_has_are_passed_over(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    """A sidecar with values of wrong types is skipped, even if all files are beside it."""
    publish(tmp_path, "a.txt", "a", 1)
    put(tmp_path / "a", "other", forged(**changes), ".mp4", ".jpg")
    assert ["a"] == prompts(tmp_path)


def test_nothing_that_is_read_back_ends_a_command(tmp_path: Path) -> None:
    """Links, pipes, huge, undecodable and deeply nested files raise no error."""
    publish(tmp_path, "a.txt", "a", 1)
    for place, suffix in ((tmp_path / "a", ".yaml"), (tmp_path / "_failed", ".error.txt")):
        place.mkdir(exist_ok=True)
        (place / f"folder{suffix}").mkdir()
        os.mkfifo(place / f"pipe{suffix}")
        (place / f"link{suffix}").symlink_to("/dev/zero")
        (place / f"bytes{suffix}").write_bytes(b"\xff\xfe\0")
        (place / f"huge{suffix}").touch()
        os.truncate(place / f"huge{suffix}", 1 << 33)
        place.joinpath(*["d"] * 100).mkdir(parents=True)
        place.joinpath(*["d"] * 100, f"deep{suffix}").touch()
    for name in ("folder", "pipe", "link", "bytes", "huge"):
        (tmp_path / "a" / f"{name}.mp4").touch()
        (tmp_path / "a" / f"{name}.jpg").touch()
    assert ["a"] == prompts(tmp_path)
    assert ["bytes", "huge"] == sorted(
        f.name for f in history.failures(tmp_path / "_failed", is_text)
    )


@pytest.mark.parametrize("at", [10**14, 10**12, -(10**12)])
def test_times_that_no_clock_has(at: int) -> None:
    """A failure whose time is out of range is listed without a time."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # which keeps any time
        fail(Path(folder), "a.txt", "What is wrong:  a", at)
        assert [Failure("a.txt", "a", "")] == history.failures(Path(folder), is_text)


def test_a_prompt_file_named_like_a_report_is_none(tmp_path: Path) -> None:
    """A failed `a.error.txt` is a prompt file, not a report, whatever it contains."""
    fail(tmp_path, "a", "What is wrong:  forged", 1)
    fail(tmp_path, "a.error.txt", "What is wrong:  it has no prompt", 1)
    names = [(failure.name, failure.reason) for failure in history.failures(tmp_path, is_text)]
    assert [("a.error.txt", "it has no prompt")] == names
