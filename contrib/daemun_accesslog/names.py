"""The fields that can be chosen by name, and the header fields that are never logged."""

from __future__ import annotations

import difflib
import re

__all__ = ["DEFAULT_FIELDS", "FIELDS", "holds_url", "is_secret", "parse_field"]

FIELDS = (
    "time",
    "client_address",
    "client_port",
    "listener",
    "scheme",
    "version",
    "method",
    "authority",
    "path",
    "query",
    "status",
    "reason",
    "plugin",
    "route",
    "endpoint",
    "received_bytes",
    "sent_bytes",
    "duration_seconds",
    "cold_start_seconds",
    "server_name",
    "client_name",
    "worker",
)
"""Every field but those of headers, which are `request.NAME` and `response.NAME`."""

DEFAULT_FIELDS = (
    "time",
    "client_address",
    "version",
    "method",
    "authority",
    "path",
    "status",
    "reason",
    "route",
    "endpoint",
    "received_bytes",
    "sent_bytes",
    "duration_seconds",
    "cold_start_seconds",
    "request.user-agent",
)

_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_SECRET_WORDS = (
    "assertion",
    "auth",
    "bearer",
    "cookie",
    "credential",
    "csrf",
    "jwt",
    "key",
    "pass",
    "pwd",
    "secret",
    "session",
    "signature",
    "token",
    "xsrf",
)
"""Anywhere in a name: what it holds may open a door."""
_SECRET_PARTS = frozenset(("otp", "pin", "sid", "sig"))
"""As a part of a name between hyphens: too short to be looked for anywhere."""
_SECRET_NAMES = frozenset(("sec-websocket-protocol",))
"""Names that say nothing, of fields in which clients are known to send credentials."""
_URL_NAMES = frozenset(("content-location", "destination", "link", "location", "referer", "refresh"))
_URL_PARTS = frozenset(("path", "referer", "referrer", "uri", "url"))


def parse_field(name: str) -> tuple[str, str]:
    """The side (`request`, `response`, or "") and the name of a field, as it is written in the settings.

    Raises `ValueError` with words for the operator: it is unknown, or what it holds may be a secret.
    """
    if name in FIELDS:
        return "", name
    side, dot, header = name.partition(".")
    header = header.lower()
    if not dot or side not in ("request", "response") or not _TOKEN.fullmatch(header):
        near = difflib.get_close_matches(name, FIELDS, 1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        accepted = ", ".join(FIELDS)
        raise ValueError(f"unknown field `{name}`{hint} (accepted: {accepted}, request.HEADER, response.HEADER)")
    if is_secret(header):
        raise ValueError(f"`{name}` may hold a secret and is never logged; name another field")
    return side, header


def is_secret(header: str) -> bool:
    """Whether a header field of this name (lower-case) may hold something that opens a door."""
    return (
        header in _SECRET_NAMES
        or any(word in header for word in _SECRET_WORDS)
        or not _SECRET_PARTS.isdisjoint(re.split(r"[-_.]", header))
    )


def holds_url(header: str) -> bool:
    """Whether a header field of this name holds a URL, whose query and user may be secrets."""
    return header in _URL_NAMES or not _URL_PARTS.isdisjoint(re.split(r"[-_.]", header))
