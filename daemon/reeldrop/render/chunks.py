"""Cut texts into what CLIP reads at a time, with the weight of each token.

CLIP reads 77 tokens, two of them marks. Longer texts become several such chunks, as in
AUTOMATIC1111's web UI and in compel; a word is not cut. Does not encode them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reeldrop.prompts import emphasis

if TYPE_CHECKING:
    from reeldrop.render.source import ModelSource

MOST = 8
"""Upper bound on the chunks of a text: each makes all steps of a video take longer."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens that are read together, without marks, and the weight of each."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """A text as it is read: in chunks, at least one; `ignored` is its end, which is not read."""

    chunks: tuple[Chunk, ...]
    ignored: str = ""

    @property
    def tokens(self) -> int:
        """The number of tokens that are read, without marks."""
        return sum(len(chunk.ids) for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads texts as a profile says.

    tokenizer: of transformers, with offsets
    most: upper bound on the chunks
    heeds_weights: whether texts have weights in them
    """

    tokenizer: Any
    most: int
    heeds_weights: bool

    def cut(self, text: str) -> Cut:
        """Return how a text is read. Weights that no prompt may have, as a translator may write
        them, are text."""
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
        """Return where chunks begin and end; `words` has the number of each token's word.

        The last chunk that may be read is filled with the beginning of a word, as where there is
        only one.
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
    """Return how the texts of a profile are read."""
    return Reader(tokenizer, MOST if source.reads_chunks else 1, source.reads_weights)


def reader_without_model(source: ModelSource) -> Reader | None:
    """Return the same for a model that is not loaded; None if it has not been downloaded."""
    import transformers

    from reeldrop.render import downloads

    folder = Path(source.location)
    if not folder.is_absolute():
        found = downloads.complete(source) or downloads.seems_there(source)
        if found is None:
            return None
        folder = found
    return reader(source, transformers.AutoTokenizer.from_pretrained(folder / "tokenizer"))
