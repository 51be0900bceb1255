"""Encode frames into video files, or complete those that were encoded elsewhere.

Does not know names or folders: it writes to the given path.
"""

from __future__ import annotations

import functools
import io
import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import av
import numpy as np
import structlog
from PIL import Image

from reeldrop.base import trouble
from reeldrop.video import mp4_index, synthetic
from reeldrop.video.sound import Track

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

    from reeldrop.base.job import Frames
    from reeldrop.base.sound import Sound

_X264 = {"crf": "17", "preset": "medium", "x264-params": "mbtree=0"}
"""Visually lossless for frames that were never compressed. mbtree is off: with it, equal frames of
64x64 were encoded differently after another render."""

_NVENC = {"preset": "p6", "tune": "hq", "rc": "vbr", "cq": "17", "b": "0"}
"""The same for a GPU's encoder, which compute cards such as the H100 lack."""

H264 = {"libx264": _X264, "h264_nvenc": _NVENC}
"""The encoders for mp4, with their options."""

_SIZES = 1000
"""Upper bound on cached answers of `opens`, since prompt files choose the sizes."""

_MUXING = {"mp4": {"movflags": "+faststart"}, "webm": {"fflags": "+bitexact"}}
"""In an mp4, the index comes first. A webm gets no random ids, so equal frames give equal files."""

_VP9 = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}

_log = structlog.get_logger()


def encode(
    frames: Frames,
    path: Path,
    format: str,
    fps: float,
    settings: str,
    on_frame: Callable[[], None] = lambda: None,
    h264: str = "libx264",
    sound: Sound | None = None,
    mark: str = "",
) -> None:
    """Write frames, (frames, height, width, 3) uint8, to one file.

    format: mp4 (H.264, plays in every browser, also while it is loading), webm (VP9), gif, or jpg,
        a poster of the middle frame.
    settings: embedded in mp4 and webm.
    on_frame: called after each frame of an mp4, webm or gif.
    h264: the encoder to try first for mp4, one of `H264`; the fallback is libx264.
    sound: for mp4 (AAC) and webm (Opus), made exactly as long as the frames; a GIF has none.
    mark: an XMP packet to put into the file; empty for none.

    Raises:
        OSError: the file can't be written.
    """
    film = _Film(frames, fps, settings, on_frame, sound, mark)
    with trouble.naming(path):
        match format:
            case "mp4":
                _write_mp4(film, path, h264)
                if mark:
                    synthetic.append_to_mp4(path, mark)
            case "webm":
                _write_video(film, path, "webm", "libvpx-vp9", _VP9)
            case "gif":
                _write_gif(film, path)
                if mark:
                    synthetic.append_to_gif(path, mark)
            case "jpg":
                poster = Image.fromarray(frames[len(frames) // 2])
                write_jpeg(poster, path, mark)
            case _:
                raise ValueError(f"unknown format {format}")


def _write_gif(film: _Film, path: Path) -> None:
    """Write a GIF, by Python as `write_jpeg` does.

    Pillow gets one frame after the other: all together would take more memory than ours.
    """

    def images() -> Iterator[Image.Image]:
        for frame in film.frames:
            yield Image.fromarray(frame)
            film.on_frame()

    others, made = images(), io.BytesIO()
    first, delays = next(others), gif_delays(len(film.frames), film.fps)
    first.save(made, "GIF", save_all=True, append_images=others, duration=delays, loop=0)
    path.write_bytes(made.getbuffer())


def write_jpeg(picture: Image.Image, path: Path, mark: str) -> None:
    """Write a picture as a JPEG, with an XMP packet; empty for none.

    By Python: Pillow takes no notice of a disk that has room for a part of its last write.

    Raises:
        OSError: the file can't be written.
    """
    made = io.BytesIO()
    picture.save(made, "JPEG", quality=90, xmp=mark.encode())
    with trouble.naming(path):
        path.write_bytes(made.getvalue())


def gif_delays(count: int, fps: float) -> list[int]:
    """Return how long each frame of a GIF is shown, in milliseconds.

    A GIF counts in hundredths of a second. Rounding is spread over the frames, so that none is
    shown more than a hundredth too early or too late. Players ignore delays below two hundredths.
    """
    hundredths = [round(number * 100 / fps) for number in range(count + 1)]
    return [max(2, after - before) * 10 for before, after in itertools.pairwise(hundredths)]


def choose_h264(wanted: str) -> str:
    """Return which of `H264` to try first: `wanted`, or for auto the GPU's encoder if it works."""
    if wanted != "auto":
        return wanted
    return "h264_nvenc" if opens("h264_nvenc", 256, 256) else "libx264"


@functools.lru_cache(_SIZES)
def opens(codec: str, width: int, height: int) -> bool:
    """Return whether an encoder of `H264` works on this machine for frames of this size."""
    try:
        context = cast("VideoCodecContext", av.CodecContext.create(codec, "w"))
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.options = Fraction(1, 8), H264[codec]
        context.open()
    except (av.FFmpegError, ValueError):  # PyAV may have been built without it
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Film:
    """The arguments of `encode` that all formats need."""

    frames: Frames
    fps: float
    settings: str
    on_frame: Callable[[], None]
    sound: Sound | None
    mark: str


def _write_mp4(film: _Film, path: Path, h264: str) -> None:
    """Write an mp4 with the encoder `h264`; with libx264 if that fails."""
    if h264 != "libx264" and opens(h264, film.frames.shape[2], film.frames.shape[1]):
        try:
            _write_video(film, path, "mp4", h264, H264[h264])
        except av.FFmpegError as error:  # the render may have filled the GPU's memory
            _log.warning("encoder_failed", encoder=h264, reason=str(error), next="libx264")
        else:
            return
    _write_video(film, path, "mp4", "libx264", _X264)


def _write_video(
    film: _Film, path: Path, container_format: str, codec: str, options: dict[str, str]
) -> None:
    rate = Fraction(film.fps).limit_denominator(1001)
    muxing = _MUXING[container_format]
    with av.open(str(path), "w", format=container_format, options=muxing) as container:
        container.metadata["comment"] = film.settings
        if film.mark and container_format == "webm":
            container.metadata[synthetic.TAG] = film.mark
        stream = cast("VideoStream", container.add_stream(codec, rate=rate, options=options))
        stream.height, stream.width = film.frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        tag_colours(stream.codec_context)
        count = len(film.frames)
        track = Track(container, film.sound, count, rate) if film.sound is not None else None
        for number, frame in enumerate(film.frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))
            if track is not None:
                track.follow(number + 1)
            film.on_frame()
        container.mux(stream.encode())
        if track is not None:
            track.end()


def complete(
    encoded: bytes | Path,
    path: Path,
    format: str,
    settings: str,
    mark: str,
    on_packet: Callable[[], None] = lambda: None,
) -> None:
    """Write a file that was encoded without settings and mark, and add these; see `encode`.

    on_packet: called after each packet of a webm, or piece of an mp4.

    Raises:
        OSError, ValueError: it can't be read or written.
    """
    with (
        trouble.naming(path),
        encoded.open("rb") if isinstance(encoded, Path) else io.BytesIO(encoded) as source,
    ):
        match format:
            case "mp4":
                box = synthetic.mp4_box(mark) if mark else b""
                mp4_index.complete(source, path, settings, box, on_packet)
            case "webm":
                _copy_streams(source, path, settings, mark, on_packet)
            case "jpg" if mark:
                path.write_bytes(synthetic.in_jpg(source.read(), mark))
            case _:
                with path.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
        if mark and format == "gif":
            synthetic.append_to_gif(path, mark)


def _copy_streams(
    source: BinaryIO, path: Path, settings: str, mark: str, on_packet: Callable[[], None]
) -> None:
    with (
        av.open(source, "r", format="webm") as before,
        av.open(str(path), "w", format="webm", options=_MUXING["webm"]) as container,
    ):
        container.metadata["comment"] = settings
        if mark:
            container.metadata[synthetic.TAG] = mark
        known = (before.streams.video[0], *before.streams.audio)
        copies = {stream.index: container.add_stream_from_template(stream) for stream in known}
        for packet in before.demux(known):
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                container.mux(packet)
                on_packet()


def tag_colours(context: av.VideoCodecContext) -> None:
    """Tag the colour matrix; otherwise each player guesses it in its own way."""
    context.color_range = 1  # limited
    context.colorspace = 1  # BT.709
    context.color_primaries = 1
    context.color_trc = 1
