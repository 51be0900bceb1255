"""Keeps what prompt files said before their claim, so that most are parsed only once.

The same bytes, defaults, picture and rules always give the same prompts, but for the seeds that
follow from a job's id. They are compared as they are after the claim: no times and sizes could
prove that the bytes are the same.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from reeldrop.base.job import DefaultsFile, Prompt
from reeldrop.prompts.parsing import PromptFile

MOST_BYTES = 16 << 20
"""About the memory that is kept, of the files that were read last."""

_PROMPT_BYTES = 1 << 10
"""About the memory that a prompt takes beside its texts."""

Draw = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Given:
    """All that a prompt file's content follows from, beside its path and the seeds.

    rules: of all models, by name
    """

    data: bytes
    defaults: tuple[DefaultsFile, ...]
    pair: str
    rules: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a file said.

    drawn: the numbers of the videos that it gives no seed
    size: about the memory that this takes, in bytes
    """

    given: Given
    found: PromptFile
    drawn: frozenset[int]
    size: int

    def with_seeds(self, draw_seed: Draw) -> PromptFile:
        prompts = (
            dataclasses.replace(prompt, seed=draw_seed(prompt.number))
            if prompt.number in self.drawn
            else prompt
            for prompt in self.found.prompts
        )
        return dataclasses.replace(self.found, prompts=tuple(prompts))


class Parses:
    """What was read of prompt files that were not claimed yet, by their paths in the inbox."""

    def __init__(self) -> None:
        self._kept: dict[PurePosixPath, _Kept] = {}
        self._size = 0

    def of(
        self,
        source: PurePosixPath,
        given: Given,
        draw_seed: Draw | None,
        parse: Callable[[Draw], PromptFile],
    ) -> PromptFile:
        """Return what a file says: before its claim parsed, and after it as it was, if it can be.

        draw_seed: returns the seed of the n-th video; None before the claim
        parse: reads the file, and takes such a function; raises what it wants
        """
        known = self._kept.pop(source, None)
        if known is not None:
            self._size -= known.size
        if draw_seed is not None:
            is_same = known is not None and known.given == given
            return known.with_seeds(draw_seed) if known and is_same else parse(draw_seed)
        drawn = set[int]()

        def draw(number: int) -> int:
            drawn.add(number)
            return number

        found = parse(draw)
        if drawn <= {prompt.number for prompt in found.prompts}:  # else texts were drawn, too
            self._keep(source, _Kept(given, found, frozenset(drawn), _size(given, found)))
        return found

    def _keep(self, source: PurePosixPath, kept: _Kept) -> None:
        self._kept[source] = kept
        self._size += kept.size
        while self._size > MOST_BYTES:
            self._size -= self._kept.pop(next(iter(self._kept))).size


def _size(given: Given, found: PromptFile) -> int:
    """Return about the memory in bytes that a parse takes: of a small file, it may be large."""
    data = (given.data, *(file.data for file in given.defaults))
    shared = {id(text): text for prompt in found.prompts for text in _texts(prompt)}
    texts = sum(map(sys.getsizeof, shared.values()))
    return sum(map(len, data)) + texts + _PROMPT_BYTES * len(found.prompts)


def _texts(prompt: Prompt) -> Iterator[object]:
    yield prompt.prompt
    for _, value in (*prompt.arguments, *prompt.swept, *prompt.translated.texts):
        yield value
