"""Loading real diffusers pipelines, at tiny size, from folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from harness.fakes import save_tiny_wan
from reeldrop.base.errors import ConfigError
from reeldrop.render import devices, pipeline, placements
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.source import ModelSource


@pytest.fixture(scope="module")
def loaded(tiny_pipeline: Path) -> LoadedPipeline:
    """The tiny pipeline, loaded like the default profile, in float32."""
    source = ModelSource(
        "tiny",
        str(tiny_pipeline),
        variant="fp16",
        scheduler="DPMSolverMultistepScheduler",
        speed={"mixed_precision": False},
    )
    return pipeline.load(source)


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> LoadedPipeline:
    """A pipeline with a transformer, loaded without settings."""
    folder = save_tiny_wan(tmp_path_factory.mktemp("model") / "wan")
    return pipeline.load(ModelSource("wan", str(folder)))


def test_half_precision_weights_become_float32_on_a_cpu(loaded: LoadedPipeline) -> None:
    """The fp16 variant is downloaded, but a CPU computes in float32."""
    kinds = {parameter.dtype for parameter in loaded.pipe.unet.parameters()}
    kinds |= {parameter.dtype for parameter in loaded.pipe.vae.parameters()}
    assert ({torch.float32}, "float32", "cpu") == (kinds, loaded.dtype, loaded.device)


def test_an_explicit_dtype_is_used(tiny_pipeline: Path) -> None:
    """The profile's dtype overrides the device's."""
    found = pipeline.load(ModelSource("tiny", str(tiny_pipeline), dtype="bfloat16"))
    kinds = {parameter.dtype for parameter in found.pipe.unet.parameters()}
    assert ({torch.bfloat16}, "bfloat16") == (kinds, found.dtype)


def test_the_profiles_scheduler_keeps_the_models_noise_schedule(loaded: LoadedPipeline) -> None:
    """It is made from the model's own configuration, as in the original script."""
    scheduler = loaded.pipe.scheduler
    assert "DPMSolverMultistepScheduler" == type(scheduler).__name__
    assert ("scaled_linear", 0.00085) == (
        scheduler.config.beta_schedule,
        scheduler.config.beta_start,
    )


def test_scheduler_settings_go_over_the_models_own(tiny_pipeline: Path) -> None:
    """A profile can override single settings."""
    source = ModelSource(
        "tiny",
        str(tiny_pipeline),
        scheduler="DPMSolverMultistepScheduler",
        scheduler_settings={"use_karras_sigmas": True},
    )
    assert pipeline.load(source).pipe.scheduler.config.use_karras_sigmas is True


def test_without_a_scheduler_the_models_own_stays(tiny_pipeline: Path) -> None:
    """A profile without a scheduler changes nothing."""
    pipe = pipeline.load(ModelSource("tiny", str(tiny_pipeline))).pipe
    assert DDIMScheduler is type(pipe.scheduler)


def test_settings_are_the_simple_arguments_of_the_pipelines_call(loaded: LoadedPipeline) -> None:
    """Prompt files may set these, except those that the renderer chooses."""
    expected = {
        "height": int,
        "width": int,
        "num_frames": int,
        "num_inference_steps": int,
        "guidance_scale": float,
        "negative_prompt": str,
        "eta": float,
    }
    assert expected == dict(loaded.capabilities.settings)


def test_defaults_are_the_pipelines_own(loaded: LoadedPipeline) -> None:
    """If the call has no size, the default is that of the weights."""
    defaults = loaded.capabilities.defaults
    expected = {"height": 32, "width": 32, "num_frames": 16, "num_inference_steps": 50}
    assert expected == {key: defaults[key] for key in expected}
    assert (8, 1) == (loaded.capabilities.size_multiple, loaded.capabilities.frames_multiple)


def test_a_newer_pipeline_says_which_sizes_and_lengths_it_makes(wan: LoadedPipeline) -> None:
    """Wan's VAE needs 4n + 1 frames, its transformer multiples of 16 pixels."""
    assert (16, 4) == (wan.capabilities.size_multiple, wan.capabilities.frames_multiple)
    assert (480, 832) == (wan.capabilities.defaults["height"], wan.capabilities.defaults["width"])
    assert {"negative_prompt", "guidance_scale_2"} <= set(wan.capabilities.settings)


def test_a_folder_has_no_revision_unless_one_is_given(
    tiny_pipeline: Path, loaded: LoadedPipeline
) -> None:
    """A sidecar has a commit only if there is one."""
    given = pipeline.load(ModelSource("tiny", str(tiny_pipeline), revision="v1"))
    assert (None, "v1") == (loaded.revision, given.revision)


def test_the_commit_of_a_downloaded_repository_is_found(
    tiny_pipeline: Path, tmp_path: Path
) -> None:
    """The hub's cache has each commit in a folder below snapshots/."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--someone--tiny" / "snapshots" / commit
    shutil.copytree(tiny_pipeline, folder)
    assert commit == pipeline.load(ModelSource("tiny", str(folder))).revision


def _missing(_pipeline: Path, folder: Path) -> ModelSource:
    return ModelSource("bad", str(folder / "nowhere" / "at" / "all"))


def _empty(_pipeline: Path, folder: Path) -> ModelSource:
    return ModelSource("bad", str(folder))


def _wrong_variant(tiny: Path, _folder: Path) -> ModelSource:
    return ModelSource("bad", str(tiny), variant="fp8")


def _pickled_weights(tiny: Path, folder: Path) -> ModelSource:
    shutil.copytree(tiny, folder / "pickled")
    for weights in list((folder / "pickled").rglob("*.safetensors")):
        torch.save({}, weights.with_suffix(".bin"))
        weights.unlink()
    return ModelSource("bad", str(folder / "pickled"))


def _own_code(tiny: Path, folder: Path) -> ModelSource:
    copy = shutil.copytree(tiny, folder / "code")
    index = json.loads((copy / "model_index.json").read_text())
    index["_class_name"] = ["mine", "Mine"]
    (copy / "model_index.json").write_text(json.dumps(index))
    (copy / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Mine: ...\n")
    return ModelSource("bad", str(copy))


def _damaged_weights(tiny: Path, folder: Path) -> ModelSource:
    copy = shutil.copytree(tiny, folder / "damaged")
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return ModelSource("bad", str(copy))


def _pictures_only(_tiny: Path, folder: Path) -> ModelSource:
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )
    DDIMPipeline(unet, DDIMScheduler()).save_pretrained(folder / "pictures")
    return ModelSource("bad", str(folder / "pictures"))


def _unknown_scheduler(tiny: Path, _folder: Path) -> ModelSource:
    return ModelSource("bad", str(tiny), scheduler="DPMSolverMultistep")


def _scheduler_that_is_none(tiny: Path, _folder: Path) -> ModelSource:
    return ModelSource("bad", str(tiny), scheduler="UNet3DConditionModel")


def _cuda(tiny: Path, _folder: Path) -> ModelSource:
    return ModelSource("bad", str(tiny), placement="cuda")


@pytest.mark.parametrize(
    ("source_of", "words"),
    [
        (_missing, ["bad", "nowhere/at/all"]),
        (_empty, ["bad", "model_index.json", "the folder must hold a diffusers pipeline"]),
        (_wrong_variant, ["bad", "variant", "fp8"]),
        (_pickled_weights, ["bad", "safetensors"]),
        (_own_code, ["bad"]),
        (_damaged_weights, ["bad", "safetensors"]),
        (_pictures_only, ["bad", "DDIMPipeline can't be used"]),
        (_unknown_scheduler, ["bad.scheduler", "no scheduler DPMSolverMultistep"]),
        (_scheduler_that_is_none, ["bad.scheduler", "no scheduler UNet3DConditionModel"]),
    ],
)
def test_a_model_that_cannot_be_used_is_the_operators_to_mend(
    source_of, words: list[str], tiny_pipeline: Path, tmp_path: Path
) -> None:
    """For each problem, the message has the profile and the reason."""
    with pytest.raises(ConfigError) as caught:
        pipeline.load(source_of(tiny_pipeline, tmp_path))
    assert [] == [word for word in words if word not in str(caught.value)]


def test_code_that_comes_with_a_model_is_not_run(tiny_pipeline: Path, tmp_path: Path) -> None:
    """Python files in a model's folder are not imported."""
    with pytest.raises(ConfigError):
        pipeline.load(_own_code(tiny_pipeline, tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(devices.cuda_is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("placement", ["cuda", "model_offload", "sequential_offload"])
def test_a_gpu_placement_without_a_gpu_is_refused(placement: str, tiny_pipeline: Path) -> None:
    """It is not replaced by a CPU."""
    with pytest.raises(ConfigError) as caught:
        pipeline.load(ModelSource("tiny", str(tiny_pipeline), placement=placement))
    assert f"placement: {placement} needs a CUDA device" in str(caught.value)
    assert "placement: auto" in str(caught.value)


@pytest.mark.parametrize(
    ("free_bytes", "placement"),
    [
        (None, "cpu"),
        (149, "model_offload"),
        (150, "cuda"),
        (1000, "cuda"),
    ],
)
def test_the_whole_pipeline_goes_where_it_fits(free_bytes: int | None, placement: str) -> None:
    """Parts are offloaded only if weights and activations do not fit the GPU."""
    assert placement == placements.choose(100, free_bytes)


def test_the_versions_are_those_that_decide_the_picture() -> None:
    """A sidecar has the versions of the packages that render."""
    expected = ("reeldrop", "torch", "diffusers", "transformers", "accelerate")
    assert expected == tuple(name for name, _ in pipeline.versions())
    assert torch.__version__ == dict(pipeline.versions())["torch"]
