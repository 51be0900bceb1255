"""strict_yaml: it reads what settings need, every mistake has a place, dumps read back equal."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from reeldrop.base import strict_yaml, yaml_text
from reeldrop.base.errors import Mistake, YamlError


def values(text: str) -> list[Any]:
    """Return a text's values as plain Python."""
    return [strict_yaml.plain(node) for node in strict_yaml.load_all(text)]


def mistake(text: str) -> Mistake:
    """Return the only mistake of a text."""
    with pytest.raises(YamlError) as caught:
        strict_yaml.load_all(text)
    (found,) = caught.value.mistakes
    return found


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("12:30", "12:30"),
        ("0x10", "0x10"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("2026-11-24", "2026-11-24"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("+", "+"),
        (".", "."),
        ("<<", "<<"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
        ("\u0665", "\u0665"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("007", 7),
        ("0.5", 0.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
    ],
)
def test_scalars_follow_yaml_1_2(scalar: str, expected: object) -> None:
    """Booleans, times, dates and numbers that only YAML 1.1 knows are texts."""
    (document,) = values(f"key: {scalar}\n")
    assert expected == document["key"]
    assert type(expected) is type(document["key"])


def test_not_a_number_is_a_number() -> None:
    """`.nan` is read as a float, so that a schema can refuse it by name."""
    assert math.isnan(values("a: .nan")[0]["a"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# only a comment\n", []),
        ("---\n---\nnull\n", []),
        ("a: 1\n---\nb: 2\n", [{"a": 1}, {"b": 2}]),
        ("a: 1\n---\n---\nb: 2\n", [{"a": 1}, {"b": 2}]),
        ("just a text", ["just a text"]),
        ("[1, x]", [[1, "x"]]),
        ("%YAML 1.2\n---\na: 1\n...\n", [{"a": 1}]),
        ("\ufeffa: 1\r\nb: 2\r\n", [{"a": 1, "b": 2}]),
        ("a: &x [1, 2]\nb: *x\n", [{"a": [1, 2], "b": [1, 2]}]),
        ("5: x\nno: y\n", [{"5": "x", "no": "y"}]),
        ("a: {<<: {b: 1}}\n", [{"a": {"<<": {"b": 1}}}]),
        ("? a\n", [{"a": None}]),
        ("a: |\n  x\n  y\n", [{"a": "x\ny\n"}]),
    ],
)
def test_documents(text: str, expected: list[object]) -> None:
    """Every document that is not empty is read; keys are texts; merge keys have no effect."""
    assert expected == values(text)


def test_values_know_their_place() -> None:
    """A value has the place of its key, an item its own; line and column count from 1."""
    (root,) = strict_yaml.load_all("# first\na: 1\nb:\n  - x\n  -  y\n")
    second = strict_yaml.child(root, "b")
    assert second is not None
    item = strict_yaml.child(second, 1)
    assert item is not None
    assert (3, 1) == (second.line, second.column)
    assert (5, 6) == (item.line, item.column)


@pytest.mark.parametrize("part", ["c", 2, 0])
def test_child_of_what_is_not_there(part: str | int) -> None:
    """`child` returns None for a missing key or item, and below a scalar."""
    (root,) = strict_yaml.load_all("a: [1]")
    assert strict_yaml.child(root, part) is None
    listed = strict_yaml.child(root, "a")
    assert listed is not None
    assert strict_yaml.child(listed, 1) is None
    assert strict_yaml.child(strict_yaml.Node(5, 1, 1), part) is None


@pytest.mark.parametrize(
    ("text", "line", "column", "problem", "remedy"),
    [
        ("a: [1\n", 2, 1, "not YAML", "between quotes"),
        ("prompt: a: b", 1, 10, "not YAML", "between quotes"),
        ("a: 1\n\tb: 2\n", 2, 1, "a tab is at the beginning", "take it out, or put spaces"),
        ("ok: 1\na: 'x", 2, 4, "the quote that opens here is not closed", "end the text with '"),
        ('a: "x\nb: 1\nc: 2\n', 1, 4, "the quote that opens here is not closed", 'with "'),
        ("a: 1\nb: é\x01", 2, 5, "control character, U+0001", "remove it"),
        ("a: x\x7f", 1, 5, "control character, U+007F", "remove it"),
        ("a: 1\nb: 2\na: 3", 3, 1, "the key 'a' is there twice", "line 1"),
        ("a: 1\n'a': 3", 2, 1, "the key 'a' is there twice", "line 1"),
        ("b:\n  c: 1\n  c: 2", 3, 3, "the key 'c' is there twice", "line 2"),
        ("a: !!python/object/apply:os.system [x]", 1, 4, "tag", "remove it"),
        ("a: !!str 5", 1, 4, "tag", "remove it"),
        ("a: ! 5", 1, 4, "tag", "remove it"),
        ("!x {a: 1}", 1, 1, "tag", "remove it"),
        ("? [a]\n: 1", 1, 3, "a key must be a text", "key: value"),
        ("b: &b x\n*b : 1", 2, 1, "a key must be a text", "key: value"),
        ("a: *b", 1, 4, "no anchor &b", "define it first"),
        ("a: &x 1\n---\nb: *x", 3, 4, "no anchor &x", "define it first"),
        ("a: &x [1, *x]", 1, 11, "*x contains itself", "write the value out"),
        ("a: &x {b: *x}", 1, 11, "*x contains itself", "write the value out"),
    ],
)
def test_what_is_refused(text: str, line: int, column: int, problem: str, remedy: str) -> None:
    """Each mistake has its line and column, the problem and the remedy."""
    found = mistake(text)
    assert (line, column) == (found.line, found.column)
    assert problem in found.problem
    assert remedy in found.remedy


@pytest.mark.parametrize("bracket", ["[", "- ", "{a: ", "[{a: ", "&a ["])
def test_deep_nesting_is_refused_before_it_is_built(bracket: str) -> None:
    """Half a million open brackets are refused at the first level that is too deep."""
    found = mistake(bracket * 500_000)
    assert found.line is not None
    assert found.line <= 2 * strict_yaml.MAX_DEPTH
    assert found.remedy


def test_nesting_up_to_the_limit_is_read() -> None:
    """The number of levels in the message is accepted; one more is refused."""
    depth = strict_yaml.MAX_DEPTH
    assert 1 == len(strict_yaml.load_all("[" * depth + "x" + "]" * depth))
    found = mistake("[" * (depth + 1) + "x" + "]" * (depth + 1))
    assert "nested too deeply" in found.problem
    assert str(depth) in found.remedy


def test_nesting_through_aliases_counts_as_nesting() -> None:
    """Aliases to shallow lists can't add up to a structure that exhausts the stack."""
    deep = "[" * 14 + "{}" + "]" * 14
    lines = ["a0: &a0 " + deep.format("x")]
    lines += [f"a{i}: &a{i} " + deep.format(f"*a{i - 1}") for i in range(1, 100)]
    found = mistake("\n".join(lines))
    assert "nested too deeply" in found.problem
    assert (2, 23) == (found.line, found.column)


@pytest.mark.parametrize(
    ("first", "other"),
    [("[x, x, x]", "[{0},{0},{0},{0}]"), ("{a: x}", "{{a: {0}, b: {0}, c: {0}}}")],
)
def test_exploding_aliases_are_refused(first: str, other: str) -> None:
    """Billion laughs are refused by their number of values, at the line that exceeds it."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{i}: &a{i} " + other.format(f"*a{i - 1}") for i in range(1, 15)]
    found = mistake("\n".join(lines))
    assert f"{strict_yaml.MAX_NODES:,}" in found.problem
    assert found.line is not None
    assert 7 <= found.line <= 13
    assert "fewer aliases" in found.remedy


def test_aliases_are_counted_as_often_as_they_are_used() -> None:
    """Each use of an alias counts all its values, even in a flat list."""
    words = ",".join("x" * 1000)
    assert "unfolds" in mistake(f"a: &a [{words}]\nb: [{','.join(['*a'] * 30)}]").problem
    assert 1 == len(strict_yaml.load_all(f"a: &a [{words}]\nb: [{','.join(['*a'] * 10)}]"))


def test_empty_documents_count() -> None:
    """An empty document counts as one value."""
    assert "unfolds" in mistake("---\n" * (strict_yaml.MAX_NODES + 1)).problem
    assert [] == strict_yaml.load_all("---\n" * 100)


def test_texts_that_are_read_for_one_purpose_share_an_allowance() -> None:
    """Many small texts may have together no more values than one large text."""
    allowance = strict_yaml.Allowance(5)
    strict_yaml.load_all("[a, b]", allowance)
    assert 2 == allowance.nodes
    with pytest.raises(YamlError, match="unfolds"):
        strict_yaml.load_all("[a, b]", allowance)


@pytest.mark.parametrize("digit", ["1", "1.", "-1e"])
def test_a_number_without_end_is_a_text(digit: str) -> None:
    """Digits that are too long for any setting are a text, and not converted."""
    assert [{"a": digit + "1" * 299}] != values(f"a: {digit}{'1' * 290}")
    assert [{"a": digit + "1" * 300}] == values(f"a: {digit}{'1' * 300}")


@pytest.mark.parametrize(
    "text", ["? {0}\n: 1\n? {0}\n: 2", "a: *{0}", "a: &{0} [*{0}]", "a: !{0} 1"]
)
def test_messages_quote_a_little(text: str) -> None:
    """Messages quote only the beginning of long names."""
    assert len(str(mistake(text.format("x" * 900)))) < 400


_texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(
        [
            "no",
            "on",
            "12:30",
            "0x10",
            "2026-11-24",
            "~",
            "",
            " ",
            "null",
            "1e3",
            ".5",
            ".nan",
            "a: b",
            "# x",
            "x #y",
            "- a",
            "? a",
            "&a",
            "*a",
            "!x",
            "|",
            ">",
            "'",
            '"',
            "%",
            "@",
            "`",
            "a\nb",
            "a\n",
            "\n",
            "\ta",
            "a ",
            "---",
            "...",
            "a\r\nb",
            "\x85",
            "\u2028",
            "\ufeff",
            "=",
        ]
    ),
)
_scalars = st.one_of(
    _texts,
    st.integers(-(10**40), 10**40),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False),
)
_nested = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_texts, _nested, min_size=1, max_size=5))
@example({"a": "\x00\x1b\x7f\x85\u2028\ufeff"})
@example({"a": 1e-07, "b": 1e300, "c": -0.0})
@example({"a": "x" * 300 + " y: z # " * 30})
def test_dump_reads_back_equal(value: dict[str, Any]) -> None:
    """Any settings that are dumped are read back equal."""
    (back,) = values(yaml_text.dump(value))
    assert value == back
    assert repr(value) == repr(back)


_words = st.text("aeEnNyYofxst019._/+ -:,;!?'\"()=#é大、", max_size=45)
_sentences = st.lists(_words, max_size=12).map(" ".join)
_plain = st.recursive(
    _scalars | _words | _sentences,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(_words, _plain, max_size=4))
@example({"prompt": "a horse, " * 40 + "in rain", "l": ["it's " * 40 + "a", 0.1], "t": "07:30:00"})
@example({"a": {"b": "word " * 18 + "longer words", "c": "2026-11-28T10:00:00+00:00"}})
@example({"yes": "No", "n": ["on", "null", "1e5", "0.5", "2026-11-28"], "a": {"off": {}, "b": []}})
def test_what_is_written_without_pyyaml_is_what_that_would_write(value: dict[str, Any]) -> None:
    """Dumps are the same, byte for byte, as those of the whole by PyYAML."""
    whole = yaml.dump(
        value,
        Dumper=yaml_text._Dumper,
        allow_unicode=True,
        sort_keys=False,
        width=100,
        indent=2,
    )
    assert whole == yaml_text.dump(value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_read_or_refused(text: str) -> None:
    """For any text, the reader raises no error except YamlError."""
    with contextlib.suppress(YamlError):
        documents = strict_yaml.load_all(text)
        assert all(node.line >= 1 and node.column >= 1 for node in documents)


def test_dump_keeps_tuples_and_repeated_values() -> None:
    """Tuples become lists, and repeated values are written out: no alias, no tag."""
    twice = ["a"]
    text = yaml_text.dump({"x": ("mp4", "gif"), "y": twice, "z": twice})
    assert [{"x": ["mp4", "gif"], "y": ["a"], "z": ["a"]}] == values(text)
    assert "&" not in text
    assert "!" not in text


def test_dump_is_for_people() -> None:
    """Keys keep their order, and Chinese is not escaped."""
    text = yaml_text.dump({"prompt": "大鸟 rises", "height": 64})
    assert "prompt: 大鸟 rises\nheight: 64\n" == text
