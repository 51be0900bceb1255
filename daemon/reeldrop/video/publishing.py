"""Encode and publish videos, while others render: those of one renderer in order, on one thread.

Connects `encoder` and `results`, and answers with events; it does not know who handles them.
"""

from __future__ import annotations

from collections import Counter
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

LANES = 32
"""Upper bound on the threads. Publishing waits for the disk, which makes many files durable at once
in nearly the time of one."""

_Key = tuple[str, int]
"""A job's id, and the number of its prompt."""

_log = structlog.get_logger()


class Publisher:
    """Encodes and publishes videos; calls `tell` with VideoPublished or VideoFailed for each.

    h264: the encoder for mp4, as in `encoder.encode`
    marks: whether files say that they are synthetic
    signer: signs files; None for none
    before: called with the job of each video before any of its files is there, by the thread that
        publishes it
    bytes: the size of the frames and the sound, or of the files of their renderers, of the videos
        in hand: from `publish` to `release`
    """

    def __init__(self, results: Results, tell: Callable[[Event], None]) -> None:
        self._results = results
        self._tell = tell
        self._lanes: dict[int, ThreadPoolExecutor] = {}
        self._places: dict[_Key, tuple[str, int]] = {}
        self._frames: dict[_Key, int] = {}
        self.h264 = "libx264"
        self.marks = True
        self.before: Callable[[Job], None] = lambda _job: None
        self.signer: signing.Signer | None = None
        self.bytes = 0

    @property
    def videos(self) -> int:
        """How many videos are in hand."""
        return len(self._frames)

    @property
    def sign_of_life(self) -> int:
        """A number that changes unless the oldest video in hand hangs."""
        return hash(next(iter(self._frames.items()), None))

    def publish(
        self,
        job: Job,
        prompt: Prompt,
        frames: Frames | Encoded,
        rendered: Rendered,
        earlier: Video | None,
        renderer: str = "",
    ) -> None:
        """Encode frames, (frames, height, width, 3) uint8, and publish the video, on a thread.

        What its renderer has encoded is completed instead. The videos of a renderer are published
        in order.

        earlier: the video as an earlier attempt left it; None if it left nothing
        """
        sound = rendered.sound
        mark = synthetic.packet(rendered) if self.marks else ""
        key = job.id, prompt.number
        size = frames.nbytes + (sound.samples.nbytes if sound is not None else 0)

        def note_life() -> None:
            self._frames[key] += 1

        def encode(path: Path, format: str, settings: str) -> None:
            if isinstance(frames, Encoded):
                encoder.complete(frames.file(format), path, format, settings, mark, note_life)
            else:
                encoder.encode(
                    frames,
                    path,
                    format,
                    prompt.fps,
                    settings,
                    note_life,
                    self.h264,
                    sound,
                    mark,
                )
            self._sign(path, format, job, prompt, rendered)

        def published() -> Video:
            self.before(job)
            return self._results.publish(job, prompt, rendered, encode, earlier)

        def answer(publication: Future[Video]) -> None:
            received.discard(frames)
            if publication.cancelled():
                return
            error = publication.exception()
            if isinstance(error, Exception):
                self._tell(VideoFailed(job.id, prompt, error, size))
            else:
                self._tell(VideoPublished(publication.result(), size))

        self._frames[key] = 0
        self.bytes += size
        self._places[key] = renderer, self._lane(renderer)
        publication = self._executor(self._places[key][1]).submit(published)
        publication.add_done_callback(answer)

    def _sign(self, path: Path, format: str, job: Job, prompt: Prompt, rendered: Rendered) -> None:
        """Sign a file; one that can't be signed is published as it is: it was expensive."""
        if self.signer is None or format not in signing.KINDS:
            return
        try:
            self.signer.sign(path, format, prompt, rendered)
        except signing.SigningError as error:
            what = {"job_id": job.id, "number": prompt.number, "format": format}
            _log.error("not_signed", **what, reason=str(error))

    def _lane(self, renderer: str) -> int:
        """Return the lane of a renderer's videos in hand; without any, that with the fewest."""
        lanes = dict(self._places.values())
        if renderer in lanes:
            return lanes[renderer]
        videos = Counter(lane for _, lane in self._places.values())
        return min(range(LANES), key=videos.__getitem__)

    def _executor(self, lane: int) -> ThreadPoolExecutor:
        if lane not in self._lanes:
            self._lanes[lane] = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        return self._lanes[lane]

    def release(self, event: VideoPublished | VideoFailed) -> _Key:
        """Remove the video of an answer from what is in hand; return its job's id and number."""
        if isinstance(event, VideoPublished):
            key = event.video.job_id, event.video.number
        else:
            key = event.job_id, event.prompt.number
        del self._frames[key], self._places[key]
        self.bytes -= event.bytes
        return key

    def close(self) -> None:
        """Finish the videos that are being encoded, and drop those that wait."""
        for lane in self._lanes.values():
            lane.shutdown(wait=False, cancel_futures=True)
        for lane in self._lanes.values():
            lane.shutdown()
