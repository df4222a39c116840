"""Patterns of schemas: what matches is what `re` says, and no value keeps them for long."""

from __future__ import annotations

import re
import tracemalloc
from time import process_time

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from daemun_soap.wsdl.gaps import Gaps, Validates
from daemun_soap.wsdl.patterns import Linear, make_linear

MAIL = r"[_\-a-z\.]+@[a-z](\.?[\-a-z]*[a-z])*"
SCHEMA = f"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="m"><xs:simpleType>
 <xs:restriction base="xs:string"><xs:pattern value="{MAIL}"/><xs:pattern value="[A-Z]{{3}}"/></xs:restriction>
</xs:simpleType></xs:element></xs:schema>"""


def linear(pattern: str) -> Linear:
    return Linear(rf"^(?:{pattern})$(?!\n\Z)")


ATOMS = st.sampled_from(["a", "b", "[ab]", "[^a]", r"\d", r"\.", "[^\r\n]", r"[\]c-]"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "{0}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)


@given(PATTERNS, st.text("ab1.]c-\n", max_size=8))
def test_what_matches_is_what_re_says(pattern: str, text: str) -> None:
    assert (linear(pattern).match(text) is None) == (re.fullmatch(pattern, text) is None)


@pytest.mark.parametrize("pattern", [MAIL, "(a+)+b", "(a|aa)+b", "(a?){30}a{30}b", "(a|ab|b){30}", "a*a*a*a*b"])
def test_no_value_takes_long(pattern: str) -> None:
    found = linear(pattern)
    assert not found.plain
    began = process_time()
    for text in ("a@" + "a" * 5000 + "!", "a" * 5000 + "c", "ab" * 2500 + "!"):
        assert found.match(text) is None
    assert process_time() - began < 1


def test_what_is_kept_of_texts_does_not_grow_with_them() -> None:
    found = linear("(([a-z0-9]+) ?){0,300}")
    tracemalloc.start()
    try:
        for text in ("a" * 5000, "ab " * 1500, "".join(map(chr, range(0x100, 0x1000)))):
            found.match(text)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 32 << 20
    assert found.match("ab cd") is not None


def test_what_takes_too_much_work_does_not_match() -> None:
    found = linear("(.?.?.?){0,300}")
    began = process_time()
    assert found.match("".join(map(chr, range(0x4E00, 0x9000))) * 2) is None
    assert process_time() - began < 5
    assert linear("(a|b)*").match("ab" * 400_000) is not None


def test_nothing_matches_a_pattern_that_is_too_large(caplog: pytest.LogCaptureFixture) -> None:
    schema = xmlschema.XMLSchema(SCHEMA.replace("[A-Z]{3}", "(a{0,99}){0,99}b"))
    gaps = Gaps("large.wsdl")
    make_linear(schema, gaps)
    gaps.settle(Validates.TYPED)
    assert "large.wsdl: pattern (a{0,99}){0,99}b cannot be used: a pattern that is too large" in caplog.text
    began = process_time()
    assert not schema.is_valid(f"<m>{'a' * 1000}b</m>")
    assert schema.is_valid("<m>a@b.cd</m>")
    assert process_time() - began < 1


@pytest.mark.parametrize("pattern", ["[A-Z]{3}", "[A-Z]{1,5}", "a[0-9]*b", "abc|def"])
def test_what_has_one_way_is_left_to_re(pattern: str) -> None:
    assert linear(pattern).plain


@pytest.mark.parametrize("pattern", ["(a", "a)", "*", "(a{99}){99}", "a{"])
def test_what_is_no_pattern_is_told(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|parenthesis|repeat"):
        linear(pattern)


def test_the_types_of_a_schema_check_in_linear_time() -> None:
    schema = xmlschema.XMLSchema(SCHEMA)
    make_linear(schema, Gaps("a.wsdl"))
    for text, good in (("a@b.cd", True), ("ABC", True), ("ABCD", False), ("a@" + "a" * 2000 + "!", False)):
        assert schema.is_valid(f"<m>{text}</m>") is good
