"""prompts: the bytes of a prompt file become resolved prompts, or the author's mistakes."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from harness.prompt_files import CAPABILITIES, RULES, TINY, mistake, mistakes, one, parse, texts
from hypothesis import example, given
from hypothesis import strategies as st
from reeldrop.base import invisible, yaml_text
from reeldrop.base.errors import ConfigError, PromptError
from reeldrop.base.job import Capabilities, DefaultsFile, Grid, Job, Prompt, Rendered
from reeldrop.base.windows import Windows
from reeldrop.prompts import parsing, profile_rules, rules
from reeldrop.prompts.parsing import NotDescribed, PromptFile
from reeldrop.prompts.rules import ModelRules, SettingsRefused
from reeldrop.store import sidecars

# Text files


@pytest.mark.parametrize(
    "data",
    [
        "大鸟 rises\nlow tide\n".encode(),
        "\ufeff大鸟 rises\nlow tide\n".encode(),
        "大鸟 rises\r\nlow tide\r\n".encode(),
        "大鸟 rises\rlow tide".encode(),
        "\ufeff大鸟 rises\r\nlow tide".encode("utf-16-le"),
        "\ufeff大鸟 rises\nlow tide\n".encode("utf-16-be"),
    ],
)
def test_text_in_every_encoding(data: bytes) -> None:
    """UTF-8 with or without a mark, UTF-16 with one, and all line ends are read alike."""
    assert ["大鸟 rises", "low tide"] == texts(data)


def test_lines_of_a_text_file() -> None:
    """Each line that is neither blank nor a comment is a prompt, without the space around it."""
    content = "# title\n\n  a bird \n \t \n  # not this\nb: [c # d\n\u3000e\u3000\n"
    assert ["a bird", "b: [c # d", "e"] == texts(content)


def test_lines_that_a_program_has_cut_are_noted() -> None:
    """A sentence over several lines is several videos; lines in small letters may each be one."""
    long = "the waves roll in behind the boat while gulls circle over"
    sentence = f"At sunset {long}\nthe mast.\n\nA dog.\n{long}\n{long}\n\n{long}\n{long}\n"
    told = ["go on with the line above" in str(p.notes) for p in parse(sentence, "a.txt").prompts]
    assert [False, True, False, False, True, False, False] == told


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\x1b"])
def test_only_line_ends_end_lines(mark: str) -> None:
    """Other line breaks are a mistake; at the ends of a line they are left out."""
    assert ["a b"] == texts(f"{mark}a b{mark}\n{mark}\n")
    found = mistake(f"x\n a{mark}b", "a.txt")
    assert (2, 3) == (found.line, found.column)
    assert f"(U+{ord(mark):04X}) in this line" in found.problem
    assert "a line of its own" in found.remedy


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "folder/b.Txt"])
def test_text_suffix_in_any_case(name: str) -> None:
    """The suffix decides, also in upper case."""
    assert ["no: a"] == texts("no: a", name)


def test_a_text_prompt_has_every_default() -> None:
    """The pipeline's defaults, the profile's over them; the seed is drawn by number."""
    expected = Prompt(
        number=2,
        prompt="b",
        model="tiny",
        arguments=(
            ("height", 64),
            ("width", 64),
            ("num_frames", 9),
            ("num_inference_steps", 3),
            ("guidance_scale", 5.0),
            ("clean_caption", False),
        ),
        seed=1002,
        fps=12.0,
        formats=("mp4",),
    )
    assert expected == parse("a\nb", "a.txt").prompts[1]


# YAML files


def test_every_setting_of_a_prompt() -> None:
    """Given settings arrive unchanged; a text keeps its inner lines."""
    prompt = one(
        "prompt: |\n  two\n  lines\nnegative_prompt: blurry\nheight: 128\nwidth: 8\n"
        "num_frames: 33\nnum_inference_steps: 1\nguidance_scale: 7\neta: 0.5\n"
        "clean_caption: true\nseed: 9223372036854775807\nfps: 12.5\nformat: [gif, mp4, gif]\n"
        "model: other\n"
    )
    assert (
        Prompt(
            number=1,
            prompt="two\nlines",
            model="other",
            arguments=(
                ("negative_prompt", "blurry"),
                ("height", 128),
                ("width", 8),
                ("num_frames", 33),
                ("num_inference_steps", 1),
                ("guidance_scale", 7.0),
                ("eta", 0.5),
                ("clean_caption", True),
            ),
            seed=2**63 - 1,
            fps=12.5,
            formats=("gif", "mp4"),
        )
        == prompt
    )


@pytest.mark.parametrize("text", ["no", "12:30", "2026-11-24", "0x10", "on"])
def test_texts_that_only_look_like_something_else(text: str) -> None:
    """A prompt that YAML 1.1 would read as another type needs no quotes."""
    assert text == one(f"prompt: {text}").prompt


def test_list_of_prompts_with_settings_beside_as_defaults() -> None:
    """Items are texts or mappings; settings beside the list are their defaults."""
    file = parse("height: 32\nseed: 5\nprompts:\n- a\n- {prompt: b, height: 16, seed: 6}\n")
    assert [("a", 32, 5), ("b", 16, 6)] == [
        (p.prompt, p.argument("height"), p.seed) for p in file.prompts
    ]


def test_several_documents() -> None:
    """Each document has its own settings; numbers continue, and the highest priority counts."""
    file = parse("prompt: a\npriority: -3\nheight: 8\n---\nprompts: [b, c]\npriority: 4\n")
    assert 4 == file.priority
    assert [(1, "a", 8), (2, "b", 64), (3, "c", 64)] == [
        (p.number, p.prompt, p.argument("height")) for p in file.prompts
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("seed: 7", [7]),
        ("seed: 0", [0]),
        ("seed: [7, 3, 7]", [7, 3, 7]),
        ("seed: [7]\nnum_videos_per_prompt: 3", [7, 8, 9]),
        ("seed: 7\nnum_videos_per_prompt: 2", [7, 8]),
        ("num_videos_per_prompt: 2", [1001, 1002]),
        ("seed: [7, 8]\nnum_videos_per_prompt: 1", [7, 8]),
    ],
)
def test_seeds(settings: str, expected: list[int]) -> None:
    """A list of seeds gives a video each; num_videos_per_prompt counts up from one seed."""
    file = parse(f"prompt: a\n{settings}")
    assert expected == [prompt.seed for prompt in file.prompts]
    assert list(range(1, len(expected) + 1)) == [prompt.number for prompt in file.prompts]


@pytest.mark.parametrize("priority", [-10, 0, 10])
def test_priority(priority: int) -> None:
    """A whole number from -10 to 10."""
    assert priority == parse(f"prompt: a\npriority: {priority}").priority


def test_formats_as_text_or_list() -> None:
    """One format needs no list; the default is mp4."""
    assert ("webm",) == one("prompt: a\nformat: webm").formats
    assert ("mp4", "webm", "gif") == one("prompt: a\nformat: [mp4, webm, gif]").formats
    assert ("mp4",) == one("prompt: a").formats


@pytest.mark.parametrize("suffix", ["yaml", "yml", "YAML", "mp4"])
def test_yaml_suffixes(suffix: str) -> None:
    """Every file that is not a text file is YAML, also the settings of an mp4."""
    assert ["x"] == texts("prompt: x\nrendered: {job: j}", f"a.{suffix}")


@pytest.mark.parametrize(
    "comment",
    [
        "https://example.org/watch?v=123",
        "Exported from the phone on Friday: take 2",
        "prompt: none, filmed",
        '{"prompt": "{\\"3\\": {\\"class_type\\": \\"KSampler\\"}}", "workflow": {"nodes": []}}',
        "prompt: a ball\nrendered: by me",
        "rendered: {job: j}",
        "prompt: a\nrendered: {job: j}\n---\nprompt: b",
        "prompt: 'a\nrendered: {job: j}",
        "",
    ],
)
def test_only_an_mp4_of_reeldrop_is_rendered_again(comment: str) -> None:
    """Comments that other tools write into videos are refused, even if they are YAML."""
    found = mistake(comment, "a.mp4")
    assert "not reeldrop's" in found.problem
    assert "only an mp4 that reeldrop made" in found.remedy


def test_yaml_in_utf_16() -> None:
    """YAML may have each encoding of text files."""
    assert ["大"] == texts("\ufeffprompt: 大\r\n".encode("utf-16-le"), "a.yaml")


# Defaults files


def test_defaults_the_nearest_wins_key_by_key() -> None:
    """Prompt, document, nearest defaults, farther ones, profile, pipeline: the first wins."""
    defaults = [
        ("_defaults.yaml", "height: 8\nwidth: 8\nnum_frames: 13\nseed: 1"),
        ("x/_defaults.yaml", "width: 16\nnum_frames: 17"),
    ]
    file = parse("num_frames: 21\nprompts: [{prompt: a, num_frames: 25}, b]", "x/a.yaml", defaults)
    names = ("height", "width", "num_frames", "num_inference_steps", "guidance_scale")
    assert [(8, 16, 25, 3, 5.0), (8, 16, 21, 3, 5.0)] == [
        tuple(prompt.argument(name) for name in names) for prompt in file.prompts
    ]
    assert [1, 1] == [prompt.seed for prompt in file.prompts]


def test_a_seed_is_that_of_one_video_whatever_the_defaults_say() -> None:
    """So a sidecar gives its video, and a list of seeds says how many; but not the other way."""
    three = ("_defaults.yaml", "num_videos_per_prompt: 3")
    cases = (
        ("prompt: a\nseed: 7", [three], [7]),
        ("prompt: a\nseed: [7, 9]", [three], [7, 9]),
        ("prompts: [{prompt: a, seed: 7}, b]", [three], [7, 1002, 1003, 1004]),
        ("prompt: a\nmatrix: {seed: [7, 9]}", [three], [7, 9]),
        ("prompt: a\nseed: 7\nnum_videos_per_prompt: 2", [three], [7, 8]),
        ("prompt: a", [three, ("b/_defaults.yaml", "seed: 7")], [7]),
        ("prompt: a", [("_defaults.yaml", f"seed: 7\n{three[1]}")], [7, 8, 9]),
        ("prompt: a", [("_defaults.yaml", "seed: 7"), ("b/_defaults.yaml", three[1])], [7, 8, 9]),
        ("prompt: a\nnum_videos_per_prompt: 2", [("_defaults.yaml", "seed: 7")], [7, 8]),
    )
    for text, defaults, expected in cases:
        file = parse(text, "b/a.yaml", defaults)
        assert expected == [prompt.seed for prompt in file.prompts], (text, defaults)


def test_defaults_of_a_text_file() -> None:
    """Text files have defaults, their only way to have settings."""
    defaults = [("_defaults.yaml", "model: other\nformat: gif\npriority: 4")]
    file = parse("a", "a.txt", defaults)
    assert (4, "other", ("gif",)) == (
        file.priority,
        file.prompts[0].model,
        file.prompts[0].formats,
    )


def test_a_file_overrules_the_priority_of_its_folder() -> None:
    """Also with a priority of 0."""
    assert (
        0 == parse("prompt: a\npriority: 0", defaults=[("_defaults.yaml", "priority: 4")]).priority
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_empty_defaults(text: str) -> None:
    """A defaults file may be empty."""
    assert "a" == one("prompt: a", [("_defaults.yaml", text)]).prompt


@pytest.mark.parametrize(
    ("text", "line", "key", "problem"),
    [
        ("\nhieght: 8", 2, "hieght", "unknown key 'hieght'"),
        ("height: 7", 1, "height", "multiples of 8"),
        ("seed: [1, x]", 1, "seed", "whole number"),
        ("priority: 40", 1, "priority", "from -10 to 10"),
        ("model: nix", 1, "model", "no model 'nix'"),
        ("prompt: a", 1, "prompt", "can't have a default"),
        ("a: 1\nprompts: [a]", 2, "prompts", "can't have a default"),
        ("rendered: {}", 1, "rendered", "can't have a default"),
        ("- a", 1, "", "not a list"),
        ("a: [", 2, "", "not YAML"),
        ("x: 1\n---\nx: 2", None, "", "one document"),
    ],
)
def test_mistakes_in_defaults_name_that_file(
    text: str, line: int | None, key: str, problem: str
) -> None:
    """The mistake names the defaults file, not the prompt file below it."""
    found = mistake("a", "x/a.txt", [("x/_defaults.yaml", text)])
    assert ("x/_defaults.yaml", line, key) == (found.file, found.line, found.key)
    assert problem in found.problem
    assert found.place.startswith("x/_defaults.yaml")


@pytest.mark.parametrize("text", ["- num_frames: 8\n", "- a fox\n", "a fox\n", "5\n"])
def test_prompts_are_not_asked_for_in_defaults(text: str) -> None:
    """What is told to do would else be the next mistake."""
    found = mistake("a", "x/a.txt", [("x/_defaults.yaml", text)])
    assert "a YAML file of defaults has `key: value` lines, not" in found.problem
    assert ("", False) == (found.example, "prompts:" in found.remedy)
    assert "plain colon" in mistake("a", defaults=[("_defaults.yaml", "height：8\n")]).remedy


def test_undecodable_defaults_name_that_file() -> None:
    """A mistake in its bytes also names the defaults file."""
    with pytest.raises(PromptError) as caught:
        parsing.parse(
            "a.txt", b"a", [DefaultsFile("_defaults.yaml", b"a\n\xff")], RULES, "tiny", int
        )
    assert ["_defaults.yaml, line 2, column 1"] == [m.place for m in caught.value.mistakes]


# Bad input


@pytest.mark.parametrize(
    ("settings", "column", "key", "problem", "remedy"),
    [
        ("hieght: 8", 1, "hieght", "unknown key 'hieght'", "did you mean 'height'? known are "),
        ("steps: 8", 1, "steps", "unknown key 'steps'", "num_inference_steps"),
        ("prompts: [b]", 1, "prompt", "either `prompt` or `prompts`", "put it into `prompts`"),
        ("height: tall", 1, "height", "a whole number, not the text 'tall'", ""),
        ("height: 64.0", 1, "height", "a whole number, not 64.0", ""),
        ("height: true", 1, "height", "a whole number, not true", ""),
        ("height:", 1, "height", "a whole number, not nothing", ""),
        ("height: [8]", 1, "height", "a whole number, not a list", ""),
        ("guidance_scale: '7'", 1, "guidance_scale", "a number, not the text '7'", ""),
        ("guidance_scale: .nan", 1, "guidance_scale", "finite number", ""),
        ("guidance_scale: .inf", 1, "guidance_scale", "finite number", ""),
        ("clean_caption: yes", 1, "clean_caption", "true or false, not the text 'yes'", ""),
        ("negative_prompt: 5", 1, "negative_prompt", "a text, not 5", "between quotes"),
        ("height: 136", 1, "height", "136, more than tiny allows", "128 or less"),
        ("num_frames: 1", 1, "num_frames", "1, less than the smallest", "5 or more"),
        ("num_inference_steps: 0", 1, "num_inference_steps", "less than", "1 or more"),
        ("height: 60", 1, "height", "can't make a height of 60", "use 56 or 64"),
        ("num_frames: 10", 1, "num_frames", "4n + 1 frames, not 10", "use 9 or 13"),
        ("seed: -1", 1, "seed", "less than the smallest", "0 or more"),
        ("seed: 9223372036854775808", 1, "seed", "more than", "use 9223372036854775807 or less"),
        ("seed: 5.5", 1, "seed", "whole number", ""),
        ("seed: [1, x]", 11, "seed", "whole number, not the text 'x'", ""),
        ("seed: []", 1, "seed", "empty list", "at least one"),
        ("format: avi", 1, "format", "no format 'avi'", "use mp4, gif, webm"),
        ("format: [mp4, avi]", 15, "format", "no format 'avi'", "use mp4, gif, webm"),
        ("format: []", 1, "format", "empty list", "at least one"),
        ("fps: 0", 1, "fps", "less than", "1 or more"),
        ("fps: 121", 1, "fps", "more than", "120 or less"),
        ("model: tny", 1, "model", "no model 'tny'", "did you mean 'tiny'? known are tiny, other"),
        ("model: [tiny]", 1, "model", "must be a name, not a list", "known are tiny, other"),
        ("model:", 1, "model", "a name, not nothing", "known are tiny, other"),
        ("priority: 11", 1, "priority", "from -10 to 10, not 11", "higher is sooner"),
        ("priority: true", 1, "priority", "from -10 to 10, not true", "higher is sooner"),
        ("priority: '1'", 1, "priority", "not the text '1'", "higher is sooner"),
        ("num_videos_per_prompt: 0", 1, "num_videos_per_prompt", "less than", "1 or more"),
        ("num_videos_per_prompt: 1001", 1, "num_videos_per_prompt", "more than", "1000 or less"),
        ("height: 8\nheight: 8", None, "", "'height' is there twice", "line 2"),
    ],
)
def test_bad_settings(
    settings: str, column: int | None, key: str, problem: str, remedy: str
) -> None:
    """Each mistake has line, column and key, the problem and the remedy."""
    found = mistake(f"prompt: a\n{settings}")
    line = 1 if key == "prompt" else 3 if "twice" in problem else 2
    assert (line, column or 1, key) == (found.line, found.column, found.key)
    assert problem in found.problem
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("content", "place", "problem", "remedy"),
    [
        ("prompt: 5", "line 1, column 1, key 'prompt'", "a text, not 5", "between quotes"),
        ("prompt:", "line 1, column 1, key 'prompt'", "a text, not nothing", ""),
        ("prompt: ' '", "line 1, column 1, key 'prompt'", "empty", "write what to film"),
        ("\nseed: 5", "line 2, key 'prompt'", "no prompt here", "add `prompt: ...`"),
        ("prompts: []", "", "no prompt in this file", "`prompt: ...`"),
        ("", "", "no prompt in this file", "`prompt: ...`"),
        ("# a\n---\n", "", "no prompt in this file", "`prompt: ...`"),
        ("prompts: a", "line 1, column 1, key 'prompts'", "a list, not the text 'a'", "`- `"),
        ("prompts:", "line 1, column 1, key 'prompts'", "a list, not nothing", "`- `"),
        ("prompts:\n- a\n- 5", "line 3, column 3, key 'prompt'", "a text, not 5", "quotes"),
        ("prompts:\n- a\n- ''", "line 3, column 3, key 'prompt'", "empty", "write what"),
        ("prompts:\n- a\n- [b]", "line 3, column 3, key 'prompt'", "a text, not a list", ""),
        ("just text", "line 1, column 1", "`key: value` lines, not the text", ".txt"),
        ("- a\n- b", "line 1, column 1", "`key: value` lines, not a list", "`prompts:`"),
        ("prompt: a\n---\n- b", "line 3, column 1", "not a list", "`prompts:`"),
        ("prompt: a: b", "line 1, column 10", "not YAML", "between quotes"),
        ("prompt: é\x01", "line 1, column 10", "control character", "remove it"),
    ],
)
def test_bad_yaml_files(content: str, place: str, problem: str, remedy: str) -> None:
    """The message says what the file has instead of prompts, and where."""
    found = mistake(content)
    assert place == found.place
    assert problem in found.problem
    assert remedy in found.remedy


@pytest.mark.parametrize("key", ["prompts", "priority", "rendered"])
def test_keys_of_the_whole_file_in_one_prompt(key: str) -> None:
    """The message says that the key is in the wrong place, not that it is unknown."""
    found = mistake(f"prompts:\n- prompt: a\n  {key}: [1]")
    assert (3, 3, key) == (found.line, found.column, found.key)
    assert "belongs to the whole file" in found.problem
    assert "to the top" in found.remedy


def test_every_mistake_is_reported_once_in_order() -> None:
    """All mistakes are reported at once; a shared one is not repeated for each prompt."""
    found = mistakes("fps: 0\nprompts:\n- {prompt: a, height: 7}\n- b\n- {prompt: c, sed: 1}")
    assert [(1, "fps"), (3, "height"), (5, "sed")] == [(m.line, m.key) for m in found]


def test_a_default_that_is_not_right_has_no_line_of_its_own() -> None:
    """If two settings conflict, the mistake has the place of the one that was given."""
    content = "prompt: a\nseed: [1, 2]\nnum_videos_per_prompt: 2"
    found = mistake(content)
    assert (3, "num_videos_per_prompt") == (found.line, found.key)
    assert "not both" in found.remedy


def test_seeds_that_count_beyond_the_largest() -> None:
    """A seed that counting up reaches must be allowed, because a sidecar may be dropped."""
    found = mistake(f"prompt: a\nseed: {2**63 - 2}\nnum_videos_per_prompt: 3")
    assert (2, "seed") == (found.line, found.key)
    assert "larger than 9223372036854775807" in found.problem
    last = parse(f"prompt: a\nseed: {2**63 - 2}\nnum_videos_per_prompt: 2").prompts[-1]
    assert 2**63 - 1 == last.seed


@pytest.mark.parametrize(
    ("name", "data", "line", "column", "problem"),
    [
        ("a.txt", b"ab\nc\xffd", 2, 2, "not UTF-8 text"),
        ("a.yaml", "prompt: é".encode() + b"\xc3(", 1, 10, "not UTF-8 text"),
        ("a.txt", b"\xef\xbb\xbfa\xff", 1, 2, "not UTF-8 text"),
        ("a.txt", b"\xff\xfea\0\n\0b", 2, 1, "not UTF-16-LE text"),
        ("a.txt", b"\xfe\xff\0a\xd8\0\0b", 1, 2, "not UTF-16-BE text"),
        ("a.txt", b"a\r\nb\0c", 2, 2, "NUL byte"),
        ("a.yaml", b"a: 1\n\0", 2, 1, "NUL byte"),
        ("a.txt", "ab".encode("utf-16-le"), 1, 2, "NUL byte"),
        ("a.txt", "ab".encode("utf-32"), 1, 1, "NUL byte"),
    ],
)
def test_bytes_that_are_no_text(
    name: str, data: bytes, line: int, column: int, problem: str
) -> None:
    """The mistake has the line and column of the first bad byte, in characters."""
    found = mistake(data, name)
    assert (line, column) == (found.line, found.column)
    assert problem in found.problem
    assert "save the file as UTF-8" in found.remedy


def test_the_size_limit() -> None:
    """A file of exactly 1 MiB is read; one more byte is refused."""
    line = b"# " + b"x" * 1021 + b"\n"
    data = b"a\n#" + line * 1023
    data += b"#" * (parsing.MAX_BYTES - len(data))
    assert ["a"] == texts(data)
    found = mistake(data + b"#", "a.txt")
    assert "1,048,576 bytes" in found.problem
    assert "split it" in found.remedy


@pytest.mark.parametrize(
    ("content", "name", "line"),
    [
        ("a\n\n" * 1001, "a.txt", 2001),
        ("prompts:\n" + "- a\n" * 1001, "a.yaml", 1002),
        (f"prompt: a\nseed: {list(range(1001))}", "a.yaml", 2),
        ("prompts:\n- a\n- b\nnum_videos_per_prompt: 501", "a.yaml", 3),
        ("prompts:\n" + "- a\n" * 11 + f"seed: {list(range(100))}", "a.yaml", 12),
        ("---\n".join(["prompt: a\n"] * 1001), "a.yaml", 2001),
        ("prompts: [" + "a," * 999 + "a]\nnum_videos_per_prompt: 1000", "a.yaml", 1),
    ],
)
def test_too_many_videos(content: str, name: str, line: int) -> None:
    """A file can't ask for more than a thousand videos, in any way; it is said from where on."""
    found = mistake(content, name)
    assert "more than 1,000" in found.problem
    assert ("split it into several files", line) == (found.remedy, found.line)


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(f"k{n}: 1" for n in range(3000)) + "\nprompts: [" + "a," * 6000 + "a]",
        "seed: [" + "x," * 900 + "x]\nprompts: [" + "a," * 900 + "a]",
        "fps: {" + ",".join(f"k{n}: 1" for n in range(900)) + "}\nprompts: [" + "a," * 900 + "a]",
        "fps: [[" + "1," * 9000 + "1]]\nprompts: [" + "a," * 900 + "a]",
    ],
    ids=["keys", "faults", "mapping", "list"],
)
def test_what_multiplies_with_the_prompts_is_refused_before_it_does(content: str) -> None:
    """Work and memory can't grow with the square of a file's size."""
    tracemalloc.start()
    with pytest.raises(PromptError) as refused:
        parse(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 << 20
    assert len(refused.value.mistakes) < 2000


@pytest.mark.parametrize(
    ("content", "name", "problem"),
    [
        (f"prompts: [{'a,' * 1000}]\nseed: [&a x,{'*a,' * 999}]", "a.yaml", "more than 1,000"),
        (f"prompts: [{'a,' * 1000}]\nformat: [&a x,{'*a,' * 999}]", "a.yaml", "more than 10"),
        (f"prompts: [&a {{prompt: a, fps: [{'1,' * 50}]}},{'*a,' * 999}]", "a.yaml", "unfolds"),
        (f"prompts: [&a {'a' * 10_001},{'*a,' * 999}]", "a.yaml", "more than 10,000"),
        (f"prompt: a\nnegative_prompt: {'a' * 10_001}", "a.yaml", "more than 10,000"),
        ("a" * 10_001, "a.txt", "more than 10,000"),
        ("\n" * 20_001 + "a", "a.txt", "more than 20,000 lines"),
        ("\r\n" * 20_001 + "a", "a.txt", "more than 20,000 lines"),
        ("---\n" * 20_001, "a.yaml", "more than 20,000 values"),
        ("---\n" * 20_001, "_defaults.yaml", "more than 20,000 values"),
    ],
)
def test_small_files_that_ask_for_much_work(content: str, name: str, problem: str) -> None:
    """Values that expand, or are validated for each prompt, are bounded; each has its place."""
    found = mistake(content, name)
    assert problem in found.problem
    assert found.line is not None


def test_what_all_prompts_have_wrong_is_not_looked_for_in_all() -> None:
    """Of a thousand prompts with the same mistakes, only some are validated."""
    looks = 0

    class Counting(ModelRules):
        def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
            nonlocal looks
            looks += 1
            return super().resolve(given)

    rules = {"m": Counting("m", CAPABILITIES, {}, {})}
    content = "hieght: 8\nfps: x\nprompts: [" + "a," * 1000 + "]"
    with pytest.raises(PromptError) as refused:
        parsing.parse("a.yaml", content.encode(), [], rules, "m", int)
    assert ["hieght", "fps"] == [found.key for found in refused.value.mistakes]
    assert looks <= 21


def test_defaults_and_the_file_itself_share_an_allowance() -> None:
    """31 folders of defaults may have together no more values than one file."""
    defaults = [DefaultsFile(f"{n}", f"seed: [{'1,' * 1000}]".encode()) for n in range(31)]
    with pytest.raises(PromptError, match="unfolds to more than 20,000"):
        parsing.parse("a.txt", b"a", defaults, RULES, "tiny", int)


def test_a_report_on_long_keys_and_values_is_short() -> None:
    """Reports quote only the beginning of long texts."""
    content = "\n".join(f"{'k' * 900}{n}: 1" for n in range(30)) + "\nmodel: " + "m" * 9000
    with pytest.raises(PromptError) as refused:
        parse(f"prompt: a\nseed: [{'9' * 299}]\nformat: {'f' * 9000}\n{content}")
    assert all(len(str(found)) < 500 for found in refused.value.mistakes)


def test_a_thousand_videos_are_not_too_many() -> None:
    """The limit itself is allowed, also in a text file."""
    assert 1000 == len(parse("a\n" * 1000, "a.txt").prompts)
    assert 1000 == len(parse("prompts: [a, b]\nnum_videos_per_prompt: 500").prompts)
    assert "1,001 videos" in mistake("a\n" * 1001, "a.txt").problem


def test_hostile_yaml_is_refused() -> None:
    """Exploding aliases and endless brackets are refused by their kind."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "unfolds to more than" in mistake("\n".join(lines)).problem
    assert "contains itself" in mistake("prompts: &a [*a]").problem
    assert "nested too deeply" in mistake("prompt: " + "[" * 500_000).problem


# Profiles


def test_a_profile_that_is_not_loaded() -> None:
    """The priority and the profile are known; the settings can't be checked yet."""
    with pytest.raises(NotDescribed) as caught:
        parse("prompt: a\nmodel: unloaded\npriority: 7\nwhatever: 1")
    assert ("unloaded", 7) == (caught.value.model, caught.value.priority)


@pytest.mark.parametrize(
    ("defaults", "limits", "key", "problem"),
    [
        ({"hieght": 8}, {}, "models.m.defaults.hieght", "no setting 'hieght'"),
        ({}, {"frames": (1, 2)}, "models.m.limits.frames", "no setting 'frames'"),
        ({"seed": 1}, {}, "models.m.defaults.seed", "no setting 'seed'"),
        ({"height": 60}, {}, "models.m.defaults.height", "multiples of 8"),
        ({"height": "x"}, {}, "models.m.defaults.height", "whole number"),
        ({}, {"height": (8, 32)}, "models.m.defaults.height", "more than m"),
        ({"num_frames": 10}, {}, "models.m.defaults.num_frames", "4n + 1"),
        ({}, {"num_frames": (None, 0)}, "models.m.limits.num_frames", "any num_frames from 1 to 0"),
        ({}, {"num_frames": (6, 8)}, "models.m.limits.num_frames", "any num_frames from 6 to 8"),
        ({}, {"height": (None, 7)}, "models.m.limits.height", "any height from 1 to 7"),
        ({"format": "avi"}, {}, "models.m.defaults.format", "no format"),
        ({}, {"format": (None, 2)}, "models.m.limits.format", "is no number, so it has no limits"),
    ],
)
def test_the_operators_mistakes_in_a_profile(
    defaults: dict[str, object], limits: dict[str, tuple[float, float]], key: str, problem: str
) -> None:
    """Defaults and limits are checked against the pipeline, and named by their keys."""
    with pytest.raises(ConfigError) as caught:
        profile_rules.check_profile(ModelRules("m", CAPABILITIES, defaults, limits))  # type: ignore[arg-type]
    (found,) = caught.value.mistakes
    assert key == found.key
    assert problem in found.problem


def test_a_window_that_no_video_exceeds_is_a_mistake() -> None:
    """The largest number that the model makes within the limit decides; no limit is no mistake."""
    capabilities = replace(CAPABILITIES, windows=Windows(9, 4, 4))
    found = ModelRules("m", capabilities, {}, {})
    profile_rules.check_profile(found)
    profile_rules.check_profile(replace(found, limits={"num_frames": (None, 13)}))
    for most in (9, 12):
        with pytest.raises(ConfigError) as caught:
            profile_rules.check_profile(replace(found, limits={"num_frames": (None, most)}))
        (mistake,) = caught.value.mistakes
        assert "models.m.window" == mistake.key
        assert "a window of 9 frames has no effect: the longest video has 9" == mistake.problem


def test_limits_that_no_number_can_have() -> None:
    """They are those of the next whole numbers, and no video has 0 frames, also not in a second."""
    limits = {"num_frames": (4.5, 9.5), "fps": (0, 30), "num_videos_per_prompt": (0, 4)}
    found = ModelRules("m", CAPABILITIES, {"num_frames": 9}, limits)
    profile_rules.check_profile(found)
    for key, value in {"num_frames": 4, "fps": 0, "num_videos_per_prompt": 0}.items():
        with pytest.raises(SettingsRefused) as caught:
            found.resolve({"prompt": "a", key: value})
        assert [key] == [fault.key for fault in caught.value.faults]


def test_a_seed_that_is_given_is_that_of_one_video() -> None:
    """Whatever the profile's default is: else no list of seeds could be given, and a sidecar would
    make more than its video."""
    found = replace(TINY, defaults={**TINY.defaults, "num_videos_per_prompt": 3})
    assert 3 == found.resolve({"prompt": "a"})["num_videos_per_prompt"]
    for seed in (7, [7, 8]):
        assert 1 == found.resolve({"prompt": "a", "seed": seed})["num_videos_per_prompt"]
    both = {"prompt": "a", "seed": 7, "num_videos_per_prompt": 2}
    assert 2 == found.resolve(both)["num_videos_per_prompt"]


def test_a_good_profile_passes() -> None:
    """A profile whose defaults the pipeline can make raises nothing."""
    profile_rules.check_profile(TINY)


# Sidecars are prompt files

_printable = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: not invisible.is_blank(text)
)
_prompts = st.builds(
    Prompt,
    number=st.integers(1, 1000),
    prompt=_printable.map(str.strip),
    model=st.sampled_from(["tiny", "other"]),
    arguments=st.builds(
        lambda negative, size, frames, steps, scale, eta, clean: tuple(
            (key, value)
            for key, value in (
                ("negative_prompt", negative),
                ("height", size),
                ("width", size),
                ("num_frames", frames),
                ("num_inference_steps", steps),
                ("guidance_scale", scale),
                ("eta", eta),
                ("clean_caption", clean),
            )
            if value is not None
        ),
        st.none() | _printable,
        st.integers(1, 16).map(lambda n: 8 * n),
        st.integers(1, 8).map(lambda n: 4 * n + 1),
        st.integers(1, 1000),
        st.floats(0, 20),
        st.none() | st.floats(0, 1),
        st.booleans(),
    ),
    seed=st.integers(0, rules.MAX_SEED),
    fps=st.floats(1, rules.FASTEST_GIF),
    formats=st.lists(st.sampled_from(rules.FORMATS), min_size=1, unique=True).map(tuple),
)
JOB = Job("20261124-000000-000000-abcdef", PurePosixPath("x/a.txt"), Path("/nowhere"), (), 1)
RENDERED = Rendered(
    "somebody/model", None, "P", "S", "cpu", "float32", (("torch", "2"),), 1.5, 100, 2,
    {"prompt": "cut: off"},
)  # fmt: skip


def again(prompt: Prompt, number: int) -> Prompt:
    """Return a prompt with another number."""
    values = {name: getattr(prompt, name) for name in prompt.__slots__}
    return Prompt(**{**values, "number": number})


@given(_prompts)
def test_a_sidecar_is_a_prompt_file(prompt: Prompt) -> None:
    """A sidecar asks for the same video; only its number begins anew."""
    file = parse(sidecars.text(JOB, prompt, RENDERED), "a.yaml")
    assert PromptFile((again(prompt, 1),), 0) == file


@given(st.lists(_prompts, min_size=1, max_size=3))
def test_what_is_left_of_a_file_is_a_prompt_file(left: list[Prompt]) -> None:
    """The remainder of a job asks for exactly these videos, in their order."""
    file = parse(sidecars.remainder_text(left), "a.yaml")
    assert tuple(again(p, n) for n, p in enumerate(left, start=1)) == file.prompts


# Whatever may come


@given(st.binary(max_size=200), st.sampled_from(["a.txt", "a.yaml"]))
@example(b"\xff\xfe\x00\xd8", "a.txt")
def test_any_bytes_are_prompts_or_mistakes(data: bytes, name: str) -> None:
    """For any bytes, the parser raises no error except PromptError."""
    with contextlib.suppress(PromptError):
        assert parse(data, name).prompts


_keys = st.sampled_from(
    [
        "prompt",
        "prompts",
        "seed",
        "height",
        "num_frames",
        "guidance_scale",
        "format",
        "model",
        "priority",
        "rendered",
        "num_videos_per_prompt",
        "negative_prompt",
        "fps",
        "x",
        "eta",
    ]
)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["mp4", "tiny", "unloaded", 64, 9, 2**63 - 1, 2**64, 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=6,
)


def test_the_largest_prompt_is_made_again_from_its_sidecar() -> None:
    """The size limit has room for a sidecar with the longest prompt twice."""
    for character in ("\U0001f600", "\u2028", "\x07", "a ", "a\n"):
        text = f"x{character * rules.LONGEST_TEXT}"[: rules.LONGEST_TEXT - 1] + "x"
        prompt = one(yaml_text.dump({"prompt": text, "negative_prompt": text}))
        rendered = replace(RENDERED, ignored={"prompt": text, "negative_prompt": text})
        assert again(prompt, 1) == one(sidecars.text(JOB, prompt, rendered))


@given(st.dictionaries(_keys, _values, max_size=5), st.dictionaries(_keys, _values, max_size=2))
def test_any_settings_are_prompts_or_mistakes(
    settings: dict[str, object], defaults: dict[str, object]
) -> None:
    """Values of any type are a mistake or can be written out; there is no other error."""
    given = [("_defaults.yaml", yaml_text.dump(defaults))]
    try:
        file = parse(yaml_text.dump(settings), "a.yaml", given)
    except (PromptError, NotDescribed):
        pass
    else:
        for prompt in file.prompts:
            assert again(prompt, 1) == one(sidecars.text(JOB, prompt, RENDERED))


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`, \n\t?\u0085\ufeff", max_size=60))
def test_any_yamlish_text_is_prompts_or_mistakes(text: str) -> None:
    """YAML's signs in any order are prompts or mistakes."""
    with contextlib.suppress(PromptError):
        assert parse("prompt: a\n" + text).prompts


def test_a_default_of_zero_is_legal() -> None:
    """Some models count from 0, or use 0 or less for off; counts are at least 1."""
    settings = {"frame_index": int, "ar_step": int, "offset": int, "num_frames": int}
    own = {"frame_index": 0, "ar_step": 0, "offset": -1, "num_frames": 16}
    grids = {"num_frames": Grid(least=16, most=16), "num_inference_steps": Grid(least=2)}
    capabilities = Capabilities(
        {**settings, "num_inference_steps": int}, {**own, "num_inference_steps": 4}, 8, 1, grids
    )
    found = ModelRules("m", capabilities, {}, {})
    profile_rules.check_profile(found)
    assert own.items() <= found.resolve({"prompt": "a horse"}).items()
    for key, value, remedy in (
        ("num_frames", 0, "16"),
        ("num_frames", 17, "16"),
        ("num_inference_steps", 1, "2 or more"),
    ):
        with pytest.raises(rules.SettingsRefused) as caught:
            found.resolve({"prompt": "a horse", key: value})
        assert [f"use {remedy}"] == [fault.remedy for fault in caught.value.faults]


def test_videos_of_other_speeds_are_no_batch() -> None:
    """A pipeline that reads the frames per second reads one value for a batch."""
    one, other, third = parse(
        "prompts: [{prompt: a}, {prompt: b, fps: 23.976}, {prompt: c}]"
    ).prompts
    assert one.batch_key == third.batch_key
    assert one.batch_key != other.batch_key
