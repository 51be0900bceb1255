"""`loras:` of a profile in config.yaml: what it may say, and how it goes over a built-in one."""

from __future__ import annotations

from pathlib import Path

import pytest
from reeldrop.base.errors import ConfigError
from reeldrop.base.loras import LoraLimits
from reeldrop.commands import check, submit
from reeldrop.config import config, profiles
from reeldrop.config.config import Config
from reeldrop.render.source import LoraSource


def parsed(lora: str, profile: str = "path: p") -> Config:
    """Return the settings of a config.yaml whose profile has a LoRA."""
    text = f"models:\n  m:\n    {profile}\n    loras:\n      style: {lora}\n"
    return config.parse(text, Path("/site/config.yaml"))


def test_paths_begin_at_the_files_folder() -> None:
    """Prompts get name, weight and limits; the loader gets the file and what it is for."""
    found = parsed("{path: loras/x, component: unet, weight: 0.5, limits: [0, 1]}")
    assert {"style": LoraLimits(0.5, 0, 1)} == found.models["m"].lora_limits
    source = LoraSource("style", "/site/loras/x", component="unet")
    assert (source,) == profiles.untuned("m", found).loras


def test_another_default_weight_loads_nothing_anew() -> None:
    """It is a prompt's; that of a LoRA that is always used is the model's."""
    for always, is_another in (("false", False), ("true", True)):
        one, other = (parsed(f"{{path: x, always: {always}, weight: {w}}}") for w in (0.5, 0.6))
        assert is_another == (profiles.untuned("m", one) != profiles.untuned("m", other))


def test_what_is_said_goes_over_the_built_in_ones() -> None:
    """A copy of a file takes the place of a repository, and of what is said of that."""
    text = "models: {wan2.1-14b-4step: {loras: {distilled: {path: x}, more: {path: y}}}}"
    found = profiles.untuned("wan2.1-14b-4step", config.parse(text, Path("/site/config.yaml")))
    assert [
        LoraSource("distilled", "/site/x", component="transformer", is_always_used=True),
        LoraSource("more", "/site/y"),
    ] == list(found.loras)


@pytest.mark.parametrize(
    ("lora", "key", "problem", "remedy"),
    [
        ("{}", "", "give exactly one of repository and path", ""),
        ("{path: x, repository: a/b}", "", "give exactly one of repository and path", ""),
        ("{path: x, revision: v1}", "", "revision is a commit of a repository", "leave it out"),
        (
            "{repository: loras, weight_name: x.safetensors}",
            ".repository",
            "'loras' is no",
            "path:",
        ),
        ("{repository: a/b}", "", "weight_name is missing", "name the file"),
        ("{repository: a/b, weight_name: x.bin}", "", "no safetensors file", "can run code"),
        ("{path: 5}", ".path", "must be the path of a file or a folder", ""),
        ("{path: x, part: unet}", ".part", "unknown key 'part'", "known are repository, path"),
        ("{path: x, component: vae}", ".component", "can't be 'vae'", "'transformer_2'"),
        ("{path: x, weight: 3}", "", "the weight 3 is not within -2 and 2", "change weight or"),
        ("{path: x, weight: strong}", ".weight", "must be a number, not 'strong'", ""),
        ("{path: x, limits: [0]}", ".limits", "must be [smallest, largest]", ""),
        ("{path: x, limits: [0, 2], always: true}", "", "limits are for", "leave limits out"),
    ],
)
def test_mistakes(lora: str, key: str, problem: str, remedy: str) -> None:
    """Each has its key, the problem and the remedy."""
    with pytest.raises(ConfigError) as caught:
        parsed(lora)
    [found] = caught.value.mistakes
    assert (f"models.m.loras.style{key}", 5) == (found.key, found.line)
    assert problem in found.problem
    assert remedy in found.remedy


def test_quantized_weights_take_no_more_weights() -> None:
    """What is always used becomes part of the weights."""
    with pytest.raises(ConfigError, match="style can't become part of quantized weights"):
        parsed("{path: x, always: true}", "path: p\n    quantization: int8")


def test_check_says_which_lora_is_missing(tmp_path: Path, least_pipeline: Path) -> None:
    """For the profile that prompts get, and for another one, whose model it does not load."""
    profile = f"{{path: {least_pipeline}, loras: {{style: {{path: nowhere}}}}}}"
    text = f"model: a\nmodels:\n  a: {profile}\n  b: {profile}\n"
    file = tmp_path / "config.yaml"
    file.write_text(text)
    rows = check.machine(config.parse(text, file), file)
    bad = {row.what: row.detail for row in rows if not row.ok}
    assert {"model", "model b"} == set(bad)
    for name, detail in zip("ab", bad.values(), strict=True):
        assert f"the LoRA style of {name} is not there: {tmp_path / 'nowhere'}" in detail
        assert f"{file}, line {3 if name == 'a' else 4}, column" in detail


def test_submit_takes_them_as_yaml() -> None:
    """In one word or with weights."""
    given = submit.parsed(["loras={watercolor: 0.8, film grain: }"])
    assert {"loras": {"watercolor": 0.8, "film grain": None}} == given
