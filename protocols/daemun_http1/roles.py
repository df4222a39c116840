"""What fields mean for the connection that they come by, by name."""

from __future__ import annotations

from collections.abc import Mapping

from daemun import IDENTITY_FIELDS

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
    "REFUSED",
    "REQUEST_ROLES",
    "RESPONSE_ROLES",
    "UPGRADE",
]

KEPT = 0
HOST = 1
LENGTH = 2
CODING = 3
CONNECTION = 4
UPGRADE = 5
EXPECT = 6
IDENTITY = 7
REFUSED = 8
DROPPED = 9
KEEP_ALIVE = 10
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
