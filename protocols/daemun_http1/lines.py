"""Field lines of heads, each read once: grammar and codec read a line that is new, a table remembers what it says.

The same lines come again and again, from a browser's `Accept-Encoding` to a server's `Content-Type` (HPACK rests on
the same fact). Lines that are long, or that may hold a secret, are read each time and not kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from daemun_http1.codec import Fields, HeadError
from daemun_http1.roles import CONNECTION, KEEP_ALIVE, KEPT

__all__ = ["MAX_LINES", "MAX_LINE_BYTES", "SECRET", "Line", "Lines"]

Line = tuple[int, tuple[bytes, bytes], bytes]
"""What a field means for its connection, the field, and the line that it makes."""

MAX_LINES = 16_384
"""Lines that a table holds; then it begins anew."""
MAX_LINE_BYTES = 256
"""Longest line that is kept."""
SECRET = re.compile(rb"auth|cookie|token|secret|key|session|password|credential|signature")
"""Names of fields that may hold one are never kept."""


class Lines:
    """Reads the field lines of one kind of head."""

    __slots__ = ("_known", "_look_up", "_names", "_parse", "_roles", "_underscores")

    def __init__(
        self, parse: Callable[[list[bytes]], Fields], roles: Mapping[bytes, int], underscores: int | None = None
    ) -> None:
        """`parse` is the codec's. `underscores`: the role of fields whose name holds one; None: they are as others."""
        self._parse = parse
        self._roles = roles
        self._underscores = underscores
        self._known: dict[bytes, Line] = {}
        self._look_up = self._known.get
        self._names: dict[bytes, tuple[int, bool]] = {}

    def read(self, lines: list[bytes]) -> list[Line]:
        """What `lines` (without their ends) say. Raises `HeadError` for a line that grammar or codec refuse."""
        found = list(map(self._look_up, lines))
        if None in found:
            self._learn(lines, found)
        return found  # type: ignore[return-value]

    def _learn(self, lines: list[bytes], found: list[Line | None]) -> None:
        """Fills in what is missing in `found`."""
        new = [place for place, line in enumerate(found) if line is None]
        fields = self._parse([lines[place] for place in new])
        if len(fields) != len(new):
            raise HeadError("a field line is no field line")
        known = self._known
        if len(known) + len(new) > MAX_LINES:
            known.clear()
        for place, field in zip(new, fields, strict=True):
            name, value = field
            role, kept = self._names.get(name) or self._name(name)
            if role == CONNECTION and value.lower() == b"keep-alive":
                role = KEEP_ALIVE
            found[place] = entry = (role, field, b"%b: %b\r\n" % field)
            line = lines[place]
            if kept and len(line) <= MAX_LINE_BYTES:
                known[line] = entry

    def _name(self, name: bytes) -> tuple[int, bool]:
        """The role of the fields with this name, and whether their lines may be kept."""
        hidden = self._underscores is not None and b"_" in name
        role = self._underscores if hidden else self._roles.get(name, KEPT)
        assert role is not None
        found = role, not SECRET.search(name)
        if len(self._names) < MAX_LINES and len(name) <= MAX_LINE_BYTES:
            self._names[name] = found
        return found
