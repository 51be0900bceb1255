"""Videos of several renderers are published at once: each as if it were alone."""

from __future__ import annotations

import errno
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from harness.jobs import RENDERED
from reeldrop.base.events import BatchRendered, Event, VideoFailed, VideoPublished
from reeldrop.base.fleet import Encoded
from reeldrop.base.job import Batch, Job, Member, Prompt, Video
from reeldrop.store.results import Results, is_published
from reeldrop.video import remote
from reeldrop.video.publishing import LANES, Publisher
from reeldrop.video.signing import Signer, SigningError
from structlog.testing import capture_logs

JOB = Job("20261128-1", PurePosixPath("poems/a.txt"), Path("/nowhere"), ())
COUNT = 4


def a_prompt(number: int) -> Prompt:
    """Return a prompt with the same text as all others, but for the case of a letter."""
    return Prompt(number, "aA"[number % 2] + " bird", "m", (), number, 8.0, ("mp4",))


@pytest.fixture(scope="module")
def encoded() -> Encoded:
    """What a renderer has encoded."""
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    batch = Batch((Member(JOB.id, a_prompt(1)),))
    (video,) = remote.encoded(BatchRendered(batch, (frames,), (RENDERED,), 1), "libx264").frames
    assert isinstance(video, Encoded)
    return video


def renderers(count: int) -> list[str]:
    """Return the ids of renderers."""
    return [f"r{number}" for number in range(count)]


class Place:
    """A publisher on results in which the folder of the job's videos exists."""

    def __init__(self, folder: Path) -> None:
        self.results = Results(folder)
        with self.results.opened(JOB.source, make=True):
            pass
        self.folder = self.results.folder_for(JOB.source)
        self.told: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.publisher = Publisher(self.results, self.told.put)

    def close(self) -> None:
        self.publisher.close()

    def publish(self, number: int, video: Encoded, renderer: str) -> None:
        earlier = self.results.reserved(JOB).get(number)
        self.publisher.publish(JOB, a_prompt(number), video, RENDERED, earlier, renderer)

    def answer(self) -> VideoPublished | VideoFailed:
        answer = self.told.get(timeout=60)
        assert isinstance(answer, VideoPublished | VideoFailed)
        self.publisher.release(answer)
        return answer

    def files(self) -> list[str]:
        return sorted(os.listdir(self.folder))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place that ends all its threads."""
    with closing(Place(tmp_path / "results")) as made:
        yield made


def together(monkeypatch: pytest.MonkeyPatch, count: int, then: Callable[[int], None]) -> None:
    """Let the first fsync of each thread wait for those of all, and call `then` before each."""
    barrier, fsync, seen = threading.Barrier(count, timeout=60), os.fsync, threading.local()

    def waiting(fd: int) -> None:
        if not hasattr(seen, "waited"):
            seen.waited = True
            barrier.wait()
        then(fd)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", waiting)


def test_videos_of_several_renderers_wait_for_the_disk_together_under_names_of_their_own(
    place: Place, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are written before the first is durable, and no two names differ only in case."""
    together(monkeypatch, COUNT, lambda _fd: None)
    for number, renderer in enumerate(renderers(COUNT), 1):
        place.publish(number, encoded, renderer)
    assert (COUNT, COUNT * encoded.nbytes) == (place.publisher.videos, place.publisher.bytes)
    videos = [
        answer.video for _ in range(COUNT) if isinstance(answer := place.answer(), VideoPublished)
    ]
    assert [1, 2, 3, 4] == sorted(video.number for video in videos)
    assert all(map(is_published, videos))
    assert COUNT == len({video.sidecar.name.casefold() for video in videos})
    assert 3 * COUNT == len(place.files())
    assert 0 == place.publisher.videos == place.publisher.bytes


@pytest.mark.parametrize("fails", [False, True])
def test_files_of_a_renderer_are_removed_once_their_video_has_ended(
    fails: bool, place: Place, encoded: Encoded, tmp_path: Path
) -> None:
    """Well or badly: else they would fill the results until the renderer leaves."""
    files = {kind: tmp_path / f"a.{kind}" for kind in encoded.files}
    for kind, path in files.items():
        path.write_bytes(encoded.files[kind])  # type: ignore[arg-type]
    sizes = {kind: path.stat().st_size + fails for kind, path in files.items()}
    place.publish(1, Encoded(files, sizes), "r")
    assert fails == isinstance(place.answer(), VideoFailed)
    assert not any(path.exists() for path in files.values())


def test_who_closes_it_waits_for_the_video_in_hand_and_for_no_other(
    place: Place,
    encoded: Encoded,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stop takes as long as one video, and what is dropped is no error."""
    begun, goes_on, shutdown = threading.Event(), threading.Event(), ThreadPoolExecutor.shutdown

    def hanging(_fd: int) -> None:
        begun.set()
        assert goes_on.wait(60)

    def closing(lane: ThreadPoolExecutor, **how: bool) -> None:
        shutdown(lane, **how)
        goes_on.set()

    together(monkeypatch, 1, hanging)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", closing)
    for number in (1, 2):
        place.publish(number, encoded, "r")
    assert begun.wait(60)
    place.publisher.close()
    answer = place.answer()
    assert isinstance(answer, VideoPublished)
    assert (1, True, []) == (answer.video.number, place.told.empty(), caplog.records)


def test_what_has_to_be_done_before_a_video_is_done_before_any_file_of_it(
    place: Place, encoded: Encoded
) -> None:
    """If that fails, the video does, and leaves nothing."""
    seen: list[list[str]] = []

    def before(_job: object) -> None:
        seen.append(place.files())
        if len(seen) > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    place.publisher.before = before
    for number in (1, 2):
        place.publish(number, encoded, "r")
    assert isinstance(place.answer(), VideoPublished)
    assert isinstance(place.answer(), VideoFailed)
    first = place.files()
    assert (3, [[], first]) == (len(first), seen)


def test_a_disk_that_fails_for_one_of_them_touches_no_other(
    place: Place, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one whose file can't be made durable fails, and leaves nothing; the others are whole."""
    bad = f"{JOB.id}-2.mp4"

    def failing(fd: int) -> None:
        if bad in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    together(monkeypatch, COUNT, failing)
    for number, renderer in enumerate(renderers(COUNT), 1):
        place.publish(number, encoded, renderer)
    answers = [place.answer() for _ in range(COUNT)]
    (failed,) = (answer for answer in answers if isinstance(answer, VideoFailed))
    assert (2, errno.EIO) == (failed.prompt.number, getattr(failed.error, "errno", None))
    assert {1, 3, 4} == place.results.reserved(JOB).keys()
    assert all(map(is_published, place.results.reserved(JOB).values()))
    assert 9 == len(place.files())
    monkeypatch.undo()
    place.publish(2, encoded, "later")
    assert isinstance(place.answer(), VideoPublished)
    assert 12 == len(place.files())


def test_videos_of_one_renderer_are_published_in_order_by_one_thread(
    place: Place, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one renderer makes appears in its order, as if there were no others."""
    threads: set[str] = set()
    together(monkeypatch, 1, lambda _fd: threads.add(threading.current_thread().name))
    for number in (3, 1, 4, 2):
        place.publish(number, encoded, "")
    answers = [place.answer() for _ in range(COUNT)]
    assert [3, 1, 4, 2] == [a.video.number for a in answers if isinstance(a, VideoPublished)]
    assert 1 == len(threads)


def test_renderers_share_no_thread_while_others_have_nothing_to_do(
    place: Place, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many videos as there are threads wait for the disk together; renderers come and go."""
    together(monkeypatch, LANES, lambda _fd: None)
    for number, renderer in enumerate(renderers(LANES), 1):
        place.publish(number, encoded, renderer)
    assert all(isinstance(place.answer(), VideoPublished) for _ in range(LANES))
    goes_on, late = threading.Event(), f"{JOB.id}-{LANES + 1}.jpg"

    def hanging(fd: int) -> None:
        if late in os.readlink(f"/proc/self/fd/{fd}"):
            assert goes_on.wait(60)

    together(monkeypatch, 1, hanging)
    place.publish(LANES + 1, encoded, "r0")
    for number in range(LANES + 2, 2 * LANES + 3):
        place.publish(number, encoded, f"r{number}")
        assert isinstance(place.answer(), VideoPublished), "although r0 hangs"
    goes_on.set()
    assert isinstance(place.answer(), VideoPublished)


def test_what_a_renderer_has_encoded_shows_life_while_it_is_completed(
    place: Place, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file on a slow share does not look as if it hung."""
    completed, goes_on = threading.Event(), threading.Event()

    def hanging(fd: int) -> None:
        if f"{JOB.id}-1.mp4" in os.readlink(f"/proc/self/fd/{fd}"):
            completed.set()
            assert goes_on.wait(60)

    together(monkeypatch, 1, hanging)
    before = hash(((JOB.id, 1), 0))
    place.publish(1, encoded, "")
    assert completed.wait(60)
    assert before != place.publisher.sign_of_life
    goes_on.set()
    assert isinstance(place.answer(), VideoPublished)


def test_one_that_hangs_is_seen_although_others_go_on(
    place: Place, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sign of life is that of the video that has been in hand for the longest."""
    goes_on = threading.Event()

    def hanging(fd: int) -> None:
        if f"{JOB.id}-1.jpg" in os.readlink(f"/proc/self/fd/{fd}"):
            assert goes_on.wait(60)

    together(monkeypatch, 1, hanging)
    first, second = renderers(2)
    place.publish(1, encoded, first)
    sign = place.publisher.sign_of_life
    for number in (2, 3):
        place.publish(number, encoded, second)
        assert isinstance(place.answer(), VideoPublished)
        assert sign == place.publisher.sign_of_life
    goes_on.set()
    place.publish(4, encoded, second)
    assert {1, 4} == {
        a.video.number for _ in range(2) if isinstance(a := place.answer(), VideoPublished)
    }
    assert sign != place.publisher.sign_of_life


def test_folders_that_are_made_at_once_do_not_differ_only_in_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one thread makes the folder of its video, no other makes one of the same name."""
    results, mkdir, first = Results(tmp_path), os.mkdir, threading.Lock()

    def publish(source: str) -> Video:
        job = Job(source[-5:], PurePosixPath(source), Path("/nowhere"), ())
        return results.publish(job, a_prompt(1), RENDERED, lambda path, *_: path.touch())

    other = threading.Thread(target=publish, args=("poems/b.txt",))

    def making(path: str, *rest: int, **more: int) -> None:
        if first.acquire(blocking=False):
            other.start()
            other.join(1)  # it waits
        mkdir(path, *rest, **more)

    monkeypatch.setattr(os, "mkdir", making)
    publish("Poems/a.txt")
    other.join(60)
    made = os.listdir(tmp_path)
    assert 2 == len(made)
    assert 2 == len({name.casefold() for name in made})


def test_a_folder_that_is_there_is_opened_while_another_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that hangs for one thread holds up no other that files something."""
    results, mkdir, opened = Results(tmp_path), os.mkdir, threading.Event()

    def open_poems() -> None:
        with results.opened(JOB.source, make=True):
            opened.set()

    def making(path: str, *rest: int, **more: int) -> None:
        threading.Thread(target=open_poems, daemon=True).start()
        assert opened.wait(20)
        mkdir(path, *rest, **more)

    open_poems()
    opened.clear()
    monkeypatch.setattr(os, "mkdir", making)
    with results.opened(PurePosixPath("other.txt"), make=True):
        assert (tmp_path / "other").is_dir()


def killed_at(place: Place, encoded: Encoded, fsync: int) -> int:
    """Publish videos at once in a process that is killed at an fsync; return the signal."""
    process = os.fork()
    if process:
        return os.WTERMSIG(os.waitpid(process, 0)[1])
    try:  # in the child, which has no threads yet
        synced, left = os.fsync, iter(range(fsync))

        def killing(fd: int) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            synced(fd)

        os.fsync = killing  # type: ignore[assignment]
        for number, renderer in enumerate(renderers(COUNT), 1):
            place.publish(number, encoded, renderer)
        for _ in range(COUNT):
            place.answer()
    finally:
        os._exit(0)


@pytest.mark.parametrize("at", range(0, 5 * COUNT, 3))
def test_a_kill_between_videos_that_are_published_at_once_loses_and_doubles_none(
    at: int, place: Place, encoded: Encoded
) -> None:
    """The next process finds what is whole, and publishes the others under the same names."""
    assert signal.SIGKILL == killed_at(place, encoded, at)
    found = place.results.reserved(JOB)
    whole = {video.sidecar.stem for video in found.values() if is_published(video)}
    for number in range(1, COUNT + 1):
        if number not in found or not is_published(found[number]):
            place.publish(number, encoded, f"r{number}")
            assert isinstance(place.answer(), VideoPublished)
    again = place.results.reserved(JOB)
    assert [1, 2, 3, 4] == place.results.clean(JOB)
    assert whole <= {video.sidecar.stem for video in again.values()}
    names = [
        f"{video.sidecar.stem}{suffix}"
        for video in again.values()
        for suffix in (".jpg", ".mp4", ".yaml")
    ]
    assert sorted(names) == place.files()


def test_what_is_published_unsigned_is_in_the_log_of_its_job(
    place: Place, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each file, with the job's id."""

    def sign(*_: object) -> None:
        raise SigningError("it has expired")

    monkeypatch.setattr(Signer, "sign", sign)
    place.publisher.signer = Signer.__new__(Signer)
    with capture_logs() as logs:
        place.publish(1, encoded, "r")
        assert isinstance(place.answer(), VideoPublished)
    told = [(one["job_id"], one["number"], one["format"]) for one in logs]
    assert [(JOB.id, 1, "jpg"), (JOB.id, 1, "mp4")] == sorted(told)
    assert {("not_signed", "it has expired")} == {(one["event"], one["reason"]) for one in logs}
