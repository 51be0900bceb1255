"""Sweeps: which videos `matrix:` and `wildcards:` ask for, what is refused, and how soon."""

from __future__ import annotations

import contextlib
import time

import pytest
from harness.prompt_files import mistake, mistakes, one, parse, texts
from harness.work import counted
from reeldrop.base import yaml_text
from reeldrop.base.errors import PromptError
from reeldrop.prompts import wildcards
from reeldrop.prompts.wildcards import BadTemplate

MATRIX = "matrix: {guidance_scale: [6, 9, 12], num_inference_steps: [15, 25]}\n"


def test_every_combination_is_made_of_each_prompt() -> None:
    """The last key changes first; a prompt's own matrix replaces that of the file."""
    file = parse(
        "prompts:\n"
        "  - a fox\n"
        "  - {prompt: an owl, num_frames: 17, matrix: {seed: [3, 4]}}\n" + MATRIX + "height: 32\n"
    )
    found = [
        (p.prompt, p.argument("guidance_scale"), p.argument("num_inference_steps"), p.seed)
        for p in file.prompts
    ]
    fox = [(g, s) for g in (6, 9, 12) for s in (15, 25)]
    assert [("a fox", g, s, 1000 + n) for n, (g, s) in enumerate(fox, 1)] == found[:6]
    assert [("an owl", 5, 3, 3), ("an owl", 5, 3, 4)] == found[6:]
    assert {32} == {p.argument("height") for p in file.prompts}
    assert {"guidance_scale": 6, "num_inference_steps": 25} == dict(file.prompts[1].swept)
    assert list(range(1, 9)) == [p.number for p in file.prompts]


def test_each_of_several_videos_has_a_seed_of_its_own() -> None:
    """What is told of it is that one."""
    file = parse("prompt: a\nmatrix: {seed: [1, 5]}\nnum_videos_per_prompt: 2\n")
    assert [1, 2, 5, 6] == [prompt.seed for prompt in file.prompts]
    assert [1, 2, 5, 6] == [dict(prompt.swept)["seed"] for prompt in file.prompts]


def test_braces_as_text_have_spaces_in_them() -> None:
    """Otherwise the sidecar would be refused, and so is the prompt, with what to write."""
    texts_of = "prompt: 'a \\{{x{0}y\\}} {{fox|owl}}'\nwildcards: all\n"
    assert "spaces around each |" in mistakes(texts_of.format("|"))[0].remedy
    assert ["a {x | y} fox", "a {x | y} owl"] == texts(texts_of.format(" | "), "a.yaml")


def test_any_setting_can_be_swept() -> None:
    """Texts, seeds, models and defaults too; a list of one value is a setting."""
    both = "matrix: {model: [tiny, other], negative_prompt: ['', blurry], seed: [7]}\n"
    file = parse("prompt: a\n" + both, defaults=[("_defaults.yaml", "seed: 1\n")])
    assert [
        ("tiny", "", 7),
        ("tiny", "blurry", 7),
        ("other", "", 7),
        ("other", "blurry", 7),
    ] == [(p.model, p.argument("negative_prompt"), p.seed) for p in file.prompts]
    assert {"model": "tiny", "negative_prompt": "-", "seed": 7} == dict(file.prompts[0].swept)


def test_what_was_chosen_is_an_order_of_its_own() -> None:
    """The settings of each video make just that video again, and have no trace of the sweep."""
    file = parse("prompt: a {red|{dark|light} green} {|very }tall fox\nwildcards: all\n" + MATRIX)
    assert 36 == len(file.prompts)
    for prompt in file.prompts:
        settings = prompt.as_settings()
        assert not {"matrix", "wildcards"} & settings.keys()
        assert prompt.as_settings() == one(yaml_text.dump(settings)).as_settings()


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ("a {red|green} {fox|owl}", ["a red fox", "a red owl", "a green fox", "a green owl"]),
        ("{a|b {c|d}} e", ["a e", "b c e", "b d e"]),
        ("a {|very }tall fox", ["a tall fox", "a very tall fox"]),
        ("a { red | |blue} fox", ["a red fox", "a fox", "a blue fox"]),
        (r"\{a\} {b\|c|\\d} | e \n", [r"{a} b|c | e \n", r"{a} \d | e \n"]),
        ("{a|a|b}", ["a", "b"]),
        ("{大|小}鵬", ["大鵬", "小鵬"]),
    ],
)
def test_alternatives_in_braces(template: str, made: list[str]) -> None:
    """Nested, empty and escaped ones; a text is made once, and without doubled spaces."""
    file = yaml_text.dump({"prompts": [template], "wildcards": "all"})
    assert made == texts(file, "a.yaml")


def test_a_translation_is_of_one_text() -> None:
    """Else all alternatives would show the same, under different names."""
    for text, key in (
        ("prompt: '{a|b}'\ntranslated_prompt: c\nwildcards: all\n", "prompt"),
        (
            "prompt: a\ntranslated_negative_prompt: c\nmatrix: {negative_prompt: [b]}\n",
            "negative_prompt",
        ),
        (
            "prompt: a\nmatrix: {translated_negative_prompt: [c, d], negative_prompt: [b, e]}\n",
            "negative_prompt",
        ),
        ("prompt: '{a|b}'\nmatrix: {translated_prompt: [c, d]}\nwildcards: all\n", "prompt"),
    ):
        found = mistake(text)
        assert (2, f"translated_{key}") == (found.line, found.key)
        assert f"all that {key} may be would be rendered as this one" in found.problem
    others = "prompts: [{prompt: d, translated_prompt: c}, '{a|b}']\nwildcards: all\n"
    assert ["d", "a", "b"] == texts(others, "a.yaml")


def test_some_are_drawn() -> None:
    """The same seed draws the same, another one others; none twice, nor more than there are."""
    braces = " ".join(["{0|1|2|3|4|5|6|7|8|9}"] * 20)
    drawn = [
        texts(f"prompt: '{braces}'\nwildcards: 5\nseed: {seed}\n", "a.yaml")
        for seed in ("1", "1", "[1, 2]", "2")
    ]
    assert 5 == len(set(drawn[0]))
    assert drawn[0] == drawn[1]
    assert drawn[0] == drawn[2][::2]
    assert not set(drawn[0]) & set(drawn[3])
    few = texts("prompts: ['{a|b} {c|d}', 'plain']\nwildcards: 9\n", "a.yaml")
    assert ["a c", "a d", "b c", "b d", "plain"] == sorted(few)
    firsts = [
        texts(f"prompt: '{{a|b|c|d|e|f}}'\nwildcards: 2\nseed: {seed}\n", "a.yaml")[0]
        for seed in range(60)
    ]
    assert {*"abcdef"} == {*firsts}


@pytest.mark.parametrize(
    ("text", "line", "problem", "remedy"),
    [
        ("matrix: {seed: []}", 2, "seed in the matrix is an empty list", "remove the line"),
        ("matrix: {seed: 3}", 2, "seed in a matrix must be a list, not 3", "`seed: [...]`"),
        ("matrix: [1]", 2, "matrix must have keys with lists", "guidance_scale: [6, 9, 12]"),
        ("matrix: {}", 2, "matrix must have keys with lists", ""),
        ("matrix: {seed: [1, 1]}", 2, "1 is there twice for seed", "remove one"),
        ("matrix: {height: [[8]]}", 2, "a value of height in a matrix can't be a list", ""),
        ("matrix: {loras: [[a, a, a, a, a, a, a, a, a, a, a]]}", 2, "11 names, more than 10", ""),
        ("matrix: {prompt: [b]}", 2, "prompt can't be in a matrix", "`prompts:`"),
        ("matrix: {format: [gif]}", 2, "format can't be in a matrix", "beside `matrix:`"),
        ("matrix:\n  seed: [1]\nseed: 4", 4, "seed is here and in the matrix, in line 3", "remove"),
        ("matrix: {sead: [1, 2]}", 2, "unknown key 'sead'", "did you mean 'seed'"),
        ("matrix:\n  height: [64, 65]", 3, "can't make a height of 65", "use 64 or 72"),
        ("wildcards: all", 2, "no prompt has alternatives in braces", "`{red|green}`"),
        ("wildcards: 0", 2, "`all`, or a number up to 1,000, not 0", "`wildcards: 5` draws five"),
        ("wildcards: true", 2, "`all`, or a number up to 1,000, not true", ""),
        ("negative_prompt: '{a|b}'\nwildcards: 2", 2, "the negative prompt has braces", "matrix"),
    ],
)
def test_what_is_refused(text: str, line: int, problem: str, remedy: str) -> None:
    """Each mistake once, with its line and what to do."""
    found = mistake(f"prompt: a\n{text}\n")
    assert problem in found.problem
    assert remedy in found.remedy
    assert line == found.line


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("a {b", "a { without a }"),
        ("a b}", "a } without a {"),
        ("a {b}", "without a |"),
        ("a {} b", "without a |"),
        ("__colour__ {a|b}", "__colour__ is a file of wildcards"),
        ("{2$$a|b}", "several at once"),
        ("{a|{0.5::b|c}}", "has a share"),
        ("{a|" * 11 + "b" + "}" * 11, "braces within braces"),
        ("{a|b}" * 600, "more than 1,000 alternatives"),
    ],
)
def test_braces_that_are_no_alternatives(template: str, problem: str) -> None:
    """What other tools have and reeldrop has not is refused, and not taken for text."""
    with pytest.raises(BadTemplate) as caught:
        wildcards.read(template)
    assert problem in caught.value.args[0]
    assert caught.value.args[1]
    found = mistake(yaml_text.dump({"prompt": template, "wildcards": "all"}))
    assert (caught.value.args[0], 1) == (found.problem, found.line)


def test_defaults_of_a_folder_sweep_nothing() -> None:
    """Otherwise a sidecar, put there again, would not render just its video."""
    for key, value in (("matrix", "{seed: [1]}"), ("wildcards", "all")):
        found = mistake("prompt: a\n", defaults=[("_defaults.yaml", f"{key}: {value}\n")])
        assert f"'{key}' can't have a default" == found.problem


def test_too_many_videos_are_counted_and_not_made() -> None:
    """The report has the factors, whatever the size of the product."""
    prompts = "prompts: [a, b, c, d]\n" + MATRIX
    bomb = " ".join(["{0|1|2|3|4|5|6|7|8|9}"] * 20)
    nested = "{a|b}" * 400
    seeds = ", ".join(map(str, range(50)))
    for text, told in (
        (f"{prompts}seed: [{seeds}]\n", "3 x 2 x 4 prompts x 50 seeds = 1,200 videos; at most"),
        (f"{prompts}num_videos_per_prompt: 50\n", "3 x 2 x 4 prompts x 50 each = 1,200 videos"),
        (f"prompt: 'a {bomb}'\nwildcards: all\n", "asks for about 10^20 videos"),
        (f"prompts: ['{nested}', b]\nwildcards: all\n", "about 10^120 + 1 = about 10^120 videos"),
        (f"prompts: ['{{a|b}}', b]\nwildcards: all\nseed: [{seeds}]\nmatrix:\n  height: ["
         + ", ".join(str(8 * n) for n in range(1, 16)) + "]\n",
         "15 x 2 x 50 seeds + 15 x 1 x 50 seeds = 2,250 videos"),
    ):  # fmt: skip
        with counted() as calls:
            (found,) = mistakes(text)
        assert calls() < 20_000
        assert told in found.problem


@pytest.mark.parametrize(
    "text",
    [
        "prompts: [&a '" + "{|}" * 400 + "', " + ", ".join(["*a"] * 900) + "]\nwildcards: 1\n",
        "prompt: '" + "{a|b}" * 400 + "'\nwildcards: 1000\n",
        "prompts: [&a '{" + "|".join(map(str, range(900))) + "}', " + ", ".join(["*a"] * 900)
        + "]\nwildcards: 1\n",
        "prompts: [&a x, " + ", ".join(["*a"] * 900) + "]\n"
        "matrix: {seed: [" + ", ".join(map(str, range(15_000))) + "]}\n",
        "prompt: a\nmatrix: {" + ", ".join(f"k{n}: [1]" for n in range(6_000)) + "}\n",
    ],
)  # fmt: skip
def test_the_work_of_a_file_is_bounded(text: str) -> None:
    """The worst files take about a second."""
    began = time.process_time()
    with contextlib.suppress(PromptError):
        parse(text)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("axis", "remedy"),
    [
        ("guidance: [1, 3]", "it is called guidance_scale here"),
        ("stpes: [1, 3]", "did you mean 'steps'? it is called num_inference_steps here"),
        ("size: [32x32, 64x64]", "give width and height, in pixels"),
        ("seconds: [1, 2]", "a video's length is given in frames: num_frames"),
    ],
)
def test_a_key_of_another_tool_in_a_matrix_is_not_answered_with_one_value(
    axis: str, remedy: str
) -> None:
    """In a matrix a key has a list: `guidance_scale: 1` would be refused there."""
    assert remedy == mistake(f"prompt: a\nmatrix: {{{axis}}}").remedy
