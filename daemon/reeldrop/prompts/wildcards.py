"""Wildcards: a prompt with alternatives in braces, such as `a {red|green} fox`, and its texts.

Pure; knows no files and no settings. Counts before it makes anything, and makes only what is asked
for: twenty braces of ten alternatives are a small template with a large count.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from reeldrop.base.escaping import short

MAX_DEPTH = 10
"""Upper bound on braces within braces."""

MAX_OPTIONS = 1000
"""Upper bound on the alternatives of a prompt, those of all its braces together."""

_TRIES = 4
"""How often a text is drawn for each that is wanted, because some may have been drawn before."""

NOTHING = "-"
"""Stands for an empty alternative where it is named."""

_TOKEN = re.compile(r"\\[{|}\\]|[{|}]|[^{|}\\]+|\\")
_COUNT = re.compile(r"\s*\d*-?\d*\$\$")
_SHARE = re.compile(r"\s*\d*\.?\d+::")
_FILE = re.compile(r"(?<!\w)__[\w/*-]{1,60}__(?!\w)")
_SPACES = re.compile(" {2,}")


class BadTemplate(ValueError):
    """The braces of a prompt can't be read as alternatives.

    Its arguments are what is wrong, and the remedy.
    """


@dataclass(frozen=True, slots=True)
class Text:
    """A text that stands for alternatives that were chosen: one for each of its outer braces."""

    text: str
    chosen: tuple[str, ...]


@dataclass(slots=True)
class Template:
    """Texts and choices in a row. A choice is a list of templates.

    count: the number of combinations; two of them may give the same text
    """

    parts: list[str | list[Template]] = field(default_factory=list)
    count: int = 1

    def add(self, choice: list[Template]) -> None:
        """Add a choice, whose templates are complete."""
        self.parts.append(choice)
        self.count *= sum(option.count for option in choice)

    @property
    def has_choices(self) -> bool:
        """Whether there is anything to choose."""
        return any(isinstance(part, list) for part in self.parts)

    def all(self) -> list[Text]:
        """Return all different texts; the last braces change first."""
        return list({text.text: text for text in map(self._nth, range(self.count))}.values())

    def drawn(self, number: int, seed: str) -> list[Text]:
        """Return up to `number` different texts, in the order drawn.

        The same seed draws the same. If nearly all choices give equal texts, it may find fewer than
        there are.
        """
        drawn: dict[str, Text] = {}
        for index in _indices(seed, self.count, _TRIES * number):
            text = self._nth(index)
            drawn.setdefault(text.text, text)
            if len(drawn) == number:
                break
        return list(drawn.values())

    def _nth(self, index: int) -> Text:
        pieces, chosen = self._pieces(index)
        return Text(_SPACES.sub(" ", "".join(pieces)).strip(), tuple(chosen))

    def _pieces(self, index: int) -> tuple[list[str], list[str]]:
        """Return the pieces of the n-th way to choose, last first, and what was chosen."""
        pieces, chosen = [], []
        for part in reversed(self.parts):
            if isinstance(part, str):
                pieces.append(part)
                continue
            index, rest = divmod(index, sum(option.count for option in part))
            for option in part:
                if rest < option.count:
                    inner = "".join(option._pieces(rest)[0])
                    pieces.append(inner)
                    chosen.append(_SPACES.sub(" ", inner).strip() or NOTHING)
                    break
                rest -= option.count
        return pieces[::-1], chosen[::-1]


def _indices(seed: str, count: int, tries: int) -> Iterator[int]:
    """Yield numbers below a count, each once if there are no more than tries.

    By hashes, because Python's own generators may differ from version to version.
    """

    def hashed(number: int) -> int:
        size = count.bit_length() // 8 + 9  # so many bits that none is likelier than others
        return int.from_bytes(hashlib.shake_256(f"{seed}:{number}".encode()).digest(size), "big")

    if count <= tries:
        yield from sorted(range(count), key=hashed)
    else:
        yield from (hashed(number) % count for number in range(tries))


def read(text: str) -> Template:
    r"""Return the template of a prompt. `\{`, `\}`, `\|` and `\\` are these signs as text.

    Raises:
        BadTemplate: a brace has no partner, or there is what other tools have and reeldrop has not.
    """
    found = _FILE.search(text)
    if found is not None:
        problem = f"{found[0]} is a file of wildcards, and reeldrop has none"
        raise BadTemplate(problem, "write the alternatives in its place: `{red|green}`")
    open_rows = [Template()]  # the row that is read is the last
    choices = list[list[Template]]()  # the braces around it
    if text.count("{") + text.count("|") > MAX_OPTIONS:
        problem = f"the prompt has more than {MAX_OPTIONS:,} alternatives"
        raise BadTemplate(problem, "write fewer, or several prompts")
    for token in _TOKEN.findall(text):
        if token == "{":
            if len(choices) == MAX_DEPTH:
                problem = f"there are more than {MAX_DEPTH} braces within braces"
                raise BadTemplate(problem, "use fewer")
            choices.append([Template()])
            open_rows.append(choices[-1][0])
        elif token == "|" and choices:
            choices[-1].append(Template())
            open_rows[-1] = choices[-1][-1]
        elif token == "}":
            if not choices:
                raise BadTemplate("there is a } without a { before it", r"write \} for a brace")
            open_rows.pop()
            open_rows[-1].add(_checked(choices.pop()))
        else:
            open_rows[-1].parts.append(token[-1] if token[0] == "\\" else token)
    if choices:
        raise BadTemplate("there is a { without a } after it", r"write \{ for a brace")
    return open_rows[0]


def _checked(choice: list[Template]) -> list[Template]:
    """Return what stands between two braces.

    Raises:
        BadTemplate: it is nothing to choose from, or asks for what only other tools do.
    """
    if len(choice) < 2:
        problem = "there are braces without a | between them, so there is nothing to choose"
        raise BadTemplate(problem, r"take them out, or write \{ and \} for braces")
    for option in choice:
        head = next((part for part in option.parts[:1] if isinstance(part, str)), "")
        if _COUNT.match(head):
            problem = f"'{short(head)}' asks for several at once, which reeldrop has not"
            raise BadTemplate(problem, "write braces for each: `{red|green} and {red|green}`")
        if _SHARE.match(head):
            problem = f"'{short(head)}' has a share, and reeldrop draws each as often as the others"
            raise BadTemplate(problem, "take the number and the :: out")
    return choice
