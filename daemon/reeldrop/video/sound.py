"""Encode the sound of a video file, interleaved with its pictures, and exactly as long."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
import numpy as np

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from numpy.typing import NDArray

    from reeldrop.base.sound import Sound

CODECS = {"mp4": "aac", "webm": "libopus"}
"""The sound encoder of each container, which all players of its pictures support."""

_BITS_PER_CHANNEL = 96_000
"""Bits per second, enough that nobody hears a difference."""

_RATES = {
    "aac": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
    "libopus": (48000,),
}
"""The sampling rates of each encoder. Opus takes others, but plays all of them at 48 kHz."""


class Track:
    """Writes a sound into a container that also gets pictures.

    count, rate: the number of pictures, and pictures per second
    """

    def __init__(
        self, container: OutputContainer, sound: Sound, count: int, rate: Fraction
    ) -> None:
        self._container = container
        self._per_picture = sound.sampling_rate / rate
        self._sampling_rate = sound.sampling_rate
        self._samples = _fitted(sound.samples, round(count * self._per_picture))
        self._layout = "mono" if len(sound.samples) == 1 else "stereo"
        codec = CODECS[container.format.name]
        stream = container.add_stream(
            codec, rate=_nearest(codec, sound.sampling_rate), layout=self._layout
        )
        self._stream = cast("AudioStream", stream)
        self._stream.bit_rate = _BITS_PER_CHANNEL * len(sound.samples)
        self._at = 0

    def follow(self, pictures: int) -> None:
        """Write the sound up to the end of the first `pictures`."""
        end = round(pictures * self._per_picture)
        samples = np.ascontiguousarray(self._samples[:, self._at : end])
        if samples.size:
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
            frame.sample_rate, frame.time_base = (
                self._sampling_rate,
                Fraction(1, self._sampling_rate),
            )
            frame.pts, self._at = self._at, end
            self._container.mux(self._stream.encode(frame))

    def end(self) -> None:
        """Write what the encoder has buffered."""
        self._container.mux(self._stream.encode())


def _fitted(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Return samples truncated to a length, or padded with silence."""
    kept = np.clip(samples[:, :length], -1.0, 1.0)
    return np.pad(kept, ((0, 0), (0, length - kept.shape[1])))


def _nearest(codec: str, rate: int) -> int:
    """Return the rate if the encoder supports it, else the next higher one, else the highest."""
    known = _RATES[codec]
    return next((one for one in known if one >= rate), known[-1])
