"""Read untrusted YAML strictly.

Supports only what settings need: mappings with text keys, lists and scalars of the YAML 1.2 core
schema (so `no`, `on` and `12:30` are texts). Every value has its line and column. Tags, duplicate
keys, deep nesting and aliases that would explode are refused before anything is built from them.
Does not know what the keys mean. `yaml_text` writes what is read back equal.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from reeldrop.base import invisible, yaml_faults
from reeldrop.base.errors import Mistake, YamlError
from reeldrop.base.escaping import short
from reeldrop.base.halves import Halves

Scalar = str | int | float | bool | None

MAX_DEPTH = 16
MAX_NODES = 20_000
_LONGEST_NUMBER = 300

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_COMMENT = re.compile(r"\s+(#.*)")
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place: `line` and `column` count from 1.

    A value in a mapping has the place of its key. `comment` is what YAML cut off after a text
    without quotes, from the `#` on.
    """

    value: Scalar | list[Node] | dict[str, Node]
    line: int
    column: int
    comment: str = ""


def plain(node: Node) -> Any:
    """Return a node's value as Python dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def child(node: Node, part: str | int) -> Node | None:
    """Return the value of a key or an item of a list; None if there is none."""
    if isinstance(node.value, dict):
        return node.value.get(str(part))
    if isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
        return node.value[part]
    return None


@dataclass(slots=True)
class Allowance:
    """How many values may still be read, from one text or from several that belong together.

    Each use of an alias counts all values that it expands to; an empty document counts as one.
    """

    nodes: int = MAX_NODES


def load_all(text: str, allowance: Allowance | None = None) -> list[Node]:
    """Return the documents of a YAML text, without empty ones.

    The values read are subtracted from `allowance`.

    Raises:
        YamlError: the text does not parse, or has a part that is refused here.
    """
    events = _Events(text, allowance or Allowance())
    documents = []
    while not events.at(yaml.StreamEndEvent):
        if events.at(yaml.DocumentStartEvent):
            documents.append(_Builder(events).document())
        else:
            events.advance()
    return [node for node in documents if node.value is not None]


def resolve(text: str) -> Scalar:
    """Return the value of a plain scalar by the YAML 1.2 core schema (without octal and hex)."""
    text = invisible.strip(text)
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text.replace(".inf", "inf").replace(".Inf", "inf").replace(".INF", "inf"))
    if _NAN.fullmatch(text):
        return float("nan")
    return text


def _fail(mark: Any, problem: str, remedy: str) -> NoReturn:
    raise YamlError(Mistake(problem, remedy, *(_place(mark) or ()))) from None


def _place(mark: Any) -> tuple[int, int] | None:
    return (mark.line + 1, mark.column + 1) if mark else None


class _Events:
    """The parser's events, with one event of look-ahead."""

    def __init__(self, text: str, allowance: Allowance) -> None:
        self._text = text
        self.allowance = allowance
        self.halves = Halves(text)
        self._stream: Iterator[Any] = yaml.parse(self.halves.hidden(text), Loader=_LOADER)
        self.now: Any = None
        self.advance()

    def at(self, kind: type) -> bool:
        return isinstance(self.now, kind)

    def advance(self) -> None:
        try:
            self.now = next(self._stream, self.now)
        except yaml.MarkedYAMLError as error:
            places = (_place(error.context_mark), _place(error.problem_mark))
            mistake = yaml_faults.explain(
                self._text, error.context or "", error.problem or "", *places
            )
            raise YamlError(mistake) from None
        except yaml.reader.ReaderError as error:  # the first such character stops the reader
            place = yaml_faults.end_of(self._text.partition(chr(error.character))[0])
            name = yaml_faults.control(chr(error.character))
            mistake = Mistake(f"this is not YAML: there is {name}", "remove it", *place)
            raise YamlError(mistake) from None

    @functools.cached_property
    def _lines(self) -> list[str]:
        return _LINE_END.split(self._text)

    def comment(self, event: Any) -> str:
        """Return the comment after a plain scalar on its line; empty if there is none."""
        mark = event.end_mark
        if mark.line >= len(self._lines):  # an empty value at the end
            return ""
        found = _COMMENT.match(self._lines[mark.line], mark.column)
        return found[1] if found else ""


class _Builder:
    """Builds one document from events."""

    def __init__(self, events: _Events) -> None:
        self._events = events
        self._anchors: dict[str, Node] = {}
        self._sizes: dict[str, int] = {}
        self._open_anchors: set[str] = set()

    def document(self) -> Node:
        self._events.advance()
        node = self._node(depth=0)
        self._events.advance()
        return node

    def _node(self, depth: int) -> Node:
        event = self._events.now
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            remedy = "remove it; a text that begins with ! is put between quotes"
            _fail(event.start_mark, f"the tag {short(tag)} is not allowed", remedy)
        self._check_depth(depth, event)
        before = self._events.allowance.nodes
        self._count(1, event)
        if event.anchor:
            self._open_anchors.add(event.anchor)
        node = self._built(event, depth)
        if event.anchor:
            self._open_anchors.discard(event.anchor)
            self._anchors[event.anchor] = node
            self._sizes[event.anchor] = before - self._events.allowance.nodes
        return node

    def _built(self, event: Any, depth: int) -> Node:
        value: Scalar | list[Node] | dict[str, Node]
        comment = ""
        if isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(depth)
        else:
            text = self._text_of(event)
            value = resolve(text) if event.implicit[0] else text
            comment = self._events.comment(event) if event.implicit[0] else ""
            self._events.advance()
        return Node(value, event.start_mark.line + 1, event.start_mark.column + 1, comment)

    def _text_of(self, event: Any) -> str:
        return self._events.halves.joined(event.value, is_escaped=event.style == '"')

    def _sequence(self, depth: int) -> list[Node]:
        self._events.advance()
        items = []
        while not self._events.at(yaml.SequenceEndEvent):
            items.append(self._node(depth + 1))
        self._events.advance()
        return items

    def _mapping(self, depth: int) -> dict[str, Node]:
        self._events.advance()
        entries: dict[str, Node] = {}
        while not self._events.at(yaml.MappingEndEvent):
            event = self._events.now
            if not isinstance(event, yaml.ScalarEvent):
                _fail(event.start_mark, "a key must be a text", "write it as `key: value`")
            key = self._text_of(event)
            key = invisible.strip(key) if event.implicit[0] else key
            mark: Any = event.start_mark
            self._events.advance()
            if key in entries:
                first = entries[key].line
                problem = f"the key '{short(key)}' is there twice"
                _fail(mark, problem, f"it is also in line {first}; remove one of them")
            found = self._node(depth + 1)
            entries[key] = Node(found.value, mark.line + 1, mark.column + 1, found.comment)
        self._events.advance()
        return entries

    def _alias(self, event: Any, depth: int) -> Node:
        name, quoted = event.anchor, short(event.anchor)
        if name in self._open_anchors:
            _fail(event.start_mark, f"*{quoted} contains itself", "write the value out")
        if name not in self._anchors:
            problem = f"*{quoted} has no anchor &{quoted} above it"
            _fail(event.start_mark, problem, "define it first")
        self._count(self._sizes[name], event)
        self._check_depth(depth + _height(self._anchors[name]), event)
        self._events.advance()
        return self._anchors[name]

    def _check_depth(self, depth: int, event: Any) -> None:
        if depth > MAX_DEPTH:
            _fail(event.start_mark, "this is nested too deeply", f"use at most {MAX_DEPTH} levels")

    def _count(self, nodes: int, event: Any) -> None:
        self._events.allowance.nodes -= nodes
        if self._events.allowance.nodes < 0:
            _fail(
                event.start_mark,
                f"this file unfolds to more than {MAX_NODES:,} values",
                "use fewer aliases, or split the file",
            )


def _height(node: Node) -> int:
    """Return the number of levels of lists and mappings below a node."""
    value = node.value
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max((1 + _height(item) for item in below), default=0)
