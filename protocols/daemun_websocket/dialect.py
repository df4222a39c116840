"""The dialect `websocket`: openings are checked on every route, and what was opened is watched until it ends."""

from __future__ import annotations

from daemun import Dialect, ExchangeError, Handler, Reason, Request, Response, StashKey, render
from daemun_websocket.opening import Opening, check_accepted, read_opening
from daemun_websocket.settings import Rules
from daemun_websocket.tunnel import Tunnel

__all__ = ["OFFERED", "PROTOCOL", "RULES", "WEBSOCKET", "refusal"]

PROTOCOL = b"websocket"
RULES: StashKey[Rules] = StashKey("websocket rules")
"""The rules of the route, where it has any."""
OFFERED: StashKey[Opening] = StashKey("websocket offered")
"""What the upstream was offered, where that is not what the client offers."""

_DEFAULT = Rules()
_UPGRADE_REQUIRED = 426


def refusal(request: Request, error: ExchangeError) -> Response:
    """`error` as a response; it says what would be taken where that is another version, or a WebSocket."""
    response = render(error, request)
    if error.reason is not Reason.UPGRADE_REQUIRED:
        return response
    return _upgrading(request, response.with_header(b"sec-websocket-version", b"13"))


def _upgrading(request: Request, response: Response) -> Response:
    """A 426 with the field that HTTP/1.1 demands of it (RFC 9110 §15.5.22): an upstream's own goes no further."""
    if request.exchange.version != "HTTP/1.1" or response.header(b"upgrade") is not None:
        return response
    return response.with_headers((*response.headers, (b"connection", b"upgrade"), (b"upgrade", PROTOCOL)))


def _layer(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        opening = read_opening(request)
        tunnel = Tunnel(request.exchange, request.body)
        response = await handler(request.with_body(tunnel.client))
        if response.status == _UPGRADE_REQUIRED:
            return _upgrading(request, response)
        if response.status != 101:
            return response
        try:
            stash = request.exchange.stash
            check_accepted(stash.get(OFFERED, opening), response)
        except ExchangeError:
            await response.body.aclose()
            raise
        return response.with_body(tunnel.open(response.body, stash.get(RULES, _DEFAULT)))

    return handle


def _claims(request: Request) -> bool:
    return request.protocol == PROTOCOL


WEBSOCKET = Dialect("websocket", _claims, refusal, layer=_layer, protocols=(PROTOCOL,))
