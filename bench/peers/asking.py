"""One request in HTTP/2, in plaintext and with prior knowledge: what the answer is, to be compared with another."""

from __future__ import annotations

import hashlib
import socket

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from bench.peers.workloads import EMPTY_MESSAGE, grpc_fields

__all__ = ["Http2Error", "call", "get"]

_WINDOW = 2**24
_TIMEOUT_SECONDS = 20.0


class Http2Error(Exception):
    """The peer does not speak HTTP/2, or does not end its answer."""


def get(port: int, path: str) -> tuple[int, int, str]:
    """Status, length and digest of what a GET is answered with. Raises `OSError` and `Http2Error`."""
    status, content, _ = _exchange(port, "GET", path, [], b"")
    return status, len(content), hashlib.sha256(content).hexdigest()


def call(port: int, path: str) -> tuple[int, int, str]:
    """The same of a unary gRPC call; in the place of the digest its content and the status of the call."""
    status, content, ending = _exchange(port, "POST", path, grpc_fields(), EMPTY_MESSAGE)
    return status, len(content), f"{content.hex()} {ending.get(b'grpc-status', b'none').decode()}"


def _exchange(
    port: int, method: str, path: str, fields: list[tuple[str, str]], content: bytes
) -> tuple[int, bytes, dict[bytes, bytes]]:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS) as sock:
        connection.initiate_connection()
        connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW})
        connection.increment_flow_control_window(_WINDOW)
        head = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "bench.test"), *fields]
        connection.send_headers(1, head, end_stream=not content)
        if content:
            connection.send_data(1, content, end_stream=True)
        came, ending = bytearray(), dict[bytes, bytes]()
        status = 0
        while True:
            sock.sendall(connection.data_to_send())
            data = sock.recv(65536)
            if not data:
                raise Http2Error("the connection was closed before the answer ended")
            try:
                events = connection.receive_data(data)
            except h2.exceptions.ProtocolError as error:
                raise Http2Error(f"it breaks the rules: {error}") from error
            for event in events:
                match event:
                    case h2.events.ResponseReceived():
                        status = int(dict(event.headers)[b":status"])
                        ending = dict(event.headers)
                    case h2.events.DataReceived():
                        came += event.data
                    case h2.events.TrailersReceived():
                        ending |= dict(event.headers)
                    case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                        raise Http2Error(f"it ended the exchange with code {event.error_code}")
                    case h2.events.StreamEnded():
                        return status, bytes(came), ending
