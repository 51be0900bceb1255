"""sound: files are heard as long as they are seen, at the rate that the model made."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from reeldrop.base import strict_yaml
from reeldrop.base.job import Job, Prompt, Rendered
from reeldrop.base.sound import Sound
from reeldrop.store import sidecars
from reeldrop.video import encoder, mp4_index

FPS = 24.0
FRAMES: NDArray[np.uint8] = np.zeros((30, 32, 48, 3), np.uint8)
SECONDS = len(FRAMES) / FPS
TONES = (440.0, 660.0)
"""What is heard on the left and on the right, in hertz."""

PIECE = 1024
"""AAC has whole pieces of so many samples; an mp4 says how many of the last one are played."""


def tone(rate: int, seconds: float = SECONDS, channels: int = 2) -> Sound:
    """Return a sound that lasts for some seconds, with another tone on each channel."""
    times = np.arange(round(seconds * rate)) / rate
    samples = np.stack([0.5 * np.sin(2 * np.pi * tone * times) for tone in TONES[:channels]])
    return Sound(samples.astype(np.float32), rate)


def heard(path: Path) -> tuple[str, int, NDArray[np.float32]]:
    """Return the codec of a file's sound, its sampling rate, and its samples as they are played."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
        return stream.codec_context.name, stream.rate, np.concatenate(frames, axis=-1)


def pitch(samples: NDArray[np.float32], rate: int) -> float:
    """Return the loudest frequency, in hertz."""
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum) * rate / samples.size)


@pytest.mark.parametrize(
    ("made", "in_mp4", "in_webm"),
    [(16000, 16000, 48000), (24000, 24000, 48000), (44100, 44100, 48000), (48000, 48000, 48000)],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_heard_with_the_pictures(
    made: int, in_mp4: int, in_webm: int, channels: int, tmp_path: Path
) -> None:
    """AAC with the model's own sampling rate and Opus, each channel with its tone, as long."""
    sound = tone(made, channels=channels)
    for suffix, codec, rate in (("mp4", "aac", in_mp4), ("webm", "opus", in_webm)):
        path = tmp_path / f"a.{suffix}"
        encoder.encode(FRAMES, path, suffix, FPS, "settings", sound=sound)
        found, played, samples = heard(path)
        assert (codec, rate) == (found.removeprefix("lib"), played)
        assert len(samples) == channels
        assert -1 <= samples.shape[1] - round(SECONDS * played) < PIECE
        for wanted, channel in zip(TONES, samples, strict=False):
            assert abs(wanted - pitch(channel, played)) < 2


@pytest.mark.parametrize("seconds", [0.8 * SECONDS, 1.3 * SECONDS])
@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_sound_is_as_long_as_the_pictures(seconds: float, format: str, tmp_path: Path) -> None:
    """What is missing is silent, and what is too much is cut."""
    path = tmp_path / "a"
    encoder.encode(FRAMES, path, format, FPS, "", sound=tone(24000, seconds))
    _, rate, samples = heard(path)
    assert 0 <= samples.shape[1] - round(SECONDS * rate) < PIECE
    is_loud = np.abs(samples[0, -rate // 4 :]).max() > 0.1
    assert is_loud == (seconds > SECONDS)


@pytest.mark.parametrize("rate", [7000, 22050, 12345, 192_000])
def test_rates_that_no_encoder_has_are_converted(rate: int, tmp_path: Path) -> None:
    """It sounds the same."""
    for suffix in ("mp4", "webm"):
        encoder.encode(FRAMES, tmp_path / "a", suffix, FPS, "", sound=tone(rate))
        _, played, samples = heard(tmp_path / "a")
        assert abs(TONES[0] - pitch(samples[0], played)) < 2
        assert -1 <= samples.shape[1] - round(SECONDS * played) < PIECE


@pytest.mark.parametrize("sound", [None, tone(24000)])
@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_the_same_sound_gives_the_same_file(
    sound: Sound | None, format: str, tmp_path: Path
) -> None:
    """Byte for byte: a video can be made again."""
    for name in ("a", "b"):
        encoder.encode(FRAMES, tmp_path / name, format, FPS, "", sound=sound)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_with_sound_is_like_one_without(tmp_path: Path) -> None:
    """The index first, sound beside its pictures and as long, and the settings."""
    encoder.encode(FRAMES, tmp_path / "a", "mp4", FPS, "prompt: a", sound=tone(24000))
    data = (tmp_path / "a").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert b"prompt: a" == mp4_index.embedded_settings(tmp_path / "a")
    with av.open(str(tmp_path / "a")) as container:
        assert len(FRAMES) == container.streams.video[0].frames
        for stream in (*container.streams.video, *container.streams.audio):
            assert SECONDS == pytest.approx(float(stream.duration * stream.time_base), abs=1e-4)
        at = {"audio": 0.0, "video": 0.0}
        for packet in container.demux():
            if packet.dts is not None:
                at[packet.stream.type] = float(packet.dts * packet.time_base)
                assert abs(at["audio"] - at["video"]) < 0.5, "a player would have to jump"


def test_a_gif_has_no_sound_and_its_sidecar_says_so(tmp_path: Path) -> None:
    """It is rendered all the same, and what is heard elsewhere is said, too."""
    encoder.encode(FRAMES, tmp_path / "a.gif", "gif", FPS, "", sound=tone(24000))
    rendered = Rendered("m", None, "P", "S", "cpu", "float32", (), 1.0, 1, sound=tone(24000))
    job = Job("job", PurePosixPath("a.txt"), tmp_path, ())
    for formats, not_kept in ((("mp4",), None), (("mp4", "gif"), "sound, in gif: ")):
        prompt = Prompt(1, "a", "m", (), 0, FPS, formats)
        found = strict_yaml.plain(strict_yaml.load_all(sidecars.text(job, prompt, rendered))[0])
        block = found["rendered"]
        assert {"channels": 2, "sampling_rate": 24000} == block["sound"]
        assert block.get("not_kept", "").startswith(not_kept or "")
        assert (not_kept is None) == ("not_kept" not in block)
