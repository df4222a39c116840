"""HTTP/2 as a client in memory speaks it, and the bare loop of the library h2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count, cycle
from time import process_time_ns

import h2.config
import h2.connection
import h2.events
from hpack import Encoder

from daemun.testing.measuring import Message

__all__ = ["bare_h2", "ends", "speak_http2"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _WINDOW = 0, 1, 4, 8
_END_STREAM, _END_HEADERS = 0x1, 0x4
_INITIAL_WINDOW_SIZE = b"\x00\x04"
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_FRAME_BYTES = 16_384
_FIELDS = [(":status", "200"), ("content-type", "text/plain"), ("server", "bare")]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


_START = (
    _PREFACE
    + _frame(_SETTINGS, 0, 0, _INITIAL_WINDOW_SIZE + _LARGEST_WINDOW.to_bytes(4, "big"))
    + _frame(_WINDOW, 0, 0, (_LARGEST_WINDOW - _DEFAULT_WINDOW).to_bytes(4, "big"))
)
"""What a client says first: it takes whatever is sent."""


def speak_http2(*messages: Message) -> Iterator[bytes]:
    """What an HTTP/2 client says for each request, one of `messages` after the other, on a stream of its own.

    Fields that were said before are in the table of the connection.
    """
    first, again = _blocks(messages)
    start = _START
    for stream, block, message in zip(count(1, 2), _then(first, again), cycle(messages), strict=False):
        yield start + _request(stream, block, message.content_bytes)
        start = b""


def _then(first: Sequence[bytes], again: Sequence[bytes]) -> Iterator[bytes]:
    yield from first
    yield from cycle(again)


@cache
def _blocks(messages: tuple[Message, ...]) -> tuple[list[bytes], list[bytes]]:
    """The field blocks of a first and of every further turn; of many messages the table keeps only the last few."""
    encoder = Encoder()
    first, *turns = ([encoder.encode(_fields(message)) for message in messages] for _ in range(3))
    assert turns[0] == turns[1]
    return first, turns[0]


def _fields(message: Message) -> list[tuple[bytes, bytes]]:
    fields = [(b":method", message.method.encode()), (b":scheme", b"http"), (b":authority", b"measured.test")]
    fields += [(b":path", message.target.encode()), *message.headers]
    if message.content_bytes:
        fields.append((b"content-length", b"%d" % message.content_bytes))
    return fields


def _request(stream: int, block: bytes, content_bytes: int) -> bytes:
    if not content_bytes:
        return _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, block)
    said = _frame(_HEADERS, _END_HEADERS, stream, block)
    for left in range(content_bytes, 0, -_FRAME_BYTES):
        said += _frame(_DATA, _END_STREAM if left <= _FRAME_BYTES else 0, stream, bytes(min(left, _FRAME_BYTES)))
    return said


def ends(data: bytes) -> bool:
    """Whether a frame in what a server sends at once ends a stream."""
    at = 0
    while at < len(data):
        if data[at + 3] <= _HEADERS and data[at + 4] & _END_STREAM:
            return True
        at += 9 + int.from_bytes(data[at : at + 3], "big")
    return False


def bare_h2(message: Message, requests: int) -> float:
    """The loop of a server on the library h2: CPU nanoseconds of one request."""
    config = h2.config.H2Configuration(client_side=False, header_encoding=None)
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    says, content = speak_http2(message), message.answer
    fields = [*_FIELDS, ("content-length", str(len(content)))]
    since = process_time_ns()
    for _ in range(requests):
        for event in connection.receive_data(next(says)):
            if isinstance(event, h2.events.StreamEnded):
                connection.send_headers(event.stream_id, fields)
                connection.send_data(event.stream_id, content, end_stream=True)
        assert connection.data_to_send()
    return (process_time_ns() - since) / requests
