"""Which bytes a `Range` asks for: exact where it is clear, ignored where it is not, never a fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun_static.ranges import Span, spans_of

HUGE = b"9" * 40


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        (b"bytes=0-0", [(0, 1)]),
        (b"bytes=0-9", [(0, 10)]),
        (b"bytes=0-10", [(0, 10)]),
        (b"bytes=9-", [(9, 10)]),
        (b"bytes=-1", [(9, 10)]),
        (b"bytes=-99", [(0, 10)]),
        (b"Bytes=1-2", [(1, 3)]),
        (b"bytes= 1-2 ,\t4-5", [(1, 3), (4, 6)]),
        (b"bytes=,1-2,,", [(1, 3)]),
        (b"bytes=7-8,1-2", [(7, 9), (1, 3)]),
        (b"bytes=0-" + HUGE, [(0, 10)]),
        (b"bytes=-" + HUGE, [(0, 10)]),
        (b"bytes=00000000000000000000000001-2", [(1, 3)]),
        (b"bytes=10-", []),
        (b"bytes=10-20,30-", []),
        (b"bytes=-0", []),
        (b"bytes=" + HUGE + b"-", []),
        (b"bytes=0-1,20-", [(0, 2)]),
        (b"bytes=2-1", None),
        (b"bytes=", None),
        (b"bytes=,", None),
        (b"bytes=-", None),
        (b"bytes=a-b", None),
        (b"bytes=1-2x", None),
        (b"bytes=1", None),
        (b"bytes=+1-2", None),
        (b"bytes=1_0-", None),
        ("bytes=١-٢".encode(), None),
        (b"bytes =1-2", None),
        (b"lines=1-2", None),
        (b"bytes", None),
        (b"", None),
        (b"bytes=0-1,1-2", None),
        (b"bytes=0-,-1", None),
        (b"bytes=0-0,2-2,4-4,6-6,8-8", None),
        (b"bytes=" + b"0-0," * 2000, None),
        (b"bytes=" + b"0" * 5000 + b"-", None),
    ],
)
def test_ranges_of_ten_bytes(value: bytes, spans: list[Span] | None) -> None:
    assert spans_of(value, 10, limit=4) == spans


def test_nothing_cannot_be_divided() -> None:
    assert spans_of(b"bytes=0-", 0, limit=4) is None
    assert spans_of(b"bytes=0-", 10, limit=0) is None


@given(
    value=st.one_of(
        st.binary(max_size=60),
        st.text("0123456789-, ", max_size=60).map(lambda text: b"bytes=" + text.encode()),
    ),
    size=st.integers(min_value=0, max_value=2**63),
    limit=st.integers(min_value=0, max_value=20),
)
def test_spans_are_apart_and_within_the_file(value: bytes, size: int, limit: int) -> None:
    spans = spans_of(value, size, limit=limit)
    if spans is not None:
        assert len(spans) <= limit
        assert all(0 <= start < end <= size for start, end in spans)
        assert sum(end - start for start, end in spans) <= size
