"""Both halves of a wire protocol on one connection in memory: the gateway as the client of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from daemun.downstream.forwarded import Forwarding
from daemun.downstream.render import render
from daemun.errors import ExchangeError, Reason, ungrouped
from daemun.exchange import Exchange, Peer
from daemun.extend.types import Dialect
from daemun.handler import Handler
from daemun.headers import Headers
from daemun.message import Body, Buffered, Request, Response
from daemun.routing.spec import EndpointSpec
from daemun.settings import ForwardedSettings
from daemun.testing.batteries.pipes import Flow, PipeStream, pipe
from daemun.testing.batteries.rules import cannot_tell, expect, words_of
from daemun.testing.batteries.subject import PEER, Subject
from daemun.transport.timers import Timers
from daemun.upstream.connection import UpstreamConnection
from daemun.upstream.endpoints import Endpoint

__all__ = [
    "CONTENT",
    "FIELDS",
    "LentConnection",
    "Talk",
    "beginning",
    "exchange",
    "first_exchange",
    "hello",
    "talking",
    "whole",
]

CONTENT = b"hello, world\n" * 3
"""Of most messages of the checks."""
FIELDS: Headers = ((b"content-type", b"text/plain"), (b"x-kept", b"yes"))
_ENDED = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class LentConnection:
    """What the core lends to `serve`; `handler` answers its exchanges."""

    def __init__(self, handler: Handler, timers: Timers) -> None:
        self.peer = Peer(**PEER)  # type: ignore[arg-type]
        self.forwarding = Forwarding(self.peer, ForwardedSettings())
        self.timers = timers
        self.leaving = False
        self.draining = False
        self.on_drain: Callable[[], None] | None = None
        self.requests: list[Request] = []
        """Those whose exchange began."""
        self.begun = anyio.Event()
        """One has."""
        self.begun_while_draining = 0
        self.running = 0
        self._handler = handler

    async def run_exchange(self, request: Request, respond: Callable[[Response], Awaitable[None] | None]) -> None:
        """As the gateway does it."""
        self.requests.append(request)
        self.begun_while_draining += self.draining
        self.running += 1
        self.begun.set()
        response: Response | None = None
        try:
            try:
                response = await self._handler(request)
            except ExchangeError as error:
                response = self.render(request, error)
            request.exchange.status = response.status
            waits = respond(response)
            if waits is not None:
                await waits
        except ExchangeError as error:
            request.exchange.reason = error.reason
            raise
        finally:
            self.running -= 1
            if response is not None:
                with anyio.CancelScope(shield=True):
                    await response.body.aclose()

    async def run_streaming(
        self,
        request: Request,
        respond: Callable[[Response], Awaitable[None] | None],
        unanswered: Callable[[], bool],
    ) -> None:
        """As the gateway does it, where no plugin meddles."""
        with ungrouped():
            async with anyio.create_task_group() as tasks:
                request.exchange.tasks, request.exchange.timers = tasks, self.timers
                try:
                    await self.run_exchange(request, respond)
                finally:
                    tasks.cancel_scope.cancel()

    def refused(self, error: ExchangeError) -> None:
        """Nobody observes."""

    def dialect(self, content_type: bytes | None, protocol: bytes = b"") -> Dialect | None:
        """There is none."""
        return None

    def render(self, request: Request, error: ExchangeError) -> Response:
        return render(error, request)

    def fault(self, exchange: Exchange, error: BaseException, giver: object = None) -> ExchangeError:
        """As the gateway does it, but for the log."""
        return error if isinstance(error, ExchangeError) else ExchangeError(Reason.PLUGIN_FAULT)

    def stuck(self, exchange: Exchange) -> None:
        """Nobody is told."""

    def drain(self) -> None:
        """The gateway begins to drain."""
        self.draining = True
        if self.on_drain is not None:
            self.on_drain()


class Talk:
    """A connection on which `serve` runs at the far end."""

    def __init__(
        self, subject: Subject, near: PipeStream, connection: LentConnection, tasks: TaskGroup, timers: Timers
    ) -> None:
        self.near = near
        self.connection = connection
        self.over = anyio.Event()
        """`serve` has returned."""
        self.fault: Exception | None = None
        """What it raised, and may not."""
        self.released = 0
        """How often the upstream connection said that an exchange is over."""
        self.scope = anyio.CancelScope()
        """Of `serve`."""
        self._subject = subject
        self._endpoint = Endpoint(EndpointSpec("127.0.0.1:9000", protocol=subject.thing.name))
        self._endpoint.tasks, self._endpoint.timers = tasks, timers

    @property
    def there(self) -> Flow:
        """What the client's end has sent."""
        return self.near.end.out

    @property
    def back(self) -> Flow:
        """What `serve` has sent."""
        return self.near.end.into

    async def serve(self, far: PipeStream, settings: object) -> None:
        """Runs it as a listener does."""
        try:
            with self.scope:
                await self._subject.thing.serve(far, self.connection, settings)
        except _ENDED:
            pass
        except Exception as error:
            self.fault = error
        finally:
            with anyio.CancelScope(shield=True):
                await far.aclose()
            self.over.set()

    async def connect(self) -> UpstreamConnection:
        """The protocol's own upstream half at the near end."""
        if self._subject.thing.connect is None:
            cannot_tell("it has no upstream half, and nobody here speaks it")
        upstream: UpstreamConnection = await self._subject.thing.connect(
            self.near, self._endpoint, self._subject.decoded()
        )

        def released(_: UpstreamConnection) -> None:
            self.released += 1

        upstream.released = released
        return upstream

    async def ended(self) -> None:
        """Waits until `serve` has returned, and breaks the rule if it raised."""
        await self.over.wait()
        self.no_fault()

    def no_fault(self) -> None:
        """Breaks the rule if `serve` raised what it may not."""
        if self.fault is not None:
            expect(False, f"serve() raised {words_of(self.fault)}", "the end of the connection")


@asynccontextmanager
async def talking(
    subject: Subject, handler: Handler, there: Flow | None = None, back: Flow | None = None
) -> AsyncIterator[Talk]:
    """A connection with `serve` at its far end, whose exchanges `handler` answers."""
    if subject.thing.serve is None:
        cannot_tell("it has no downstream half, and nobody here speaks it")
    settings = subject.decoded()
    with ungrouped():
        async with anyio.create_task_group() as tasks:
            timers = Timers()
            tasks.start_soon(timers.run)
            near, far = pipe(tasks, there or Flow(), back or Flow())
            talk = Talk(subject, near, LentConnection(handler, timers), tasks, timers)
            tasks.start_soon(talk.serve, far, settings)
            try:
                yield talk
            finally:
                tasks.cancel_scope.cancel()


async def whole(body: Body) -> bytes:
    """All of a body, which is closed then."""
    found = b""
    try:
        while data := await body.read():
            found += data
    finally:
        with anyio.CancelScope(shield=True):
            await body.aclose()
    return found


async def hello(request: Request) -> Response:
    """Answers `CONTENT`."""
    return Response(200, FIELDS, Buffered(CONTENT))


async def exchange(upstream: UpstreamConnection, request: Request) -> tuple[Response, bytes]:
    """An exchange, read to its end."""
    response = await upstream.send(request)
    return response, await whole(response.body)


async def first_exchange(subject: Subject, talk: Talk) -> tuple[UpstreamConnection, Response, bytes]:
    """The first exchange on a connection; the rule is left if the upstream half is none."""
    try:
        upstream = await talk.connect()
        response, content = await exchange(upstream, subject.request(headers=FIELDS))
    except ExchangeError as error:
        talk.no_fault()
        if error.reason is Reason.NOT_IMPLEMENTED:
            cannot_tell(f"its halves do not fit together: {error}")
        raise
    return upstream, response, content


async def beginning(subject: Subject) -> bytes:
    """What the protocol's own client says for one request; nothing where it has no such half."""
    if subject.thing.connect is None:
        return b""
    async with talking(subject, hello) as talk:
        try:
            await first_exchange(subject, talk)
        except ExchangeError:
            return b""
        return bytes(talk.there.sent)
