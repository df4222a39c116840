"""Base64 in pieces: of any size on the way in, padded wherever the sender flushed; padded each on the way out."""

from __future__ import annotations

import binascii

from daemun import ExchangeError, Reason

__all__ = ["Decoder", "encode"]


def encode(data: bytes) -> bytes:
    """`data` as base64 that stands for itself, padded."""
    return binascii.b2a_base64(data, newline=False)


class Decoder:
    """Decodes base64 that comes in chunks of any size."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, data: bytes) -> bytes:
        """The bytes that the next chunk completes. Raises `ExchangeError` for what is no base64."""
        data = self._waiting + data
        whole = len(data) & ~3
        self._waiting = data[whole:]
        return _decoded(data[:whole])

    def end(self) -> bytes:
        """The bytes of a last group without its padding. Raises `ExchangeError` if it is cut."""
        data, self._waiting = self._waiting, b""
        return _decoded(data + b"=" * (-len(data) % 4))


def _decoded(data: bytes) -> bytes:
    """What whole groups stand for; any of them may be padded."""
    found, begin = [], 0
    try:
        while (padding := data.find(b"=", begin)) >= 0:
            end = (padding & ~3) + 4
            found.append(binascii.a2b_base64(data[begin:end], strict_mode=True))
            begin = end
        found.append(binascii.a2b_base64(data[begin:], strict_mode=True))
    except binascii.Error:
        raise ExchangeError(Reason.BAD_REQUEST, "the content is no base64") from None
    return b"".join(found)
