"""Which fields may hold a secret: no table keeps them, here or at a peer (RFC 7541 §7.1.3).

Their names tell, or a peer did that sent one as never to be indexed.
"""

from __future__ import annotations

import re

__all__ = ["GUARDED", "guard", "is_guarded"]

_SECRET = re.compile(rb"auth|cookie|token|secret|key|session|password|credential|signature")
_MAX_NAMES = 1024
_MAX_NAME_BYTES = 64

GUARDED: set[bytes] = set()
"""Names of fields that peers sent as never to be indexed. It only grows, and not without bound."""


def is_guarded(name: bytes) -> bool:
    """Whether fields with this name may hold a secret."""
    return name in GUARDED or _SECRET.search(name) is not None


def guard(name: bytes) -> None:
    """Fields with this name came as never to be indexed."""
    if name not in GUARDED and len(name) <= _MAX_NAME_BYTES and len(GUARDED) < _MAX_NAMES:
        GUARDED.add(name)
