"""prompts: files for other tools are refused, with the YAML that says the same."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from harness.prompt_files import mistake, mistakes, parse, texts
from reeldrop.base import strict_yaml, yaml_text
from reeldrop.base.errors import PromptError

OPTIONS = "options of a command line"
A1111 = "is of A1111"
KEYS = "`key: value`"

Shown = list[dict[str, object]]


@dataclass(frozen=True)
class Case:
    """A text file of another tool: a part of the first problem, and the prompts of the example."""

    what: str
    text: str
    problem: str
    shown: Shown | None = None


BALL: dict[str, object] = {"prompt": "a red ball"}
BALL_AND_BOAT: Shown = [BALL, {"prompt": "a blue boat"}]

WAN_IN_COMFY_UI = """{
  "3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20, "cfg": 6.0,
    "positive": ["50", 0], "negative": ["50", 1], "sampler_name": "uni_pc"}},
  "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red ball", "clip": ["38", 0]}},
  "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["38", 0]}},
  "28": {"class_type": "SaveAnimatedWEBP", "inputs": {"fps": 16, "images": ["8", 0]}},
  "50": {"class_type": "WanImageToVideo", "inputs": {"width": 128, "height": 64, "length": 33,
    "batch_size": 1, "positive": ["6", 0], "negative": ["7", 0]}}
}"""

CASES = [
    Case(
        "A1111's prompts from file",
        '--prompt "a red ball" --negative_prompt "blurry, dark" --steps 12 --cfg_scale 3.5 '
        '--seed 7 --width 128 --height 64 --sampler_name "Euler a"',
        OPTIONS,
        [
            {
                "prompt": "a red ball",
                "negative_prompt": "blurry, dark",
                "height": 64,
                "width": 128,
                "num_inference_steps": 12,
                "guidance_scale": 3.5,
                "seed": 7,
            }
        ],
    ),
    Case(
        "sd-scripts' and musubi-tuner's lines",
        "a red ball --w 128 --h 64 --f 25 --d 5 --s 12 --l 3 --n blurry",
        OPTIONS,
        [
            {
                "prompt": "a red ball",
                "negative_prompt": "blurry",
                "height": 64,
                "width": 128,
                "num_frames": 25,
                "num_inference_steps": 12,
                "guidance_scale": 3,
                "seed": 5,
            }
        ],
    ),
    Case(
        "Midjourney's parameters",
        "a red ball --ar 16:9 --s 750 --v 6 --no text, people",
        OPTIONS,
        [{"prompt": "a red ball", "negative_prompt": "text, people"}],
    ),
    Case(
        "InvokeAI's switches",
        '"a red ball" -s12 -S 123 -W128 -H64 -C7.5 -A k_lms',
        OPTIONS,
        [
            {
                "prompt": "a red ball",
                "height": 64,
                "width": 128,
                "num_inference_steps": 12,
                "guidance_scale": 7.5,
                "seed": 123,
            }
        ],
    ),
    Case(
        "a command of Wan's repository",
        'python generate.py --task t2v-1.3B --size 832*480 --ckpt_dir ./W --prompt "a red ball"',
        OPTIONS,
        [{"prompt": "a red ball", "height": 480, "width": 832}],
    ),
    Case(
        "options from a phone, with its own dashes and quotes",
        "—prompt “a red ball” —steps 12",
        OPTIONS,
        [{"prompt": "a red ball", "num_inference_steps": 12}],
    ),
    Case(
        "A1111's text below a picture, twice",
        "a red ball\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, "
        "Seed: 12, Size: 128x64, Model hash: abc\n\na blue boat\nSteps: 9, Sampler: DPM++ 2M",
        A1111,
        [
            {
                "prompt": "a red ball",
                "negative_prompt": "blurry",
                "height": 64,
                "width": 128,
                "num_inference_steps": 20,
                "guidance_scale": 7,
                "seed": 12,
            },
            {"prompt": "a blue boat", "num_inference_steps": 9},
        ],
    ),
    Case(
        "the same in one line",
        "a red ball Negative prompt: blurry Steps: 20, Sampler: Euler a, Seed: 12",
        A1111,
        [
            {
                "prompt": "a red ball",
                "negative_prompt": "blurry",
                "num_inference_steps": 20,
                "seed": 12,
            }
        ],
    ),
    Case(
        "JSON lines",
        '{"prompt": "a red ball", "steps": 12}\n{"prompt": "a blue boat"}',
        "is JSON",
        [{"prompt": "a red ball", "num_inference_steps": 12}, {"prompt": "a blue boat"}],
    ),
    Case(
        "JSON on several lines, with a seed that means any",
        '{\n  "prompt": "a red ball",\n  "steps": 12,\n  "seed": -1\n}',
        "is JSON",
        [{"prompt": "a red ball", "num_inference_steps": 12}],
    ),
    Case("a list of JSON", '["a red ball", "a blue boat"]', "is JSON", BALL_AND_BOAT),
    Case(
        "SwarmUI's and Wan2GP's settings",
        '{"prompt": "a red ball", "video_length": 25, "resolution": "128x64", "loras": []}',
        "is JSON",
        [{"prompt": "a red ball", "height": 64, "width": 128, "num_frames": 25}],
    ),
    Case(
        "a graph of ComfyUI",
        '{"3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20, "cfg": 8.0, '
        '"positive": ["6", 0], "negative": ["7", 0]}}, "6": {"class_type": "CLIPTextEncode", '
        '"inputs": {"text": "a red ball"}}, "7": {"class_type": "CLIPTextEncode", '
        '"inputs": {"text": "blurry"}}}',
        "is JSON",
        [
            {
                "prompt": "a red ball",
                "negative_prompt": "blurry",
                "num_inference_steps": 20,
                "guidance_scale": 8,
                "seed": 5,
            }
        ],
    ),
    Case(
        "a graph of ComfyUI for a video, whose texts go through another node",
        WAN_IN_COMFY_UI,
        "is JSON",
        [
            {
                "prompt": "a red ball",
                "negative_prompt": "blurry",
                "height": 64,
                "width": 128,
                "num_frames": 33,
                "num_inference_steps": 20,
                "guidance_scale": 6,
                "seed": 5,
                "fps": 16,
            }
        ],
    ),
    Case(
        "Deforum's keyframes", '"0": "a red ball",\n"30": "a blue boat"', "keyframe", BALL_AND_BOAT
    ),
    Case(
        "keyframes of Deforum and of AnimateDiff's prompt travel in JSON",
        '{"steps": 12, "prompt_map": {"0": "a red ball", "32": "a blue boat"}}',
        "is JSON",
        [{**one, "num_inference_steps": 12} for one in BALL_AND_BOAT],
    ),
    Case("keyframes with pipes", "0: a red ball | 32: a blue boat", "a schedule of keyframes"),
    Case("keyframes of Python", "{0: 'a red ball', 32: 'a blue boat'}", "a schedule of keyframes"),
    Case(
        "Pika's parameters",
        "/create prompt: a red ball -ar 16:9 -motion 3 -gs 12 -neg blurry, dark",
        OPTIONS,
        [{**BALL, "negative_prompt": "blurry, dark", "guidance_scale": 12}],
    ),
    Case("Midjourney's command", "/imagine prompt: a red ball --v 6", OPTIONS, [BALL]),
    Case(
        "prompts of ComfyUI's Inspire pack",
        "positive: a red ball\nnegative: blurry\n----\npositive: a blue boat\n",
        KEYS,
        [{**BALL, "negative_prompt": "blurry"}, {"prompt": "a blue boat"}],
    ),
    Case("prompts of SwarmUI's grid", "a red ball ||\na blue boat ||", "SwarmUI", BALL_AND_BOAT),
    Case(
        "Parseq's lines",
        "a red ball --neg blurry",
        OPTIONS,
        [{**BALL, "negative_prompt": "blurry"}],
    ),
    Case("a macro among settings", '! {Thing}="cat"\na {Thing}\n----', "macro of Wan2GP"),
    Case(
        "a table with a head",
        'name,prompt,negative_prompt\nBall,a red ball,\nBoat,"a boat, blue",dark',
        "a table (CSV)",
        [BALL, {"prompt": "a boat, blue", "negative_prompt": "dark"}],
    ),
    Case("a table from a sheet", "prompt\tseed\na red ball\t3", "a table", [{**BALL, "seed": 3}]),
    Case(
        "a table with semicolons",
        "Prompt;Steps\na red ball;12",
        "a table",
        [{**BALL, "num_inference_steps": 12}],
    ),
    Case(
        "settings with equals signs",
        "prompt=a red ball\nsteps=12\nseed = 5",
        KEYS,
        [{"prompt": "a red ball", "num_inference_steps": 12, "seed": 5}],
    ),
    Case(
        "an answer of a chat",
        "**Prompt 1:** a red ball\n**Prompt 2:** a blue boat",
        KEYS,
        BALL_AND_BOAT,
    ),
    Case("a label before the text", "Prompt: a red ball", KEYS, [BALL]),
    Case("a full-width colon", "prompt：a red ball\nseed：5", KEYS, [{**BALL, "seed": 5}]),
    Case(
        "Chinese names of settings",
        "提示词：红球\n反向提示词：雾\n步数：12\n随机种子：5\n"
        "【提示词 2】：蓝船，负面提示词：雨\n时长：5",
        KEYS,
        [
            {"prompt": "红球", "negative_prompt": "雾", "num_inference_steps": 12, "seed": 5},
            {"prompt": "蓝船", "negative_prompt": "雨"},
        ],
    ),
    Case(
        "a table with Chinese names and translations",
        "提示词\t英文\ttranslation\t种子\n红球\t\ta red ball\t5",
        "a table",
        [{"prompt": "红球", "translated_prompt": "a red ball", "seed": 5}],
    ),
    Case(
        "translations below prompts",
        "红球\nprompt_en: a red ball\nnegative_prompt: 雾\nnegative_prompt_en: fog",
        KEYS,
        [
            {
                "prompt": "红球",
                "translated_prompt": "a red ball",
                "negative_prompt": "雾",
                "translated_negative_prompt": "fog",
            }
        ],
    ),
    Case(
        "labels of both texts in a line",
        "Prompt: a red ball. Negative prompt: blurry",
        A1111,
        [{**BALL, "negative_prompt": "blurry"}],
    ),
    Case(
        "headings of an answer of a chat",
        "**Prompt 1:**\na red ball\n**Negative prompt:** blurry\n**Prompt 2:**\na blue boat\n"
        "**Negative prompt:**\nfog\n**Technical parameters:**\n- Steps: 20\n",
        KEYS,
        [
            {"prompt": "a red ball", "negative_prompt": "blurry"},
            {"prompt": "a blue boat", "negative_prompt": "fog", "num_inference_steps": 20},
        ],
    ),
    Case(
        "headings around a list",
        "Prompts:\n- a red ball\n- a blue boat\nSettings:\nSteps: 20",
        "a heading",
        [{"prompt": "a red ball"}, {"prompt": "a blue boat", "num_inference_steps": 20}],
    ),
    Case(
        "settings below a heading, as in YAML",
        "prompt: a red ball\nsettings:\n  steps: 20\n",
        KEYS,
        [{**BALL, "num_inference_steps": 20}],
    ),
    Case(
        "Chinese headings",
        "红球\n参数：\n步数：20",
        KEYS,
        [{"prompt": "红球", "num_inference_steps": 20}],
    ),
    Case(
        "a prompt that ends like a heading",
        "a room with vintage settings\n- dinner table settings\nNegative prompt: fog",
        A1111,
        [
            {"prompt": "a room with vintage settings"},
            {"prompt": "- dinner table settings", "negative_prompt": "fog"},
        ],
    ),
    Case(
        "headings without marks",
        "a red ball\nVideo settings\nsteps: 20",
        KEYS,
        [{**BALL, "num_inference_steps": 20}],
    ),
    Case(
        "translations alone",
        "English prompt: a red ball\nseed: 5\nEnglish prompt: a blue boat",
        KEYS,
        [{**BALL, "seed": 5}, {"prompt": "a blue boat"}],
    ),
    Case(
        "Markdown in bold",
        "a red ball\n**Negative prompt:** fog",
        A1111,
        [{**BALL, "negative_prompt": "fog"}],
    ),
    Case(
        "a prompt with a colon at its end",
        "A sign that says:\nNegative prompt: fog",
        A1111,
        [{"prompt": "A sign that says:", "negative_prompt": "fog"}],
    ),
    Case("a list of mappings", "- prompt: a red ball\n  seed: 5", KEYS, [{**BALL, "seed": 5}]),
    Case(
        "a list in code",
        "prompts = [\n  'a red ball',\n  'a blue boat',\n]",
        "a list in code",
        BALL_AND_BOAT,
    ),
    Case("a setting alone", "Size: 512x512", KEYS),
    Case("a model's file", "model: sd_xl_base_1.0.safetensors", KEYS),
    Case("a sampler alone", "Sampler: Euler a", KEYS),
    Case("a sampler of ComfyUI", "sampler_name: dpmpp_2m_sde_gpu", KEYS),
    Case("a sampler with a plus", "- sampler = DPM++ 2M SDE Karras", KEYS),
    Case("a scheduler of diffusers", "scheduler: FlowMatchEulerDiscreteScheduler", KEYS),
    Case("a scheduler of ComfyUI", "Scheduler: sgm_uniform", KEYS),
    Case(
        "a model's name beside another setting",
        "a red ball\nmodel: sd_15\nsteps: 12",
        KEYS,
        [{**BALL, "num_inference_steps": 12}],
    ),
    Case("Pika's motion, as an option", "a red ball --motion 3", OPTIONS, [BALL]),
    Case(
        "A1111's settings without a sampler",
        "a red ball Steps: 20, Seed: 5",
        A1111,
        [{**BALL, "num_inference_steps": 20, "seed": 5}],
    ),
    Case("comments of other languages", "// first\na red ball", "comment of another language"),
    Case("lines between prompts", "a red ball\n---\na blue boat", "a separator"),
    Case("front matter", "---\ntitle: shots\n---\na red ball", "a separator"),
    Case("a fence of Markdown", "```text\na red ball\n```", "Markdown"),
    Case("addresses for yt-dlp", "https://example.org/watch?v=1", "an address"),
    Case("a path of Windows", "C:\\Users\\me\\Videos\\ball.mp4", "a path"),
    Case("a path with spaces", '"D:\\My videos\\a red ball.mp4"', "a path"),
    Case("a path without an ending", "C:\\Users\\me", "a path"),
    Case("a share of Windows", "\\\\server\\films", "a path"),
    Case("a path", "~/videos/ball.mp4", "a path"),
    Case("a list for ffmpeg's concat", "file 'a.mp4'\nfile 'b.mp4'", "ffmpeg"),
    Case(
        "subtitles",
        "1\n00:00:01,000 --> 00:00:03,000\nA red ball\n\n2\n00:00:03,000 --> 00:00:05,000\n"
        "a blue\nboat",
        "subtitles",
        [{"prompt": "A red ball"}, {"prompt": "a blue boat"}],
    ),
    Case(
        "a sheet in two languages",
        "id,Prompt (EN),Prompt (ZH),Seed\n1,a red ball,红球,5",
        "a table",
        [{"prompt": "红球", "translated_prompt": "a red ball", "seed": 5}],
    ),
    Case("a list of shots", "Scene\tDescription\tDuration\n1\ta red ball\t5s", "a table", [BALL]),
    Case("the last text in code", '"a red ball",\n"a blue boat"', "a text in code", BALL_AND_BOAT),
    Case(
        "options below several prompts",
        "a red ball\na blue boat\n--neg blurry",
        OPTIONS,
        [BALL, {"prompt": "a blue boat", "negative_prompt": "blurry"}],
    ),
    Case("numbers with units", "a red ball\nduration: 5s\n帧数：9帧", KEYS, [BALL]),
    Case("a heading without marks", "Prompts\na red ball\na blue boat", "a heading", BALL_AND_BOAT),
    Case(
        "headings above each text",
        "提示词\na red ball\n\nNegative Prompt\nblurry",
        "a heading",
        [{**BALL, "negative_prompt": "blurry"}],
    ),
    Case("a single heading of a chat", "Here are two prompts:\na red ball", "what a chat says"),
    Case("a heading of a Chinese chat", "以下是三个提示词：\na red ball", "what a chat says"),
    Case("a chat's last words", "a red ball\nLet me know if you'd like more!", "what a chat says"),
    Case("a copied chat", "You said:\na red ball\nChatGPT said:\na boat", "what a chat says"),
    Case("a mail", "a red ball\n\nSent from my iPhone", "mail"),
    Case(
        "messages",
        "[10:32, 24/11/2026] Ann: a red ball\n24.11.26, 10:33 - Ann: a blue boat",
        "a message",
        BALL_AND_BOAT,
    ),
    Case("titles", "**1. Red**\na red ball\n\n2. **Blue**\na blue boat", "a title in bold"),
    Case("numbers between texts", "1\na red ball\n2\na blue boat", "a number alone"),
    Case("times between texts", "0:00\na red ball\n0:05\na blue boat", "a time alone"),
    Case("song texts", "[00:01.00]a red ball\n[00:05.00] a blue boat", "a time", BALL_AND_BOAT),
    Case("frames", "{0}{25}a red ball\n{50}{75}a blue boat", "a time", BALL_AND_BOAT),
    Case("timecodes", "00:00:01:00 a red ball\n00:00:05:12 a blue boat", "a time", BALL_AND_BOAT),
    Case("ASS", "[Script Info]\nTitle: a red ball", "the head of subtitles"),
    Case(
        "markup and names of subtitles",
        "WEBVTT\n\n00:01.000 --> 00:04.000\na <i>red</i>\nball\n\nsecond\n"
        "00:05.000 --> 00:08.000\n<v Ann>a blue boat",
        "subtitles",
        BALL_AND_BOAT,
    ),
    Case(
        "a negative prompt of several lines",
        "a red ball\nNegative prompt: mud,\nfog\nSteps: 20, Seed: 7, CFG scale: 5",
        "A1111",
        [
            {
                **BALL,
                "negative_prompt": "mud, fog",
                "num_inference_steps": 20,
                "guidance_scale": 5,
                "seed": 7,
            }
        ],
    ),
    Case(
        "settings of their own below a negative prompt",
        "a red ball\nNegative prompt: mud\na blue boat\nSteps: 20",
        "A1111",
        [
            {**BALL, "negative_prompt": "mud"},
            {"prompt": "a blue boat", "num_inference_steps": 20},
        ],
    ),
    Case(
        "titles below what a chat says",
        "Sure! Here are two prompts:\n**Red**\na red ball\n**Blue**\na boat\n"
        "Would you like me to make more variations?",
        "what a chat says",
    ),
    Case(
        "a separator of Excel", "sep=;\nPrompt;Seed\na red ball;7", "a table", [{**BALL, "seed": 7}]
    ),
    Case("numbers of rows", "No\tDescription\n1\ta red ball", "a table", [BALL]),
    Case("CSV", "id,description\n1,a red ball\n2,a blue boat", "a table", BALL_AND_BOAT),
    Case("names of files", "a red ball\nball.mp4", "the name of a file"),
    Case("an address without a scheme", "a red ball\nwww.example.org/a", "an address"),
    Case("a short separator", "a red ball\n--\na blue boat", "a separator"),
    Case(
        "entries of a list with dashes in them",
        "- a red - ball\n- a boat\nseed: 7",
        KEYS,
        [{"prompt": "a red - ball"}, {"prompt": "a boat", "seed": 7}],
    ),
    Case("a playlist", "#EXTM3U\n#EXTINF:3,a\na.mp4", "playlist"),
]


def test_lines_of_other_tools() -> None:
    """Each file is refused by its kind, with a valid prompt file that says the same."""
    wrong = {}
    for case in CASES:
        found = mistakes(case.text, "shots.txt")
        shown: Shown | None = None
        for example in (one.example for one in found if one.example):
            (document,) = strict_yaml.load_all(example)
            values = strict_yaml.plain(document)
            shown = values.get("prompts", [values])
        if case.problem not in found[0].problem or shown != case.shown:
            wrong[case.what] = (found[0].problem, shown)
        if not all(m.remedy and m.line for m in found) or sum(bool(m.example) for m in found) > 1:
            wrong[case.what] = (str(found), None)
    assert {} == wrong


@pytest.mark.parametrize(
    ("text", "problem", "remedy", "prompts"),
    [
        (
            WAN_IN_COMFY_UI,
            "this is a workflow of ComfyUI",
            "write this in its place, without sampler_name, which reeldrop does not have:",
            ["a red ball"],
        ),
        (
            '{"nodes": [{"id": 6, "widgets_values": ["a red ball"]}], "links": [[1, 2]]}',
            "this is a workflow of ComfyUI",
            "write its prompt as `prompt: ...`, and its settings below that",
            [],
        ),
        (
            '{"prompt": "a red ball", "steps": 12}\n\n{"prompt": "a blue boat", "tea": 1}\n',
            'each line is JSON of its own, and YAML ends before \'{"prompt": "a blue boat',
            "write this in its place, without tea, which reeldrop does not have:",
            ["a red ball", "a blue boat"],
        ),
        (
            '{"prompt": "a red ball", "seed": [1, 2]}\n{"prompt": "a blue boat"}',
            "each line is JSON of its own",
            "put a line with `---` between the lines",
            [],
        ),
    ],
)
def test_json_of_other_tools_in_a_yaml_file(
    text: str, problem: str, remedy: str, prompts: list[str]
) -> None:
    """JSON is YAML, but this is no prompt file: the report says what it is, and shows one."""
    found = mistake(text, "a.yaml")
    assert found.problem.startswith(problem)
    assert remedy == found.remedy
    assert found.line
    shown = [one.prompt for one in parse(found.example, "a.yaml").prompts] if prompts else []
    assert prompts == shown
    assert bool(prompts) == bool(found.example)


def test_what_looks_a_little_like_json_of_other_tools() -> None:
    """Documents of JSON are our own form, and nodes and links may be misplaced settings."""
    assert ["a", "b"] == texts('{"prompt": "a"}\n---\n{"prompt": "b"}', "a.yaml")
    assert "ComfyUI" not in mistakes("prompt: a\nnodes: [1]", "a.yaml")[0].problem
    assert "no YAML" not in mistakes('{"prompt": "a"}\n{"prompt": b', "a.yaml")[0].problem


def test_a_macro_is_shown_as_the_prompts_that_it_stands_for() -> None:
    """The lists go on together, and hold until the next macro."""
    found = mistake(
        '! {Thing}="cat","dog" : {Place}="sea"\na {Thing} runs to the {Place}\nthe {Place}\n'
        '! {Thing}="owl"\nan {Thing}, {Place}',
        "a.txt",
    )
    assert "is a macro of Wan2GP" in found.problem
    assert "in a.yaml:" in found.remedy
    shown = ["a cat runs to the sea", "a dog runs to the sea", "the sea", "an owl, {Place}"]
    assert shown == texts(found.example, "b.yaml")


def test_a_macro_of_many_prompts_is_shown_in_part() -> None:
    """What is shown is bounded, whatever the lists and lines are."""
    many = ",".join(f'"{n}"' for n in range(300))
    found = mistake(f"! {{N}}={many}\n" + "a {N}\n" * 900, "a.txt")
    assert 50 == found.example.count("- a ")
    assert found.example.endswith("# and so on\n")


def test_a_table_with_a_cell_beyond_any_prompt() -> None:
    """A table is recognised also if a cell is too long for a prompt."""
    assert "CSV" in mistake(f"prompt,seed\na red ball,1\n{'x' * 200_000},2\n", "a.txt").problem


def test_what_has_no_counterpart_is_named() -> None:
    """The remedy names the settings that the example leaves out, and the file to write."""
    found = mistake("a red ball --steps 12 --tiling 1 --ar 16:9", "shots.txt")
    assert "in shots.yaml, without tiling, ar," in found.remedy
    assert "steps" not in found.remedy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 7\na red ball", {**BALL, "seed": 7}),
        ("seed=7\na red ball", {**BALL, "seed": 7}),
        ("--seed 7\na red ball", {**BALL, "seed": 7}),
        ('{"seed": 7}\na red ball', {**BALL, "seed": 7}),
        (
            "steps: 20\ncfg: 7\na red ball",
            {**BALL, "num_inference_steps": 20, "guidance_scale": 7},
        ),
        ("seed: 7\na red ball\nseed: 8", {**BALL, "seed": 8}),
        (
            "seed: 7\nnum_frames: 12\na red ball\na blue boat",
            {"prompts": BALL_AND_BOAT, "num_frames": 12, "seed": 7},
        ),
        (
            "seed: 7\na red ball\na blue boat\nseed: 8",
            {"prompts": [BALL, {"prompt": "a blue boat", "seed": 8}], "seed": 7},
        ),
        (
            "seed: 7\na red ball\nseed: 8\na blue boat",
            {"prompts": [{**BALL, "seed": 7}, {"prompt": "a blue boat", "seed": 8}]},
        ),
        ("Negative prompt: dark\na red ball", {**BALL, "negative_prompt": "dark"}),
    ],
)
def test_settings_above_the_prompts_are_kept(text: str, expected: dict[str, object]) -> None:
    """Settings at the top are those of all prompts, or of the next if each has its own."""
    (example,) = (found.example for found in mistakes(text, "a.txt") if found.example)
    assert expected == strict_yaml.plain(strict_yaml.load_all(example)[0])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('[prompt]\ntext = "a red ball"\nseed = 7', [{**BALL, "seed": 7}]),
        ('seed = 7\n[[shots]]\nprompt = "a red ball"', [{**BALL, "seed": 7}]),
        ('prompts = [\n  "a red ball",\n  "a blue boat",\n]\n', BALL_AND_BOAT),
        ('[video]\nseed = 7\n[prompt]\ntext = "a red ball"', [{**BALL, "seed": 7}]),
        ('{"seed": 7, "prompts": ["a red ball"]}', [{**BALL, "seed": 7}]),
    ],
)
def test_a_whole_file_of_another_kind_keeps_its_settings(text: str, shown: Shown) -> None:
    """TOML is read as such, not line by line; settings beside the prompts are kept."""
    found = mistake(text, "a.txt")
    assert "this file is TOML" in found.problem or text.startswith("{")
    values = strict_yaml.plain(strict_yaml.load_all(found.example)[0])
    assert isinstance(values, dict)
    assert shown == values.get("prompts", [values])


def test_settings_above_the_prompts_without_a_counterpart_are_named() -> None:
    """What the YAML leaves out is said, wherever it stood."""
    assert "without clip_skip," in mistake("clip_skip: 2\na red ball", "a.txt").remedy
    keyframes = mistake('{"0": "a red ball", "32": "a blue boat"}', "a.txt")
    assert "without" not in keyframes.remedy


def test_only_so_much_of_a_file_is_looked_at() -> None:
    """Lines and options above the limits cost no time."""
    assert "options" in mistake("a\n" * 999 + "a --steps 5", "a.txt").problem
    assert "options" not in mistake("a\n" * 1000 + "a --steps 5", "a.txt").problem
    assert "options" in mistake(f"a{' --x' * 29} --steps 5", "a.txt").problem
    assert [f"a{' --x' * 30} --steps 5"] == texts(f"a{' --x' * 30} --steps 5")


def test_a_long_file_of_another_tool_is_shown_in_part() -> None:
    """The example is short, and says that there is more."""
    found = mistake("\n".join(f"--prompt p{n}" for n in range(500)), "a.txt")
    assert found.example.endswith("# and so on\n")
    assert 10 == found.example.count("prompt:")


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("night shots.yaml.txt", "prompts:\n- a\nseed: 3", "rename it to night shots.yaml, or"),
        ("x.YML.TXT", "a red ball", "rename it to x.yaml, or, if each line is a prompt, to x.TXT"),
        ("x.json.txt", "{}", "rename it to x.yaml, or"),
        ("x.txt", "prompt: a ball\nseed: 3", "rename it to x.yaml"),
        ("x.txt", "# shots\n\nprompts:\n  - a ball\n  - prompt: b\n    num_frames: 9", "to x.yaml"),
        ("x.txt", '{"prompt": "a ball", "seed": 3}', "rename it to x.yaml"),
        ("x.txt", "prompt: a\n---\nprompt: b", "rename it to x.yaml"),
    ],
)
def test_yaml_with_the_ending_of_a_text(name: str, text: str, remedy: str) -> None:
    """Windows hides endings: YAML in a .txt file is refused, not rendered."""
    assert remedy in mistake(text, name).remedy


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{\\rtf1\\ansi A red ball}", "rich text"),
        (b"PK\x03\x04\x14\0\0\0", "ZIP"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3", "PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Word"),
        (b"\x89PNG\r\n\x1a\n\0", "picture"),
        (b"<!DOCTYPE html>\n<p>A red ball</p>", "web page"),
        (b"\xef\xbb\xbf<html lang='en'>", "web page"),
        (b"<?xml version='1.0'?>\n<a/>", "XML"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.yaml"])
def test_documents_of_other_kinds(data: bytes, problem: str, name: str) -> None:
    """Documents of word processors, browsers and packers are refused by their kind."""
    found = mistake(data, name)
    assert problem in found.problem
    assert "text" in found.remedy


@pytest.mark.parametrize(
    ("text", "expected", "mark"),
    [
        ("- a ball\n- a boat", ["a ball", "a boat"], "'-'"),
        ("* a ball\n\n* a boat", ["a ball", "a boat"], "'*'"),
        ("1. a ball\n2. a boat", ["a ball", "a boat"], "the number"),
        ("1. a ball\n1. a boat", ["a ball", "a boat"], "the number"),
        ("7) a ball\n8) a boat", ["a ball", "a boat"], "the number"),
        ("(1) a ball\n(2) a boat", ["a ball", "a boat"], "the number"),
        ("•\ta ball\n•\ta boat", ["a ball", "a boat"], "'•'"),
        ("- [ ] a ball\n- [x] a boat", ["a ball", "a boat"], "'- [ ]'"),
        ("- a ball\n  * a boat", ["a ball", "a boat"], "'-'"),
        ("•\ta ball\no\ta boat\n§\ta bird", ["a ball", "a boat", "a bird"], "'•'"),
        ("– a ball\n– a boat", ["a ball", "a boat"], "'–'"),
        ("✔️a ball\n✔️ a boat", ["a ball", "a boat"], "'✔️'"),
        ("> a ball\n> a boat", ["a ball", "a boat"], "'>'"),
        ("1.a ball\n2.a boat", ["a ball", "a boat"], "the number"),
        ("1\ta ball\n2\ta boat", ["a ball", "a boat"], "the number"),
        ("1️⃣ a ball\n2️⃣ a boat", ["a ball", "a boat"], "the number"),
        ("1、一只猫\n2、一只狗", ["一只猫", "一只狗"], "the number"),
        ("（1）一只猫\n（2）一只狗", ["一只猫", "一只狗"], "the number"),  # noqa: RUF001
        ("①一只猫\n②一只狗", ["一只猫", "一只狗"], "the number"),
    ],
)
def test_marks_of_a_pasted_list(text: str, expected: list[str], mark: str) -> None:
    """Marks that all prompts of a file have are left out, and each sidecar says so."""
    file = parse(text, "a.txt")
    assert expected == [prompt.prompt for prompt in file.prompts]
    assert f"{mark} at the beginning is left out" in file.prompts[0].notes[0]


LEGITIMATE = """\
A terminal shows the prompt:
The computer prompts the user
屏幕上显示提示词：
一只猫在看readme.txt
www.example.org网站上的猫
a poster that says www.example.org
Sent from my heart
发自我的内心的微笑
Get outlook for life
Let me know about love.
Would you like some more tea?
If you want more, dance in the rain.
2026-11-24 10:32 - Berlin: a tram
(s)he walks
3、4只猫在玩
○△□
①②③
"An open quote
«IRMû
<a cat>
"""


@pytest.mark.parametrize(
    "text",
    [
        LEGITIMATE,
        *LEGITIMATE.splitlines(),
        "(s)he walks\n(s)he runs",
        "3、4只猫在玩\n4、5只狗在跑",
        "1．5倍速的城市\n2．5倍速的城市",  # noqa: RUF001
        "●●●\n■■■",
        "①→②\n②→③",
        "1\n2\na cat\na dog",
        "zero\n1\none\n2\ntwo",
        "10:10\n12:00\na clock\na watch",
        "yes,no,maybe\nred,green,blue",
        "comic,text,manga\nportrait,oil",
    ],
)
def test_what_only_resembles_what_other_tools_write(text: str) -> None:
    """Each line is rendered as it is, without a note."""
    expected = [(line, ()) for line in text.splitlines()]
    assert expected == [(found.prompt, found.notes) for found in parse(text, "a.txt").prompts]


@pytest.mark.parametrize(
    "text",
    [
        "**A ball**\n**A boat**\na dog\na cat",
        "24. Dezember, Schnee\n24. Dezember, Regen",
        "○ turns into a square\n□ turns into a circle",
    ],
)
def test_what_may_be_more_than_markup_is_filmed(text: str) -> None:
    """Not all of it is markup for certain: each line is rendered as it is, with a note on some."""
    assert text.splitlines() == texts(text)


@pytest.mark.parametrize(
    "text", ["- a ball", "2. Liga", "Shots\n- a ball", "1. a ball\n3. a boat", "1. a\n- b"]
)
def test_what_only_some_lines_begin_with_is_filmed(text: str) -> None:
    """A mark on some lines only is rendered, and the sidecar says so."""
    file = parse(text, "a.txt")
    assert text.split("\n") == [prompt.prompt for prompt in file.prompts]
    assert "is rendered as part of the prompt" in file.prompts[-1].notes[0]


def test_a_remark_needs_a_space() -> None:
    """Tags and numbers are filmed, and a note tells the author how a comment begins."""
    file = parse("# note\n#\n## Monday\n#sunset, a boat\n#1 ball\na #7 ball\n#\tx", "a.txt")
    assert ["#sunset, a boat", "#1 ball", "a #7 ball"] == [p.prompt for p in file.prompts]
    assert ["a comment begins with # and a space" in "".join(p.notes) for p in file.prompts] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("prompt", "what", "example"),
    [
        ("a ball <lora:toy:0.8>, red", "<lora:toy:0.8>", {"prompt": "a ball , red"}),
        ("<hypernet:x:1> a ball", "<hypernet:x:1>", {"prompt": "a ball"}),
        ("<random: a|b>", "<random: a|b>", None),
        (
            "a {red|blue} ball",
            "{red|blue}",
            {"prompt": "a {red|blue} ball", "wildcards": "all"},
        ),
        ("a {0.5::red| blue} b", "{0.5::red| blue}", {"prompts": ["a red b", "a blue b"]}),
    ],
)
@pytest.mark.parametrize("suffix", ["txt", "yaml"])
def test_tags_of_other_tools(
    prompt: str, what: str, example: dict[str, object] | None, suffix: str
) -> None:
    """Additions and choices are refused in every kind of file."""
    text = prompt if suffix == "txt" else yaml_text.dump({"prompt": prompt})
    found = mistake(text, f"a.{suffix}")
    assert what in found.problem
    assert found.remedy
    shown = strict_yaml.load_all(found.example)
    assert example == (strict_yaml.plain(shown[0]) if shown else None)


@pytest.mark.parametrize(
    ("prompt", "note"),
    [
        ("a (red:1.4) ball", "(red:1.4) is text here: reeldrop has no weights"),
        (
            "math on a board {x | x > 0}",
            "{x | x > 0} is text here: in a YAML file, `wildcards:` makes it a choice",
        ),
        ("a __colour__ ball", "__colour__ is text here: reeldrop has no files of wildcards"),
        ("a caf\ufffd", "another program has lost a character"),
        ("a cafÃ©", "there is Ã© in the prompt: another program has misread a letter"),
        ("the boatâ€™s mast", "there is â€ in the prompt: another program has misread a letter"),
        ("a caf&eacute;", "&eacute; is text here: reeldrop has no escapes for characters"),
        ("a <b>red</b> ball", "<b> is text here: reeldrop has no markup"),
        ("a ball<br/>", "<br/> is text here: reeldrop has no markup"),
        ("a ball, as in https://x.org/a", "https://x.org/a is text here: reeldrop has no links"),
        ("'a ball'", "the quotes around the prompt are rendered"),
        ("「一只猫」", "the quotes around the prompt are rendered"),
        ("`a ball`", "the ` around the prompt are rendered"),
        ("_a ball_", "the _ around the prompt are rendered"),
        ("a\tball", "a tab in the prompt"),
        ("A blue\u200b boat", "a zero-width space (U+200B) in the prompt"),
        ("a \u202eboat", "a right-to-left override (U+202E) in the prompt"),
        ("a soft\xadness", "a soft hyphen (U+00AD) in the prompt"),
    ],
)
def test_what_is_doubtful_is_filmed_and_noted(prompt: str, note: str) -> None:
    """A text that an author may mean is rendered, with a note."""
    (found,) = parse(prompt, "a.txt").prompts
    assert prompt == found.prompt
    (noted,) = found.notes
    assert note in noted


HONEST = """\
A man: his dog and the sea
Close-up: a red ball bounces on grass
“Hello,” she says, and the train leaves
"I will be back", he says in the rain
Steps: a staircase that leads to heaven
Seed: a plant wakes in spring
Model: a woman on the runway
Size matters: a mouse and an elephant
Format: a letter is folded
Length is strength
Prompt delivery of a parcel by drone
The prompt: a play in two acts
The film negative of a white horse
A film negative: white horses on black sand
Negative space: an empty room with one chair
a cat -- tired -- sleeps on the sofa
he waits --then runs into the rain
the hero shouts --no!
rock & roll at 50 % off, 100 km/h, @home
(soft light) a ball rolls
[a red ball] in the snow
<3 a heart balloon
a < b > c written on a blackboard
12:30 at night, an empty street
0:00 on the clock of a station
[5] balls | a wall
FIRE AND ICE
Three things on a table:
1:1 scale model of a castle (1:20)
12:30, 13:00, 13:30: the trains leave
1: a man, 2: a woman, 3: a dog
Positive: two people smile
a well-lit room -dark corners -cold
he jumps --steps back --frame by frame
{-|-} signs glow
24 frames of a dancer
Ball #7 rolls past gate # 3
~ waves ~ on the shore
¿Qué? ¡Sí! Una pelota roja
Она сказала: «Привет», и ушла
— Тише! — сказал он
彼は言った：「こんにちは」
大鸟飞过海洋，红色的气球。
빨간 공이 튄다
بالون أحمر فوق البحر
כדור אדום קופץ על הדשא
می‌خواهم پرواز کنم
กบ\u200bสีเขียว\u200bกระโดด
👨‍👩‍👧 walk on the beach 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f
🎈🌊❤️
Über den Wolken, 99 Luftballons…
50mm lens, f/1.8, bokeh, 4K --
e = mc² on a wall, x=5 on the board
A robot types "rm -rf /" on a keyboard
C: drive icon glows
http is written on a neon sign
A house on a 3/4 view, w/ trees, A/B test
Time lapse: 3 flowers
Scene 1: a man enters
Shot 3 - the boat sinks
no
true
1917
...and then it rains
_whisper_ of the wind, **bold** letters
A sign says: "STOP // GO"
A dog; a cat; a bird.
{curly} braces dance
a | b, a wall between
Tom = Jerry? they dance
Ich sage: „Guten Morgen“ – und gehe
l'été à la mer; it's raining cats & dogs
« Bonjour », dit-elle
C++ code on a screen; C# too
50% grey fog
A frame: 24 carat gold
Count Dracula: 3 bats circle him
mum's birthday cake, 5 candles, 4:3 film look
Scheduler: a woman with a calendar
Sampler: a plate of cheese
Sampler: Euler writes on a board
model: BMW_i8
Model: v8
Checkpoint: berlin_wall
A tower of steps: 20, all of stone
steps: 5, 6, 7, 8, a dancer counts
c:\\ drive on a screen glows
\\\\o// a man with raised arms
a slow pan -camera zooms in
a boat -motion 3"""


def test_honest_prompts_are_filmed_as_they_stand() -> None:
    """A text that an author may mean is not refused, changed or noted, alone or with others."""
    lines = HONEST.split("\n")
    assert lines == texts(HONEST)
    wrong = {}
    for line in lines:
        try:
            (prompt,) = parse(f"  {line}\r\n", "a.txt").prompts
        except PromptError as error:
            wrong[line] = str(error)
            continue
        if line != prompt.prompt or prompt.notes:
            wrong[line] = f"{prompt.prompt} {prompt.notes}"
        quoted = parse(yaml_text.dump({"prompt": line})).prompts[0]
        if line != quoted.prompt or quoted.notes:
            wrong[f"{line} in YAML"] = f"{quoted.prompt} {quoted.notes}"
    assert {} == wrong


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff# Monday\r\nA ball\r\n\ufeff# Tuesday\r\n\ufeffA boat\r\n",
        "A ball\r\nA boat\r\n\x1a",
        "A ball\n\u200b\nA boat\u200b\n",
        "\u200f\u202bA ball\u202c\n\u3000A boat\xa0\n\u2060",
        "A ball\u2028\nA boat\x0b\n\x0c",
    ],
)
def test_what_cannot_be_seen_at_the_edges_is_left_out(text: str) -> None:
    """Invisible characters of joined files, DOS, word processors and phones are left out."""
    file = parse(text, "a.txt")
    assert [("A ball", ()), ("A boat", ())] == [(p.prompt, p.notes) for p in file.prompts]


@pytest.mark.parametrize(
    "text",
    [
        "height\xa0: 64\nprompt: a\u200b\nseed:  3\u3000",
        "\u200fprompt: a\n\ufeffheight: 64\n\u200bseed\u200b: 3",
        "height: 64\nprompt: a\n\x1a",
        "height: 64\nprompt: a\n# x\n\ufeff---\n",
    ],
)
def test_what_cannot_be_seen_around_keys_and_values_is_left_out(text: str) -> None:
    """A no-break space after a key or a number changes neither."""
    (prompt,) = parse(text).prompts
    assert ("a", 64) == (prompt.prompt, prompt.argument("height"))


@pytest.mark.parametrize("text", ["\u200b\n\ufeff", "prompt: '\u200b'", "prompt: \u200b", "\u2800"])
def test_a_prompt_that_cannot_be_seen_is_none(text: str) -> None:
    """A prompt of invisible characters is refused in every kind of file."""
    for name in ("a.txt", "a.yaml"):
        if ":" in text and name == "a.txt":
            continue
        assert mistakes(text, name)[0].remedy


def test_a_key_is_not_there_twice_because_one_has_a_space_more() -> None:
    """Keys that differ only in spaces are duplicates."""
    found = mistake("prompt: a\nseed: 3\nseed\xa0: 4")
    assert (3, "it is also in line 2; remove one of them") == (found.line, found.remedy)


def test_the_yaml_for_a_choice_has_every_prompt_of_the_file() -> None:
    """Only prompts whose braces are a choice are written anew; the braces of others are text."""
    text = "a red ball\na {red|blue} ball\n{x | x > 0}\na {1|2} <lora:toy:1>\n<lora:toy:1>, a boat"
    found = mistakes(text, "a.txt")
    (example,) = (one.example for one in found if one.example)
    (document,) = strict_yaml.load_all(example)
    assert strict_yaml.plain(document) == {
        "prompts": [
            "a red ball",
            {"prompt": "a {red|blue} ball", "wildcards": "all"},
            "{x | x > 0}",
            "a {1|2}",
            "a boat",
        ]
    }
    assert [2, 4, 5, 2] == [one.line for one in found]
    assert "in the YAML shown, {1|2} is a choice" in found[-1].problem


def test_a_choice_in_a_long_file_is_shown_with_those_above() -> None:
    """The YAML is of many prompts, and says if there are more."""
    found = mistake("\n".join(["a ball"] * 40 + ["a {red|blue} ball"]), "a.txt")
    assert 40 == found.example.count("- a ball\n")
    assert len(parse(found.example).prompts) == 42
    assert mistake("a {b|c}\n" + "a ball\n" * 60, "a.txt").example.endswith("# and so on\n")


def test_what_is_wrong_with_the_yaml_that_is_shown_is_told_with_it() -> None:
    """An A1111 text asks for sizes and LoRAs that are not there: all is told at once."""
    text = "a red ball, <lora:toy:0.8>\nNegative prompt: dark\nSteps: 20, Seed: 7, Size: 500x512"
    found = mistakes(text, "a.txt")
    told = [one.problem for one in found if "in the YAML shown, " in one.problem]
    assert 3 == len(told)
    assert all(name in "".join(told) for name in ("height", "width", "<lora:toy:0.8>"))
    assert all(one.remedy for one in found)
    assert 1 == sum(bool(one.example) for one in found)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("sliding_window_size: 81", "it is set in config.yaml, by the profile"),
        ("sliding_window_overlap: 5", "it is set in config.yaml, by the profile"),
        ("context_length: 16", "it is set in config.yaml, by the profile"),
        ("context_overlap: 4", "it is set in config.yaml, by the profile"),
        ("context_stride: 1", "reeldrop has nothing for this; remove the line"),
        ("num_frames: [5, 9]", "; several to compare go below `matrix:`"),
    ],
)
def test_what_makes_videos_longer_elsewhere(line: str, remedy: str) -> None:
    """Where windows are set is said by the names that other tools have for them."""
    assert mistake(f"prompt: a red ball\n{line}").remedy.endswith(remedy)
