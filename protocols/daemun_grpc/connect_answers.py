"""Connect to gRPC: an answer as the client knows it, plain where a call is unary and in envelopes where it streams."""

from __future__ import annotations

from daemun import Body, Buffered, Exchange, ExchangeError, Headers, Reason, Response, header
from daemun_grpc.answer import STATUS
from daemun_grpc.calls import end_call
from daemun_grpc.connect_errors import end_of_stream, error_answer, failure_of, metadata
from daemun_grpc.connect_forms import STREAM_PREFIX
from daemun_grpc.leaving import end_with_client
from daemun_grpc.messages import COMPRESSED, Message, Reader

__all__ = ["to_stream", "to_unary"]


async def to_unary(response: Response, codec: bytes, exchange: Exchange, max_bytes: int) -> Response:
    """The answer to a unary call. Raises `ExchangeError` if the upstream's is not one message of `max_bytes`."""
    reader = Reader("response", max_bytes)
    messages = await _collected(response.body, reader)
    in_head = header(response.headers, STATUS) is not None
    ending = response.headers if in_head else response.body.trailers
    end_call(exchange, ending)
    fields = metadata(response.headers)
    if not in_head:
        fields = (*fields, *((b"trailer-" + name, value) for name, value in metadata(ending)))
    failure = None if len(messages) > 1 else failure_of(ending)
    if failure is not None:
        return error_answer(*failure, fields)
    if len(messages) != 1 or reader.inside:
        raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "a unary call was answered by more or less than one message")
    (message,) = messages
    headers = ((b"content-type", b"application/" + codec), *fields)
    if message.flags & COMPRESSED:
        encoding = header(response.headers, b"grpc-encoding")
        if encoding is None:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "a compressed message came without grpc-encoding")
        headers = (*headers, (b"content-encoding", encoding))
    return Response(200, headers, Buffered(message.data))


async def _collected(body: Body, reader: Reader) -> list[Message]:
    """The messages of an answer, and no more of them if there is more than one. Closes its body."""
    messages: list[Message] = []
    try:
        while len(messages) < 2 and (data := await body.read()):
            messages += reader.feed(data)
    finally:
        await body.aclose()
    return messages


async def to_stream(response: Response, codec: bytes, exchange: Exchange) -> Response:
    """The answer to a call that streams."""
    headers = ((b"content-type", STREAM_PREFIX + codec), *metadata(response.headers))
    encoding = header(response.headers, b"grpc-encoding")
    if encoding is not None:
        headers = (*headers, (b"connect-content-encoding", encoding))
    if header(response.headers, STATUS) is None:
        end_with_client(exchange)
        return Response(200, headers, _StreamBody(response.body, exchange))
    await response.body.aclose()
    end_call(exchange, response.headers)
    return Response(200, headers, Buffered(end_of_stream(response.headers)))


class _StreamBody:
    """The content of an answer that streams, with what ends the call as a last envelope."""

    __slots__ = ("_body", "_ended", "_exchange", "length", "trailers")

    def __init__(self, body: Body, exchange: Exchange) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self._body = body
        self._exchange = exchange
        self._ended = False

    async def read(self) -> bytes:
        if self._ended:
            return b""
        data = await self._body.read()
        if data:
            return data
        self._ended = True
        ending = self._body.trailers
        end_call(self._exchange, ending)
        return end_of_stream(ending)

    async def aclose(self) -> None:
        await self._body.aclose()
