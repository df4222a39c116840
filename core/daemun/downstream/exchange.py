"""One connection as a wire protocol sees it, and how each of its exchanges runs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from daemun.downstream.forwarded import Forwarding
from daemun.downstream.render import render
from daemun.downstream.services import Services
from daemun.errors import ExchangeError, Reason, is_fault, lone
from daemun.exchange import Exchange, Peer
from daemun.extend.culprit import ContractError
from daemun.extend.observe import Observer
from daemun.extend.types import Dialect
from daemun.message import Buffered, NoContent, Request, Response
from daemun.scopes import ENDED
from daemun.transport.standing import Standing

__all__ = ["DownstreamConnection"]

log = logging.getLogger("daemun.exchange")


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
            except BaseException as error:
                if not is_fault(error):
                    raise
                response = self._failed(request, error)
            try:
                waits = respond(response)
                if waits is not None:
                    await waits
            except ExchangeError as error:
                exchange.reason = error.reason
                if error.reason is Reason.PLUGIN_FAULT:
                    self.fault(exchange, error, response.body)
                raise
            except BaseException as error:
                if not is_fault(error):
                    raise
                exchange.reason = Reason.PLUGIN_FAULT
                raise self.fault(exchange, error, response.body) from error
            body = response.body
            if type(body) is not Buffered and type(body) is not NoContent:
                try:
                    await body.aclose()
                except BaseException as error:  # everything is sent
                    if not is_fault(error):
                        raise
                    self._not_closed(exchange, error, body)
        except BaseException:
            if response is not None:
                with anyio.CancelScope(shield=True):
                    await self._close(request, response)
            raise
        finally:
            if exchange._scope is not None:
                exchange._scope.close()
            else:
                exchange._scope = ENDED
            if generation.retired:
                generation.leave()
            else:
                generation.leases -= 1
            if services.observers:
                self._observe(request, response)
            if exchange._stash is not None:
                exchange._stash = None  # now, and not when somebody lets go of the exchange

    async def run_streaming(
        self,
        request: Request,
        respond: Callable[[Response], Awaitable[None] | None],
        unanswered: Callable[[], bool],
    ) -> None:
        """`run_exchange` for a request whose body streams: with a task group to lend, which ends with it.

        `unanswered` is asked where a plugin has cancelled these tasks: whether an answer can still be sent.
        """
        exchange, broken, ended = request.exchange, None, False
        try:
            async with anyio.create_task_group() as tasks:
                exchange.tasks, exchange.timers = tasks, self.timers
                try:
                    await self.run_exchange(request, respond)
                    ended = True
                except ExchangeError as error:
                    broken = error  # not through the group, which would wrap it
                finally:
                    tasks.cancel_scope.cancel()
        except ExceptionGroup as group:
            exchange.reason = Reason.PLUGIN_FAULT
            broken = self.fault(exchange, group)
        if broken is None and not ended:
            exchange.reason = Reason.PLUGIN_FAULT
            why = ExchangeError(Reason.PLUGIN_FAULT, "a plugin cancelled the tasks of the exchange")
            broken = self.fault(exchange, why)
            if unanswered():
                waits = respond(self.render(request, broken))
                if waits is not None:
                    await waits
                return
        if broken is not None:
            raise broken

    def refused(self, error: ExchangeError) -> None:
        """Tells observers of a request that was refused before it became an exchange."""
        for observer in self._services.observers:
            try:
                observer.refused(self.peer, error)
            except Exception as fault:
                self._log_observer(observer, fault)

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
                    response = dialect.render(request, error)
                    if not isinstance(response, Response):
                        raise ContractError(f"rendered {type(response).__name__}; accepted: a Response", dialect.render)
                    return response
            except Exception as failure:
                culprit = self._services.blame.of(failure, (), dialect.render)
                log.error("dialect %s failed: %s raised %r", dialect.name, culprit, failure, exc_info=failure)
        return render(error, request)

    def stuck(self, exchange: Exchange) -> None:
        """Logs who does not heed that the exchange was cancelled, and where."""
        services, code = self._services, DownstreamConnection.run_exchange.__code__
        for stack in Standing().stacks():
            if any(frame.f_code is code and frame.f_locals.get("exchange") is exchange for frame in stack):
                found = services.blame.in_frames(stack)
                if found is None:
                    culprit = "no plugin"
                else:
                    exchange.plugin = found[0].plugin
                    culprit = str(services.blame.described(found[0], services.table.things(exchange.route)))
                log.error("route %s: %s does not heed that the exchange was cancelled", exchange.route or "-", culprit)

    def fault(self, exchange: Exchange, error: BaseException, giver: object = None) -> ExchangeError:
        """What the client is told of a plugin's fault, which is logged with the plugin's name. `giver` is what it gave
        that cannot be used, such as a body."""
        services = self._services
        culprit = services.blame.of(error, services.table.things(exchange.route), giver)
        exchange.plugin = culprit.plugin
        error = _of_status(exchange.status) or error
        meant, route = lone(error), exchange.route or "-"
        if isinstance(meant, (ExchangeError, ContractError)):
            cause = meant.__cause__ if services.is_news(str(culprit)) else None
            log.error("route %s: %s is at fault: %s", route, culprit, meant, exc_info=cause)
        else:
            words = "raised" if culprit.place else "is at fault:"
            trace = error if services.is_news(str(culprit)) else None
            log.error("route %s: %s %s %r", route, culprit, words, error, exc_info=trace)
        if isinstance(meant, ExchangeError):
            return meant
        return ExchangeError(Reason.PLUGIN_FAULT, "a plugin of the gateway failed")

    def _failed(self, request: Request, error: BaseException) -> Response:
        """The response for what a handler raised."""
        meant, exchange = lone(error), request.exchange
        if not isinstance(meant, ExchangeError):
            failure = self.fault(exchange, _in_words(error))
        else:
            failure = meant
            if meant.reason is Reason.PLUGIN_FAULT:
                self.fault(exchange, meant)
        response = self.render(request, failure)
        exchange.reason, exchange.status = failure.reason, response.status
        return response

    async def _close(self, request: Request, response: Response) -> None:
        try:
            await response.body.aclose()
        except BaseException as error:
            if not is_fault(error):
                raise
            self._not_closed(request.exchange, error, response.body)

    def _not_closed(self, exchange: Exchange, error: BaseException, body: object) -> None:
        if exchange.reason is not Reason.PLUGIN_FAULT:  # of which the log has told
            self.fault(exchange, error, body)

    def _observe(self, request: Request, response: Response | None) -> None:
        exchange = request.exchange
        if exchange.status == 0 and exchange.reason is not None:
            exchange.status = exchange.reason.status  # cut off from outside: what the protocol is about to say
        for observer in self._services.observers:
            try:
                observer.finished(request, response, exchange)
            except BaseException as error:
                if not is_fault(error):
                    raise
                self._log_observer(observer, error)

    def _log_observer(self, observer: Observer, error: BaseException) -> None:
        culprit = self._services.blame.of(error, (), observer)
        log.error("an observer failed: %s raised %r", culprit, error, exc_info=error)


def _of_status(status: object) -> ContractError | None:
    """What is wrong with a status that is no number, which nobody can write."""
    if isinstance(status, int):
        return None
    return ContractError(f"it returned a Response with the status {status!r}; accepted: a number from 100 to 999", None)


def _in_words(error: BaseException) -> BaseException:
    """`error`, or what it means: the edge asked what a handler returned for its status, and it had none."""
    trace = error.__traceback__
    if isinstance(error, AttributeError) and error.name == "status" and trace is not None and trace.tb_next is None:
        return ContractError(f"it returned a {type(error.obj).__name__}; accepted: a Response", None)
    return error
