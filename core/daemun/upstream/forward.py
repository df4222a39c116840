"""`forward`: pick an endpoint, take a connection, send; again where nothing was sent, or where a route asks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import random

import anyio

from daemun.errors import ExchangeError, Reason, Retry
from daemun.handler import Handler
from daemun.message import Buffered, NoContent, Request, Response
from daemun.routing.spec import Retries
from daemun.upstream.activation import WaitingRoom
from daemun.upstream.endpoints import Endpoint, Endpoints

__all__ = ["IDEMPOTENT_METHODS", "Pick", "forward", "retrying"]

log = logging.getLogger("daemun.forward")

IDEMPOTENT_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))
"""Methods that may be sent twice (RFC 9110 §9.2.2)."""

_TRIES = 3
"""How often one exchange is sent while nothing of it arrived anywhere."""
_COLD_START_FIELD = b"x-daemun-cold-start"

Pick = Callable[[tuple[Endpoint, ...], Request], Endpoint | None]


def forward(endpoints: Endpoints, pick: Pick, room: WaitingRoom, *, cold_start_header: bool) -> Handler:
    """A handler that sends requests to `endpoints`.

    A request is sent again without being asked for in two cases only: no byte of it was sent, or a connection
    that was used before closed under a request that is idempotent and can be repeated (RFC 9112 §9.3.1). An endpoint
    to which no connection could be made is left out then, as long as there are others.
    """

    async def handle(request: Request, endpoint: Endpoint | None = None) -> Response:
        if endpoint is None:
            endpoint = endpoints.only or pick(endpoints.ready, request)
            if endpoint is None:
                return marked(request, await handle(request, await room.wait(request)))
            endpoints.enter(endpoint)
        exchange = request.exchange
        exchange.endpoint = endpoint.address
        connection = endpoint.pool.take()
        if connection is None:
            return await fresh(request, endpoint)
        try:
            return await connection.send(request if exchange.dialect is None else _outgoing(request))
        except ExchangeError as error:
            if not _may_repeat(request, error):
                raise
        return await fresh(request, await place(request))

    async def place(request: Request, failed: tuple[Endpoint, ...] = ()) -> Endpoint:
        """An endpoint on which the exchange is counted; none that `failed` unless all did."""
        ready = endpoints.ready
        endpoint = pick(tuple(one for one in ready if one not in failed) or ready if failed else ready, request)
        if endpoint is None:
            return await room.wait(request)
        endpoints.enter(endpoint)
        return endpoint

    async def fresh(request: Request, endpoint: Endpoint) -> Response:
        """Sends on a new connection to `endpoint`, on which the exchange is counted already."""
        tries, exchange = 0, request.exchange
        failed: tuple[Endpoint, ...] = ()
        while True:
            exchange.endpoint = endpoint.address
            dialled = False
            try:
                try:
                    connection = await endpoint.pool.connect()
                except BaseException:
                    endpoints.leave(endpoint)
                    raise
                dialled = True
                response = await connection.send(_outgoing(request))
            except ExchangeError as error:
                tries += 1
                limit = _TRIES if dialled else min(_TRIES, len(endpoints.ready))
                if error.retry is not Retry.UNSENT or tries >= limit:
                    raise
                if not dialled:
                    failed = (*failed, endpoint)
                endpoint = await place(request, failed)
                continue
            return marked(request, response)

    def marked(request: Request, response: Response) -> Response:
        """`response`, with the field that says so if `request` waited for a start."""
        if cold_start_header and request.exchange.cold_start_seconds >= 0:
            return response.with_header(_COLD_START_FIELD, b"true")
        return response

    return handle


def _outgoing(request: Request) -> Request:
    """`request` as its dialect wants it to go out now, or as it is."""
    dialect = request.exchange.dialect
    try:
        return request if dialect is None else dialect.outgoing(request)
    except Exception:
        log.exception("dialect %s failed", dialect.name if dialect is not None else "-")
        return request


def retrying(handler: Handler, retries: Retries) -> Handler:
    """`handler`, tried again as the route asks, with a jittered pause that doubles."""
    statuses = frozenset(retries.on_status)
    limit = retries.per_try_timeout_seconds

    async def handle(request: Request) -> Response:
        for attempt in range(retries.attempts + 1):
            last = attempt == retries.attempts
            try:
                response = await _one_try(handler, request, limit)
            except ExchangeError as error:
                if last or not _may_retry(request, error.retry):
                    raise
            else:
                if last or response.status not in statuses or not _may_retry(request, Retry.IDEMPOTENT):
                    return response
                await response.body.aclose()
            await anyio.sleep(retries.backoff_seconds * 2**attempt * random())
        raise AssertionError("the last try returns or raises")

    return handle


async def _one_try(handler: Handler, request: Request, limit: float) -> Response:
    if not limit:
        return await handler(request)
    with anyio.move_on_after(limit):
        return await handler(request)
    raise ExchangeError(
        Reason.UPSTREAM_TIMEOUT, f"the upstream did not answer within {limit:g} s", retry=Retry.IDEMPOTENT
    )


def _may_repeat(request: Request, error: ExchangeError) -> bool:
    """Whether a request that failed on a connection used before may go out on a new one."""
    if error.retry is Retry.UNSENT:
        return True
    return error.reason is Reason.UPSTREAM_CLOSED and _may_retry(request, error.retry)


def _may_retry(request: Request, retry: Retry) -> bool:
    if retry is Retry.NEVER:
        return False
    if type(request.body) not in (NoContent, Buffered) and not request.protocol:  # of a tunnel nothing was read yet
        return False
    return retry is Retry.UNSENT or request.method in IDEMPOTENT_METHODS
