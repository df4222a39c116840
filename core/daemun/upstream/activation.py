"""The waiting room: "no endpoint is ready" and "all are full" are one case, bounded in requests and in bytes."""

from __future__ import annotations

import logging
from collections import deque
from time import monotonic
from typing import Annotated

import anyio
from anyio.abc import TaskGroup
from msgspec import Meta, Struct

from daemun.errors import ExchangeError, Reason, is_fault
from daemun.extend.culprit import Blame
from daemun.extend.endpoints import Activator, Balancer
from daemun.message import Buffered, Request
from daemun.upstream.endpoints import Endpoint, Endpoints

__all__ = ["WaitingRoom", "WaitingRoomSettings"]

log = logging.getLogger("daemun.activation")


class WaitingRoomSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How many may wait for an endpoint, and how long."""

    max_requests: Annotated[int, Meta(ge=0, description="Requests that wait at most; 0: nobody waits.")] = 1000
    max_bytes: Annotated[int, Meta(ge=0, description="Bytes of heads and buffered bodies held at most.")] = (
        16 * 1024 * 1024
    )
    max_wait_seconds: Annotated[float, Meta(ge=0, description="Longest wait; 0: the route's timeout decides.")] = 0.0
    retry_after_seconds: Annotated[int, Meta(ge=0, description="`Retry-After` of a 503.")] = 1


class _Waiter:
    __slots__ = ("endpoint", "error", "news", "request", "since", "size")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.size = _held_bytes(request)
        self.since = monotonic()
        self.news = anyio.Event()
        self.endpoint: Endpoint | None = None
        self.error: ExchangeError | None = None

    def leave(self) -> None:
        self.error = ExchangeError(Reason.CLIENT_LEFT, "the client left while it waited for an endpoint")
        self.news.set()


class WaitingRoom:
    """Holds requests, first come first served, until an endpoint takes them. One activation serves all who wait."""

    def __init__(
        self,
        endpoints: Endpoints,
        balancer: Balancer,
        settings: WaitingRoomSettings,
        tasks: TaskGroup,
        activator: Activator | None = None,
        blame: Blame | None = None,
    ) -> None:
        """`activator` makes endpoints when there are none; None: nobody waits for an empty back end."""
        self._activator = activator
        self._blame = blame or Blame()
        self._endpoints = endpoints
        self._balancer = balancer
        self._settings = settings
        self._tasks = tasks
        self._waiters: deque[_Waiter] = deque()
        self._bytes = 0
        self._activating = False
        endpoints.on_change = self._admit

    async def wait(self, request: Request) -> Endpoint:
        """An endpoint on which the exchange is already counted.

        Raises `ExchangeError`: 503 at once when the room is full or nothing will ever come, 504 when activation
        failed or took too long. Cancellation frees the place.
        """
        settings, endpoints = self._settings, self._endpoints
        if self._activator is None and not any(endpoint.weight for endpoint in endpoints.ready):
            raise ExchangeError(
                Reason.NO_ENDPOINT,
                f"back end {endpoints.name} has no endpoint",
                retry_after_seconds=settings.retry_after_seconds,
            )
        waiter = _Waiter(request)
        if len(self._waiters) >= settings.max_requests or self._bytes + waiter.size > settings.max_bytes:
            raise ExchangeError(
                Reason.WAITING_ROOM_FULL,
                f"back end {endpoints.name} is busy and its waiting room is full",
                retry_after_seconds=settings.retry_after_seconds,
            )
        exchange, cold = request.exchange, not endpoints.ready
        self._waiters.append(waiter)
        self._bytes += waiter.size
        endpoints.waiting += 1
        exchange.on_half_close = waiter.leave
        try:
            if cold:
                self._activate()
            await self._news_for(waiter)
        except BaseException:
            if waiter.endpoint is not None:
                endpoints.leave(waiter.endpoint)
            raise
        finally:
            exchange.on_half_close = None
            endpoints.waiting -= 1
            self._bytes -= waiter.size
            if waiter.endpoint is None:
                self._remove(waiter)
        if waiter.error is not None:
            if waiter.endpoint is not None:
                endpoints.leave(waiter.endpoint)
            raise waiter.error
        assert waiter.endpoint is not None
        if cold:
            exchange.cold_start_seconds = monotonic() - waiter.since
        return waiter.endpoint

    async def _news_for(self, waiter: _Waiter) -> None:
        limit = self._settings.max_wait_seconds
        if not limit:
            await waiter.news.wait()
            return
        with anyio.move_on_after(limit):
            await waiter.news.wait()
        if waiter.endpoint is None and waiter.error is None:
            waiter.error = ExchangeError(
                Reason.ACTIVATION_FAILED,
                f"queued for {limit:g} s, and no endpoint of back end {self._endpoints.name} became free",
            )

    def _remove(self, waiter: _Waiter) -> None:
        try:
            self._waiters.remove(waiter)
        except ValueError:
            pass

    def _admit(self) -> None:
        """Something changed: lets in as many as the endpoints take, in their order."""
        waiters, endpoints = self._waiters, self._endpoints
        while waiters:
            try:
                endpoint = self._balancer.pick(endpoints.ready, waiters[0].request)
            except Exception as error:  # the fault of one who waits, and not of who happens to leave
                waiter = waiters.popleft()
                waiter.error = ExchangeError(Reason.PLUGIN_FAULT, "the balancer failed")
                waiter.error.__cause__ = error
                waiter.news.set()
                continue
            if endpoint is None:
                break
            waiter = waiters.popleft()
            if waiter.error is None:
                endpoints.enter(endpoint)
                waiter.endpoint = endpoint
                waiter.news.set()
        if waiters and not endpoints.ready:
            self._activate()

    def _activate(self) -> None:
        if not self._activating and self._activator is not None:
            self._activating = True
            self._tasks.start_soon(self.run_activation, self._activator)

    async def run_activation(self, activator: Activator) -> None:
        """Has `activator` make endpoints, and tells those who wait of its end."""
        endpoints = self._endpoints
        since = monotonic()
        error: ExchangeError | None = None
        try:
            await activator.activate()
        except ExchangeError as failed:
            error = failed
        except BaseException as failure:
            if not is_fault(failure):
                raise
            culprit = self._blame.of(failure, (), activator)
            log.error(
                "back end %s: its activator failed: %s raised %r", endpoints.name, culprit, failure, exc_info=failure
            )
            error = ExchangeError(Reason.ACTIVATION_FAILED, f"the activator of back end {endpoints.name} failed")
        finally:
            self._activating = False
        elapsed = monotonic() - since
        if error is None and endpoints.ready:
            log.info("back end %s: started in %.0f ms", endpoints.name, elapsed * 1000)
            self._admit()
            return
        if error is None:
            error = ExchangeError(
                Reason.ACTIVATION_FAILED, f"back end {endpoints.name} was started and gave no endpoint"
            )
        whose = self._blame.of_object(activator)
        log.warning(
            "back end %s: not started after %.0f ms%s: %s",
            endpoints.name,
            elapsed * 1000,
            f" by {whose}" if whose is not None else "",
            error,
        )
        self._fail(error)

    def _fail(self, error: ExchangeError) -> None:
        waiters = self._waiters
        while waiters:
            waiter = waiters.popleft()
            waiter.error = ExchangeError(
                error.reason,
                f"queued for {monotonic() - waiter.since:.1f} s: {error.message}",
                status=error.status,
                retry_after_seconds=error.retry_after_seconds,
            )
            waiter.news.set()


def _held_bytes(request: Request) -> int:
    held = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
    return held + len(request.body.data) if isinstance(request.body, Buffered) else held
