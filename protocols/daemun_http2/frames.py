"""Frames: their types, their headers, and what can be wrong with them (RFC 9113 §4, §6, §7)."""

from __future__ import annotations

import enum
from struct import Struct

__all__ = [
    "ACK",
    "END_HEADERS",
    "END_STREAM",
    "FRAME_HEAD",
    "FRAME_HEAD_BYTES",
    "MAX_FRAME_BYTES",
    "MAX_SENT_FRAME_BYTES",
    "MAX_STREAM",
    "MAX_WINDOW",
    "PADDED",
    "PREFACE",
    "PRIORITY_FIELDS",
    "ConnectionFault",
    "ErrorCode",
    "Kind",
    "Setting",
    "StreamFault",
    "frame",
    "head_frames",
    "settings_frame",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (RFC 9113 §3.4)."""
FRAME_HEAD = Struct(">IBI")
"""Length and type in one number, flags, stream."""
FRAME_HEAD_BYTES = 9
MAX_FRAME_BYTES = 16_384
"""What a peer may send in a frame: we ask for no more than everybody has to take."""
MAX_SENT_FRAME_BYTES = 65_536
"""What we send in a frame, if the peer takes it."""
MAX_STREAM = 2**31 - 1
MAX_WINDOW = 2**31 - 1

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FIELDS = 0x20


class Kind(enum.IntEnum):
    """Types of frames."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(enum.IntEnum):
    """Parameters of SETTINGS."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFault(Exception):
    """What ends the connection: said to the peer in GOAWAY."""

    def __init__(self, code: ErrorCode, why: str) -> None:
        self.code = code
        self.why = why
        super().__init__(f"{code.name}: {why}")


class StreamFault(Exception):
    """What ends one stream: said to the peer in RST_STREAM."""

    def __init__(self, stream: int, code: ErrorCode, why: str) -> None:
        self.stream = stream
        self.code = code
        self.why = why
        super().__init__(f"stream {stream}: {code.name}: {why}")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return FRAME_HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


_PARAMETER = Struct(">HI")


def settings_frame(settings: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(Kind.SETTINGS, 0, 0, b"".join(_PARAMETER.pack(key, value) for key, value in settings.items()))


def head_frames(stream: int, block: bytes, *, ended: bool, max_frame_bytes: int) -> bytes:
    """A field block as HEADERS, and as many CONTINUATION as it needs."""
    flags = END_STREAM if ended else 0
    if len(block) <= max_frame_bytes:
        return FRAME_HEAD.pack(len(block) << 8 | Kind.HEADERS, flags | END_HEADERS, stream) + block
    parts = [frame(Kind.HEADERS, flags, stream, block[:max_frame_bytes])]
    for start in range(max_frame_bytes, len(block), max_frame_bytes):
        end = start + max_frame_bytes
        parts.append(frame(Kind.CONTINUATION, END_HEADERS if end >= len(block) else 0, stream, block[start:end]))
    return b"".join(parts)
