"""The names that other tools have for settings, and advice on settings that reeldrop lacks.

From A1111 and its forks, ComfyUI, Wan2GP, InvokeAI, SwarmUI, Deforum, sd-scripts and Midjourney,
their Chinese translations, and words that people guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from reeldrop.base import invisible
from reeldrop.prompts.wording import SURELY, near

_OTHERS: Mapping[str, str] = {
    "prompt": "positive positive_prompt text text_prompt prompt_text caption description txt "
    "original_prompt prompt_for_display prompt_zh prompt_cn prompt_chinese chinese_prompt zh "
    "提示词 提示詞 正向提示词 正面提示词 正向提示詞",
    "prompts": "scenes shots animation_prompts prompt_list 提示词列表",
    "translated_prompt": "translation translated translated_text english_translation "
    "prompt_translated prompt_translation prompt_en en_prompt prompt_english english_prompt "
    "english en",
    "translated_negative_prompt": "translated_negative negative_translated negative_translation "
    "negative_prompt_translated negative_prompt_translation negative_en negative_prompt_en "
    "negative_prompt_english english_negative_prompt",
    "negative_prompt": "negative neg neg_prompt negative_text negative_prompts n_prompt uc no "
    "negativeprompt unconditional_prompt sample_neg_prompt negative_caption ucg exclude "
    "负面提示词 反向提示词 负向提示词 負面提示詞 反向提示詞 負向提示詞",
    "num_inference_steps": "steps step sampling_steps sample_steps num_steps inference_steps "
    "infer_steps ddim_steps sampler_steps n_steps denoising_steps num_sampling_steps "
    "步数 迭代步数 采样步数 推理步数 步數",
    "guidance_scale": "cfg cfg_scale cfgscale guidance scale guide_scale sample_guide_scale "
    "cfg_guidance text_guidance guidance_strength unconditional_guidance_scale "
    "提示词引导系数 引导系数 引导强度",
    "num_frames": "frames frame length video_length frame_count num_frame n_frames nframes "
    "frame_num max_frames video_frames target_video_length total_frames number_of_frames "
    "frames_number text2videoframes 帧数 总帧数 幀數",
    "fps": "frame_rate framerate frames_per_second force_fps export_fps save_fps video_fps "
    "text2videofps 帧率 幀率",
    "width": "w image_width video_width target_width 宽度 宽 寬度",
    "height": "h image_height video_height target_height 高度 高",
    "seed": "noise_seed manual_seed rand_seed random_seed base_seed seeds generator_seed "
    "rng_seed text2videoseed 种子 随机种子 随机数种子 種子",
    "num_videos_per_prompt": "batch_size batch batch_count n_iter n_samples num_samples "
    "num_videos repeat repeats repeat_generation num_outputs images num_images_per_prompt "
    "variations iterations count",
    "format": "output_format file_format video_format extension container filetype",
    "image": "init_image start_image image_path input_image image_start first_image first_frame "
    "start_frame",
    "last_image": "image_end end_image last_frame end_frame",
    "loras": "lora lora_name lora_weights activated_loras",
    "model": "checkpoint ckpt ckpt_name sd_model model_name sd_model_checkpoint base_model "
    "model_id unet_name engine model_type profile 模型",
}
_SIZE = (
    "size resolution dimensions image_size video_size sample_size width_x_height wxh "
    "分辨率 尺寸 解析度"
)
_ELSEWHERE: Mapping[str, str] = {
    "the scheduler is set in config.yaml, by the profile": "sampler sampler_name sampler_index "
    "sample_solver scheduler schedule schedule_type sampling_method solver scheduler_name "
    "flow_shift shift karras 采样器 采样方法 调度器",
    "it is set in config.yaml, by the profile": "long_prompt prompt_syntax window overlap "
    "sliding_window_size sliding_window_overlap context_length context_frames context_size "
    "context_overlap "
    "languages dtype placement gpus tiling quantization guider limits speed "
    "max_batch_size min_memory_gb preview_steps revision variant pipeline",
    "there are no LoRAs to choose from here": "lora lora_name lora_weights activated_loras",
    "a weight stands behind the name: `loras: {name: 0.8}`": "lora_scale lora_weight lora_strength "
    "loras_multipliers",
    "of additions to a model, reeldrop has only LoRAs": "hypernet hypernetwork embedding "
    "embeddings controlnet textual_inversion vae adapter ip_adapter",
    "this model takes no such picture; `model:` may name one that does": "image last_image "
    "init_image start_image image_path input_image image_start first_image first_frame "
    "start_frame image_end end_image last_frame end_frame",
    "reeldrop takes no video and no mask as input": "init_video mask denoise denoising_strength "
    "strength video_source",
    "give width and height, in pixels": "aspect_ratio ar aspect",
    "a video is named after its prompt, and its folder after the prompt file": "output "
    "output_path filename file_name output_filename save_as outpath_samples name title outdir",
    "remove this key, and write what is in it beside `prompt:` or `prompts:`, without more "
    "indentation": "settings setting parameters params options config configuration defaults "
    "generation generation_config generation_settings generation_parameters generation_params 参数 "
    "设置 生成参数",
    "a comment begins with `# `": "comment comments note notes remark _comment id",
    "write the settings out, or put them beside `prompts:`, where they apply to all": "<<",
    "a prompt makes one video: write each text as a prompt of its own, below `prompts:`": (
        "prompt_map prompt_schedule keyframes travel"
    ),
    "reeldrop has nothing for this; remove the line": "clip_skip subseed subseed_strength eta_ddim "
    "restore_faces model_hash version strength_schedule hires_fix styles head_prompt transition "
    "tail_prompt guidance_rescale guidance2_scale guidance3_scale embedded_guidance_scale "
    "embedded_guidance audio_guidance_scale alt_guidance_scale switch_threshold model_mode "
    "video_prompt_type image_prompt_type audio_prompt_type prompt_enhancer multi_prompts_gen_type "
    "keep_frames_video_source tea_cache_setting skip_steps_cache_type teacache slg_switch "
    "cfg_star_switch cfg_zero_step apg_switch perturbation_switch riflex_setting "
    "sliding_window_color_correction_strength sliding_window_overlap_noise "
    "sliding_window_discard_last_frames context_stride context_schedule closed_loop freenoise "
    "settings_version temporal_upsampling spatial_upsampling mmaudio_setting "
    "film_grain_intensity latent_image control_after_generate add_noise start_at_step end_at_step "
    "weight_dtype vae_name clip_name clip_name1 clip_name2 crf pix_fmt pingpong save_output "
    "save_metadata trim_to_audio loop_count filename_prefix enable_hr hr_scale hr_upscaler "
    "hr_second_pass_steps denoise_hr tiling_x override_settings alwayson_scripts s_churn s_noise "
    "use_face_correction use_upscale refiner refiner_switch_at vae_hash lora_hashes",
}
_DURATIONS = "duration seconds video_seconds duration_seconds length_seconds time sec 时长 時長"


def _by_word(table: Mapping[str, str]) -> dict[str, str]:
    return {word: target for target, words in table.items() for word in words.split()}


_KEYS = _by_word(_OTHERS)
_ADVICE = _by_word(_ELSEWHERE)
_SIZES = frozenset(_SIZE.split())
_TIMES = frozenset(_DURATIONS.split())
_TEXTS = frozenset(
    ("prompt", "prompts", "negative_prompt", "format", "image", "last_image", "loras", "model")
) | frozenset(("translated_prompt", "translated_negative_prompt"))
_NUMBERS = "shift window overlap gpus denoise strength subseed crf"
"""Single words among those without a key here whose value is a number."""

_PLAIN = "count images batch repeat repeats variations iterations shift window overlap strength"
_LONG = 4
QUOTES = "\"'“”„‟«»‘’‚‹›`*"


def normal(name: str) -> str:
    """Return a key in the form of our keys: lower case, with underscores between the words."""
    name = invisible.without(invisible.strip(name[:200])).strip(QUOTES)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:100])
    return re.sub(r"[\s.\-_]+", "_", name).strip("_:").lower()


def ours(name: str, known: Iterable[str]) -> str | None:
    """Return the known key that a name of another tool stands for; None if there is none."""
    keys = set(known)
    word = normal(name)
    if word in keys:
        return word
    key = _KEYS.get(word)
    return key if key in keys else None


def nearest(name: str) -> str | None:
    """Return another tool's name that was probably meant by a misspelt key; None if there is none.

    Short names are left out, because too many words are similar to them. The first letter has to be
    the same, because it is seldom wrong.
    """
    word = normal(name)
    known = sorted({*_KEYS, *_ADVICE, *_SIZES, *_TIMES})
    return near(word, (w for w in known if len(w) >= _LONG and w[0] == word[:1]), SURELY)


def is_size(name: str) -> bool:
    """Return whether a key of another tool holds width and height together."""
    return normal(name) in _SIZES


def is_duration(name: str) -> bool:
    """Return whether a key is likely to hold a length in seconds."""
    return normal(name) in _TIMES


def advice(name: str) -> str | None:
    """Return advice on a key of another tool for which reeldrop has no key; None if unknown."""
    return _ADVICE.get(name) or _ADVICE.get(normal(name))


def is_heading(name: str) -> bool:
    """Return whether a name only stands above settings, such as `Video settings`."""
    word = normal(name)
    last = word.rpartition("_")[2]
    return advice(word) == advice("settings") or last in ("settings", "parameters", "params")


def is_known(name: str) -> bool:
    """Return whether this module knows what a key of another tool means."""
    word = normal(name)
    return word in _KEYS or word in _ADVICE or word in _SIZES or word in _TIMES or word in _OTHERS


def has_number(name: str, value: str) -> bool:
    """Return whether other tools write a known name in front of a number: `count: 5`, not `no: 5`.

    With a capital, a plain word is a heading: `Count: 5`; so is a size that is no size.
    """
    word = normal(name)
    key = word if word in _OTHERS else _KEYS.get(word)
    if name[:1].isupper() and (word in _PLAIN.split() or (word in _SIZES and size(value) is None)):
        return False
    if key is not None:
        return key not in _TEXTS
    return word not in _ADVICE or "_" in word or word in _NUMBERS.split()


def size(value: object) -> tuple[int, int] | None:
    """Return the width and height in a value such as 512x384; None if it is not one."""
    found = re.fullmatch(r"\s*(\d{1,5})\s*[x×X*:,]\s*(\d{1,5})\s*", str(value)[:30])
    return (int(found[1]), int(found[2])) if found else None
