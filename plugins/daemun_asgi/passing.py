"""One request on its way through a middleware: to the rest of the chain, and its response back.

A tunnel of another protocol is a request like any: who lets its head pass, both ways, lets its bytes pass.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import anyio
from msgspec.structs import replace

from daemun import (
    EMPTY,
    Body,
    Buffered,
    ExchangeError,
    Handler,
    Headers,
    NoContent,
    Reason,
    Request,
    Response,
    Waker,
)
from daemun_asgi.call import App, ClientGone, HttpCall, Receive, Send
from daemun_asgi.changes import Told
from daemun_asgi.fields import response_fields
from daemun_asgi.scope import Scope

__all__ = ["JOIN_SECONDS", "PassingCall"]

JOIN_SECONDS = 10.0
"""What the rest of the chain gets to end once it is cancelled."""


class PassingCall(HttpCall):
    """A call of a middleware, in front of `handler`."""

    __slots__ = ("_inner", "_switched", "_told", "handler")

    def __init__(self, app: App, name: str, request: Request, sees: Scope, waker: Waker, handler: Handler) -> None:
        super().__init__(app, name, request, sees, waker, 0)
        self.handler = handler
        self._told = Told(sees)
        self._inner = False
        self._switched: Response | None = None
        """The response that makes a tunnel of the exchange, once there is one."""

    async def leave(self) -> None:
        """The rest of the chain works for an exchange that is over: it ends before the exchange does."""
        await super().leave()
        with anyio.CancelScope(shield=True):
            if self.scope is not None and not self.answer.complete:
                self.over = anyio.Event()
                with anyio.move_on_after(JOIN_SECONDS):
                    await self.over.wait()
            if self.answer.passed is not None:
                await self.answer.passed.body.aclose()

    def _fault(self, error: BaseException) -> BaseException:
        return error  # its own, or one of the rest of the chain that it let through

    async def inner(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the rest of the chain. Raises what that raises."""
        if self._inner:
            raise RuntimeError("the inner application runs already")
        if self.content.over:
            raise ClientGone
        request = await self._request_of(scope, receive)
        self._inner = True
        try:
            response = await self.handler(request)
            if send == self.send and request.body is self.request.body and not self.content.over:
                self.answer.hand_on(response)
                self.content.end()  # nobody would tell when the response is over
            elif request.protocol and (response.status == 101 or _is_open(request, response)):
                await self._switch(response, send)
            else:
                await self._pass(response, send)
        finally:
            self._inner = False

    async def _pass(self, response: Response, send: Send) -> None:
        body = response.body
        kind = type(body)
        try:
            headers = list(response.headers)
            length = body.length
            if length is not None and response.status != 204 and (length or response.status != 304):
                headers.append((b"content-length", b"%d" % length))
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            data = b""
            if kind is Buffered or kind is NoContent:
                data = body.data  # type: ignore[attr-defined]
            else:
                while not self.answer.bare:
                    pipe = self.answer.begin()  # None: the middleware waits for content before it sends a head
                    if pipe is not None:
                        await pipe.wanted()
                    piece = await body.read()
                    if not piece:
                        break
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            self.answer.trailers = body.trailers
        except BaseException:
            self.answer.held = True  # a middleware may end the content as if it were whole, and raise after that
            raise
        finally:
            if kind is not Buffered and kind is not NoContent:
                with anyio.CancelScope(shield=True):
                    await body.aclose()
        await send({"type": "http.response.body", "body": data, "more_body": False})

    async def _switch(self, response: Response, send: Send) -> None:
        """Has the middleware see the head; it is handed on with the bytes that follow once it comes through."""
        self._switched = response
        headers = list(response.headers)
        try:
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if self.answer.passed is None:
                with anyio.CancelScope(shield=True):
                    await response.body.aclose()

    async def send(self, message: Mapping[str, Any]) -> None:
        """What the middleware gets as `send`."""
        switched, kind = self._switched, message["type"]
        if switched is None or self.content.over:
            await super().send(message)
        elif self.answer.passed is not None:
            if kind != "http.response.body" or message.get("body"):
                raise ValueError("the protocol is switched; accepted: nothing but the bytes of the tunnel")
            self.content.end()
        elif kind == "http.response.start" and message["status"] == switched.status:
            self.answer.hand_on(switched.with_headers(response_fields(message.get("headers", ())).headers))
        else:
            await super().send(message)

    async def _request_of(self, scope: Scope, receive: Receive) -> Request:
        """The request with what the middleware changed of it."""
        request = self.request
        changes = self._told.changes(request, scope)
        if not request.protocol and (receive != self.content.receive or self.content.asked):
            changes["body"] = await self._received(receive, scope["headers"])
        return replace(request, **changes) if changes else request

    async def _received(self, receive: Receive, headers: list[tuple[bytes, bytes]]) -> Body:
        """The content as the middleware gives it."""
        body = self.request.body
        if type(body) is NoContent:
            return body
        received = _Received(receive, body, headers)
        if type(body) is not Buffered:
            return received
        pieces = []
        while data := await received.read():
            pieces.append(data)
        return Buffered(b"".join(pieces), body.trailers) if pieces or body.trailers else EMPTY


def _is_open(request: Request, response: Response) -> bool:
    return request.method == b"CONNECT" and 200 <= response.status < 300


class _Received:
    """A request's content that comes through a middleware."""

    __slots__ = ("_body", "_ended", "_receive", "length")

    def __init__(self, receive: Receive, body: Body, headers: list[tuple[bytes, bytes]]) -> None:
        lengths = [value for name, value in headers if name.lower() == b"content-length"]
        self.length = int(lengths[0]) if lengths and lengths[0].isdigit() else None
        self._receive = receive
        self._body = body
        self._ended = False

    @property
    def trailers(self) -> Headers:
        return self._body.trailers

    async def read(self) -> bytes:
        while not self._ended:
            message: MutableMapping[str, Any] = await self._receive()
            if message["type"] != "http.request":
                raise ExchangeError(Reason.CLIENT_LEFT, "the client left in the middle of its content")
            self._ended = not message.get("more_body", False)
            data = bytes(message.get("body", b""))
            if data:
                return data
        return b""

    async def aclose(self) -> None:
        self._ended = True
        await self._body.aclose()
