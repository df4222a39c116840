"""gRPC-Web to gRPC: what browsers can send and read, over any version of HTTP. Its dialect and its filter.

The messages are the same; what ends a call is a last frame of the content, and in text mode everything is base64.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from msgspec.structs import replace

from daemun import (
    Body,
    Buffered,
    Dialect,
    Exchange,
    ExchangeError,
    FilterContext,
    FilterType,
    Handler,
    Headers,
    Layer,
    NoContent,
    Phase,
    Request,
    Response,
    header,
)
from daemun_grpc.answer import MESSAGE, STATUS, error_fields, grpc_answer
from daemun_grpc.base64_stream import Decoder, encode
from daemun_grpc.calls import begin_call, end_call
from daemun_grpc.cors import cors, granted
from daemun_grpc.leaving import end_with_client
from daemun_grpc.messages import frame
from daemun_grpc.settings import WebSettings
from daemun_grpc.timeout import limit_by_client, with_remaining

__all__ = ["GRPC_WEB", "TRAILERS", "WEB_FILTER"]

TRAILERS = 0x80
"""The flag of the frame that ends an answer."""

_PREFIX = b"application/grpc-web"
_FORM = re.compile(rb"application/grpc-web(-text)?(\+[!-:<-~]+)?[ \t]*(?:;.*)?", re.IGNORECASE)
_ENDING = frozenset((STATUS, MESSAGE, b"grpc-status-details-bin", b"grpc-retry-pushback-ms"))
_DROPPED = frozenset((b"content-type", b"accept", b"accept-encoding", b"x-grpc-web"))


class _Form(NamedTuple):
    """How one side speaks."""

    text: bool
    suffix: bytes


def _form_of(content_type: bytes | None) -> _Form | None:
    if content_type is None or content_type[: len(_PREFIX)].lower() != _PREFIX:
        return None
    match = _FORM.fullmatch(content_type)
    return match and _Form(match[1] is not None, match[2] or b"")


def _answers_in_text(request: Request, form: _Form) -> bool:
    accept = request.header(b"accept")
    if accept is None or _PREFIX not in accept:
        return form.text
    return b"application/grpc-web-text" in accept


def _content_type(text: bool, suffix: bytes) -> tuple[bytes, bytes]:
    return (b"content-type", (b"application/grpc-web-text" if text else _PREFIX) + (suffix or b"+proto"))


def _ending_frame(trailers: Headers, *, text: bool) -> bytes:
    data = frame(b"".join(b"%b: %b\r\n" % field for field in trailers), TRAILERS)
    return encode(data) if text else data


# --- dialect ---


def _claims(request: Request) -> bool:
    return _form_of(request.header(b"content-type")) is not None


def _render(request: Request, error: ExchangeError) -> Response:
    form = _form_of(request.header(b"content-type")) or _Form(text=False, suffix=b"")
    text = _answers_in_text(request, form)
    fields = error_fields(error)
    headers = (_content_type(text, form.suffix), *(field for field in fields if field[0] not in _ENDING))
    ending = tuple(field for field in fields if field[0] in _ENDING)
    return Response(200, granted(request, headers), Buffered(_ending_frame(ending, text=text)))


def _limited(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        limit_by_client(request)
        return await handler(request)

    return handle


GRPC_WEB = Dialect("grpc-web", _claims, _render, (_PREFIX,), _limited, with_remaining)
"""gRPC-Web, on any route: its deadlines and our errors. What turns it into gRPC is the filter."""


# --- filter ---


class _DecodedBody:
    """The content of a request in text mode, decoded."""

    __slots__ = ("_body", "_decoder", "_ended", "length")

    def __init__(self, body: Body) -> None:
        self.length: int | None = None
        self._body = body
        self._decoder = Decoder()
        self._ended = False

    @property
    def trailers(self) -> Headers:
        return self._body.trailers

    async def read(self) -> bytes:
        while not self._ended:
            data = await self._body.read()
            self._ended = not data
            decoded = self._decoder.feed(data) if data else self._decoder.end()
            if decoded:
                return decoded
        return b""

    async def aclose(self) -> None:
        await self._body.aclose()


class _WebBody:
    """The content of an answer, with its trailers as a last frame; in text mode a piece of base64 for each chunk."""

    __slots__ = ("_body", "_ended", "_exchange", "_text", "length", "trailers")

    def __init__(self, body: Body, exchange: Exchange, *, text: bool) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self._body = body
        self._exchange = exchange
        self._text = text
        self._ended = False

    async def read(self) -> bytes:
        if self._ended:
            return b""
        data = await self._body.read()
        if data:
            return encode(data) if self._text else data
        self._ended = True
        ending = self._body.trailers
        end_call(self._exchange, ending)
        return _ending_frame(ending, text=self._text)

    async def aclose(self) -> None:
        await self._body.aclose()


def _to_grpc(request: Request, form: _Form) -> Request:
    kept = (field for field in request.headers if field[0] not in _DROPPED)
    headers = ((b"content-type", b"application/grpc" + form.suffix), *kept)
    body = request.body
    if form.text and type(body) is not NoContent:
        if type(body) is Buffered:
            decoder = Decoder()
            body = Buffered(decoder.feed(body.data) + decoder.end())
        else:
            body = _DecodedBody(body)
    return replace(request, headers=headers, body=body)


async def _to_web(request: Request, form: _Form, response: Response) -> Response:
    text = _answers_in_text(request, form)
    suffix = (header(response.headers, b"content-type") or b"")[len(b"application/grpc") :]
    fields = response.headers
    headers = (
        _content_type(text, suffix if suffix[:1] == b"+" else form.suffix),
        *(field for field in fields if field[0] not in _ENDING and field[0] != b"content-type"),
    )
    body: Body = response.body
    ending = tuple(field for field in fields if field[0] in _ENDING)
    if ending:  # trailers-only; a page may be kept from reading fields, never from reading content
        await body.aclose()
        end_call(request.exchange, ending)
        body = Buffered(_ending_frame(ending, text=text))
    elif type(body) is Buffered:
        end_call(request.exchange, body.trailers)
        data = encode(body.data) if text else body.data
        body = Buffered(data + _ending_frame(body.trailers, text=text))
    else:
        end_with_client(request.exchange)
        body = _WebBody(body, request.exchange, text=text)
    return response.with_headers(granted(request, headers)).with_body(body)


def _layer(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        form = _form_of(request.header(b"content-type"))
        if form is None:
            return await handler(request)
        begin_call(request)
        response = await handler(_to_grpc(request, form))
        return await _to_web(request, form, await grpc_answer(response, request.exchange))

    return handle


@asynccontextmanager
async def _build(settings: WebSettings, context: FilterContext) -> AsyncIterator[Layer]:
    yield cors(settings.allow_origins, _layer)


WEB_FILTER = FilterType("grpc-web", WebSettings, _build, phase=Phase.CORS)
"""Takes gRPC-Web to an upstream that speaks gRPC; anything else passes as it is."""
