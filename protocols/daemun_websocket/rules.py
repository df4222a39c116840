"""The filter `websocket`: what a route demands of those who open one, and how long it may be quiet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemun import (
    ExchangeError,
    FilterContext,
    FilterType,
    Handler,
    Layer,
    Phase,
    Reason,
    Request,
    Response,
    header_values,
    normal_origin,
)
from daemun_websocket.dialect import OFFERED, PROTOCOL, RULES, refusal
from daemun_websocket.opening import read_opening
from daemun_websocket.settings import Rules

__all__ = ["RULES_FILTER"]

_PROTOCOLS, _EXTENSIONS = b"sec-websocket-protocol", b"sec-websocket-extensions"


@asynccontextmanager
async def _build(rules: Rules, context: FilterContext) -> AsyncIterator[Layer]:
    origins = frozenset(normal_origin(origin.encode()) for origin in rules.origins)

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            if request.protocol != PROTOCOL:
                if rules.mode != "require":
                    return await handler(request)
                error = ExchangeError(Reason.UPGRADE_REQUIRED, "this route takes WebSockets only")
                request.exchange.reason = error.reason
                return refusal(request, error)
            if rules.mode == "forbid":
                raise ExchangeError(Reason.FORBIDDEN, "this route takes no WebSocket")
            _check_origin(rules, origins, request)
            stash = request.exchange.stash
            stash[RULES] = rules
            request = _narrowed(rules, request)
            stash[OFFERED] = read_opening(request)
            return await handler(request)

        return handle

    yield layer


def _check_origin(rules: Rules, allowed: frozenset[bytes], request: Request) -> None:
    origins = header_values(request.headers, b"origin")
    if not origins:
        if rules.require_origin:
            raise ExchangeError(Reason.FORBIDDEN, "a WebSocket without Origin is not taken here")
        return
    if allowed and (len(origins) > 1 or not _is_allowed(allowed, origins[0], request)):
        raise ExchangeError(Reason.FORBIDDEN, "pages of this origin may not open a WebSocket here")


def _is_allowed(allowed: frozenset[bytes], origin: bytes, request: Request) -> bool:
    sent = normal_origin(origin)
    return sent in allowed or b"*" in allowed or (b"same" in allowed and _is_same(sent, request))


def _is_same(origin: bytes, request: Request) -> bool:
    """Whether a page of `origin` is of the host that it asks; a port that is the scheme's own need not be said, and a
    page that came without TLS is no page of a host that is asked with it."""
    scheme = request.header(b"x-forwarded-proto") or request.exchange.peer.scheme.encode()
    claimed, _, host = origin.partition(b"://")
    if claimed == b"http" and scheme == b"https":
        return False
    return bool(host) and origin == normal_origin(b"%b://%b" % (claimed, request.authority))


def _narrowed(rules: Rules, request: Request) -> Request:
    """The request with what the rules leave of its offers."""
    if not rules.extensions:
        request = request.without_header(_EXTENSIONS)
    if rules.subprotocols:
        offered = [
            name.strip(b" \t") for value in header_values(request.headers, _PROTOCOLS) for name in value.split(b",")
        ]
        kept = [name for name in offered if name.decode("latin-1") in rules.subprotocols]
        if not kept:
            spoken = ", ".join(rules.subprotocols)
            raise ExchangeError(Reason.BAD_REQUEST, f"the client offers none of the subprotocols spoken here: {spoken}")
        request = request.with_header(_PROTOCOLS, b", ".join(kept))
    return request


RULES_FILTER = FilterType("websocket", Rules, _build, phase=Phase.EARLY)
"""Demands or forbids WebSockets, looks at their origin, and says how long they may be quiet."""
