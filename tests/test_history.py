"""history: videos and failures are read back from the files alone, newest first."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from reeldrop import history
from reeldrop.errors import Mistake, PromptError
from reeldrop.history import Failure, PastVideo
from reeldrop.job import Job, Prompt, Rendered, Video
from reeldrop.results import Results
from reeldrop.spool import error_text

RENDERED = Rendered("repo", None, "P", "S", "cpu", "float32", (), 1.5, 100)


def publish(
    results: Path,
    source: str,
    text: str,
    at: int,
    job_id: str = "j1",
    formats: tuple[str, ...] = ("mp4",),
) -> Video:
    """Publish a video as a job does, finished at a moment."""
    job = Job(job_id, PurePosixPath(source), Path("/nowhere"), (), 1)
    prompt = Prompt(1, text, "tiny", (), 7, 8.0, formats)
    video = Results(results).publish(job, prompt, RENDERED, lambda path, *_: path.touch())
    os.utime(video.sidecar, (at, at))
    return video


def prompts(results: Path, failed: Path | None = None, limit: int = 100) -> list[str]:
    """Return the prompts of the videos in the results."""
    return [video.prompt for video in history.videos(results, failed or results / "_failed", limit)]


def test_a_video_is_read_from_its_sidecar(tmp_path: Path) -> None:
    """All that is shown of it stands in the sidecar; it has a file in each of its formats."""
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
        )
        == video
    )
    assert video.finished.endswith("+00:00")


def test_newest_first_and_no_more_than_asked_for(tmp_path: Path) -> None:
    """The order is that of publishing, across all folders."""
    for text, at in (("b", 20), ("c", 30), ("a", 10)):
        publish(tmp_path, f"{text}/{text}.txt", text, at)
    assert ["c", "b", "a"] == prompts(tmp_path)
    assert ["c", "b"] == prompts(tmp_path, limit=2)
    assert [] == prompts(tmp_path, limit=0)


def test_videos_are_counted(tmp_path: Path) -> None:
    """As many as there are, whatever other YAML files stand beside them or in `_failed/`."""
    for text in ("a", "b", "c"):
        video = publish(tmp_path, f"{text}/{text}.yaml", text, 1)
        (video.sidecar.parent / "prompts.yaml").write_text("prompt: a\n")
    (tmp_path / "a").rename(tmp_path / "_failed")
    assert 2 == history.count(tmp_path, tmp_path / "_failed")
    assert 0 == history.count(tmp_path / "missing", tmp_path / "_failed")


def test_what_has_lost_its_video_is_no_video(tmp_path: Path) -> None:
    """Somebody deleted it: the history is what is there, in the formats that are there."""
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
    """Prompt files stand beside the videos, and people put there what they like."""
    publish(tmp_path, "a.txt", "a", 1)
    (tmp_path / "a" / "other.yaml").write_text(text)
    (tmp_path / "a" / "other.mp4").touch()
    (tmp_path / "a" / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert ["a"] == prompts(tmp_path)


def test_neither_failures_nor_links_are_videos(tmp_path: Path) -> None:
    """`_failed` is left out, links are not followed, and a missing folder is empty."""
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
    """Leave a report, made at a moment."""
    path = failed / f"{name}.error.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, (at, at))


def is_text(name: str) -> bool:
    """Return whether a file may be a prompt file here."""
    return name.endswith(".txt")


def test_failures_say_their_first_mistake(tmp_path: Path) -> None:
    """The name is what `reeldrop retry` takes; the reason is one line, newest first."""
    error = PromptError(Mistake("大: unknown key 'sed'", "use seed"), Mistake("more"))
    text = error_text(PurePosixPath("x/a.yaml"), "j", error, "next")
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
    """Whatever stands in a report, the failure is listed."""
    fail(tmp_path, "a.txt", text, 5)
    assert [("a.txt", reason)] == [(f.name, f.reason) for f in history.failures(tmp_path, is_text)]


def test_no_failures(tmp_path: Path) -> None:
    """Files that can't be prompt files are none, and a missing folder has none."""
    (tmp_path / "a.jpg").touch()
    assert [] == history.failures(tmp_path, is_text)
    assert [] == history.failures(tmp_path / "missing", is_text)


def test_a_prompt_file_without_a_report_is_listed(tmp_path: Path) -> None:
    """A command that was killed has left it so; what was no file stays closed, reported or not."""
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
