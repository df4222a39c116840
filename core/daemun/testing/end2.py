"""Either end of an HTTP/2 connection, frame by frame. Frames are read by hyperframe and field blocks by hpack, without
any machine of states: nothing of ours can colour them, and whatever is wrong can be sent.

An end answers SETTINGS and PING by itself, and gives back the windows of what came unless it is told not to. It fails
the test in which the gateway sends more than a window allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import cast

import anyio
from anyio.abc import ByteStream, SocketStream
from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from daemun.headers import Headers
from daemun.testing.patience import patience_seconds
from daemun.testing.wire import CutOff, reset

__all__ = ["FRAME_BYTES", "PREFACE", "Heard", "Http2End", "StreamReset"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (RFC 9113 §3.4)."""
_FRAME_HEAD_BYTES = 9
FRAME_BYTES = 16_384
"""What everybody takes in a frame."""
_WINDOW = 65_535
_ANY_BYTES = 1 << 30
_RECEIVE_BYTES = 64 * 1024


class StreamReset(Exception):
    """The other end has reset a stream."""

    def __init__(self, stream: int, code: int) -> None:
        self.code = code
        """The code of the reset (RFC 9113 §7)."""
        super().__init__(f"stream {stream} was reset with {code}")


class Heard:
    """What came on one stream."""

    def __init__(self, window: int) -> None:
        self.heads: list[Headers] = []
        """Interim heads, the head, the trailers: as they came."""
        self.body = bytearray()
        """The content, as far as it came."""
        self.ended = False
        """Nothing more comes on it."""
        self.code: int | None = None
        """With which it was reset."""
        self.window = window
        """What may still come."""


class Http2End:
    """One end of a connection. What takes longer than ten seconds raises `TimeoutError`.

    Several tasks may wait for what comes. `crediting` gives windows back as they are used.
    """

    def __init__(
        self, stream: ByteStream, settings: Mapping[int, int] | None = None, *, crediting: bool = True
    ) -> None:
        self.stream = stream
        """The connection itself."""
        self.crediting = crediting
        self.frames: list[Frame] = []
        """Every frame that came."""
        self.streams: dict[int, Heard] = {}
        """What came, by stream."""
        self.settings: dict[int, int] = {}
        """What the other end has set."""
        self.goaways: list[tuple[int, int]] = []
        """The last stream and the code of each GOAWAY."""
        self.over = False
        """Nothing comes any more."""
        self.was_reset = False
        """And that by a RST of TCP."""
        self.window = _WINDOW
        """What the whole connection may still send to the other end."""
        self.may_come = _WINDOW
        """What the other end may still send on the whole connection."""
        self.encoder = Encoder()
        """Of the heads that are sent (HPACK)."""
        self._decoder = Decoder(_ANY_BYTES)
        self._own = dict(settings or {})
        self._unacknowledged: list[dict[int, int]] = []
        self._initial_window = _WINDOW
        self._sent: dict[int, int] = {}
        self._reading = anyio.Lock()
        self._writing = anyio.Lock()
        self._received = b""
        self._came = 0
        self._block = b""
        self._say: list[bytes] = []
        self._pings = 0
        self._pongs = 0
        transport = getattr(stream, "_transport", None)
        if transport is not None:
            transport.pause_reading()  # anyio on asyncio would read on without bound until a receive has waited

    # --- what is sent ---

    async def send(self, *what: bytes | Frame) -> None:
        """Sends frames, or bytes as they are, together. Raises `CutOff` if the other end takes no more."""
        data = b"".join(one if isinstance(one, bytes) else one.serialize() for one in what)
        try:
            with anyio.fail_after(patience_seconds()):
                async with self._writing:
                    await self.stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise CutOff("the connection is gone") from None

    async def set(self, settings: Mapping[int, int]) -> None:
        """Sends SETTINGS; windows that they give count once they are acknowledged."""
        self._unacknowledged.append(dict(settings))
        await self.send(SettingsFrame(0, dict(settings)))

    @property
    def acknowledged(self) -> bool:
        """The other end uses all settings that were sent."""
        return not self._unacknowledged

    def head_frames(self, stream: int, fields: Iterable[tuple[bytes, bytes]], *, ended: bool) -> bytes:
        """HEADERS, and CONTINUATION if need be."""
        block = self.encoder.encode(list(fields))
        pieces = [block[at : at + FRAME_BYTES] for at in range(0, len(block), FRAME_BYTES)] or [b""]
        frames: list[Frame] = [HeadersFrame(stream, pieces[0])]
        frames += [ContinuationFrame(stream, piece) for piece in pieces[1:]]
        if ended:
            frames[0].flags.add("END_STREAM")
        frames[-1].flags.add("END_HEADERS")
        return b"".join(frame.serialize() for frame in frames)

    async def head(self, stream: int, fields: Iterable[tuple[bytes, bytes]], *, ended: bool = False) -> None:
        """Sends a head or trailers."""
        await self.send(self.head_frames(stream, fields, ended=ended))

    async def content(
        self, stream: int, data: bytes, *, ended: bool = False, piece: int = FRAME_BYTES, padding: int = 0
    ) -> None:
        """Sends content as the windows allow, in frames of up to `piece` bytes, each with `padding` bytes more.

        Raises `StreamReset`, `CutOff`.
        """
        more = padding + 1 if padding else 0
        heard = self.hear(stream)
        while True:
            room = min(len(data), self.window - more, self.room(stream) - more, piece)
            if heard.code is not None:
                raise StreamReset(stream, heard.code)
            if room <= 0 and data:
                if not await self.more():
                    raise CutOff("the connection ended while content was sent")
                continue
            part, data = data[:room], data[room:]
            await self.send(self.content_frame(stream, part, ended=ended and not data, padding=padding))
            if not data:
                return

    def content_frame(self, stream: int, data: bytes, *, ended: bool, padding: int = 0) -> Frame:
        """A DATA frame that is about to be sent: it is counted against the windows."""
        frame = DataFrame(stream, data, pad_length=padding, flags=("PADDED",) if padding else ())
        if ended:
            frame.flags.add("END_STREAM")
        size = len(data) + (padding + 1 if padding else 0)
        self.window -= size
        self._sent[stream] = self._sent.get(stream, 0) + size
        return frame

    def room(self, stream: int) -> int:
        """What may still be sent on a stream; the connection has a window besides."""
        return self.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, _WINDOW) - self._sent.get(stream, 0)

    async def credit(self, stream: int, increment: int) -> None:
        """Lets the other end send more; stream 0: on the whole connection."""
        if stream:
            self.hear(stream).window += increment
        else:
            self.may_come += increment
        await self.send(WindowUpdateFrame(stream, increment))

    async def cancel(self, stream: int, code: int = 8) -> None:
        """Resets a stream."""
        await self.send(RstStreamFrame(stream, code))

    async def round_trip(self) -> None:
        """Waits until the other end has read everything, and what it said meanwhile is heard."""
        self._pings += 1
        awaited = self._pings
        await self.send(PingFrame(0, b"%08d" % awaited))
        await self.until(lambda: self._pongs >= awaited, "an answer to PING")

    # --- what comes ---

    def hear(self, stream: int) -> Heard:
        """What came on a stream, so far."""
        if stream not in self.streams:
            self.streams[stream] = Heard(self._initial_window)
        return self.streams[stream]

    async def more(self) -> bool:
        """Waits for more frames; False if there are none."""
        before = self._came
        async with self._reading:
            if self._came != before:
                return True
            if self.over:
                return False
            try:
                with anyio.fail_after(patience_seconds()):
                    self._received += await self.stream.receive(_RECEIVE_BYTES)
            except anyio.EndOfStream:
                self.over = True
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                self.over = self.was_reset = True
            self._came += 1
            self._read()
            said, self._say = self._say, []
            if said:
                try:
                    await self.send(*said)
                except CutOff:
                    pass  # what came last may still be asked for
        return not self.over

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until `condition()` holds. Raises `CutOff` that names `what` if the connection ends first."""
        while not condition():
            if not await self.more() and not condition():
                raise CutOff(f"{what} did not come: {self.goaways or 'the connection ended'}")

    async def end_of(self, stream: int) -> Heard:
        """Everything that comes on a stream. Raises `StreamReset`; `CutOff` if the connection ends before it."""
        heard = self.hear(stream)
        await self.until(lambda: heard.ended or heard.code is not None, f"the end of stream {stream}")
        if heard.code is not None and not heard.ended:
            raise StreamReset(stream, heard.code)
        return heard

    async def code_of(self, stream: int) -> int:
        """The code with which a stream is reset."""
        heard = self.hear(stream)
        await self.until(lambda: heard.code is not None, f"a reset of stream {stream}")
        assert heard.code is not None
        return heard.code

    async def leaving(self) -> int:
        """Waits for the end of the connection and leaves; the code of the last GOAWAY. Raises `CutOff` without one."""
        while await self.more():
            pass
        await self.stream.aclose()
        if not self.goaways:
            raise CutOff("the connection ended without GOAWAY")
        return self.goaways[-1][1]

    def _read(self) -> None:
        data = self._received
        while len(data) >= _FRAME_HEAD_BYTES:
            frame, size = Frame.parse_frame_header(memoryview(data[:_FRAME_HEAD_BYTES]))
            end = _FRAME_HEAD_BYTES + size
            if len(data) < end:
                break
            frame.parse_body(memoryview(data[_FRAME_HEAD_BYTES:end]))
            data = data[end:]
            self.frames.append(frame)
            self._take(frame)
        self._received = data

    def _take(self, frame: Frame) -> None:
        stream = frame.stream_id
        match frame:
            case HeadersFrame() | ContinuationFrame():
                heard = self.hear(stream)
                self._block += frame.data
                heard.ended = heard.ended or "END_STREAM" in frame.flags
                if "END_HEADERS" in frame.flags:
                    fields = self._decoder.decode(self._block, raw=True)
                    self._block = b""
                    heard.heads.append(tuple((bytes(name), bytes(value)) for name, value in fields))
            case DataFrame():
                self._take_content(stream, frame)
            case RstStreamFrame():
                self.hear(stream).code = frame.error_code
            case SettingsFrame() if "ACK" in frame.flags:
                self._acknowledged()
            case SettingsFrame():
                self.settings.update(frame.settings)
                self._say.append(SettingsFrame(0, flags=("ACK",)).serialize())
            case PingFrame() if "ACK" in frame.flags:
                self._pongs += 1
            case PingFrame():
                self._say.append(PingFrame(0, frame.opaque_data, flags=("ACK",)).serialize())
            case GoAwayFrame():
                self.goaways.append((frame.last_stream_id, frame.error_code))
            case WindowUpdateFrame() if stream:
                self._sent[stream] = self._sent.get(stream, 0) - frame.window_increment
            case WindowUpdateFrame():
                self.window += frame.window_increment

    def _take_content(self, stream: int, frame: DataFrame) -> None:
        heard, size = self.hear(stream), frame.flow_controlled_length
        heard.body += frame.data
        heard.ended = "END_STREAM" in frame.flags
        heard.window -= size
        self.may_come -= size
        assert heard.window >= 0 or not size, f"stream {stream}: content beyond its window"
        assert self.may_come >= 0, "content beyond the window of the connection"
        if self.crediting and size:
            self.may_come += size
            self._say.append(WindowUpdateFrame(0, size).serialize())
            if not heard.ended and heard.code is None:
                heard.window += size
                self._say.append(WindowUpdateFrame(stream, size).serialize())

    def _acknowledged(self) -> None:
        if not self._unacknowledged:
            return  # of a frame that was sent as it is
        settings = self._unacknowledged.pop(0)
        window = settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._initial_window)
        for heard in self.streams.values():
            heard.window += window - self._initial_window
        self._initial_window = window

    # --- how it ends ---

    async def finish(self) -> None:
        """Says that nothing more will be sent (FIN)."""
        await self.stream.send_eof()

    async def reset(self) -> None:
        """Leaves at once (RST of TCP). Not over TLS."""
        await reset(cast("SocketStream", self.stream))

    async def aclose(self) -> None:
        """Leaves."""
        await self.stream.aclose()
