"""Field lines of heads, each read once: grammar and codec read a line that is new, a table remembers what it says.

The same lines come again and again, from a browser's `Accept-Encoding` to a server's `Content-Type` (HPACK rests on
the same fact). Lines that are long, or that may hold a secret, are read each time and not kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from daemun import IDENTITY_FIELDS
from daemun_http1 import grammar
from daemun_http1.codec import Fields, HeadError

__all__ = [
    "CODING",
    "CONNECTION",
    "DROPPED",
    "EXPECT",
    "HOST",
    "IDENTITY",
    "KEEP_ALIVE",
    "KEPT",
    "LENGTH",
    "MAX_LINES",
    "MAX_LINE_BYTES",
    "REFUSED",
    "REQUEST_ROLES",
    "RESPONSE_ROLES",
    "SECRET",
    "UPGRADE",
    "Line",
    "Lines",
]

Line = tuple[int, tuple[bytes, bytes]]
"""What a field means for its connection, and the field itself."""

KEPT, HOST, LENGTH, CODING, CONNECTION, UPGRADE, EXPECT, IDENTITY, REFUSED, DROPPED, KEEP_ALIVE = range(11)
"""From `DROPPED` on, a field means nothing to HTTP/1.1: `KEEP_ALIVE` is a `Connection` that asks for the default."""

_HOP: Mapping[bytes, int] = {
    b"connection": CONNECTION,
    b"content-length": LENGTH,
    b"http2-settings": DROPPED,
    b"keep-alive": DROPPED,
    b"proxy-connection": DROPPED,
    b"te": DROPPED,
    b"transfer-encoding": CODING,
    b"upgrade": UPGRADE,
}
"""Fields of the connection and of framing (RFC 9110 §7.6.1)."""
RESPONSE_ROLES = _HOP
REQUEST_ROLES: Mapping[bytes, int] = {
    **_HOP,
    **dict.fromkeys(IDENTITY_FIELDS, IDENTITY),
    b"host": HOST,
    b"proxy": DROPPED,  # CGI's HTTP_PROXY
    b"proxy-authorization": DROPPED,
    b"expect": EXPECT,
}

MAX_LINES = 4096
"""Lines that a table holds; then it begins anew."""
MAX_LINE_BYTES = 256
"""Longest line that is kept."""
SECRET = re.compile(rb"auth|cookie|token|secret|key|session|password|credential|signature")
"""Names of fields that may hold one are never kept."""


class Lines:
    """Reads the field lines of one kind of head."""

    __slots__ = ("_known", "_look_up", "_parse", "_roles", "_underscores")

    def __init__(
        self, parse: Callable[[bytes], Fields], roles: Mapping[bytes, int], underscores: int | None = None
    ) -> None:
        """`parse` is the codec's. `underscores`: the role of fields whose name holds one; None: they are as others."""
        self._parse = parse
        self._roles = roles
        self._underscores = underscores
        self._known: dict[bytes, Line] = {}
        self._look_up = self._known.__getitem__

    def read(self, lines: list[bytes]) -> list[Line]:
        """What `lines` (without their ends) say. Raises `HeadError` for a line that grammar or codec refuse."""
        try:
            return list(map(self._look_up, lines))
        except KeyError:
            return self._learn(lines)

    def _learn(self, lines: list[bytes]) -> list[Line]:
        known = self._known
        new = [line for line in lines if line not in known]
        block = b"\r\n".join(new) + b"\r\n"
        if not grammar.FIELD_LINES.fullmatch(block):
            raise HeadError("malformed field line")
        fields = self._parse(block)
        if len(fields) != len(new):
            raise HeadError("a field line is no field line")
        read = {line: (self._role(*field), field) for line, field in zip(new, fields, strict=True)}
        found = [read[line] if line in read else known[line] for line in lines]
        if len(known) + len(read) > MAX_LINES:
            known.clear()
        for line, entry in read.items():
            if len(line) <= MAX_LINE_BYTES and not SECRET.search(entry[1][0]):
                known[line] = entry
        return found

    def _role(self, name: bytes, value: bytes) -> int:
        if self._underscores is not None and b"_" in name:
            return self._underscores
        role = self._roles.get(name, KEPT)
        return KEEP_ALIVE if role == CONNECTION and value.lower() == b"keep-alive" else role
