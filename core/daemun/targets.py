"""Host and path of a request in their normal forms: what routes and back ends see, whatever protocol brought them."""

from __future__ import annotations

import re

from daemun.errors import ExchangeError, Reason

__all__ = ["normal_authority", "normal_origin", "normal_target"]

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?")
_ESCAPED_DELIMITER = re.compile(rb"%(?:0[0-9A-Fa-f]|1[0-9A-Fa-f]|20|2[3fF]|3[aAfF]|40|5[bBcCdD]|7[fF])")
_MAX_AUTHORITIES = 16_384
_authorities: dict[bytes, bytes] = {}


def normal_authority(raw: bytes) -> bytes:
    """A `Host` or `:authority` in lower case, without an empty port. Raises `ExchangeError` (RFC 9110 §7.2)."""
    found = _authorities.get(raw)
    if found is not None:
        return found
    match = _HOST.fullmatch(raw)
    if match is None or _ESCAPED_DELIMITER.search(raw) or int(match[1] or 0) > 65535:
        raise ExchangeError(Reason.BAD_REQUEST, "malformed host")
    normal = raw.lower()
    normal = normal.removesuffix(b":")
    if len(_authorities) < _MAX_AUTHORITIES:
        _authorities[raw] = normal
    return normal


_OWN_PORTS = {b"http": b":80", b"ws": b":80", b"https": b":443", b"wss": b":443"}


def normal_origin(origin: bytes) -> bytes:
    """An `Origin` as browsers send it: in lower case, without the port that is the scheme's own (RFC 6454 §6.2)."""
    origin = origin.lower()
    port = _OWN_PORTS.get(origin.partition(b"://")[0])
    return origin.removesuffix(port) if port else origin


_SUSPECT = re.compile(rb"/\.|%|\\|#")
_UNRESERVED = re.compile(rb"%(4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe]|3[0-9]|2[DdEe])")
_CUT_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_DOTS = re.compile(rb"(?:^|/|%2[fF]|%5[cC])\.{1,2}(?:$|[/;?]|%2[fF]|%5[cC]|%00|%3[bB])")


def normal_target(target: bytes) -> bytes:
    """A path with its query as it is handed on. Raises `ExchangeError` for what a back end could read in two ways.

    Dot segments in any spelling, encoded NUL, a backslash, half an escape and a fragment are refused. Leading slashes
    become one, and letters, digits, `-`, `.`, `_`, `~` that came encoded are decoded (RFC 3986 §6.2.2.2), so that
    routes and back ends see the same path. Everything else is kept as it came, encoded slashes and double slashes too.
    """
    if target[:2] == b"//":
        target = b"/" + target.lstrip(b"/")
    if _SUSPECT.search(target):
        path, mark, query = target.partition(b"?")
        if b"#" in target:
            raise ExchangeError(Reason.BAD_REQUEST, "a target holds no fragment")
        if b"%" in path:
            if _CUT_ESCAPE.search(path):  # decoding what follows it could make another escape of it
                raise ExchangeError(Reason.BAD_REQUEST, "a path holds a % that two hex digits do not follow")
            path = _UNRESERVED.sub(_decoded, path)
        if _DOTS.search(path):
            raise ExchangeError(Reason.BAD_REQUEST, "a path holds no dot segments; send it resolved")
        if b"%00" in path or b"\\" in path:
            raise ExchangeError(Reason.BAD_REQUEST, "a path holds no backslash and no NUL")
        target = path + mark + query
    return target


def _decoded(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode())
