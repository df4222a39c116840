"""The upstream of a WebSocket whose messages go through a middleware: to it the gateway is the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from daemun import Body, ExchangeError, Headers, Waker
from daemun_asgi.assembling import Assembling
from daemun_asgi.call import ClientGone, Receive, Send
from daemun_asgi.pipe import Pipe

__all__ = ["FarSide"]

_TOO_LONG, _FAILED, _LOST = 1009, 1011, 1006


class FarSide:
    """Frames on the upstream's side, messages on the middleware's."""

    def __init__(self, waker: Waker, max_message_bytes: int, close_timeout_seconds: float) -> None:
        self._pipe = Pipe(waker)
        self.said: Body = _Said(self._pipe)
        """What the upstream gets to read."""
        self._frames = Connection(ConnectionType.CLIENT)
        self._assembling = Assembling(max_message_bytes)
        self._close_timeout_seconds = close_timeout_seconds
        self._left = False
        """The client has closed: nobody is to be told anything more."""

    async def talk(self, body: Body, receive: Receive, send: Send) -> None:
        """Passes messages until either side ends it. `body` is what the upstream says. Raises what `receive` and `send`
        raise."""
        errors: list[Exception] = []
        async with anyio.create_task_group() as tasks:

            async def told(part: Callable[[], Awaitable[None]]) -> None:
                try:
                    await part()
                except Exception as error:
                    errors.append(error)
                    tasks.cancel_scope.cancel()

            async def from_client() -> None:
                await self._say(receive)
                tasks.cancel_scope.deadline = anyio.current_time() + self._close_timeout_seconds

            async def from_upstream() -> None:
                await self._hear(body, send)
                tasks.cancel_scope.cancel()

            tasks.start_soon(told, from_client)
            await told(from_upstream)
        for error in errors:
            if not isinstance(error, ClientGone):
                raise error

    def end(self) -> None:
        """Nothing more is said."""
        self._pipe.end()

    async def _say(self, receive: Receive) -> None:
        frames, pipe = self._frames, self._pipe
        while (message := await receive())["type"] == "websocket.receive":
            if frames.state is not ConnectionState.OPEN:
                continue
            text, data = message.get("text"), message.get("bytes")
            room = pipe.put(frames.send(TextMessage(text) if text is not None else BytesMessage(bytes(data or b""))))
            if room is not None:
                await room.wait()
        self._left = True
        code: int = message.get("code") or CloseReason.NO_STATUS_RCVD
        if code != _LOST:
            self._close(code, message.get("reason") or "")
        pipe.end()

    async def _hear(self, body: Body, send: Send) -> None:
        frames = self._frames
        code, reason = _FAILED, "the upstream left"
        try:
            while data := await body.read():
                frames.receive_data(data)
                for event in frames.events():
                    closed = await self._take(event, send)
                    if closed is not None:
                        code, reason = closed
                        break
                else:
                    continue
                break
        except ExchangeError:
            pass  # the upstream broke off
        self._pipe.end()
        if not self._left:
            await send({"type": "websocket.close", "code": code, "reason": reason})

    async def _take(self, event: Event, send: Send) -> tuple[int, str] | None:
        """Passes an event on; with what it ended, if it did."""
        frames = self._frames
        if isinstance(event, Message):
            try:
                message = self._assembling.add(event)
            except ValueError as error:
                self._close(_TOO_LONG, str(error))
                return _TOO_LONG, str(error)
            if message is not None and not self._left:
                await send({"type": "websocket.send", **message})
        elif isinstance(event, Ping):
            if frames.state is ConnectionState.OPEN:
                room = self._pipe.put(frames.send(event.response()))
                if room is not None:
                    await room.wait()
        elif isinstance(event, CloseConnection):
            code, reason = int(event.code), event.reason or ""
            self._close(code, "" if frames.state is ConnectionState.OPEN else reason)
            return (1000, "") if code == CloseReason.NO_STATUS_RCVD else (code, reason)
        return None

    def _close(self, code: int, reason: str) -> None:
        frames = self._frames
        if frames.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            if code == CloseReason.NO_STATUS_RCVD:
                code, reason = CloseReason.NO_STATUS_RCVD, ""
            self._pipe.put(frames.send(CloseConnection(code, reason or None)))


class _Said:
    """What the upstream gets to read of what a client says."""

    __slots__ = ("_pipe", "length", "trailers")

    def __init__(self, pipe: Pipe) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self._pipe = pipe

    async def read(self) -> bytes:
        return await self._pipe.read()

    async def aclose(self) -> None:
        self._pipe.drop()
