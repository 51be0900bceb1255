"""Encode videos where they are rendered, so that no frames are sent over a network.

Settings, mark and signature, which a renderer does not know, are added at publishing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av

from reeldrop.base import durable, scratch
from reeldrop.base.errors import RenderError
from reeldrop.base.events import BatchFailed, BatchRendered
from reeldrop.base.fleet import Encoded
from reeldrop.base.job import Rendered
from reeldrop.base.sound import Sound
from reeldrop.video import encoder

if TYPE_CHECKING:
    from reeldrop.base.job import Frames

FOLDER = ".reeldrop-rendered"
"""In the results, with a number of each service: renderers that can reach it put their encoded
files there."""

POSTER = "jpg"


def encoded(
    event: BatchRendered | BatchFailed,
    h264: str,
    folder: Path | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> BatchRendered | BatchFailed:
    """Return an answer with its frames encoded, and its sounds without samples.

    h264: the encoder for mp4; see `encoder.encode`
    folder: where the files are put, under random names; None to return their content. After an
        error all are removed.

    Raises:
        RenderError: a video can't be encoded.
        OSError: the folder can't be written to.
    """
    made = zip(event.batch.prompts, event.frames, event.rendered, strict=False)
    videos: list[Encoded] = []
    written: list[Path] = []
    try:
        for prompt, frames, rendered in made:
            assert not isinstance(frames, Encoded)
            files, sizes = dict[str, bytes | Path](), dict[str, int]()
            for kind in (*prompt.formats, POSTER):
                film = _Film(frames, prompt.fps, kind, rendered.sound, h264, on_frame)
                if folder is None:
                    files[kind] = film.content()
                else:
                    files[kind] = path = folder / f"{secrets.token_hex(16)}.{kind}"
                    written.append(path)
                    film.write(path)
                    sizes[kind] = path.stat().st_size
            videos.append(Encoded(files, sizes))
    except BaseException:  # such as a full disk
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    records = tuple(map(_without_samples, event.rendered))
    return dataclasses.replace(event, frames=tuple(videos), rendered=records)


@dataclass(frozen=True, slots=True)
class _Film:
    """A file to write; see `encoder.encode`."""

    frames: Frames
    fps: float
    format: str
    sound: Sound | None
    h264: str
    on_frame: Callable[[], None]

    def write(self, path: Path) -> None:
        """Write it durably."""
        self._write(path)
        durable.fsync_file(path)

    def content(self) -> bytes:
        with tempfile.TemporaryDirectory(dir=_own_folder()) as folder:
            path = Path(folder, f"video.{self.format}")
            self._write(path)
            return path.read_bytes()

    def _write(self, path: Path) -> None:
        try:
            encoder.encode(
                self.frames,
                path,
                self.format,
                self.fps,
                "",
                self.on_frame,
                self.h264,
                self.sound,
            )
        except av.FFmpegError as error:
            if isinstance(error, OSError):  # such as a full disk
                raise
            raise RenderError(f"it can't be encoded as {self.format}: {error}") from None


@functools.cache
def _own_folder() -> Path:
    """Return a folder of this process, which a later one removes if this one is killed."""
    return scratch.make("reeldrop-encoded-")


def _without_samples(rendered: Rendered) -> Rendered:
    """Return a record without the samples of its sound; its rate and channels stay."""
    sound = rendered.sound
    if sound is None:
        return rendered
    return dataclasses.replace(
        rendered, sound=dataclasses.replace(sound, samples=sound.samples[:, :0])
    )
