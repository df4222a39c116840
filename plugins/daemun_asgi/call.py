"""One HTTP request as a call of an ASGI application, in a task of its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import Context, copy_context
from typing import Any

import anyio

from daemun import ExchangeError, Request, Response, Waker
from daemun_asgi.answer import Answer
from daemun_asgi.content import Content
from daemun_asgi.fields import trailer_fields
from daemun_asgi.runners import Runnable, Runners, is_cancellation
from daemun_asgi.scope import Scope

__all__ = ["App", "ApplicationFault", "ClientGone", "HttpCall", "Receive", "Send", "cancel_later"]

log = logging.getLogger("daemun.asgi")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An application of ASGI 3."""


class ApplicationFault(Exception):
    """An application that broke the rules of ASGI, or let an exception out; the message names it."""


class ClientGone(OSError):
    """What an application gets that sends and has no client any more."""

    def __init__(self) -> None:
        super().__init__("the client left")


class HttpCall:
    """A call of an application; `answer` is what it sends."""

    __slots__ = (
        "_app",
        "_grace_seconds",
        "_name",
        "_waker",
        "answer",
        "content",
        "context",
        "over",
        "request",
        "scope",
        "sees",
    )

    def __init__(self, app: App, name: str, request: Request, sees: Scope, waker: Waker, grace_seconds: float) -> None:
        """`sees` is the scope that the application gets; `name` is for errors."""
        self.request = request
        self.sees = sees
        self.answer = Answer(waker, request.method)
        self.content = Content(request, self.answer.fail)
        self.context: Context = copy_context()
        self.scope: anyio.CancelScope | None = None
        self.over: anyio.Event | None = None
        """To be set when the call is over."""
        self._app = app
        self._name = name
        self._waker = waker
        self._grace_seconds = grace_seconds

    async def respond(self, runners: Runners) -> Response:
        """The response, once it begins. Raises what stands in its way; cancellation tells the application."""
        runners.run(self)
        answer = self.answer
        try:
            while not answer.begun and answer.error is None:
                await self._waker.wait()
            return answer.response(self.leave)
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        """Nobody reads the response on: tells the application, which may take a while to end."""
        if not self.content.over:
            self.content.end()
        if self.answer.pipe is not None:
            self.answer.pipe.drop()
        if not self.answer.complete:
            cancel_later(self, self._grace_seconds)

    async def run(self) -> bool:
        """The whole call; whether the application returned."""
        answer = self.answer
        try:
            if self.content.over:  # the client left before it began
                return True
            await self._app(self.sees, self.content.receive, self.send)
            answer.returned(self._broke)
            return True
        except BaseException as error:
            if is_cancellation(error):
                answer.fail(self._broke("was cancelled"))
                raise
            self.failed(error)
        finally:
            if self.over is not None:
                self.over.set()
        return False

    def failed(self, error: BaseException) -> None:
        """The application let `error` out."""
        answer = self.answer
        if answer.complete:
            log.error("%s raised after its response", self._name, exc_info=error)
        elif self.content.over:
            log.debug("%s raised without a client", self._name, exc_info=error)
            answer.fail(error)
        else:
            answer.fail(self._fault(error))

    def _fault(self, error: BaseException) -> BaseException:
        fault = self._broke(f"raised {type(error).__name__}: {error}")
        fault.__cause__ = error
        return fault

    def _broke(self, words: str) -> Exception:
        return ApplicationFault(f"{self._name} {words}")

    async def send(self, message: Mapping[str, Any]) -> None:
        """What the application gets as `send`."""
        answer, kind = self.answer, message["type"]
        if self.content.over and not answer.complete:
            raise ClientGone
        if kind == "http.response.body":
            room = answer.body(message)
            if room is not None:
                await room.wait()
                if self.content.over:
                    raise ClientGone
            if answer.complete:
                self.content.end()  # whoever waits for the end of the exchange need not wait for the client
        elif kind == "http.response.start":
            answer.start(message)
        elif kind == "http.response.trailers":
            answer.more_trailers(message)
            if answer.complete:
                self.content.end()
        elif kind == "http.response.early_hint":
            await self._hint(message)
        else:
            accepted = "http.response.start, .body, .trailers, .early_hint"
            raise ValueError(f"there is no message {kind!r} here; accepted: {accepted}")

    async def _hint(self, message: Mapping[str, Any]) -> None:
        interim = self.request.exchange.interim
        if interim is None or self.answer.begun:
            return
        links = trailer_fields((b"link", bytes(link)) for link in message.get("links", ()))
        try:
            await interim(103, links)
        except ExchangeError:
            raise ClientGone from None


def cancel_later(call: Runnable, seconds: float) -> None:
    """Cancels `call` in `seconds`, unless it is over sooner."""
    scope = call.scope
    if scope is not None:
        if seconds:
            scope.deadline = min(scope.deadline, anyio.current_time() + seconds)
        else:
            scope.cancel()
