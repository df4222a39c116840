"""Finding out, as soon as it is true, that a process answers."""

from __future__ import annotations

import errno
import os
import socket
from time import monotonic

import anyio
import h11

from daemun_process.place import Place
from daemun_process.settings import Readiness

__all__ = ["Probe"]

_SHORTEST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.1
_PAUSE_SHARE = 0.05
_LONGEST_TIMEOUT_SECONDS = 30.0
_REST_SECONDS = 0.05
_CHUNK_BYTES = 65536


class Probe:
    """Asks one place again and again: every 2 ms at first, then after a twentieth of the time waited so far.

    So a start is made longer by 5 % at most, and never by more than 100 ms. A probe that was too slow doubles
    the time that the next one gets: a service that is busy is slow, not dead.
    """

    def __init__(self, settings: Readiness, place: Place) -> None:
        self.last = ""
        """What the last probe that failed said, in words that name no address; "" before it."""
        self._settings = settings
        self._port = place.port
        self._path = place.path
        self._where = f"port {place.port}" if place.port else "its socket"

    async def succeed(self) -> None:
        """Returns when a probe succeeds."""
        began = monotonic()
        timeout = self._settings.timeout_seconds
        while True:
            with anyio.move_on_after(timeout) as scope:
                if await self._ask():
                    return
            if scope.cancelled_caught:
                self.last = f"no answer within {timeout:g} s on {self._where}"
                timeout = max(timeout, min(2 * timeout, _LONGEST_TIMEOUT_SECONDS))
            pause = _PAUSE_SHARE * (monotonic() - began)
            await anyio.sleep(min(max(pause, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS))

    async def _ask(self) -> bool:
        try:
            with socket.socket(socket.AF_INET if self._port else socket.AF_UNIX) as stream:
                stream.setblocking(False)
                await self._connect(stream)
                return self._settings.kind == "tcp" or await self._get(stream)
        except ConnectionRefusedError:
            self.last = f"connection refused on {self._where}"
        except FileNotFoundError:
            self.last = "its socket is not there"
        except OSError as error:
            self.last = f"{os.strerror(error.errno or 0).lower()} on {self._where}"
        except h11.RemoteProtocolError:
            self.last = f"no answer in HTTP/1.1 on {self._where}"
        return False

    async def _connect(self, stream: socket.socket) -> None:
        try:
            stream.connect(("127.0.0.1", self._port) if self._port else self._path)
        except BlockingIOError as error:
            if error.errno != errno.EINPROGRESS:
                raise
            await anyio.wait_writable(stream)
            number = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, os.strerror(number)) from None
        # Where nobody listens, a connection is made to itself if its own port happens to be the same.
        if self._port and stream.getsockname() == stream.getpeername():
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

    async def _get(self, stream: socket.socket) -> bool:
        settings = self._settings
        connection = h11.Connection(h11.CLIENT)
        fields = [("host", settings.host), ("user-agent", "daemun-probe"), ("connection", "close")]
        head = connection.send(h11.Request(method="GET", target=settings.path, headers=fields)) or b""
        connection.send(h11.EndOfMessage())
        stream.send(head)
        status = 0
        while not status:
            event = await _next_event(connection, stream)
            if isinstance(event, h11.Response):
                status = event.status_code
        self.last = f"status {status} on {self._where}"
        low, high = settings.statuses
        if not low <= status <= high:
            return False
        # The rest is read if it comes soon: many servers log an error when a client does not.
        with anyio.move_on_after(_REST_SECONDS):
            try:
                while connection.their_state is h11.SEND_BODY:
                    await _next_event(connection, stream)
            except (OSError, h11.RemoteProtocolError):
                pass
        return True


async def _next_event(connection: h11.Connection, stream: socket.socket) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        await anyio.wait_readable(stream)
        connection.receive_data(stream.recv(_CHUNK_BYTES))
    if isinstance(event, h11.ConnectionClosed):
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    return event
