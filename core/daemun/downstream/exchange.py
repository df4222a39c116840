"""One connection as a wire protocol sees it, and how each of its exchanges runs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio

from daemun.downstream.drain import Connections
from daemun.downstream.forwarded import Forwarding
from daemun.downstream.render import render
from daemun.errors import ExchangeError, Reason, lone
from daemun.exchange import Peer
from daemun.extend.observe import Observer
from daemun.extend.types import Dialect
from daemun.message import Buffered, NoContent, Request, Response
from daemun.routing.table import Table
from daemun.scopes import Lender
from daemun.transport.timers import Timers

__all__ = ["DownstreamConnection", "Services"]

log = logging.getLogger("daemun.exchange")

_MAX_CONTENT_TYPES = 1024
_MAX_CONTENT_TYPE_BYTES = 128


class Services:
    """What all connections of a worker share."""

    __slots__ = ("_by_content_type", "connections", "dialects", "lender", "observers", "plugins", "table", "timers")

    def __init__(
        self,
        table: Table,
        connections: Connections,
        timers: Timers,
        dialects: Sequence[Dialect] = (),
        observers: Sequence[Observer] = (),
        plugins: Mapping[str, str] | None = None,
        lender: Lender | None = None,
    ) -> None:
        self.table = table
        self.connections = connections
        self.timers = timers
        self.dialects = tuple(dialects)
        self.observers = tuple(observers)
        self.lender = lender
        """Opens what plugins hold for a connection, or an exchange."""
        self.plugins = plugins or {}
        """Names of plugins by the package that their code is in."""
        self._by_content_type: dict[bytes, Dialect | None] = {}

    def dialect(self, content_type: bytes) -> Dialect | None:
        """The dialect whose requests have such a `content-type`."""
        known = self._by_content_type
        if content_type in known:
            return known[content_type]
        lower = content_type.lower()
        found = next((one for one in self.dialects if one.content_types and lower.startswith(one.content_types)), None)
        if len(content_type) <= _MAX_CONTENT_TYPE_BYTES:
            if len(known) >= _MAX_CONTENT_TYPES:
                known.clear()
            known[content_type] = found
        return found


class DownstreamConnection:
    """A downstream connection: what the core lends to the protocol that serves it."""

    __slots__ = ("_services", "forwarding", "leaving", "on_drain", "peer", "timers")

    def __init__(self, services: Services, peer: Peer, forwarding: Forwarding) -> None:
        self.peer = peer
        self.forwarding = forwarding
        self.timers = services.timers
        self.leaving = False
        """The gateway drains soon: what begins now is answered, and should be the last."""
        self.on_drain: Callable[[], None] | None = None
        """Set by the protocol: called when the gateway begins to drain, to end what is idle."""
        self._services = services

    @property
    def draining(self) -> bool:
        """No further exchange should begin on this connection."""
        return self._services.connections.draining

    async def run_exchange(self, request: Request, respond: Callable[[Response], Awaitable[None] | None]) -> None:
        """Runs the handler for `request` and passes its response, or one that renders its error, to `respond`.

        `respond` returns None if it is done, else what is to be awaited. Closes the response's body whatever happens.
        Raises `ExchangeError` only if `respond` did: the response was broken off, and the client must be able to tell.
        """
        services = self._services
        generation = services.table.current
        generation.leases += 1
        exchange = request.exchange
        response: Response | None = None
        try:
            try:
                if exchange.dialect is None or exchange.dialect.layer is None:
                    response = await generation.handle(request)
                else:
                    response = await exchange.dialect.layer(generation.handle)(request)
                exchange.status = response.status
            except Exception as error:
                response = self._failed(request, error)
            try:
                waits = respond(response)
                if waits is not None:
                    await waits
            except ExchangeError as error:
                exchange.reason = error.reason
                raise
            except Exception as error:
                exchange.reason = Reason.PLUGIN_FAULT
                raise self._fault(request, error) from error
            body = response.body
            if type(body) is not Buffered and type(body) is not NoContent:
                await body.aclose()
        except BaseException:
            if response is not None:
                with anyio.CancelScope(shield=True):
                    await self._close(request, response)
            raise
        finally:
            if generation.retired:
                generation.leave()
            else:
                generation.leases -= 1
            if services.observers:
                self._observe(request, response)
            if exchange._stash is not None:
                exchange._stash = None  # now, and not when somebody lets go of the exchange
            if exchange._scope is not None:
                exchange._scope.close()

    def refused(self, error: ExchangeError) -> None:
        """Tells observers of a request that was refused before it became an exchange."""
        for observer in self._services.observers:
            try:
                observer.refused(self.peer, error)
            except Exception as fault:
                self._log_observer(fault)

    def dialect(self, content_type: bytes | None, protocol: bytes = b"") -> Dialect | None:
        """The dialect that has a part in requests with this `content-type`, or that want to switch to `protocol`; to
        be set in their exchange."""
        if protocol:
            return next((one for one in self._services.dialects if protocol in one.protocols), None)
        return self._services.dialect(content_type) if content_type is not None else None

    def render(self, request: Request, error: ExchangeError) -> Response:
        """`error` as a response in the dialect of `request`."""
        for dialect in self._services.dialects:
            try:
                if dialect.claims(request):
                    return dialect.render(request, error)
            except Exception:
                log.exception("dialect %s failed", dialect.name)
        return render(error, request)

    def _failed(self, request: Request, error: Exception) -> Response:
        """The response for what a handler raised."""
        meant = lone(error)
        failure = meant if isinstance(meant, ExchangeError) else self._fault(request, error)
        response = self.render(request, failure)
        request.exchange.reason, request.exchange.status = failure.reason, response.status
        return response

    def _fault(self, request: Request, error: Exception) -> ExchangeError:
        request.exchange.plugin, culprit = self._culprit(error)
        log.error("route %s: %s raised %r", request.exchange.route or "-", culprit, error, exc_info=error)
        return ExchangeError(Reason.PLUGIN_FAULT, "a plugin of the gateway failed")

    def _culprit(self, error: Exception) -> tuple[str, str]:
        """The innermost plugin that the error came through, or "", and it in words with its module; without a plugin
        the module that raised it."""
        trace, module, plugin = error.__traceback__, "?", ""
        while trace is not None:
            raised_in = str(trace.tb_frame.f_globals.get("__name__", "?"))
            name = self._services.plugins.get(raised_in.partition(".")[0], "")
            if name or not plugin:
                module, plugin = raised_in, name
            trace = trace.tb_next
        return plugin, f"plugin {plugin} ({module})" if plugin else module

    async def _close(self, request: Request, response: Response) -> None:
        try:
            await response.body.aclose()
        except Exception as error:
            self._fault(request, error)

    def _observe(self, request: Request, response: Response | None) -> None:
        exchange = request.exchange
        if exchange.status == 0 and exchange.reason is not None:
            exchange.status = exchange.reason.status  # cut off from outside: what the protocol is about to say
        for observer in self._services.observers:
            try:
                observer.finished(request, response, exchange)
            except Exception as error:
                self._log_observer(error)

    def _log_observer(self, error: Exception) -> None:
        log.error("an observer failed: %s raised %r", self._culprit(error)[1], error, exc_info=error)
