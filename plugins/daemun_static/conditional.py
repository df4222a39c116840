"""Validators, and what a conditional request is answered with (RFC 9110 §8.8, §13). Pure functions.

Fields that are malformed or longer than `MAX_FIELD_BYTES` are taken in the way that cannot hurt: no tag in
them matches, no date in them counts.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from time import time
from typing import NamedTuple

__all__ = [
    "MAX_FIELD_BYTES",
    "Validators",
    "http_date",
    "parse_http_date",
    "range_counts",
    "status_of",
    "validators_of",
]

MAX_FIELD_BYTES = 8192

_LAST_SECOND = 253_402_300_799  # of the year 9999
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_TAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_BETWEEN_TAGS = re.compile(rb"[ \t]*(?:,[ \t]*)+|[ \t]*\Z")
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = rb"(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATES = (
    re.compile(_DAY + rb", (?P<day>\d\d) (?P<month>[A-Z][a-z]{2}) (?P<year>\d{4}) " + _TIME + rb" GMT"),
    re.compile(_LONG_DAY + rb", (?P<day>\d\d)-(?P<month>[A-Z][a-z]{2})-(?P<year>\d\d) " + _TIME + rb" GMT"),
    re.compile(_DAY + rb" (?P<month>[A-Z][a-z]{2}) (?P<day>[ \d]\d) " + _TIME + rb" (?P<year>\d{4})"),
)


class Validators(NamedTuple):
    """What tells one version of a file from another."""

    etag: bytes
    """A strong entity tag, with its quotes."""
    modified: int | None
    """Seconds since the epoch of the last change; None: not known."""


def validators_of(*, mtime_ns: int, ctime_ns: int, size: int, coding: str) -> Validators:
    """The validators of a file as it is sent in `coding` (""; `br`, …).

    Time stamps of 0 and 1 say that a packer took them away (reproducible builds): then the tag is made of the
    time of the inode's change, and there is no date. Nor is there one that is to come (RFC 9110 §8.8.2.1).
    """
    seconds = mtime_ns // 1_000_000_000
    known = seconds > 1
    etag = f'"{mtime_ns if known else ctime_ns:x}-{size:x}{"-" if coding else ""}{coding}"'
    return Validators(etag.encode(), seconds if known and seconds <= min(time(), _LAST_SECOND) else None)


def status_of(fields: Mapping[bytes, bytes], validators: Validators) -> int:
    """200, 304 or 412: what the preconditions in `fields` make of a GET or HEAD, in the order of RFC 9110
    §13.2.2."""
    etag, modified = validators
    if (value := fields.get(b"if-match")) is not None:
        if not _has_tag(value, etag, weak=False):
            return 412
    elif modified is not None and (value := fields.get(b"if-unmodified-since")) is not None:
        since = parse_http_date(value)
        if since is not None and modified > since:
            return 412
    if (value := fields.get(b"if-none-match")) is not None:
        return 304 if _has_tag(value, etag, weak=True) else 200
    if modified is not None and (value := fields.get(b"if-modified-since")) is not None:
        since = parse_http_date(value)
        if since is not None and modified <= since:
            return 304
    return 200


def range_counts(if_range: bytes | None, validators: Validators) -> bool:
    """Whether a `Range` may be answered in parts: `If-Range` is absent or names this very version
    (§13.1.5)."""
    if if_range is None:
        return True
    etag, modified = validators
    if if_range.startswith((b'"', b"W/")):
        return if_range == etag
    # A date is a strong validator only if the file has not changed within the same second (§8.8.2.2).
    return modified is not None and parse_http_date(if_range) == modified and time() - modified >= 1


@lru_cache(maxsize=1024)
def http_date(seconds: int) -> bytes:
    """`seconds` since the epoch as an HTTP date."""
    return formatdate(seconds, usegmt=True).encode()


def parse_http_date(value: bytes) -> int | None:
    """Seconds since the epoch that `value` means, in any of the three forms of §5.6.7; None: it is not a
    date."""
    if len(value) > 64:
        return None
    for form in _DATES:
        match = form.fullmatch(value)
        if match is not None:
            break
    else:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        now = datetime.now(UTC).year
        year += now - now % 100
        if year > now + 50:
            year -= 100
    try:
        month = _MONTHS.index(match["month"]) + 1
        day, hour, minute, second = map(int, match.group("day", "hour", "minute", "second"))
        return timegm(datetime(year, month, day, hour, minute, second).timetuple())
    except ValueError:
        return None


def _has_tag(value: bytes, etag: bytes, *, weak: bool) -> bool:
    """Whether the list `value` is `*` or has `etag`; a weak tag in it counts only if `weak`."""
    if value == etag or value == b"*":
        return True
    if len(value) > MAX_FIELD_BYTES:
        return False
    place = len(value) - len(value.lstrip(b", \t"))
    while match := _TAG.match(value, place):
        if match[2] == etag and (weak or not match[1]):
            return True
        between = _BETWEEN_TAGS.match(value, match.end())
        if between is None:
            return False
        place = between.end()
    return False
