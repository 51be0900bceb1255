"""Escaping: text for people hides nothing, and can't control their terminal."""

from __future__ import annotations

import io
import os
from pathlib import PurePosixPath

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from reeldrop.base.errors import Mistake, PromptError
from reeldrop.base.escaping import short, shown, shown_lines
from reeldrop.base.job import Capabilities
from reeldrop.commands import output
from reeldrop.host import log
from reeldrop.prompts import parsing
from reeldrop.prompts.rules import ModelRules
from reeldrop.store import reports
from reeldrop.store.status import Rendering, Status

ESCAPED = [
    ("\x1b[2J", r"\x1b[2J"),
    ("a\nb\tc\r", r"a\nb\tc\r"),
    ("\x7f\x85\x9b", r"\x7f\x85\x9b"),
    ("a\u2028b\u2029", r"a\u2028b\u2029"),
    ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
    ("a\u200bb\u00ad\ufeff", r"a\u200bb\xad\ufeff"),
    ("a\u200db\u200c", r"a\u200db\u200c"),
    ("\u0645\u200d\u200d\u0645", r"\u0645\u200d\u200d\u0645".replace(r"\u0645", "\u0645")),
    ("\U000e0041", r"\U000e0041"),
    ("caf\udce9", r"caf\udce9"),
    ("\ud800", r"\ud800"),
]
READABLE = ["大鸟 升起\u3000。", "cafe\u0301", "\u0645\u0631\u062d", "\U0001f3ac", "a\u00a0b"]
READABLE += ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f469\u200d\U0001f680"]
RULES = {"m": ModelRules("m", Capabilities({"height": int}, {"height": 64}, 8, 1), {}, {})}
EVIL = "\x1b[31m\n\u2028\u202e\x9b"


def assert_harmless(text: str) -> None:
    """Assert that each line of a text is printable, and that only line feeds end lines."""
    assert all(line == shown(line) for line in text.split("\n")), ascii(text)
    assert text.splitlines() == text.removesuffix("\n").split("\n")


@pytest.mark.parametrize(("text", "expected"), ESCAPED)
def test_what_acts_or_hides_is_escaped(text: str, expected: str) -> None:
    """Control, format and direction characters, line breaks and lone surrogates are escaped."""
    assert expected == shown(text)
    assert expected == shown(shown(text))


@pytest.mark.parametrize("text", READABLE)
def test_every_script_stays(text: str) -> None:
    """Readable text stays unchanged, with wide spaces, accents and emoji."""
    assert text == shown(text)


def test_programs_get_the_bytes_of_a_name() -> None:
    """With `raw_bytes`, bytes that are not UTF-8 stay; all else is escaped as usual."""
    name = os.fsdecode(b"a\xff\x1b")
    assert "a\udcff\\x1b" == shown(name, raw_bytes=True)


def test_lines_stay_lines() -> None:
    """Only a line feed ends a line; other line breaks are escaped."""
    assert "a\nb\\r\n\\u2028" == shown_lines("a\nb\r\n\u2028")


@given(st.text(st.characters()))
def test_any_text_becomes_one_line(text: str) -> None:
    """The result can be encoded, is one line, and does not change when escaped again."""
    found = shown(text)
    assert 1 == len(f".{found}.".encode().decode().splitlines())
    assert found == shown(found)


def test_long_texts_are_named_by_their_beginning() -> None:
    """`short` cuts a text for a message."""
    assert ("a" * 40, 40) == (short("a" * 40), len(short("a" * 41)))


@pytest.mark.parametrize(
    "content",
    ["{0}: 1", "prompt: a\nmodel: {0}", "prompt: a\nseed: {0}", "prompt: a\nformat: [{0}]", "{0}",
     "prompt: a\n{0}: 1\n{0}: 1", "prompt: a\npriority: {0}", "prompt: a\nheight: {0}"],
)  # fmt: skip
def test_reports_on_evil_keys_and_values(content: str) -> None:
    """Report and log line are harmless, whatever keys, values and names a file has."""
    quoted = '"\\e[31m\\n\\u2028\\u202e\\x9b"'
    with pytest.raises(PromptError) as refused:
        parsing.parse("a.yaml", content.format(quoted).encode(), [], RULES, "m", int)
    assert_harmless(reports.text(PurePosixPath(f"{EVIL}.yaml"), "j", refused.value, "Then.\nThen."))
    assert_harmless(str(refused.value))


def test_reports_on_evil_errors() -> None:
    """They are harmless whatever a library's error quotes, and wherever `_defaults.yaml` is."""
    for error in (RuntimeError(EVIL), PromptError(Mistake(EVIL, EVIL, 1, 1, EVIL, EVIL))):
        assert_harmless(reports.text(PurePosixPath("a.txt"), "", error, EVIL))
    assert_harmless(str(error))


def test_the_status_line_is_one_harmless_line() -> None:
    """The status line for systemctl and terminals has nothing to escape."""
    rendering = Rendering("j", EVIL, EVIL, 1, 1, 1, 1, None)
    assert_harmless(Status(1, "s", "m", "2026-03-01T13:00:00+00:00", rendering).line())
    assert "\n" not in Status(1, EVIL, "m", "2026-03-01T13:00:00+00:00").line()


def test_what_commands_say_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    """Notes on stderr and rows on stdout are escaped."""
    output.note(f"reeldrop: {EVIL}")
    output.print_rows([(EVIL, "大")], ("a", "b"))
    out, err = capsys.readouterr()
    assert_harmless(err)
    assert r"\x1b[31m\n\u2028\u202e\x9b" + "\t大\n" == out


@pytest.mark.usefixtures("log_restored")
def test_the_log_for_people_is_harmless() -> None:
    """Values and tracebacks are escaped; each event starts a line of its own."""
    log.configure(stream := io.StringIO(), for_people=True)
    structlog.get_logger().error("job_failed", reason="\x1b[31m\u202e\x9b", prompt_file=EVIL)
    assert_harmless(stream.getvalue())
