"""Bytes to data: what is accepted, what is refused, and where the fault is."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daemun_file.parse import SUFFIXES, UnreadableError, parse


def data(text: str, suffix: str = ".yaml") -> Any:
    (document,) = parse(text.encode(), suffix)
    return document.data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", "no"),
        ("a: on", "on"),
        ("a: yes", "yes"),
        ("a: true", True),
        ("a: False", False),
        ("a: ~", None),
        ("a:", None),
        ("a: 12:30:00", "12:30:00"),
        ("a: 2019-02-25", "2019-02-25"),
        ("a: 010", 10),
        ("a: 0o10", 8),
        ("a: 0xff", 255),
        ("a: -1.5e3", -1500.0),
        ("a: .5", 0.5),
        ("a: -.inf", -math.inf),
        ("a: '1'", "1"),
        ('a: "true"', "true"),
        ("a: !!str 1", "1"),
        ("a: !!int '1'", 1),
        ("a: !!float 1", 1.0),
        ("a: |\n  x\n  y\n", "x\ny\n"),
        ("a: 1_000", "1_000"),
        ("a: +", "+"),
    ],
)
def test_plain_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    result = data(text)["a"]
    assert result == value
    assert type(result) is type(value)


def test_keys_are_text() -> None:
    assert data("404: a\non: b\nnull: c\n") == {"404": "a", "on": "b", "null": "c"}


def test_merge_keys_give_what_is_not_written_and_the_first_wins() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: {<<: *a}\ne: {'<<': 1}\n"
    result = data(text)
    assert result["c"] == {"x": 1, "y": 1, "z": 3}
    assert result["d"] == {"x": 1, "y": 1}
    assert result["e"] == {"<<": 1}


def test_documents_without_content_are_left_out() -> None:
    assert [document.data for document in parse(b"---\n---\na: 1\n---\n# nothing\n---\nb: 2\n", ".yml")] == [
        {"a": 1},
        {"b": 2},
    ]


def test_anchors_do_not_reach_into_the_next_document() -> None:
    with pytest.raises(UnreadableError, match="alias"):
        parse(b"a: &x 1\n---\nb: *x\n", ".yaml")


@pytest.mark.parametrize(
    ("text", "suffix", "words"),
    [
        ("a: 1\na: 2\n", ".yaml", r"line 2, column 1: key 'a' is written twice; first on line 1"),
        ("a: [1, 2\nb: 3\n", ".yaml", r"line \d+, column \d+: "),
        ("a:\n\t- 1\n", ".yaml", r"line 2, column 1: "),
        ("a: b: c", ".yaml", r"line 1, column 5: "),
        ("a: !!python/object:os.system x", ".yaml", r"line 1, column 4: tag .* is not accepted here"),
        ("a: !secret x", ".yaml", r"tag !secret is not accepted"),
        ("a: !!int x", ".yaml", r"tag .* is not accepted"),
        ("!!set {a}", ".yaml", r"tag .* is not accepted"),
        ("? [a]\n: b", ".yaml", r"line 1, column 3: a key must be plain text"),
        ("a: *b", ".yaml", r"line 1, column 4: alias \*b has no anchor before it"),
        ("a: &a [*a]", ".yaml", r"alias \*a has no anchor before it"),
        ("a: {<<: 1}", ".yaml", r"<< takes a mapping"),
        ("a: " + "9" * 5000, ".yaml", r"line 1, column 4: the number has too many digits"),
        ("", ".yaml", r"the file is empty"),
        ("# only words\n", ".yaml", r"the file is empty"),
        ("a: \x00", ".yaml", r"."),
        ('{"a": 1,}', ".json", r"line 1, column \d+: "),
        ('{"a": 1, "a": 2}', ".json", r"key 'a' is written twice"),
        ("\n", ".json", r"the file is empty"),
        ('{"a": "\\ud800"}', ".json", r"half of a surrogate pair"),
        ("null", ".json", r"the file is empty"),
        ("[" * 100_000, ".json", r"nested more than 64 levels"),
        ("[" * 80 + "]" * 80, ".json", r"nested more than 64 levels"),
        ("a = 1\na = 2\n", ".toml", r"line 2, column \d+: "),
        ("a = ", ".toml", r"line 1, column \d+: |."),
        ("a = " + "[" * 80 + "]" * 80, ".toml", r"nested more than 64 levels"),
    ],
)
def test_what_is_not_well_formed_is_refused_with_its_place(text: str, suffix: str, words: str) -> None:
    with pytest.raises(UnreadableError, match=words):
        parse(text.encode(), suffix)


@pytest.mark.parametrize("opening", ["[", "- ", "{a: ", "? "])
def test_nesting_is_bounded_before_it_can_hurt(opening: str) -> None:
    with pytest.raises(UnreadableError):
        parse((opening * 200_000).encode(), ".yaml")


def test_text_that_is_not_utf_8_is_refused_with_its_place() -> None:
    with pytest.raises(UnreadableError, match=r"line 2, column 4: the text is not UTF-8"):
        parse(b"a: b\nc: \xff", ".yaml")


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert data("\ufeff{}", ".json") == {}


def test_aliases_are_accepted_up_to_a_bound() -> None:
    assert data("a: &a [1, 2]\nb: [*a, *a]\n")["b"] == [[1, 2], [1, 2]]
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
    )
    with pytest.raises(UnreadableError, match="aliases stand for more than"):
        data(bomb)


def test_a_document_tells_the_line_of_a_value() -> None:
    (document,) = parse(b"routes:\n  - name: a\n    match:\n      path: /x\n  - name: b\n", ".yaml")
    assert document.line(("routes", 0, "match", "path")) == 4
    assert document.line(("routes", 1)) == 5
    assert document.line(("routes", 1, "match", "path")) == 5
    assert document.line(("nothing",)) == 1
    assert [document.line(()) for document in parse(b"a: 1\n---\n\nb: 2\n", ".yaml")] == [1, 4]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text("abcdef-_", min_size=1), children),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abc", min_size=1), PLAIN, min_size=1))
def test_what_was_written_is_read(value: dict[str, Any]) -> None:
    assert data(json.dumps(value), ".json") == value
    assert data(json.dumps(value, ensure_ascii=False), ".yaml") == value
    assert data(yaml.safe_dump(value, allow_unicode=True, default_style='"')) == value


@given(st.binary() | st.text("[]{}:,-&*!|>'\"#?%@ \n\tab1.<").map(str.encode), st.sampled_from(sorted(SUFFIXES)))
def test_any_bytes_are_read_or_refused(content: bytes, suffix: str) -> None:
    assert attempt(content, suffix)


def attempt(content: bytes, suffix: str) -> object:
    """The documents, or the words of the refusal."""
    try:
        return parse(content, suffix)
    except UnreadableError as error:
        return str(error)
