"""What the pages for operators and authors show is right: settings, prompt files and commands.

Each example is read by the parser that will read what somebody copies from it.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import typer
from harness import pages
from harness.prompt_files import CAPABILITIES
from reeldrop.base import strict_yaml, yaml_text
from reeldrop.base.errors import FileError, Mistake
from reeldrop.base.job import CROP, IMAGE_FIT, DefaultsFile
from reeldrop.commands import cli, submit, submitted_pictures
from reeldrop.config import config
from reeldrop.config.profile_keys import Lossy, Profile, Speed
from reeldrop.config.schema import Config
from reeldrop.prompts import parsing
from reeldrop.prompts.rules import ModelRules
from typer.core import TyperGroup
from typer.exceptions import TyperException

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*.*"))
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name != "design.md"),
]
NO_EXAMPLES = ("key: value", "seed: -1", "widht: 512")
"""Pages say of these that prompt files can't have them."""

LORAS = "{watercolor: {path: a.safetensors}, film grain: {path: b.safetensors}}"
BASES = ("ms-1.7b", "wan2.1-1.3b")

_YAML = re.compile(r"(#.*\n)*[a-z_]+:(\s|$)")
_COMMAND = re.compile(r"(?:sudo -u \w+ )?(?:env (?:\w+=\S+ )+)?reeldrop (?P<arguments>\S.*)")
_SETTING = re.compile(r"[a-z_]+: [^`]+")


@cache
def rules() -> dict[str, ModelRules | None]:
    """Return what prompts may ask of ms-1.7b, if it had pictures and the LoRAs of the pages."""
    settings = config.parse(f"models: {{ms-1.7b: {{loras: {LORAS}}}}}", ROOT / "config.yaml")
    capabilities = dataclasses.replace(
        CAPABILITIES,
        settings={**CAPABILITIES.settings, IMAGE_FIT: str},
        defaults={**CAPABILITIES.defaults, IMAGE_FIT: CROP},
        pictures={"image": False, "last_image": False},
        frames_multiple=1,
    )
    own = ModelRules("ms-1.7b", capabilities, **settings.allowed("ms-1.7b"))
    return {"ms-1.7b": own}


def read_prompt_file(name: str, text: str, defaults: str = "") -> int:
    """Read a prompt file as the daemon does, and return how many videos it asks for."""
    above = [DefaultsFile("_defaults.yaml", defaults.encode())] if defaults else []
    found = parsing.parse(name, text.encode(), above, rules(), "ms-1.7b", lambda number: number)
    return len(found.prompts)


def read_config(settings: Mapping[str, Any]) -> None:
    """Read settings as a config.yaml."""
    config.parse(yaml_text.dump(settings), ROOT / "config.yaml")


def read_block(text: str) -> None:
    """Read a block of YAML as what its first key belongs to."""
    found = strict_yaml.plain(strict_yaml.load_all(text)[0])
    first = next(iter(found))
    if "prompt" in found or "prompts" in found:
        read_prompt_file("a.yaml", text)
    elif first in Config.model_fields:
        config.parse(text, ROOT / "config.yaml")
    elif first in Profile.model_fields:
        read_config({"models": {"a": {"base": "wan2.1-1.3b", **found}}})
    else:
        read_prompt_file("a.yaml", "prompt: a fox", defaults=text)


def readings(found: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the config.yaml that a setting may be a part of."""
    yield found
    yield {"ray": {"address": "auto", "interface": "wg0", "token_file": "token", **found}}
    yield {"notify": [{"url": "json://localhost", **found}]}
    for base in BASES:
        yield {"models": {"a": {"base": base, **found}}}
    for part, fields in (("speed", Speed.model_fields), ("lossy", Lossy.model_fields)):
        if found.keys() <= fields.keys():
            yield {"models": {"a": {"base": "ms-1.7b", part: found}}}
    lora = {"path": "a.safetensors", **found}
    yield {"models": {"a": {"base": "ms-1.7b", "loras": {"watercolor": lora}}}}


def read_setting(text: str) -> None:
    """Read a setting as a part of a prompt file or of a config.yaml, whichever it can be."""
    found = strict_yaml.plain(strict_yaml.load_all(text)[0])
    mistakes: list[Mistake] = []
    for shown in ({"prompt": "a fox"}, {"prompt": "a {red|green} fox"}):
        for settings in ({**shown, **found}, {**shown, "matrix": found}):
            try:
                read_prompt_file("a.yaml", yaml_text.dump(settings))
            except FileError as error:
                mistakes += error.mistakes
            else:
                return
    for settings in readings(found):
        try:
            read_config(settings)
        except FileError as error:
            mistakes += error.mistakes
        else:
            return
    raise AssertionError([text, *map(str, mistakes)])


def parse_command(line: str, *, is_whole: bool) -> None:
    """Parse a command's arguments as the command does, and what `submit` is given.

    is_whole: arguments that are required are there
    """
    arguments = shlex.split(line, comments=True)
    group = typer.main.get_command(cli.app)
    assert isinstance(group, TyperGroup)
    if arguments[0].startswith("-"):
        assert any(arguments[0] in parameter.opts for parameter in group.params), line
        return
    name, *rest = arguments
    command = group.get_command(typer.Context(group), name)
    assert command is not None, line
    try:
        parsed = command.make_context(name, rest)
    except typer.BadParameter as error:
        if is_whole or "Missing parameter" not in str(error):
            raise
        return
    if name == "submit" and is_whole:
        given = parsed.params
        text = submit.only_prompt(given["prompt"], parsed.args)
        shown = {key: given[key] for key in ("image", "last_image") if given[key]}
        named = submitted_pictures.names(submit._CHECKED, shown)
        settings = {"prompt": text, **submit.parsed(given["setting"] or []), **named}
        read_prompt_file("a.yaml", yaml_text.dump(settings))


def paragraphs(page: Path) -> list[str]:
    """Return the blocks of a page, cut at empty lines."""
    return [part for block in pages.blocks(page) for part in re.split(r"\n\s*\n", block.text)]


def commands(text: str) -> Iterator[str]:
    """Yield the arguments of each command of reeldrop in a shell script."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
        lexer.whitespace_split = True
        found = _COMMAND.match(line.strip())
        if found is not None:
            words = shlex.split(found["arguments"], comments=True)
            yield shlex.join(words[: words.index("|")] if "|" in words else words)


def spans(page: Path) -> list[str]:
    """Return the code in the text of a page, each on one line."""
    text = re.sub(r"^ {4}.*$", "", page.read_text(), flags=re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def shown(found: list[tuple[Path, str]]) -> pytest.MarkDecorator:
    """Give a test each example, with the name of its page."""
    names = [f"{page.name}: {' '.join(text.split())[:50]}" for page, text in found]
    return pytest.mark.parametrize("text", [text for _, text in found], ids=names)


BLOCKS = [(page, text) for page in PAGES for text in paragraphs(page)]
SPANS = [(page, text) for page in PAGES for text in dict.fromkeys(spans(page))]


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_block, "prompts: [a fox]\nnum_frame: 8\n"),
        (read_block, "num_inference_steps: 10\npriorty: 1\n"),
        (read_block, "translate: {zh: a/b}\nrender_untranslatd: true\n"),
        (read_block, "models:\n  ms-1.7b: {windw: 81}\n"),
        (read_setting, "num_frame: 8"),
        (read_setting, "matrix: {guidance_scal: [1, 2]}"),
        (partial(parse_command, is_whole=True), "submit 'a fox' --sett seed=7"),
        (partial(parse_command, is_whole=True), "submit 'a fox' --set sed=7"),
        (partial(parse_command, is_whole=True), "pull"),
        (partial(parse_command, is_whole=False), "submit --waitt"),
        (partial(parse_command, is_whole=False), "histry"),
    ],
)
def test_wrong_examples_would_be_found(read: Callable[[str], None], text: str) -> None:
    """A wrong key, option or command is refused in each kind of example."""
    with pytest.raises((FileError, AssertionError, TyperException)):
        read(text)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_can_be_rendered(path: Path) -> None:
    """Each file of `examples/`, also those for a GPU."""
    assert read_prompt_file(path.name, path.read_text())


@shown([(page, text) for page, text in BLOCKS if _YAML.match(text)])
def test_blocks_of_yaml_are_right(text: str) -> None:
    """Prompt files, `_defaults.yaml` and config.yaml."""
    read_block(text)


@shown([(page, text) for page, text in BLOCKS if re.match(r"# inbox/.*\.txt\n", text)])
def test_text_files_are_right(text: str) -> None:
    """Each line but the first is a prompt."""
    assert len(text.splitlines()) - 1 == read_prompt_file("a.txt", text)


@shown([(page, text) for page, text in SPANS if _SETTING.fullmatch(text)])
def test_settings_in_the_text_are_right(text: str) -> None:
    """Such as `num_frames: 24`."""
    if text in NO_EXAMPLES:
        with pytest.raises(AssertionError):
            read_setting(text)
    else:
        read_setting(text)


@shown([(page, line) for page, text in BLOCKS for line in commands(text)])
def test_commands_are_right(text: str) -> None:
    """Names, options and arguments; and of `submit`, the prompt and its settings."""
    parse_command(text, is_whole=True)


@shown([(page, line) for page, text in SPANS for line in commands(text)])
def test_commands_in_the_text_are_right(text: str) -> None:
    """A text may leave out what the command needs."""
    parse_command(text, is_whole=False)


def commented_settings() -> list[str]:
    """Return the settings in config.yaml that are commented out, without the text about them."""
    found = re.findall(r"(?:^ *#(?:\S|  ).*\n)+", config.template(), re.MULTILINE)
    return [re.sub(r"^ *#", "", text, flags=re.MULTILINE) for text in found]


@pytest.mark.parametrize("text", commented_settings(), ids=lambda text: text.partition(":")[0])
def test_commented_settings_of_config_yaml_are_right(text: str) -> None:
    """They are right when somebody removes the `#`."""
    read_setting(text)


def test_events_on_the_page_of_operators_are_logged() -> None:
    """With these fields, by the modules that log an event of their row."""
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = page.partition("| `EVENT` |")[2].partition("\n\n")[0].splitlines()[2:]
    modules = [path.read_text() for path in (ROOT / "daemon").rglob("*.py")]
    assert len(rows) >= 10
    for row in rows:
        _, first, _, fields, _ = row.split("|")
        events = re.findall(r"`(\w+)`", first)
        found = {event: [text for text in modules if f'"{event}"' in text] for event in events}
        assert all(found.values()), row
        texts = "".join(text for those in found.values() for text in those)
        named = re.findall(r"`(\w+)`", fields)
        assert [] == [n for n in named if f'"{n}"' not in texts and f"{n}=" not in texts], row
