"""An answer as gRPC has it: whatever the upstream said, and however it ended, it ends in a `grpc-status`."""

from __future__ import annotations

import re

from daemun import EMPTY, Body, Buffered, Exchange, ExchangeError, Headers, NoContent, Response, header
from daemun_grpc.status import Code, code_of, encode_words, from_http, phrase

__all__ = [
    "MESSAGE",
    "REASON",
    "STATUS",
    "StatusBody",
    "error_fields",
    "grpc_answer",
    "is_grpc",
    "status_fields",
]

STATUS = b"grpc-status"
MESSAGE = b"grpc-message"
REASON = b"x-daemun-reason"
_CONTENT_TYPE = (b"content-type", b"application/grpc")
_USUAL = frozenset((b"application/grpc", b"application/grpc+proto"))
_OF_GRPC = re.compile(rb"application/grpc(?:\+[!-:<-~]+)?[ \t]*(?:;.*)?", re.IGNORECASE)
_MAX_WORDS = 1000
_NO_STATUS = "the upstream ended its answer without grpc-status"


def is_grpc(content_type: bytes | None) -> bool:
    """Whether a `content-type` is that of gRPC itself, whatever its messages are coded in; not of gRPC-Web."""
    return content_type in _USUAL or (content_type is not None and _OF_GRPC.fullmatch(content_type) is not None)


def status_fields(code: Code, words: str) -> Headers:
    """The fields that end a call."""
    return ((STATUS, b"%d" % code), (MESSAGE, encode_words(words[:_MAX_WORDS])))


def error_fields(error: ExchangeError) -> Headers:
    """The fields that end a call with an error of ours: its reason is among them, and when to try again."""
    fields = (*status_fields(code_of(error), error.message), (REASON, error.reason.value.encode()))
    if error.retry_after_seconds is None:
        return fields
    return (*fields, (b"grpc-retry-pushback-ms", b"%d" % (error.retry_after_seconds * 1000)))


async def grpc_answer(response: Response, exchange: Exchange) -> Response:
    """`response`, or one in its place, that a client of gRPC understands and that ends in a status.

    What is not gRPC becomes a status by its HTTP status; fields that do not tell of its content are kept.
    """
    content_type = None
    for name, value in response.headers:
        if name == STATUS:
            return response
        if name == b"content-type":
            content_type = value
    body, kind = response.body, type(response.body)
    if response.status != 200 or not is_grpc(content_type):
        await body.aclose()
        words = f"the answer was HTTP {phrase(response.status)}, not gRPC"
        return _without_messages(response, status_fields(from_http(response.status), words))
    if kind is not NoContent and kind is not Buffered:
        return response.with_body(StatusBody(body, exchange))
    if header(body.trailers, STATUS) is not None:
        return response
    ending = (*body.trailers, *status_fields(Code.UNKNOWN, _NO_STATUS))
    if kind is Buffered:
        return response.with_body(Buffered(body.data, ending))  # type: ignore[attr-defined]
    return _without_messages(response, ending)


def _without_messages(response: Response, ending: Headers) -> Response:
    kept = (field for field in response.headers if not field[0].startswith((b"content-", b"grpc-")))
    return Response(200, (_CONTENT_TYPE, *kept, *ending), EMPTY)


class StatusBody:
    """Content of an answer that ends in a status, also if the upstream said none, or broke off."""

    __slots__ = ("_body", "_exchange", "_failure", "_read_nowait")

    def __init__(self, body: Body, exchange: Exchange) -> None:
        self._body = body
        self._exchange = exchange
        self._failure: ExchangeError | None = None
        self._read_nowait = getattr(body, "read_nowait", None)

    @property
    def length(self) -> int | None:
        return self._body.length

    @property
    def trailers(self) -> Headers:
        if self._failure is not None:
            return error_fields(self._failure)
        trailers = self._body.trailers
        for name, _ in trailers:
            if name == STATUS:
                return trailers
        return (*trailers, *status_fields(Code.UNKNOWN, _NO_STATUS))

    def read_nowait(self) -> bytes:
        """Content that has come; b"" says nothing about what will."""
        if self._read_nowait is None or self._failure is not None:
            return b""
        try:
            data: bytes = self._read_nowait()
        except ExchangeError as error:
            return self._fail(error)
        return data

    async def read(self) -> bytes:
        if self._failure is not None:
            return b""
        try:
            return await self._body.read()
        except ExchangeError as error:
            return self._fail(error)

    def _fail(self, error: ExchangeError) -> bytes:
        """The end of the content, where its length was not said: then a status can follow. Raises `error` else."""
        if self._body.length is not None:
            raise error
        self._failure = error
        self._exchange.reason = error.reason
        return b""

    async def aclose(self) -> None:
        await self._body.aclose()
