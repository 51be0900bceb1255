"""Draw sheets: the videos of a sweep side by side, with labels, as a picture and as a video.

The picture is made from the posters, the video from the published video files. Tiles whose files
can't be read stay dark. Does not know folders or names.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from PIL import Image

from reeldrop.base import plain_files
from reeldrop.video import synthetic
from reeldrop.video.arrangement import Sheet
from reeldrop.video.encoder import tag_colours, write_jpeg
from reeldrop.video.identity import DEMUXERS
from reeldrop.video.labels import Labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]  # (height, width, 3)

MAX_SIDE = 1920
"""Upper bound on a sheet's width and height in pixels, so that phones can play it."""

LEAST_WIDTH = 192
"""Smaller tiles are enlarged, if there is room, so that their labels can be read."""

MAX_SECONDS = 60.0
MAX_FPS = 60.0
_GAP = 2
_H264 = {"crf": "20", "preset": "fast", "x264-params": "mbtree=0"}
MAX_PIXELS = 40_000_000
"""Upper bound on the pixels of a sheet's videos, one frame of each; those beyond it stay dark."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files of a video; `video` is None if there is none in a known format."""

    poster: Path
    video: Path | None


class Drawing:
    """One sheet, as a picture and as a video.

    sources: the files of the existing videos, by number
    check: called between two frames; an error that it raises ends the drawing
    mark: an XMP packet to put into both files; empty for none
    """

    def __init__(
        self,
        sheet: Sheet,
        sources: Mapping[int, Source],
        labels: Labels,
        check: Callable[[], None],
        mark: str = "",
    ) -> None:
        self._mark = mark
        self._tiles = [
            (row, column, tile)
            for row, tiles in enumerate(sheet)
            for column, tile in enumerate(tiles)
            if tile is not None
        ]
        self._shape = len(sheet), max(map(len, sheet))
        self._sources = sources
        self._labels = labels
        self._check = check

    def write_picture(self, path: Path) -> bool:
        """Write the posters with their labels as a JPEG; return False if none can be read."""
        posters, room = dict[int, Image.Image](), MAX_PIXELS
        for _, _, tile in self._tiles:
            self._check()
            source = self._sources.get(tile.number)
            poster = _poster(source.poster, room) if source is not None else None
            if poster is not None:
                posters[tile.number] = poster
                room -= poster.width * poster.height
        if not posters:
            return False
        sizes = [poster.size for poster in posters.values()]
        width, height = self._tile_size(sizes)
        canvas = self._labelled(width, height)
        for row, column, tile in self._tiles:
            if tile.number in posters:
                x, y = self._corner(row, column, width, height)
                picture = _fitted(np.asarray(posters[tile.number]), width, height)
                _paste(canvas, picture, x, y, width, height)
        write_jpeg(Image.fromarray(canvas), path, self._mark)
        return True

    def write_video(self, path: Path) -> bool:
        """Write the videos with their labels as an mp4; return False if none can be read.

        It has the highest of their frame rates, and the length of the longest. Each video plays at
        its own speed and stops at its last frame. Aspect ratios are kept; all tiles are as wide as
        the widest video and as high as the highest.
        """
        with contextlib.ExitStack() as held:
            takes = self._takes(held)
            if not takes:
                return False
            width, height = self._tile_size([take.size for _, _, take in takes])
            fps = min(MAX_FPS, max(take.fps for _, _, take in takes))
            canvas = self._labelled(width, height)
            _write_mp4(path, canvas.shape, fps, self._frames(takes, fps, canvas, width, height))
        if self._mark:
            synthetic.append_to_mp4(path, self._mark)
        return True

    def _takes(self, held: contextlib.ExitStack) -> list[tuple[int, int, _Take]]:
        """Return the videos that can be read, with row and column, open until `held` ends."""
        takes, room = list[tuple[int, int, _Take]](), MAX_PIXELS
        for row, column, tile in self._tiles:
            source = self._sources.get(tile.number)
            if source is None or source.video is None:
                continue
            take = _opened(source.video, tile.fps, room, held)
            if take is not None:
                takes.append((row, column, take))
                room -= take.size[0] * take.size[1]
        return takes

    def _frames(
        self,
        takes: Sequence[tuple[int, int, _Take]],
        fps: float,
        canvas: Picture,
        width: int,
        height: int,
    ) -> Iterator[Picture]:
        """Yield the sheet at each time, until all videos have ended."""
        for number in range(round(MAX_SECONDS * fps)):
            self._check()
            found = [(*take[:2], take[2].at(number / fps, width, height)) for take in takes]
            if all(take.has_ended for _, _, take in takes):
                return
            for row, column, frame in found:
                if frame is not None:
                    x, y = self._corner(row, column, width, height)
                    _paste(canvas, frame, x, y, width, height)
            yield canvas

    def _tile_size(self, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Return width and height of the tiles, without labels; even, as H.264 requires."""
        rows, columns = self._shape
        width = max((width for width, _ in sizes), default=LEAST_WIDTH)
        height = max((height for _, height in sizes), default=LEAST_WIDTH)
        room_across = MAX_SIDE // columns - _GAP
        room_down = MAX_SIDE // rows - self._labels.height - _GAP
        scale = min(max(1.0, LEAST_WIDTH / width), room_across / width, room_down / height)
        return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)

    def _corner(self, row: int, column: int, width: int, height: int) -> tuple[int, int]:
        return column * (width + _GAP), row * (height + self._labels.height + _GAP)

    def _labelled(self, width: int, height: int) -> Picture:
        """Return the sheet with labels below dark tiles."""
        rows, columns = self._shape
        shape = (rows * (height + self._labels.height + _GAP), columns * (width + _GAP), 3)
        canvas = np.zeros(shape, np.uint8)
        for row, column, tile in self._tiles:
            x, y = self._corner(row, column, width, height)
            label = np.asarray(self._labels.draw(tile.label, width))
            canvas[y + height : y + height + len(label), x : x + width] = label
        return canvas


class _Take:
    """A video that is read frame by frame, at its own frame rate.

    has_ended: whether the last call of `at` asked for a time after its end
    """

    def __init__(self, first: av.VideoFrame, others: Iterator[av.VideoFrame], fps: float) -> None:
        self.size = first.width, first.height
        self.fps = fps
        self._frames = itertools.chain([first], others)
        self._next = 0
        self.has_ended = False

    def at(self, seconds: float, width: int, height: int) -> Picture | None:
        """Return the frame at a time, fitted into a tile; None if it is the one before."""
        wanted = math.floor(seconds * self.fps + 1e-6)
        frame = None
        while self._next <= wanted and not self.has_ended:
            following = next(self._frames, None)
            if following is None:
                self.has_ended = True
            else:
                frame, self._next = following, self._next + 1
        if frame is None:
            return None
        return _fitted(cast("Picture", frame.to_ndarray(format="rgb24")), width, height)


def _opened(path: Path, fps: float, room: int, held: contextlib.ExitStack) -> _Take | None:
    """Return a video, open until `held` ends; None if it can't be read.

    room: how many pixels a frame may have
    """
    with contextlib.suppress(av.FFmpegError, OSError, ValueError, IndexError, KeyError):
        file = held.enter_context(os.fdopen(plain_files.open_plain(path), "rb"))
        container = held.enter_context(av.open(file, "r", format=DEMUXERS[path.suffix]))
        stream = container.streams.video[0]
        context = stream.codec_context
        # PyAV 18 crashes the process if there is no context, as in an incomplete file.
        if context is None:
            return None
        context.thread_count = 1  # one decoder for each tile is open
        frames = _whole(container.decode(stream), room)
        first = next(frames, None)
        return _Take(first, frames, min(max(fps, 1.0), 120.0)) if first is not None else None
    return None


def _whole(frames: Iterator[av.VideoFrame], room: int) -> Iterator[av.VideoFrame]:
    """Yield frames until the file is damaged, or a frame is too large."""
    with contextlib.suppress(av.FFmpegError, OSError, ValueError):
        for frame in frames:
            if frame.width * frame.height > room:
                return
            yield frame


def _poster(path: Path, room: int) -> Image.Image | None:
    bad = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
    with (
        contextlib.suppress(*bad),
        os.fdopen(plain_files.open_plain(path), "rb") as file,
        Image.open(file, formats=("JPEG",)) as poster,
    ):
        if poster.width * poster.height <= room:
            return poster.convert("RGB")
    return None


def _fitted(picture: Picture, width: int, height: int) -> Picture:
    """Return a picture scaled to fit into a tile, with its aspect ratio kept."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    if size == (picture.shape[1], picture.shape[0]):
        return picture
    smooth = Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(picture).resize(size, smooth, reducing_gap=2.0))


def _paste(canvas: Picture, picture: Picture, x: int, y: int, width: int, height: int) -> None:
    """Put a picture into the middle of a tile."""
    x += (width - picture.shape[1]) // 2
    y += (height - picture.shape[0]) // 2
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture


def _write_mp4(path: Path, shape: tuple[int, ...], fps: float, frames: Iterator[Picture]) -> None:
    """Write frames of one shape, (height, width, 3), as H.264."""
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options=_H264)
        stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], "yuv420p"
        tag_colours(stream.codec_context)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
