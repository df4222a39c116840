"""One side's frames: bytes become messages and messages bytes. wsproto knows the frames, this the limits.

Everything that a peer can make long is refused as early as it shows: a frame by its head, a message while it grows, its
compressed form before it is decompressed further than it may.
"""

from __future__ import annotations

import zlib
from typing import Generic, TypeVar

from msgspec import Struct
from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits

from daemun_websocket.deflate import Deflater, Inflater, TooLong
from daemun_websocket.messages import Binary, Close, Message, Ping, Pong, Text

__all__ = ["BadFrames", "Bounds", "Framing"]

_STEP_BYTES = 64 * 1024
_PACKED_STEP_BYTES = 4 * 1024
"""Compressed bytes that are looked at in one go: they become a thousand times as many at most."""
_MIN_PACKED_BYTES = 64
"""Messages below it are sent as they are."""
_MANY = 1024
"""Pieces that are kept as they are."""
_PLAIN = RsvBits(False, False, False)
_PACKED = RsvBits(True, False, False)
_BAD_GATEWAY = 1014
"""A code that was registered after wsproto's list was made; it passes as another."""
_BAD_GATEWAY_DATA = _BAD_GATEWAY.to_bytes(2, "big")
_OTHER_DATA = CloseReason.INTERNAL_ERROR.to_bytes(2, "big")
_WORDS = {
    1002: "the frames break the protocol",
    1007: "the content of a message is malformed",
}


AnyStr = TypeVar("AnyStr", str, bytes)


class BadFrames(Exception):
    """Bytes that are no frames, or frames that are refused; nothing more can be read of this side."""

    def __init__(self, code: int, limit: str = "", refused: str = "") -> None:
        self.close = Close(code, limit or _WORDS.get(code, ""))
        """What the sender is to be told: for 1009 which limit it broke."""
        self.refused = refused
        """The message that broke a limit, as far as it showed: kind and length. "": the frames are at fault."""
        super().__init__(self.close.reason)


class Bounds(Struct, frozen=True):
    """How far a message may go."""

    message_bytes: int
    frame_bytes: int
    fragments: int


class Framing:
    """What one side of a WebSocket sends and is sent."""

    __slots__ = ("_binary", "_guard", "_joined", "_place", "_protocol", "_step", "_text", "_waiting", "sending")

    def __init__(
        self,
        *,
        client: bool,
        bounds: Bounds,
        inflater: Inflater | None = None,
        deflater: Deflater | None = None,
        joined: bool = True,
    ) -> None:
        """`client`: the gateway is a client here, as it is towards upstreams. `joined`: messages come whole."""
        self.sending: type[Text | Binary] | None = None
        """The kind of message of which a piece was sent, and not the last."""
        self._guard = _Guard(bounds, inflater, deflater)
        self._protocol = FrameProtocol(client, [self._guard])
        self._step = _STEP_BYTES if inflater is None else _PACKED_STEP_BYTES
        self._joined = joined
        self._waiting = b""
        self._place = 0
        self._text: _Joined[str] = _Joined("")
        self._binary: _Joined[bytes] = _Joined(b"")

    def feed(self, data: bytes) -> None:
        """More bytes of this side. To be called when `read` has nothing more."""
        self._waiting, self._place = data, 0

    def read(self) -> Message | None:
        """The next message, or piece of one; None: bytes are needed. Raises `BadFrames`."""
        while True:
            try:
                frame = next(self._protocol.received_frames(), None)
            except ParseFailed as error:
                guard = self._guard
                raise BadFrames(error.code, guard.limit, guard.refused) from None
            if frame is not None:
                if (message := self._message(frame)) is not None:
                    return message
            elif self._place < len(self._waiting):
                begin = self._place
                self._place = begin + self._step
                self._protocol.receive_bytes(self._waiting[begin : self._place])
            else:
                self._waiting, self._place = b"", 0
                return None

    def write(self, message: Message) -> bytes:
        """`message` in frames for this side. Raises `TypeError` or `ValueError` for what cannot be sent now."""
        protocol = self._protocol
        match message:
            case Text(data, last) | Binary(data, last):
                kind = type(message)
                if self.sending not in (None, kind):
                    raise TypeError("the pieces of a message are of one kind")
                framed = protocol.send_data(data, last)
                self.sending = None if last else kind
            case Ping(data):
                framed = protocol.ping(data)
            case Pong(data):
                framed = protocol.pong(data)
            case Close(code, reason):
                framed = protocol.close(code, reason or None)
            case _:
                raise TypeError(f"{type(message).__name__} is no message")
        return bytes(framed)

    def drop(self) -> None:
        """Nothing more is read or written: gives back what is held, now and not when garbage is collected."""
        vars(self._protocol).clear()  # its parser is a generator that holds on to what holds it
        self._guard.drop()
        self._waiting, self._place = b"", 0
        self._text, self._binary = _Joined(""), _Joined(b"")

    def _message(self, frame: Frame) -> Message | None:
        payload, last = frame.payload, frame.message_finished
        if isinstance(payload, tuple):
            code, reason = payload
            if code == CloseReason.NO_STATUS_RCVD:
                return Close()
            return Close(_BAD_GATEWAY if self._guard.bad_gateway else int(code), reason)
        if frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
            assert isinstance(payload, bytes)
            return Ping(payload) if frame.opcode is Opcode.PING else Pong(payload)
        if not self._joined:
            if not payload and not last:
                return None
            return Text(payload, last) if isinstance(payload, str) else Binary(payload, last)
        if isinstance(payload, str):
            text = self._text.add(payload, last=last)
            return None if text is None else Text(text)
        data = self._binary.add(payload, last=last)
        return None if data is None else Binary(data)


class _Joined(Generic[AnyStr]):
    """A message that comes in pieces, however small they are: it costs little more memory than it is long."""

    __slots__ = ("_empty", "_pieces", "_runs")

    def __init__(self, empty: AnyStr) -> None:
        self._empty: AnyStr = empty
        self._pieces: list[AnyStr] = []
        self._runs: list[AnyStr] = []

    def add(self, piece: AnyStr, *, last: bool) -> AnyStr | None:
        """The whole message, if `piece` was its last."""
        if last and not self._pieces and not self._runs:
            return piece
        if piece:
            self._pieces.append(piece)
        if last:
            runs = self._runs + self._pieces
            self._runs, self._pieces = [], []
            return self._empty.join(runs)
        if len(self._pieces) >= _MANY:
            self._runs.append(self._empty.join(self._pieces))
            self._pieces = []
        return None


class _Guard(Extension):
    """Where wsproto lets one look at heads and content. It may show the same head again, until its mask has come."""

    name = "bounds"

    def __init__(self, bounds: Bounds, inflater: Inflater | None, deflater: Deflater | None) -> None:
        self.bad_gateway = False
        """What passes as another code is 1014."""
        self.limit = ""
        """What may be sent, once more than that was."""
        self.refused = ""
        """The message that is above it."""
        self._bounds = bounds
        self._inflater = inflater
        self._deflater = deflater
        self._opcode = Opcode.CONTINUATION
        """Of the frame at hand."""
        self._kind = ""
        """Of the message at hand."""
        self._inside = False
        """A message has begun, with a frame that was not its last."""
        self._packed = False
        """The message is compressed."""
        self._received = 0
        """Its bytes, as they came."""
        self._size = 0
        """Its bytes, decompressed."""
        self._fragments = 0
        self._packing = False
        """The message that is being sent is compressed."""

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        return False

    def drop(self) -> None:
        """Gives back the memory of compression."""
        self._inflater = self._deflater = None

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        self._opcode = opcode
        if opcode.iscontrol():
            return _PLAIN
        first = opcode is not Opcode.CONTINUATION
        if first is self._inside:
            return CloseReason.PROTOCOL_ERROR
        if first:
            self._kind = "text" if opcode is Opcode.TEXT else "binary"
            self._packed = rsv.rsv1 and self._inflater is not None
        bounds, size = self._bounds, self._received + payload_length
        if size > self._room(bounds.message_bytes):
            return self._too_big(f"messages of at most {bounds.message_bytes} bytes", size, packed=self._packed)
        if payload_length > self._room(bounds.frame_bytes):
            return self._too_big(f"frames of at most {bounds.frame_bytes} bytes", size, packed=self._packed)
        if self._fragments >= bounds.fragments:
            return self._too_big(f"messages in at most {bounds.fragments} frames", size, packed=self._packed)
        return _PACKED if first and self._inflater is not None else _PLAIN

    def _too_big(self, limit: str, size: int, *, packed: bool) -> CloseReason:
        self.limit = f"{limit} are taken"
        self.refused = f"{self._kind} message of {size} {'compressed ' if packed else ''}bytes or more"
        return CloseReason.MESSAGE_TOO_BIG

    def _room(self, limit: int) -> int:
        """`limit` for bytes as they come: what cannot be compressed grows a little by the attempt."""
        return limit + limit // 16 + 64 if self._packed else limit

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        if self._opcode.iscontrol():
            if self._opcode is Opcode.CLOSE and data[:2] == _BAD_GATEWAY_DATA:
                self.bad_gateway = True
                return _OTHER_DATA + data[2:]
            return data
        self._received += len(data)
        if not self._packed:
            return data
        assert self._inflater is not None
        try:
            found = self._inflater.inflate(data, self._bounds.message_bytes - self._size)
        except (TooLong, zlib.error) as error:
            return self._unpacked_badly(error)
        self._size += len(found)
        return found

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        if self._opcode.iscontrol():
            return None
        self._fragments += 1
        self._inside = not fin
        if not fin:
            return None
        rest = None
        if self._packed:
            assert self._inflater is not None
            try:
                rest = self._inflater.finish(self._bounds.message_bytes - self._size)
            except (TooLong, zlib.error) as error:
                return self._unpacked_badly(error)
        self._received = self._size = self._fragments = 0
        return rest

    def _unpacked_badly(self, error: Exception) -> CloseReason:
        if not isinstance(error, TooLong):
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        most = self._bounds.message_bytes
        return self._too_big(f"messages of at most {most} bytes", most + 1, packed=False)

    def frame_outbound(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> tuple[RsvBits, bytes]:
        if self._deflater is None or opcode.iscontrol():
            return rsv, data
        first = opcode is not Opcode.CONTINUATION
        if first:
            self._packing = not fin or len(data) >= _MIN_PACKED_BYTES
        if not self._packing:
            return rsv, data
        return (_PACKED if first else rsv), self._deflater.deflate(data, last=fin)
