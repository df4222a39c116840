"""Connect to gRPC: unary calls as plain HTTP, streams in envelopes. Its dialect and its filter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemun import (
    Dialect,
    ExchangeError,
    FilterContext,
    FilterType,
    Handler,
    Layer,
    Phase,
    Reason,
    Request,
    Response,
)
from daemun_grpc.answer import grpc_answer
from daemun_grpc.calls import begin_call
from daemun_grpc.connect_answers import to_stream, to_unary
from daemun_grpc.connect_errors import failed, failed_stream
from daemun_grpc.connect_forms import STREAM_PREFIX, Form, form_of, is_get
from daemun_grpc.connect_requests import from_get, from_stream, from_unary, limit_by_client
from daemun_grpc.cors import cors, granted
from daemun_grpc.settings import ConnectSettings
from daemun_grpc.timeout import with_remaining

__all__ = ["CONNECT", "CONNECT_FILTER"]

_VERSION = b"connect-protocol-version"
_BY_GET = Form(b"", streams=False)


def _claims(request: Request) -> bool:
    if request.exchange.dialect is CONNECT or request.header(_VERSION) is not None:
        return True
    if request.method == b"GET":
        return is_get(request)
    form = form_of(request.header(b"content-type"))
    return form is not None and (form.streams or form.codec == b"proto")


def _render(request: Request, error: ExchangeError) -> Response:
    content_type = request.header(b"content-type") or b""
    streams = content_type.lower().startswith(STREAM_PREFIX)
    response = failed_stream(error, content_type) if streams else failed(error)
    return response.with_headers(granted(request, response.headers))


CONNECT = Dialect("connect", _claims, _render, outgoing=with_remaining)
"""The Connect protocol. Its unary calls look like any JSON: the filter says which exchanges speak it."""


class _Bridge:
    """Takes calls to the next handler, as gRPC."""

    def __init__(self, settings: ConnectSettings, handler: Handler) -> None:
        self._codecs = frozenset(codec.encode() for codec in settings.codecs)
        self._get_paths = frozenset(b"/" + method.encode() for method in settings.get_methods)
        self._max_bytes = settings.max_message_bytes
        self._handler = handler
        accepted = [prefix + codec for prefix in (b"application/", STREAM_PREFIX) for codec in sorted(self._codecs)]
        self._unsupported = Response(415, ((b"accept-post", b", ".join(accepted)),))

    async def handle(self, request: Request) -> Response:
        form: Form | None
        if request.method == b"GET":
            form = _BY_GET if is_get(request) else None
        else:
            form = form_of(request.header(b"content-type"))
        if form is None:
            return await self._handler(request)
        request.exchange.dialect = CONNECT
        response = await self._call(request, form)
        return response.with_headers(granted(request, response.headers))

    async def _call(self, request: Request, form: Form) -> Response:
        if request.header(_VERSION) not in (None, b"1"):
            raise ExchangeError(Reason.BAD_REQUEST, "connect-protocol-version is not known; accepted: 1")
        if request.method != (b"GET" if form is _BY_GET else b"POST"):
            return Response(405, ((b"allow", b"POST"),))
        limit_by_client(request)
        codec, exchange, max_bytes = form.codec, request.exchange, self._max_bytes
        if form is _BY_GET:
            if request.path not in self._get_paths:
                return Response(405, ((b"allow", b"POST"),))
            codec, request = from_get(request, max_bytes)
        if codec not in self._codecs:
            return self._unsupported
        begin_call(request)
        if form.streams:
            return await to_stream(await self._grpc(from_stream(request, codec)), codec, exchange)
        if form is not _BY_GET:
            request = await from_unary(request, codec, max_bytes)
        return await to_unary(await self._grpc(request), codec, exchange, max_bytes)

    async def _grpc(self, request: Request) -> Response:
        return await grpc_answer(await self._handler(request), request.exchange)


@asynccontextmanager
async def _build(settings: ConnectSettings, context: FilterContext) -> AsyncIterator[Layer]:
    yield cors(settings.allow_origins, lambda handler: _Bridge(settings, handler).handle)


CONNECT_FILTER = FilterType("connect", ConnectSettings, _build, phase=Phase.CORS)
"""Takes the Connect protocol to an upstream that speaks gRPC; anything else passes as it is."""
