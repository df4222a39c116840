"""One WebSocket on its way through a middleware: its opening, to the rest of the chain and back, then its messages.

Who hands `receive` and `send` on untouched sees no message, and they pass as bytes. With one of its own each message
goes through it, parsed and written once on either side.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from msgspec.structs import replace

from daemun import Body, ExchangeError, Handler, Reason, Request, Response, Stream, Waker, header_values
from daemun_asgi.call import App, ClientGone, Receive, Send, cancel_later, log
from daemun_asgi.changes import Told
from daemun_asgi.far_side import FarSide
from daemun_asgi.passing import JOIN_SECONDS
from daemun_asgi.scope import Scope
from daemun_asgi.settings import MiddlewareSettings
from daemun_asgi.websocket import WebSocketCall
from daemun_websocket import accept_key

__all__ = ["PassingWebSocket"]

_EXTENSIONS = b"sec-websocket-extensions"
_LOST, _REFUSED = 1006, 1011
_BARE_STATUSES = (204, 304)


class PassingWebSocket(WebSocketCall):
    """A call of a middleware for a WebSocket, in front of `handler`."""

    def __init__(
        self,
        app: App,
        name: str,
        request: Request,
        sees: Scope,
        new_waker: Callable[[], Waker],
        settings: MiddlewareSettings,
        handler: Handler,
    ) -> None:
        super().__init__(app, name, request, sees, new_waker(), settings, settings.close_timeout_seconds)
        self.handler = handler
        self.over: anyio.Event | None = None
        """To be set when the call is over."""
        self._new_waker = new_waker
        self._told = Told(sees)
        self._inner = False

    async def run(self) -> bool:
        """The whole call, as `Runnable` has it."""
        try:
            return await super().run()
        finally:
            if self.over is not None:
                self.over.set()

    async def leave(self) -> None:
        """The rest of the chain works for an exchange that is over: it ends before the exchange does."""
        if self._response is None:
            self._grace_seconds = 0
        await super().leave()
        with anyio.CancelScope(shield=True):
            if self.scope is not None and not self.answer.complete:
                self.over = anyio.Event()
                with anyio.move_on_after(self._grace_seconds + JOIN_SECONDS):
                    await self.over.wait()
            if self.answer.passed is not None:
                await self.answer.passed.body.aclose()

    def _failed(self, error: BaseException) -> None:
        if self.answer.complete:
            log.error("%s raised after its WebSocket was answered", self._name, exc_info=error)
        elif self._response is None:
            self.answer.fail(error)  # its own, or one of the rest of the chain that it let through
        else:
            super()._failed(error)

    async def send(self, message: Mapping[str, Any]) -> None:
        """What the middleware gets as `send`."""
        if self.answer.passed is None:
            await super().send(message)
        elif self._closed is not None:
            raise ClientGone
        else:
            raise RuntimeError(
                "the inner application was given receive and send as they are, and its messages pass as bytes; "
                "accepted: a send or receive of one's own for it, with messages of one's own"
            )

    async def inner(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the rest of the chain, until the WebSocket is over. Raises what that raises."""
        if self._inner:
            raise RuntimeError("the inner application runs already")
        if self._closed is not None:
            raise ClientGone
        self._inner = True
        try:
            request = replace(self.request, **self._told.changes(self.request, scope))
            if receive == self.receive and send == self.send and self._response is None:
                await self._hand_on(await self.handler(request))
            else:
                await self._pass(request, receive, send)
        finally:
            self._inner = False

    async def _hand_on(self, response: Response) -> None:
        """The response as it is, and the bytes after it."""
        over = anyio.Event()
        handed = response.with_body(_Handed(response.body, over.set)) if response.status == 101 else response
        try:
            if self._closed is not None:
                raise ClientGone
            self.answer.hand_on(handed)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await response.body.aclose()
            raise
        if handed is response:
            self._end(_LOST, "")
            return
        try:
            await over.wait()
            self._end(_LOST, "")
            cancel_later(self, JOIN_SECONDS)
        finally:
            if not over.is_set():  # a middleware that had enough of it
                self.request.exchange.expire_in(0, Reason.IDLE_TIMEOUT)

    async def _pass(self, request: Request, receive: Receive, send: Send) -> None:
        """The opening, then messages, through the middleware."""
        if not (receive == self.receive and self._connect_told):
            message = await receive()
            if message["type"] != "websocket.connect":
                raise ClientGone
        far = FarSide(self._new_waker(), self._settings.max_message_bytes, self._settings.close_timeout_seconds)
        response = await self.handler(request.without_header(_EXTENSIONS).with_body(far.said))
        try:
            if response.status == 101:
                await send(_accepted(request, response))
                if self._closed is None:  # or the middleware refused it
                    await far.talk(response.body, receive, send)
            elif self._response is None:
                await _refuse(response, send)
            else:  # the middleware accepted it before it asked
                await send({"type": "websocket.close", "code": _REFUSED, "reason": "it was refused"})
        finally:
            far.end()
            with anyio.CancelScope(shield=True):
                await response.body.aclose()


def _accepted(request: Request, response: Response) -> dict[str, Any]:
    """What an application says that accepts as `response` does. Raises `ExchangeError` if that does not fit."""
    key, headers = request.header(b"sec-websocket-key") or b"", response.headers
    if header_values(headers, b"sec-websocket-accept") != [accept_key(key)]:
        raise _unfit("Sec-WebSocket-Accept does not answer the key")
    if response.header(_EXTENSIONS) is not None:
        raise _unfit("it accepted an extension that nobody offered")
    chosen = header_values(headers, b"sec-websocket-protocol")
    offered = b",".join(header_values(request.headers, b"sec-websocket-protocol")).split(b",")
    if chosen and (len(chosen) > 1 or chosen[0] not in [name.strip() for name in offered]):
        raise _unfit("it chose a subprotocol that nobody offered")
    kept = [field for field in headers if not field[0].startswith(b"sec-websocket-")]
    return {
        "type": "websocket.accept",
        "subprotocol": chosen[0].decode("latin-1") if chosen else None,
        "headers": kept,
    }


def _unfit(words: str) -> ExchangeError:
    return ExchangeError(Reason.UPSTREAM_PROTOCOL, f"the upstream's answer to a WebSocket handshake: {words}")


async def _refuse(response: Response, send: Send) -> None:
    body, headers = response.body, list(response.headers)
    if body.length is not None and response.status not in _BARE_STATUSES:
        headers.append((b"content-length", b"%d" % body.length))
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    while piece := await body.read():
        await send({"type": "websocket.http.response.body", "body": piece, "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"", "more_body": False})


class _Handed:
    """What the upstream says, as it is; `over` is called when that is over."""

    __slots__ = ("_body", "_over", "length", "trailers")

    def __init__(self, body: Body, over: Callable[[], None]) -> None:
        self.length = body.length
        self.trailers = body.trailers
        self._body = body
        self._over = over

    def read_nowait(self) -> bytes:
        read: Callable[[], bytes] | None = getattr(self._body, "read_nowait", None)
        return b"" if read is None else read()

    async def read(self) -> bytes:
        return await self._body.read()

    async def relay(self, sink: Stream, came: Callable[[memoryview], None] | None = None) -> int:
        relay: Callable[..., Awaitable[int]] | None = getattr(self._body, "relay", None)
        return 0 if relay is None else await relay(sink, came)

    async def aclose(self) -> None:
        self._over()
        await self._body.aclose()
