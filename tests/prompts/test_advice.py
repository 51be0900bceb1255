"""prompts: for the mistakes that people make, a report gives the right remedy."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from harness.prompt_files import CAPABILITIES, mistakes, parse
from reeldrop.base import strict_yaml
from reeldrop.base.errors import PromptError
from reeldrop.prompts import parsing
from reeldrop.prompts.rules import ModelRules

BUNDLED = ModelRules(
    "bundled",
    CAPABILITIES,
    defaults={"num_inference_steps": 8, "num_frames": 17, "height": 128, "width": 128},
    limits={"num_frames": (8, 32), "height": (128, 128), "width": (120, 300)},
)

Case = tuple[str, int | None, str, str]

SEVERAL = "several to compare go below `matrix:`"

KEYS: list[Case] = [
    ("negative: blurry", 2, "unknown key 'negative'", "`negative_prompt: blurry`"),
    ("Negative Prompt: not this", 2, "unknown key", '`negative_prompt: "not this"`'),
    ("steps: [4, 6]", 2, "unknown", "called num_inference_steps here, and must be a whole number"),
    ("steps: [4, 6]", 2, "unknown key", SEVERAL),
    ("cfg: 7,5", 2, "unknown key", "write `guidance_scale: 7.5`"),
    ("frames: 24", 2, "unknown key", "called num_frames here, and tiny makes 4n + 1 frames"),
    ("frames: long", 2, "unknown key", "such as `num_frames: 9`"),
    ("seeds: 1, 2", 2, "unknown key", "write `seed: [1, 2]` for several"),
    ("seeds: [1, 2]", 2, "unknown key", "it is called seed here"),
    ("images: 2000", 2, "unknown key", "more than tiny allows: use 1000 or less"),
    ("output_format: mkv", 2, "unknown key", "there is no format 'mkv': use mp4, gif, webm"),
    (
        "stpes: 0",
        2,
        "unknown key",
        "did you mean 'steps'? it is called num_inference_steps here, an",
    ),
    ("size: 60x64", 2, "unknown key", "`height: 64`; but tiny can't make a width of 60"),
    ("text: [a, b]", 2, "unknown key", "as a list below `prompts:`"),
    ("matrix: {steps: [4, 6]}", 2, "unknown key 'steps'", "it is called num_inference_steps here"),
    ("translation: a ball", 2, "unknown key", '`translated_prompt: "a ball"`'),
    ("prompt_english: a ball", 2, "unknown key", '`translated_prompt: "a ball"`'),
    ("en: a ball", 2, "unknown key 'en'", '`translated_prompt: "a ball"`'),
    ("negative_prompt_en: blurry", 2, "unknown key", "`negative_prompt: blurry`"),
    ("transition: fade", 2, "unknown key", "reeldrop has nothing for this"),
    ("步数: 12", 2, "unknown key '步数'", "`num_inference_steps: 12`"),
    ("分辨率: 128x64", 2, "unknown key", "write `width: 128` and `height: 64`"),
    ("采样器: euler", 2, "unknown key", "the scheduler is set in config.yaml"),
    ("反向提示词: 模糊", 2, "unknown key", "`negative_prompt: 模糊`"),
    ("steps: 12", 2, "unknown key 'steps'", "called num_inference_steps here"),
    ("stpes: 12", 2, "unknown key 'stpes'", "did you mean 'steps'? it is called num_inference_"),
    ("Sampling Stesp: 12", 2, "unknown key", "'sampling_steps'? it is called num_inference_steps"),
    ("resoluton: 128x64", 2, "unknown key", "did you mean 'resolution'? write `width: 128` and"),
    ("duraton: 2", 2, "unknown key", "did you mean 'duration'? a video's length is given in fr"),
    ("long_prompt: chunks", 2, "unknown key 'long_prompt'", "set in config.yaml, by the profile"),
    ("lon_prompt: chunks", 2, "unknown key", "did you mean 'long_prompt'? it is set in config.ya"),
    ("zeg_prompt: a", 2, "unknown key", "did you mean 'prompt'? known are"),
    ("smapler: euler", 2, "unknown key", "did you mean 'sampler'? the scheduler is set in confi"),
    ("sampling_steps: 12", 2, "unknown key", "`num_inference_steps: 12`"),
    ("cfg_scale: 3", 2, "unknown key", "`guidance_scale: 3`"),
    ("cfg: 3.5", 2, "unknown key", "`guidance_scale: 3.5`"),
    ("frames: 25", 2, "unknown key", "`num_frames: 25`"),
    ("length: 25", 2, "unknown key", "`num_frames: 25`"),
    ("video_length: 25", 2, "unknown key", "`num_frames: 25`"),
    ("fps_: 8", 2, "unknown key", "`fps: 8`"),
    ("FPS: 8", 2, "unknown key", "`fps: 8`"),
    ("frame_rate: 8", 2, "unknown key", "`fps: 8`"),
    ("numFrames: 25", 2, "unknown key", "`num_frames: 25`"),
    ("num-frames: 25", 2, "unknown key", "`num_frames: 25`"),
    ("w: 64", 2, "unknown key", "`width: 64`"),
    ("size: 128x64", 2, "unknown key", "write `width: 128` and `height: 64`"),
    ("resolution: 832*480", 2, "unknown key", "write `width: 832` and `height: 480`"),
    ("width x height: 128 x 64", 2, "unknown key", "write `width: 128` and `height: 64`"),
    ("size: large", 2, "unknown key", "give width and height, in pixels"),
    ("aspect_ratio: 16:9", 2, "unknown key", "give width and height, in pixels"),
    ("duration: 2", 2, "unknown key", "in frames: `num_frames: 25` at 12 fps"),
    ("duration: 2\nfps: 4", 2, "unknown key", "in frames: `num_frames: 9` at 4 fps"),
    ("duration: 500", 2, "unknown key", "in frames: `num_frames: 33` at 12 fps"),
    ("seconds: long", 2, "unknown key", "a video's length is given in frames: num_frames"),
    ("sampler: euler", 2, "unknown key", "the scheduler is set in config.yaml"),
    ("lora: toy", 2, "unknown key", "there are no LoRAs to choose from here"),
    ("loras: [a]", 2, "tiny has no LoRA 'a'", "it has none that prompts may choose"),
    ("lora_scale: 0.8", 2, "unknown key", "`loras: {name: 0.8}`"),
    ("controlnet: canny", 2, "unknown key", "reeldrop has only LoRAs"),
    ("noise_seed: -1", 2, "unknown key", "called seed here, and left out for a new one"),
    ("batch_size: 4", 2, "unknown key", "`num_videos_per_prompt: 4`"),
    ("checkpoint: sd", 2, "unknown key", "`model:` names a profile of config.yaml"),
    ("output_format: gif", 2, "unknown key", "`format: gif`"),
    ("filename: ball", 2, "unknown key", "a video is named after its prompt"),
    ("init_image: a.png", 2, "unknown key", "takes no such picture"),
    ("note: for Ann", 2, "unknown key", "a comment begins with `# `"),
    ("clip_skip: 2", 2, "unknown key", "remove the line"),
    ("<<: {height: 64}", 2, "merge keys (<<)", "beside `prompts:`"),
    ("base: {height: 64}", 2, "can't be a mapping", "beside `prompt:` or `prompts:`"),
    ("shots: [{prompt: a}]", 2, "shots can't be a mapping", "as a list below `prompts:`"),
    ("animation_prompts: {'0': a}", 2, "can't be a mapping", "as a list below `prompts:`"),
    ("sweep: {height: [64, 72]}", 2, "can't be a mapping", "several to compare go below `matrix:`"),
    (
        "settings:\n  seed: 3\n  num_frames: 9",
        2,
        "settings can't be a mapping",
        "without more inden",
    ),
    ("Parameters: {seed: 3}", 2, "Parameters can't be a mapping", "what is in it beside `prompt:`"),
    ("options:\n- seed: 3", 2, "options can't be a mapping", "beside `prompt:` or `prompts:`"),
    ("config:\nseed: 3", 2, "unknown key 'config'", "remove this key, and write what is in it"),
    ("setings: {seed: 3}", 2, "setings can't be a mapping", "remove this key"),
    ("video: {seed: 3, steps: 4}", 2, "video can't be a mapping", "remove this key"),
    ("size: {width: 64, height: 64}", 2, "size can't be a mapping", "remove this key"),
    ("negative_prompt: {text: a}", 2, "can't be a mapping", "write one value"),
    ("hieght: 64", 2, "unknown key 'hieght'", "did you mean 'height'?"),
    ("guidance_rescale: 0.7", 2, "unknown key", "reeldrop has nothing for this; remove the line"),
    ("guidance2_scale: 3", 2, "unknown key", "reeldrop has nothing for this"),
    ("video_prompt_type: V", 2, "unknown key", "reeldrop has nothing for this"),
    ("latent_image: 5", 2, "unknown key", "reeldrop has nothing for this"),
    ("filename_prefix: AnimateDiff", 2, "unknown key", "reeldrop has nothing for this"),
    ("enable_hr: 1", 2, "unknown key 'enable_hr'", "reeldrop has nothing for this"),
    ("xyzzy_mode: 1", 2, "unknown key 'xyzzy_mode'", "known are negative_prompt, height"),
]
"""Settings beside a prompt in the first line."""

VALUES: list[Case] = [
    ("seed: -1", 2, "less than the smallest", "leave the line out for a new seed each time"),
    ("seed: random", 2, "whole number", "leave the line out for a new seed each time"),
    ("seed:", 2, "not nothing", "leave the line out for a new seed each time"),
    ("seed: '42'", 2, "not the text '42'", "write `seed: 42`"),
    ("seed: “42”", 2, "not the text", "write `seed: 42`"),
    ("seed: 18446744073709551615", 2, "more than the largest", "9223372036854775807 or less"),
    ("guidance_scale: 7,5", 2, "a number, not the text", "write `guidance_scale: 7.5`"),
    ("guidance_scale: .inf", 2, "a finite number", "such as `guidance_scale: 5.0`"),
    ("height: 64.0", 2, "a whole number, not 64.0", "write `height: 64`"),
    ("height: 64px", 2, "not the text '64px'", "such as `height: 64`"),
    ("num_inference_steps: [4, 6]", 2, "a whole number, not a list", SEVERAL),
    ("num_inference_steps: 4, 6", 2, "not the text '4, 6'", SEVERAL),
    ("guidance_scale: [6, 7.5]", 2, "a number, not a list", SEVERAL),
    ("clean_caption: [true, false]", 2, "true or false, not a list", SEVERAL),
    ("negative_prompt: [mud, fog]", 2, "a text, not a list", '`negative_prompt: "mud, fog"`; sev'),
    ("model: [tiny, other]", 2, "model must be a name, not a list", SEVERAL),
    ("num_frames: [9]", 2, "not a list", "write `num_frames: 9`"),
    ("num_videos_per_prompt: [1, 2]", 2, "not a list", "write a whole number"),
    ("seed: 1, 2, 3", 2, "not the text '1, 2, 3'", "write `seed: [1, 2, 3]` for several"),
    ("clean_caption: yes", 2, "not the text 'yes'", "write `clean_caption: true`"),
    ("clean_caption: 2", 2, "not 2", "such as `clean_caption: false`"),
    ("height: 60", 2, "only multiples of 8", "use 56 or 64"),
    ("height: 127", 2, "only multiples of 8", "use 120 or 128"),
    ("height: 1000", 2, "more than tiny allows", "use 128 or less"),
    ("num_frames: 32", 2, "4n + 1 frames", "use 29 or 33"),
    ("num_frames: 34", 2, "more than tiny allows", "use 33 or less"),
    ("format: gif\nfps: 60", 3, "no more than 50 frames a second, not 60", "50 or less, or take"),
    ("format: [mp4, gif]\nfps: 50.5", 3, "not 50.5", "50 or less, or take gif out"),
    ("model: tny", 2, "there is no model 'tny' in config.yaml", "'tiny'? known are tiny, other"),
    ("model: nix", 2, "there is no model 'nix'", "without `model:`, it is tiny"),
]

FILES: list[Case] = [
    ("prompt:\nseed: 3", 1, "not nothing", "write what to film after `prompt:`"),
    ("prompt: [a, b]", 1, "not a list", "as a list below `prompts:`"),
    ("prompts: a", 1, "not the text 'a'", "begin each prompt with `- `"),
    ("- a ball\n- a boat", 1, "not a list", "put `prompts:` above the list"),
    ("a ball\na boat", 1, "not the text 'a ball a boat'", "belong in a .txt file"),
    ("prompt: a\nprompt: b", 2, "there twice", "in line 1; remove one of them, or make"),
    ("text: a ball", 1, "unknown key 'text'", '`prompt: "a ball"`'),
    ("Prompt: ball", 1, "unknown key 'Prompt'", "`prompt: ball`"),
    ("提示词: 猫", 1, "unknown key '提示词'", "`prompt: 猫`"),
    ("prompt_en: a ball", 1, "unknown key 'prompt_en'", '`prompt: "a ball"`'),
    ("promt: a ball", 1, "unknown key 'promt'", "did you mean 'prompt'?"),
    ("prompts:\n- Close-up: a ball", 2, "'Close-up': YAML reads", '`prompt: "Close-up: a ball"`'),
    ("Close-up: a ball\nseed: 3", 1, "'Close-up'", '`prompt: "Close-up: a ball"`'),
    ("prompts:\n- Night:\n  seed: 3", 2, "'Night'", '`prompt: "Night:"`'),
    ('"0": a ball', 1, "unknown key '0'", "as a list below `prompts:`"),
    ("{“prompt”: “a ball”}", 1, "unknown key", 'use plain quotes, or none: `prompt: "a ball"`'),
    ("prompt: a balloon with #7 on it", 1, "'#7 on it' is left out", "between quotes"),
    ("prompts:\n- a\n- tile #️⃣ rolls", 3, "is left out", "between quotes, or a space after"),
    ("prompt: #sunset", 1, "'#sunset' is left out", "between quotes"),
    ("prompt: # later", 1, "'# later' is left out", "between quotes"),
    ("prompt: a\nnegative_prompt: b #c", 2, "'#c' is left out", "between quotes"),
    ("prompt: a #7\n  b\nseed: 3", 2, "the text above ends at its #", "between quotes"),
    ("prompts:\n\t- a\n", 2, "a tab is at the beginning", "put spaces in its place"),
    ("prompt: a\n\tseed: 7\n", 2, "a tab is at the beginning", "take it out, or"),
    ("prompt: a\nb\n", 2, "this line is no `key: value`", "with more spaces if it goes on"),
    ("- a\nb", 2, "nor begins with `- `", "write `- b`, or begin it with more spaces"),
    ("prompts:\n- a\nb\n- c", 3, "nor begins with `- `", "write `- b`, or begin it with more"),
    ("prompts:\n\xa0 - a\n", 2, "a no-break space (U+00A0) is at the beginning", "plain spaces"),
    ("prompts:\n\u3000- a\n", 2, "(U+3000) is at the beginning", "plain spaces"),
    ("prompt: a\nseed:\xa03", 2, "a no-break space (U+00A0) is after `seed:`", "a plain space"),
    ("prompt: ‘Night: a ball’", 1, "know ‘ as a quote", '`prompt: "Night: a ball"`'),
    ("prompts:\n- “Night: a ball”", 2, "'“Night'", '`prompt: "Night: a ball"`'),
    ("prompt:\u3000a ball", 1, "not the text", "after `prompt:`, not a full-width space (U+3000)"),
    ("prompt:\u200ba ball", 1, "not the text", "not a zero-width space (U+200B)"),
    ("prompts:\n -\xa0a\n -\xa0b", 1, "not the text", "and a plain space, not a no-break space"),
    ("prompts:\n • a\n • b", 1, "not the text", "a hyphen and a plain space, not a bullet"),
    ("prompts:\n• a", 2, "a hyphen in each line, not a bullet", "write `- a`"),
    ("prompts:\n• a b\n• c d\n", 3, "a hyphen in each line, not a bullet", "write `- c d`, and so"),
    ("prompts:\n* a b\n* c\n", 2, "a hyphen in each line, not", "write `- a b`"),
    ("prompt：a ball", 1, "not the text", "not a full-width one (U+FF1A): `prompt: ...`"),
    ("prompt: a\nseed：3\n", 2, "a full-width colon (U+FF1A)", "`seed: ...`"),
    ("prompt: a\nseed:3\n", 2, "no space after `seed:`", "write `seed: 3`"),
    ("prompt:a ball", 1, "not the text", "put a space after the colon"),
    ("prompts:\n-a\n-b", 3, "no space after the `-`", "write `- b`"),
    ("prompt: “Night: a ball”", 1, "does not know “ as a quote", '`prompt: "Night: a ball"`'),
    ("seed: 4\nprompt: Night: a ball", 2, "a second colon", '`prompt: "Night: a ball"`'),
    ("prompt: 'It's a ball'\n", 1, "after its closing quote", "write '' for a '"),
    ('prompt: "a "red" ball"\n', 1, "after its closing quote", 'write \\" for a "'),
    ('seed: 4\nprompt: "a ball\nfps: 8\n', 2, "opens here is not closed", 'end the text with "'),
    ("prompt: a\nnegative_prompt: 'b\n\n\n", 2, "not closed", "end the text with '"),
    ('prompt: "C:\\Users\\me"', 1, "a backslash between double quotes", "write \\\\"),
    ('prompt: "half \\ud83c ball"', 1, "half a character", "write the character itself"),
    (r'prompt: "a \\ud83c\udf88"', 1, "half a character", "write the character itself"),
    ("prompt: a\n  seed: 4", 2, "indented more", "begin it below"),
    ("prompt: @home", 1, "can't begin with @", '`prompt: "@home"`'),
    ("prompt: [soft] ball", 1, "can't begin with [", '`prompt: "[soft] ball"`'),
    ("prompt: *star* falls", 1, "can't begin with *", '`prompt: "*star* falls"`'),
    ("prompt: - a ball", 1, "can't begin with -", '`prompt: "- a ball"`'),
    ("prompt: !wow a ball", 1, "the tag !wow", "put between quotes"),
    ("prompt: a\u2028b", 1, "a line separator (U+2028) is in this line", "a plain line end"),
    ("prompt: a\x0bb", 1, "a vertical tab (U+000B)", "remove it"),
    ("prompt: {a|b} ball\n", 1, "can't begin with {", '`prompt: "{a|b} ball"`'),
    ("prompt: a\nseed: [1, 2\nfps: 8", 3, "the [ in line 2 is not closed", "close it"),
    ("prompt: a\nseed: [\n", 3, "the [ in line 2 is not closed", "begins with [ between"),
    ("prompts:\n - [\n - b\n", 3, "the [ in line 2 is not closed", "close it"),
    ('{"prompt": "a" "seed": 3}', 1, "or a comma is missing", "close it"),
    ("prompts:\n  - prompt: a\n    seed: 3\n   fps: 8", 4, "below none of those", "exactly below"),
    ("prompts:\n  - a\n - b", 3, "below none of those", "exactly below"),
    ("prompts:\n  - prompt: 'it's a cat'\n", 2, "after its closing quote", "the whole text"),
    ('prompts:\n  - "a cat" and a dog\n', 2, "after its closing quote", "the whole text"),
    ('prompts:\n  - "a cat",\n  - "a dog"\n', 2, "after its closing quote", "take out the ,"),
    ('- prompt: a\n\n  seed: "x" y\n', 3, "after its closing quote", "the whole text"),
    (f"- {{prompt: '{'a' * 600}', seed: [1, 2\n", 2, "the bracket in line 1", "close it"),
]


@pytest.mark.parametrize(
    ("before", "cases"),
    [("prompt: a\n", KEYS), ("prompt: a\n", VALUES), ("", FILES)],
    ids=["keys", "values", "files"],
)
def test_what_is_right(before: str, cases: list[Case]) -> None:
    """Each mistake has its line and names what the author meant; there is no other mistake."""
    wrong = {}
    for text, line, problem, remedy in cases:
        found = mistakes(before + text)
        if len(found) != 1 or found[0].line != line:
            wrong[text] = [str(one) for one in found]
        elif problem not in found[0].problem or remedy not in found[0].remedy:
            wrong[text] = [str(found[0])]
    assert {} == wrong


def test_what_is_advised_is_accepted() -> None:
    """A file with the line that a report shows has no mistake there any more."""
    wrong = {}
    for text, _, _, remedy in [*KEYS, *VALUES, *FILES]:
        whole = "" if (text, _, _, remedy) in FILES else "prompt: a\n"
        found = mistakes(whole + text)[0].remedy
        for line in re.findall(r"`((?:\w+): [^`.]+)`", found):
            right = line if line.startswith("prompt:") else f"prompt: a\n{line}"
            try:
                parse(right)
            except PromptError as error:
                if not {"832", "480", "60"} & set(line.split()):  # more than the model allows
                    wrong[text] = str(error)
    assert {} == wrong


@pytest.mark.parametrize(
    ("text", "remedies"),
    [
        (
            "prompt: 球\nnegative_prompt: 雾\ntranslated_negative: fog",
            ["translated_negative_prompt"],
        ),
        ("text: 球\nenglish_prompt: a ball", ["prompt", "translated_prompt"]),
        (
            "prompts:\n- zh: 球\n  en: a ball\n- en: a boat",
            ["prompt", "translated_prompt", "prompt"],
        ),
    ],
)
def test_a_translation_needs_its_original(text: str, remedies: list[str]) -> None:
    """The key for a translation is named if the original is given, by whatever name it has."""
    found = [re.findall(r"it is called (\w+) here", one.remedy) for one in mistakes(text)]
    assert [[one] for one in remedies] == found


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("height: 100", "use 128"),
        ("height: 64", "use 128"),
        ("height: 256", "use 128"),
        ("width: 100", "use 120"),
        ("width: 301", "use 296"),
        ("width: 304", "use 296 or less"),
        ("width: 130", "use 128 or 136"),
        ("num_frames: 8", "use 9"),
        ("num_frames: 4", "use 9 or more"),
        ("num_frames: 31", "use 29"),
        ("num_frames: 40", "use 29 or less"),
    ],
)
def test_sizes_that_work(line: str, remedy: str) -> None:
    """Advised numbers are within the profile's limits, and the model can make them."""
    rules = {"bundled": BUNDLED}
    with pytest.raises(PromptError) as caught:
        parsing.parse("a.yaml", f"prompt: a\n{line}".encode(), [], rules, "bundled", int)
    (found,) = caught.value.mistakes
    assert remedy == found.remedy
    for number in re.findall(r"\d+", remedy):
        text = f"prompt: a\n{line.split(':')[0]}: {number}"
        assert parsing.parse("a.yaml", text.encode(), [], rules, "bundled", int).prompts


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("prompt: a\n# a comment\nseed: 4  # lucky", []),
        ("prompt: a\nseed: 4 #lucky", []),
        ("prompt: a\nformat: gif\nfps: 50", []),
        ("prompt: a\nformat: webm\nfps: 120", []),
        ("prompt: 'a #7'", []),
        ("prompt: a#7", []),
        ("prompt: |\n  a #7", []),
        ("prompt: a ball  # my note", ["'# my note' after the prompt is a comment in YAML"]),
        ("prompts: [a]\nnegative_prompt: b # c", ["'# c' after the negative_prompt"]),
        ("prompt: “a”", ["quotes around the prompt are rendered: YAML has only plain"]),
        ("prompt: a --ar 16:9 --v 6", ["has options of a command line; it is text here"]),
        ("prompt: |\n  a\n  Steps: 20, Sampler: x", ["is of A1111 or a similar tool; it is text"]),
        ('prompts: [\'{"prompt": "a"}\']', ["is JSON; it is text here"]),
        ("prompt: a ## note", ["'## note' after the prompt"]),
        ("prompts:\n- a # 3 ships", ["'# 3 ships' after the prompt"]),
        ("prompt: a\nguidance_scale: 1\nnegative_prompt: b", ["negative prompt has no effect"]),
        ("prompt: a\nguidance_scale: 1\nnegative_prompt: ''", []),
        ("prompt: a\nguidance_scale: 1.5\nnegative_prompt: b", []),
    ],
)
def test_what_is_rendered_and_noted(text: str, notes: list[str]) -> None:
    """A YAML comment is legal; a note says once what it, or a setting, takes away."""
    (prompt,) = parse(text).prompts
    assert len(notes) == len(prompt.notes)
    assert all(said in noted for said, noted in zip(notes, prompt.notes, strict=True))


def test_a_negative_prompt_that_nobody_wrote_is_not_noted() -> None:
    """A negative prompt that the profile or the pipeline has by default gets no note."""
    rules = {"bundled": replace(BUNDLED, defaults={**BUNDLED.defaults, "negative_prompt": "b"})}
    text = b"prompt: a\nguidance_scale: 1"
    (prompt,) = parsing.parse("a.yaml", text, [], rules, "bundled", int).prompts
    assert ("b", ()) == (prompt.argument("negative_prompt"), prompt.notes)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (r'{"prompt": "a \ud83c\udf88 and \uD83D\uDE00", "seed": 3}', "a 🎈 and 😀"),
        ('{\n\t"prompts": [\n\t\t{\n\t\t\t"prompt": "a"\n\t\t}\n\t]\n}', "a"),
        (r'{"prompt": "caf\u00e9 \/ \"bar\""}', 'café / "bar"'),
        (r"prompt: a \ud83c\udf88", r"a \ud83c\udf88"),
        (r"prompt: 'a \ud83c\udf88'", r"a \ud83c\udf88"),
        (r'prompt: "a \\ud83c\\udf88"', r"a \ud83c\udf88"),
        (r'prompt: "a \\\ud83c\udf88"', "a \\🎈"),
        ("prompt: |\n  a \\ud83c\\udf88 \ue000", "a \\ud83c\\udf88 \ue000"),
        ('prompt: "\ue000\\ud83c\\udf88"', "\ue000🎈"),
    ],
)
def test_json_is_yaml(text: str, prompt: str) -> None:
    """Surrogate pairs in JSON become one character, and nothing else changes."""
    assert prompt == parse(text).prompts[0].prompt
    assert "\\" in text or strict_yaml.load_all(text)


def test_every_mistake_of_a_file_is_told_at_once() -> None:
    """Cut texts, unknown keys and wrong values of several prompts are one report."""
    text = "prompts:\n- a #7\n- b #8\n- prompt: c\n  steps: 5\n- Night: d\nfps: 0\n"
    found = [(one.line, one.key) for one in mistakes(text)]
    assert [(2, "prompt"), (3, "prompt"), (5, "steps"), (6, "Night"), (7, "fps")] == found


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("prompt: a\nseed: -1\nfps: 60\nformat: gif\n", ["seed", "fps"]),
        ("prompt: 7\nfps: 60\nformat: [gif, mp4]\n", ["prompt", "fps"]),
        ("prompt: <lora:x:1> a\nheight: x\n", ["prompt", "height"]),
        (
            "prompt: a\nseed: [1, 2]\nnum_videos_per_prompt: 2\nformat: no\n",
            ["num_videos_per_prompt", "format"],
        ),
    ],
)
def test_mistakes_of_each_setting_and_of_several_are_told_at_once(
    text: str, keys: list[str]
) -> None:
    """A wrong value hides nothing about the others."""
    assert keys == [one.key for one in mistakes(text)]
