"""Take the sound from a pipeline's output, if there is any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from reeldrop.base.errors import RenderError, Unrenderable
from reeldrop.base.sound import Sound

if TYPE_CHECKING:
    from reeldrop.base.job import Prompt

SLACK_SECONDS = 0.25
"""By how much the length of the sound may differ from that of the frames, as it is made in pieces
of another length. The encoder cuts it, or adds silence."""

MOST_CHANNELS = 2


def of_output(
    pipe: Any, output: Any, prompts: tuple[Prompt, ...]
) -> tuple[tuple[Sound | None, ...], str]:
    """Return the sound of each video of a pipeline's output, and what can't be kept, in words.

    Raises:
        RenderError: it has samples that are not numbers.
        Unrenderable: it is empty, or not as long as the frames.
    """
    audio, rate = getattr(output, "audio", None), _sampling_rate(pipe)
    if audio is None:
        return (None,) * len(prompts), ""
    if rate is None:
        return (None,) * len(prompts), "sound: its sampling rate is not known"
    lengths = [
        len(frames) / prompt.fps for frames, prompt in zip(output.frames, prompts, strict=True)
    ]
    return tuple(_sounds(audio, rate, lengths)), ""


def _sampling_rate(pipe: Any) -> int | None:
    """Return the sampling rate of a pipeline's sound, as LTX-2 or Kandinsky 6 have it; or None."""
    vocoder = getattr(pipe, "vocoder", None)
    rate = vocoder.config.output_sampling_rate if vocoder else getattr(pipe, "audio_sample_rate", 0)
    return int(rate) or None


def _sounds(audio: Any, rate: int, lengths: list[float]) -> Iterator[Sound]:
    """Yield the sounds in a tensor, (videos, channels, samples) or (videos, samples).

    lengths: of the videos, in seconds
    """
    for heard, length in zip(audio, lengths, strict=True):
        if 0 in heard.shape:
            raise Unrenderable("the model returned sound that is empty: no channel, or no sample")
        samples = heard.float().cpu().numpy().reshape(-1, heard.shape[-1])[:MOST_CHANNELS]
        if not np.isfinite(samples).all():
            raise RenderError("the model returned sound that is not numbers (NaN)")
        seconds = samples.shape[1] / rate
        if abs(seconds - length) > SLACK_SECONDS:
            raise Unrenderable(
                f"the model made {seconds:.2f} s of sound for {length:.2f} s of pictures"
            )
        yield Sound(samples, rate)
