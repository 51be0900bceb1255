"""The built-in profiles, and how config.yaml overrides them, key by key."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import diffusers
import pytest
from diffusers.pipelines.ltx2.utils import DEFAULT_NEGATIVE_PROMPT
from harness.rules import CAPABILITIES, RULES
from reeldrop.base.errors import ConfigError
from reeldrop.config import builtin, config, profiles
from reeldrop.config.config import Config
from reeldrop.config.profile_keys import Profile

COUNTED = {"num_frames", "height", "width", "num_inference_steps"}


def parsed(text: str) -> Config:
    """Return the settings of a config.yaml's text."""
    return config.parse(text, Path("/site/config.yaml"))


def profile(text: str, name: str) -> Profile:
    """Return a profile of a config.yaml's text."""
    return parsed(text).models[name]


def test_every_profile_works_by_its_name_alone() -> None:
    """`model: wan2.1-1.3b` is a whole config.yaml; so is each other name."""
    for name, given in builtin.profiles().items():
        loaded = parsed(f"model: {name}")
        found = loaded.models[name]
        assert list(dict.fromkeys([*builtin.OFFERED, name])) == list(loaded.models)
        assert name == loaded.selected_model(cuda=True)
        assert given["defaults"] == {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in found.defaults.items()
        }
        source = profiles.untuned(name, loaded)
        assert source.location
        assert found.about.licence
        assert found.about.pipeline
        assert found.about.weights_gb


def test_every_setting_is_an_argument_of_its_pipeline() -> None:
    """diffusers' class takes all defaults, limits and lists, and its scheduler the settings."""
    for name in builtin.profiles():
        found = profile(f"model: {name}", name)
        kind = getattr(diffusers, str(found.about.pipeline))
        taken = {*inspect.signature(kind.__call__).parameters, "fps"}
        if "frames" in taken:  # what SANA-Video calls num_frames
            taken.add("num_frames")
        assert {*found.defaults, *found.limits} <= taken, name
        if found.scheduler is not None:
            scheduler = inspect.signature(getattr(diffusers, found.scheduler.name)).parameters
            assert set(found.scheduler.settings) <= set(scheduler), name


def test_negative_prompts_are_the_authors() -> None:
    """Those with which diffusers' pages render, or LTX-2's own; without guidance none is read."""
    having = {n for n in builtin.profiles() if "negative_prompt" in builtin.profile(n).defaults}
    families = ("wan", "ltx", "sana")
    expected = {n for n in builtin.profiles() if n.startswith(families) and _is_guided(n)}
    assert expected == having
    for name in having:
        found = builtin.profile(name)
        kind = getattr(diffusers, str(found.about.pipeline))
        published = inspect.getsource(inspect.getmodule(kind)) + DEFAULT_NEGATIVE_PROMPT
        assert str(found.defaults["negative_prompt"]) in published, name


def _is_guided(name: str) -> bool:
    return float(builtin.profile(name).defaults.get("guidance_scale", 0)) > 1


def test_dynamic_guidance_has_its_scheduler() -> None:
    """CogVideoX's authors use it with this one only, with which their larger models are to run."""
    dynamic = {n for n in builtin.profiles() if builtin.profile(n).defaults.get("use_dynamic_cfg")}
    assert {n for n in builtin.profiles() if n.startswith("cogvideox") and "5b" in n} == dynamic
    for name in dynamic:
        scheduler = builtin.profile(name).scheduler
        assert scheduler is not None
        assert ("CogVideoXDPMScheduler", {"timestep_spacing": "trailing"}) == (
            scheduler.name,
            scheduler.settings,
        )


def test_defaults_keep_within_limits() -> None:
    """A shipped profile never refuses its own defaults."""
    for name in builtin.profiles():
        found = profile(f"model: {name}", name)
        for key, (low, high) in found.prompt_limits.items():
            assert (low or 0) <= float(found.prompt_defaults[key]) <= high, (name, key)
        counted = {"num_frames", "num_inference_steps", *found.defaults} & COUNTED
        assert counted <= set(found.prompt_limits)


def test_what_the_text_encoders_read() -> None:
    """Each shipped profile says it; a profile of a new name may leave it out."""
    assert all(builtin.profile(name).languages is not None for name in builtin.profiles())
    found = parsed("models: {x: {path: x}, y: {path: y, languages: [en, zh]}}")
    assert [None, ("en", "zh")] == [found.models[name].languages for name in ("x", "y")]
    assert ("any",) == profile("model: wan2.1-1.3b", "wan2.1-1.3b").languages


def test_one_thing_is_changed() -> None:
    """All other values stay, of this profile and of the others."""
    plain = parsed("inbox: inbox")
    changed = parsed("models: {bundled: {defaults: {fps: 12}}}")
    assert 12 == changed.models["bundled"].defaults["fps"]
    expected = plain.models["bundled"].model_dump()
    expected["defaults"]["fps"] = 12
    assert expected == changed.models["bundled"].model_dump()
    assert plain.models["ms-1.7b"] == changed.models["ms-1.7b"]


def test_a_key_without_a_value_takes_the_built_in_one_away() -> None:
    """It removes a value, a default, a limit, or a whole profile that is offered."""
    text = "models: {ms-1.7b: {variant: , scheduler: , defaults: {fps: }, limits: {height: }}}"
    found = profile(text, "ms-1.7b")
    assert (None, None) == (found.variant, found.scheduler)
    assert "fps" not in found.defaults
    assert "height" not in found.limits
    assert "width" in found.limits
    assert ["bundled"] == list(parsed("models: {ms-1.7b: }").models)
    based = parsed("models: {ms-1.7b: , mine: {base: ms-1.7b}}").models
    assert ["bundled", "mine"] == list(based)
    assert "fp16" == based["mine"].variant
    with pytest.raises(ConfigError, match="must be a text") as caught:
        parsed("models: {bundled: {defaults: {eta: }}}")  # there is nothing to take away
    assert "models.bundled.defaults.eta" == caught.value.mistakes[0].key


def test_another_source_keeps_the_settings() -> None:
    """A copy or finetune keeps variant and defaults, but not what describes the files."""
    plain = profile("model: mochi", "mochi")
    assert plain.about.licence
    for source in ("path: /models/mochi", "repository: me/mochi"):
        found = profile(f"models: {{mochi: {{{source}, revision: abc}}}}", "mochi")
        assert ("bf16", plain.defaults, plain.limits) == (
            found.variant,
            found.defaults,
            found.limits,
        )
        assert "abc" == found.revision
        assert found.about.licence is None
        assert 1 == sum([found.repository is not None, found.path is not None])
    text = "models: {a: {repository: x/y, revision: abc}, b: {base: a, repository: x/z}}"
    assert profile(text, "b").revision is None
    pinned = "models: {mochi: {repository: genmo/mochi-1-preview, revision: abc}}"
    assert plain.about == profile(pinned, "mochi").about


def test_a_new_name_begins_with_nothing_or_with_its_base() -> None:
    """A base may be built in or in the same file, and have a base itself."""
    text = """
models:
  draft: {base: wan2.1-1.3b, defaults: {num_inference_steps: 20}, max_batch_size: 1}
  tiny: {base: draft, path: /models/tiny, defaults: {height: 240}}
  alone: {path: /models/alone}
"""
    loaded = parsed(text)
    draft, tiny, alone = (loaded.models[name] for name in ("draft", "tiny", "alone"))
    assert "Wan-AI/Wan2.1-T2V-1.3B-Diffusers" == draft.repository
    assert (20, 81, 480) == tuple(
        draft.defaults[key] for key in ("num_inference_steps", "num_frames", "height")
    )
    assert (None, 8.0, 1) == (tiny.repository, tiny.flow_shift, tiny.max_batch_size)
    assert (20, 240) == (tiny.defaults["num_inference_steps"], tiny.defaults["height"])
    assert ({}, None) == (alone.defaults, alone.flow_shift)
    assert "wan2.1-1.3b" not in loaded.models


def test_bases_in_a_circle() -> None:
    """They are reported at each of their keys, once."""
    text = "models:\n  x: {base: y, path: p}\n  y: {base: x, path: p}\n"
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    keys = {mistake.key: mistake.problem for mistake in caught.value.mistakes}
    assert {
        "models.x.base": "x is based on y is based on x",
        "models.y.base": "y is based on x is based on y",
    } == keys


def test_a_scheduler_goes_over_another() -> None:
    """Settings of the same class are merged; those of another class are dropped."""
    name = "ltx-2-distilled"
    same = f"models: {{{name}: {{scheduler: {{settings: {{shift_terminal: 0.2}}}}}}}}"
    found = profile(same, name).scheduler
    assert found is not None
    assert {"use_dynamic_shifting": False, "shift_terminal": 0.2} == found.settings
    other = profile(f"models: {{{name}: {{scheduler: UniPCMultistepScheduler}}}}", name).scheduler
    assert other is not None
    assert {} == other.settings


def test_a_list_fixes_the_number_of_steps() -> None:
    """Prompts can't set another number, and progress uses it."""
    found = profile("model: ltx-2-distilled", "ltx-2-distilled")
    assert (8, (8, 8)) == (
        found.prompt_defaults["num_inference_steps"],
        found.prompt_limits["num_inference_steps"],
    )
    source = profiles.untuned("ltx-2-distilled", parsed("model: ltx-2-distilled"))
    assert ["sigmas"] == list(source.fixed)
    assert 8 == len(source.fixed["sigmas"])
    assert "sigmas" not in found.prompt_defaults


def test_what_a_profile_says_reaches_the_loader() -> None:
    """Each key reaches the settings of the loader."""
    text = """
model: hunyuanvideo-1.5
models:
  hunyuanvideo-1.5:
    dtype: {default: bfloat16, vae: float32}
    quantization: int8
  cogvideox-2b: {dtype: {vae: float32}}
"""
    loaded = parsed(text)
    source = profiles.untuned("hunyuanvideo-1.5", loaded)
    assert ("bfloat16", {"vae": "float32"}) == (source.dtype, source.part_dtypes)
    assert ("int8", 5.0, {"guidance_scale": 6.0}, True) == (
        source.quantization,
        source.flow_shift,
        source.guider,
        source.tiling,
    )
    cog = profiles.untuned("cogvideox-2b", loaded)
    assert ("auto", {"vae": "float32"}, {"default": "float16"}) == (
        cog.dtype,
        cog.part_dtypes,
        cog.native_dtype,
    )


def test_a_model_that_is_no_name_is_a_mistake() -> None:
    """It is reported like any other wrong type."""
    for value in ("[bundled]", "{bundled: 1}"):
        with pytest.raises(ConfigError, match="must be a text"):
            parsed(f"model: {value}")


def test_a_profile_that_every_config_has_is_chosen_if_it_is_changed() -> None:
    """So `check` looks at what config.yaml says of it."""
    text = "model: a\nmodels: {a: {path: x}, bundled: %s, ms-1.7b: %s}"
    for bundled, other, expected in (
        ("{}", "{variant: fp16}", {"a"}),
        ("{loras: {style: {path: x}}}", "{}", {"a", "bundled"}),
        ("{}", "{path: x}", {"a", "ms-1.7b"}),
        ("", "{}", {"a"}),
    ):
        assert expected == profiles.chosen(parsed(text % (bundled, other)))
    assert {"auto"} == profiles.chosen(parsed(config.template()))


def test_a_profile_that_was_taken_away_has_no_size() -> None:
    """A file that names it may still wait after a reload."""
    assert 0 == profiles.Sizes(parsed("model: bundled")).of("mochi")


def test_the_dtype_of_a_part_leaves_the_others_as_they_are() -> None:
    """Also if the profile below names one for all of them; one for all replaces all."""
    found = profile("models: {cogvideox-2b: {native_dtype: {vae: float32}}}", "cogvideox-2b")
    assert {"default": "float16", "vae": "float32"} == found.native_dtype
    base = (
        "models: {a: {path: x, dtype: {default: float16, vae: float32}}, b: {base: a, dtype: %s}}"
    )
    assert {"default": "bfloat16"} == profile(base % "bfloat16", "b").dtype
    assert {"default": "float16", "vae": "bfloat16"} == profile(base % "{vae: bfloat16}", "b").dtype


def test_the_warm_up_has_two_steps_if_a_step_is_a_setting() -> None:
    """Others render in stages, and their call would refuse a number of steps."""
    assert RULES["tiny"] is not None
    assert "num_inference_steps" not in dict(profiles.warm_up(RULES["tiny"]).arguments)
    steps = {**CAPABILITIES.settings, "num_inference_steps": int}
    defaults = {**CAPABILITIES.defaults, "num_inference_steps": 50}
    able = dataclasses.replace(CAPABILITIES, settings=steps, defaults=defaults)
    found = profiles.warm_up(dataclasses.replace(RULES["tiny"], capabilities=able))
    assert 2 == found.argument("num_inference_steps")
