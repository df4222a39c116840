"""What two sides agree on about compression: permessage-deflate as it is offered and answered (RFC 7692 §7.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from daemun import ExchangeError, Reason
from daemun_websocket.deflate import MIN_BITS, Deflater, Inflater
from daemun_websocket.opening import Extension, read_extensions

__all__ = ["Agreed", "agree", "make_offer", "read_answer"]

_NAME = b"permessage-deflate"
_FLAGS = (b"client_no_context_takeover", b"server_no_context_takeover")
_BITS = re.compile(rb"[89]|1[0-5]")
_NO_VALUE = re.compile(rb"")
_ANSWERED = {
    **dict.fromkeys(_FLAGS, _NO_VALUE),
    b"server_max_window_bits": _BITS,
    b"client_max_window_bits": _BITS,
}
_OFFERED = _ANSWERED | {b"client_max_window_bits": re.compile(rb"(?:[89]|1[0-5])?")}
_MAX_BITS = 15

_Parameters = dict[bytes, bytes]


class Agreed(Struct, frozen=True):
    """What was agreed on for one side. A window of 8 bits is kept by never compressing."""

    server_bits: int = _MAX_BITS
    client_bits: int = _MAX_BITS
    server_keeps: bool = True
    """The server's messages may refer to earlier ones."""
    client_keeps: bool = True

    def deflater(self, *, client: bool) -> Deflater | None:
        """The compressing half of a client or a server; None: what it sends is not compressed."""
        bits, keeps = (self.client_bits, self.client_keeps) if client else (self.server_bits, self.server_keeps)
        return Deflater(bits, keeps) if bits >= MIN_BITS else None

    def inflater(self, *, client: bool) -> Inflater:
        """The decompressing half of a client or a server."""
        bits, keeps = (self.server_bits, self.server_keeps) if client else (self.client_bits, self.client_keeps)
        return Inflater(max(bits, MIN_BITS), keeps)


def agree(offers: Iterable[bytes], window_bits: int) -> tuple[Agreed, bytes] | None:
    """What the gateway, as a server with windows of at most `window_bits`, makes of a client's field values.

    The first offer that can be met, and the answer to it; None: no compression.
    """
    try:
        extensions = read_extensions(offers)
    except ValueError:
        return None
    for extension in extensions:
        parameters = _parameters(extension, offered=True)
        if parameters is None:
            continue
        answer = [_NAME, *(flag for flag in _FLAGS if flag in parameters)]
        server = client = _MAX_BITS
        if b"server_max_window_bits" in parameters:
            server = min(window_bits, int(parameters[b"server_max_window_bits"]))
            answer.append(b"server_max_window_bits=%d" % server)
        if b"client_max_window_bits" in parameters:
            client = min(window_bits, int(parameters[b"client_max_window_bits"] or _MAX_BITS))
            answer.append(b"client_max_window_bits=%d" % client)
        agreed = _agreed(parameters, min(server, window_bits), client)
        return agreed, b"; ".join(answer)
    return None


def make_offer(window_bits: int) -> bytes:
    """What the gateway, as a client, offers an upstream."""
    plain = _NAME + b"; client_max_window_bits"
    if window_bits == _MAX_BITS:
        return plain
    return b"%b; server_max_window_bits=%d, %b" % (plain, window_bits, plain)


def read_answer(answers: list[bytes], window_bits: int, *, offered: bool) -> Agreed | None:
    """What an upstream made of the offer; None: no compression. Raises `ExchangeError` for anything not offered."""
    if not answers:
        return None
    try:
        extensions = read_extensions(answers)
    except ValueError:
        extensions = ()
    parameters = _parameters(extensions[0], offered=False) if offered and len(extensions) == 1 else None
    if parameters is None:
        raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream answered with extensions that were not offered")
    server = int(parameters.get(b"server_max_window_bits", _MAX_BITS))
    client = int(parameters.get(b"client_max_window_bits", _MAX_BITS))
    return _agreed(parameters, server, min(client, window_bits))


def _agreed(parameters: _Parameters, server_bits: int, client_bits: int) -> Agreed:
    return Agreed(
        server_bits,
        client_bits,
        b"server_no_context_takeover" not in parameters,
        b"client_no_context_takeover" not in parameters,
    )


def _parameters(extension: Extension, *, offered: bool) -> _Parameters | None:
    """The parameters of a permessage-deflate, each known, once, with a value that it may have (RFC 7692 §7.1); else
    None."""
    values = _OFFERED if offered else _ANSWERED
    found = {name: value or b"" for name, value in extension.parameters}
    if extension.name != _NAME or len(found) < len(extension.parameters):
        return None
    fits = all(name in values and values[name].fullmatch(value) for name, value in found.items())
    return found if fits else None
