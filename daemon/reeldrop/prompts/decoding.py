"""Turn the bytes of a prompt file into text, and refuse bytes that are not text."""

from __future__ import annotations

import codecs
import re

from reeldrop.base import yaml_faults
from reeldrop.base.errors import Mistake, PromptError, UnfinishedError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_KINDS = (
    (b"{\\rtf", "a rich text document (RTF)"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive, or a document of Word, Pages or LibreOffice"),
    (b"\xd0\xcf\x11\xe0", "a document of an old Word"),
    (b"\x1f\x8b", "a compressed file (gzip)"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"bplist", "a property list of macOS"),
)
_WEB = re.compile(r"\s*<(!doctype|html|head|body|div|p|span|meta|\?xml|svg)\b", re.IGNORECASE)
_JOINED = re.compile("^\ufeff+", re.MULTILINE)
_DOS_END = re.compile(r"\x1a\s*\Z")


def decode(data: bytes) -> str:
    """Return the text of a file: UTF-8, or UTF-16 with a byte order mark.

    Removes the byte order marks that a joined file has at the beginning of lines, and the Ctrl-Z at
    the end of a DOS file.

    Raises:
        PromptError: it is not text in one of these encodings.
        UnfinishedError: there is a NUL byte, as in a file allocated before its bytes are written.
    """
    kind = next((kind for beginning, kind in _KINDS if data.startswith(beginning)), None)
    if kind is not None:
        raise PromptError(Mistake(f"this is {kind}, not plain text", "save it as plain text"))
    encoding, bom = next(((e, b) for b, e in _BOMS if data.startswith(b)), ("utf-8", b""))
    try:
        text = data[len(bom) :].decode(encoding)
    except UnicodeDecodeError as error:
        good = error.object[: error.start].decode(encoding, "replace")
        problem = f"the bytes here are not {encoding.upper()} text"
        broken = UnfinishedError if data.endswith(b"\0") else PromptError
        raise broken(_at_end_of(good, problem, "save the file as UTF-8")) from None
    if "\0" in text:
        problem = "there is a NUL byte here"
        remedy = "save the file as UTF-8 (UTF-16 needs a byte order mark)"
        raise UnfinishedError(_at_end_of(text[: text.index("\0")], problem, remedy))
    if _WEB.match(text):
        raise PromptError(Mistake("this is a web page or XML, not plain text", "copy its text"))
    return _DOS_END.sub("", _JOINED.sub("", text))


def with_newlines(text: str) -> str:
    """Return a text with line feeds as its only line ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _at_end_of(text: str, problem: str, remedy: str) -> Mistake:
    return Mistake(problem, remedy, *yaml_faults.end_of(with_newlines(text)))
