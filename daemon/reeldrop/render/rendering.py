"""Render one batch: call the pipeline, report its steps, return its frames.

Does not know how many prompts fit at once, nor what becomes of the frames.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from reeldrop.base.errors import RenderError
from reeldrop.render import measure

if TYPE_CHECKING:
    from reeldrop.base.job import Frames, Prompt
    from reeldrop.render.pipeline import LoadedPipeline


@torch.inference_mode()
def render(
    loaded: LoadedPipeline,
    prompts: tuple[Prompt, ...],
    on_step: Callable[[int], None],
    *,
    decodes_by_frame: bool = False,
) -> tuple[Frames, ...]:
    """Return the frames, (frames, height, width, 3) uint8, of each prompt of one batch.

    `on_step` is called after each step with its number, from 1; an error that it raises ends the
    render. With `decodes_by_frame` the VAE takes less memory and more time.

    Raises:
        RenderError: the frames are NaN, all black, or all equal.
    """
    pipe = loaded.pipe
    arguments = dict(prompts[0].arguments)
    loaded.fast_path.begin(arguments)
    _slice_decoding(pipe, slices=decodes_by_frame)
    given = texts(loaded, prompts)
    measure.reset_peak_memory()  # after the texts: an offloaded encoder is not part of the peak
    try:
        output = pipe(
            **given,
            # On the CPU, a seed gives the same noise whatever device renders.
            generator=[torch.Generator("cpu").manual_seed(prompt.seed) for prompt in prompts],
            output_type="pt",
            **{key: value for key, value in arguments.items() if key != "negative_prompt"},
            **{key: list(values) for key, values in loaded.source.fixed.items()},
            **_step_callback(pipe, on_step),
        )
    finally:
        pipe.maybe_free_model_hooks()
    loaded.fast_path.end()
    return tuple(_sound_frames(video) for video in output.frames)


def texts(loaded: LoadedPipeline, prompts: tuple[Prompt, ...]) -> dict[str, Any]:
    """Return the call arguments for the prompts: texts, or their embeddings."""
    wanted = {"prompt": [prompt.prompt for prompt in prompts]}
    if "negative_prompt" in loaded.capabilities.settings:
        unwanted = [str(prompt.argument("negative_prompt") or "") for prompt in prompts]
        wanted["negative_prompt"] = unwanted
    if (kept := loaded.fast_path.texts) is None:
        return dict(wanted)
    settings = dict(prompts[0].arguments)
    return {f"{key}_embeds": kept.embeddings(texts, settings) for key, texts in wanted.items()}


def _sound_frames(video: torch.Tensor) -> Frames:
    """Return the frames of one video.

    Raises:
        RenderError: they are NaN, all black, or all equal.
    """
    if torch.isnan(video).any():
        raise RenderError("the model returned frames that are not numbers (NaN)")
    frames = to_uint8(video)
    if not frames.any():
        raise RenderError("the model returned black frames")
    if len(frames) > 1 and (frames[1:] == frames[0]).all():
        raise RenderError(f"the model returned the same frame {len(frames)} times")
    return frames


def to_uint8(video: torch.Tensor) -> Frames:
    """Return (frames, 3, height, width) floats in 0..1 as (frames, height, width, 3) uint8."""
    video = (video.float() * 255).round().clamp(0, 255).to(torch.uint8)
    frames: Frames = video.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return frames


def _step_callback(pipe: Any, on_step: Callable[[int], None]) -> dict[str, Any]:
    """Return the call arguments for a callback at each step, newer or older."""
    if "callback_on_step_end" in inspect.signature(pipe.__call__).parameters:

        def at_step_end(_pipe: Any, step: int, _t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(step + 1)
            return tensors

        return {"callback_on_step_end": at_step_end}
    return {"callback": lambda step, _t, _latents: on_step(step + 1), "callback_steps": 1}


def _slice_decoding(pipe: Any, *, slices: bool) -> None:
    vae: Any = getattr(pipe, "vae", None)
    if hasattr(vae, "enable_slicing"):
        if slices:
            vae.enable_slicing()
        else:
            vae.disable_slicing()
