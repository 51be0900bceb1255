"""`loras:` in prompt files: chosen by name, with weights within bounds, from any layer."""

from __future__ import annotations

import dataclasses

import pytest
from harness.prompt_files import TINY
from reeldrop.base import yaml_text
from reeldrop.base.errors import Mistake, PromptError
from reeldrop.base.job import DefaultsFile, Prompt
from reeldrop.base.loras import LoraLimits, Loras
from reeldrop.prompts import parsing

LORAS = {
    "watercolor": LoraLimits(0.7, 0, 1.5),
    "film grain": LoraLimits(),
    "distilled": LoraLimits(is_always_used=True),
}
RULES = {"tiny": dataclasses.replace(TINY, loras=LORAS), "plain": TINY}


def prompts(text: str, name: str = "a.yaml", defaults: str = "") -> tuple[Prompt, ...]:
    """Parse a prompt file for a profile with LoRAs."""
    above = [DefaultsFile("_defaults.yaml", defaults.encode())] if defaults else []
    return parsing.parse(name, text.encode(), above, RULES, "tiny", lambda _number: 1).prompts


def refused(text: str, name: str = "a.yaml") -> tuple[Mistake, ...]:
    """Return what is wrong with a prompt file."""
    with pytest.raises(PromptError) as caught:
        prompts(text, name)
    return tuple(caught.value.mistakes)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("watercolor", (("watercolor", 0.7),)),
        ("[watercolor, film grain]", (("film grain", 1.0), ("watercolor", 0.7))),
        ("{watercolor: 0.5, film grain: -2}", (("film grain", -2.0), ("watercolor", 0.5))),
        ("{film grain: , watercolor: 1}", (("film grain", 1.0), ("watercolor", 1.0))),
        ("{watercolor: 0}", ()),
        ("[]", ()),
        ("{}", ()),
    ],
)
def test_they_are_chosen_by_name(given: str, wanted: Loras) -> None:
    """As one name, a list, or with weights; sorted, so that equal ones are rendered together."""
    [prompt] = prompts(f"prompt: a ball\nloras: {given}")
    assert wanted == prompt.loras


def test_the_nearest_layer_wins() -> None:
    """Defaults of the folder, settings beside `prompts:`, and an item's own."""
    text = "prompts:\n- a\n- {prompt: b, loras: []}\n- {prompt: c, loras: film grain}\n"
    above = "loras: {watercolor: 0.5}"
    found = [prompt.loras for prompt in prompts(text, defaults=above)]
    assert [(("watercolor", 0.5),), (), (("film grain", 1.0),)] == found
    beside = [prompt.loras for prompt in prompts(f"{text}loras: {{watercolor: 1}}", defaults=above)]
    assert (("watercolor", 1.0),) == beside[0]


@pytest.mark.parametrize("given", ["watercolor", "{film grain: 0.25, watercolor: 1.5}"])
def test_the_settings_of_a_prompt_ask_for_the_same(given: str) -> None:
    """A sidecar has every weight, whatever becomes of the profile's."""
    [prompt] = prompts(f"prompt: a ball\nloras: {given}")
    assert (prompt,) == prompts(yaml_text.dump(prompt.as_settings()))


def test_the_settings_of_a_prompt_without_loras_ask_for_none() -> None:
    """Whatever the folder has that a sidecar is dropped into; other profiles say nothing."""
    [prompt] = prompts("prompt: a ball\nloras: []")
    again = yaml_text.dump(prompt.as_settings())
    assert (prompt,) == prompts(again, defaults="loras: watercolor")
    [plain] = prompts("prompt: a ball\nmodel: plain")
    assert "loras" not in plain.as_settings()


@pytest.mark.parametrize(
    ("given", "line", "problem", "remedy"),
    [
        ("waterclor", 2, "tiny has no LoRA 'waterclor'", "did you mean 'watercolor'? known are"),
        ("\n- watercolor\n- ../x.safetensors", 4, "no LoRA '../x.safetensors'", "known are water"),
        ("\n  watercolor: 1.6", 3, "the weight of watercolor is 1.6", "use 0 to 1.5"),
        ("{film grain: -2.5}", 2, "the weight of film grain is -2.5", "use -2 to 2"),
        ("{watercolor: .nan}", 2, "the weight of watercolor is nan", "use 0 to 1.5"),
        ("{watercolor: strong}", 2, "must be a number, not the text 'strong'", "watercolor: 0.7}"),
        ("{watercolor: true}", 2, "must be a number, not true", "`loras: {watercolor: 0.7}`"),
        ("\n- watercolor\n- watercolor", 4, "watercolor is there twice", "name it once"),
        ("distilled", 2, "tiny has the LoRA distilled in every video", "leave it out"),
        ("", 2, "loras must be names, not nothing", "known are watercolor, film grain"),
        ("0.8", 2, "loras must be names, not 0.8", "known are watercolor, film grain"),
        ("[1]", 2, "a LoRA has a name, which is not 1", "known are watercolor, film grain"),
        ("\n- watercolor: 0.8", 2, "has a list or a mapping in it", "`loras: {watercolor: 0.8}`"),
        ("[a, b, c, d, e, f, g, h, i, j, k]", 2, "loras has 11 names, more than 10", "fewer"),
    ],
)
def test_what_a_profile_does_not_have_is_refused(
    given: str, line: int, problem: str, remedy: str
) -> None:
    """With its place, the names that there are, and the weights that are allowed."""
    [mistake] = refused(f"prompt: a ball\nloras: {given}")
    assert ("loras", line) == (mistake.key, mistake.line)
    assert problem in mistake.problem
    assert remedy in mistake.remedy


def test_a_profile_without_any_says_so() -> None:
    """The same goes for one that has only such as are always used."""
    [mistake] = refused("prompt: a ball\nmodel: plain\nloras: watercolor")
    assert "it has none that prompts may choose" in mistake.remedy


def test_a1111s_way_is_shown_as_ours() -> None:
    """With the names and weights that the profile has."""
    text = "a ball <lora:watercolor:0.8>, red <lora:toy:1> <lora:film grain:9>"
    [mistake] = refused(text, "a.txt")
    assert "<lora:watercolor:0.8>" in mistake.problem
    assert "there are watercolor, film grain" in mistake.remedy
    [prompt] = prompts(mistake.example)
    assert ("a ball , red", (("watercolor", 0.8),)) == (prompt.prompt, prompt.loras)


def test_what_other_tools_call_them_is_known() -> None:
    """The remedy is a line that works."""
    [mistake] = refused("prompt: a ball\nlora: watercolor")
    assert "it is called loras here: `loras: watercolor`" == mistake.remedy
