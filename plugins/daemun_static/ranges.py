"""Which bytes a `Range` field asks for (RFC 9110 §14). Pure functions, bounded in what they look at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["MAX_FIELD_BYTES", "MAX_POSITION", "Span", "content_range", "multipart", "spans_of"]

Span = tuple[int, int]
"""First byte, and the one after the last."""

MAX_FIELD_BYTES = 4096
MAX_POSITION = 2**63 - 1

_UNIT = re.compile(rb"bytes=", re.IGNORECASE)
_SPEC = re.compile(rb"([0-9]*)-([0-9]*)")


def spans_of(value: bytes, size: int, *, limit: int) -> Sequence[Span] | None:
    """The spans of `size` bytes that `value` asks for, in its order.

    None: the field is to be ignored, because it is malformed, of another unit, too long, has more than
    `limit` ranges, ranges that overlap, or there is nothing to divide. Empty: none of its ranges can be
    satisfied (416).
    """
    if not size or not limit or len(value) > MAX_FIELD_BYTES or not _UNIT.match(value):
        return None
    specs = [spec for item in value[6:].split(b",") if (spec := item.strip(b" \t"))]
    if not specs or len(specs) > limit:
        return None
    spans = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None:
            return None
        first, last = map(_position, match.groups())
        if first is None:
            if last is None:
                return None
            span = (max(0, size - last), size)
        elif last is None:
            span = (first, size)
        elif last < first:
            return None
        else:
            span = (first, min(last + 1, size))
        if span[0] < span[1]:
            spans.append(span)
    if any(one[1] > other[0] for one, other in pairwise(sorted(spans))):
        return None
    return spans


def content_range(span: Span, size: int) -> bytes:
    """`Content-Range` of one span of `size` bytes."""
    return b"bytes %d-%d/%d" % (span[0], span[1] - 1, size)


def multipart(spans: Sequence[Span], boundary: bytes, content_type: bytes, size: int) -> Sequence[Span | bytes]:
    """A `multipart/byteranges` content (§14.6): the spans, and the bytes that stand between them."""
    parts: list[Span | bytes] = []
    for span in spans:
        fields = b"Content-Type: %b\r\nContent-Range: %b" % (content_type, content_range(span, size))
        parts += (b"\r\n--%b\r\n%b\r\n\r\n" % (boundary, fields), span)
    parts.append(b"\r\n--%b--\r\n" % boundary)
    return parts


def _position(digits: bytes) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip(b"0") or b"0"
    return MAX_POSITION if len(digits) > 18 else int(digits)
