"""LoRAs on real pipelines at tiny size: switched, merged, refused."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import accelerate
import diffusers
import numpy as np
import pytest
import safetensors.torch
import torch
from harness import lora_maker
from harness.models import TINY
from harness.models import save as save_model
from reeldrop.base import strict_yaml
from reeldrop.base.errors import ConfigError, RenderError
from reeldrop.base.job import Job, Prompt
from reeldrop.base.loras import LoraLimits, Loras
from reeldrop.prompts import parsing
from reeldrop.prompts.rules import ModelRules
from reeldrop.render import pipeline, placements, recording, rendering, weights
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.loras import used
from reeldrop.render.source import LoraSource, ModelSource
from reeldrop.speed.unet3d import Call
from reeldrop.store import sidecars
from torch import nn

# What diffusers' pipelines warn of is their own business.
pytestmark = pytest.mark.filterwarnings("default")

STEPS = 2
INFINITE = float("inf")
LIKE_DB = 60.0
"""Frames with a PSNR of this and more are equal up to rounding."""
ROUNDED_DB = 40.0
"""The same where one of the two multiplies in bfloat16."""


@dataclass(frozen=True)
class Case:
    """A tiny model with LoRAs `a` and `b`, and how to ask for a small video."""

    source: ModelSource
    kind: Any
    ask: dict[str, Any]

    def load(self, **changed: Any) -> LoadedPipeline:
        """Load the model anew."""
        return pipeline.load(replace(self.source, **changed))


def case(name: str, folder: Path, loras: dict[str, tuple[str, str]]) -> Case:
    """Save a tiny model with LoRAs: for each its part, and the layers of it."""
    save_model(name, folder / "model")
    return with_loras(TINY[name].kind, folder, loras, dict(TINY[name].ask))


def with_loras(
    kind: Any, folder: Path, loras: dict[str, tuple[str, str]], ask: dict[str, Any]
) -> Case:
    """Make LoRAs for the tiny model in a folder."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder / "model")
    made = []
    for seed, (name, (part, layers)) in enumerate(loras.items()):
        tensors = lora_maker.tensors(getattr(pipe, part), layers, seed=seed)
        file = lora_maker.save(kind, folder, tensors, name)
        made.append(LoraSource(name, str(file), component=part))
    source = ModelSource("tiny", str(folder / "model"), loras=tuple(made))
    return Case(source, kind, {"num_inference_steps": STEPS, **ask})


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Wan 2.1."""
    loras = {"a": ("transformer", r".*\.to_[qkv]"), "b": ("transformer", r".*(proj|net\.2)")}
    return case("Wan 2.1", tmp_path_factory.mktemp("wan"), loras)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Wan 2.2 with a transformer for each half of the noise."""
    loras = {"a": ("transformer", r".*\.to_[qkv]"), "b": ("transformer_2", r".*\.to_[qkv]")}
    return case("Wan 2.2 A14B", tmp_path_factory.mktemp("two"), loras)


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory, least_pipeline: Path) -> Case:
    """The original model's class, with all ways of the fast path for it."""
    folder = tmp_path_factory.mktemp("unet")
    shutil.copytree(least_pipeline, folder / "model")
    # Self-attention of one block, which would be fused, and convolutions of two kinds.
    loras = {
        "a": ("unet", r"mid_block.*to_[qkv]"),
        "b": ("unet", r"conv_in|.*temp_convs.*conv1\.2"),
    }
    ask = {"num_frames": 4, "height": 64, "width": 64, "guidance_scale": 2.0}
    return with_loras(diffusers.TextToVideoSDPipeline, folder, loras, ask)


@pytest.fixture(params=["wan", "two", "unet"])
def each(request: pytest.FixtureRequest) -> Case:
    """Each of the three."""
    found: Case = request.getfixturevalue(request.param)
    return found


def prompt(asked: Case, loras: Loras = (), text: str = "a horse runs", seed: int = 1) -> Prompt:
    """Return a small prompt."""
    return Prompt(1, text, "tiny", tuple(asked.ask.items()), seed, 8.0, ("mp4",), loras=loras)


def frames(loaded: LoadedPipeline, wanted: Prompt) -> np.ndarray:
    """Render one prompt."""
    [made] = rendering.render(loaded, (wanted,), lambda _step: None)
    return made


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Return how alike frames are, in decibels."""
    error = float(np.mean((one.astype(float) - other.astype(float)) ** 2))
    return INFINITE if error == 0 else 10 * float(np.log10(255**2 / error))


A, B, BOTH, HALF = (("a", 1.0),), (("b", 1.0),), (("a", 0.5), ("b", 1.0)), (("a", 0.5),)


def test_in_turn_they_are_as_in_processes_of_their_own(each: Case) -> None:
    """A, none, B, both: bit for bit what a pipeline makes that is asked for that alone.

    None is what a pipeline makes whose profile has no LoRAs; to the bit, unless it has faster forms
    for the layers that they change.
    """
    loaded = each.load()
    asked: tuple[Loras, ...] = (A, (), B, BOTH)
    made = [frames(loaded, prompt(each, loras)) for loras in asked]
    for loras, found in zip(asked, made, strict=True):
        assert np.array_equal(frames(each.load(), prompt(each, loras)), found), loras
    bar = ROUNDED_DB if hasattr(loaded.pipe, "unet") else INFINITE
    assert psnr(frames(each.load(loras=()), prompt(each)), made[1]) >= bar
    assert np.array_equal(frames(loaded, prompt(each)), made[1])
    assert max(psnr(one, other) for i, one in enumerate(made) for other in made[:i]) < LIKE_DB


def test_they_are_what_they_say(each: Case) -> None:
    """The frames are those of plain diffusers with W + weight * B A in the place of W."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(each.source.location, dtype=torch.float32)
    for name, weight in BOTH:
        [lora] = [lora for lora in each.source.loras if lora.name == name]
        add(getattr(pipe, str(lora.component)), safetensors.torch.load_file(lora.location), weight)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    output = pipe(prompt="a horse runs", generator=generator, output_type="pt", **each.ask)
    wanted = rendering.to_uint8(output.frames[0])
    found = frames(each.load(speed={"mixed_precision": False}), prompt(each, BOTH))
    assert psnr(wanted, found) >= LIKE_DB


def add(part: nn.Module, lora: dict[str, torch.Tensor], weight: float) -> None:
    """Add a LoRA to the weights of a part of a plain pipeline."""
    for key, down in lora.items():
        if key.endswith("lora_A.weight"):
            up = lora[key.replace("lora_A", "lora_B")]
            layer: Any = part.get_submodule(key.partition(".")[2].removesuffix(".lora_A.weight"))
            layer.weight.data += weight * (up.flatten(1) @ down.flatten(1)).view_as(layer.weight)


def test_what_is_always_used_is_part_of_the_weights(each: Case) -> None:
    """It takes no memory beside them, and prompts get it without asking; others go on top."""
    always = tuple(replace(lora, is_always_used=lora.name == "b") for lora in each.source.loras)
    loaded = each.load(loras=always, speed={"mixed_precision": False})
    wanted = each.load(speed={"mixed_precision": False})
    assert psnr(frames(wanted, prompt(each, B)), frames(loaded, prompt(each))) >= LIKE_DB
    both = (("a", 1.0), ("b", 1.0))
    assert psnr(frames(wanted, prompt(each, both)), frames(loaded, prompt(each, A))) >= LIKE_DB
    assert [("b", 1.0)] == [(one.name, one.weight) for one in used(loaded.loras, ())]
    least = placements.weight_bytes(each.load(loras=(), speed={"mixed_precision": False}).pipe)
    [a] = [lora for lora in each.source.loras if lora.name == "a"]
    added = sum(t.numel() * 4 for t in safetensors.torch.load_file(a.location).values())
    assert least + added == placements.weight_bytes(loaded.pipe)
    source = replace(each.source, loras=always)
    assert weights.size(source) == least + added


def test_forms_that_others_publish_are_read(wan: Case, tmp_path: Path) -> None:
    """lightx2v's names with alpha and biases, and peft's settings: both say a scale of a half."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(wan.source.location)
    plain = lora_maker.tensors(pipe.transformer, r".*\.to_q")
    theirs: dict[str, torch.Tensor] = {"blocks.0.norm3.diff": torch.zeros(24)}
    for key, tensor in plain.items():
        key = key.replace("attn1.to_q", "self_attn.q").replace("attn2.to_q", "cross_attn.q")
        theirs[key.replace("lora_A", "lora_down").replace("lora_B", "lora_up")] = tensor
        layer = key.partition(".lora")[0]
        theirs |= {f"{layer}.alpha": torch.tensor(1.0), f"{layer}.diff_b": torch.zeros(24)}
    safetensors.torch.save_file(
        {f"diffusion_model.{key}": tensor.clone() for key, tensor in theirs.items()},
        tmp_path / "theirs.safetensors",
    )
    lora_maker.save(wan.kind, tmp_path, plain, "plain")
    lora_maker.save(wan.kind, tmp_path, plain, "peft", r=2, lora_alpha=1.0)
    names = ("plain", "peft", "theirs")
    sources = [LoraSource(name, str(tmp_path / f"{name}.safetensors")) for name in names]
    loaded = wan.load(loras=tuple(sources))
    half = frames(loaded, prompt(wan, (("plain", 0.5),)))
    assert psnr(half, frames(loaded, prompt(wan))) < LIKE_DB
    for name in ("peft", "theirs"):
        assert np.array_equal(half, frames(loaded, prompt(wan, ((name, 1.0),)))), name


def made_for_another(folder: Path, plain: dict[str, torch.Tensor]) -> None:
    """Save what is for layers twice as wide."""
    wider = {k: torch.cat([t, t], -1) if "lora_A" in k else t for k, t in plain.items()}
    safetensors.torch.save_file(wider, folder / "lora.safetensors")


def with_another_rank(folder: Path, plain: dict[str, torch.Tensor]) -> None:
    """Save a LoRA whose two sides have other ranks."""
    others = {k: t[:1] if "lora_A" in k else t for k, t in plain.items()}
    safetensors.torch.save_file(others, folder / "lora.safetensors")


def with_more_layers(folder: Path, plain: dict[str, torch.Tensor]) -> None:
    """Save a LoRA for a model with more layers."""
    more = {k.replace("blocks.0", "blocks.7"): tensor.clone() for k, tensor in plain.items()}
    safetensors.torch.save_file({**plain, **more}, folder / "lora.safetensors")


def renamed(key: str, name: str) -> Callable[[Path, dict[str, torch.Tensor]], None]:
    """Return what saves a LoRA of which one tensor has another name."""

    def save(folder: Path, plain: dict[str, torch.Tensor]) -> None:
        changed = {k.replace(key, name, 1): tensor for k, tensor in plain.items()}
        safetensors.torch.save_file(changed, folder / "lora.safetensors")

    return save


def pickled(folder: Path, plain: dict[str, torch.Tensor]) -> None:
    """Save a file that could run code."""
    torch.save(plain, folder / "lora.bin")


def pickled_under_a_false_name(folder: Path, plain: dict[str, torch.Tensor]) -> None:
    """Save such a file as if it were another."""
    torch.save(plain, folder / "lora.safetensors")


def cut(folder: Path, plain: dict[str, torch.Tensor]) -> None:
    """Save a file whose end is missing."""
    file = folder / "lora.safetensors"
    safetensors.torch.save_file(plain, file)
    file.write_bytes(file.read_bytes()[:-8])


def twice(folder: Path, plain: dict[str, torch.Tensor]) -> None:
    """Save two files."""
    for name in ("one", "two"):
        safetensors.torch.save_file(plain, folder / f"{name}.safetensors")


def nothing(_folder: Path, _plain: dict[str, torch.Tensor]) -> None:
    """Save none."""


REFUSED: list[tuple[Callable[..., None], dict[str, Any], str, str]] = [
    (made_for_another, {}, "has weights of 24 x 24, but the LoRA is for 24 x 48", "made for"),
    (with_another_rank, {}, "has the rank 1 on one side and 2 on the other", "made for"),
    (with_more_layers, {}, "no layer blocks.7.attn1.to_q (and 1 more of 4 layers)", "made for"),
    (renamed("attn1.to_q", "norm3"), {}, "is a FP32LayerNorm, which takes no LoRA", "made for"),
    (renamed("blocks.0.attn1.to_q.lora_A", "x.lora_A"), {}, "there is no", "diffusers reads"),
    (renamed("blocks", "text_encoder.blocks"), {}, "also changes a text encoder", "alone"),
    (renamed(".weight", ".dora_scale"), {}, "is a DoRA", "use a plain LoRA"),
    (renamed("lora_A", "lokr_w1"), {}, "is a LoKr", "use a plain LoRA"),
    (pickled, {"weight_name": "lora.bin"}, "is no safetensors file", "can run code"),
    (pickled_under_a_false_name, {}, "can't be read", "a complete safetensors file"),
    (cut, {}, "can't be read", ""),
    (twice, {}, "there is 2 safetensors files", "weight_name; known are one.safetensors, two"),
    (twice, {"weight_name": "on.safetensors"}, "no on.safetensors", "'one.safetensors'"),
    (nothing, {}, "there is no safetensors file", "put it there"),
    (nothing, {"location": "/nowhere/x.safetensors"}, "is not there: /nowhere/x", "the path"),
    (twice, {"weight_name": "one.safetensors", "component": "transformer_2"},
     "is for transformer_2, but WanPipeline has no such part", "component to transformer"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "said", "problem", "remedy"), REFUSED)
def test_what_does_not_fit_is_refused_at_load(
    wan: Case, tmp_path: Path, make: Any, said: dict[str, Any], problem: str, remedy: str
) -> None:
    """With profile, LoRA, what is wrong and what would be right; nothing is used in part."""
    pipe = TINY["Wan 2.1"].build()
    make(tmp_path, lora_maker.tensors(pipe.transformer, r".*\.to_q"))
    lora = replace(LoraSource("style", str(tmp_path)), **said)
    with pytest.raises(ConfigError) as caught:
        wan.load(loras=(lora,))
    [mistake] = caught.value.mistakes
    assert "models.tiny.loras.style" == mistake.key
    assert mistake.problem.startswith("the LoRA style of tiny ")
    assert problem in mistake.problem
    assert remedy in mistake.remedy


def test_a_class_without_loras_says_so(tmp_path: Path, wan: Case) -> None:
    """diffusers reads no LoRA for some classes."""
    folder = save_model("Latte", tmp_path / "model")
    with pytest.raises(ConfigError, match="no LoRAs for LattePipeline"):
        pipeline.load(ModelSource("tiny", str(folder), loras=wan.source.loras[:1]))


def test_a_sidecar_renders_the_same_pixels(two: Case) -> None:
    """It has the LoRAs with their weights, and what their files were."""
    loaded = two.load()
    asked = prompt(two, BOTH)
    footage = rendering.with_sound(loaded, (asked,), lambda _step: None)
    [record] = recording.records(loaded, (asked,), footage, 1.0)
    text = sidecars.text(Job("job", PurePosixPath("a.yaml"), Path("/nowhere"), ()), asked, record)
    block = strict_yaml.plain(strict_yaml.load_all(text)[0])["rendered"]["loras"]
    files = {Path(lora.location).name: Path(lora.location) for lora in two.source.loras}
    assert [("a", 0.5), ("b", 1.0)] == [(one["name"], one["weight"]) for one in block]
    for one in block:
        assert hashlib.sha256(files[one["file"]].read_bytes()).hexdigest() == one["sha256"]
    limits = {name: LoraLimits() for name in ("a", "b")}
    rules = {"tiny": ModelRules("tiny", loaded.capabilities, {}, {}, limits)}
    file = parsing.parse("a.yaml", text.encode(), (), rules, "tiny", lambda _number: 7)
    [again] = file.prompts
    assert BOTH == again.loras
    assert np.array_equal(footage.frames[0], frames(two.load(), again))


def test_they_move_with_the_weights(wan: Case) -> None:
    """Into host memory and back; and layer by layer, as a device with little memory has them."""
    loaded = wan.load()
    asked: tuple[Loras, ...] = ((), A, BOTH)
    before = [frames(loaded, prompt(wan, one)) for one in asked]
    placements.keep_in_host_memory(loaded)
    moved = placements.bring_back(loaded)
    for wanted, one in zip(before, asked, strict=True):
        assert np.array_equal(wanted, frames(moved, prompt(wan, one)))
    accelerate.cpu_offload(moved.pipe.transformer, torch.device("cpu"))
    layer = moved.pipe.transformer.blocks[0].attn1.to_q
    assert {"meta"} == {parameter.device.type for parameter in layer.parameters()}
    for wanted, one in zip(before, asked, strict=True):
        assert np.array_equal(wanted, frames(moved, prompt(wan, one)))


def test_what_was_not_loaded_is_no_video(wan: Case) -> None:
    """Where config.yaml had other LoRAs when the model was loaded, nothing is left out silently."""
    with pytest.raises(RenderError, match="loaded without the LoRA c"):
        frames(wan.load(), prompt(wan, (("a", 1.0), ("c", 1.0))))


def test_prompts_with_other_loras_are_not_rendered_together(two: Case) -> None:
    """Not with others, not with other weights, and not with none."""
    asked: tuple[Loras, ...] = (A, B, BOTH, HALF, ())
    keys = {prompt(two, loras, text=text).batch_key for loras in asked for text in "xy"}
    assert len(asked) == len(keys)


def test_what_the_compiler_reads_has_no_loras_in_use(wan: Case) -> None:
    """It works beside renders that use some, on a copy with a record of its own."""
    loaded = wan.load(speed={"compile": "whole"})
    [forms] = loaded.fast_path.forms
    call = loaded.pipe.transformer.blocks[0].attn1.to_q.call
    call.loras = A
    copy: Any = forms._copy(Call())
    assert () == copy.blocks[0].attn1.to_q.call.loras
    loaded.fast_path.discard()
