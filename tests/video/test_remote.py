"""Videos that are encoded where they are rendered."""

from __future__ import annotations

import dataclasses
import errno
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from harness.jobs import RENDERED
from harness.videos import decoded
from reeldrop.base import scratch
from reeldrop.base.errors import RenderCancelled, RenderError
from reeldrop.base.events import BatchFailed, BatchRendered
from reeldrop.base.job import Batch, Member, Prompt
from reeldrop.base.sound import Sound
from reeldrop.video import encoder, mp4_index, remote, synthetic

if TYPE_CHECKING:
    from reeldrop.base.job import Frames

FRAMES = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
SOUND = Sound(np.zeros((2, 8000), np.float32), 16000)


def rendered(formats: tuple[str, ...], frames: np.ndarray = FRAMES) -> BatchRendered:
    """Return what a renderer answers with one video in these formats."""
    prompt = Prompt(1, "a horse", "m", (), 1, 8.0, formats)
    batch = Batch((Member("j", prompt),))
    return BatchRendered(batch, (frames,), (dataclasses.replace(RENDERED, sound=SOUND),), 1)


def test_a_video_is_the_same_as_bytes_and_as_files(tmp_path: Path) -> None:
    """Each format and the poster are there, with sound; frames and samples are not."""
    event = rendered(("mp4", "gif"))
    by_network = remote.encoded(event, "libx264")
    by_folder = remote.encoded(event, "libx264", tmp_path)
    (content,), (files,) = by_network.frames, by_folder.frames
    assert {"mp4", "gif", "jpg"} == content.files.keys() == files.files.keys()
    assert {kind: path.read_bytes() for kind, path in files.files.items()} == content.files
    assert set(tmp_path.iterdir()) == set(files.files.values())
    assert 4 == len(decoded(files.files["mp4"]))
    with av.open(str(files.files["mp4"])) as video:
        assert 2 == video.streams.audio[0].channels
    assert (2, 0) == by_network.rendered[0].sound.samples.shape
    assert 16000 == by_network.rendered[0].sound.sampling_rate
    assert event.batch is by_network.batch
    assert content.nbytes == files.nbytes
    assert content.nbytes < len(pickle.dumps(by_network)) < content.nbytes + 2000


def test_a_kill_leaves_nothing_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is encoded without a folder is in one that the next process removes."""
    places, encode = list[Path](), encoder.encode

    def noting(frames: Frames, path: Path, *others: Any) -> None:
        places.append(path)
        encode(frames, path, *others)

    monkeypatch.setattr(encoder, "encode", noting)
    remote.encoded(rendered(("gif",)), "libx264")
    for place in places:
        with pytest.raises(BlockingIOError):
            scratch._lock(place.parents[1])
        assert not place.parent.exists()
    assert 2 == len(places)


def test_what_was_rendered_before_a_failure_is_encoded(tmp_path: Path) -> None:
    """The error of a batch stays with its first videos."""
    event = rendered(("mp4",))
    error = RenderCancelled()
    failed = BatchFailed(event.batch, error, event.frames, event.rendered)
    encoded = remote.encoded(failed, "libx264", tmp_path)
    assert error is encoded.error
    assert 2 == len(os.listdir(tmp_path))


def test_it_says_what_can_not_be_written(tmp_path: Path) -> None:
    """A bad video is no trouble of the folder, nor the other way round."""
    with pytest.raises(RenderError, match="can't be encoded as mp4"):
        remote.encoded(rendered(("mp4",), FRAMES[:, :31, :31]), "libx264", tmp_path)
    with pytest.raises(OSError, match="No such file"):
        remote.encoded(rendered(("mp4",)), "libx264", tmp_path / "away")
    with pytest.raises(ValueError, match="unknown format avi"):
        remote.encoded(rendered(("mp4", "avi")), "libx264", tmp_path)
    assert not any(tmp_path.iterdir())  # else a full disk would stay full


@pytest.mark.parametrize("folder", [None, "rendered"])
def test_what_is_completed_equals_what_is_encoded_at_once(
    tmp_path: Path, folder: str | None
) -> None:
    """To the byte; a webm by its packets, times and all that it says."""
    mark, told = synthetic.packet_of(["m"]), "prompt: a horse\n"
    if folder is not None:
        (tmp_path / folder).mkdir()
    into = tmp_path / folder if folder is not None else None
    [encoded] = remote.encoded(rendered(("mp4", "webm", "gif")), "libx264", into).frames
    for kind, content in encoded.files.items():
        at_once, completed = tmp_path / f"at_once.{kind}", tmp_path / f"completed.{kind}"
        encoder.encode(FRAMES, at_once, kind, 8.0, told, sound=SOUND, mark=mark)
        encoder.complete(content, completed, kind, told, mark)
        if kind == "webm":
            assert _said(at_once) == _said(completed)
        else:
            assert at_once.read_bytes() == completed.read_bytes()
    assert told.encode() == mp4_index.embedded_settings(tmp_path / "completed.mp4")
    assert synthetic.claim(tmp_path / "completed.mp4").is_synthetic


def test_what_has_lost_its_end_is_not_completed(tmp_path: Path) -> None:
    """A file on a share may be shorter than its renderer has written it."""
    [found] = remote.encoded(rendered(("mp4", "webm", "gif")), "libx264", tmp_path).frames
    for kind, path in found.files.items():
        assert path == found.file(kind)
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(OSError, match="its end is missing") as caught:
            found.file(kind)
        assert errno.EIO == caught.value.errno


def test_no_mp4_without_its_end_is_completed(tmp_path: Path) -> None:
    """Wherever it is cut off."""
    [found] = remote.encoded(rendered(("mp4",)), "libx264").frames
    whole = found.files["mp4"]
    encoder.complete(whole, tmp_path / "a.mp4", "mp4", "a horse", "")
    begin = whole.index(b"mdat") - 4
    for size in (*range(begin + 9), *range(begin, len(whole), 97), len(whole) - 1):
        with pytest.raises((OSError, ValueError)):
            encoder.complete(whole[:size], tmp_path / "a.mp4", "mp4", "a horse", "")


def _said(path: Path) -> tuple[object, ...]:
    """Return all that a film says, and its packets with their times."""
    with av.open(str(path)) as film:
        colours = film.streams.video[0].codec_context
        about = (colours.color_range, colours.colorspace, film.streams.video[0].average_rate)
        packets = [(p.stream.index, p.pts, bytes(p)) for p in film.demux() if p.size]
        return dict(film.metadata), about, packets
