"""One WebSocket as a call of an ASGI application: frames on the client's side, messages on the application's."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from contextvars import Context, copy_context
from typing import Any

import anyio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage

from daemun import ExchangeError, Headers, Reason, Request, Response, Waker
from daemun_asgi.answer import Answer
from daemun_asgi.assembling import Assembling
from daemun_asgi.call import App, ApplicationFault, ClientGone, cancel_later
from daemun_asgi.fields import response_fields
from daemun_asgi.frames import Frames
from daemun_asgi.pipe import Pipe
from daemun_asgi.runners import Runners, is_cancellation
from daemun_asgi.scope import Scope
from daemun_asgi.settings import AsgiSettings, MiddlewareSettings
from daemun_websocket import accept_key

__all__ = ["WebSocketCall"]

log = logging.getLogger("daemun.asgi")

_MAX_WAITING = 16
"""Messages that wait for the application; then the client waits."""
_LOST, _TOO_LONG, _FAILED = 1006, 1009, 1011
_CODES = range(1000, 5000)


class WebSocketCall:
    """A call of an application for a WebSocket."""

    def __init__(
        self,
        app: App,
        name: str,
        request: Request,
        sees: Scope,
        waker: Waker,
        settings: AsgiSettings | MiddlewareSettings,
        grace_seconds: float,
    ) -> None:
        """`sees` is the scope that the application gets; `name` is for errors."""
        self.request = request
        self.sees = sees
        self.answer = Answer(waker, b"GET")
        """What refuses it."""
        self.pipe = Pipe(waker)
        """Frames for the client."""
        self.context: Context = copy_context()
        self.scope: anyio.CancelScope | None = None
        self._app = app
        self._name = name
        self._settings = settings
        self._grace_seconds = grace_seconds
        self._waker = waker
        self._frames = Connection(ConnectionType.SERVER)
        self._response: Response | None = None
        self._connect_told = False
        self._closed: tuple[int, str] | None = None
        """With what it ended, from whichever side; None: it has not."""
        self._waiting: deque[dict[str, Any]] = deque()
        self._assembling = Assembling(settings.max_message_bytes)
        self._came: anyio.Event | None = None
        self._room: anyio.Event | None = None

    async def respond(self, runners: Runners) -> Response:
        """101 with what the application says, or its refusal. Raises what stands in its way."""
        if self.request.exchange.tasks is None or self.request.header(b"sec-websocket-key") is None:
            raise ExchangeError(Reason.BAD_REQUEST, "this is no opening handshake of a WebSocket")
        runners.run(self)
        answer = self.answer
        try:
            while self._response is None and not answer.begun and answer.error is None:
                await self._waker.wait()
            if self._response is not None:
                self.request.exchange.tasks.start_soon(self._listen)
                return self._response
            return answer.response(self.leave)
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        """Nobody reads on: tells the application, which may take a while to end."""
        self._lost()
        self.pipe.drop()
        if self.answer.pipe is not None:
            self.answer.pipe.drop()
        if not self.answer.complete:
            cancel_later(self, self._grace_seconds)

    async def run(self) -> bool:
        try:
            if self._closed is None:  # or the client left before it began
                await self._app(self.sees, self.receive, self.send)
        except BaseException as error:
            if is_cancellation(error):
                self._over("was cancelled", _FAILED)
                raise
            self._failed(error)
        else:
            self._over("returned without an answer", 1000)
            return True
        return False

    def _failed(self, error: BaseException) -> None:
        if self._closed is not None:
            log.debug("%s raised after its WebSocket", self._name, exc_info=error)
        elif self._response is not None:
            log.error("%s raised in a WebSocket", self._name, exc_info=error)
            self.request.exchange.plugin, self.request.exchange.reason = "asgi", Reason.PLUGIN_FAULT
        fault = self._over(f"raised {type(error).__name__}: {error}", _FAILED)
        fault.__cause__ = error

    def _over(self, words: str, code: int) -> Exception:
        fault = ApplicationFault(f"{self._name} {words}")
        if self._response is None:
            self.answer.fail(fault)
        elif self._closed is None:
            self._close(code, "")
        return fault

    # --- what the application gets ---

    async def receive(self) -> dict[str, Any]:
        """What the application gets as `receive`."""
        if not self._connect_told:
            self._connect_told = True
            return {"type": "websocket.connect"}
        while not self._waiting:
            if self._closed is not None:
                code, reason = self._closed
                return {"type": "websocket.disconnect", "code": code, "reason": reason}
            if self._came is None:
                self._came = anyio.Event()
            await self._came.wait()
        message = self._waiting.popleft()
        room, self._room = self._room, None
        if room is not None:
            room.set()
        return message

    async def send(self, message: Mapping[str, Any]) -> None:
        """What the application gets as `send`."""
        kind = message["type"]
        if kind == "websocket.send" and self._response is not None:
            await self._send(message)
        elif kind == "websocket.close" and self._response is not None:
            if self._closed is None:
                self._close(message.get("code") or 1000, message.get("reason") or "")
        elif self.pipe.dropped:
            raise ClientGone
        elif self._response is not None:
            raise ValueError(f"there is no message {kind!r} now; accepted: websocket.send, websocket.close")
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self.answer.start({"status": 403})
            self.answer.body({})
            self._end(_LOST, "")
        elif kind == "websocket.http.response.start":
            self.answer.start(message)
        elif kind == "websocket.http.response.body":
            room = self.answer.body(message)
            if self.answer.complete:
                self._end(_LOST, "")
            if room is not None:
                await room.wait()
        else:
            accepted = "websocket.accept, websocket.close, websocket.http.response.start, .body"
            raise ValueError(f"there is no message {kind!r} now; accepted: {accepted}")

    def _accept(self, message: Mapping[str, Any]) -> None:
        if self.answer.begun:
            raise RuntimeError("the WebSocket was refused already")
        key = self.request.header(b"sec-websocket-key")
        assert key is not None
        headers: Headers = tuple(
            field
            for field in response_fields(message.get("headers") or ()).headers
            if not field[0].startswith(b"sec-websocket-")
        )
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            if subprotocol not in self.sees["subprotocols"]:
                raise ValueError(f"the client does not offer the subprotocol {subprotocol!r}")
            headers = ((b"sec-websocket-protocol", subprotocol.encode()), *headers)
        self._response = Response(
            101,
            ((b"sec-websocket-accept", accept_key(key)), *headers),
            Frames(self.pipe, self.request.body, self.leave),
        )
        self._waker.wake()

    async def _send(self, message: Mapping[str, Any]) -> None:
        if self._closed is not None:
            raise ClientGone
        text, data = message.get("text"), message.get("bytes")
        event = TextMessage(text) if text is not None else BytesMessage(bytes(data or b""))
        room = self.pipe.put(self._frames.send(event))
        if room is not None:
            await room.wait()
            if self._closed is not None:
                raise ClientGone

    # --- what the client says ---

    async def _listen(self) -> None:
        """Reads frames until the end. Ends with the exchange, whose task it is."""
        body = self.request.body
        try:
            while not self._done and (data := await body.read()):
                self._frames.receive_data(data)
                for event in self._frames.events():
                    room = self._hear(event)
                    if room is not None:
                        await room.wait()
                    while len(self._waiting) >= _MAX_WAITING and self._closed is None:
                        self._room = anyio.Event()
                        await self._room.wait()
        except ExchangeError:
            pass
        self._lost()
        await body.aclose()
        self.pipe.end()

    @property
    def _done(self) -> bool:
        return self.pipe.ended or self._frames.state is ConnectionState.CLOSED

    def _hear(self, event: Event) -> anyio.Event | None:
        """Takes an event; what it returns is to be waited for before the next one."""
        if isinstance(event, Message):
            if self._closed is None:
                self._take(event)
        elif isinstance(event, Ping):
            if self._frames.state is ConnectionState.OPEN:
                return self.pipe.put(self._frames.send(event.response()))
        elif isinstance(event, CloseConnection):
            state = self._frames.state
            self._end(int(event.code), event.reason or "")
            if state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
                self.pipe.put(self._frames.send(event.response()))
            if state is ConnectionState.OPEN:  # its bytes are no frames: nothing more can be heard
                self.pipe.end()
        return None

    def _take(self, event: Message[Any]) -> None:
        try:
            message = self._assembling.add(event)
        except ValueError as error:
            self._close(_TOO_LONG, str(error))
            return
        if message is not None:
            self._waiting.append({"type": "websocket.receive", **message})
            self._changed()

    # --- how it ends ---

    def _close(self, code: int, reason: str) -> None:
        if code not in _CODES:
            raise ValueError(f"{code!r} is no code to close a WebSocket with; accepted: 1000 to 4999")
        self.pipe.put(self._frames.send(CloseConnection(code, reason)))
        self._end(code, reason)
        self.request.exchange.expire_in(self._settings.close_timeout_seconds, Reason.IDLE_TIMEOUT)

    def _lost(self) -> None:
        self._end(_LOST, "")

    def _end(self, code: int, reason: str) -> None:
        if self._closed is None:
            self._closed = code, reason
            self._assembling.forget()
        self._changed()
        room, self._room = self._room, None
        if room is not None:
            room.set()

    def _changed(self) -> None:
        came, self._came = self._came, None
        if came is not None:
            came.set()
