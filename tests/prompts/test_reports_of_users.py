"""What users of other tools have reported that they put into prompt files, and what becomes of it.

Where a number is given, the input is from that report on GitHub, shortened; the others are in the
syntax that the tool's users have. What its author did not mean is refused, with what is right, or
filmed with a note in the sidecar.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
from harness.prompt_files import CAPABILITIES, TINY, mistakes, parse
from reeldrop.base import strict_yaml
from reeldrop.base.errors import PromptError
from reeldrop.prompts import parsing


@dataclass(frozen=True)
class Refused:
    """An input that is refused: part of the first problem, and the prompts that are shown.

    remedy: part of what is right, where no prompts are shown
    """

    where: str
    text: str | bytes
    problem: str
    shown: tuple[dict[str, object], ...] = ()
    remedy: str = ""
    name: str = "a.txt"


@dataclass(frozen=True)
class Filmed:
    """An input that is filmed, and part of the first note, if there is one.

    prompts: what is filmed; empty if it is each line as it stands
    """

    where: str
    text: str | bytes
    note: str = ""
    prompts: tuple[str, ...] = ()


BALL: dict[str, object] = {"prompt": "a red ball"}
BOAT: dict[str, object] = {"prompt": "a blue boat"}
ADDITION = "is for another tool"

REFUSED = [
    Refused(
        "A1111 1027, nataili 38: a negative prompt behind a mark",
        "woman, full body ### face, limbs",
        "behind ###",
        ({"prompt": "woman, full body", "negative_prompt": "face, limbs"},),
    ),
    Refused(
        "AI-Horde-CLI 6: the same without spaces",
        "dog###cat",
        "behind ###",
        ({"prompt": "dog", "negative_prompt": "cat"},),
    ),
    Refused(
        "A1111 5699: options without quotes",
        "--prompt a castle --negative_prompt trees, shrubs\n--prompt a dog",
        "options of a command line",
        ({"prompt": "a castle", "negative_prompt": "trees, shrubs"}, {"prompt": "a dog"}),
    ),
    Refused(
        "InvokeAI 23: comments and switches",
        '// sample prompt file\n"a unicorn" -n4 -H64 -W128 -S1234',
        "comment of another language",
        (
            {
                "prompt": "a unicorn",
                "height": 64,
                "width": 128,
                "seed": 1234,
                "num_videos_per_prompt": 4,
            },
        ),
    ),
    Refused(
        "stable-diffusion 244: the command that reads a file",
        "python optimizedSD/my_txt2img.py --from-file prompt.txt --H 512 --W 512 --ddim_steps 50",
        "options of a command line",
        remedy="remove the line",
    ),
    Refused(
        "sd-webui-animatediff 219: numbers of frames below a text",
        "dreamy fantasy art\n0: sitting in the office\n30: flying in the sky",
        "is a keyframe",
        (
            {"prompt": "dreamy fantasy art"},
            {"prompt": "sitting in the office"},
            {"prompt": "flying in the sky"},
        ),
    ),
    Refused(
        "AnimateDiff-Evolved 172: keyframes with seeds",
        '"0": "A summer garden", 484188684\n"17": "A winter garden", 14171626861',
        "is a keyframe",
        ({"prompt": "A summer garden"}, {"prompt": "A winter garden"}),
    ),
    Refused(
        "FizzNodes 17: a space before the colon",
        '"0" :"graveyard",\n"16" :"dark cold road, dead trees"',
        "is a keyframe",
        ({"prompt": "graveyard"}, {"prompt": "dark cold road, dead trees"}),
    ),
    Refused(
        "Deforum: options within keyframes",
        '{"0": "a red ball --neg blurry", "30": "a blue boat"}',
        "is JSON",
        ({**BALL, "negative_prompt": "blurry"}, BOAT),
    ),
    Refused(
        "Deforum: formulas for frames",
        '{"0": "a red ball", "max_f-10": "a blue boat"}',
        "is JSON",
        (BALL, BOAT),
    ),
    Refused("Open-Sora: shots between pipes", "|0|winter|3|spring|6|summer", "schedule of key"),
    Refused(
        "Open-Sora: a picture behind the text",
        'a red ball{"reference_path": "assets/c.png", "mask_strategy": "0"}',
        "Open-Sora",
        (BALL,),
    ),
    Refused(
        "oobabot 61: settings with equals signs behind the text",
        "a red ball steps=20 seed=99997 np=blurry, dark",
        "settings behind it",
        ({**BALL, "negative_prompt": "blurry, dark", "num_inference_steps": 20, "seed": 99997},),
    ),
    Refused(
        "InvokeAI 5056: a sheet with titles",
        "Prompt, Title, Iterations\na red ball, Song 1, 4\na blue boat, Song 2, 4",
        "a table (CSV)",
        ({**BALL, "num_videos_per_prompt": 4}, {**BOAT, "num_videos_per_prompt": 4}),
    ),
    Refused("InvokeAI 1648: mixed texts", '("red", "green").blend(0.1, 1.3)', "as InvokeAI does"),
    Refused(
        "SwarmUI 121: a part of the picture",
        "a dancer <segment:yolo-face_yolov8n.pt,0.5,0.8>, a face",
        ADDITION,
        ({"prompt": "a dancer , a face"},),
    ),
    Refused("SwarmUI 242: variables", "<setvar[p]:a cat> runs", ADDITION, ({"prompt": "runs"},)),
    Refused(
        "StableSwarmUI 129: choices with commas",
        "<random: young, old> elf",
        ADDITION,
        ({"prompt": "elf"},),
    ),
    Refused("SwarmUI: settings", "a red ball <param[steps]:20>", ADDITION, (BALL,)),
    Refused("SwarmUI's breaks", "a cat <break> a dog", ADDITION, ({"prompt": "a cat a dog"},)),
    Refused(
        "sd-dynamic-prompts: variables",
        "${animal=cat} a ${animal} runs",
        ADDITION,
        ({"prompt": "a runs"},),
    ),
    Refused(
        "sd-dynamic-prompts: several of a choice",
        "{2$$ and $$red|blue|green} ball",
        "is a choice",
        ({"prompt": "red ball"}, {"prompt": "blue ball"}, {"prompt": "green ball"}),
    ),
    Refused(
        "sd-dynamic-prompts: choices with shares",
        "a {0.25::red|0.75::blue} ball",
        "is a choice",
        (BALL, {"prompt": "a blue ball"}),
    ),
    Refused(
        "sd-dynamic-prompts 791: a tree of wildcards",
        "wildcards:\n  colours:\n    - red\n    - blue\n",
        "can't be a mapping",
        remedy="settings for all prompts go beside `prompts:`",
        name="a.yaml",
    ),
    Refused(
        "animatediff-cli: a map of prompts",
        'head_prompt: best\nprompt_map:\n  0: a red ball\n  32: a boat\n',
        "can't be a mapping",
        remedy="write each text as a prompt of its own, below `prompts:`",
        name="a.yaml",
    ),
    Refused(
        "prompt-all-in-one 278: breaks on lines of their own",
        "a red ball\nBREAK\na blue boat",
        "a mark of A1111",
        remedy="remove the line",
    ),
    Refused(
        "answers of chats: headings between the prompts",
        "Scene 1:\na red ball rolls\n\nScene 2:\na blue boat sails",
        "is a heading, not a prompt",
        remedy="remove the line",
    ),
    Refused(
        "musubi-tuner: TOML",
        '[prompt]\nwidth = 512\n[[prompt.subset]]\nprompt = "a red ball"',
        "`key: value`",
        ({**BALL, "width": 512},),
    ),
    Refused(
        "musubi-tuner: TOML named YAML",
        "[prompt]\nwidth = 512\n",
        "heading of TOML",
        remedy="write `key: value`",
        name="a.yaml",
    ),
    Refused(
        "answers of chats: a fence of Markdown",
        "```yaml\nprompt: a red ball\n```",
        "markup of Markdown",
        remedy="remove it",
        name="a.yaml",
    ),
    Refused(
        "ComfyUI's workflows by hand: JSON with remarks",
        '{\n  // the ball\n  "prompt": "a red ball",\n}',
        "comment of another language",
        remedy="put `# ` before it",
        name="a.yaml",
    ),
    Refused(
        "Impact-Pack 202: a text of Windows before Unicode",
        "Antonín plays, café".encode("cp1250"),
        "not UTF-8 text",
        remedy="save the file as UTF-8",
    ),
    Refused(
        "A1111 8079: an option for which there is nothing here",
        '--sd_model "modelname" --prompt "a red ball"',
        "options of a command line",
        (BALL,),
    ),
    Refused(
        "Inspire-Pack 12: both texts in a line",
        "prompt: a red ball negative: blurry, dark",
        "`key: value`",
        ({**BALL, "negative_prompt": "blurry, dark"},),
    ),
    Refused(
        "easydiffusion 1032: settings below a prompt, some of them its own",
        "a red ball\nWidth: 128\nHeight: 64\nSteps: 25\nSampler: euler\n"
        "Use Face Correction: GFPGANv1.3\nNegative Prompt: dog, cat",
        "`key: value`",
        (
            {
                **BALL,
                "negative_prompt": "dog, cat",
                "height": 64,
                "width": 128,
                "num_inference_steps": 25,
            },
        ),
    ),
    Refused(
        "InvokeAI 6743: a sheet of templates",
        'name,prompt,negative_prompt\nFilm,"a red ball, film grain",blurry',
        "a table (CSV)",
        ({"prompt": "a red ball, film grain", "negative_prompt": "blurry"},),
    ),
    Refused(
        "AI-Prompt-Genius 335: a list under other names",
        '[\n {"title": "TEST", "content": "A ball", "tags": "x"}\n]',
        "is JSON",
        remedy="write its prompts as YAML, in a.yaml",
    ),
    Refused(
        "JSON that is cut off",
        '{"prompt": "a red ball", "seed": 1',
        "`key: value`",
        ({**BALL, "seed": 1},),
    ),
    Refused(
        "JSON through a word processor",
        "{ “prompt”: “a red ball”, “steps”: 12 }",
        "`key: value`",
        ({**BALL, "num_inference_steps": 12},),
    ),
    Refused(
        "JSON that is cut off, with a name for which there is nothing here",
        '{"prompt": "a red ball", "mood": "calm", "tiling": true, "size": 128x64, "seed": null',
        "`key: value`",
        ({**BALL, "height": 64, "width": 128},),
        remedy="without mood, tiling",
    ),
    *(
        Refused(
            f"a label before a text: {text}", f"Prompt: {text}", "`key: value`", ({"prompt": text},)
        )
        for text in (
            '"Hello", says the fox to the wolf, in deep snow',
            '"a fox", seed: 5, and at the end a wolf howls',
            '"a fox", wolf: "howls"',
            '"a fox", caption: "a wolf"',
            "a shop with the sign 'OPEN'",
            "a film strip. Negative: a photo negative in a tray. The camera moves on",
        )
    ),
    *(
        Refused(
            f"both texts in a line, with{mark!r}",
            f"Prompt: a red ball{mark}Negative: blurry, dark.",
            "`key: value`",
            ({**BALL, "negative_prompt": "blurry, dark."},),
        )
        for mark in (", ", ". ")
    ),
    *(
        Refused(f"quotes around it all: {line}", line, "`key: value`", (BALL,))
        for line in ('"Prompt: a red ball"', "Prompt: 'a red ball'", 'Prompt: **"a red ball"**')
    ),
    Refused(
        "answers of chats: a table",
        "| # | Prompt |\n|---|---|\n| 1 | a red ball |\n| 2 | a blue boat |",
        "a table (Markdown)",
        (BALL, BOAT),
    ),
    Refused(
        "answers of chats: numbers before the texts",
        "Prompt 1 - a red ball\nPrompt 2 – a blue boat",
        "`key: value`",
        (BALL, BOAT),
    ),
    Refused(
        "a chat's words around its list",
        "Here are 2 prompts:\n1. A red ball\n2. A blue boat\nLet me know if you'd like more!",
        "stands above a list",
        remedy="remove the line",
    ),
    Refused(
        "answers of chats: a greeting",
        "Sure! Here are two prompts:\n1. a red ball\n2. a blue boat",
        "stands above a list",
        remedy="remove the line",
    ),
    Refused(
        "answers of chats: thoughts",
        "<think>\nThey want a ball.\n</think>\na red ball",
        "a mark of a chat's model",
        remedy="remove the line",
    ),
    *(
        Refused(f"shots of Veo: {first}", f"{first}\n{then}", "is a keyframe", (BALL, BOAT))
        for first, then in (
            ("[0-5s] a red ball", "[5-10s] a blue boat"),
            ("00:00 a red ball", "00:05 a blue boat"),
            ("0:00–0:05: a red ball", "0:05–0:10: a blue boat"),
            ("0s: a red ball", "5s: a blue boat"),
            ("Frame 0: a red ball", "Frame 24: a blue boat"),
            ("0|a red ball", "24|a blue boat"),
            ("Shots:\n0:00 -> a red ball", "1:30 -> a blue boat"),
            ("0:00 - a red ball", "1:30 - a blue boat"),
            ("0:00-1:30 a red ball", "1:30-2:00 a blue boat"),
            ("00:00:00 a red ball", "00:01:30 a blue boat"),
            ("[0-1s] a red ball", "[1-2s] a blue boat"),
            ("Frame 0: a red ball", "Frame 1: a blue boat"),
            ("0: a red ball", "1: a blue boat"),
        )
    ),
    *(
        Refused(f"answers of chats: {text}", text, problem, remedy="remove the line")
        for text, problem in (
            ("<think>Okay, the user wants a ball.\na red ball", "a mark of a chat's model"),
            ("</think>a red ball", "a mark of a chat's model"),
            ("</s>", "a mark of a chat's model"),
            ("A ball rolls\n| a | b |\n| c | d |", "a row of a table in Markdown"),
            ("| Text |\n|---|\na red ball", "a row of a table in Markdown"),
        )
    ),
    Refused(
        "Wan2GP's own examples: macros",
        '! {Subject}="cat","dog" : {Place}="forest"\nA {Subject} in a {Place}.',
        "macro of Wan2GP",
        shown=({"prompt": "A cat in a forest."}, {"prompt": "A dog in a forest."}),
        remedy="write the prompts that it stands for",
    ),
]  # fmt: skip

FILMED = [
    Filmed("Wan2GP 1744: a text on two lines", "A flower in a field\non a rainy day"),
    Filmed("Umi-AI 2: empty lines", "cute bunny\n\n\n\ndice", prompts=("cute bunny", "dice")),
    Filmed("wildcards 30: remarks at the top", "# cc0.\n# of words\nape", prompts=("ape",)),
    Filmed("InvokeAI 37: an apostrophe", "it's a cat's house"),
    Filmed("URSA 9: a number before the text", "motion=9.0, a red ball"),
    Filmed("Open-Sora: scores", "a car. motion score: 4."),
    Filmed(
        "SD.Next 4582: a comment without a space", "#this is a test", "begins with # and a space"
    ),
    Filmed("A1111 8962: quotes that are rendered", '"a ball"\n“a boat”', "the quotes around"),
    Filmed("A1111 3403: weights", "(blurry, car:1.2), text:1.4", "no weights"),
    Filmed("InvokeAI 1648: weights", "a red (cube)1.3", "no weights"),
    Filmed("NovelAI: weights in braces", "a {{{red}}} ball", "no weights"),
    Filmed("NovelAI: weights in numbers", "1.5::red ball:: in snow", "no weights"),
    Filmed("Midjourney: weights", "a red ball::2 blue", "ball::2 is"),
    Filmed("A1111: edited prompts", "a [red:blue:0.5] ball", "no changes"),
    Filmed("A1111: prompts in turn", "a [cat|dog] runs", "no changes"),
    Filmed("Sygil 408: prompts on one line", "a cat || a dog", "|| is"),
    Filmed("Fooocus: lists", "a [[red, blue]] ball", "no lists"),
    Filmed("Easy Diffusion: lists", "a {red,blue} ball", "no lists"),
    Filmed("prompt-all-in-one 278: breaks in the text", "a girl BREAK the sea", "no breaks"),
    Filmed("sdwebui-nai-api 42: line breaks", "a beach\\nChar: a girl", "\\n is"),
    Filmed("sd-dynamic-prompts 142: brackets", "(grape)\napple\n[orange]"),
    Filmed("ComfyUI: embeddings", "embedding:EasyNegative, a ball", "no embeddings"),
    Filmed("A1111: added texts", "a ball :1.2 AND a boat :0.8", "no texts that are added up"),
    Filmed("a word in capitals", "a shop that is open AND closed, at 10:30 AND later"),
    Filmed("answers of chats: bold letters", "**A red ball**\nA boat", "the ** around"),
    Filmed("web pages: escapes", "a ball &amp; a boat", "&amp; is"),
    Filmed("ComfyUI: remarks", "a ball /* red */ rolls", "no remarks"),
    Filmed("chats: letters", "a) a ball\nb) a boat", "the letter", ("a ball", "a boat")),
    Filmed(
        "a list whose first prompt ends in a colon",
        "1. A man speaks:\n2. A fox runs\n3. A bear",
        "the number",
        ("A man speaks:", "A fox runs", "A bear"),
    ),
    Filmed(
        "a list of prompts that all end in colons",
        "- Fox:\n- Wolf:\n- Bear:",
        "'-'",
        ("Fox:", "Wolf:", "Bear:"),
    ),
    Filmed(
        "times of day in some prompts",
        "A fox\n0:00 midnight, a clock\nA wolf\n12:00 noon, a clock\nA bear",
    ),
    Filmed("times in two of four prompts", "A fox\n0s: a start\nA wolf\n5s: an end"),
    Filmed("a text between two numbers", "0: a fox\nA wolf\n24: a bear"),
    Filmed("times of day in all prompts", "00:00 a city at midnight\n06:00 at dawn\n18:30 dusk"),
    Filmed(
        "numbers in parentheses, from 0",
        "(0) a fox\n(1) a wolf\n(2) a bear",
        "the number",
        ("a fox", "a wolf", "a bear"),
    ),
    Filmed("numbers in brackets, from 0", "[0] a fox\n[1] a wolf"),
    Filmed("numbers and pipes, from 0", "0|a fox\n1|a wolf"),
    *(
        Filmed(f"words in angle brackets: {text}", text)
        for text in (
            "<s>a fox</s> on a slide about HTML",
            "<output> printed on a label",
            "<think> a bubble above a fox",
            "| a | b |",
        )
    ),
    Filmed("Notepad: UTF-16", "a café".encode("utf-16"), prompts=("a café",)),
]


def outcome(text: str | bytes, name: str) -> list[object]:
    """Return the prompts that a refusal shows."""
    examples = [found.example for found in mistakes(text, name) if found.example]
    shown = [strict_yaml.plain(strict_yaml.load_all(example)[0]) for example in examples]
    prompts = [values.get("prompts", [values]) for values in shown]
    return [{"prompt": p} if isinstance(p, str) else p for several in prompts for p in several]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.where)
def test_what_users_of_other_tools_write_is_refused_with_what_is_right(case: Refused) -> None:
    """It says what it is, and the prompts that are shown can be dropped as they stand."""
    found = mistakes(case.text, case.name)
    assert case.problem in found[0].problem
    assert list(case.shown) == outcome(case.text, case.name)
    assert all(one.remedy for one in found)
    assert case.remedy in found[0].remedy
    for example in (one.example for one in found if one.example):
        parse(example, "a.yaml")


@pytest.mark.parametrize("case", FILMED, ids=lambda case: case.where)
def test_what_may_be_meant_is_filmed(case: Filmed) -> None:
    """As it stands, with a note where another tool would have read it otherwise."""
    found = parse(case.text, "a.txt").prompts
    assert (case.prompts or tuple(str(case.text).split("\n"))) == tuple(p.prompt for p in found)
    notes = [note for prompt in found for note in prompt.notes]
    assert bool(case.note) == bool(notes)
    assert case.note in "".join(notes)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("Shot 1:\n  a ball rolls\n  ---\n  Shot 2\n  a boat\n  motion score: 30.", ""),
        ("Shot 1:\n  a ball rolls\n  steps: 20", "'steps: 20' is `key: value`"),
        ("a ball\n  ```", "'```' is markup of Markdown"),
        ("Shot 1:", "'Shot 1:' is a heading"),
    ],
)
def test_a_prompt_of_several_lines_may_have_headings(text: str, note: str) -> None:
    """What a model reads well is no mistake; what another tool reads is noted."""
    (prompt,) = parse(f"prompt: |\n  {text}\n", "a.yaml").prompts
    assert bool(note) == bool(prompt.notes)
    assert note in "".join(prompt.notes)


def test_a_file_that_merges_settings_hears_of_both_mistakes() -> None:
    """Merge keys are not wanted; what is right is said, whatever else is wrong above them."""
    text = "base: &base\n  num_frames: 24\nprompts:\n  - prompt: a red ball\n    <<: *base\n"
    base, merge = mistakes(text)
    assert ("base", 1) == (base.key, base.line)
    assert ("<<", 5) == (merge.key, merge.line)
    for found in (merge, *mistakes("prompts:\n  - &a {prompt: a}\n  - <<: *a\n")):
        assert "merge keys (<<) are not part of YAML 1.2" == found.problem
        assert "write the settings out, or put them beside `prompts:`" in found.remedy


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ("seed: [1, 2]", {"seed": [1, 2]}),
        ("format: [mp4, gif]", {"format": ["mp4", "gif"]}),
        ("matrix: {guidance_scale: [6, 9]}", {"matrix": {"guidance_scale": [6, 9]}}),
        ("translate: false", {"translate": False}),
        ("priority: -5", {"priority": -5}),
        ("model: other", {"model": "other"}),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_setting_of_yaml_in_a_text_file_is_shown_in_yaml(
    setting: str, shown: dict[str, object], is_first: bool
) -> None:
    """For all prompts if it is at the top, as far as that differs; nothing of it is left out."""
    lines = ["a red ball", "a blue boat"]
    lines.insert(0 if is_first else 1, setting)
    (found,) = mistakes("\n".join(lines), "a.txt")
    assert (1 if is_first else 2) == found.line
    assert f"'{setting}' is `key: value`" in found.problem
    assert "write it as YAML, in a.yaml:" == found.remedy
    values = strict_yaml.plain(strict_yaml.load_all(found.example)[0])
    first = {} if is_first or "priority" in shown else shown
    of_all = {} if first else shown
    assert {"prompts": [{**BALL, **first}, BOAT], **of_all} == values
    videos = parse(found.example, "a.yaml").prompts
    assert {"a red ball", "a blue boat"} == {prompt.prompt for prompt in videos}


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("seed: 1, 2", "write a number, or several as `seed: [1, 2]`"),
        ("seed: random", "write a number, or several as `seed: [1, 2]`"),
        ("width: 512px", "write a number"),
        ("fps: NaN", "write a number"),
        (
            "steps: 4, 6",
            "write a number after `num_inference_steps:`; several to compare go below `matrix:`",
        ),
        ("num_frames: [4, 6]", "write a number; several to compare go below `matrix:`"),
    ],
)
def test_a_setting_of_a_text_file_that_cannot_be_used_is_reported(
    setting: str, remedy: str
) -> None:
    """Beside the YAML, which is right without it."""
    _, found = mistakes(f"a red ball\n{setting}\n", "a.txt")
    assert (2, f"'{setting}' is not used: its value is no number") == (found.line, found.problem)
    assert remedy == found.remedy
    assert [BALL] == outcome(f"a red ball\n{setting}\n", "a.txt")


@pytest.mark.parametrize(
    ("line", "problem", "shown"),
    [
        ("seeds: 3", "is `key: value`", {"seed": 3}),
        ("clean_caption: true", "is `key: value`", {"clean_caption": True}),
        ("translated_prompt: a 5: b", "is `key: value`", {"translated_prompt": "a 5: b"}),
        ("sed: 3", "looks like the setting `seed`, misspelt", {"seed": 3}),
        ("widht: 64", "looks like the setting `width`, misspelt", {"width": 64}),
        ("heigth = 64", "looks like the setting `height`, misspelt", {"height": 64}),
        ("stpes: 20", "looks like the setting `steps`, misspelt", {"num_inference_steps": 20}),
        ("num_frmes: 9", "looks like the setting `num_frames`, misspelt", {"num_frames": 9}),
        ("guidence_scale: 7.5", "the setting `guidance_scale`", {"guidance_scale": 7.5}),
        ("negativ_prompt: blur", "the setting `negative_prompt`", {"negative_prompt": "blur"}),
        ("negative_promt = blur", "the setting `negative_prompt`", {"negative_prompt": "blur"}),
        ("negative_prompt_2: blur", "is of A1111 or a similar", {"negative_prompt": "blur"}),
        ("Widht: 64", "looks like the setting `width`, misspelt", {"width": 64}),
        ("FARMES: 9", "looks like the setting `frames`, misspelt", {"num_frames": 9}),
        ("fsp: 8", "looks like the setting `fps`, misspelt", {"fps": 8}),
        ("Sedd：3", "looks like the setting `seed`, misspelt", {"seed": 3}),
        ("CGF: 7", "looks like the setting `cfg`, misspelt", {"guidance_scale": 7}),
        ("Guidence scale: 7.5", "the setting `guidance_scale`", {"guidance_scale": 7.5}),
        ("Negativ-Prompt: blur", "the setting `negative_prompt`", {"negative_prompt": "blur"}),
        ("Negativprompt: blur", "the setting `negative_prompt`", {"negative_prompt": "blur"}),
        ("neg_prompt: blur", "is `key: value`", {"negative_prompt": "blur"}),
        ("Size: 64x32", "is `key: value`", {"width": 64, "height": 32}),
        ("count: 2", "is `key: value`", {"num_videos_per_prompt": 2}),
        ("Batch size: 2", "is `key: value`", {"num_videos_per_prompt": 2}),
    ],
)
def test_a_setting_is_known_by_its_name(line: str, problem: str, shown: dict[str, object]) -> None:
    """Those of all pipelines are, and those that are certainly misspelt."""
    (found,) = mistakes(f"a red ball\n{line}", "a.txt")
    assert (2, "write it as YAML, in a.yaml:") == (found.line, found.remedy)
    assert problem in found.problem
    assert [{**BALL, **shown}] == outcome(f"a red ball\n{line}", "a.txt")
    parse(found.example, "a.yaml")


def test_what_a_chat_writes_below_its_list_is_told_at_once() -> None:
    """It may also be a prompt without its mark."""
    above, below = mistakes("Here are 2:\n- a red ball\n- a blue boat\nEnjoy!", "a.txt")
    assert (1, 4) == (above.line, below.line)
    assert "'Enjoy!' is what stands below a list" in below.problem
    assert below.remedy.endswith("or `- ` if it is one")
    assert ["A sign:", "- a", "b"] == [p.prompt for p in parse("A sign:\n- a\nb", "a.txt").prompts]


def test_what_may_be_a_setting_is_noted_in_a_list() -> None:
    """Beside the note on the mark."""
    for text in ("- Mask: 5\n- Count: 3", "1. scene_1: 5\n2. No: 5"):
        for found in parse(text, "a.txt").prompts:
            mark, setting = found.notes
            assert "at the beginning is left out" in mark
            assert "a setting would have to be in a YAML file" in setting


def test_what_may_be_a_setting_is_one_among_others() -> None:
    """Nothing is lost in the YAML that is shown: what has no key is named, what stands below stays.

    A name in front of a number is filmed only if nothing else in the file is of another tool.
    """
    (found,) = mistakes("a red ball\nLength: 9\nMask: 5\nScene: night\nsteps: 5", "a.txt")
    assert (5, "write it as YAML, in a.yaml, without Mask, which reeldrop does not have:") == (
        found.line,
        found.remedy,
    )
    assert [{**BALL, "num_frames": 9}, {"prompt": "Scene: night", "num_inference_steps": 5}] == (
        outcome("a red ball\nLength: 9\nMask: 5\nScene: night\nsteps: 5", "a.txt")
    )


def test_prompts_with_numbers_of_keys() -> None:
    """Nobody films the name of the key."""
    assert [BALL, BOAT] == outcome("prompt_1: a red ball\nprompt_2: a blue boat", "a.txt")
    assert [BALL, BOAT] == outcome("promt: a red ball\npormpt: a blue boat", "a.txt")
    numbered = "prompt_{0}: {1}\nnegative_prompt_{0}: blur\n".format
    assert [{**BALL, "negative_prompt": "blur"}, {**BOAT, "negative_prompt": "blur"}] == outcome(
        numbered(1, "a red ball") + numbered(2, "a blue boat"), "a.txt"
    )


def test_numbers_are_not_second_text_encoders() -> None:
    """Where a pipeline has two of them, `prompt_2` alone is its setting; among others it isn't."""
    kinds = {**CAPABILITIES.settings, "prompt_2": str}
    both = dataclasses.replace(TINY, capabilities=dataclasses.replace(CAPABILITIES, settings=kinds))

    def shown(text: str) -> object:
        with pytest.raises(PromptError) as caught:
            parsing.parse("a.txt", text.encode(), (), {"tiny": both}, "tiny", int)
        (document,) = strict_yaml.load_all(caught.value.mistakes[0].example)
        return strict_yaml.plain(document)

    assert {**BALL, "prompt_2": "round"} == shown("a red ball\nprompt_2: round")
    numbered = "prompt_1: a red ball\nprompt_2: a blue boat"
    assert {"prompts": [BALL, BOAT]} == shown(numbered)
    assert {"prompts": [BALL, BOAT]} == shown(numbered.replace("prompt_1", "Prompt 1"))


@pytest.mark.parametrize(
    "line",
    [
        *("scene_1: 5", "shot_3: 4.5", "take_2: [1, 2]", "frame_1: 0", "the_end: true"),
        *("shots_1: 5", "no_1: 5", "version_2: 3.5", "container_12: 5", "window_2: true"),
        *("No: 5", "no: 5", "Mask: 5", "Window: 5", "Count: 5", "MASK：5", "Scenes: 3", "Shots: 3"),
        *("Model: 8", "First frame: 1", "Title: 1984", "Dimensions: 3", "Lora: 7", "Time: 5"),
        *("Length: 81", "scale: 7.5", "hight: 64", "Widh: 512", "widrh: 512", "Steep: 5"),
    ],
)
def test_a_name_that_no_setting_has(line: str) -> None:
    """May be what its author wants to see; a note says what else may have been meant."""
    [found, _] = parse(f"{line}\na boat", "a.txt").prompts
    assert (line, ("this is rendered as a prompt: a setting would have to be in a YAML file",)) == (
        found.prompt,
        found.notes,
    )


@pytest.mark.parametrize(
    "line",
    [
        "model: a woman in red",
        "model: hello",
        "format: a square",
        "image: of a boat",
        "scene_one: [a dog runs in the rain]",
        "title_card: [THE END]",
        "scene_1: a dog",
        "scene 1: 5",
        "shot 3: a dog runs",
        "note: a dog",
        "note: 5",
        "time: 5",
        "Time: 5",
        "time: 12:30",
        "4:3",
        "16:9",
        "16:9 film of a dog",
        "ratio: 16:9",
        "aspect_ratio: 16:9",
        "scale: 1:100",
        "countdown: 3, 2, 1",
        "score: 3-2",
        "weight: 5",
        "eight: 5",
        "steep: 5",
        "steppes: 5",
        "framers: 5",
        "seeded: 5",
        "sum_frames: 5",
        "narrative_prompt: a dog",
        "creative_prompt: a dog",
        "prompter: a dog",
        "Negative 2: a dog",
        "temperature: 30",
        "year: 1990",
        "Room 5: a desk",
        "kitchen: 2 people",
        "5: a dog",
        "Szene 3: ein Hund",
        "Szene_1: ein Hund",
        "Uhrzeit: 12:30",
        "Jahr: 1990",
        "Temperatur: -5",
        "场景1：一只狗",
        "场景1：5",
        "时间：5",
        "第3镜：大鹏飞",
        *("高度：两米的雪人", "步数：越走越远", "种子：一粒种子发芽", "模型：5", "高：5楼的窗"),
        *(
            "Negative promise: a ring breaks",
            "Prompted: a dog",
            "Sede: 3",
            "Steeps: 5",
            "Flames: 5",
        ),
        *("Stops: 5", "With: 5", "Nº: 5", "Fenster: 5", "Anzahl: 5", "Maske: 5", "Bild: 3"),
        *("Escena: 4", "Scène: 4", "Nombre: 3", "Кадр: 5", "シーン：3", "장면: 3", "Szene: 3"),
        *("No: he shakes his head", "Mask: a face of clay", "Window: 5 birds", "Count: Dracula"),
    ],
)
def test_what_only_begins_like_a_setting_is_filmed(line: str) -> None:
    """As a text."""
    assert [line, "a boat"] == [
        prompt.prompt for prompt in parse(f"{line}\na boat", "a.txt").prompts
    ]
