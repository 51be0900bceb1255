"""Render one batch: call the pipeline, report its steps, return its frames.

Does not know how many prompts fit at once, nor what the frames are used for.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from reeldrop.base.errors import RenderError, Unrenderable
from reeldrop.base.job import IMAGE_FIT
from reeldrop.base.translated import GUIDANCE, KEYS
from reeldrop.render import clip_texts, measure, pictures, sound, split, steps, windows
from reeldrop.render.capabilities import frames_argument, is_guided_apart, rate_argument
from reeldrop.render.classes import kind_of
from reeldrop.render.kinds import Size
from reeldrop.speed import decoding

if TYPE_CHECKING:
    from reeldrop.base.job import Frames, Prompt
    from reeldrop.base.sound import Sound
    from reeldrop.render.chunks import Reader
    from reeldrop.render.loaded import LoadedPipeline
    from reeldrop.render.previews import Preview


@dataclass(frozen=True, slots=True)
class Footage:
    """The frames of each prompt of a batch, and its sound, if there is any.

    not_kept: which other output of the pipeline was dropped, and why
    """

    frames: tuple[Frames, ...]
    sounds: tuple[Sound | None, ...]
    not_kept: str = ""


def render(
    loaded: LoadedPipeline,
    prompts: tuple[Prompt, ...],
    on_step: Callable[[int], None],
    *,
    decodes_in_parts: bool = False,
) -> tuple[Frames, ...]:
    """Return the frames of each prompt of one batch; see `with_sound`."""
    return with_sound(loaded, prompts, on_step, decodes_in_parts=decodes_in_parts).frames


def without_gradients(loaded: LoadedPipeline) -> contextlib.AbstractContextManager[object, None]:
    """Return a context in which a pipeline computes no gradients.

    Not the inference mode where quantized weights are moved during renders: in it, those of torchao
    can't be.
    """
    is_moved = loaded.placement not in ("cpu", "cuda") and loaded.source.quantization is not None
    return torch.no_grad() if is_moved else torch.inference_mode()


def with_sound(
    loaded: LoadedPipeline,
    prompts: tuple[Prompt, ...],
    on_step: Callable[[int], None],
    *,
    decodes_in_parts: bool = False,
    preview: Preview | None = None,
) -> Footage:
    """Return the frames, (frames, height, width, 3) uint8, and the sound of one batch.

    `on_step` is called after each step with its number, from 1; an error that it raises ends the
    render. With `decodes_in_parts` the VAE takes less memory and more time.

    Raises:
        RenderError: the frames are NaN, all black, or all equal, or the sound is NaN; or the model
            was loaded without a LoRA that the prompts want.
        Unrenderable: the number or size of the frames is not as asked; the sound is not as long as
            the frames; or a picture can't be used.
    """
    pipe, ranks = loaded.pipe, loaded.ranks
    with without_gradients(loaded):
        with contextlib.nullcontext() if ranks is None else ranks.rendering(pipe, prompts):
            output = _output(loaded, prompts, on_step, "pt", decodes_in_parts, preview)
        _check_as_asked(pipe, prompts, output.frames)
        sounds, not_kept = sound.of_output(pipe, output, prompts)
        frames = tuple(map(_checked_frames, output.frames))
    if preview is not None:
        preview.learn(frames[0])
    return Footage(frames, sounds, not_kept)


def follow(
    loaded: LoadedPipeline,
    prompts: tuple[Prompt, ...],
    await_call: Callable[[], None],
    end_call: Callable[[], None],
) -> None:
    """Call the pipeline as another process does, for which this one computes a part.

    They are called before and after each call of a denoiser; an error of the first ends the render.
    """
    around = split.around_each_call(loaded.pipe, await_call, end_call)
    with without_gradients(loaded), around:
        _output(loaded, prompts, lambda _step: None, "latent")


def _output(
    loaded: LoadedPipeline,
    prompts: tuple[Prompt, ...],
    on_step: Callable[[int], None],
    kind: str,
    decodes_in_parts: bool = False,
    preview: Preview | None = None,
) -> Any:
    """Return what the pipeline makes; `kind` is its output_type."""
    pipe = loaded.pipe
    wanted = prompts[0].loras or ()
    if missing := dict(wanted).keys() - {file.lora.name for file in loaded.loras}:
        raise RenderError(f"the model was loaded without the LoRA {min(missing)}")
    loaded.fast_path.begin(dict(prompts[0].arguments), wanted)
    vae = getattr(pipe, "vae", None)
    in_tiles = loaded.decodes_in_tiles(is_short=decodes_in_parts)
    decoding.decode(vae, in_parts=decodes_in_parts, in_tiles=in_tiles)
    shown = _pictures(pipe, prompts)
    given = {**texts(loaded, prompts), **shown, **_settings(loaded, prompts[0])}
    measure.reset_peak_memory()  # after the texts, whose encoder may be offloaded by now
    torch.manual_seed(prompts[0].seed)  # for parts that ignore the generator, such as some VAEs
    try:
        on_latents = preview.at_step if preview is not None else None
        passes = 1 + (windows.are_guided_apart(pipe) and is_guided(loaded, prompts[0]))
        with (
            steps.reported(pipe, prompts[0], on_step, on_latents, passes=passes) as (
                callback,
                tell,
            ),
            windows.cut(pipe, loaded.capabilities.windows, prompts, tell),
        ):
            output = pipe(generator=_generators(prompts), output_type=kind, **given, **callback)
    finally:
        pipe.maybe_free_model_hooks()
    loaded.fast_path.end()
    return output


def texts(loaded: LoadedPipeline, prompts: tuple[Prompt, ...]) -> dict[str, Any]:
    """Return the call arguments for the prompts: texts or embeddings; none if it reads no texts."""
    if not reads_texts(loaded.pipe):
        return {}
    wanted = {"prompt": [prompt.texts[0] for prompt in prompts]}
    if "negative_prompt" in loaded.capabilities.settings:
        wanted["negative_prompt"] = [prompt.texts[1] for prompt in prompts]
    if (kept := loaded.fast_path.texts) is None:
        wanted |= {key: [text] * len(prompts) for key, text in prompts[0].second.items()}
        # Some pipelines take no list of one.
        return {key: given if len(given) > 1 else given[0] for key, given in wanted.items()}
    if not is_guided(loaded, prompts[0]):
        wanted.pop("negative_prompt", None)  # some pipelines would render it
    settings = dict(prompts[0].arguments)
    if prompts[0].second:  # the pipeline takes no text beside embeddings
        problem = (
            f"{next(iter(prompts[0].second))} has no place beside long_prompt and prompt_syntax"
        )
        raise Unrenderable(problem, "leave it out, or use a profile without these two keys")
    return dict(kept.arguments(wanted, settings))


def alike(loaded: LoadedPipeline, prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    """Return the leading prompts whose texts have as many chunks as those of the first one.

    With others, its texts would be padded, and its video would depend on its batch.
    """
    kept = loaded.fast_path.texts
    if kept is None or (reader := clip_texts.reader_of(kept)) is None:
        return prompts
    with kept.lock:
        counts = [_chunks(loaded, reader, prompt) for prompt in prompts]
    end = next((place for place, count in enumerate(counts) if count != counts[0]), None)
    return prompts[:end]


def _chunks(loaded: LoadedPipeline, reader: Reader, prompt: Prompt) -> int:
    texts = prompt.texts if is_guided(loaded, prompt) else prompt.texts[:1]
    return max(len(reader.cut(text).chunks) for text in texts)


def reads_texts(pipe: Any) -> bool:
    """Return whether a pipeline reads texts. For Stable Video Diffusion a prompt is only a name."""
    return "prompt" in inspect.signature(pipe.__call__).parameters


def _pictures(pipe: Any, prompts: tuple[Prompt, ...]) -> dict[str, Any]:
    """Return the call arguments that are pictures, each of the size of its video."""
    shown = pictures.given(prompts, lambda prompt, size: _size(pipe, prompt, size))
    frames = prompts[0].argument("num_frames")
    if not (shown and isinstance(frames, int) and kind_of(type(pipe)).keyframes):
        return shown
    at = {"image": 0, "last_image": frames - 1}
    return {
        "image": list(shown.values()),
        "frame_index": [at[key] for key in shown],
        "video": [None] * len(shown),  # without it, only the first picture would be used
    }


def _size(pipe: Any, prompt: Prompt, of_picture: Size) -> Size:
    """Return the size of a prompt's video; if prompts can't set it, the picture's decides."""
    width, height = prompt.argument("width"), prompt.argument("height")
    if isinstance(width, int) and isinstance(height, int):
        return width, height
    return kind_of(type(pipe)).size_of(pipe, of_picture)


def is_guided(loaded: LoadedPipeline, prompt: Prompt) -> bool:
    """Return whether the pipeline reads the negative prompt."""
    names = [name for name in GUIDANCE if name in loaded.capabilities.settings]
    arguments = {**loaded.capabilities.defaults, **dict(prompt.arguments)}
    scales = [arguments[name] for name in names[:1]]
    return all(isinstance(scale, int | float) and scale > 1 for scale in scales)


def _settings(loaded: LoadedPipeline, prompt: Prompt) -> dict[str, Any]:
    """Return the settings of a prompt as arguments of the pipeline's call."""
    pipe = loaded.pipe
    settings = {key: value for key, value in prompt.arguments if key not in KEYS}
    settings.pop(IMAGE_FIT, None)  # the pictures have been fitted
    parameters = inspect.signature(pipe.__call__).parameters
    if is_guided_apart(pipe, parameters) and "guidance_scale" in settings:
        pipe.guider.guidance_scale = settings.pop("guidance_scale")
    if isinstance(frames := settings.pop("num_frames", None), int):
        made = frames + kind_of(type(pipe)).drops(pipe)
        settings[frames_argument(parameters) or "num_frames"] = made
    if (rate := rate_argument(parameters)) is not None:
        settings[rate] = int(prompt.fps) if prompt.fps == int(prompt.fps) else prompt.fps
    return settings | {name: list(values) for name, values in loaded.source.fixed.items()}


def _generators(prompts: tuple[Prompt, ...]) -> Any:
    """Return the generators of a batch; they are on the CPU, so the device does not matter.

    A single one is not put into a list, because some pipelines do not take lists.
    """
    made = [torch.Generator("cpu").manual_seed(prompt.seed) for prompt in prompts]
    return made if len(made) > 1 else made[0]


def _check_as_asked(pipe: Any, prompts: tuple[Prompt, ...], videos: Any) -> None:
    """Raise Unrenderable if a pipeline returned something else than what was asked for."""
    sizes = [(len(video), *video.shape[-2:]) for video in videos]
    names = ("num_frames", "height", "width")
    asked = [tuple(prompt.argument(name) for name in names) for prompt in prompts]
    fits = len(sizes) == len(asked) and all(
        want in (None, got) for size, sought in zip(sizes, asked, strict=True)
        for got, want in zip(size, sought, strict=True)
    )  # fmt: skip
    if not fits:
        raise Unrenderable(
            f"{type(pipe).__name__} made {_in_words(sizes)}, but was asked for {_in_words(asked)}"
        )


def _in_words(videos: Sequence[tuple[Any, ...]]) -> str:
    """Return the numbers of frames and the sizes of videos, in words."""
    sizes = {f"{frames or 'any'} frames of {width}x{height}" for frames, height, width in videos}
    count = "1 video" if len(videos) == 1 else f"{len(videos)} videos"
    return f"{count} of {' and '.join(sorted(sizes))}"


def _checked_frames(video: torch.Tensor) -> Frames:
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
