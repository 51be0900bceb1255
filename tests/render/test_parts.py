"""A profile's settings reach the pipeline's parts: dtypes, scheduler, guider, tiling."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import accelerate
import diffusers
import numpy as np
import pytest
import torch
from diffusers.guiders import ClassifierFreeGuidance
from reeldrop.base import strict_yaml
from reeldrop.base.errors import ConfigError
from reeldrop.base.job import Job, Prompt, Rendered
from reeldrop.config import config, profiles
from reeldrop.render import (
    devices,
    dtypes,
    parts,
    pipeline,
    placements,
    recording,
    rendering,
    weights,
)
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.source import ModelSource
from reeldrop.speed.lossy import Lossy
from reeldrop.store import sidecars

PLAIN = {"mixed_precision": False}
SIZE = (("num_frames", 5), ("height", 32), ("width", 32), ("num_inference_steps", 2))
PROMPT = Prompt(1, "a red ball", "m", SIZE, 1, 8.0, ("mp4",))
JOB = Job("20261124-1", PurePosixPath("a.txt"), Path("/nowhere"), ())


def load(folder: Path, **settings: Any) -> LoadedPipeline:
    """Load a pipeline with these settings of a profile."""
    return pipeline.load(ModelSource("m", str(folder), speed=PLAIN, **settings))


def refused(folder: Path, **settings: Any) -> tuple[str, str]:
    """Return the key and the message of the only mistake of a profile."""
    with pytest.raises(ConfigError) as caught:
        load(folder, **settings)
    (found,) = caught.value.mistakes
    return found.key, f"{found.problem}; {found.remedy}"


def test_a_profile_may_name_another_class(wan_pipeline: Path) -> None:
    """Some repositories are for texts and for pictures; a class must be one of diffusers'."""
    loaded = load(wan_pipeline, pipeline="WanImageToVideoPipeline")
    assert "WanImageToVideoPipeline" == type(loaded.pipe).__name__
    assert {"image": True, "last_image": False} == dict(loaded.capabilities.pictures)
    key, words = refused(wan_pipeline, pipeline="WanImageToVideo")
    assert "models.m.pipeline" == key
    said = "diffusers has no pipeline WanImageToVideo; did you mean 'WanImageToVideoPipeline'?"
    assert words.startswith(said)


def test_what_auto_is_on_a_gpu_follows_from_the_parts() -> None:
    """float16 for UNets, bfloat16 for transformers, float32 for the VAEs of Wan and Allegro."""
    unet = {"_class_name": "A", "unet": ["diffusers", "UNet3DConditionModel"], "vae": ["d", "K"]}
    wan = {"transformer": ["diffusers", "T"], "vae": ["diffusers", "AutoencoderKLWan"], "x": None}
    assert {"default": "float16"} == dtypes.native(unet)
    assert {"default": "bfloat16", "vae": "float32"} == dtypes.native(wan)
    assert "bfloat16, vae float32" == dtypes.in_words(dtypes.native(wan))
    allegro = {**wan, "vae": ["diffusers", "AutoencoderKLAllegro"]}
    assert dtypes.native(wan) == dtypes.native(allegro)


def test_auto_on_a_gpu(wan_pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model is made for, overridden by the profile, for all or one part."""
    monkeypatch.setattr(devices, "cuda_is_available", lambda: True)
    monkeypatch.setattr(devices, "memory", lambda: None)
    monkeypatch.setattr(devices, "name", lambda: "a GPU")
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "bfloat16, vae float32"),
        ({"native_dtype": {"default": "float16"}}, "float16"),
        ({"part_dtypes": {"vae": "bfloat16"}}, "bfloat16, vae bfloat16"),
        ({"placement": "cpu"}, "float32"),
        ({"dtype": "float16", "part_dtypes": {"vae": "float32"}}, "float16, vae float32"),
    )
    for settings, expected in cases:
        loaded = load(wan_pipeline, **settings)
        assert expected == loaded.dtype, settings
        if "vae" in expected:
            kinds = {str(p.dtype) for p in loaded.pipe.vae.parameters()}
            assert {f"torch.{expected.rpartition(' ')[2]}"} == kinds
            assert {p.dtype for p in loaded.pipe.transformer.parameters()} <= {
                getattr(torch, expected.partition(",")[0]),
                torch.float32,  # layers that diffusers keeps in it
            }


def test_auto_for_one_part() -> None:
    """It is what auto is for that part, whatever the others are; what auto is follows the model."""
    index = {"transformer": ["diffusers", "T"], "vae": ["diffusers", "AutoencoderKLWan"]}
    cases: tuple[tuple[str, bool, dict[str, str]], ...] = (
        ("dtype: {default: float16, vae: auto}", True, {"vae": "float32"}),
        ("dtype: {default: float16, vae: auto}", False, {"vae": "float32"}),
        ("dtype: {default: float16, transformer: auto}", True, {"transformer": "bfloat16"}),
        ("native_dtype: {default: float16, vae: auto}, dtype: auto", True, {"vae": "float32"}),
        (
            "native_dtype: bfloat16, dtype: {default: float16, vae: auto}",
            True,
            {"vae": "bfloat16"},
        ),
    )
    for given, cuda, expected in cases:
        text = f"model: m\nmodels: {{m: {{path: x, {given}}}}}"
        source = profiles.untuned("m", config.parse(text, Path("config.yaml")))
        found = pipeline.dtypes_of(source, index, cuda=cuda)
        assert {"default": "float16", **expected} == found, given
    text = "model: m\nmodels: {m: {path: x, dtype: {default: auto, vae: auto}}}"
    assert {} == config.parse(text, Path("config.yaml")).models["m"].dtype


def test_dtypes_differ_by_part(wan_pipeline: Path) -> None:
    """A transformer in bfloat16 with a VAE in float32 renders, also on a CPU."""
    loaded = load(wan_pipeline, dtype="bfloat16", part_dtypes={"vae": "float32"})
    assert {torch.float32} == {p.dtype for p in loaded.pipe.vae.parameters()}
    assert torch.bfloat16 == loaded.pipe.transformer.proj_out.weight.dtype
    assert (5, 32, 32, 3) == frames(loaded).shape


def frames(loaded: LoadedPipeline) -> Any:
    """Return the frames of a tiny video."""
    (found,) = rendering.render(loaded, (PROMPT,), lambda _step: None)
    return found


def test_flow_shift_reaches_each_kind_of_scheduler(wan_pipeline: Path) -> None:
    """Schedulers name it differently; the profile has one name."""
    cases: tuple[tuple[str | None, str, dict[str, Any]], ...] = (
        (None, "shift", {}),
        ("UniPCMultistepScheduler", "flow_shift", {"use_flow_sigmas": True}),
    )
    for scheduler, key, more in cases:
        found = load(wan_pipeline, scheduler=scheduler, scheduler_settings=more, flow_shift=7.0)
        assert 7.0 == found.pipe.scheduler.config[key]
    own = load(wan_pipeline, scheduler_settings={"shift": 2.0}, flow_shift=7.0).pipe.scheduler
    assert (7.0, diffusers.FlowMatchEulerDiscreteScheduler) == (own.config.shift, type(own))


def test_flow_shift_of_a_scheduler_that_was_made_from_another_kind() -> None:
    """Its config keeps what the other kind would read; only its own settings count."""
    dynamic = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    for own, name in (
        (dynamic, "FlowMatchHeunDiscreteScheduler"),
        (diffusers.DPMSolverMultistepScheduler(), "FlowMatchEulerDiscreteScheduler"),
    ):
        pipe = SimpleNamespace(scheduler=own)
        parts.set_up(pipe, ModelSource("m", "", scheduler=name, flow_shift=7.0))
        assert (7.0, name) == (pipe.scheduler.config.shift, type(pipe.scheduler).__name__)


def test_what_a_part_does_not_have(tiny_pipeline: Path, wan_pipeline: Path) -> None:
    """The message has the key and the remedy."""
    dpm = "DPMSolverMultistepScheduler"
    cases: tuple[tuple[Path, dict[str, Any], str, str], ...] = (
        (tiny_pipeline, {"flow_shift": 3.0}, "models.m.flow_shift", "DDIMScheduler has no flow"),
        (
            tiny_pipeline,
            {"scheduler": dpm, "scheduler_settings": {"use_karas_sigmas": True}},
            "models.m.scheduler.settings.use_karas_sigmas",
            "did you mean 'use_karras_sigmas'?",
        ),
        (wan_pipeline, {"guider": {"guidance_scale": 6.0}}, "models.m.guider", "no guider"),
        (
            wan_pipeline,
            {"part_dtypes": {"vea": "float32"}},
            "models.m.dtype.vea",
            "did you mean 'vae'?",
        ),
        (
            wan_pipeline,
            {"native_dtype": {"default": "float16", "vea": "float32"}},
            "models.m.native_dtype.vea",
            "did you mean 'vae'?",
        ),
        (
            wan_pipeline,
            {"fixed": {"sigmas": (1.0, 0.5)}},
            "models.m.defaults.sigmas",
            "WanPipeline takes no sigmas",
        ),
        (
            wan_pipeline,
            {"fixed": {"height": (32, 64)}},
            "models.m.defaults.height",
            "height is one value, not a list; give one under defaults",
        ),
        (
            wan_pipeline,
            {"scheduler": "UniPCMultistepScheduler", "flow_shift": 7.0},
            "models.m.flow_shift",
            "settings: {prediction_type: flow_prediction, use_flow_sigmas: true}}",
        ),
        (
            wan_pipeline,
            {"scheduler_settings": {"use_dynamic_shifting": True}, "flow_shift": 7.0},
            "models.m.flow_shift",
            "has no effect on this FlowMatchEulerDiscreteScheduler; leave it out, or write",
        ),
    )
    for folder, settings, key, words in cases:
        found = refused(folder, **settings)
        assert key == found[0]
        assert words in found[1]


def test_tiling(tiny_pipeline: Path, wan_pipeline: Path) -> None:
    """It is set as the profile says; auto changes nothing."""
    assert load(wan_pipeline, tiling=True).pipe.vae.use_tiling
    assert not load(wan_pipeline, tiling=False).pipe.vae.use_tiling
    own = load(wan_pipeline).pipe.vae
    own.enable_tiling()
    parts.set_up(load(wan_pipeline).pipe, ModelSource("m", str(wan_pipeline)))
    assert own.use_tiling
    assert load(tiny_pipeline, tiling=True).pipe.vae.use_tiling


def test_a_vae_that_always_decodes_in_tiles(tmp_path: Path) -> None:
    """What it can't do without is known before its weights are here."""
    (tmp_path / "model_index.json").write_text('{"_class_name": "AllegroPipeline"}')
    pipeline.check_class_there(ModelSource("m", str(tmp_path), tiling=True))
    with pytest.raises(ConfigError) as caught:
        pipeline.check_class_there(ModelSource("m", str(tmp_path), tiling=False))
    [found] = caught.value.mistakes
    assert "models.m.tiling" == found.key
    assert "the VAE of AllegroPipeline always decodes in tiles" == found.problem


def test_what_the_profile_changes_is_in_the_record(wan_pipeline: Path) -> None:
    """And so in the sidecar: in the words of config.yaml, and no more than it says."""
    assert {} == recorded(load(wan_pipeline)).profile
    shifted = load(
        wan_pipeline,
        scheduler="UniPCMultistepScheduler",
        scheduler_settings={"use_flow_sigmas": True},
        flow_shift=7.0,
    )
    expected = {"scheduler_settings": {"use_flow_sigmas": True}, "flow_shift": 7.0}
    assert expected == recorded(shifted).profile
    text = sidecars.text(JOB, PROMPT, recorded(shifted))
    block = strict_yaml.plain(strict_yaml.load_all(text)[0])["rendered"]
    assert (expected, "UniPCMultistepScheduler") == (block["profile"], block["scheduler"])
    more = ModelSource(
        "m",
        "x",
        variant="fp16",
        quantization="int8",
        guider={"guidance_scale": 6.0},
        fixed={"sigmas": (1.0, 0.5)},
        lossy=Lossy(deep_cache=3),
    )
    assert more.changes == {
        "variant": "fp16",
        "quantization": "int8",
        "guider": {"guidance_scale": 6.0},
        "sigmas": [1.0, 0.5],
        "lossy": {"deep_cache": 3},
    }


def recorded(loaded: LoadedPipeline) -> Rendered:
    """Return the record of a video."""
    made = rendering.Footage((np.zeros((5, 32, 32, 3), np.uint8),), (None,))
    (found,) = recording.records(loaded, (PROMPT,), made, 1.0)
    return found


class _Guided:
    """A pipeline with a guider, like HunyuanVideo 1.5."""

    def __init__(self) -> None:
        self.guider = ClassifierFreeGuidance(guidance_scale=7.5)

    def __call__(self, sigmas: list[float] | None = None) -> None:
        """Take the arguments of a call."""


def test_settings_of_a_guider() -> None:
    """They replace the model's; an unknown one is refused."""
    pipe = _Guided()
    parts.set_up(
        pipe, ModelSource("m", "x", guider={"guidance_scale": 6.0}, fixed={"sigmas": (1,)})
    )
    assert 6.0 == pipe.guider.guidance_scale
    with pytest.raises(ConfigError, match="did you mean 'guidance_scale'") as caught:
        parts.set_up(pipe, ModelSource("m", "x", guider={"guidance": 6.0}))
    assert "models.m.guider.guidance" == caught.value.mistakes[0].key


class _Scheduled:
    """A pipeline that takes a schedule, like CogVideoX."""

    scheduler = diffusers.CogVideoXDPMScheduler()

    def __call__(self, timesteps: list[int] | None = None) -> None:
        """Take the arguments of a call."""


def test_a_schedule_that_the_scheduler_does_not_take() -> None:
    """It is refused at the load, not at the first prompt."""
    source = ModelSource("m", "x", fixed={"timesteps": (999, 500)})
    with pytest.raises(ConfigError, match="CogVideoXDPMScheduler takes no timesteps") as caught:
        parts.check_fixed(_Scheduled(), source, {})
    assert "models.m.defaults.timesteps" == caught.value.mistakes[0].key


def test_quantized_weights(wan_pipeline: Path) -> None:
    """The transformer's weights take half the memory, and the frames stay close."""
    whole = load(wan_pipeline, dtype="bfloat16")
    plain = frames(whole)
    for kind, name in (("int8", "Int8Tensor"), ("float8", "Float8Tensor")):
        loaded = load(wan_pipeline, dtype="bfloat16", quantization=kind)
        assert name == type(loaded.pipe.transformer.proj_out.weight).__name__
        least, most = (placements.denoiser_bytes(one.pipe) for one in (loaded, whole))
        assert 0.5 < least / most < 0.8
        saved = placements.weight_bytes(whole.pipe) - placements.weight_bytes(loaded.pipe)
        expected = weights.size(whole.source) - weights.size(loaded.source)
        assert 0 < saved <= expected  # norms and scales are not converted
        difference = abs(frames(loaded).astype(int) - plain.astype(int))
        assert 0 < difference.max()
        assert difference.mean() < 8


@pytest.mark.parametrize("kind", ["int8", "float8"])
def test_quantized_weights_are_moved_in_the_middle_of_a_render(
    kind: str, wan_pipeline: Path
) -> None:
    """By model offload for each call, and by sequential offload layer by layer."""
    loaded = load(wan_pipeline, dtype="bfloat16", quantization=kind)
    expected = frames(loaded)
    moved = dataclasses.replace(loaded, placement="model_offload")
    transformer, seen = moved.pipe.transformer, list[str]()
    transformer.register_forward_pre_hook(
        lambda *_: seen.append(str(transformer.proj_out.weight.to("meta").device))
    )
    assert (frames(moved) == expected).all()
    assert {"meta"} == set(seen)
    accelerate.cpu_offload(transformer, torch.device("cpu"))
    assert (frames(dataclasses.replace(moved, placement="sequential_offload")) == expected).all()


def test_the_size_of_a_model_follows_from_the_dtype_of_each_part(wan_pipeline: Path) -> None:
    """Before it is loaded as after it, but for the layers that its class keeps in float32."""
    settings: dict[str, Any] = {"dtype": "bfloat16", "part_dtypes": {"text_encoder": "float32"}}
    loaded = load(wan_pipeline, **settings)
    assert 0.9 < weights.size(loaded.source) / placements.weight_bytes(loaded.pipe) <= 1


def test_quantization_without_torchao(wan_pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the package and how to install it."""
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    key, words = refused(wan_pipeline, quantization="int8")
    assert "models.m.quantization" == key
    assert "pip install 'torchao>=0.18'" in words


def test_a_list_of_the_profile_reaches_the_call(tiny_pipeline: Path) -> None:
    """Lists such as sigmas are passed at each call, and prompts can't change them."""
    loaded = load(tiny_pipeline)
    seen: dict[str, Any] = {}

    class Spy:
        """A pipeline that records its arguments."""

        def __getattr__(self, name: str) -> Any:
            return getattr(loaded.pipe, name)

        def __call__(self, prompt: None = None, **arguments: Any) -> Any:
            seen.update(arguments)
            del arguments["sigmas"]
            return loaded.pipe(prompt=prompt, **arguments)

    source = dataclasses.replace(loaded.source, fixed={"sigmas": (1.0, 0.5)})
    prompt = Prompt(
        1, "a red ball", "m", (("num_frames", 2), ("num_inference_steps", 2)), 1, 8.0, ("mp4",)
    )
    spied = dataclasses.replace(loaded, pipe=Spy(), source=source)
    rendering.render(spied, (prompt,), lambda _step: None)
    assert [1.0, 0.5] == seen["sigmas"]
