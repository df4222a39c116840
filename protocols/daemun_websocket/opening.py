"""The opening handshake: what a client asks for, and whether an answer fits it (RFC 6455 §4)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable

from msgspec import Struct

from daemun import ExchangeError, Reason, Request, Response, header_values

__all__ = ["Extension", "Opening", "accept_key", "check_accepted", "read_extensions", "read_opening"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_IS_TOKEN = re.compile(_TOKEN).fullmatch
_PARAMETER = re.compile(rb'[ \t]*;[ \t]*(%b)(?:[ \t]*=[ \t]*(?:(%b)|"((?:[^"\\]|\\.)*)"))?' % (_TOKEN, _TOKEN))
_NAME = re.compile(rb"[ \t,]*(%b)" % _TOKEN)
_BETWEEN = re.compile(rb"[ \t]*(?:,[ \t,]*|$)")
_MAX_NAMES = 64
_NOT_IN_ANSWERS = (b"sec-websocket-key", b"sec-websocket-version")


class Extension(Struct, frozen=True):
    """An extension that is offered or accepted: its name and parameters, lower-case. None: no value."""

    name: bytes
    parameters: tuple[tuple[bytes, bytes | None], ...] = ()


class Opening(Struct, frozen=True):
    """What a client asks for."""

    key: bytes
    subprotocols: tuple[bytes, ...]
    extensions: tuple[Extension, ...]


def accept_key(key: bytes) -> bytes:
    """The `sec-websocket-accept` that answers `key`."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def read_opening(request: Request) -> Opening:
    """What the client asks for. Raises `ExchangeError`: `BAD_REQUEST`, or `UPGRADE_REQUIRED` for another version."""
    headers = request.headers
    if request.method != b"GET":
        raise _malformed("the opening handshake is a GET")
    versions = header_values(headers, b"sec-websocket-version")
    if versions != [b"13"]:
        if len(versions) > 1:
            raise _malformed("Sec-WebSocket-Version stands there twice")
        raise ExchangeError(Reason.UPGRADE_REQUIRED, "the version of WebSocket spoken here is 13")
    keys = header_values(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise _malformed("Sec-WebSocket-Key is not 16 bytes in base64")
    try:
        extensions = read_extensions(header_values(headers, b"sec-websocket-extensions"))
    except ValueError as error:
        raise _malformed(f"Sec-WebSocket-Extensions: {error}") from None
    return Opening(keys[0], _subprotocols(header_values(headers, b"sec-websocket-protocol")), extensions)


def check_accepted(opening: Opening, response: Response) -> None:
    """Whether the 101 in `response` answers `opening`. Raises `ExchangeError` (upstream protocol)."""
    headers = response.headers
    if header_values(headers, b"sec-websocket-accept") != [accept_key(opening.key)]:
        raise _unfit("Sec-WebSocket-Accept does not answer the key")
    chosen = header_values(headers, b"sec-websocket-protocol")
    if chosen and (len(chosen) > 1 or chosen[0] not in opening.subprotocols):
        raise _unfit("it chose a subprotocol that nobody offered")
    try:
        accepted = read_extensions(header_values(headers, b"sec-websocket-extensions"))
    except ValueError as error:
        raise _unfit(f"Sec-WebSocket-Extensions: {error}") from None
    if not {one.name for one in accepted} <= {one.name for one in opening.extensions}:
        raise _unfit("it accepted an extension that nobody offered")
    if any(name in _NOT_IN_ANSWERS for name, _ in headers):
        raise _unfit("it holds a field of the request")


def read_extensions(values: Iterable[bytes]) -> tuple[Extension, ...]:
    """The extensions in the values of `sec-websocket-extensions` (RFC 6455 §9.1). Raises `ValueError`."""
    found: list[Extension] = []
    for value in values:
        place = 0
        while place < len(value):
            name = _NAME.match(value, place)
            if name is None:
                raise ValueError("a name is no token")
            place = name.end()
            parameters: list[tuple[bytes, bytes | None]] = []
            while (parameter := _PARAMETER.match(value, place)) is not None:
                place = parameter.end()
                parameters.append((parameter[1].lower(), _parameter_value(parameter)))
            between = _BETWEEN.match(value, place)
            if between is None:
                raise ValueError("a parameter is malformed")
            place = between.end()
            found.append(Extension(name[1].lower(), tuple(parameters)))
            if len(found) + len(parameters) > _MAX_NAMES:
                raise ValueError("too many")
    return tuple(found)


def _parameter_value(parameter: re.Match[bytes]) -> bytes | None:
    if parameter[3] is None:
        token: bytes | None = parameter[2]
        return token
    value = re.sub(rb"\\(.)", rb"\1", parameter[3])
    if _IS_TOKEN(value) is None:
        raise ValueError("a quoted parameter is no token")
    return value


def _subprotocols(values: Iterable[bytes]) -> tuple[bytes, ...]:
    names = [name.strip(b" \t") for value in values for name in value.split(b",")]
    found = tuple(filter(None, names))  # empty elements of a list are passed by (RFC 9110 §5.6.1.2)
    if len(names) > _MAX_NAMES or len(set(found)) != len(found) or not all(map(_IS_TOKEN, found)):
        raise _malformed(f"Sec-WebSocket-Protocol is no list of up to {_MAX_NAMES} different names")
    return found


def _is_key(key: bytes) -> bool:
    try:
        return len(key) == 24 and len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _malformed(words: str) -> ExchangeError:
    return ExchangeError(Reason.BAD_REQUEST, words)


def _unfit(words: str) -> ExchangeError:
    return ExchangeError(Reason.UPSTREAM_PROTOCOL, f"the upstream's answer to a WebSocket handshake: {words}")
