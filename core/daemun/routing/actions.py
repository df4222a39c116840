"""What a route does with a request: send it to one of its splits, redirect it, or answer by itself."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from random import random

from daemun.dates import http_date
from daemun.errors import ExchangeError, Reason
from daemun.handler import Handler
from daemun.message import EMPTY, Buffered, Request, Response
from daemun.routing.edit import authority_of, field_name, field_value, path_of, replace_prefix
from daemun.routing.spec import Redirect, Respond, RouteSpec

__all__ = ["redirect", "respond", "split"]


def split(shares: Sequence[tuple[int, Handler]]) -> Handler:
    """A handler that picks one of `shares` by weight for each request. Weight 0 gets nothing."""
    shares = [share for share in shares if share[0] > 0]
    if not shares:
        return _no_share
    if len(shares) == 1:
        return shares[0][1]
    handlers = [handler for _, handler in shares]
    bounds = list(accumulate(weight for weight, _ in shares))
    total = bounds[-1]
    return lambda request: handlers[bisect(bounds, random() * total)](request)


async def _no_share(request: Request) -> Response:
    raise ExchangeError(Reason.ROUTE_FAULT, "every split of the route has weight 0")


def respond(action: Respond) -> Handler:
    """A handler that always gives the same response. Raises `ValueError` for a field that cannot stand in a head."""
    headers = tuple((field_name(name), field_value(name, value)) for name, value in action.headers)
    if action.body and not any(name == b"content-type" for name, _ in headers):
        headers = (*headers, (b"content-type", b"text/plain; charset=utf-8"))

    has_date = any(name == b"date" for name, _ in headers)

    async def handle(request: Request) -> Response:
        dated = headers if has_date else ((b"date", http_date()), *headers)
        return Response(action.status, dated, Buffered(action.body) if action.body else EMPTY)

    return handle


def redirect(spec: RouteSpec, action: Redirect) -> Handler:
    """A handler that answers with a `Location` built from the request. Raises `ValueError` for a prefix that
    cannot be replaced, and for what cannot stand in a URL."""
    if action.scheme not in ("", "http", "https"):
        raise ValueError(f"{action.scheme!r} is no scheme to redirect to (accepted: http, https)")
    scheme, host, path = action.scheme.encode(), authority_of(action.host), path_of(action.path)
    replaced = replace_prefix(spec, action.prefix) if action.prefix else None
    default_port = {b"http": 80, b"https": 443}

    async def handle(request: Request) -> Response:
        target = request.target
        if replaced is not None:
            target = replaced(target)
        before, mark, query = target.partition(b"?")
        target = (path or before) + (b"" if action.strip_query else mark + query)
        if not (scheme or host or action.port):
            location = target
        else:
            to_scheme = scheme or request.exchange.peer.scheme.encode()
            authority = host or _without_port(request.authority)
            port = action.port
            if port and port != default_port.get(to_scheme):
                authority += b":%d" % port
            location = to_scheme + b"://" + authority + target
        return Response(action.status, ((b"date", http_date()), (b"location", location)))

    return handle


def _without_port(authority: bytes) -> bytes:
    if authority[:1] == b"[":
        return authority[: authority.find(b"]") + 1]
    return authority.partition(b":")[0]
