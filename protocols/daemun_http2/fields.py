"""Which fields a peer may send, and what they mean for its connection (RFC 9113 §8.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from daemun import IDENTITY_FIELDS
from daemun_http2.decoding import Field
from daemun_http2.encoding import MAX_FIELD_BYTES, MAX_FIELDS
from daemun_http2.secrets import is_secret

__all__ = [
    "CONTENT_TYPE",
    "COOKIE",
    "DROPPED",
    "EXPECT",
    "HOST",
    "IDENTITY",
    "KEPT",
    "LENGTH",
    "PSEUDO",
    "UNDERSCORE",
    "Malformed",
    "role_of",
]

KEPT = 0
PSEUDO = 1
HOST = 2
LENGTH = 3
COOKIE = 4
EXPECT = 5
IDENTITY = 6
UNDERSCORE = 7
DROPPED = 8
CONTENT_TYPE = 9

_ROLES: Mapping[bytes, int] = {
    **dict.fromkeys(IDENTITY_FIELDS, IDENTITY),
    b"content-length": LENGTH,
    b"content-type": CONTENT_TYPE,
    b"cookie": COOKIE,
    b"expect": EXPECT,
    b"host": HOST,
    b"http2-settings": DROPPED,
    b"proxy": DROPPED,  # CGI's HTTP_PROXY
    b"proxy-authorization": DROPPED,
}
_OF_CONNECTION = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol", b":status"))
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")

_known: dict[Field, int] = {}
_look_up = _known.get


class Malformed(Exception):
    """A message that breaks the rules of HTTP/2: its stream is reset."""


def role_of(field: Field) -> int:
    """What a field means. Raises `Malformed` for one that may not be there."""
    role = _look_up(field)
    return _judge(field) if role is None else role


def _judge(field: Field) -> int:
    name, value = field
    if name[:1] == b":":
        if name not in _PSEUDO:
            raise Malformed("an unknown pseudo-header field")
        return PSEUDO
    if not _NAME.fullmatch(name):
        raise Malformed("a field name that is none")
    if not _VALUE.fullmatch(value):
        raise Malformed("a field value with a control, or white space around it")
    if name in _OF_CONNECTION:
        raise Malformed("a field that belongs to a connection")
    if name == b"te":
        if value.lower() != b"trailers":
            raise Malformed("te says more than trailers")
        return DROPPED
    role = _ROLES.get(name, KEPT)
    if role == KEPT and b"_" in name:
        role = UNDERSCORE
    if len(name) + len(value) <= MAX_FIELD_BYTES and type(field) is tuple and not is_secret(name):
        if len(_known) >= MAX_FIELDS:
            _known.clear()
        _known[field] = role
    return role
