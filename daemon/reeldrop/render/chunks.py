"""Split texts into the chunks that CLIP reads at a time, with a weight for each token.

CLIP reads 77 tokens, of which two mark the beginning and the end. Longer texts become several
chunks, as in AUTOMATIC1111's web UI and in compel; words are not split. Does not encode them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reeldrop.prompts import emphasis

if TYPE_CHECKING:
    from reeldrop.render.source import ModelSource

MOST = 8
"""Upper bound on the chunks of a text: each chunk slows down all steps of a video."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens that are encoded together, without marks, and the weight of each."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """A text in chunks, at least one; `ignored` is the end of the text, which is not read."""

    chunks: tuple[Chunk, ...]
    ignored: str = ""

    @property
    def tokens(self) -> int:
        """The number of tokens in the chunks, without marks."""
        return sum(len(chunk.ids) for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Reader:
    """Splits texts by the settings of a profile.

    tokenizer: of transformers; it must return offsets
    most: upper bound on the chunks
    heeds_weights: whether texts may contain weights
    """

    tokenizer: Any
    most: int
    heeds_weights: bool

    def cut(self, text: str) -> Cut:
        """Return a text in chunks.

        A translator may write weights larger than those allowed in prompts: these count as text.
        """
        has_weights = self.heeds_weights and emphasis.too_heavy(text) is None
        parts = emphasis.parts(text) if has_weights else [emphasis.Part(text, 1.0)]
        plain = "".join(part.text for part in parts)
        of_characters = [part.weight for part in parts for _ in part.text]
        read = self.tokenizer(
            plain, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        starts = [start for start, _end in read.offset_mapping]
        chunks: list[Chunk] = []
        for begin, end in self._spans(read.word_ids()):
            if len(chunks) == self.most:
                return Cut(tuple(chunks), plain[starts[begin] :].strip())
            weights = tuple(of_characters[start] for start in starts[begin:end])
            chunks.append(Chunk(tuple(read.input_ids[begin:end]), weights))
        return Cut(tuple(chunks) or (Chunk((), ()),))

    def _spans(self, words: list[int | None]) -> list[tuple[int, int]]:
        """Return the begin and end of each chunk; `words` has the number of each token's word.

        The last chunk that fits may end within a word.
        """
        length = self.tokenizer.model_max_length - 2
        spans: list[tuple[int, int]] = []
        begin = 0
        while begin < len(words):
            end = min(begin + length, len(words))
            if end < len(words) and len(spans) + 1 < self.most:
                whole = end
                while whole > begin and words[whole] == words[whole - 1]:
                    whole -= 1
                end = whole if whole > begin else end
            spans.append((begin, end))
            begin = end
        return spans


def reader(source: ModelSource, tokenizer: Any) -> Reader:
    """Return what splits the texts of a profile."""
    return Reader(tokenizer, MOST if source.reads_chunks else 1, source.reads_weights)


def reader_without_model(source: ModelSource) -> Reader | None:
    """Return the same for a model that is not loaded; None if it has not been downloaded."""
    import transformers

    from reeldrop.render import hub_cache

    folder = Path(source.location)
    if not folder.is_absolute():
        found = hub_cache.complete(source) or hub_cache.seems_there(source)
        if found is None:
            return None
        folder = found
    return reader(source, transformers.AutoTokenizer.from_pretrained(folder / "tokenizer"))
