"""Save tiny pipelines of diffusers' classes that begin a video with a picture.

Like those in `harness.models`, with random weights and the ratios of the published models.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers as d
import torch
import transformers as t
from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video_image2video as hunyuan
from tokenizers import normalizers

from harness import models
from harness.models import UNIPC, ltx, text_parts, wan_2_2_5b, wan_transformer, wan_vae


@dataclass(frozen=True)
class TinyWithPicture:
    """How to build a pipeline, and what is expected of it.

    kind: the pipeline's class
    ask: settings of a small prompt
    pictures: the call arguments that are pictures, and whether each is required
    pairs: whether several prompts, each with its picture, are rendered at once
    keeps_texts: whether embeddings of texts are kept
    drops: how many frames the pipeline makes but does not return
    reads_text: whether its videos depend on the prompt
    """

    kind: type
    build: Callable[[], Any]
    ask: Mapping[str, Any]
    pictures: Mapping[str, bool]
    pairs: bool = False
    keeps_texts: bool = False
    drops: int = 0
    reads_text: bool = True


def save(name: str, folder: Path) -> Path:
    """Save a tiny model in a folder, and return the folder."""
    torch.manual_seed(0)
    TINY_WITH_PICTURES[name].build().save_pretrained(folder)
    return folder


def _eye(size: int, patch: int) -> tuple[t.CLIPVisionModelWithProjection, t.CLIPImageProcessorPil]:
    """Return a tiny CLIP image encoder for pictures of a size, and its image processor."""
    config = t.CLIPVisionConfig(
        hidden_size=16, projection_dim=16, num_hidden_layers=2, num_attention_heads=2,
        image_size=size, intermediate_size=16, patch_size=patch,
    )  # fmt: skip
    processor = t.CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size)
    return t.CLIPVisionModelWithProjection(config).eval(), processor


def wan_2_1(**changed: Any) -> Any:
    """Return a pipeline like Wan 2.1's, which also encodes the picture with CLIP."""
    image_encoder, image_processor = _eye(16, 8)
    transformer = wan_transformer(in_channels=36, image_dim=16, added_kv_proj_dim=24, **changed)
    return d.WanImageToVideoPipeline(
        vae=wan_vae(), transformer=transformer, image_encoder=image_encoder,
        image_processor=image_processor, scheduler=d.UniPCMultistepScheduler(**UNIPC),
        **text_parts(),
    )  # fmt: skip


def wan_2_2_a14b() -> Any:
    """Return a pipeline like Wan 2.2's large one."""
    return d.WanImageToVideoPipeline(
        vae=wan_vae(), transformer=wan_transformer(in_channels=36),
        transformer_2=wan_transformer(in_channels=36), boundary_ratio=0.9,
        scheduler=d.UniPCMultistepScheduler(**UNIPC), **text_parts(),
    )  # fmt: skip


def stable_video_diffusion() -> Any:
    """Return a pipeline like Stable Video Diffusion's, which reads no text."""
    image_encoder, feature_extractor = _eye(224, 32)
    unet = d.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 32), layers_per_block=1, sample_size=32, in_channels=8,
        out_channels=4, cross_attention_dim=16, num_attention_heads=2, num_frames=6,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        projection_class_embeddings_input_dim=96, addition_time_embed_dim=32,
    )  # fmt: skip
    vae = d.AutoencoderKLTemporalDecoder(
        block_out_channels=(32,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        latent_channels=4,
    )  # fmt: skip
    scheduler = d.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type="v_prediction", sigma_max=700.0, sigma_min=0.002, steps_offset=1,
        timestep_spacing="leading", timestep_type="continuous", use_karras_sigmas=True,
    )  # fmt: skip
    return d.StableVideoDiffusionPipeline(
        vae=vae, image_encoder=image_encoder, unet=unet, scheduler=scheduler,
        feature_extractor=feature_extractor,
    )  # fmt: skip


def _with_parts_of(pipe: Any, kind: type, **changed: Any) -> Any:
    """Return a pipeline of a class with the parts of another pipeline, some of them replaced."""
    return kind(**{**pipe.components, **changed})


def ltx_2() -> Any:
    """Return a pipeline like LTX-2's."""
    return _with_parts_of(models.ltx_2(), d.LTX2ImageToVideoPipeline)


def cogvideox(*, second: bool = False) -> Any:
    """Return a pipeline like that of CogVideoX-5b for pictures, or with `second` like 1.5's."""
    texts = models.cogvideox(second=second)
    changed = {"in_channels": 8, "use_rotary_positional_embeddings": True}
    changed |= {"ofs_embed_dim": 4} if second else {"use_learned_positional_embeddings": True}
    transformer = d.CogVideoXTransformer3DModel.from_config(texts.transformer.config, **changed)
    return _with_parts_of(texts, d.CogVideoXImageToVideoPipeline, transformer=transformer.eval())


def hunyuanvideo(condition: str) -> Any:
    """Return a pipeline like HunyuanVideo's; `condition` is how its transformer gets the picture.

    Its text encoder sees the picture in 576 tokens. Texts come in a chat of 103 tokens, in which
    the pipeline looks for marks.
    """
    texts = models.hunyuanvideo()
    before, after = hunyuan.DEFAULT_PROMPT_TEMPLATE["template"].split("{}")
    chat = ["x"] * hunyuan.DEFAULT_PROMPT_TEMPLATE["crop_start"]
    chat[3] = chat[-2] = models.END_OF_HEADER
    chat[5] = models.IMAGE
    tokenizer = models.words_tokenizer(end=False)
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(before, " ".join([*chat, ""])),
            normalizers.Replace(after, f" x x x {models.END_OF_HEADER} x"),
        ]
    )
    config = t.LlavaConfig(
        text_config=texts.text_encoder.config, pad_token_id=0,
        image_token_id=tokenizer.convert_tokens_to_ids(models.IMAGE),
        vision_config=t.CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            image_size=24, patch_size=1,
        ),
    )  # fmt: skip
    channels = {"token_replace": 4, "latent_concat": 9}[condition]
    transformer = d.HunyuanVideoTransformer3DModel.from_config(
        texts.transformer.config, image_condition_type=condition, in_channels=channels
    )
    return _with_parts_of(
        texts,
        d.HunyuanVideoImageToVideoPipeline,
        transformer=transformer.eval(),
        text_encoder=t.LlavaForConditionalGeneration(config).eval(),
        tokenizer=tokenizer,
        image_processor=t.CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=24),
    )


def hunyuanvideo_1_5() -> Any:
    """Return a pipeline like HunyuanVideo 1.5's, whose videos have about the picture's shape."""
    config = t.SiglipVisionConfig(
        hidden_size=12, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=8,
    )  # fmt: skip
    return _with_parts_of(
        models.hunyuanvideo_1_5(),
        d.HunyuanVideo15ImageToVideoPipeline,
        image_encoder=t.SiglipVisionModel(config).eval(),
        feature_extractor=t.SiglipImageProcessorPil(size={"height": 16, "width": 16}),
    )


def kandinsky_5() -> Any:
    """Return a pipeline like Kandinsky 5's."""
    texts = models.kandinsky_5()
    transformer = d.Kandinsky5Transformer3DModel.from_config(
        texts.transformer.config, visual_cond=True
    )
    return _with_parts_of(texts, d.Kandinsky5I2VPipeline, transformer=transformer.eval())


_IMAGE = {"image": True}
_BOTH = {"image": True, "last_image": True}
_SMALL = {"num_frames": 9, "height": 32, "width": 48}
_SHORT = {**_SMALL, "max_sequence_length": 16}
_LTX = {"num_frames": 9, "height": 64, "width": 96, "max_sequence_length": 16}

TINY_WITH_PICTURES: Mapping[str, TinyWithPicture] = {
    "Wan 2.1": TinyWithPicture(
        d.WanImageToVideoPipeline, wan_2_1, _SHORT, _IMAGE, keeps_texts=True
    ),
    "Wan 2.1 first and last": TinyWithPicture(
        d.WanImageToVideoPipeline,
        functools.partial(wan_2_1, pos_embed_seq_len=10),
        _SHORT,
        _BOTH,
        keeps_texts=True,
    ),
    "Wan 2.2 A14B": TinyWithPicture(
        d.WanImageToVideoPipeline,
        wan_2_2_a14b,
        _SHORT,
        {**_BOTH, "last_image": False},
        keeps_texts=True,
    ),
    "Wan 2.2 5B": TinyWithPicture(
        d.WanImageToVideoPipeline,
        functools.partial(wan_2_2_5b, d.WanImageToVideoPipeline),
        {**_SHORT, "width": 64},
        _IMAGE,
        keeps_texts=True,
    ),
    "LTX": TinyWithPicture(
        d.LTXImageToVideoPipeline,
        functools.partial(ltx, d.LTXImageToVideoPipeline),
        _LTX,
        _IMAGE,
        pairs=True,
    ),
    "LTX 0.9.5": TinyWithPicture(
        d.LTXConditionPipeline,
        functools.partial(ltx, d.LTXConditionPipeline),
        _LTX,
        {"image": False, "last_image": False},
    ),
    "Stable Video Diffusion": TinyWithPicture(
        d.StableVideoDiffusionPipeline,
        stable_video_diffusion,
        {**_SMALL, "num_frames": 6},
        _IMAGE,
        reads_text=False,
    ),
    "LTX-2": TinyWithPicture(d.LTX2ImageToVideoPipeline, ltx_2, _LTX, _IMAGE),
    "CogVideoX": TinyWithPicture(
        d.CogVideoXImageToVideoPipeline,
        cogvideox,
        {"num_frames": 9, "height": 64, "width": 64},
        _IMAGE,
        pairs=True,
        keeps_texts=True,
    ),
    "CogVideoX 1.5": TinyWithPicture(
        d.CogVideoXImageToVideoPipeline,
        functools.partial(cogvideox, second=True),
        {"num_frames": 17, "height": 32, "width": 48},
        _IMAGE,
        pairs=True,
        keeps_texts=True,
    ),
    "HunyuanVideo": TinyWithPicture(
        d.HunyuanVideoImageToVideoPipeline,
        functools.partial(hunyuanvideo, "token_replace"),
        _SMALL,
        _IMAGE,
    ),
    "HunyuanVideo, first form": TinyWithPicture(
        d.HunyuanVideoImageToVideoPipeline,
        functools.partial(hunyuanvideo, "latent_concat"),
        _SMALL,
        _IMAGE,
        drops=4,
    ),
    "HunyuanVideo 1.5": TinyWithPicture(
        d.HunyuanVideo15ImageToVideoPipeline,
        hunyuanvideo_1_5,
        {"num_frames": 5, "height": 64, "width": 64},
        _IMAGE,
    ),
    "Kandinsky 5": TinyWithPicture(
        d.Kandinsky5I2VPipeline,
        kandinsky_5,
        {"num_frames": 17, "height": 32, "width": 48},
        _IMAGE,
    ),
}
"""By the names that people know."""
