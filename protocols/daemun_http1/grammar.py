"""What a head may look like. Stricter than RFC 9112 allows a recipient to be: whatever two parsers could read in
two ways is refused, with either codec."""

from __future__ import annotations

import re

from daemun import ExchangeError, Reason

__all__ = [
    "FIELD_LINES",
    "PLAIN_REQUEST_LINE",
    "REQUEST_LINE",
    "STATUS_LINE",
    "bare_line_end",
    "early_fault",
    "request_fault",
]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_METHOD = _TOKEN[:-1] + rb"{1,64}"

FIELD_LINES = re.compile(rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+")
"""Field lines with their ends (RFC 9112 §5)."""
REQUEST_LINE = re.compile(rb"(" + _METHOD + rb") ([\x21-\x7e]++) HTTP/1\.([01])")
"""Method, target, minor version (RFC 9112 §3)."""
PLAIN_REQUEST_LINE = re.compile(
    rb"(GET|POST|HEAD|PUT|DELETE|PATCH|OPTIONS) "
    rb"(/(?!/)[\x21-\x22\x24\x26-\x2d\x2f-\x5b\x5d-\x7e]*+(?:(?<!/)\.[\x21-\x22\x24\x26-\x2d\x2f-\x5b\x5d-\x7e]*+)*+) "
    rb"HTTP/1\.1"
)
"""Most request lines: a target that is a path on which `normal_target` has nothing to do."""
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*+)?")
"""Minor version, status (RFC 9112 §4)."""

_OTHER_VERSION = re.compile(_METHOD + rb" [\x21-\x7e]+ HTTP/[0-9]\.[0-9]")
_FIELD_LINE = re.compile(_TOKEN + rb":[\t\x20-\x7e\x80-\xff]*")
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\x00")


def request_fault(block: bytes) -> ExchangeError:
    """Why `block`, up to its empty line, is no request head."""
    lines = block.split(b"\r\n")
    line = lines[0]
    if not REQUEST_LINE.fullmatch(line):
        if _OTHER_VERSION.fullmatch(line):
            return ExchangeError(Reason.VERSION_REFUSED, "only HTTP/1.0 and HTTP/1.1 are spoken here")
        return ExchangeError(Reason.BAD_REQUEST, "malformed request line")
    for field in lines[1:]:
        if field and not _FIELD_LINE.fullmatch(field):
            name = field.partition(b":")[0][:40].decode("ascii", "backslashreplace")
            return ExchangeError(Reason.BAD_REQUEST, f"malformed field line {name!r}")
    return ExchangeError(Reason.BAD_REQUEST, "malformed head")


def bare_line_end(start: bytes, seen: int) -> bool:
    """Whether a CR or LF stands alone, or a NUL, in what came of a head; `seen` bytes were looked at."""
    return _BARE_LINE_END.search(start, max(0, seen - 1)) is not None


def early_fault(start: bytes, seen: int) -> ExchangeError | None:
    """What is wrong with the beginning of a request head whose end has not come; `seen` bytes were looked at."""
    if bare_line_end(start, seen):
        return ExchangeError(Reason.BAD_REQUEST, "a line does not end in CR LF")
    end = start.find(b"\r\n")
    if end >= 0 and seen <= end + 2 and not REQUEST_LINE.fullmatch(start, 0, end):
        return request_fault(start[:end])
    return None
