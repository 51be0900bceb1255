"""Word what is wrong with a prompt file for somebody who has typed it as a command."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace

from reeldrop.base import strict_yaml
from reeldrop.base.errors import Mistake
from reeldrop.base.escaping import shown

_SETTING = re.compile(r"`(?!prompts?:)(?P<key>\w+): (?P<value>[^`]+)`")
_KEY = re.compile(r"`(?!prompts?:)(?P<key>\w+):`")
_MOST = 10
"""Upper bound on the commands that are shown."""


def lines(mistake: Mistake) -> Iterator[str]:
    """Yield a mistake in words, then what would be right; of a file, as it is said of files."""
    if mistake.file:
        yield str(mistake)
        yield from mistake.example_lines
        return
    remedy = in_words(mistake.remedy)
    yield str(replace(mistake, line=None, column=None, key="", remedy=remedy))
    if mistake.example:
        yield from (f"    {shown(command)}" for command in _commands(mistake.example))


def in_words(text: str) -> str:
    """Return a remedy or a note with options of `submit` instead of lines of a YAML file."""
    text = text.replace(", in a YAML file", "").replace("in a YAML file, ", "")
    text = text.replace("the line out", "it out")
    text = _SETTING.sub(lambda m: f"`--set {shlex.quote(m['key'] + '=' + m['value'])}`", text)
    return _KEY.sub(r"`--set \g<key>=...`", text)


def _commands(example: str) -> Iterator[str]:
    """Yield the commands that say the same as an example in YAML."""
    (document,) = strict_yaml.load_all(example)
    found = strict_yaml.plain(document)
    prompts = found.pop("prompts", None) or [found.pop("prompt")]
    for prompt in prompts[:_MOST]:
        own = dict(prompt) if isinstance(prompt, Mapping) else {"prompt": prompt}
        text = own.pop("prompt")
        settings = {**found, **own}.items()
        options = [f"--set {shlex.quote(f'{key}={_value(value)}')}" for key, value in settings]
        yield " ".join(["reeldrop submit", *options, shlex.quote(f"{text}")])


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
