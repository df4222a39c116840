"""The codec of our own: RFC 9113 to the letter, and no object for a frame.

A frame is read where it lies and told at once.
"""

from __future__ import annotations

from struct import Struct

from daemun_http2.budget import WORTHWHILE_BYTES, Budget
from daemun_http2.codec import Sink
from daemun_http2.decoding import BlockReader
from daemun_http2.encoding import TABLE_SIZE_ZERO
from daemun_http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD,
    MAX_FRAME_BYTES,
    MAX_SENT_FRAME_BYTES,
    MAX_WINDOW,
    PADDED,
    ConnectionFault,
    ErrorCode,
    Kind,
    Setting,
    StreamFault,
    frame,
    head_frames,
)
from daemun_http2.framing import DEFAULT_WINDOW, ON_ITSELF, Framing, unpadded
from daemun_http2.streams import HEAD_CAME, RECEIVES, SENDS, Streams, StreamState

__all__ = ["PlainCodec"]

_NUMBER = Struct(">I")
_PARAMETER = Struct(">HI")


class PlainCodec(Framing):
    """Frames of one connection, on either side of it."""

    def __init__(self, sink: Sink, budget: Budget, *, client: bool, max_head_bytes: int, max_fields: int) -> None:
        super().__init__(sink, budget, client=client, max_head_bytes=max_head_bytes)
        self._blocks = BlockReader(max_head_bytes, max_fields)
        self._streams = Streams(client=client)
        self._open = self._streams.open
        self._window = DEFAULT_WINDOW
        """What the peer may send on the whole connection."""
        self._full_window = DEFAULT_WINDOW
        self._stream_window = DEFAULT_WINDOW
        self._max_sent_frame_bytes = MAX_FRAME_BYTES
        self._table_told = True

    # --- what is sent ---

    def start(self, settings: dict[int, int], window: int) -> bytes:
        self._stream_window = settings.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
        self._window = self._full_window = window
        return super().start(settings, window)

    def open(self) -> int:
        streams = self._streams
        stream = streams.next_ours
        streams.next_ours += 2
        self._open[stream] = StreamState(RECEIVES | SENDS, self._stream_window)
        return stream

    def head(self, stream: int, block: bytes, ended: bool) -> bytes:
        state = self._open.get(stream)
        if state is None or not state.bits & SENDS:
            return b""
        if ended:
            self._streams.sent_end(stream)
        if not self._table_told:
            self._table_told = True
            block = TABLE_SIZE_ZERO + block
        size = len(block)
        if size > self._max_sent_frame_bytes:
            return head_frames(stream, block, ended=ended, max_frame_bytes=self._max_sent_frame_bytes)
        flags = END_HEADERS | END_STREAM if ended else END_HEADERS
        return FRAME_HEAD.pack(size << 8 | Kind.HEADERS, flags, stream) + block

    def content(self, stream: int, data: bytes | memoryview, ended: bool) -> bytes:
        state = self._open.get(stream)
        if state is None or not state.bits & SENDS:
            return b""
        if ended:
            self._streams.sent_end(stream)
        size, limit = len(data), self._max_sent_frame_bytes
        flags = END_STREAM if ended else 0
        if size <= limit:
            self._budget.sent(1, size)
            return b"".join((FRAME_HEAD.pack(size << 8, flags, stream), data))
        whole = memoryview(data)
        parts: list[bytes | memoryview] = []
        for start in range(0, size, limit):
            piece = whole[start : start + limit]
            parts += (FRAME_HEAD.pack(len(piece) << 8, flags if start + limit >= size else 0, stream), piece)
        self._budget.sent(len(parts) // 2, size)
        return b"".join(parts)

    def credit(self, stream: int, increment: int) -> bytes:
        state = self._open.get(stream)
        if state is None or not state.bits & RECEIVES:
            return b""
        state.window += increment
        return frame(Kind.WINDOW_UPDATE, 0, stream, _NUMBER.pack(increment))

    def reset(self, stream: int, code: ErrorCode) -> bytes:
        if not self._streams.reset(stream):
            return b""
        return frame(Kind.RST_STREAM, 0, stream, _NUMBER.pack(code))

    # --- what comes ---

    def _break(self, fault: StreamFault) -> None:
        """Resets the stream that broke a rule."""
        stream = fault.stream
        if fault.code is ErrorCode.REFUSED_STREAM:  # it may have been sent before our settings were read
            self._budget.idle_frame()
        else:
            self._budget.reset()
        self._streams.reset(stream)
        self._out.append(frame(Kind.RST_STREAM, 0, stream, _NUMBER.pack(fault.code)))
        self._sink.on_fault(stream, fault.code, fault.why)

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        if not stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA without a stream")
        self._take_window(size)
        if flags & PADDED:
            payload = unpadded(payload)
        state = self._open.get(stream)
        if state is None or not state.bits & RECEIVES:
            if self._streams.idle(stream):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA for a stream that was never opened")
            if state is None and self._streams.was_cut(stream):
                if not self._streams.late(size) or (size < WORTHWHILE_BYTES and not self._client):
                    self._budget.idle_frame()
                return
            raise StreamFault(stream, ErrorCode.STREAM_CLOSED, "content after the end")
        if not state.bits & HEAD_CAME:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "content before the head")
        state.window -= size
        if state.window < 0:
            raise StreamFault(stream, ErrorCode.FLOW_CONTROL_ERROR, "content beyond the window")
        ended = bool(flags & END_STREAM)
        if ended:
            self._streams.came_end(stream, state)
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

    def _on_block(self, flags: int, stream: int, data: bytes) -> None:
        block = self._blocks.read(data)  # whatever becomes of the stream: the table is the connection's
        if flags & ON_ITSELF:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
        ended = bool(flags & END_STREAM)
        state = self._open.get(stream)
        if state is None:
            if self._client or not stream & 1 or stream <= self._streams.last_theirs:
                self._refuse_head(stream)
                return
            self._streams.last_theirs = stream
            self._open[stream] = state = StreamState(RECEIVES | SENDS | HEAD_CAME, self._stream_window)
            if ended:
                state.bits = SENDS
            self._sink.on_head(stream, block, ended)
            return
        if not state.bits & RECEIVES:
            raise StreamFault(stream, ErrorCode.STREAM_CLOSED, "a head after the end")
        if not state.bits & HEAD_CAME:  # of a response; an interim one is followed by another
            if block.fields[:1] and block.fields[0][0] == b":status" and block.fields[0][1][:1] != b"1":
                state.bits |= HEAD_CAME
            if ended:
                self._streams.came_end(stream, state)
            self._sink.on_head(stream, block, ended)
            return
        if not ended:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a second head that does not end the stream")
        self._streams.came_end(stream, state)
        self._sink.on_trailers(stream, block)

    def _refuse_head(self, stream: int) -> None:
        """A head for a stream that is none now."""
        if self._streams.was_cut(stream):
            self._budget.idle_frame()
        elif stream in self._streams.over:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "a head for a stream that is over")
        else:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream with a number that is not the next")

    def _on_reset(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream or self._streams.idle(stream):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM of a stream that was never opened")
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM has four bytes")
        if not self._streams.was_reset(stream):
            self._budget.idle_frame()
            return
        self._sink.on_reset(stream, _NUMBER.unpack(payload)[0])

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS are a connection's")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement holds nothing")
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
            if not MAX_FRAME_BYTES <= value <= 2**24 - 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "frames are 2^14 to 2^24-1 bytes long")
            self._max_sent_frame_bytes = min(value, MAX_SENT_FRAME_BYTES)
        if key == Setting.HEADER_TABLE_SIZE:
            self._table_told = False

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

    def _on_window(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE has four bytes")
        increment = _NUMBER.unpack(payload)[0] & MAX_WINDOW
        if stream and stream not in self._open:
            if self._streams.idle(stream):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of a stream that was never opened")
            self._budget.idle_frame()
            return
        if not increment:
            if not stream:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window that grows by nothing")
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a window that grows by nothing")
        self._budget.window(increment)
        self._sink.on_window(stream, increment)
