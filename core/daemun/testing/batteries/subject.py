"""What a battery looks at: one registered thing with its settings, and how it is opened as a gateway opens it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio

from daemun.errors import SettingsError, ungrouped
from daemun.exchange import Exchange, Peer
from daemun.headers import Headers
from daemun.message import EMPTY, Body, Request
from daemun.routing.shared import Shared
from daemun.scopes import Scope
from daemun.strict import convert
from daemun.testing.batteries.rules import cannot_tell, words_of
from daemun.transport.timers import Timers

__all__ = ["PEER", "Subject", "streaming"]

PEER = {"listener": "web", "address": "192.0.2.7", "port": 50_000, "local": "127.0.0.1:8080"}
"""The client of the checks' requests."""


class Subject:
    """A thing under test. `context` makes what its `build` is given beside the settings, None: nothing."""

    def __init__(
        self,
        kind: str,
        thing: Any,
        settings: Mapping[str, Any] | None = None,
        *,
        context: Callable[[str, Path, Scope], Any] | None = None,
        headers: Headers = (),
        target: bytes = b"/",
        base_dir: Path | None = None,
        varied: bool = False,
    ) -> None:
        self.kind = kind
        self.thing = thing
        self.settings = dict(settings or {})
        self.headers = headers
        """Fields that each of the checks' requests has."""
        self.target = target
        self.base_dir = base_dir or Path.cwd()
        self._context = context
        self._numbers = count(1) if varied else None
        """Of requests: each has another query then, so that none is answered from memory."""
        self._fault = ""
        """What went wrong when it was opened."""
        self._lender: Shared | None = None
        """Who opens what scopes hold, while the thing is open."""
        self._exchanges: list[Exchange] = []
        """Those whose scopes are to be closed with it."""

    @property
    def words(self) -> str:
        """Kind and name."""
        return f"{self.kind} {self.thing.name!r}"

    @property
    def content(self) -> Headers:
        """The type of content in the checks' messages."""
        own = tuple(pair for pair in self.headers if pair[0] == b"content-type")
        return own or ((b"content-type", b"application/octet-stream"),)

    @property
    def unfit(self) -> str:
        """What is wrong with the settings, in words; "": nothing."""
        try:
            convert(self.settings, self.thing.settings, path=f"$.{self.thing.name}")
        except SettingsError as error:
            return str(error)
        return ""

    def decoded(self) -> Any:
        """The settings as `build` gets them; the rule is left if they do not fit, which another one tells."""
        if self.unfit:
            cannot_tell("its settings do not fit")
        return convert(self.settings, self.thing.settings)

    def made(self) -> Any:
        """The thing of a kind whose `build` makes it at once."""
        return self.thing.build(self.decoded())

    @asynccontextmanager
    async def opened(self, context: Any = None) -> AsyncIterator[Any]:
        """The thing, open, with `context` or one of its own. When it could not be opened before, the rule is left."""
        if self._fault:
            cannot_tell(f"it cannot be opened: {self._fault}")
        with ungrouped():
            async with anyio.create_task_group() as tasks:
                shared = self._lender = Shared(tasks)
                process = Scope("process", shared)
                if context is None and self._context is not None:
                    context = self._context(self.thing.name, self.base_dir, process)
                try:
                    async with AsyncExitStack() as stack:
                        yield await self._enter(stack, context)
                finally:
                    with anyio.CancelScope(shield=True):
                        for exchange in self._exchanges:
                            exchange.scope.close()
                            exchange.peer.leave()
                        self._exchanges.clear()
                        process.close()
                        await shared.closed()

    async def _enter(self, stack: AsyncExitStack, context: Any) -> Any:
        settings = self.decoded()
        try:
            return await stack.enter_async_context(self.thing.build(settings, context))
        except Exception as error:
            self._fault = words_of(error)
            raise

    def _usual_target(self) -> bytes:
        if self._numbers is None:
            return self.target
        return self.target + (b"&" if b"?" in self.target else b"?") + b"request=%d" % next(self._numbers)

    def request(
        self,
        method: bytes = b"GET",
        body: Body = EMPTY,
        headers: Headers = (),
        *,
        target: bytes | None = None,
        protocol: bytes = b"",
        peer: Peer | None = None,
    ) -> Request:
        """A request as a wire protocol makes it. The subject's own fields stand in the place of those of `headers`."""
        own = {name for name, _ in self.headers}
        fields = (*(pair for pair in headers if pair[0] not in own), *self.headers)
        exchange = Exchange(peer or Peer(**PEER, lender=self._lender))  # type: ignore[arg-type]
        if self._lender is not None:
            self._exchanges.append(exchange)
        return Request(
            method, self._usual_target() if target is None else target, b"a.test", fields, body, exchange, protocol
        )


@asynccontextmanager
async def streaming(request: Request) -> AsyncIterator[Request]:
    """`request` with what a protocol lends to an exchange whose content streams: tasks that end with it, and timers.

    It is the only one of its connection.
    """
    with ungrouped():
        async with anyio.create_task_group() as own:
            timers = Timers()
            own.start_soon(timers.run)
            async with anyio.create_task_group() as tasks:
                request.exchange.tasks, request.exchange.timers = tasks, timers
                try:
                    yield request
                finally:
                    request.exchange.scope.close()
                    request.exchange.peer.leave()
                    tasks.cancel_scope.cancel()
            own.cancel_scope.cancel()
