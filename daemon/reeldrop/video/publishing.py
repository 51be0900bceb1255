"""Encode and publish videos one at a time on a thread, while the next batch renders.

Connects `encoder` and `results`, and answers with events; it does not know who handles them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from reeldrop.base.events import Event, VideoFailed, VideoPublished
from reeldrop.base.fleet import Encoded
from reeldrop.base.job import Job, Prompt, Rendered, Video
from reeldrop.store.results import Results
from reeldrop.video import encoder, received, signing, synthetic

if TYPE_CHECKING:
    from reeldrop.base.job import Frames

_log = structlog.get_logger()


class Publisher:
    """Encodes and publishes videos; calls `tell` with VideoPublished or VideoFailed for each.

    h264: the encoder for mp4, as in `encoder.encode`
    marks: whether files say that they are synthetic
    signer: signs files; None for none
    videos, bytes: how many videos are in hand, from `publish` to `release`, and the size of their
        frames and sound
    signs_of_life: a count that grows unless the thread hangs
    """

    def __init__(self, results: Results, tell: Callable[[Event], None]) -> None:
        self._results = results
        self._tell = tell
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self.h264 = "libx264"
        self.marks = True
        self.signer: signing.Signer | None = None
        self.videos = 0
        self.bytes = 0
        self.signs_of_life = 0

    def publish(
        self,
        job: Job,
        prompt: Prompt,
        frames: Frames | Encoded,
        rendered: Rendered,
        earlier: Video | None,
    ) -> None:
        """Encode frames, (frames, height, width, 3) uint8, and publish the video, on the thread.

        What its renderer has encoded is completed instead.

        earlier: the video as an earlier attempt left it; None if it left nothing
        """

        sound = rendered.sound
        mark = synthetic.packet(rendered) if self.marks else ""
        size = frames.nbytes + (sound.samples.nbytes if sound is not None else 0)

        def encode(path: Path, format: str, settings: str) -> None:
            if isinstance(frames, Encoded):
                encoder.complete(frames.files[format], path, format, settings, mark)
            else:
                encoder.encode(
                    frames,
                    path,
                    format,
                    prompt.fps,
                    settings,
                    self._note_life,
                    self.h264,
                    sound,
                    mark,
                )
            self._sign(path, format, prompt, rendered)

        def answer(publication: Future[Video]) -> None:
            received.discard(frames)
            if publication.cancelled():
                return
            error = publication.exception()
            if isinstance(error, Exception):
                self._tell(VideoFailed(job.id, prompt, error, size))
            else:
                self._tell(VideoPublished(publication.result(), size))

        self.videos += 1
        self.bytes += size
        publication = self._thread.submit(
            self._results.publish, job, prompt, rendered, encode, earlier
        )
        publication.add_done_callback(answer)

    def _sign(self, path: Path, format: str, prompt: Prompt, rendered: Rendered) -> None:
        """Sign a file; one that can't be signed is published as it is: it was expensive."""
        if self.signer is None or format not in signing.KINDS:
            return
        try:
            self.signer.sign(path, format, prompt, rendered)
        except signing.SigningError as error:
            _log.error("not_signed", prompt=prompt.prompt, format=format, reason=str(error))

    def _note_life(self) -> None:
        self.signs_of_life += 1

    def release(self, event: VideoPublished | VideoFailed) -> None:
        """Remove the video of an answer from what is in hand."""
        self.videos -= 1
        self.bytes -= event.bytes
        self._note_life()

    def close(self) -> None:
        """Finish the video that is being encoded, and drop those that wait."""
        self._thread.shutdown(cancel_futures=True)
