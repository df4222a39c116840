"""Heads by our own grammar: each line is checked and taken apart by one regular expression."""

from __future__ import annotations

import re

from daemun_http1.codec import Fields, HeadError

__all__ = ["PlainCodec"]

_FIELD = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*+((?:[\x21-\x7e\x80-\xff]++(?:[\t ]++(?=[\x21-\x7e\x80-\xff]))?+)*+)[\t ]*+"
)


class PlainCodec:
    """Takes field lines apart as they are (RFC 9112 §5)."""

    name = "plain"

    def request_fields(self, lines: list[bytes]) -> Fields:
        return _fields(lines)

    def response_fields(self, lines: list[bytes]) -> Fields:
        return _fields(lines)


def _fields(lines: list[bytes]) -> Fields:
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise HeadError("malformed field line")
        name, value = match.groups()
        fields.append((name.lower(), value))
    return fields
