"""STATUS.txt in the results: kept true by a thread, whole or not there, and nobody waits for it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from harness.jobs import RENDERED
from harness.processes import await_that
from harness.site import Daemon, Site
from reeldrop.base.job import Job, Prompt
from reeldrop.base.roots import Root
from reeldrop.page import failures, gallery
from reeldrop.page import page as pages
from reeldrop.page.failures import Failures
from reeldrop.page.gallery import Gallery
from reeldrop.page.page import Page
from reeldrop.page.scripts import Record
from reeldrop.store import history
from reeldrop.store.history import Failure
from reeldrop.store.results import Results
from reeldrop.store.status import State, Status, Waiting

IDLE = Status(1, State.IDLE, "m", "2026-03-01T13:00:00+00:00")
STOPPED = dataclasses.replace(IDLE, state=State.STOPPED)
LATER = dataclasses.replace(IDLE, updated="2026-03-01T13:00:01+00:00")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An empty folder of results."""
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


@pytest.fixture
def page(results: Path) -> Iterator[Page]:
    """A page that looks at its status all the time."""
    failed, inbox = Root(results / "_failed"), Root(results.with_name("inbox"))
    page = Page(Root(results), failed, inbox, lambda _name: True, look_seconds=0.01)
    yield page
    page.close()


def told(results: Path) -> str:
    """Return what STATUS.txt says; empty if it is not there."""
    path = results / "STATUS.txt"
    return path.read_text() if path.exists() else ""


def test_it_says_what_was_told_last(page: Page, results: Path) -> None:
    """News follows by itself; the end is written, too, whatever was written when."""
    page.tell(IDLE)
    await_that(lambda: told(results).startswith("reeldrop: idle\n"), "the first status")
    page.tell(dataclasses.replace(IDLE, waiting=(Waiting("a.txt", "rests"),), waiting_count=1))
    await_that(lambda: "a.txt\n      rests" in told(results), "the news")
    (results / "_failed").mkdir()
    (results / "_failed/b.txt").write_text("a horse\n")
    page.tell(LATER)
    await_that(
        lambda: "FAILED OR CANCELLED, the last first; each is in _failed/" in told(results),
        "a failure",
    )
    page.tell(STOPPED)
    page.close()
    assert told(results).startswith("reeldrop: stopped\n")
    assert ["STATUS.txt", "_failed", "_page", "index.html"] == sorted(os.listdir(results))


def test_a_video_is_shown_when_it_is_published(page: Page, results: Path) -> None:
    """And all of them again, if somebody has deleted the page."""
    chunk = results / "_page/data/0001.js"
    page.tell(IDLE)
    await_that((results / "index.html").exists, "the page")
    page.show(publish(results, "a.txt"))
    await_that(chunk.exists, "the video")
    page.show(publish(results, "b.txt"))
    await_that(lambda: b'"b/p"' in chunk.read_bytes(), "the next video")
    before = chunk.read_bytes()
    (results / "_page").rename(results.parent / "away")
    await_that(lambda: chunk.exists() and before == chunk.read_bytes(), "the page again")
    await_that((results / "_page/main.js").exists, "the rest of it")


def publish(results: Path, source: str) -> Path:
    """Publish a video of a prompt file, and return its sidecar."""
    job = Job("j", PurePosixPath(source), Path("/nowhere"), ())
    prompt = Prompt(1, "p", "tiny", (), 7, 8.0, ("mp4",))
    published = Results(results).publish(job, prompt, RENDERED, lambda path, *_: path.touch())
    return published.sidecar


def test_nothing_is_written_if_nothing_has_happened(
    page: Page, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync tool is left alone, until it is time for a sign of life."""
    page.tell(IDLE)
    await_that(lambda: bool(told(results)), "the first status")
    written = (results / "STATUS.txt").stat().st_mtime_ns
    looks = count_looks(monkeypatch)
    page.tell(LATER)
    await_that(lambda: looks() >= 3, "some looks")
    assert written == (results / "STATUS.txt").stat().st_mtime_ns


def test_a_sign_of_life_is_written_now_and_then(
    page: Page, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or nobody could tell an idle service from one that does not run."""
    monkeypatch.setattr("reeldrop.page.status_text.HEARTBEAT_SECONDS", 0.0)
    page.tell(IDLE)
    await_that(lambda: "13:00:00" in told(results), "the first status")
    page.tell(LATER)
    await_that(lambda: "13:00:01" in told(results), "the sign of life")


def count_looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return a function that counts the looks from now on."""
    looks, real = [0], history.failures

    def counted(*args: Any) -> list[Failure]:
        looks[0] += 1
        return real(*args)

    monkeypatch.setattr(history, "failures", counted)
    return lambda: looks[0]


def test_nothing_is_written_while_another_folder_is_in_the_place(
    page: Page, results: Path, tmp_path: Path
) -> None:
    """An empty mount point stays empty; the status is there again when the share is."""
    page.tell(IDLE)
    await_that(lambda: bool(told(results)), "the first status")
    results.rename(tmp_path / "away")
    results.mkdir()
    page.tell(dataclasses.replace(IDLE, state=State.PAUSED))
    await_that(lambda: bool(page._problem), "a look")
    assert [] == os.listdir(results)
    results.rmdir()
    (tmp_path / "away").rename(results)
    await_that(lambda: told(results).startswith("reeldrop: paused"), "the status")


def test_a_file_of_somebody_else_is_not_replaced(page: Page, results: Path) -> None:
    """Whoever keeps notes under that name keeps them; the gallery is written all the same."""
    (results / "STATUS.txt").write_text("my own notes\n")
    sidecar = publish(results, "a.txt")
    with structlog.testing.capture_logs() as logged:
        page.tell(IDLE)
        await_that(lambda: "is not reeldrop's: move it away" in page._problem, "a look")
        assert '"a/p"' in (results / "_page/data/0001.js").read_text()
        refreshed = page._refreshed
        sidecar.with_suffix(".mp4").rename(sidecar.with_name("q.mp4"))
        page.show(publish(results, "b.txt"))
        await_that(lambda: '"b/p"' in (results / "_page/data/0001.js").read_text(), "the next")
    assert (1, refreshed) == (len(logged), page._refreshed)
    page.close()
    assert "my own notes\n" == told(results)
    assert '"state":"idle"' in (results / "_page/data/status.js").read_text()


def test_the_status_is_written_while_a_large_gallery_is_made(
    page: Page, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes minutes, and a status that is not renewed looks like a dead service."""

    def waiting_for(name: str) -> Status:
        return dataclasses.replace(IDLE, waiting=(Waiting(name, ""),))

    monkeypatch.setattr(gallery, "CHUNK_BYTES", 1)
    real = gallery._record
    seen: list[object] = []

    def slow(*args: Any) -> Record | None:
        assert f"{'abc'[len(seen)]}.txt" in told(results)
        seen.append(args)
        page.tell(waiting_for(f"{'abcd'[len(seen)]}.txt"))
        return real(*args)

    monkeypatch.setattr(gallery, "_record", slow)
    page._look_seconds = 0.0
    for number in range(3):
        publish(results, f"{number}.txt")
    page.tell(waiting_for("a.txt"))
    await_that((results / "_page/data/0003.js").exists, "the gallery")


def test_what_failed_is_read_again_only_if_a_folder_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever changes it: reports that come and go, in new folders, too, but not what was cleared.
    A folder that has just changed is not trusted.
    """
    failed, reads = tmp_path / "_failed", []
    real = history.failures

    def counted(*args: Any) -> list[Failure]:
        reads.append(args)
        return real(*args)

    monkeypatch.setattr(history, "failures", counted)
    known = Failures(lambda name: name.endswith(".txt"), 30)
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(failures, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def listed() -> list[str]:
        return sorted(failure.name for failure in known.of(failed))

    def set_times() -> None:
        for folder, _, _ in os.walk(failed):
            os.utime(folder, (5, 5))

    def age() -> None:
        clock.now += failures.UNSURE_SECONDS

    assert [] == listed()
    (failed / "a/b").mkdir(parents=True)
    (failed / "a/b/c.txt").touch()
    assert ["a/b/c.txt"] == listed() == listed()
    assert 3 == len(reads)
    age()
    assert ["a/b/c.txt"] == listed() == listed() == listed()
    assert 4 == len(reads)
    set_times()
    assert ["a/b/c.txt"] == listed()
    (failed / "a/b/d.txt").touch()
    set_times()  # as on a share that counts whole seconds, and whose clock is behind
    assert ["a/b/c.txt", "a/b/d.txt"] == listed()
    age()
    listed()
    known.use(lambda name: name == "d.txt")
    assert ["a/b/d.txt"] == listed()
    known.use(lambda name: name.endswith(".txt"))
    (failed / "_cleared/a").mkdir(parents=True)
    (failed / "a/b/d.txt").rename(failed / "_cleared/a/d.txt")
    assert ["a/b/c.txt"] == listed()
    shutil.rmtree(failed)
    assert [] == listed()


def test_what_was_turned_off_stays_deleted(page: Page, results: Path) -> None:
    """Nor does it come back at the end. Turned on again, it has all videos."""
    page.tell(IDLE)
    await_that(lambda: page._refreshed > -math.inf, "the page")
    page.turn_off()
    await_that(lambda: page._refreshed == -math.inf, "a look")
    page.show(publish(results, "a.txt"))
    shutil.rmtree(results / "_page")
    (results / "index.html").unlink()
    (results / "STATUS.txt").unlink()
    page.tell(IDLE)
    await_that(lambda: page._refreshed > -math.inf, "the page again")
    assert (results / "_page/data/0001.js").exists()
    page.turn_off()
    await_that(lambda: page._refreshed == -math.inf, "a look")
    shutil.rmtree(results / "_page")
    page.close()
    assert not (results / "_page").exists()


def test_no_link_in_the_place_of_a_folder_is_followed(
    page: Page, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is the page written elsewhere, nor does it show what is set aside elsewhere."""
    (results / "_failed").mkdir()
    page.tell(IDLE)
    await_that((results / "index.html").exists, "the page")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.txt").write_text("a secret\n")
    (results / "_failed").rmdir()
    (results / "_failed").symlink_to(elsewhere)
    page.tell(LATER)
    await_that(lambda: "another folder is in its place" in page._problem, "a look")
    (results / "_failed").unlink()
    real = Gallery.refresh

    def swapped(*args: Any) -> None:
        real(*args)
        (results / "_page").rename(tmp_path / "away")
        (results / "_page").symlink_to(elsewhere)

    monkeypatch.setattr(Gallery, "refresh", swapped)
    (results / "index.html").unlink()
    page.tell(dataclasses.replace(LATER, waiting_count=1))
    await_that((results / "index.html").exists, "the page again")
    page.close()
    assert ["secret.txt"] == os.listdir(elsewhere)


def test_no_error_ends_the_thread_in_silence(
    page: Page, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says it, and the next look is as any other."""
    errors = [RecursionError("too deep")]
    real = history.failures

    def failing(*args: Any) -> list[Failure]:
        if errors:
            raise errors.pop()
        return real(*args)

    monkeypatch.setattr(history, "failures", failing)
    with structlog.testing.capture_logs() as logged:
        page.tell(IDLE)
        await_that(lambda: bool(told(results)), "the status")
    assert ["RecursionError('too deep')"] == [event["reason"] for event in logged]


def test_the_main_thread_does_not_wait_for_a_disk(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while it tells, and at the end no longer than is worth a status."""
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(*_args: object) -> None:
        hangs.set()
        goes_on.wait()

    monkeypatch.setattr("reeldrop.base.durable.write", hang)
    monkeypatch.setattr(pages, "END_SECONDS", 0.01)
    page.tell(IDLE)
    assert hangs.wait(30)
    page.tell(LATER)
    page.close()
    assert page._thread.is_alive()
    goes_on.set()


def test_a_service_says_what_it_does_and_that_it_has_stopped(
    site: Site, daemon: Callable[..., Daemon]
) -> None:
    """From its start on; a prompt file cannot take the place of the status. The gallery has its
    videos. What failed is listed until it is corrected.
    """
    site.configure("page: true")
    site.results.mkdir()
    site.drop("STATUS.txt.yaml", "prompt: a horse\n")
    site.drop("a.json", "{}")
    for name in ("b.yaml", "d.yaml"):
        site.drop(name, "promt: x\n")
    started = daemon()
    started.wait_for("job_failed", 2)
    started.wait_for("job_ended")
    await_that(lambda: told(site.results).startswith("reeldrop: "), "the status")
    site.drop("d.yaml", "prompt: a cow\n")
    assert "_cleared/d.yaml" == started.wait_for("failure_cleared")["moved_to"]
    for option, name in (("--failed", "b.yaml"), ("--cleared", "d.yaml")):
        listed = json.loads(site.command("history", option, "--json").stdout)
        assert [(name, "unknown key 'promt'")] == [(one["name"], one["reason"]) for one in listed]
    site.drop("c.yaml", "prompt: a house\nnum_inference_steps: 900\n")
    started.wait_for("job_started", 3)
    assert 0 == started.stop(signal.SIGTERM)
    said = told(site.results)
    assert said.startswith("reeldrop: stopped\n")
    assert "WAITING: 1, the next first\n  c.yaml\n      begun; goes on at the next start\n" in said
    assert "\n  a.json\n      not a prompt file: ends in .json; rename it to .yaml" in said
    assert "\n  b.yaml\n      unknown key 'promt'" in said
    assert "d.yaml" not in said
    assert (site.results / "STATUS_txt/a_horse.mp4").exists()
    assert "STATUS_txt/a_horse" in (site.results / "_page/data/0001.js").read_text()
    assert "unknown key 'promt'" in (site.results / "_page/data/failed.js").read_text()
    assert (site.results / "index.html").exists()
