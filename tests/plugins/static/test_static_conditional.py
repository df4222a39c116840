"""Preconditions in the order of RFC 9110 §13.2.2, over every form that a field can have."""

from __future__ import annotations

from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun_static.conditional import (
    Validators,
    http_date,
    parse_http_date,
    range_counts,
    status_of,
    validators_of,
)

TAG = b'"abc"'
NOW = 1_700_000_000
FILE = Validators(TAG, NOW)
EARLIER, SAME, LATER = http_date(NOW - 1), http_date(NOW), http_date(NOW + 1)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({b"if-match": TAG}, 200),
        ({b"if-match": b"*"}, 200),
        ({b"if-match": b'"x", "abc"'}, 200),
        ({b"if-match": b'"x"'}, 412),
        ({b"if-match": b'W/"abc"'}, 412),
        ({b"if-match": b""}, 412),
        ({b"if-match": b"nonsense"}, 412),
        ({b"if-match": TAG, b"if-unmodified-since": EARLIER}, 200),
        ({b"if-unmodified-since": SAME}, 200),
        ({b"if-unmodified-since": EARLIER}, 412),
        ({b"if-unmodified-since": b"yesterday"}, 200),
        ({b"if-none-match": TAG}, 304),
        ({b"if-none-match": b'W/"abc"'}, 304),
        ({b"if-none-match": b"*"}, 304),
        ({b"if-none-match": b' ,, "a,b" ,W/"y",\t"abc",'}, 304),
        ({b"if-none-match": b'"x"'}, 200),
        ({b"if-none-match": b"abc"}, 200),
        ({b"if-none-match": b'"x" "abc"'}, 200),
        ({b"if-none-match": b'"x"' + b', "y"' * 50_000 + b', "abc"'}, 200),
        ({b"if-none-match": b'"x"', b"if-modified-since": SAME}, 200),
        ({b"if-modified-since": SAME}, 304),
        ({b"if-modified-since": LATER}, 304),
        ({b"if-modified-since": EARLIER}, 200),
        ({b"if-modified-since": b"0"}, 200),
        ({b"if-modified-since": SAME + b", " + SAME}, 200),
        ({b"if-match": b'"x"', b"if-none-match": TAG}, 412),
        ({b"if-match": TAG, b"if-none-match": TAG}, 304),
        ({b"if-unmodified-since": EARLIER, b"if-none-match": TAG}, 412),
    ],
)
def test_order_of_preconditions(fields: dict[bytes, bytes], status: int) -> None:
    assert status_of(fields, FILE) == status


def test_dates_do_not_count_where_none_is_known() -> None:
    undated = Validators(TAG, None)
    assert status_of({b"if-modified-since": LATER}, undated) == 200
    assert status_of({b"if-unmodified-since": EARLIER}, undated) == 200
    assert not range_counts(SAME, undated)


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        (None, True),
        (TAG, True),
        (b'W/"abc"', False),
        (b'"x"', False),
        (b'"abc", "x"', False),
        (SAME, True),
        (EARLIER, False),
        (LATER, False),
        (b"", False),
        (b"*", False),
    ],
)
def test_if_range(value: bytes | None, counts: bool) -> None:
    assert range_counts(value, FILE) is counts


def test_a_date_of_this_very_second_is_too_weak_for_a_range() -> None:
    present = int(time())
    assert not range_counts(http_date(present + 5), Validators(TAG, present + 5))


@pytest.mark.parametrize(
    "value",
    [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_of_a_date(value: bytes) -> None:
    assert parse_http_date(value) == 784_111_777


@pytest.mark.parametrize(
    "value",
    [
        b"Sun, 31 Feb 1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:00:00 GMT",
        b"Sun, 06 Nov 1994 08:49:37 +0100",
        b"sun, 06 nov 1994 08:49:37 gmt",
        b"Sun, 06 Nov 1994 08:49:37 GMT\n",
        b"9" * 100_000,
    ],
)
def test_other_dates_are_none(value: bytes) -> None:
    assert parse_http_date(value) is None


@given(st.integers(min_value=0, max_value=253_402_300_799))
def test_dates_go_there_and_back(seconds: int) -> None:
    assert parse_http_date(http_date(seconds)) == seconds


_NAMES = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")
_VALUES = st.one_of(
    st.binary(max_size=60),
    st.text('W/"abc, *\t', max_size=30).map(str.encode),
    st.text("SunMonTueJanFeb0123456789 :,-GMT", max_size=40).map(str.encode),
    st.from_regex(rb"\A(Mon|Sunday)[, ]+\d\d[ -](Jan|Foo)[ -]\d{2,4} \d\d:\d\d:\d\d GMT\Z"),
)


@given(st.dictionaries(st.sampled_from(_NAMES), _VALUES), _VALUES, st.booleans())
def test_no_field_is_a_fault(fields: dict[bytes, bytes], if_range: bytes, dated: bool) -> None:
    validators = FILE if dated else Validators(TAG, None)
    assert status_of(fields, validators) in {200, 304, 412}
    assert range_counts(if_range, validators) in {True, False}


@given(stamp=st.integers(min_value=-(2**63), max_value=2**63 - 1), size=st.integers(0, 2**63 - 1))
def test_every_time_stamp_has_validators(stamp: int, size: int) -> None:
    etag, modified = validators_of(mtime_ns=stamp, ctime_ns=1, size=size, coding="br")
    assert status_of({b"if-none-match": etag}, Validators(etag, modified)) == 304
    assert modified is None or parse_http_date(http_date(modified)) == modified


def test_validators_tell_versions_and_codings_apart() -> None:
    tags = {
        validators_of(mtime_ns=mtime, ctime_ns=ctime, size=size, coding=coding).etag
        for mtime, ctime, size, coding in (
            (NOW * 10**9, 1, 5, ""),
            (NOW * 10**9, 1, 5, "br"),
            (NOW * 10**9, 1, 6, ""),
            (NOW * 10**9 + 1, 1, 5, ""),
            (0, 1, 5, ""),
            (0, 2, 5, ""),
        )
    }
    assert len(tags) == 6
