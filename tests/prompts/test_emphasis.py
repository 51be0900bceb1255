"""Weights in prompts: what is read, what is text, what is refused."""

from __future__ import annotations

import time

import pytest
from harness.rules import CAPABILITIES
from reeldrop.base.errors import PromptError
from reeldrop.base.job import Prompt
from reeldrop.prompts import parsing
from reeldrop.prompts.emphasis import parts, too_heavy
from reeldrop.prompts.rules import ModelRules

READ = {
    "a red ball": [("a red ball", 1)],
    "a (red:1.2) ball": [("a ", 1), ("red", 1.2), (" ball", 1)],
    "(red) [ball]": [("red", 1.1), (" ", 1), ("ball", 1 / 1.1)],
    "((red)) ball": [("red", 1.1 * 1.1), (" ball", 1)],
    "(a (red:2) ball:.5)": [("a ", 0.5), ("red", 1), (" ball", 0.5)],
    "(no clouds: -0.5 )": [("no clouds", -0.5)],
    "a (red:1.0) ball": [("a red ball", 1)],
    r"a \(red\) \[ball\] \\": [(r"a (red) [ball] " + "\\", 1)],
    r"C:\films": [(r"C:\films", 1)],
    "a smile :) or :( here": [("a smile :) or :( here", 1)],
    "(a [red) ball]": [("a [red", 1.1), (" ball]", 1)],
    "(red:blue)": [("red:blue", 1.1)],
    "(大鹏:1.3)飞": [("大鹏", 1.3), ("飞", 1)],
    "（大鹏：1.3）飞": [("大鹏", 1.3), ("飞", 1)],  # noqa: RUF001
    "（（夜））［海］": [("夜", 1.1 * 1.1), ("海", 1 / 1.1)],  # noqa: RUF001
    "(大鹏：１．３）": [("大鹏", 1.3)],  # noqa: RUF001
    r"\（夜\）（比例：大": [("（夜）（比例：大", 1)],  # noqa: RUF001
    "": [],
    "()": [],
}


@pytest.mark.parametrize("prompt", READ)
def test_weights_are_read_as_others_write_them(prompt: str) -> None:
    """Brackets multiply; those that are escaped or have no other half are text."""
    assert [(text, pytest.approx(weight)) for text, weight in READ[prompt]] == parts(prompt)


def test_thousands_of_brackets_take_no_time() -> None:
    """Reading takes time in proportion to the length, however deep the brackets are, and however
    long the numbers."""
    began = time.process_time()
    found = too_heavy("(" * 5000 + "x" + ")" * 5000)
    assert found is not None
    assert [("(" * 5000, 1.0)] == parts("(" * 5000)
    number = ":" + "1" * 50_000
    assert [(number, 1.0)] == parts(number)
    assert time.process_time() - began < 1


def parse(text: str, *, reads_weights: bool) -> tuple[Prompt, ...]:
    """Return the prompts of a YAML file for a profile that reads weights, or does not."""
    found = ModelRules("tiny", CAPABILITIES, {}, {}, reads_weights=reads_weights)
    return parsing.parse("a.yaml", text.encode(), (), {"tiny": found}, "tiny", int).prompts


def test_a_weight_beyond_reason_is_refused() -> None:
    """The report names words, weight and bound; without the syntax it is text."""
    text = "prompt: a ball\nnegative_prompt: (red:50)\n"
    with pytest.raises(PromptError) as caught:
        parse(text, reads_weights=True)
    [mistake] = caught.value.mistakes
    assert ("negative_prompt", 2) == (mistake.key, mistake.line)
    assert "red has the weight 50" in mistake.problem
    assert 1 == len(parse(text, reads_weights=False))


def test_only_what_is_text_is_noted_as_text() -> None:
    """A profile that reads weights reads those of one form, and the prompt stays as written."""
    full_width = "（红：1.4）球"  # noqa: RUF001
    for text, notes in (("a (red:1.4) ball", 0), (full_width, 0), ("a {{red}} ball", 1)):
        for reads_weights in (True, False):
            [prompt] = parse(f"prompt: {text}", reads_weights=reads_weights)
            assert text == prompt.prompt
            assert (notes if reads_weights else 1) == len(prompt.notes)


@pytest.mark.parametrize(
    "weight",
    ["(red: 1.3)", "(red :.5)", "(red:-1)", "(red:1,3)", "((red))", "(red:1.25)", "（红:１.5）"],  # noqa: RUF001
)
def test_every_form_of_a_weight_is_noted_where_it_is_text(weight: str) -> None:
    """Also in a negative prompt, in which most people have them."""
    note = f"{weight} is text here: reeldrop has no weights"
    [prompt] = parse(f"prompt: 'a {weight} ball'", reads_weights=False)
    assert (note,) == prompt.notes
    [prompt] = parse(f"prompt: a ball\nnegative_prompt: 'mud, {weight}'", reads_weights=False)
    assert (f"in the negative prompt, {note}",) == prompt.notes


def test_brackets_that_are_read_in_another_way_than_was_meant() -> None:
    """The note says what to write; a report on a weight beyond reason does, too."""
    for text, note in {
        "a (red:1,3) ball": "(red:1,3) has a comma: a weight has a point, as in (red:1.2)",
        "a frame of (16:9)": r"(16:9) is a weight here: as text, it is \(16:9\)",
    }.items():
        [prompt] = parse(f"prompt: {text}", reads_weights=True)
        assert (note,) == prompt.notes
    [prompt] = parse(r"prompt: a frame of \(16:9\)", reads_weights=True)
    assert () == prompt.notes
    with pytest.raises(PromptError, match=r"text are written \\\( and \\\)"):
        parse("prompt: dawn (10:30)", reads_weights=True)
