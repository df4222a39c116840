"""Which fields may hold a secret: no table keeps them, here or at a peer (RFC 7541 §7.1.3).

Their names tell, or the peer did that sent one as never to be indexed.
"""

from __future__ import annotations

import re

__all__ = ["NeverIndexed", "is_secret"]

_SECRET = re.compile(rb"auth|cookie|token|secret|key|session|password|credential|signature")


def is_secret(name: bytes) -> bool:
    """Whether fields with this name may hold a secret."""
    return _SECRET.search(name) is not None


class NeverIndexed(tuple[bytes, bytes]):
    """A field that came as never to be indexed, and goes out so. No table finds it: it is equal to itself only."""

    __slots__ = ()

    __hash__ = object.__hash__
    __eq__ = object.__eq__
