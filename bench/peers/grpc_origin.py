"""The gRPC origin of ours: every message of every call goes back as it came, and the call ends well when its client has
said all. It reads frames and no heads: no call differs from another. No CPU time of it is counted.

python grpc_origin.py PORT
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW = 0, 1, 3, 4, 6, 8
_END_STREAM, _END_HEADERS, _PADDED = 0x1, 0x4, 0x8
_ACK = 0x1
_INITIAL_WINDOW_SIZE = 4
_DEFAULT_WINDOW = 65_535
_LARGEST_WINDOW = 2**31 - 1
_CREDIT_BYTES = 2**20


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A field that is put into no table (RFC 7541 §6.2.2)."""
    return bytes((0, len(name))) + name + bytes((len(value),)) + value


_HEAD = b"\x88" + _literal(b"content-type", b"application/grpc")
_TRAILERS = _literal(b"grpc-status", b"0")
_GREETING = _frame(
    _SETTINGS, 0, 0, b"\x00\x03\x00\x00\x10\x00" + b"\x00\x04" + _LARGEST_WINDOW.to_bytes(4, "big")
) + _frame(_WINDOW, 0, 0, (_LARGEST_WINDOW - _DEFAULT_WINDOW).to_bytes(4, "big"))


class _Call:
    """One stream: what waits until the client takes more."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.waiting: deque[bytes] = deque()
        self.ended = False


class _Echo(asyncio.Protocol):
    def __init__(self) -> None:
        self._data = b""
        self._calls: dict[int, _Call] = {}
        self._window = _DEFAULT_WINDOW
        self._initial = _DEFAULT_WINDOW
        self._uncredited = 0
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none, but alike
        self._transport.write(_GREETING)
        self._preface = len(_PREFACE)

    def data_received(self, data: bytes) -> None:
        data = self._data + data
        at = skipped = min(self._preface, len(data))
        self._preface -= skipped
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            self._take(data[at + 3], data[at + 4], stream, data[at + 9 : end])
            at = end
        self._data = data[at:]
        if self._uncredited > _CREDIT_BYTES:
            self._out.append(_frame(_WINDOW, 0, 0, self._uncredited.to_bytes(4, "big")))
            self._uncredited = 0
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._uncredited += len(payload)
            call = self._calls.get(stream)
            if call is not None:
                content = payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
                if content:
                    call.waiting.append(content)
                self._go_on(stream, call, ended=bool(flags & _END_STREAM))
        elif kind == _HEADERS:
            call = self._calls.get(stream)
            if call is None:
                self._calls[stream] = call = _Call(self._initial)
                self._out.append(_frame(_HEADERS, _END_HEADERS, stream, _HEAD))
            self._go_on(stream, call, ended=bool(flags & _END_STREAM))
        elif kind == _WINDOW:
            self._take_window(stream, int.from_bytes(payload, "big"))
        elif kind == _SETTINGS and not flags & _ACK:
            for place in range(0, len(payload), 6):
                if int.from_bytes(payload[place : place + 2], "big") == _INITIAL_WINDOW_SIZE:
                    self._take_initial(int.from_bytes(payload[place + 2 : place + 6], "big"))
            self._out.append(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            self._out.append(_frame(_PING, _ACK, 0, payload))
        elif kind == _RESET:
            self._calls.pop(stream, None)

    def _take_window(self, stream: int, more: int) -> None:
        if stream:
            call = self._calls.get(stream)
            if call is not None:
                call.window += more
                self._go_on(stream, call)
            return
        self._window += more
        for number, call in list(self._calls.items()):
            self._go_on(number, call)

    def _take_initial(self, size: int) -> None:
        more, self._initial = size - self._initial, size
        for number in list(self._calls):
            self._calls[number].window += more
            self._go_on(number, self._calls[number])

    def _go_on(self, stream: int, call: _Call, *, ended: bool = False) -> None:
        """Sends what the windows allow."""
        call.ended = call.ended or ended
        waiting = call.waiting
        while waiting and len(waiting[0]) <= min(call.window, self._window):
            content = waiting.popleft()
            call.window -= len(content)
            self._window -= len(content)
            self._out.append(_frame(_DATA, 0, stream, content))
        if call.ended and not waiting:
            self._out.append(_frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _TRAILERS))
            del self._calls[stream]


async def _main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Echo, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(_main())
    else:
        uvloop.run(_main())
