"""Connect to gRPC: a request as the upstream knows it, its messages in frames and its wishes in gRPC's fields."""

from __future__ import annotations

from msgspec.structs import replace

from daemun import Body, Buffered, Request
from daemun_grpc.connect_forms import read_get
from daemun_grpc.messages import COMPRESSED, frame, too_long
from daemun_grpc.timeout import TIMEOUT, format_timeout, limit, parse_connect_timeout

__all__ = ["from_get", "from_stream", "from_unary", "limit_by_client"]

_TIMEOUT = b"connect-timeout-ms"
_IDENTITY = b"identity"
_DROPPED = frozenset((b"content-type", b"content-encoding", b"accept", b"accept-encoding", b"expect"))


def limit_by_client(request: Request) -> None:
    """Ends the exchange when its client wants it to. Raises `ExchangeError` if that is now, or malformed."""
    timeout = request.header(_TIMEOUT)
    if timeout is not None:
        limit(request.exchange, parse_connect_timeout(timeout))


def from_stream(request: Request, codec: bytes) -> Request:
    """A call that streams: its envelopes are gRPC's frames."""
    encoding, accepted = request.header(b"connect-content-encoding"), request.header(b"connect-accept-encoding")
    return _made(request, codec, encoding, accepted, request.body)


async def from_unary(request: Request, codec: bytes, max_bytes: int) -> Request:
    """A call whose message is the content. Raises `ExchangeError` if that is longer than `max_bytes`."""
    data = await _whole(request.body, max_bytes)
    encoding = request.header(b"content-encoding")
    return _unary(request, codec, data, None if encoding == _IDENTITY else encoding)


def from_get(request: Request, max_bytes: int) -> tuple[bytes, Request]:
    """A call whose message is in the query, after its codec. Raises `ExchangeError` for what is malformed."""
    said = read_get(request)
    if len(said.message) > max_bytes:
        raise too_long("request", len(said.message), max_bytes)
    encoding = None if said.compression == _IDENTITY else said.compression
    return said.codec, _unary(request, said.codec, said.message, encoding)


def _unary(request: Request, codec: bytes, data: bytes, encoding: bytes | None) -> Request:
    body = Buffered(frame(data, COMPRESSED if encoding and data else 0))
    return _made(request, codec, encoding, _accepted(request.header(b"accept-encoding")), body)


def _made(request: Request, codec: bytes, encoding: bytes | None, accepted: bytes | None, body: Body) -> Request:
    fields = [(b"content-type", b"application/grpc+" + codec)]
    if request.header(_TIMEOUT) is not None:
        fields.append((TIMEOUT, format_timeout(request.exchange.remaining_seconds())))
    if encoding:
        fields.append((b"grpc-encoding", encoding))
    if accepted:
        fields.append((b"grpc-accept-encoding", accepted))
    fields += (
        field
        for field in request.headers
        if field[0] not in _DROPPED and not field[0].startswith((b"connect-", b"grpc-"))
    )
    return replace(request, method=b"POST", target=request.path, headers=tuple(fields), body=body)


def _accepted(value: bytes | None) -> bytes | None:
    """The encodings that a client takes, of an `Accept-Encoding`; those that it ranks lower count the same."""
    if value is None:
        return None
    names = (member.partition(b";") for member in value.lower().split(b","))
    return b",".join(
        name.strip()
        for name, _, rank in names
        if name.strip() not in (b"*", b"") and rank.replace(b" ", b"").rstrip(b".0") != b"q="
    )


async def _whole(body: Body, max_bytes: int) -> bytes:
    if type(body) is Buffered and len(body.data) <= max_bytes:
        return body.data
    chunks, size = [], 0
    while chunk := await body.read():
        size += len(chunk)
        if size > max_bytes:
            raise too_long("request", size, max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)
