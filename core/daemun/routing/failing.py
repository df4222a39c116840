"""What a filter's own exceptions lead to where its failure policy is not `closed`: it is passed by, or left out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from time import monotonic

from daemun.errors import ExchangeError, is_fault, lone
from daemun.extend.culprit import ContractError
from daemun.extend.failure import DisableAfter, FailurePolicy
from daemun.handler import Handler, Layer
from daemun.message import Body, Buffered, NoContent, Request, Response

__all__ = ["with_policy"]

log = logging.getLogger("daemun.routing")


def with_policy(
    name: str,
    layer: Layer,
    policy: FailurePolicy | DisableAfter,
    around: Callable[[Layer], Layer] = lambda layer: layer,
    *,
    blame: Callable[[BaseException], object] = repr,
) -> Layer:
    """`layer` of the filter `name` under `policy`; as it is where its exceptions are the client's 500.

    `around` is what the gateway itself puts around the filter: it is left out with it. `blame` says for the log whose
    fault an exception is.

    Passing by means: the exchange goes on as if the filter were not there. What the handler inside raised is not the
    filter's fault, an `ExchangeError` is its decision, and neither a content that it has begun to read, of the request
    or of the answer, nor a handler that it has cancelled can be had again: all of these stay what they are.
    """
    if policy is FailurePolicy.CLOSED:
        return around(layer)
    rest = _Rest(name, policy) if isinstance(policy, DisableAfter) else None
    passed = around(_passed_by(layer, rest, blame))
    if rest is None:
        return passed

    def wrapped(handler: Handler) -> Handler:
        filtered = passed(handler)

        def handle(request: Request) -> Awaitable[Response]:
            return handler(request) if rest.until and rest.lasts() else filtered(request)

        return handle

    return wrapped


def _passed_by(layer: Layer, rest: _Rest | None, blame: Callable[[BaseException], object]) -> Layer:
    def wrapped(handler: Handler) -> Handler:
        async def inner(request: Request) -> Response:
            inside = _RUNNING.get()
            if inside is None or inside.of is not inner:
                return await handler(request)
            if inside.asked is not None and request.body is inside.asked:
                request = request.with_body(inside.asked.body)  # what the handler reads is not the filter's doing
            try:
                answer = await handler(request)
            except Exception as error:
                inside.answer, inside.failure = None, error
                raise
            except BaseException:
                inside.answer, inside.cancelled = None, True
                raise
            inside.answer, inside.failure = answer, None
            if isinstance(answer.body, (Buffered, NoContent)):
                inside.content = None
                return answer
            inside.content = _Noted(answer.body)
            return answer.with_body(inside.content)

        filtered = layer(inner)

        async def handle(request: Request) -> Response:
            inside, seen = _Inside(inner), request
            if not isinstance(request.body, (Buffered, NoContent)):
                inside.asked = _Noted(request.body)
                seen = request.with_body(inside.asked)
            before = _RUNNING.set(inside)
            try:
                given = await filtered(seen)
                if not isinstance(given, Response):
                    raise ContractError(f"it returned a {type(given).__name__}; accepted: a Response", layer)
                noted = inside.content
                return given.with_body(noted.body) if noted is not None and given.body is noted else given
            except BaseException as error:
                own, answer = lone(error), inside.answer
                if not is_fault(error) or own is inside.failure or isinstance(own, ExchangeError):
                    raise
                if inside.failure is not None:
                    raise inside.failure from error
                begun = inside.content if answer is not None else inside.asked
                if inside.cancelled or (begun is not None and begun.begun):
                    raise
                log.exception("route %s: %s failed and is passed by", request.exchange.route, blame(error))
                if rest is not None:
                    rest.count()
            finally:
                _RUNNING.reset(before)
                inside.answer = inside.content = None  # a task that the filter began may know of this call for long
            if answer is None:
                return await handler(request)
            return answer

        return handle

    return wrapped


class _Inside:
    """What the handler inside of a filter last made of one call."""

    __slots__ = ("answer", "asked", "cancelled", "content", "failure", "of")

    def __init__(self, of: Handler) -> None:
        self.of = of
        """The handler that the filter was given."""
        self.asked: _Noted | None = None
        """The content of the request, unless it is in memory."""
        self.answer: Response | None = None
        self.content: _Noted | None = None
        """Of the answer, unless it is in memory."""
        self.failure: Exception | None = None
        self.cancelled = False
        """The filter itself ended it."""


_RUNNING: ContextVar[_Inside | None] = ContextVar("_RUNNING", default=None)
"""The call of such a filter that runs innermost, in this task or in the one that started it."""


class _Noted:
    """A content that knows whether the filter began to read it."""

    __slots__ = ("begun", "body", "length")

    def __init__(self, body: Body) -> None:
        self.body = body
        self.length = body.length
        self.begun = False

    @property
    def trailers(self) -> tuple[tuple[bytes, bytes], ...]:
        return self.body.trailers

    async def read(self) -> bytes:
        self.begun = True
        return await self.body.read()

    async def aclose(self) -> None:
        self.begun = True
        await self.body.aclose()


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
