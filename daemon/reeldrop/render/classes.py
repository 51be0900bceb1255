"""What is known of diffusers' video pipelines beyond what they say themselves, class by class.

What a pipeline says itself (the arguments of its call, the ratios of its VAE) is not repeated here.
A class that is not listed renders one prompt at a time and keeps no texts. Whatever a class is, the
size and number of its frames are compared with what was asked. Imports no library.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reeldrop.base.job import Grid, Scalar


def _nothing(_pipe: Any) -> dict[str, Any]:
    return {}


def _never(_pipe: Any) -> bool:
    return False


def _zero(_pipe: Any) -> int:
    return 0


def _none(_pipe: Any) -> None:
    return None


def _same(_pipe: Any, size: Size) -> Size:
    return size


Size = tuple[int, int]
"""Width and height."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How the denoiser of a class can be called for windows of a video.

    argument: of the denoiser: the latents, (videos, channels, frames, height, width)
    frames: the usual length of its videos, in frames
    guided_apart: it is called once for prompts and once for negative prompts, not for both together
    """

    argument: str
    frames: int
    guided_apart: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One class of pipelines, described by how it differs from others.

    refused: why it is refused at load; empty if it is not
    untested: why no test renders with it; empty if one does
    grids: the values that it can make of a setting, where its attributes don't say so
    size_multiple: height and width are multiples of this, besides what its attributes say
    defaults: values of settings that its call leaves open, or that it would not keep
    hidden: arguments that prompts can't set, because frames would no longer be what `grids` says,
        or because they only matter with a picture
    renders_alone: whether a batch differs from its prompts alone, or is not possible
    draws: whether it draws from torch's global generator: then it is not batched, and not compiled,
        because a compiler in another thread sets that generator back
    keeps_texts: its embeddings can be computed beforehand, each text alone
    tiles: its VAE decodes in tiles only
    reads: tokens of a text that it reads, where no argument says so
    around: tokens of that length that are not the text's: marks and templates
    pictures: call arguments that are pictures, and whether it needs them
    last_image: whether it needs a picture to end with, too; None if it takes none
    pairs: a list of pictures is one for each prompt; else prompts with pictures are rendered alone
    size_of: the size that it makes of a picture's, where its call takes none
    drops: frames that it makes and does not return
    keyframes: its call takes the pictures as a list, and the numbers of their frames
    windows: how it can make longer videos of windows; None if that is not known
    clip: CLIP alone reads its texts, and it takes their embeddings, of any number of tokens
    """

    refused: str = ""
    untested: str = ""
    grids: Callable[[Any], Mapping[str, Grid]] = _nothing
    size_multiple: int = 1
    defaults: Callable[[Any], Mapping[str, Scalar]] = _nothing
    hidden: frozenset[str] = frozenset()
    renders_alone: bool = False
    draws: Callable[[Any], bool] = _never
    keeps_texts: bool = False
    tiles: bool = False
    reads: int | None = None
    around: Callable[[Any], int] | None = None
    pictures: Mapping[str, bool] = field(default_factory=dict)
    last_image: Callable[[Any], bool | None] = _none
    pairs: bool = False
    size_of: Callable[[Any, Size], Size] = _same
    drops: Callable[[Any], int] = _zero
    keyframes: bool = False
    windows: Cut | None = None
    clip: bool = False


UNLISTED = Kind(renders_alone=True)


def _animatediff(pipe: Any) -> dict[str, Grid]:
    """A motion module knows as many positions in time as it was trained with."""
    most = pipe.unet.config.motion_max_seq_length
    return {"num_frames": Grid(most=most)} if most else {}


def _allegro(pipe: Any) -> dict[str, Grid]:
    """Its VAE leaves black whatever is not covered by whole tiles."""
    patch = pipe.vae.spatial_compression_ratio * pipe.transformer.config.patch_size
    rows, columns = (math.lcm(stride, patch) for stride in pipe.vae.stride[1:])
    return {
        "num_frames": Grid.from_first(pipe.vae.kernel[0], pipe.vae.stride[0]),
        "height": Grid.from_first(pipe.vae.kernel[1], rows),
        "width": Grid.from_first(pipe.vae.kernel[2], columns),
    }


def _allegro_frames(pipe: Any) -> dict[str, Scalar]:
    return {"num_frames": pipe.transformer.config.sample_frames * pipe.vae_scale_factor_temporal}


def _anyflow_far(pipe: Any) -> dict[str, Grid]:
    """It makes the chunks that its transformer was trained with, and no other number."""
    cells = sum(pipe.transformer.config.chunk_partition)
    frames = (cells - 1) * pipe.vae_scale_factor_temporal + 1
    return {"num_frames": Grid(least=frames, most=frames)}


def _cogvideox(pipe: Any) -> dict[str, Grid]:
    """After the first, frames of the latents are decoded in pairs; 1.5 pairs them once more."""
    config, cell = pipe.transformer.config, pipe.vae_scale_factor_spatial
    pairs, patch = config.patch_size_t or 1, cell * config.patch_size
    height, width = config.sample_height * cell, config.sample_width * cell
    if config.use_learned_positional_embeddings:  # of what it was trained with, and no other
        trained = {"num_frames": config.sample_frames, "height": height, "width": width}
        return {key: Grid(least=number, most=number) for key, number in trained.items()}
    grids = {"num_frames": Grid(multiple=2 * pairs * pipe.vae_scale_factor_temporal, plus=1)}
    if config.patch_size_t:  # and has positions up to the size that it was trained with
        grids["height"] = Grid(patch, least=patch, most=height)
        grids["width"] = Grid(patch, least=patch, most=width)
    return grids


def _helios(pipe: Any) -> dict[str, Grid]:
    """Chunks of nine frames of the latents; what they make together is cut to 4n + 1."""
    ratio = pipe.vae_scale_factor_temporal
    return {"num_frames": Grid(ratio, 1, least=8 * ratio + 1, chunk=8 * ratio + 1)}


def _latte(pipe: Any) -> dict[str, Grid]:
    """It adds a position to each frame, and has as many positions as its config says."""
    frames = pipe.transformer.config.video_length
    return {"num_frames": Grid(least=frames, most=frames)}


def _mochi(_pipe: Any) -> dict[str, Grid]:
    """Half of its steps are linear and half quadratic: one step can't be halved."""
    return {"num_inference_steps": Grid(least=2)}


def _hunyuan_drops(pipe: Any) -> int:
    """In its first form for pictures, those of the first frame of the latents."""
    is_first = pipe.transformer.config.image_condition_type == "latent_concat"
    return pipe.vae_scale_factor_temporal if is_first else 0


def _hunyuan15_size(pipe: Any) -> dict[str, Scalar]:
    height, width = pipe.video_processor.calculate_default_height_width(9, 16, pipe.target_size)
    return {"height": height, "width": width}


def _hunyuan15_size_of(pipe: Any, size: Size) -> Size:
    """Return the size that it keeps: of some it makes another one, once they are pictures again."""
    width, height = size
    made = pipe.video_processor.calculate_default_height_width(height, width, pipe.target_size)
    return size if (height, width) == made else _hunyuan15_size_of(pipe, (made[1], made[0]))


def _kandinsky_with_picture(pipe: Any) -> dict[str, Grid]:
    """It evens out the first four frames of the latents by those behind, over a whole batch."""
    ratio = pipe.vae_scale_factor_temporal
    return {"num_frames": Grid(ratio, 1, least=4 * ratio + 1)}


def _draws_in_its_decoder(pipe: Any) -> bool:
    """LTX 0.9.1: the decoder adds noise of torch's global generator, of the batch as a whole."""
    return any(getattr(pipe.vae.config, "decoder_inject_noise", None) or ())


def _chat(pipe: Any) -> int:
    """EasyAnimate puts a chat's opening before the prompt, and counts it."""
    message = {"role": "user", "content": [{"type": "text", "text": "PROMPT"}]}
    chat = pipe.tokenizer.apply_chat_template([message], tokenize=False)
    return len(pipe.tokenizer(chat.partition("PROMPT")[0]).input_ids)


_UNWANTED_BY_KANDINSKY = (
    "Static, 2D cartoon, cartoon, 2d animation, paintings, images, worst quality, low quality, "
    "ugly, deformed, walking backwards"
)
"""What its call takes in place of none; the renderer gives it a text in any case."""


def _last_image_of_wan(pipe: Any) -> bool | None:
    """Wan 2.1 takes two pictures if it was trained with two; 2.2 with two transformers, one or two.

    With `expand_timesteps`, as in 2.2 with 5 billion parameters, the last one would be ignored.
    """
    if pipe.config.expand_timesteps:
        return None
    if pipe.transformer is None or pipe.transformer.config.image_dim is None:
        return False
    return True if pipe.transformer.config.pos_embed_seq_len is not None else None


_NEEDED = {"image": True}
_PICTURE = "it needs a picture, and is not among the classes that are given one"
_NO_VIDEO = "it returns single pictures, and diffusers mends it no more"
_COSMOS = "it needs the package cosmos_guardrail"
_VIDEO = "it changes a video, and prompts have none"
_NEW = "nobody has tried it so far"
_STAGES = "it renders in stages, and has no number of steps"
_ONLY_WITH_A_PICTURE = frozenset(
    {"frame_index", "strength", "denoise_strength", "image_cond_noise_scale"}
)

_HELIOS = Kind(
    grids=_helios,
    defaults=lambda _pipe: {"num_frames": 129},  # its own, 132, makes 129
    hidden=frozenset({"num_latent_frames_per_chunk", "is_skip_first_chunk"}),
    keeps_texts=True,
)
_LTX_2 = Kind(
    size_multiple=32,
    defaults=lambda _pipe: {"num_frames": 121},
    hidden=frozenset({"min_seconds", "max_seconds"}),
)

KINDS: Mapping[str, Kind] = {
    "AllegroPipeline": Kind(
        grids=_allegro, defaults=_allegro_frames, renders_alone=True, tiles=True
    ),
    "AnimateDiffPAGPipeline": Kind(grids=_animatediff, clip=True),
    "AnimateDiffPipeline": Kind(grids=_animatediff, clip=True),
    "AnimateDiffSDXLPipeline": Kind(grids=_animatediff, clip=True),
    "AnyFlowFARPipeline": Kind(grids=_anyflow_far, keeps_texts=True),
    "AnyFlowPipeline": Kind(keeps_texts=True),
    "CogVideoXImageToVideoPipeline": Kind(
        grids=_cogvideox, keeps_texts=True, pictures=_NEEDED, pairs=True
    ),
    "CogVideoXPipeline": Kind(grids=_cogvideox, keeps_texts=True),
    "Cosmos2_5_PredictBasePipeline": Kind(untested=_COSMOS),
    "Cosmos3OmniPipeline": Kind(untested=_COSMOS, renders_alone=True),
    "CosmosTextToWorldPipeline": Kind(untested=_COSMOS),
    "EasyAnimatePipeline": Kind(around=_chat),
    "HeliosPipeline": _HELIOS,
    "HeliosPyramidPipeline": dataclasses.replace(
        _HELIOS, untested=_STAGES, renders_alone=True, keeps_texts=False
    ),
    "HunyuanVideo15ImageToVideoPipeline": Kind(
        renders_alone=True, around=_zero, pictures=_NEEDED, size_of=_hunyuan15_size_of
    ),
    "HunyuanVideo15Pipeline": Kind(defaults=_hunyuan15_size, renders_alone=True, around=_zero),
    "HunyuanVideoImageToVideoPipeline": Kind(around=_zero, pictures=_NEEDED, drops=_hunyuan_drops),
    "HunyuanVideoPipeline": Kind(around=_zero),
    "Kandinsky5I2VPipeline": Kind(
        grids=_kandinsky_with_picture,
        defaults=lambda _pipe: {"negative_prompt": _UNWANTED_BY_KANDINSKY},
        around=_zero,
        pictures=_NEEDED,
    ),
    "Kandinsky5T2VPipeline": Kind(
        defaults=lambda _pipe: {"negative_prompt": _UNWANTED_BY_KANDINSKY}, around=_zero
    ),
    "Kandinsky6TI2VAPipeline": Kind(untested=_NEW, renders_alone=True),
    "LTX2ConditionPipeline": dataclasses.replace(_LTX_2, renders_alone=True),
    "LTX2DFRPipeline": dataclasses.replace(_LTX_2, untested=_STAGES, renders_alone=True),
    "LTX2ImageToVideoPipeline": dataclasses.replace(_LTX_2, pictures=_NEEDED),
    "LTX2Pipeline": _LTX_2,
    "LTXConditionPipeline": Kind(
        size_multiple=32,
        hidden=_ONLY_WITH_A_PICTURE,
        draws=_draws_in_its_decoder,
        pictures={"image": False, "last_image": False},
        keyframes=True,
    ),
    "LTXImageToVideoPipeline": Kind(
        size_multiple=32, draws=_draws_in_its_decoder, pictures=_NEEDED, pairs=True
    ),
    "LTXPipeline": Kind(size_multiple=32, draws=_draws_in_its_decoder),
    "LattePipeline": Kind(grids=_latte, renders_alone=True, reads=120),
    "MochiPipeline": Kind(grids=_mochi),
    "MotifVideoPipeline": Kind(),
    "SanaVideoPipeline": Kind(size_multiple=32, around=lambda _pipe: 2),
    "SkyReelsV2DiffusionForcingPipeline": Kind(),
    "SkyReelsV2Pipeline": Kind(keeps_texts=True),
    "StableVideoDiffusionPipeline": Kind(
        # It would decode the last frames of one video together with the first of the next.
        pictures=_NEEDED,
        defaults=lambda pipe: {"num_frames": pipe.unet.config.num_frames},
    ),
    "TextToVideoSDPipeline": Kind(keeps_texts=True, windows=Cut("sample", 16), clip=True),
    "WanImageToVideoPipeline": Kind(
        keeps_texts=True, pictures=_NEEDED, last_image=_last_image_of_wan
    ),
    "WanPipeline": Kind(keeps_texts=True, windows=Cut("hidden_states", 81, guided_apart=True)),
    "WanVACEPipeline": Kind(renders_alone=True),
    # Their calls leave the picture or the video open, and fail without.
    "AnimateDiffControlNetPipeline": Kind(_PICTURE),
    "AnimateDiffSparseControlNetPipeline": Kind(_PICTURE),
    "Cosmos2VideoToWorldPipeline": Kind(_PICTURE),
    "CosmosVideoToWorldPipeline": Kind(_PICTURE),
    "EasyAnimateControlPipeline": Kind(_VIDEO),
    "EasyAnimateInpaintPipeline": Kind(_VIDEO),
    "I2VGenXLPipeline": Kind(_PICTURE),
    "LTX2DFRTemporalRefinePipeline": Kind(_VIDEO),
    "LTX2InContextPipeline": Kind(_PICTURE),
    "LTXI2VLongMultiPromptPipeline": Kind(_PICTURE),
    # What they return is no video as others return it.
    "LTX2HDRPipeline": Kind("its frames have more brightness than a video file here can hold"),
    "TextToVideoZeroPipeline": Kind(_NO_VIDEO),
    "TextToVideoZeroSDXLPipeline": Kind(_NO_VIDEO),
}
"""By the name of the class. Those that require a picture in their call need no entry."""


TESTED = tuple(name for name, kind in KINDS.items() if not kind.refused and not kind.untested)
"""Classes that a test saves, loads and renders with, at tiny size."""


def outcome(name: str) -> str:
    """Return what the tests say of a class: `tested`, or why it is refused or not tested."""
    kind = KINDS[name]
    if kind.refused:
        return f"refused: {kind.refused}"
    return f"not tested: {kind.untested}" if kind.untested else "tested"


def kind_of(pipeline_class: type) -> Kind:
    """Return what is known of a class of pipelines."""
    return KINDS.get(pipeline_class.__name__, UNLISTED)
