"""What a filter's own exceptions lead to where its failure policy is not `closed`: it is passed by, or left out."""

from __future__ import annotations

import logging
from collections import deque
from time import monotonic

from daemun.errors import ExchangeError, lone
from daemun.exchange import Exchange
from daemun.extend.failure import DisableAfter, FailurePolicy
from daemun.handler import Handler, Layer
from daemun.message import Body, Buffered, NoContent, Request, Response

__all__ = ["with_policy"]

log = logging.getLogger("daemun.routing")


def with_policy(name: str, layer: Layer, policy: FailurePolicy | DisableAfter) -> Layer:
    """`layer` of the filter `name` under `policy`; as it is where its exceptions are the client's 500.

    Passing by means: the exchange goes on as if the filter were not there. What the handler inside raised is not the
    filter's fault, an `ExchangeError` is its decision, and a content that it has begun to read cannot be given back:
    all three stay what they are.
    """
    if policy is FailurePolicy.CLOSED:
        return layer
    rest = _Rest(name, policy) if isinstance(policy, DisableAfter) else None

    def wrapped(handler: Handler) -> Handler:
        running: dict[Exchange, _Inside] = {}

        async def inner(request: Request) -> Response:
            inside = running.get(request.exchange)
            if inside is None:
                return await handler(request)
            try:
                answer = await handler(request)
            except BaseException as error:
                inside.answer, inside.failure = None, error
                raise
            inside.answer, inside.failure = answer, None
            return answer

        filtered = layer(inner)

        async def handle(request: Request) -> Response:
            if rest is not None and rest.until and rest.lasts():
                return await handler(request)
            seen = _seen(request)
            inside = running[request.exchange] = _Inside()
            try:
                return await filtered(seen)
            except Exception as error:
                own = lone(error)
                if own is inside.failure or isinstance(own, ExchangeError):
                    raise
                if inside.failure is not None:
                    raise inside.failure from error
                if inside.answer is None and isinstance(seen.body, _Noted) and seen.body.begun:
                    raise
                log.exception("filter %s failed and is passed by", name)
                if rest is not None:
                    rest.count()
            finally:
                del running[request.exchange]
            return inside.answer if inside.answer is not None else await handler(request)

        return handle

    return wrapped


class _Inside:
    """What the handler inside of the filter last made of an exchange."""

    __slots__ = ("answer", "failure")

    def __init__(self) -> None:
        self.answer: Response | None = None
        self.failure: BaseException | None = None


class _Noted:
    """A content that knows whether somebody began to read it."""

    __slots__ = ("_body", "begun", "length")

    def __init__(self, body: Body) -> None:
        self._body = body
        self.length = body.length
        self.begun = False

    @property
    def trailers(self) -> tuple[tuple[bytes, bytes], ...]:
        return self._body.trailers

    async def read(self) -> bytes:
        self.begun = True
        return await self._body.read()

    async def aclose(self) -> None:
        self.begun = True
        await self._body.aclose()


def _seen(request: Request) -> Request:
    body = request.body
    return request if isinstance(body, (Buffered, NoContent)) else request.with_body(_Noted(body))


class _Rest:
    """Counts faults, over all routes of a filter's instance, and says when it is not to be called."""

    def __init__(self, name: str, policy: DisableAfter) -> None:
        self._name = name
        self._policy = policy
        self._faults: deque[float] = deque(maxlen=policy.faults)
        self.until = 0.0
        """`time.monotonic()` at which it is called again; 0: it is called."""

    def lasts(self) -> bool:
        """Whether the filter is still to be left out."""
        if monotonic() < self.until:
            return True
        self.until = 0.0
        log.warning("filter %s is tried again", self._name)
        return False

    def count(self) -> None:
        """A fault of the filter."""
        policy, now = self._policy, monotonic()
        self._faults.append(now)
        if len(self._faults) == policy.faults and now - self._faults[0] <= policy.within_seconds:
            self._faults.clear()
            self.until = now + policy.rest_seconds
            log.error(
                "filter %s failed %d times within %g s and is left out for %g s",
                self._name,
                policy.faults,
                policy.within_seconds,
                policy.rest_seconds,
            )
