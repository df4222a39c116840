"""WebSocket in the suite: the two programs in C that speak it as cheaply as may be, and one client in Python.

`websocket_origin.c` sends every message back, `websocket_load.c` is its clients. Both know one key, and are made when a
run begins.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from bench.peers.process import StartError
from msgspec import Struct

__all__ = ["COMPILER_MISSING", "MESSAGE_BYTES", "Programs", "WebSocketError", "build", "echo", "opened"]

COMPILER_MISSING = "a C compiler is not installed (apt-get install gcc): what talks WebSocket is left out"

MESSAGE_BYTES = 1024
_GET = (
    b"GET / HTTP/1.1\r\nHost: bench.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_HEADER = b"\x82\x7e" + MESSAGE_BYTES.to_bytes(2, "big")
_MASK = bytes.fromhex("37fa213d")
_CONTENT = b"0123456789abcdef" * (MESSAGE_BYTES // 16)
_SAID = b"\x82\xfe" + _HEADER[2:] + _MASK + bytes(byte ^ _MASK[at % 4] for at, byte in enumerate(_CONTENT))
_BUILD_SECONDS = 60.0


class WebSocketError(ConnectionError):
    """The peer does not switch to WebSocket, or what comes back is no message of the length that was sent."""


class Programs(Struct, frozen=True):
    """Where the two programs are."""

    origin: str
    load: str


def build(compiler: str, folder: Path) -> Programs:
    """Makes both programs in `folder`. Raises `StartError` with what the compiler said."""
    here = Path(__file__).parent
    programs = Programs(str(folder / "websocket_origin"), str(folder / "websocket_load"))
    for program in (programs.origin, programs.load):
        argv = [compiler, "-O2", "-o", program, str(here / f"{Path(program).name}.c")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS)
        if done.returncode:
            raise StartError(f"{compiler} does not make {Path(program).name}: {done.stderr.strip()[-300:]}")
    return programs


def opened(port: int) -> socket.socket:
    """A connection that talks WebSocket. Raises `OSError` and `WebSocketError`."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    try:
        connection.sendall(_GET)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = connection.recv(4096)
            if not piece:
                raise WebSocketError("the connection was closed before the handshake was answered")
            head += piece
        if not head.startswith(b"HTTP/1.1 101 ") or _ACCEPT not in head:
            raise WebSocketError(f"the handshake is answered with {head[:80]!r}")
    except BaseException:
        connection.close()
        raise
    return connection


def echo(connection: socket.socket) -> bytes:
    """Sends a message of `MESSAGE_BYTES`. What the one that comes back holds. Raises `OSError`, `WebSocketError`."""
    connection.sendall(_SAID)
    came = b""
    while len(came) < len(_HEADER) + MESSAGE_BYTES:
        piece = connection.recv(65536)
        if not piece:
            raise WebSocketError(f"the connection was closed after {len(came)} bytes of a message")
        came += piece
    if not came.startswith(_HEADER):
        raise WebSocketError(f"a message comes back with the header {came[:4].hex()}, not {_HEADER.hex()}")
    return came[len(_HEADER) :]
