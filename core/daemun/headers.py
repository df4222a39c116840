"""Header fields: what heads and trailer sections are made of."""

from __future__ import annotations

__all__ = ["Headers", "header", "header_values"]

Headers = tuple[tuple[bytes, bytes], ...]
"""Fields in the order of the wire. Names are lower-case. Framing and hop-by-hop fields are not among them:
`content-length` and `transfer-encoding` follow from the body (RFC 9110 §7.6.1)."""


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of the field `name` (lower-case), or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def header_values(headers: Headers, name: bytes) -> list[bytes]:
    """Every value of the field `name` (lower-case), in order."""
    return [value for key, value in headers if key == name]
