"""encoder: files that players and browsers accept, close to the frames, with their settings."""

from __future__ import annotations

import contextlib
import itertools
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from reeldrop.base.errors import PromptError, UnfinishedError
from reeldrop.base.job import Prompt
from reeldrop.render import pipeline, rendering
from reeldrop.render.source import ModelSource
from reeldrop.video import encoder, mp4_index

SETTINGS = "prompt: 大 bird\nseed: 7\n" + "rendered: 'x'\n" * 20


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    """Seven frames of smooth and saturated colours that change."""
    y, x = np.mgrid[0:48, 0:64]
    shown = []
    for n in range(7):
        red = 255 * x / 63
        green = 255 * y / 47
        blue = np.full_like(red, 40 * n)
        shown.append(np.stack([red, green, blue], axis=-1))
    return np.array(shown).astype(np.uint8)  # (7, 48, 64, 3)


@pytest.fixture(scope="module")
def mp4(frames: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the frames as an mp4 with settings."""
    path = tmp_path_factory.mktemp("encoder") / "a.mp4"
    encoder.encode(frames, path, "mp4", 12.5, SETTINGS)
    return path


def decoded(path: Path) -> NDArray[np.uint8]:
    """Return the frames as a player shows them that heeds the file's colour tags."""
    with av.open(str(path)) as container:
        pictures = [
            frame.reformat(format="rgb24", src_colorspace="ITU709", src_color_range="MPEG")
            for frame in container.decode(video=0)
        ]
    return np.stack([picture.to_ndarray() for picture in pictures])


def error(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> float:
    """Return the mean absolute difference of two pictures or videos."""
    return float(np.abs(ours.astype(int) - theirs.astype(int)).mean())


def test_mp4_is_what_every_browser_plays(mp4: Path, frames: NDArray[np.uint8]) -> None:
    """H.264, yuv420p, and the number, size and rate of frames that were asked for."""
    with av.open(str(mp4)) as container:
        stream = container.streams.video[0]
        assert ("h264", "yuv420p") == (stream.codec_context.name, stream.pix_fmt)
        assert (64, 48) == (stream.width, stream.height)
        assert 12.5 == float(stream.average_rate or 0)
        assert len(frames) == stream.frames
        assert 7 / 12.5 == pytest.approx(float(stream.duration * stream.time_base))
        assert len(frames) == sum(1 for _ in container.decode(video=0))


def test_the_same_frames_give_the_same_file(least_pipeline: Path, tmp_path: Path) -> None:
    """Byte for byte, whatever the process encodes in between."""
    loaded = pipeline.load(ModelSource("tiny", str(least_pipeline), variant="fp16"))
    arguments = (("num_frames", 5), ("height", 48), ("width", 32), ("num_inference_steps", 1))
    prompts = [Prompt(1, "a", "tiny", arguments, seed, 8, ("mp4",)) for seed in range(20)]
    [frames] = rendering.render(loaded, (prompts[0],), lambda _step: None)
    files = set()
    for prompt in prompts:
        rendering.render(loaded, (prompt,), lambda _step: None)
        encoder.encode(frames, tmp_path / "a.mp4", "mp4", 12, SETTINGS)
        files.add((tmp_path / "a.mp4").read_bytes())
    assert 1 == len(files)


@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_colours_are_the_frames(tmp_path: Path, frames: NDArray[np.uint8], format: str) -> None:
    """Pixels are close, with the BT.709 matrix that the file names."""
    path = tmp_path / "a"
    encoder.encode(frames, path, format, 8, SETTINGS)
    assert error(frames, decoded(path)) < 4
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (1, 1) == (frame.colorspace, frame.color_range)


def boxes(data: bytes) -> list[str]:
    """Return the names of an mp4's outermost boxes, in order."""
    names, at = [], 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode())
        at += size
    return names


def test_mp4_starts_before_it_is_loaded_whole(mp4: Path) -> None:
    """The index is before the pictures (faststart)."""
    names = boxes(mp4.read_bytes())
    assert names.index("moov") < names.index("mdat")


def test_what_the_gpu_does_not_encode_is_encoded(
    tmp_path: Path, mp4: Path, frames: NDArray[np.uint8]
) -> None:
    """Without a GPU, or for frames too small for it, libx264 is used."""
    path = tmp_path / "b.mp4"
    encoder.encode(frames, path, "mp4", 12.5, SETTINGS, h264="h264_nvenc")
    assert mp4.read_bytes() == path.read_bytes()


def test_what_the_gpu_fails_to_encode_is_encoded(
    tmp_path: Path, mp4: Path, frames: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the GPU's encoder fails at a video, libx264 encodes it."""
    monkeypatch.setattr(encoder, "opens", lambda *_: True)
    path = tmp_path / "b.mp4"
    encoder.encode(frames, path, "mp4", 12.5, SETTINGS, h264="h264_nvenc")
    assert mp4.read_bytes() == path.read_bytes()


def test_auto_is_an_encoder_that_works() -> None:
    """And a chosen encoder is not checked."""
    assert encoder.opens(encoder.choose_h264("auto"), 256, 256)
    assert "libx264" == encoder.choose_h264("libx264")


def test_webm(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    """VP9 in WebM, with every frame and the settings."""
    encoder.encode(frames, tmp_path / "a.webm", "webm", 8, SETTINGS)
    with av.open(str(tmp_path / "a.webm")) as container:
        stream = container.streams.video[0]
        assert "webm" in container.format.name
        assert ("vp9", "yuv420p") == (stream.codec_context.name, stream.pix_fmt)
        assert (64, 48, 8.0) == (stream.width, stream.height, float(stream.average_rate or 0))
        metadata = {key.lower(): value for key, value in container.metadata.items()}
        assert SETTINGS == metadata["comment"]
        assert len(frames) == sum(1 for _ in container.decode(video=0))


def test_gif(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    """Every frame, with the right duration; it loops for ever."""
    encoder.encode(frames, tmp_path / "a.gif", "gif", 12.5, SETTINGS)
    with Image.open(tmp_path / "a.gif") as image:
        assert ("GIF", (64, 48), len(frames), 0) == (
            image.format,
            image.size,
            image.n_frames,  # type: ignore[attr-defined]
            image.info["loop"],
        )
        for number, frame in enumerate(frames):
            image.seek(number)
            assert 80 == image.info["duration"]
            assert error(frame, np.asarray(image.convert("RGB"))) < 12


def test_gif_keeps_frames_that_are_equal(tmp_path: Path) -> None:
    """Equal frames keep their duration."""
    still = np.full((5, 16, 16, 3), 90, np.uint8)
    encoder.encode(still, tmp_path / "a.gif", "gif", 10, SETTINGS)
    total = 0
    with Image.open(tmp_path / "a.gif") as image:
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            total += image.info["duration"]
    assert 500 == total


def test_gif_is_as_fast_as_was_asked_for(tmp_path: Path) -> None:
    """Fractions of hundredths are spread over the frames, and no frame is below two."""
    wrong = {}
    for fps in (1, 8, 12, 15, 23.976, 24, 25, 29.97, 30, 40, 48, 50):
        frames = np.arange(25, dtype=np.uint8)[:, None, None, None] * np.full((8, 8, 3), 10, "u1")
        encoder.encode(frames, tmp_path / "a.gif", "gif", fps, SETTINGS)
        with Image.open(tmp_path / "a.gif") as image:
            delays = []
            for number in range(image.n_frames):  # type: ignore[attr-defined]
                image.seek(number)
                delays.append(image.info["duration"])
        shown = list(itertools.accumulate(delays))
        off = max(abs(at - 1000 * number / fps) for number, at in enumerate(shown, start=1))
        if len(delays) != 25 or off > 5 or min(delays) < 20:
            wrong[fps] = delays
    assert {} == wrong


@pytest.mark.parametrize(("count", "middle"), [(1, 0), (2, 1), (7, 3)])
def test_poster_is_the_frame_in_the_middle(
    tmp_path: Path, frames: NDArray[np.uint8], count: int, middle: int
) -> None:
    """Because the first frame often shows nothing yet."""
    encoder.encode(frames[:count], tmp_path / "a", "jpg", 8, SETTINGS)
    with Image.open(tmp_path / "a") as image:
        assert ("JPEG", (64, 48)) == (image.format, image.size)
        poster = np.asarray(image.convert("RGB"))
    errors = [error(frame, poster) for frame in frames[:count]]
    assert middle == int(np.argmin(errors))
    assert errors[middle] < 6


@pytest.mark.parametrize("fps", [1, 8, 23.976, 29.97, 120])
@pytest.mark.parametrize("count", [1, 3])
def test_every_rate_and_count(
    tmp_path: Path, frames: NDArray[np.uint8], fps: float, count: int
) -> None:
    """A single frame is a video, and odd rates are kept to a thousandth."""
    encoder.encode(frames[:count], tmp_path / "a.mp4", "mp4", fps, SETTINGS)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert count == stream.frames
        assert fps == pytest.approx(float(stream.average_rate or 0), abs=1e-3)


def test_frames_that_are_not_contiguous(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    """A view of an array is encoded correctly."""
    view = frames[:, ::-1, :, ::-1]
    encoder.encode(view, tmp_path / "a.mp4", "mp4", 8, SETTINGS)
    assert error(view, decoded(tmp_path / "a.mp4")) < 4


@pytest.mark.parametrize("format", ["mp4", "webm", "gif"])
def test_each_frame_is_a_sign_of_life(
    tmp_path: Path, frames: NDArray[np.uint8], format: str
) -> None:
    """Encoding a long video does not look like a hang."""
    seen: list[None] = []
    encoder.encode(frames, tmp_path / "a", format, 8, SETTINGS, lambda: seen.append(None))
    assert len(frames) == len(seen)


@pytest.mark.parametrize("format", ["mp4", "webm", "gif", "jpg"])
def test_a_file_that_cannot_be_written(
    tmp_path: Path, frames: NDArray[np.uint8], format: str
) -> None:
    """Each format raises OSError."""
    with pytest.raises(OSError, match="No such file"):
        encoder.encode(frames, tmp_path / "missing" / "a", format, 8, SETTINGS)


def test_a_format_that_is_none(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    """Prompt files can't ask for it, so it raises ValueError."""
    with pytest.raises(ValueError, match="unknown format avi"):
        encoder.encode(frames, tmp_path / "a", "avi", 8, SETTINGS)


# Settings that a video carries


@pytest.mark.parametrize(
    "settings", [SETTINGS, "a", "=;#\\\n'\"\n \n", "x" * 100_000, 'a: "\\0"\n', "a\tb\r\nc"]
)
def test_settings_come_back_as_they_were(
    tmp_path: Path, frames: NDArray[np.uint8], settings: str
) -> None:
    """The text in the mp4 is read back equal, with any characters."""
    encoder.encode(frames[:1], tmp_path / "a.mp4", "mp4", 8, settings)
    assert settings.encode() == mp4_index.embedded_settings(tmp_path / "a.mp4")


def refusal(path: Path) -> PromptError:
    """Return why an mp4 is refused."""
    with pytest.raises(PromptError) as caught:
        mp4_index.embedded_settings(path)
    (found,) = caught.value.mistakes
    assert "only an mp4 that reeldrop made" in found.remedy
    return caught.value


def test_a_foreign_mp4(tmp_path: Path) -> None:
    """An mp4 of a camera has no settings, and the message says so."""
    with av.open(str(tmp_path / "a.mp4"), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode())
    assert "carries no settings" in str(refusal(tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    "data", [b"", b"a", b"prompt: a\n", b"\0" * 5000, b"\0\0\0\x08moov", b"\xff" * 64]
)
def test_what_is_no_mp4(tmp_path: Path, data: bytes) -> None:
    """A renamed text and random bytes are refused."""
    (tmp_path / "a.mp4").write_bytes(data)
    refusal(tmp_path / "a.mp4")


@pytest.mark.parametrize("format", ["webm", "gif", "jpg"])
def test_other_formats_renamed(tmp_path: Path, frames: NDArray[np.uint8], format: str) -> None:
    """Only an mp4 has settings that are read again."""
    encoder.encode(frames[:1], tmp_path / "a.mp4", format, 8, SETTINGS)
    refusal(tmp_path / "a.mp4")


def test_truncated_at_many_lengths(mp4: Path, tmp_path: Path) -> None:
    """A truncated file is refused, or still has all its settings."""
    data, path = mp4.read_bytes(), tmp_path / "a.mp4"
    outcomes = set()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        try:
            assert SETTINGS.encode() == mp4_index.embedded_settings(path)
            outcomes.add("settings")
        except PromptError:
            outcomes.add("refused")
    assert {"settings", "refused"} == outcomes


def test_preallocated_at_many_lengths(mp4: Path, tmp_path: Path) -> None:
    """A file whose bytes are not written yet is unfinished, not refused."""
    data, path = mp4.read_bytes(), tmp_path / "a.mp4"
    for length in range(0, data.index(b"mdat") - 16, 7):
        path.write_bytes(data[:length].ljust(len(data), b"\0"))
        with pytest.raises(UnfinishedError, match="NUL bytes"):
            mp4_index.embedded_settings(path)


def test_damaged_in_many_places(mp4: Path, tmp_path: Path) -> None:
    """Changed bytes cause no crash and no endless read."""
    data, path = mp4.read_bytes(), tmp_path / "a.mp4"
    end = data.index(b"mdat")
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for at in random.integers(0, end, 4):
            damaged[at] = random.choice([0, 1, 127, 128, 255])
        path.write_bytes(damaged)
        with contextlib.suppress(PromptError):
            mp4_index.embedded_settings(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    """A file that is too large to be ours is not read."""
    with (tmp_path / "a.mp4").open("wb") as file:
        file.truncate((1 << 30) + 1)
    assert "no readable mp4" in str(refusal(tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    "boxes",
    [
        struct.pack(">I4s", 8, b"free") * 100_000,
        struct.pack(">I4s", (1 << 21) + 9, b"moov") + bytes(1 << 22),
        struct.pack(">I4sQ", 1, b"moov", 1 << 40),
        struct.pack(">I4sQ", 1, b"free", 1 << 63),
        struct.pack(">I4s", 7, b"ftyp"),
    ],
    ids=[
        "many",
        "large",
        "larger than the file",
        "larger than any file",
        "smaller than its header",
    ],
)
def test_boxes_that_are_made_to_be_costly_are_refused_unread(tmp_path: Path, boxes: bytes) -> None:
    """The boxes of a dropped mp4 are counted before they are parsed."""
    (tmp_path / "a.mp4").write_bytes(boxes)
    assert "no readable mp4" in str(refusal(tmp_path / "a.mp4"))


def test_a_link_is_not_followed_to_an_mp4(tmp_path: Path) -> None:
    """Even if it replaces the file after a check."""
    (tmp_path / "a.mp4").symlink_to(tmp_path / "b.mp4")
    (tmp_path / "b.mp4").touch()
    with pytest.raises(OSError, match="not a plain file"):
        mp4_index.embedded_settings(tmp_path / "a.mp4")
