"""The seam between frames and exchanges: what reads and writes the frames of a connection, and what it tells.

A codec keeps the states of streams, the tables of field compression and what the peer may still send; it knows no
exchange, no reader and no socket. What it sends by itself (acknowledgements, resets of broken streams) is `pending`.
"""

from __future__ import annotations

from typing import Protocol

from daemun_http2.decoding import Block
from daemun_http2.frames import ErrorCode

__all__ = ["Codec", "Sink"]


class Sink(Protocol):
    """What a codec tells. It is called while `Codec.receive` runs, and may call the codec."""

    def on_head(self, stream: int, block: Block, ended: bool) -> None:
        """A request, a response, an interim response; `ended`: there is nothing more of the message."""
        ...

    def on_trailers(self, stream: int, block: Block) -> None:
        """The end of a message, with fields."""
        ...

    def on_content(self, stream: int, data: bytes, size: int, ended: bool) -> None:
        """Content; `size` is what it takes of the windows, padding included."""
        ...

    def on_reset(self, stream: int, code: int) -> None:
        """The peer ended a stream."""
        ...

    def on_fault(self, stream: int, code: ErrorCode, why: str) -> None:
        """The peer broke a rule of its stream, which the codec has reset."""
        ...

    def on_window(self, stream: int, increment: int) -> None:
        """The peer takes more content; stream 0: on the whole connection."""
        ...

    def on_settings(self, settings: dict[int, int]) -> None:
        """The peer's settings, those that it named."""
        ...

    def on_goaway(self, last: int, code: int) -> None:
        """The peer serves no streams above `last`."""
        ...

    def on_ping_answered(self) -> None:
        """The peer has read everything up to our ping."""
        ...


class Codec(Protocol):
    """One connection's frames. What sends gives the bytes to be written, in order."""

    greeted: bool
    """The peer has said its settings."""

    @property
    def in_head(self) -> bool:
        """A field block has begun and not ended."""
        ...

    def start(self, settings: dict[int, int], window: int) -> bytes:
        """What is said first; `window` is the whole connection's for content that comes."""
        ...

    def receive(self, data: bytes) -> None:
        """Reads what came. Raises `ConnectionFault`: the connection is of no more use."""
        ...

    def pending(self) -> bytes:
        """What the codec has to say by itself; b"" if it has nothing. Never asked for twice."""
        ...

    def open(self) -> int:
        """The number of a new stream of ours."""
        ...

    def head(self, stream: int, block: bytes, ended: bool) -> bytes:
        """A head or trailers, as a field block (`encoding`)."""
        ...

    def content(self, stream: int, data: bytes | memoryview, ended: bool) -> bytes:
        """Content. The windows are the caller's to keep."""
        ...

    def credit(self, stream: int, increment: int) -> bytes:
        """Lets the peer send more on a stream."""
        ...

    def reset(self, stream: int, code: ErrorCode) -> bytes:
        """Ends a stream, if it still is one."""
        ...

    def ping(self) -> bytes:
        """A question that tells when everything before it was read."""
        ...

    def goaway(self, last: int, code: ErrorCode, why: str = "") -> bytes:
        """No streams above `last` will be served."""
        ...
