"""Draw short texts into pictures, in any script for which this machine has a font.

reeldrop ships no font: Pillow's own has only ASCII, and one for all scripts takes megabytes. A
character that no font has is drawn as a box.
"""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from reeldrop.base.escaping import shown

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
MAX_FONTS = 300
"""Upper bound on the fonts that are searched for a character."""

MAX_LINES = 3
BOXES = "\N{WHITE SQUARE}?"
"""Drawn for a character that no font has: the first of these that a font has."""

_BACKGROUND, _INK = (24, 24, 24), (240, 240, 240)
_LONGEST = 300
_MARGIN = 4
_MOST_FILES = 10_000
_STYLES = re.compile("bold|italic|oblique|condensed|mono|serif|light|thin|black|emoji")
_ENDINGS = (".ttf", ".otf", ".ttc")
_ABSENT = "\U0010ffff"
"""A character that no font has: a font draws the same for all characters that it lacks."""

_PIECE = re.compile(
    r"[\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]\s*|[^\s\u2e80-\u9fff\uac00-\ud7af]+\s*"
)
"""A part that is not broken: a word, or a character of a script without spaces."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(slots=True)
class Labels:
    """Draws labels in one font size, with fonts that have the characters.

    size: of the font, in pixels
    lacking: the characters that were drawn as boxes
    """

    size: int = 14
    folders: Sequence[Path] = FONT_FOLDERS
    lacking: set[str] = field(default_factory=set)
    _fonts: list[Font] = field(default_factory=list)
    _files: Iterator[Path] | None = None
    _known: dict[str, Font | None] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """The height of all labels, in pixels."""
        return MAX_LINES * self._line + 2 * _MARGIN

    @property
    def _line(self) -> int:
        return self.size + _MARGIN

    def draw(self, text: str, width: int) -> Image.Image:
        """Return a label of this width, with the text, truncated to what fits."""
        picture = Image.new("RGB", (width, self.height), _BACKGROUND)
        canvas = ImageDraw.Draw(picture)
        for number, line in enumerate(self._lines(shown(text)[:_LONGEST], width - 2 * _MARGIN)):
            x, y = float(_MARGIN), number * self._line + self.size + _MARGIN
            for font, run in self._runs(line):
                canvas.text((x, y), run, _INK, font, anchor="ls")
                x += font.getlength(run)
        return picture

    def _lines(self, text: str, width: int) -> list[str]:
        lines = [""]
        for piece in _PIECE.findall(text):
            if lines[-1] and self._length(lines[-1] + piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
        kept = lines[:MAX_LINES]
        if len(lines) > MAX_LINES:
            kept[-1] += "..."
        return [self._cut(line.rstrip(), width) for line in kept]

    def _cut(self, line: str, width: int) -> str:
        if self._length(line) <= width:
            return line
        while line and self._length(f"{line}...") > width:
            line = line[:-1]
        return f"{line}..."

    def _length(self, line: str) -> float:
        return sum(font.getlength(run) for font, run in self._runs(line))

    def _runs(self, line: str) -> list[tuple[Font, str]]:
        """Return a line in pieces, each with a font that has all of its characters."""
        found: list[tuple[Font, str]] = []
        for sign in line:
            is_mark = unicodedata.category(sign) in ("Mn", "Me", "Mc", "Cf", "Zs")
            if is_mark and found:
                font = found[-1][0]
            else:
                font, sign = self._drawn_for(sign)
            found.append((font, sign))
        return [
            (font, "".join(sign for _, sign in run))
            for font, run in groupby(found, key=lambda one: one[0])
        ]

    def _drawn_for(self, sign: str) -> tuple[Font, str]:
        """Return the font for a character, and what is drawn for it."""
        bare = unicodedata.normalize("NFKD", sign)[:1]
        for own in (sign, bare):  # Pillow's own font has no letters with accents
            if (font := self._font_of(own)) is not None:
                return font, own
        self.lacking.add(sign)
        boxes = ((self._font_of(box), box) for box in BOXES)
        return next((font, box) for font, box in boxes if font is not None)

    def _font_of(self, sign: str) -> Font | None:
        if sign not in self._known:
            fonts = self._all_fonts()
            self._known[sign] = next((font for font in fonts if _has(font, sign)), None)
        return self._known[sign]

    def _all_fonts(self) -> Iterator[Font]:
        """Yield the fonts of this machine, which are opened one by one; Pillow's own is last."""
        yield from self._fonts
        if self._files is None:
            self._files = islice(_font_files(self.folders), MAX_FONTS)
        for file in self._files:
            with contextlib.suppress(OSError):  # damaged, or a bitmap font of another size
                self._fonts.append(ImageFont.truetype(file, self.size))
                yield self._fonts[-1]
        yield ImageFont.load_default(self.size)


def _has(font: Font, sign: str) -> bool:
    with contextlib.suppress(OSError):  # it is damaged, but not at its beginning
        drawn, absent = font.getmask(sign), font.getmask(_ABSENT)
        return (drawn.size, bytes(drawn)) != (absent.size, bytes(absent))
    return False


def _font_files(folders: Sequence[Path]) -> Iterator[Path]:
    """Return the fonts in folders: regular styles first, among them sans-serif first."""
    found = (
        Path(above, name)
        for folder in folders
        for above, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(_ENDINGS)
    )
    return iter(sorted(islice(found, _MOST_FILES), key=_rank))


def _rank(file: Path) -> tuple[bool, bool, str]:
    name = file.name.lower()
    return bool(_STYLES.search(name)), "sans" not in name, name
