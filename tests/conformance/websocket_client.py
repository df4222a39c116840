"""A client of WebSocket that says what it is told to, right or wrong, and joins what it hears."""

from __future__ import annotations

import base64
import os
import socket
import struct
from typing import Self

from .h2_bridge import accepted

__all__ = ["BINARY", "BYE", "CLOSE", "MORE", "PING", "PONG", "TEXT", "Client", "Frame", "Heard", "closing", "frame"]

TEXT, BINARY, CLOSE, PING, PONG, MORE = 1, 2, 8, 9, 10, 0

Frame = tuple[int, bytes]
"""The kind, and the content."""


def frame(kind: int, content: bytes = b"", *, final: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """A client's frame. `reserved` are the three bits; the length is written as short as it can be."""
    size = len(content)
    head = bytes([final << 7 | reserved << 4 | kind])
    bit = masked << 7
    if size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += bytes([bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + content
    key = os.urandom(4)
    stream = key * (size // 4 + 1)
    return head + key + (int.from_bytes(content) ^ int.from_bytes(stream[:size])).to_bytes(size)


def closing(code: int, reason: str = "") -> bytes:
    return struct.pack(">H", code) + reason.encode()


BYE = frame(CLOSE, closing(1000))


class Heard:
    """What comes from a server."""

    def __init__(self, came: bytes = b"") -> None:
        self.came = came
        self._begun: Frame = (MORE, b"")

    def next(self) -> Frame | None:
        """The next message, joined, or the next frame of control, if it is there."""
        while len(self.came) >= 2:
            first, size, at = self.came[0], self.came[1], 2
            if size >= 126:
                at = 4 if size == 126 else 10
                size = int.from_bytes(self.came[2:at])
            if len(self.came) < at + size:
                return None
            assert first & 0x70 == 0
            content, self.came = self.came[at : at + size], self.came[at + size :]
            if first >= CLOSE | 0x80:
                return first & 0x0F, content
            kind, begun = self._begun
            assert (first & 0x0F == MORE) == (kind != MORE)
            self._begun = (kind or first & 0x0F, begun + content)
            if first & 0x80:
                whole, self._begun = self._begun, (MORE, b"")
                return whole
        return None


class Client:
    """A client that says what it is told to."""

    def __init__(self, port: int, **changes: str | None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        key = base64.b64encode(os.urandom(16)).decode()
        fields: dict[str, str | None] = {
            "host": f"127.0.0.1:{port}",
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-version": "13",
            "sec-websocket-key": key,
        }
        fields |= {name.replace("_", "-"): value for name, value in changes.items()}
        lines = (f"{name}: {value}" for name, value in fields.items() if value is not None)
        self.say("\r\n".join(["GET /chat HTTP/1.1", *lines, "", ""]).encode())
        came = b""
        while b"\r\n\r\n" not in came:
            data = self._socket.recv(65536)
            assert data, came
            came += data
        self.head, _, rest = came.partition(b"\r\n\r\n")
        self._heard = Heard(rest)
        self.status = int(self.head.split(b" ")[1])
        assert self.status != 101 or accepted(key).encode() in self.head

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def say(self, data: bytes) -> None:
        self._socket.sendall(data)

    def say_no_more(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def hear(self) -> Frame | None:
        """The next message, joined, or the next frame of control; None: the connection ended."""
        while (frame := self._heard.next()) is None:
            data = self._socket.recv(1 << 20)
            if not data:
                return None
            self._heard.came += data
        return frame

    def rest(self) -> list[Frame]:
        """What comes up to the end."""
        return list(iter(self.hear, None))
