"""The codec of our own: RFC 9113 to the letter, and no object for a frame.

A frame is read where it lies and told at once. The state of a stream is two bits and what the peer may still send; of
streams that are over only the numbers of the last ones are kept, to tell a late frame from a wrong one.
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from daemun_http2.budget import Budget
from daemun_http2.codec import Sink
from daemun_http2.decoding import BlockReader
from daemun_http2.encoding import TABLE_SIZE_ZERO
from daemun_http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD,
    FRAME_HEAD_BYTES,
    MAX_STREAM,
    MAX_WINDOW,
    PADDED,
    PREFACE,
    PRIORITY_FIELDS,
    ConnectionFault,
    ErrorCode,
    Kind,
    Setting,
    StreamFault,
    frame,
    settings_frame,
)

__all__ = ["PlainCodec"]

_MAX_FRAME_BYTES = 16_384
"""What a peer may send in a frame: we ask for no more than everybody has to take."""
_MAX_SENT_FRAME_BYTES = 65_536
"""What we send in a frame, if the peer takes it."""
_DEFAULT_WINDOW = 65_535
_MAX_CONTINUATIONS = 32
_REMEMBERED_STREAMS = 256
_RECEIVES, _SENDS, _HEAD_CAME = 1, 2, 4
_NUMBER = Struct(">I")
_PARAMETER = Struct(">HI")
_unpack = FRAME_HEAD.unpack_from


class _State:
    """A stream: what each side may still do, and how much the peer may send."""

    __slots__ = ("bits", "window")

    def __init__(self, bits: int, window: int) -> None:
        self.bits = bits
        self.window = window


class PlainCodec:
    """Frames of one connection, on either side of it."""

    def __init__(self, sink: Sink, budget: Budget, *, client: bool, max_head_bytes: int, max_fields: int) -> None:
        self._sink = sink
        self._budget = budget
        self._client = client
        self._blocks = BlockReader(max_head_bytes, max_fields)
        self._max_head_bytes = max_head_bytes
        self._waiting = b""
        self._preface_left = b"" if client else PREFACE
        self.greeted = False
        """The peer's first SETTINGS came."""
        self._streams: dict[int, _State] = {}
        self._last_theirs = 0
        self._next_ours = 1 if client else 2
        self._over: deque[int] = deque(maxlen=_REMEMBERED_STREAMS)
        """Streams that ended, the latest last."""
        self._cut: deque[int] = deque(maxlen=_REMEMBERED_STREAMS)
        """Those that we reset: what is still under way for them means nothing."""
        self._head: list[bytes] = []
        """The field block that has begun and not ended: its fragments."""
        self._head_stream = 0
        self._head_flags = 0
        self._head_bytes = 0
        self._window = _DEFAULT_WINDOW
        """What the peer may send on the whole connection."""
        self._full_window = _DEFAULT_WINDOW
        self._stream_window = _DEFAULT_WINDOW
        self._max_sent_frame_bytes = _MAX_FRAME_BYTES
        self._table_told = True
        self._out: list[bytes] = []
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

    # --- what is sent ---

    def start(self, settings: dict[int, int], window: int) -> bytes:
        self._stream_window = settings.get(Setting.INITIAL_WINDOW_SIZE, _DEFAULT_WINDOW)
        more = window - _DEFAULT_WINDOW
        self._window = self._full_window = window
        said = settings_frame(settings) + frame(Kind.WINDOW_UPDATE, 0, 0, _NUMBER.pack(more))
        return PREFACE + said if self._client else said

    def pending(self) -> bytes:
        if not self._out:
            return b""
        said = b"".join(self._out)
        self._out.clear()
        return said

    def open(self) -> int:
        stream = self._next_ours
        self._next_ours += 2
        self._streams[stream] = _State(_RECEIVES | _SENDS, self._stream_window)
        return stream

    def head(self, stream: int, block: bytes, ended: bool) -> bytes:
        if ended:
            self._sent_end(stream)
        if not self._table_told:
            self._table_told = True
            block = TABLE_SIZE_ZERO + block
        flags = END_STREAM if ended else 0
        limit = self._max_sent_frame_bytes
        if len(block) <= limit:
            return FRAME_HEAD.pack(len(block) << 8 | Kind.HEADERS, flags | END_HEADERS, stream) + block
        parts = [frame(Kind.HEADERS, flags, stream, block[:limit])]
        for start in range(limit, len(block), limit):
            last = start + limit >= len(block)
            parts.append(frame(Kind.CONTINUATION, END_HEADERS if last else 0, stream, block[start : start + limit]))
        return b"".join(parts)

    def content(self, stream: int, data: bytes | memoryview, ended: bool) -> bytes:
        if ended:
            self._sent_end(stream)
        size, limit = len(data), self._max_sent_frame_bytes
        flags = END_STREAM if ended else 0
        if size <= limit:
            self._budget.sent(1)
            return b"".join((FRAME_HEAD.pack(size << 8, flags, stream), data))
        whole = memoryview(data)
        parts: list[bytes | memoryview] = []
        for start in range(0, size, limit):
            piece = whole[start : start + limit]
            parts += (FRAME_HEAD.pack(len(piece) << 8, flags if start + limit >= size else 0, stream), piece)
        self._budget.sent(len(parts) // 2)
        return b"".join(parts)

    def credit(self, stream: int, increment: int) -> bytes:
        state = self._streams.get(stream)
        if state is None or not state.bits & _RECEIVES:
            return b""
        state.window += increment
        return frame(Kind.WINDOW_UPDATE, 0, stream, _NUMBER.pack(increment))

    def reset(self, stream: int, code: ErrorCode) -> bytes:
        if self._streams.pop(stream, None) is None:
            return b""
        self._cut.append(stream)
        return frame(Kind.RST_STREAM, 0, stream, _NUMBER.pack(code))

    def ping(self) -> bytes:
        return frame(Kind.PING, 0, 0, b"daemun\0\0")

    def goaway(self, last: int, code: ErrorCode, why: str = "") -> bytes:
        return frame(Kind.GOAWAY, 0, 0, _NUMBER.pack(last) + _NUMBER.pack(code) + why.encode())

    def _sent_end(self, stream: int) -> None:
        state = self._streams.get(stream)
        if state is not None:
            state.bits &= ~_SENDS
            if not state.bits & _RECEIVES:
                self._forget(stream)

    def _came_end(self, stream: int, state: _State) -> None:
        state.bits &= ~_RECEIVES
        if not state.bits & _SENDS:
            self._forget(stream)

    def _forget(self, stream: int) -> None:
        del self._streams[stream]
        self._over.append(stream)

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
            if size > _MAX_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame is longer than allowed")
            position = start + size
            if position > end:
                position = start - FRAME_HEAD_BYTES
                break
            if not self.greeted and kind != Kind.SETTINGS:
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

    def _break(self, fault: StreamFault) -> None:
        """Resets the stream that broke a rule."""
        stream = fault.stream
        self._budget.reset()
        if self._streams.pop(stream, None) is not None:
            self._cut.append(stream)
        self._out.append(frame(Kind.RST_STREAM, 0, stream, _NUMBER.pack(fault.code)))
        self._sink.on_fault(stream, fault.code, fault.why)

    def _idle(self, stream: int) -> bool:
        """Whether nobody has opened a stream yet."""
        if stream & 1 == self._next_ours & 1:
            return stream >= self._next_ours
        return stream > self._last_theirs

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        if not stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA without a stream")
        self._take_window(size)
        if flags & PADDED:
            payload = _unpadded(payload)
        state = self._streams.get(stream)
        if state is None or not state.bits & _RECEIVES:
            if self._idle(stream):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA for a stream that was never opened")
            if stream in self._cut:
                self._budget.idle_frame()
                return
            raise StreamFault(stream, ErrorCode.STREAM_CLOSED, "content after the end")
        if not state.bits & _HEAD_CAME:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "content before the head")
        state.window -= size
        if state.window < 0:
            raise StreamFault(stream, ErrorCode.FLOW_CONTROL_ERROR, "content beyond the window")
        ended = bool(flags & END_STREAM)
        if ended:
            self._came_end(stream, state)
        elif not payload:
            self._budget.idle_frame()
        self._sink.on_content(stream, payload, size, ended)

    def _take_window(self, size: int) -> None:
        """Of the whole connection: given back as it is used up, since streams have windows of their own."""
        self._window -= size
        if self._window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "content beyond the connection's window")
        if self._window < self._full_window // 2:
            self._out.append(frame(Kind.WINDOW_UPDATE, 0, 0, _NUMBER.pack(self._full_window - self._window)))
            self._window = self._full_window

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS without a stream")
        if flags & PADDED:
            payload = _unpadded(payload)
        if flags & PRIORITY_FIELDS:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS are too short for a priority")
            if _NUMBER.unpack_from(payload)[0] & MAX_STREAM == stream:
                flags |= _ON_ITSELF
            payload = payload[5:]
        if flags & END_HEADERS:
            self._read_block(flags, stream, payload)
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
            self._read_block(begun, stream, block)

    @property
    def in_head(self) -> bool:
        """A field block has begun and not ended."""
        return self._head_stream != 0

    def _read_block(self, flags: int, stream: int, data: bytes) -> None:
        block = self._blocks.read(data)  # whatever becomes of the stream: the table is the connection's
        if flags & _ON_ITSELF:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
        ended = bool(flags & END_STREAM)
        state = self._streams.get(stream)
        if state is None:
            if self._client or not stream & 1 or stream <= self._last_theirs:
                self._refuse_head(stream)
                return
            self._last_theirs = stream
            self._streams[stream] = state = _State(_RECEIVES | _SENDS | _HEAD_CAME, self._stream_window)
            if ended:
                state.bits = _SENDS
            self._sink.on_head(stream, block, ended)
            return
        if not state.bits & _RECEIVES:
            raise StreamFault(stream, ErrorCode.STREAM_CLOSED, "a head after the end")
        if not state.bits & _HEAD_CAME:  # of a response; an interim one is followed by another
            if block.fields[:1] and block.fields[0][0] == b":status" and block.fields[0][1][:1] != b"1":
                state.bits |= _HEAD_CAME
            if ended:
                self._came_end(stream, state)
            self._sink.on_head(stream, block, ended)
            return
        if not ended:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a second head that does not end the stream")
        self._came_end(stream, state)
        self._sink.on_trailers(stream, block)

    def _refuse_head(self, stream: int) -> None:
        """A head for a stream that is none now."""
        if stream in self._cut:
            self._budget.idle_frame()
        elif stream in self._over:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "a head for a stream that is over")
        else:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream with a number that is not the next")

    def _on_priority(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY without a stream")
        if len(payload) != 5:
            raise StreamFault(stream, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY has five bytes")
        if _NUMBER.unpack_from(payload)[0] & MAX_STREAM == stream:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
        self._budget.idle_frame()

    def _on_reset(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream or self._idle(stream):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM of a stream that was never opened")
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM has four bytes")
        if self._streams.pop(stream, None) is None:
            self._budget.idle_frame()
            return
        self._over.append(stream)
        self._sink.on_reset(stream, _NUMBER.unpack(payload)[0])

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS are a connection's")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement holds nothing")
            if not self.greeted:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is no SETTINGS")
            self._budget.idle_frame()
            return
        if len(payload) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS with half a parameter")
        if self.greeted:
            self._budget.control()
        self.greeted = True
        settings: dict[int, int] = {}
        for key, value in _PARAMETER.iter_unpack(payload):
            settings[key] = value
            self._apply(key, value)
        self._out.append(frame(Kind.SETTINGS, ACK, 0))
        self._sink.on_settings(settings)

    def _apply(self, key: int, value: int) -> None:
        if key == Setting.ENABLE_PUSH and (value > 1 or (self._client and value)):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1, and 0 from a server")
        if key == Setting.ENABLE_CONNECT_PROTOCOL and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL is 0 or 1")
        if key == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
        if key == Setting.MAX_FRAME_SIZE:
            if not _MAX_FRAME_BYTES <= value <= 2**24 - 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "frames are 2^14 to 2^24-1 bytes long")
            self._max_sent_frame_bytes = min(value, _MAX_SENT_FRAME_BYTES)
        if key == Setting.HEADER_TABLE_SIZE:
            self._table_told = False

    def _on_push(self, flags: int, stream: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "nobody asked for pushes")

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING is a connection's")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING has eight bytes")
        if flags & ACK:
            self._budget.idle_frame()
            self._sink.on_ping_answered()
            return
        self._budget.control()
        self._out.append(frame(Kind.PING, ACK, 0, payload))

    def _on_goaway(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY is a connection's")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is too short")
        self._budget.idle_frame()
        self._sink.on_goaway(_NUMBER.unpack_from(payload)[0] & MAX_STREAM, _NUMBER.unpack_from(payload, 4)[0])

    def _on_window(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE has four bytes")
        increment = _NUMBER.unpack(payload)[0] & MAX_WINDOW
        if stream and stream not in self._streams:
            if self._idle(stream):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of a stream that was never opened")
            self._budget.idle_frame()
            return
        if not increment:
            if not stream:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window that grows by nothing")
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a window that grows by nothing")
        self._budget.idle_frame()
        self._sink.on_window(stream, increment)


_ON_ITSELF = 0x100
"""Beside the flags of HEADERS: the stream depends on itself."""


def _unpadded(payload: bytes) -> bytes:
    padding = payload[0] if payload else 1
    if padding >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding is longer than its frame")
    return payload[1 : len(payload) - padding]
