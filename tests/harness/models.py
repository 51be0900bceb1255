"""Save tiny pipelines of diffusers' video classes, with random weights.

The ratios of VAE and patches are those of the published models, because they decide how a pipeline
rounds numbers of frames and sizes. Each builder returns a pipeline that renders in a fraction of a
second.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers as d
import torch
import transformers as t
from diffusers.guiders import AdaptiveProjectedGuidance, ClassifierFreeGuidance
from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video as hunyuan
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from harness.fakes import letters_tokenizer

END_OF_TURN = "<|im_end|>"
END_OF_HEADER, IMAGE = "<|end_header_id|>", "<image>"
WORDS = (
    "a", "horse", "cow", "bird", "runs", "the", "grass", "snow", "user", END_OF_TURN, END_OF_HEADER,
    IMAGE,
)  # fmt: skip


@dataclass(frozen=True)
class Tiny:
    """How to build a pipeline, and what is expected of it.

    kind: the pipeline's class
    ask: settings of a small prompt
    wrong: a setting with an impossible value, and the nearest possible values
    fps: the frames per second that it renders for, if its call has an argument for that
    heeds_fps: whether its frames depend on `fps`
    says: the call's names of settings; empty for a setting that it does not take
    reads: how many words of one letter it reads of a text
    is_guided: whether it reads the negative prompt by default
    """

    kind: type
    build: Callable[[], Any]
    ask: Mapping[str, Any]
    wrong: tuple[str, int, tuple[int, ...]]
    fps: float | None = None
    heeds_fps: bool = False
    says: Mapping[str, str] = field(default_factory=dict)
    reads: int = 15
    is_guided: bool = True


def save(name: str, folder: Path) -> Path:
    """Save a tiny model in a folder, and return the folder."""
    torch.manual_seed(0)
    TINY[name].build().save_pretrained(folder)
    return folder


def words_tokenizer(
    *, end: bool = True, chat: str | None = None, before: tuple[str, int] | None = None
) -> t.PreTrainedTokenizerFast:
    """Return a tokenizer of words and single letters; with `end`, texts get an end mark.

    `before` is the text that a pipeline puts before prompts, and its length in the tokens of the
    published model, which the pipeline knows.
    """
    letters = [chr(code) for code in range(33, 127)]
    names = ["<pad>", "</s>", "<unk>", "<s>", *WORDS, *letters]
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    known = "|".join(rf"{re.escape(word)}(?![A-Za-z])" for word in WORDS)
    pattern = Regex(rf"{known}|\S")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(pattern, "isolated")]
    )
    if before is not None:
        tokenizer.normalizer = normalizers.Replace(before[0], "x " * before[1])
    if end:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 1)]
        )
    made = t.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        padding_side="right",
    )  # fmt: skip
    if chat is not None:
        made.chat_template = chat
    return made


VOCABULARY = 128
CLIP_VOCABULARY = 190
"""Sizes of the vocabularies, at least those of the tokenizers."""


def t5(width: int = 32) -> t.T5EncoderModel:
    """Return a tiny T5 encoder."""
    config = t.T5Config(
        vocab_size=VOCABULARY, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    return t.T5EncoderModel(config).eval()


def clip(width: int = 16) -> tuple[t.CLIPTextModel, t.CLIPTokenizer]:
    """Return a tiny CLIP text encoder, and its tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = letters_tokenizer(Path(folder) / "vocabulary")
    tokenizer.model_max_length = 77
    config = t.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=77, projection_dim=width,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return t.CLIPTextModel(config).eval(), tokenizer


def wan_vae(**changed: Any) -> d.AutoencoderKLWan:
    """Return Wan's VAE: 4 frames and 8x8 pixels to a cell."""
    settings = {"base_dim": 3, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    settings |= {"temperal_downsample": [False, True, True]}
    return d.AutoencoderKLWan(**(settings | changed))


WAN_PARTS = {
    "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 16,
    "out_channels": 16, "text_dim": 32, "freq_dim": 32, "ffn_dim": 16, "cross_attn_norm": True,
}  # fmt: skip
UNIPC = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}


def text_parts() -> dict[str, Any]:
    """Return the T5 encoder and the tokenizer that many pipelines have."""
    return {"text_encoder": t5(), "tokenizer": words_tokenizer()}


def wan_transformer(**changed: Any) -> d.WanTransformer3DModel:
    """Return Wan's transformer: 2x2 cells to a token."""
    parts = {**WAN_PARTS, "num_layers": 1, "rope_max_seq_len": 32, **changed}
    return d.WanTransformer3DModel(**parts)


def wan() -> Any:
    """Return a pipeline like Wan 2.1's."""
    return d.WanPipeline(
        vae=wan_vae(), transformer=wan_transformer(),
        scheduler=d.UniPCMultistepScheduler(**UNIPC), **text_parts(),
    )  # fmt: skip


def wan_2_2_a14b() -> Any:
    """Return a pipeline like Wan 2.2's large one: a transformer for each half of the noise."""
    return d.WanPipeline(
        vae=wan_vae(), transformer=wan_transformer(), transformer_2=wan_transformer(),
        scheduler=d.UniPCMultistepScheduler(**UNIPC), boundary_ratio=0.875, **text_parts(),
    )  # fmt: skip


def wan_2_2_5b(kind: type = d.WanPipeline) -> Any:
    """Return a pipeline like Wan 2.2's small one, whose VAE has 16x16 pixels to a cell."""
    vae = wan_vae(
        z_dim=48, in_channels=12, out_channels=12, is_residual=True, patch_size=2,
        scale_factor_spatial=16, scale_factor_temporal=4, latents_mean=[0.0] * 48,
        latents_std=[1.0] * 48,
    )  # fmt: skip
    return kind(
        vae=vae, transformer=wan_transformer(in_channels=48, out_channels=48),
        scheduler=d.UniPCMultistepScheduler(**UNIPC), expand_timesteps=True, **text_parts(),
    )  # fmt: skip


def wan_vace() -> Any:
    """Return a pipeline like Wan VACE's."""
    transformer = d.WanVACETransformer3DModel(
        **WAN_PARTS, num_layers=2, rope_max_seq_len=32, vace_layers=[0], vace_in_channels=96
    )
    return d.WanVACEPipeline(
        vae=wan_vae(), transformer=transformer,
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=7.0), **text_parts(),
    )  # fmt: skip


def _skyreels(kind: type) -> Any:
    transformer = d.SkyReelsV2Transformer3DModel(**WAN_PARTS, num_layers=1, rope_max_seq_len=32)
    scheduler = d.UniPCMultistepScheduler(flow_shift=8.0, use_flow_sigmas=True)
    return kind(vae=wan_vae(), transformer=transformer, scheduler=scheduler, **text_parts())


def helios() -> Any:
    """Return a pipeline like Helios's."""
    transformer = d.HeliosTransformer3DModel(
        **WAN_PARTS, num_layers=1, qk_norm="rms_norm_across_heads", rope_dim=(4, 4, 4),
        has_multi_term_memory_patch=True, guidance_cross_attn=True, zero_history_timestep=True,
        is_amplify_history=False,
    )  # fmt: skip
    scheduler = d.HeliosScheduler(stage_range=[0, 1], stages=1, use_dynamic_shifting=True)
    return d.HeliosPipeline(
        vae=wan_vae(), transformer=transformer, scheduler=scheduler, **text_parts()
    )


def anyflow() -> Any:
    """Return a pipeline like AnyFlow's."""
    transformer = d.AnyFlowTransformer3DModel(
        **WAN_PARTS, num_layers=1, rope_max_seq_len=32, gate_value=0.25, deltatime_type="r"
    )
    scheduler = d.FlowMapEulerDiscreteScheduler(num_train_timesteps=1000, shift=5.0)
    return d.AnyFlowPipeline(
        vae=wan_vae(), transformer=transformer, scheduler=scheduler, **text_parts()
    )


def anyflow_far() -> Any:
    """Return a pipeline like AnyFlow's that renders chunk by chunk."""
    transformer = d.AnyFlowFARTransformer3DModel(
        **WAN_PARTS, num_layers=1, rope_max_seq_len=32, gate_value=0.25, chunk_partition=(1, 2)
    )
    scheduler = d.FlowMapEulerDiscreteScheduler(num_train_timesteps=1000, shift=5.0)
    return d.AnyFlowFARPipeline(
        vae=wan_vae(), transformer=transformer, scheduler=scheduler, **text_parts()
    )


def ltx(kind: type = d.LTXPipeline, *, noise: bool = False) -> Any:
    """Return a pipeline like LTX's; with `noise`, the decoder of 0.9.1."""
    vae = d.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, True, False),
        decoder_spatio_temporal_scaling=(True, True, True, False),
        decoder_inject_noise=(noise,) * 5, upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4, patch_size=4, patch_size_t=1,
    )  # fmt: skip
    for block in vae.decoder.modules():  # its noise is of strength zero until it is trained
        for name in ("per_channel_scale1", "per_channel_scale2"):
            if getattr(block, name, None) is not None:
                getattr(block, name).data.fill_(1.0)
    transformer = d.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, num_layers=1, caption_channels=32,
    )  # fmt: skip
    scheduler = d.FlowMatchEulerDiscreteScheduler()
    return kind(vae=vae, transformer=transformer, scheduler=scheduler, **text_parts())


def cogvideox(*, second: bool = False) -> Any:
    """Return a pipeline like CogVideoX 1.0's, or with `second` like 1.5's."""
    transformer = d.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4,
        time_embed_dim=4, text_embed_dim=32, num_layers=1, sample_width=8, sample_height=8,
        sample_frames=17 if second else 9, patch_size=2, patch_size_t=2 if second else None,
        max_text_seq_length=226, use_rotary_positional_embeddings=second,
        patch_bias=not second, temporal_compression_ratio=4,
    )  # fmt: skip
    vae = d.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8,) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2,
    )  # fmt: skip
    return d.CogVideoXPipeline(
        vae=vae, transformer=transformer, scheduler=d.CogVideoXDPMScheduler(), **text_parts()
    )


def hunyuan_vae() -> d.AutoencoderKLHunyuanVideo:
    """Return HunyuanVideo's VAE: 4 frames and 8x8 pixels to a cell."""
    return d.AutoencoderKLHunyuanVideo(
        latent_channels=4, down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4, block_out_channels=(8,) * 4,
        layers_per_block=1, norm_num_groups=4,
    )  # fmt: skip


def hunyuanvideo() -> Any:
    """Return a pipeline like HunyuanVideo's."""
    transformer = d.HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1,
        num_single_layers=1, num_refiner_layers=1, patch_size=2, patch_size_t=1,
        guidance_embeds=True, text_embed_dim=16, pooled_projection_dim=16, rope_axes_dim=(2, 4, 4),
    )  # fmt: skip
    config = t.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=3,
        num_attention_heads=2, pad_token_id=0, eos_token_id=1, bos_token_id=3,
    )  # fmt: skip
    text_encoder_2, tokenizer_2 = clip()
    template = hunyuan.DEFAULT_PROMPT_TEMPLATE
    before = (template["template"].partition("{}")[0], template["crop_start"])
    return d.HunyuanVideoPipeline(
        vae=hunyuan_vae(), transformer=transformer, text_encoder=t.LlamaModel(config).eval(),
        tokenizer=words_tokenizer(end=False, before=before), text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2, scheduler=d.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )  # fmt: skip


QWEN_ROPE = {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"}
QWEN = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2,
    "num_key_value_heads": 2, "num_hidden_layers": 2, "rope_scaling": QWEN_ROPE,
    "rope_theta": 1000000.0, "pad_token_id": 0, "bos_token_id": 3, "eos_token_id": 1,
}  # fmt: skip


def hunyuanvideo_1_5() -> Any:
    """Return a pipeline like HunyuanVideo 1.5's."""
    chat = "{{ 'x ' * 108 }}{{ messages[1]['content'] }} x"
    transformer = d.HunyuanVideo15Transformer3DModel(
        in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=1,
        num_refiner_layers=1, mlp_ratio=2.0, patch_size=1, patch_size_t=1, text_embed_dim=16,
        text_embed_2_dim=32, image_embed_dim=12, rope_axes_dim=(2, 2, 4), target_size=64,
        task_type="t2v",
    )  # fmt: skip
    vae = d.AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1,
        spatial_compression_ratio=16, temporal_compression_ratio=4,
        downsample_match_channel=False, upsample_match_channel=False,
    )  # fmt: skip
    config = t.T5Config(vocab_size=384, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return d.HunyuanVideo15Pipeline(
        vae=vae.eval(), transformer=transformer.eval(),
        text_encoder=t.Qwen2_5_VLTextModel(t.Qwen2_5_VLTextConfig(**QWEN)).eval(),
        tokenizer=words_tokenizer(end=False, chat=chat),
        text_encoder_2=t.T5EncoderModel(config).eval(), tokenizer_2=t.ByT5Tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=7.0),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
    )  # fmt: skip


def mochi() -> Any:
    """Return a pipeline like Mochi's."""
    transformer = d.MochiTransformer3DModel(
        patch_size=2, num_attention_heads=2, attention_head_dim=8, num_layers=2,
        pooled_projection_dim=16, in_channels=12, text_embed_dim=32, time_embed_dim=4,
        max_sequence_length=256,
    )  # fmt: skip
    vae = d.AutoencoderKLMochi(
        latent_channels=12, encoder_block_out_channels=(32,) * 4,
        decoder_block_out_channels=(32,) * 4, layers_per_block=(1,) * 5,
    )  # fmt: skip
    return d.MochiPipeline(
        vae=vae, transformer=transformer,
        scheduler=d.FlowMatchEulerDiscreteScheduler(invert_sigmas=True), **text_parts(),
    )  # fmt: skip


def _image_vae(**changed: Any) -> d.AutoencoderKL:
    settings = {
        "block_out_channels": (8,) * 4, "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4, "layers_per_block": 1, "norm_num_groups": 4,
    }  # fmt: skip
    return d.AutoencoderKL(**(settings | changed)).eval()


def _animatediff_parts(width: int, **unet: Any) -> dict[str, Any]:
    """Return the parts of AnimateDiff's pipelines; `width` is that of the texts."""
    text_encoder, tokenizer = clip(8)
    adapter = d.MotionAdapter(
        block_out_channels=(8, 8), motion_layers_per_block=1, motion_norm_num_groups=2,
        motion_num_attention_heads=2, motion_max_seq_length=32,
    )  # fmt: skip
    unet_of_pictures = d.UNet2DConditionModel(
        block_out_channels=(8, 8), layers_per_block=1, sample_size=8, cross_attention_dim=width,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), norm_num_groups=2,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=2, **unet,
    )  # fmt: skip
    scheduler = d.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False
    )
    return {
        "vae": _image_vae(), "text_encoder": text_encoder, "tokenizer": tokenizer,
        "unet": unet_of_pictures, "motion_adapter": adapter, "scheduler": scheduler,
    }  # fmt: skip


def animatediff(kind: type = d.AnimateDiffPipeline) -> Any:
    """Return a pipeline like AnimateDiff's with Stable Diffusion 1.5."""
    return kind(**_animatediff_parts(8))


def animatediff_sdxl() -> Any:
    """Return a pipeline like AnimateDiff's with Stable Diffusion XL."""
    parts = _animatediff_parts(
        16, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 8,
    )  # fmt: skip
    text_encoder_2 = t.CLIPTextModelWithProjection(parts["text_encoder"].config).eval()
    return d.AnimateDiffSDXLPipeline(
        **parts, text_encoder_2=text_encoder_2, tokenizer_2=parts["tokenizer"]
    )


def easyanimate() -> Any:
    """Return a pipeline like EasyAnimate's."""
    chat = "user {% for m in messages %}{{ m['content'][0]['text'] }}{% endfor %} assistant"
    transformer = d.EasyAnimateTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4,
        time_embed_dim=4, text_embed_dim=16, num_layers=1, sample_width=16, sample_height=16,
        patch_size=2,
    )  # fmt: skip
    vae = d.AutoencoderKLMagvit(
        latent_channels=4, block_out_channels=(8,) * 4, layers_per_block=1, norm_num_groups=2,
        down_block_types=(
            "SpatialDownBlock3D", "SpatialTemporalDownBlock3D", "SpatialTemporalDownBlock3D",
            "SpatialTemporalDownBlock3D",
        ),
        up_block_types=(
            "SpatialUpBlock3D", "SpatialTemporalUpBlock3D", "SpatialTemporalUpBlock3D",
            "SpatialTemporalUpBlock3D",
        ),
        spatial_group_norm=False,
    )  # fmt: skip
    config = t.Qwen2VLConfig(text_config=QWEN, vision_config=QWEN_VISION)
    return d.EasyAnimatePipeline(
        vae=vae, transformer=transformer,
        text_encoder=t.Qwen2VLForConditionalGeneration(config).eval(),
        tokenizer=words_tokenizer(end=False, chat=chat),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


QWEN_VISION = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 1}


def kandinsky_5() -> Any:
    """Return a pipeline like Kandinsky 5's, with a tokenizer in place of a processor."""
    config = t.Qwen2_5_VLConfig(
        text_config=QWEN,
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
            "out_hidden_size": 16,
        },
    )  # fmt: skip
    text_encoder_2, tokenizer_2 = clip()
    transformer = d.Kandinsky5Transformer3DModel(
        in_visual_dim=4, in_text_dim=16, in_text_dim2=16, time_dim=16, out_visual_dim=4,
        patch_size=(1, 2, 2), model_dim=16, ff_dim=16, num_text_blocks=1, num_visual_blocks=1,
        axes_dims=(4, 6, 6), visual_cond=False, attention_type="regular",
    )  # fmt: skip
    pipe = d.Kandinsky5T2VPipeline(
        vae=hunyuan_vae(), transformer=transformer,
        text_encoder=t.Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=words_tokenizer(end=False), text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2, scheduler=d.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )  # fmt: skip
    before = (pipe.prompt_template.partition("{}")[0], pipe.prompt_template_encode_start_idx)
    pipe.register_modules(tokenizer=words_tokenizer(end=False, before=before))
    return pipe


VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 16, "patch_size": 8,
}  # fmt: skip


def motif_video() -> Any:
    """Return a pipeline like Motif-Video's."""
    config = t.T5Gemma2EncoderConfig(
        text_config=t.T5Gemma2TextConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            vocab_size=VOCABULARY, max_position_embeddings=512, head_dim=16, num_key_value_heads=2,
            dropout_rate=0.0,
        ),
        vision_config=VISION,
    )  # fmt: skip
    transformer = d.MotifVideoTransformer3DModel(
        in_channels=33, out_channels=16, num_attention_heads=2, attention_head_dim=12, num_layers=1,
        num_single_layers=1, mlp_ratio=1.0, patch_size=2, patch_size_t=1, qk_norm="rms_norm",
        text_embed_dim=32, rope_axes_dim=(4, 4, 4),
    )  # fmt: skip
    return d.MotifVideoPipeline(
        vae=wan_vae(), transformer=transformer, text_encoder=t.T5Gemma2Encoder(config).eval(),
        tokenizer=words_tokenizer(), scheduler=d.FlowMatchEulerDiscreteScheduler(shift=7.0),
        guider=AdaptiveProjectedGuidance(), feature_extractor=None,
    )  # fmt: skip


def sana_video() -> Any:
    """Return a pipeline like Sana-Video's with Wan's VAE."""
    config = t.Gemma2Config(
        head_dim=16, hidden_size=8, intermediate_size=16, num_attention_heads=2,
        num_hidden_layers=1, num_key_value_heads=2, vocab_size=VOCABULARY, pad_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    transformer = d.SanaVideoTransformer3DModel(
        in_channels=16, out_channels=16, num_attention_heads=2, attention_head_dim=12, num_layers=1,
        num_cross_attention_heads=2, cross_attention_head_dim=12, cross_attention_dim=24,
        caption_channels=8, sample_size=30, patch_size=(1, 2, 2), qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )  # fmt: skip
    return d.SanaVideoPipeline(
        vae=wan_vae(), transformer=transformer, text_encoder=t.Gemma2Model(config).eval(),
        tokenizer=words_tokenizer(end=False),
        scheduler=d.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0
        ),
    )  # fmt: skip


def latte() -> Any:
    """Return a pipeline like Latte's."""
    transformer = d.LatteTransformer3DModel(
        sample_size=8, num_layers=1, patch_size=2, attention_head_dim=8, num_attention_heads=3,
        caption_channels=32, in_channels=4, cross_attention_dim=24, out_channels=8,
        attention_bias=True, activation_fn="gelu-approximate", num_embeds_ada_norm=1000,
        norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6, video_length=16,
    )  # fmt: skip
    return d.LattePipeline(
        vae=_image_vae(),
        transformer=transformer.eval(),
        scheduler=d.DDIMScheduler(),
        **text_parts(),
    )


def allegro() -> Any:
    """Return a pipeline like Allegro's, with smaller tiles."""
    transformer = d.AllegroTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, num_layers=1,
        cross_attention_dim=24, sample_width=16, sample_height=16, sample_frames=6,
        caption_channels=32,
    )  # fmt: skip
    vae = d.AutoencoderKLAllegro(
        down_block_types=("AllegroDownBlock3D",) * 4, up_block_types=("AllegroUpBlock3D",) * 4,
        block_out_channels=(4,) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2,
        sample_size=128,
    )  # fmt: skip
    return d.AllegroPipeline(
        vae=vae.eval(), transformer=transformer, scheduler=d.DDIMScheduler(), **text_parts()
    )


def ltx_2(kind: type = d.LTX2Pipeline) -> Any:
    """Return a pipeline like LTX-2's, which also makes sound."""
    text = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 16, "head_dim": 8,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "pad_token_id": 0, "max_position_embeddings": 2048,
    }  # fmt: skip
    config = t.Gemma3Config(text_config=text, vision_config=VISION, mm_tokens_per_image=4)
    transformer = d.LTX2VideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, audio_in_channels=4, audio_out_channels=4,
        audio_num_attention_heads=2, audio_attention_head_dim=4, audio_cross_attention_dim=8,
        num_layers=1, qk_norm="rms_norm_across_heads", caption_channels=16,
        rope_double_precision=False, rope_type="split",
    )  # fmt: skip
    connectors = d.pipelines.ltx2.LTX2TextConnectors(
        caption_channels=16, text_proj_in_factor=3, video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=8, video_connector_num_layers=1,
        video_connector_num_learnable_registers=None, audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=8, audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None, connector_rope_base_seq_len=32,
        rope_theta=10000.0, rope_double_precision=False, causal_temporal_positioning=False,
        rope_type="split",
    )  # fmt: skip
    vae = d.AutoencoderKLLTX2Video(
        latent_channels=4, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 3,
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 4,
        spatio_temporal_scaling=(True,) * 4, decoder_spatio_temporal_scaling=(True,) * 3,
        decoder_inject_noise=(False,) * 4, upsample_residual=(False,) * 3, upsample_factor=(1,) * 3,
        downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        patch_size=4, patch_size_t=1, spatial_compression_ratio=32, temporal_compression_ratio=8,
    )  # fmt: skip
    audio_vae = d.AutoencoderKLLTX2Audio(
        base_channels=4, output_channels=2, ch_mult=(1,), num_res_blocks=1, attn_resolutions=None,
        in_channels=2, resolution=32, latent_channels=2, norm_type="pixel",
        causality_axis="height", mid_block_add_attention=False, sample_rate=16000,
        mel_hop_length=160, is_causal=True, mel_bins=8,
    )  # fmt: skip
    vocoder = d.pipelines.ltx2.LTX2Vocoder(
        in_channels=16, hidden_channels=32, out_channels=2, upsample_kernel_sizes=[20, 32],
        upsample_factors=[10, 16], resnet_kernel_sizes=[3], resnet_dilations=[[1, 3, 5]],
        leaky_relu_negative_slope=0.1, output_sampling_rate=16000,
    )  # fmt: skip
    return kind(
        vae=vae, audio_vae=audio_vae, transformer=transformer, connectors=connectors,
        vocoder=vocoder, text_encoder=t.Gemma3ForConditionalGeneration(config).eval(),
        tokenizer=words_tokenizer(end=False), scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


_SMALL = {"num_frames": 9, "height": 32, "width": 48}
_SHORT = {**_SMALL, "max_sequence_length": 16}
_LTX = {"num_frames": 9, "height": 64, "width": 64, "max_sequence_length": 16}
_ODD = ("num_frames", 10, (9, 13))
_ODD_8 = ("num_frames", 10, (9, 17))

TINY: Mapping[str, Tiny] = {
    "Wan 2.1": Tiny(d.WanPipeline, wan, _SHORT, _ODD),
    "Wan 2.2 A14B": Tiny(d.WanPipeline, wan_2_2_a14b, _SHORT, _ODD),
    "Wan 2.2 5B": Tiny(d.WanPipeline, wan_2_2_5b, {**_SHORT, "width": 64}, ("width", 48, (32, 64))),
    "Wan VACE": Tiny(d.WanVACEPipeline, wan_vace, _SHORT, _ODD),
    "SkyReels V2": Tiny(
        d.SkyReelsV2Pipeline, functools.partial(_skyreels, d.SkyReelsV2Pipeline), _SHORT, _ODD
    ),
    "SkyReels V2 DF": Tiny(
        d.SkyReelsV2DiffusionForcingPipeline,
        functools.partial(_skyreels, d.SkyReelsV2DiffusionForcingPipeline),
        _SHORT,
        _ODD,
        fps=24,
    ),
    "Helios": Tiny(
        d.HeliosPipeline, helios, {**_SHORT, "num_frames": 65}, ("num_frames", 66, (65, 97))
    ),
    "AnyFlow FAR": Tiny(
        d.AnyFlowFARPipeline, anyflow_far, _SHORT, ("num_frames", 13, (9,)), is_guided=False
    ),
    "AnyFlow": Tiny(d.AnyFlowPipeline, anyflow, _SHORT, _ODD, is_guided=False),
    "LTX": Tiny(d.LTXPipeline, ltx, _LTX, _ODD_8, 25, heeds_fps=True),
    "LTX 0.9.1": Tiny(
        d.LTXPipeline, functools.partial(ltx, noise=True), _LTX, _ODD_8, 25, heeds_fps=True
    ),
    "LTX 0.9.5": Tiny(
        d.LTXConditionPipeline,
        functools.partial(ltx, d.LTXConditionPipeline),
        _LTX,
        ("height", 48, (32, 64)),
        25,
        heeds_fps=True,
    ),
    "LTX-2": Tiny(d.LTX2Pipeline, ltx_2, _LTX, _ODD_8, 24, heeds_fps=True, reads=16),
    "LTX-2 with conditions": Tiny(
        d.LTX2ConditionPipeline,
        functools.partial(ltx_2, d.LTX2ConditionPipeline),
        _LTX,
        _ODD_8,
        24,
        heeds_fps=True,
        reads=16,
    ),
    "CogVideoX": Tiny(
        d.CogVideoXPipeline, cogvideox, _SMALL, ("num_frames", 13, (9, 17)), reads=225
    ),
    "CogVideoX 1.5": Tiny(
        d.CogVideoXPipeline,
        functools.partial(cogvideox, second=True),
        {**_SMALL, "num_frames": 17},
        ("num_frames", 9, (1, 17)),
        reads=225,
    ),
    "HunyuanVideo": Tiny(
        d.HunyuanVideoPipeline, hunyuanvideo, _SMALL, _ODD, reads=256, is_guided=False
    ),
    "HunyuanVideo 1.5": Tiny(
        d.HunyuanVideo15Pipeline,
        hunyuanvideo_1_5,
        {**_SMALL, "num_frames": 5},
        ("width", 40, (32, 48)),
        says={"guidance_scale": ""},
        reads=1000,
    ),
    "Mochi": Tiny(
        d.MochiPipeline, mochi, {**_SMALL, "num_frames": 7}, ("num_frames", 8, (7, 13)), reads=255
    ),
    "AnimateDiff": Tiny(
        d.AnimateDiffPipeline, animatediff, _SMALL, ("num_frames", 33, (32,)), reads=75
    ),
    "AnimateDiff PAG": Tiny(
        d.AnimateDiffPAGPipeline,
        functools.partial(animatediff, d.AnimateDiffPAGPipeline),
        _SMALL,
        ("num_frames", 33, (32,)),
        reads=75,
    ),
    "AnimateDiff SDXL": Tiny(
        d.AnimateDiffSDXLPipeline, animatediff_sdxl, _SMALL, ("num_frames", 33, (32,)), reads=75
    ),
    "EasyAnimate": Tiny(d.EasyAnimatePipeline, easyanimate, _SMALL, _ODD, reads=255),
    "Kandinsky 5": Tiny(d.Kandinsky5T2VPipeline, kandinsky_5, _SMALL, _ODD, reads=512),
    "Motif-Video": Tiny(
        d.MotifVideoPipeline, motif_video, _SHORT, _ODD, says={"guidance_scale": ""}
    ),
    "Sana-Video": Tiny(
        d.SanaVideoPipeline,
        sana_video,
        {"num_frames": 9, "height": 32, "width": 64, "use_resolution_binning": False},
        ("width", 48, (32, 64)),
        says={"num_frames": "frames"},
        reads=298,
    ),
    "Latte": Tiny(
        d.LattePipeline,
        latte,
        {"num_frames": 16, "height": 32, "width": 48},
        ("num_frames", 8, (16,)),
        says={"num_frames": "video_length"},
        reads=119,
    ),
    "Allegro": Tiny(
        d.AllegroPipeline,
        allegro,
        {"num_frames": 24, "height": 128, "width": 128, "max_sequence_length": 16},
        ("num_frames", 32, (24, 40)),
    ),
}
"""By the names that people know."""
