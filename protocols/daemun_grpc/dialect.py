"""The dialect `grpc`: deadlines of clients, answers that end in a status, and errors of ours as trailers-only."""

from __future__ import annotations

from daemun import EMPTY, Dialect, ExchangeError, Handler, Request, Response
from daemun_grpc.answer import error_fields, grpc_answer, is_grpc
from daemun_grpc.timeout import limit_by_client, with_remaining

__all__ = ["GRPC", "trailers_only"]


def _claims(request: Request) -> bool:
    return is_grpc(request.header(b"content-type"))


def trailers_only(request: Request, error: ExchangeError) -> Response:
    """`error` as an answer that is nothing but a head."""
    return Response(200, ((b"content-type", b"application/grpc"), *error_fields(error)), EMPTY)


def _layer(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        limit_by_client(request)
        return await grpc_answer(await handler(request), request.exchange)

    return handle


GRPC = Dialect("grpc", _claims, trailers_only, (b"application/grpc",), _layer, with_remaining)
"""gRPC over HTTP/2. gRPC-Web begins with the same content type: its dialect is to be asked before."""
