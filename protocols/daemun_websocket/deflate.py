"""permessage-deflate (RFC 7692) with bounds: what two sides agree on, and the two halves of its coding."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

from msgspec import Struct

from daemun import ExchangeError, Reason

__all__ = ["Agreed", "Deflater", "Inflater", "TooLong", "agree", "make_offer", "read_answer"]

_NAME = b"permessage-deflate"
_EXTENSION = re.compile(rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*")
_PARAMETER = re.compile(
    rb';[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:=[ \t]*(?:([!#$%&\'*+.^_`|~0-9A-Za-z-]+)|"([^"\\]*)")[ \t]*)?'
)
_FLAGS = (b"client_no_context_takeover", b"server_no_context_takeover")
_BITS = re.compile(rb"[89]|1[0-5]")
_NO_VALUE = re.compile(rb"")
_ANSWERED = {
    **dict.fromkeys(_FLAGS, _NO_VALUE),
    b"server_max_window_bits": _BITS,
    b"client_max_window_bits": _BITS,
}
_OFFERED = _ANSWERED | {b"client_max_window_bits": re.compile(rb"(?:[89]|1[0-5])?")}
_TAIL = b"\x00\x00\xff\xff"
"""What a message leaves out at its end (RFC 7692 §7.2.1)."""
_NOTHING = b"\x00"
"""No bytes, compressed (RFC 7692 §7.2.3.6)."""
_MIN_BITS = 9
"""zlib compresses with no smaller window."""
_MAX_BITS = 15
_LEVEL = 1
"""The worker's other connections wait while a message is compressed."""
_MAX_ENDS = 16
"""Final blocks in one message: usually none, and each costs a new decompressor."""

Parameters = dict[bytes, bytes]


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
        return Deflater(bits, keeps) if bits >= _MIN_BITS else None

    def inflater(self, *, client: bool) -> Inflater:
        """The decompressing half of a client or a server."""
        bits, keeps = (self.server_bits, self.server_keeps) if client else (self.client_bits, self.client_keeps)
        return Inflater(max(bits, _MIN_BITS), keeps)


# --- negotiation ---


def agree(offers: Iterable[bytes], window_bits: int) -> tuple[Agreed, bytes] | None:
    """What the gateway, as a server with windows of at most `window_bits`, makes of a client's field values.

    The first offer that can be met, and the answer to it; None: no compression.
    """
    for name, parameters in _extensions(offers) or ():
        if name != _NAME or parameters is None or not _in_order(parameters, offered=True):
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
    extensions = _extensions(answers)
    if offered and extensions is not None and len(extensions) == 1:
        name, parameters = extensions[0]
        if name == _NAME and parameters is not None and _in_order(parameters, offered=False):
            server = int(parameters.get(b"server_max_window_bits", _MAX_BITS))
            client = int(parameters.get(b"client_max_window_bits", _MAX_BITS))
            return _agreed(parameters, server, min(client, window_bits))
    raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream answered with extensions that were not offered")


def _agreed(parameters: Parameters, server_bits: int, client_bits: int) -> Agreed:
    return Agreed(
        server_bits,
        client_bits,
        b"server_no_context_takeover" not in parameters,
        b"client_no_context_takeover" not in parameters,
    )


def _in_order(parameters: Parameters, *, offered: bool) -> bool:
    """Whether each parameter is known and has a value that it may have (RFC 7692 §7.1)."""
    values = _OFFERED if offered else _ANSWERED
    return all(name in values and values[name].fullmatch(value) for name, value in parameters.items())


def _extensions(values: Iterable[bytes]) -> list[tuple[bytes, Parameters | None]] | None:
    """The members of a list of extensions (RFC 6455 §9.1), parameters None where one came twice; None: malformed."""
    found: list[tuple[bytes, Parameters | None]] = []
    text, place = b",".join(values), 0
    while place < len(text):
        match = _EXTENSION.match(text, place)
        if match is None:
            return None
        name, place = match[1].lower(), match.end()
        parameters: Parameters | None = {}
        while (match := _PARAMETER.match(text, place)) is not None:
            place = match.end()
            key = match[1].lower()
            if parameters is None or key in parameters:
                parameters = None
            else:
                parameters[key] = match[2] or match[3] or b""
        found.append((name, parameters))
        if place < len(text) and text[place : place + 1] != b",":
            return None
        place += 1
    return found


# --- coding ---


class TooLong(Exception):
    """More came out than may."""


class Inflater:
    """Decompresses messages, never further than it is told. It holds no memory before the first one."""

    __slots__ = ("_bits", "_ends", "_keeps", "_run", "_stream")

    def __init__(self, bits: int, keeps: bool) -> None:
        self._bits = bits
        self._keeps = keeps
        self._stream: zlib._Decompress | None = None
        self._run = False
        """The stream is inside of a block, or between two."""
        self._ends = 0

    def inflate(self, data: bytes, limit: int) -> bytes:
        """The next bytes of a message. Raises `TooLong` above `limit` of them, `zlib.error` if they are none."""
        found = b""
        while data:
            if self._stream is None:
                self._stream = zlib.decompressobj(-self._bits)
            stream = self._stream
            found += stream.decompress(data, limit + 1 - len(found))
            if len(found) > limit:
                raise TooLong
            self._run = not stream.eof
            if self._run:
                break
            self._stream = None  # a final block: what follows it is a stream of its own (RFC 7692 §7.2.3.4)
            self._ends += 1
            if self._ends > _MAX_ENDS:
                raise zlib.error("too many final blocks in one message")
            data = stream.unused_data
        return found

    def finish(self, limit: int) -> bytes:
        """What is left of the message at its end. Raises as `inflate` does."""
        found = self.inflate(_TAIL, limit) if self._run else b""
        self._run, self._ends = False, 0
        if not self._keeps:
            self._stream = None
        return found


class Deflater:
    """Compresses messages. It holds no memory before the first one."""

    __slots__ = ("_bits", "_keeps", "_stream")

    def __init__(self, bits: int, keeps: bool) -> None:
        self._bits = bits
        self._keeps = keeps
        self._stream: zlib._Compress | None = None

    def deflate(self, data: bytes, *, last: bool) -> bytes:
        """The next piece of a message; the other side can decompress it as soon as it is there."""
        if self._stream is None:
            self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, -self._bits, self._bits - 7)
        packed = self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        if not last:
            return packed
        if not self._keeps:
            self._stream = None
        return packed[: -len(_TAIL)] or _NOTHING
