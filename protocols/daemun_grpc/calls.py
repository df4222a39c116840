"""One call of a method, as facts: for observers, when the exchange is over."""

from __future__ import annotations

from msgspec import Struct

from daemun import Exchange, Headers, Request, Response, StashKey, header
from daemun_grpc.answer import STATUS
from daemun_grpc.status import BY_REASON, Code, read_code

__all__ = ["GRPC_CALL", "Call", "begin_call", "call_of", "end_call"]

_DIALECTS = frozenset(("grpc", "grpc-web", "connect"))


class Call(Struct):
    """What is known of a call."""

    service: str
    """Full name, such as `helloworld.Greeter`."""
    method: str
    code: Code | None = None
    """How it ended; None: it is not known."""
    request_messages: int = -1
    """Messages that the client sent; negative: they were not counted."""
    response_messages: int = -1
    """Messages that it was answered; negative: they were not counted."""


GRPC_CALL: StashKey[Call] = StashKey("grpc_call")
"""In the stash of an exchange that a bridge or `grpc-stats` took part in; `call_of` works for all."""


def begin_call(request: Request) -> Call:
    """The call that `request` is, from now on in the stash of its exchange."""
    stash = request.exchange.stash
    if GRPC_CALL in stash:
        return stash[GRPC_CALL]
    call = stash[GRPC_CALL] = _named(request)
    return call


def end_call(exchange: Exchange, ending: Headers) -> None:
    """The call that was begun in `exchange` ended with these fields."""
    stash = exchange.stash
    if GRPC_CALL in stash:
        stash[GRPC_CALL].code = read_code(header(ending, STATUS) or b"")


def call_of(request: Request, response: Response | None, exchange: Exchange) -> Call | None:
    """The call that an exchange was, for an observer's `finished`; None if it was none."""
    if exchange.dialect is None or exchange.dialect.name not in _DIALECTS:
        return None
    stash = exchange.stash
    call = stash[GRPC_CALL] if GRPC_CALL in stash else _named(request)
    status = None if response is None else header(response.headers, STATUS)
    if status is not None:
        call.code = read_code(status)
    elif exchange.reason is not None:
        call.code = BY_REASON[exchange.reason]
    elif response is not None and call.code is None:
        status = header(response.body.trailers, STATUS)
        call.code = None if status is None else read_code(status)
    return call


def _named(request: Request) -> Call:
    service, _, method = request.path[1:].rpartition(b"/")
    return Call(service.decode("ascii", "replace"), method.decode("ascii", "replace"))
