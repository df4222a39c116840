"""Bytes into frames, as far as no stream matters: the preface, sizes, the order of frames, field blocks made whole.

Codecs are made on it. What floods is cut off here, before anybody looks at what it says.
"""

from __future__ import annotations

from abc import abstractmethod
from struct import Struct

from daemun_http2.budget import Budget
from daemun_http2.codec import Sink
from daemun_http2.frames import (
    ACK,
    END_HEADERS,
    FRAME_HEAD,
    FRAME_HEAD_BYTES,
    MAX_FRAME_BYTES,
    MAX_STREAM,
    PADDED,
    PREFACE,
    PRIORITY_FIELDS,
    ConnectionFault,
    ErrorCode,
    Kind,
    StreamFault,
    frame,
    settings_frame,
)

__all__ = ["DEFAULT_WINDOW", "ON_ITSELF", "Framing", "unpadded"]

DEFAULT_WINDOW = 65_535
"""Every window, until something else is said."""
ON_ITSELF = 0x100
"""Beside the flags of a field block: the stream depends on itself."""
_MAX_CONTINUATIONS = 32
_NUMBER = Struct(">I")
_unpack = FRAME_HEAD.unpack_from


class Framing:
    """The frames of one connection, each given to the method for its kind with its flags, stream and payload."""

    def __init__(self, sink: Sink, budget: Budget, *, client: bool, max_head_bytes: int) -> None:
        self._sink = sink
        self._budget = budget
        self._client = client
        self._max_head_bytes = max_head_bytes
        self._waiting = b""
        self._preface_left = b"" if client else PREFACE
        self.greeted = False
        """The peer's first SETTINGS came."""
        self._head: list[bytes] = []
        """The field block that has begun and not ended: its fragments."""
        self._head_stream = 0
        self._head_flags = 0
        self._head_bytes = 0
        self._out: list[bytes] = []
        """What is to be said by itself."""
        self._handlers = {
            int(Kind.DATA): self._on_data,
            int(Kind.HEADERS): self._on_headers,
            int(Kind.PRIORITY): self._on_priority,
            int(Kind.RST_STREAM): self._on_reset,
            int(Kind.SETTINGS): self._on_settings,
            int(Kind.PUSH_PROMISE): self._on_push,
            int(Kind.PING): self._on_ping,
            int(Kind.GOAWAY): self._on_goaway,
            int(Kind.WINDOW_UPDATE): self._on_window,
            int(Kind.CONTINUATION): self._on_continuation,
        }

    @property
    def in_head(self) -> bool:
        """A field block has begun and not ended."""
        return self._head_stream != 0

    # --- what is sent, of the connection ---

    def start(self, settings: dict[int, int], window: int) -> bytes:
        said = settings_frame(settings) + frame(Kind.WINDOW_UPDATE, 0, 0, _NUMBER.pack(window - DEFAULT_WINDOW))
        return PREFACE + said if self._client else said

    def pending(self) -> bytes:
        if not self._out:
            return b""
        said = b"".join(self._out)
        self._out.clear()
        return said

    def ping(self) -> bytes:
        return frame(Kind.PING, 0, 0, b"daemun\0\0")

    def goaway(self, last: int, code: ErrorCode, why: str = "") -> bytes:
        return frame(Kind.GOAWAY, 0, 0, _NUMBER.pack(last) + _NUMBER.pack(code) + why.encode())

    # --- what comes ---

    def receive(self, data: bytes) -> None:
        if self._waiting:
            data = self._waiting + data
            self._waiting = b""
        position, end = 0, len(data)
        if self._preface_left:
            position = self._read_preface(data)
        handlers = self._handlers
        while end - position >= FRAME_HEAD_BYTES:
            what, flags, stream = _unpack(data, position)
            start = position + FRAME_HEAD_BYTES
            size, kind = what >> 8, what & 0xFF
            if size > MAX_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame is longer than allowed")
            position = start + size
            if position > end:
                position = start - FRAME_HEAD_BYTES
                break
            if not self.greeted and (kind != Kind.SETTINGS or flags & ACK):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is no SETTINGS")
            if self._head_stream and kind != Kind.CONTINUATION:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame within a field block")
            handler = handlers.get(kind)
            if handler is None:
                self._budget.idle_frame()  # to be ignored (RFC 9113 §4.1)
                continue
            try:
                handler(flags, stream & MAX_STREAM, data[start:position])
            except StreamFault as fault:
                self._break(fault)
        if position < end:
            self._waiting = data[position:] if position else data

    def _read_preface(self, data: bytes) -> int:
        left = self._preface_left
        part = data[: len(left)]
        if not left.startswith(part):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is no HTTP/2")
        self._preface_left = left[len(part) :]
        return len(part)

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS without a stream")
        if flags & PADDED:
            payload = unpadded(payload)
        if flags & PRIORITY_FIELDS:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS are too short for a priority")
            if _NUMBER.unpack_from(payload)[0] & MAX_STREAM == stream:
                flags |= ON_ITSELF
            payload = payload[5:]
        if flags & END_HEADERS:
            self._on_block(flags, stream, payload)
            return
        self._head, self._head_bytes = [payload], len(payload)
        self._head_stream, self._head_flags = stream, flags

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if not self._head_stream or stream != self._head_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._head.append(payload)
        self._head_bytes += len(payload)
        if len(self._head) > _MAX_CONTINUATIONS or self._head_bytes > self._max_head_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a field block without end")
        if flags & END_HEADERS:
            block, begun = b"".join(self._head), self._head_flags
            self._head, self._head_stream = [], 0
            self._on_block(begun, stream, block)

    def _on_priority(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY without a stream")
        if len(payload) != 5:
            raise StreamFault(stream, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY has five bytes")
        if _NUMBER.unpack_from(payload)[0] & MAX_STREAM == stream:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
        self._budget.idle_frame()

    def _on_push(self, flags: int, stream: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "nobody asked for pushes")

    def _on_goaway(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY is a connection's")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is too short")
        self._budget.idle_frame()
        self._sink.on_goaway(_NUMBER.unpack_from(payload)[0] & MAX_STREAM, _NUMBER.unpack_from(payload, 4)[0])

    # --- for codecs ---

    @abstractmethod
    def _break(self, fault: StreamFault) -> None:
        """A stream broke a rule, or the sink says so: it is reset."""

    @abstractmethod
    def _on_block(self, flags: int, stream: int, data: bytes) -> None:
        """A whole field block. `ON_ITSELF` may stand among the flags."""

    @abstractmethod
    def _on_data(self, flags: int, stream: int, payload: bytes) -> None: ...

    @abstractmethod
    def _on_reset(self, flags: int, stream: int, payload: bytes) -> None: ...

    @abstractmethod
    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None: ...

    @abstractmethod
    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None: ...

    @abstractmethod
    def _on_window(self, flags: int, stream: int, payload: bytes) -> None: ...


def unpadded(payload: bytes) -> bytes:
    """A payload without its padding. Raises `ConnectionFault`."""
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a padded frame does not say how long its padding is")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding is longer than its frame")
    return payload[1 : len(payload) - padding]
