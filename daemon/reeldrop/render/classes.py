"""A table of what reeldrop can't read from diffusers' video pipelines themselves, by class.

A class that is not listed renders one prompt at a time, and no embeddings of it are kept. Of every
class, the size and number of frames are compared with what was asked. Imports no library.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from reeldrop.base.job import Grid, Scalar
from reeldrop.render.kinds import UNLISTED, Kind, Size, WindowedCall


def _animatediff(pipe: Any) -> dict[str, Grid]:
    """A motion module has a fixed number of positions in time."""
    most = pipe.unet.config.motion_max_seq_length
    return {"num_frames": Grid(most=most)} if most else {}


def _allegro(pipe: Any) -> dict[str, Grid]:
    """Its VAE leaves the area black that is not covered by whole tiles."""
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
    """It makes exactly the chunks that its transformer was trained with."""
    cells = sum(pipe.transformer.config.chunk_partition)
    frames = (cells - 1) * pipe.vae_scale_factor_temporal + 1
    return {"num_frames": Grid(least=frames, most=frames)}


def _cogvideox(pipe: Any) -> dict[str, Grid]:
    """Latent frames after the first are decoded in pairs; 1.5 pairs them once more."""
    config, cell = pipe.transformer.config, pipe.vae_scale_factor_spatial
    pairs, patch = config.patch_size_t or 1, cell * config.patch_size
    height, width = config.sample_height * cell, config.sample_width * cell
    if config.use_learned_positional_embeddings:  # only for the size it was trained with
        trained = {"num_frames": config.sample_frames, "height": height, "width": width}
        return {key: Grid(least=number, most=number) for key, number in trained.items()}
    grids = {"num_frames": Grid(multiple=2 * pairs * pipe.vae_scale_factor_temporal, plus=1)}
    if config.patch_size_t:  # it has positions up to the size that it was trained with
        grids["height"] = Grid(patch, least=patch, most=height)
        grids["width"] = Grid(patch, least=patch, most=width)
    return grids


def _helios(pipe: Any) -> dict[str, Grid]:
    """It makes chunks of nine latent frames; the whole video is cut to 4n + 1 frames."""
    ratio = pipe.vae_scale_factor_temporal
    return {"num_frames": Grid(ratio, 1, least=8 * ratio + 1, chunk=8 * ratio + 1)}


def _latte(pipe: Any) -> dict[str, Grid]:
    """It adds a position to each frame; the number of positions is in its config."""
    frames = pipe.transformer.config.video_length
    return {"num_frames": Grid(least=frames, most=frames)}


def _mochi(_pipe: Any) -> dict[str, Grid]:
    """Half of its steps are linear, half quadratic, so it needs at least two."""
    return {"num_inference_steps": Grid(least=2)}


def _hunyuan_drops(pipe: Any) -> int:
    """The first of its two kinds for pictures drops the frames of the first latent frame."""
    is_first = pipe.transformer.config.image_condition_type == "latent_concat"
    return pipe.vae_scale_factor_temporal if is_first else 0


def _hunyuan15_size(pipe: Any) -> dict[str, Scalar]:
    height, width = pipe.video_processor.calculate_default_height_width(9, 16, pipe.target_size)
    return {"height": height, "width": width}


def _hunyuan15_size_of(pipe: Any, size: Size) -> Size:
    """Return a size that it does not change any more, if it is given the size that it made."""
    width, height = size
    made = pipe.video_processor.calculate_default_height_width(height, width, pipe.target_size)
    return size if (height, width) == made else _hunyuan15_size_of(pipe, (made[1], made[0]))


def _kandinsky_with_picture(pipe: Any) -> dict[str, Grid]:
    """It normalises the first four latent frames by the later ones, over a whole batch."""
    ratio = pipe.vae_scale_factor_temporal
    return {"num_frames": Grid(ratio, 1, least=4 * ratio + 1)}


def _draws_in_its_decoder(pipe: Any) -> bool:
    """LTX 0.9.1: the decoder adds noise from torch's global generator, to the batch as a whole."""
    return any(getattr(pipe.vae.config, "decoder_inject_noise", None) or ())


def _no_marks(_pipe: Any) -> int:
    """All tokens that it reads are the text's."""
    return 0


def _chat(pipe: Any) -> int:
    """EasyAnimate puts the opening of a chat before the prompt, and counts its tokens, too."""
    message = {"role": "user", "content": [{"type": "text", "text": "PROMPT"}]}
    chat = pipe.tokenizer.apply_chat_template([message], tokenize=False)
    return len(pipe.tokenizer(chat.partition("PROMPT")[0]).input_ids)


_UNWANTED_BY_KANDINSKY = (
    "Static, 2D cartoon, cartoon, 2d animation, paintings, images, worst quality, low quality, "
    "ugly, deformed, walking backwards"
)
"""The default of its call, which has no effect here because the renderer always gives a text."""


def _last_image_of_wan(pipe: Any) -> bool | None:
    """Wan 2.1 needs a last picture if it was trained with one; for 2.2 it is optional.

    With `expand_timesteps`, as in 2.2 with 5 billion parameters, it would be ignored.
    """
    if pipe.config.expand_timesteps:
        return None
    if pipe.transformer is None or pipe.transformer.config.image_dim is None:
        return False
    return True if pipe.transformer.config.pos_embed_seq_len is not None else None


_NEEDED = {"image": True}
_PICTURE = "it needs a picture, and reeldrop does not know how this class takes one"
_NO_VIDEO = "it returns single pictures, and diffusers no longer maintains it"
_COSMOS = "it needs the package cosmos_guardrail"
_VIDEO = "it edits a video, and prompts have none"
_NEW = "it has not been tried yet"
_STAGES = "it renders in stages, and has no number of steps"
_ONLY_WITH_A_PICTURE = frozenset(
    {"frame_index", "strength", "denoise_strength", "image_cond_noise_scale"}
)

_UNREAD_TEXTS = frozenset({"prompt_2", "negative_prompt_2"})  # both encoders get the first ones

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
        renders_alone=True, around=_no_marks, pictures=_NEEDED, size_of=_hunyuan15_size_of
    ),
    "HunyuanVideo15Pipeline": Kind(defaults=_hunyuan15_size, renders_alone=True, around=_no_marks),
    "HunyuanVideoImageToVideoPipeline": Kind(
        around=_no_marks, hidden=_UNREAD_TEXTS, pictures=_NEEDED, drops=_hunyuan_drops
    ),
    "HunyuanVideoPipeline": Kind(around=_no_marks, hidden=_UNREAD_TEXTS),
    "Kandinsky5I2VPipeline": Kind(
        grids=_kandinsky_with_picture,
        defaults=lambda _pipe: {"negative_prompt": _UNWANTED_BY_KANDINSKY},
        around=_no_marks,
        pictures=_NEEDED,
    ),
    "Kandinsky5T2VPipeline": Kind(
        defaults=lambda _pipe: {"negative_prompt": _UNWANTED_BY_KANDINSKY}, around=_no_marks
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
    "TextToVideoSDPipeline": Kind(keeps_texts=True, windows=WindowedCall("sample", 16), clip=True),
    "WanImageToVideoPipeline": Kind(
        keeps_texts=True, pictures=_NEEDED, last_image=_last_image_of_wan
    ),
    "WanPipeline": Kind(
        keeps_texts=True, windows=WindowedCall("hidden_states", 81, guided_apart=True)
    ),
    "WanVACEPipeline": Kind(renders_alone=True),
    # In their calls the picture or the video is optional, but they fail without it.
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
    # They return something else than other classes.
    "LTX2HDRPipeline": Kind("its frames are HDR, which reeldrop's video files can't hold"),
    "TextToVideoZeroPipeline": Kind(_NO_VIDEO),
    "TextToVideoZeroSDXLPipeline": Kind(_NO_VIDEO),
}
"""By the name of the class. Classes whose call requires a picture need no entry."""


TESTED = tuple(name for name, kind in KINDS.items() if not kind.refused and not kind.untested)
"""Classes with which a test saves, loads and renders a tiny model."""


def outcome(name: str) -> str:
    """Return what the tests say of a class: `tested`, or why it is refused or not tested."""
    kind = KINDS[name]
    if kind.refused:
        return f"refused: {kind.refused}"
    return f"not tested: {kind.untested}" if kind.untested else "tested"


def kind_of(pipeline_class: type) -> Kind:
    """Return the entry of a class of pipelines, or `UNLISTED`."""
    return kind_named(pipeline_class.__name__)


def kind_named(name: str) -> Kind:
    """Return the entry of a class of pipelines by its name, or `UNLISTED`."""
    return KINDS.get(name, UNLISTED)
