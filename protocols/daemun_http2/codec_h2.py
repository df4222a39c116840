"""The reference codec: the library h2 keeps the states and windows of streams, hpack reads the field blocks.

`framing` stands before it: floods are cut off and the budget is charged before the library, which is slow, reads a
frame. It is told less than came, where it would end the connection for what concerns one stream, or none: a stand-in
for field sections, no GOAWAY, no settings that it would keep or enforce. Field sections that we send are bytes already;
it is told of them by the same stand-in, and what it would write is dropped.
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingAckReceived,
    RequestReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from daemun_http2.budget import Budget
from daemun_http2.codec import Sink
from daemun_http2.decoding import Block
from daemun_http2.decoding_hpack import HpackReader
from daemun_http2.encoding import TABLE_SIZE_ZERO
from daemun_http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    MAX_SENT_FRAME_BYTES,
    MAX_STREAM,
    MAX_WINDOW,
    PADDED,
    PREFACE,
    ConnectionFault,
    ErrorCode,
    Kind,
    Setting,
    StreamFault,
    frame,
    head_frames,
)
from daemun_http2.framing import DEFAULT_WINDOW, ON_ITSELF, Framing, unpadded
from daemun_http2.streams import REMEMBERED_STREAMS

__all__ = ["H2Codec"]

_NUMBER = Struct(">I")
_PARAMETER = Struct(">HI")
_TOLD = (
    Setting.ENABLE_PUSH,
    Setting.INITIAL_WINDOW_SIZE,
    Setting.MAX_FRAME_SIZE,
    Setting.ENABLE_CONNECT_PROTOCOL,
)
"""The library counts open streams as others do not, keeps any parameter for ever, and encodes nothing."""
_HEAD = ((b":status", b"200"),)
_INTERIM_HEAD = ((b":status", b"100"),)
_HEAD_BLOCK = b"\x88"
_INTERIM_BLOCK = b"\x08\x03100"
_INTERIM_START = b"\x08\x031"
"""How `encoding` begins the block of an interim response."""
_WHOLE_HEADS = (RequestReceived, ResponseReceived)


class _Library(H2Connection):
    MAX_CLOSED_STREAMS = REMEMBERED_STREAMS


class H2Codec(Framing):
    """Frames of one connection, on either side of it."""

    def __init__(self, sink: Sink, budget: Budget, *, client: bool, max_head_bytes: int, max_fields: int) -> None:
        super().__init__(sink, budget, client=client, max_head_bytes=max_head_bytes)
        self._blocks = HpackReader(max_head_bytes, max_fields)
        self._library = _Library(
            H2Configuration(
                client_side=client,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._broken = False
        """The library takes nothing any more."""
        self._window = DEFAULT_WINDOW
        """What the peer may send on the whole connection before some of it is given back."""
        self._next_ours = 1 if client else 2
        self._cut: deque[int] = deque(maxlen=REMEMBERED_STREAMS)
        """Streams that we reset: what is still under way for them means nothing."""
        self._unanswered: set[int] = set()
        """Our requests whose response has not begun: only there a response may be an interim one."""
        self._table_told = True

    # --- what is sent ---

    def start(self, settings: dict[int, int], window: int) -> bytes:
        library, self._window = self._library, window
        stream_window = settings.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
        library.local_settings = Settings(
            client=self._client,
            initial_values={
                SettingCodes.INITIAL_WINDOW_SIZE: stream_window,
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAM,
            },
        )
        library.initiate_connection()
        library.increment_flow_control_window(window - DEFAULT_WINDOW)
        library.clear_outbound_data_buffer()
        if not self._client:
            library.receive_data(PREFACE)
        return super().start(settings, window)

    def open(self) -> int:
        stream = self._next_ours
        self._next_ours += 2
        self._unanswered.add(stream)
        return stream

    def head(self, stream: int, block: bytes, ended: bool) -> bytes:
        library = self._library
        if not self._is_open(stream) and not (self._is_ours(stream) and self._is_idle(stream) and not self._broken):
            return b""
        library.send_headers(stream, _INTERIM_HEAD if block.startswith(_INTERIM_START) else _HEAD, end_stream=ended)
        library.clear_outbound_data_buffer()
        if not self._table_told:
            self._table_told = True
            block = TABLE_SIZE_ZERO + block
        return head_frames(stream, block, ended=ended, max_frame_bytes=self._max_sent_frame_bytes)

    def content(self, stream: int, data: bytes | memoryview, ended: bool) -> bytes:
        if not self._is_open(stream):
            return b""
        library, limit, size = self._library, self._max_sent_frame_bytes, len(data)
        for start in range(0, size or 1, limit):
            self._budget.sent(1, min(limit, size - start))
            library.send_data(stream, data[start : start + limit], end_stream=ended and start + limit >= size)
        return library.data_to_send()

    def credit(self, stream: int, increment: int) -> bytes:
        if not self._is_open(stream):
            return b""
        self._library.increment_flow_control_window(increment, stream)
        return self._library.data_to_send()

    def reset(self, stream: int, code: ErrorCode) -> bytes:
        if not self._is_open(stream):
            return b""
        self._cut.append(stream)
        self._unanswered.discard(stream)
        self._library.reset_stream(stream, code)
        return self._library.data_to_send()

    @property
    def _max_sent_frame_bytes(self) -> int:
        return min(self._library.max_outbound_frame_size, MAX_SENT_FRAME_BYTES)

    # --- what the library knows of a stream ---

    def _is_open(self, stream: int) -> bool:
        """Whether something may still happen on it."""
        state = self._library.streams.get(stream)
        return state is not None and not state.closed and not self._broken

    def _is_ours(self, stream: int) -> bool:
        return stream & 1 == self._next_ours & 1

    def _is_idle(self, stream: int) -> bool:
        """Whether nobody has opened it yet."""
        library = self._library
        ours = self._is_ours(stream)
        return stream > (library.highest_outbound_stream_id if ours else library.highest_inbound_stream_id)

    # --- what comes ---

    def _told(self, kind: Kind, flags: int, stream: int, payload: bytes) -> list[Event]:
        """What the library says of a frame. Raises `ConnectionFault`."""
        library = self._library
        try:
            events = library.receive_data(frame(kind, flags, stream, payload))
        except ProtocolError as error:
            self._broken = True
            raise ConnectionFault(ErrorCode(error.error_code), f"h2: {type(error).__name__}: {error}") from None
        self._out.append(library.data_to_send())
        return events

    def _break(self, fault: StreamFault) -> None:
        stream, code = fault.stream, fault.code
        self._budget.reset()
        self._out.append(self.reset(stream, code) or frame(Kind.RST_STREAM, 0, stream, _NUMBER.pack(code)))
        self._sink.on_fault(stream, code, fault.why)

    def _was_reset(self, event: StreamReset) -> None:
        """By the peer, or by the library for a rule that the peer broke."""
        self._unanswered.discard(event.stream_id)
        if event.remote_reset:
            self._sink.on_reset(event.stream_id, int(event.error_code))
            return
        self._cut.append(event.stream_id)
        self._budget.reset()
        self._sink.on_fault(event.stream_id, ErrorCode(event.error_code), "h2 reset the stream")

    def _too_late(self, stream: int) -> None:
        """The library has answered a frame for a stream that is over."""
        self._budget.reset()
        self._sink.on_fault(stream, ErrorCode.STREAM_CLOSED, "a frame after the end")

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        library = self._library
        cut = stream in self._cut
        beyond = self._is_open(stream) and len(payload) > library.streams[stream].inbound_flow_control_window
        if cut or beyond:
            if flags & PADDED:
                unpadded(payload)
            if payload:  # the library does not hear of it, and nothing of its window is taken
                self._out.append(frame(Kind.WINDOW_UPDATE, 0, 0, _NUMBER.pack(len(payload))))
            flags, payload = 0, b""
        if cut:
            self._budget.idle_frame()
            return
        events = self._told(Kind.DATA, flags, stream, payload)
        taken = self._window - library.inbound_flow_control_window
        if taken > self._window // 2:
            library.increment_flow_control_window(taken)
            self._out.append(library.data_to_send())
        if not events:
            self._too_late(stream)
        for event in events:
            if isinstance(event, DataReceived):
                if beyond:
                    raise StreamFault(stream, ErrorCode.FLOW_CONTROL_ERROR, "content beyond the window")
                ended = event.stream_ended is not None
                if not event.data and not ended:
                    self._budget.idle_frame()
                self._sink.on_content(stream, event.data, event.flow_controlled_length, ended)
            elif isinstance(event, StreamReset):
                self._was_reset(event)

    def _on_block(self, flags: int, stream: int, data: bytes) -> None:
        block = self._blocks.read(data)  # whatever becomes of the stream: the table is the connection's
        if flags & ON_ITSELF:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
        if stream in self._cut:
            self._budget.idle_frame()
            return
        if self._client and not self._is_ours(stream):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a response to no request")
        ended = bool(flags & END_STREAM)
        interim = not ended and stream in self._unanswered and _is_interim(block)
        # the library ends the connection for a second head that does not end its stream: it is told that it does
        second = self._is_open(stream) and stream not in self._unanswered
        told = END_HEADERS | END_STREAM if ended or second else END_HEADERS
        events = self._told(Kind.HEADERS, told, stream, _INTERIM_BLOCK if interim else _HEAD_BLOCK)
        if not events:
            self._too_late(stream)
        for event in events:
            if isinstance(event, _WHOLE_HEADS):
                self._unanswered.discard(stream)
                self._sink.on_head(stream, block, ended)
            elif isinstance(event, InformationalResponseReceived):
                self._sink.on_head(stream, block, ended=False)
            elif isinstance(event, TrailersReceived):
                if not ended:
                    raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a second head that does not end the stream")
                self._sink.on_trailers(stream, block)
            elif isinstance(event, StreamReset):
                self._was_reset(event)

    def _on_reset(self, flags: int, stream: int, payload: bytes) -> None:
        if self._is_idle(stream):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM of a stream that was never opened")
        if not self._is_open(stream):
            self._budget.idle_frame()
        for event in self._told(Kind.RST_STREAM, flags, stream, payload):
            if isinstance(event, StreamReset):
                self._was_reset(event)

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS are a connection's")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement holds nothing")
            self._budget.idle_frame()
            self._told(Kind.SETTINGS, flags, stream, payload)
            return
        if self.greeted:
            self._budget.control()
        if len(payload) % _PARAMETER.size:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS with half a parameter")
        settings = dict(_PARAMETER.iter_unpack(payload))
        told = b"".join(_PARAMETER.pack(key, value) for key, value in settings.items() if key in _TOLD)
        if Setting.HEADER_TABLE_SIZE in settings:
            self._table_told = False
        _ = self._library.open_inbound_streams  # counting, it forgets those whose windows mean nothing any more
        self._told(Kind.SETTINGS, flags, stream, told)
        self.greeted = True
        self._sink.on_settings(settings)

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if flags & ACK:
            self._budget.idle_frame()
        else:
            self._budget.control()
        for event in self._told(Kind.PING, flags, stream, payload):
            if isinstance(event, PingAckReceived):
                self._sink.on_ping_answered()

    def _on_window(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) == _NUMBER.size:  # of which one bit says nothing, which the library does not know
            increment = int.from_bytes(payload, "big") & MAX_WINDOW
            self._budget.window(increment)
            if stream and not self._is_open(stream) and not self._is_idle(stream):
                return
            if stream and not increment and self._is_open(stream):
                raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a window that grows by nothing")
            payload = _NUMBER.pack(increment)
        for event in self._told(Kind.WINDOW_UPDATE, flags, stream, payload):
            if isinstance(event, WindowUpdated):
                self._sink.on_window(stream, int(event.delta))
            elif isinstance(event, StreamReset):
                self._was_reset(event)


def _is_interim(block: Block) -> bool:
    name, value = block.fields[0] if block.fields else (b"", b"")
    return name == b":status" and value.startswith(b"1")
