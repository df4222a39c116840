"""What `Accept` and `Accept-Encoding` allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun_static.negotiate import accepts_html, codings_for

OFFERED = ("br", "gzip")


@pytest.mark.parametrize(
    ("value", "codings"),
    [
        (b"", ()),
        (b"gzip", ("gzip",)),
        (b"gzip, deflate, br", ("br", "gzip")),
        (b"GZIP;Q=0.5, BR;q=0.4", ("gzip", "br")),
        (b"br;q=0.001", ("br",)),
        (b"br;q=0, gzip;q=0.000", ()),
        (b"br ; q=0.5 , gzip ; q=1.000", ("gzip", "br")),
        (b"*", ("br", "gzip")),
        (b"*;q=0", ()),
        (b"*, br;q=0", ("gzip",)),
        (b"x-gzip", ("gzip",)),
        (b"identity", ()),
        (b"identity;q=0.5, gzip", ("gzip",)),
        (b"identity, gzip;q=0.5", ()),
        (b"identity;q=0", ()),
        (b"br;q=2, gzip;q=x", ()),
        (b"brr, gzipped", ()),
        (b"br" + b" " * 2000, ()),
    ],
)
def test_codings(value: bytes, codings: tuple[str, ...]) -> None:
    assert codings_for(value, OFFERED) == codings


@pytest.mark.parametrize(
    ("value", "html"),
    [
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        (b"*/*", False),
        (b"text/*", False),
        (b"application/json, text/html;q=0", False),
        (b"application/json, TEXT/HTML;charset=utf-8;q=0.1", True),
        (b"text/html;seq=0", True),
        (b"", False),
        (b"text/html," + b"a" * 2000, False),
    ],
)
def test_html(value: bytes, html: bool) -> None:
    assert accepts_html(value) is html


@given(st.one_of(st.binary(max_size=80), st.text("br,gzip;q=01. *\t", max_size=60).map(str.encode)))
def test_no_value_is_a_fault(value: bytes) -> None:
    assert set(codings_for(value, OFFERED)) <= set(OFFERED)
    assert accepts_html(value) in {True, False}
