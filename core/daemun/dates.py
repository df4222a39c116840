"""The time as HTTP writes it (RFC 9110 §5.6.7), made once a second."""

from __future__ import annotations

from email.utils import formatdate
from time import time

__all__ = ["http_date"]

_made: tuple[int, bytes] = (0, b"")


def http_date() -> bytes:
    """Now, as the value of a `Date` field."""
    global _made
    now = int(time())
    if _made[0] != now:
        _made = (now, formatdate(now, usegmt=True).encode())
    return _made[1]
