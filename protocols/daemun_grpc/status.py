"""Status codes of gRPC, what HTTP and our own errors are among them, and the words that go with one.

A table is used in one direction only: what HTTP said becomes a code where `grpc-status` is missing, and nowhere else.
"""

from __future__ import annotations

import enum
import re
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from daemun import ExchangeError, Reason

__all__ = [
    "BY_REASON",
    "HTTP_STATUS",
    "Code",
    "code_of",
    "decode_words",
    "encode_words",
    "from_http",
    "phrase",
    "read_code",
]


class Code(enum.IntEnum):
    """A status code of gRPC; the value is what `grpc-status` says."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_FROM_HTTP = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    431: Code.INTERNAL,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}

HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""The HTTP status of each code where an answer is plain HTTP (`google.rpc.Code`, the Connect protocol)."""

BY_REASON = {
    Reason.BAD_REQUEST: Code.INTERNAL,
    Reason.CLIENT_LEFT: Code.CANCELLED,
    Reason.REQUEST_TIMEOUT: Code.DEADLINE_EXCEEDED,
    Reason.FORBIDDEN: Code.PERMISSION_DENIED,
    Reason.CONTENT_TOO_LARGE: Code.RESOURCE_EXHAUSTED,
    Reason.TARGET_TOO_LONG: Code.RESOURCE_EXHAUSTED,
    Reason.UNSUPPORTED_CONTENT: Code.UNIMPLEMENTED,
    Reason.EXPECTATION_FAILED: Code.INTERNAL,
    Reason.UPGRADE_REQUIRED: Code.UNIMPLEMENTED,
    Reason.HEAD_TOO_LARGE: Code.RESOURCE_EXHAUSTED,
    Reason.FLOOD: Code.RESOURCE_EXHAUSTED,
    Reason.METHOD_REFUSED: Code.INTERNAL,
    Reason.MISDIRECTED: Code.INTERNAL,
    Reason.CLIENT_TIMEOUT: Code.DEADLINE_EXCEEDED,
    Reason.NOT_IMPLEMENTED: Code.UNIMPLEMENTED,
    Reason.VERSION_REFUSED: Code.UNIMPLEMENTED,
    Reason.NO_ROUTE: Code.UNIMPLEMENTED,
    Reason.PLUGIN_FAULT: Code.INTERNAL,
    Reason.ROUTE_FAULT: Code.INTERNAL,
    Reason.IDLE_TIMEOUT: Code.DEADLINE_EXCEEDED,
    Reason.WAITING_ROOM_FULL: Code.UNAVAILABLE,
    Reason.NO_ENDPOINT: Code.UNAVAILABLE,
    Reason.OVERLOADED: Code.UNAVAILABLE,
    Reason.ACTIVATION_FAILED: Code.DEADLINE_EXCEEDED,
    Reason.ROUTE_TIMEOUT: Code.DEADLINE_EXCEEDED,
    Reason.CONNECT_FAILED: Code.UNAVAILABLE,
    Reason.CONNECT_TIMEOUT: Code.UNAVAILABLE,
    Reason.UPSTREAM_CLOSED: Code.UNAVAILABLE,
    Reason.UPSTREAM_PROTOCOL: Code.INTERNAL,
    Reason.UPSTREAM_TIMEOUT: Code.DEADLINE_EXCEEDED,
}
"""The code of each of our own errors."""


def from_http(status: int) -> Code:
    """What an HTTP status means for a call whose answer has no `grpc-status`."""
    return _FROM_HTTP.get(status, Code.UNKNOWN)


def code_of(error: ExchangeError) -> Code:
    """The code of an error of ours; of one whose plugin chose an HTTP status, by that status."""
    if error.status != error.reason.status:
        return from_http(error.status)
    return BY_REASON[error.reason]


def read_code(value: bytes) -> Code:
    """What a `grpc-status` says; `UNKNOWN` if it is no code."""
    try:
        return Code(int(value)) if value.isdigit() and len(value) <= 2 else Code.UNKNOWN
    except ValueError:
        return Code.UNKNOWN


_UNSAFE = re.compile(rb"[^ -$&-~]|^ | $")


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def encode_words(words: str) -> bytes:
    """`words` as a `grpc-message`: UTF-8, with all but printable ASCII as %XX. A blank at an end is escaped too, as
    no field may begin or end with one."""
    return _UNSAFE.sub(_escape, words.encode("utf-8", "replace"))


def decode_words(value: bytes) -> str:
    """The words of a `grpc-message`; what is no escape, or no UTF-8, is kept as well as it can be."""
    return unquote_to_bytes(value).decode("utf-8", "replace")


def phrase(status: int) -> str:
    """An HTTP status with its words, such as `503 Service Unavailable`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
