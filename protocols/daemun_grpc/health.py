"""The health check `grpc`: `grpc.health.v1.Health/Check`, the service that servers of gRPC bring along.

Its two messages are small enough to be written and read here: a text that names a service, and a number.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from daemun import (
    Buffered,
    Endpoint,
    Exchange,
    ExchangeError,
    Handler,
    HealthCheck,
    HealthCheckType,
    Peer,
    Reason,
    Request,
    Response,
    header,
)
from daemun_grpc.messages import COMPRESSED, Reader, frame
from daemun_grpc.status import Code, read_code

__all__ = ["GRPC_HEALTH", "GrpcHealthSettings", "read_serving", "written_service"]

_METHOD = b"/grpc.health.v1.Health/Check"
_FIELDS = ((b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"user-agent", b"daemun-health-check"))
_MAX_ANSWER_BYTES = 4096
_SERVING = 1
_STATUSES = {0: "UNKNOWN", _SERVING: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVICE_TAG = 0x0A
_STATUS_TAG = 0x08
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


class GrpcHealthSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the health check `grpc`."""

    service: Annotated[
        str, Meta(max_length=1024, description='Full name of the service that is asked about; "": the whole server.')
    ] = ""
    authority: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9_.:\[\]-]*(?![\s\S])",
            max_length=262,
            description='`:authority` of the call; "": the endpoint\'s own name or address.',
        ),
    ] = ""


def _build(settings: GrpcHealthSettings) -> HealthCheck:
    content = frame(written_service(settings.service))
    authority = settings.authority.lower().encode()

    async def check(send: Handler, endpoint: Endpoint) -> None:
        exchange = Exchange(Peer(scheme="https" if endpoint.spec.tls else "http"))
        body = Buffered(content)
        response = await send(Request(b"POST", _METHOD, authority or endpoint.authority, _FIELDS, body, exchange))
        try:
            answer = await _answer(response, settings.service)
        finally:
            await response.body.aclose()
        try:
            serving = read_serving(answer)
        except ValueError:
            raise _ill("its answer is no HealthCheckResponse") from None
        if serving != _SERVING:
            raise _ill(f"it is {_STATUSES.get(serving, 'in a state that nobody knows')}")

    return check


async def _answer(response: Response, service: str) -> bytes:
    """The one message of `response`. Raises `ExchangeError` if there is none, or the call failed."""
    if response.status != 200:
        raise _ill(f"it answered HTTP status {response.status}")
    if not (response.header(b"content-type") or b"").startswith(b"application/grpc"):
        raise _ill("its answer is not gRPC")
    reader, messages = Reader("upstream", _MAX_ANSWER_BYTES), []
    while data := await response.body.read():
        messages += reader.feed(data)
        if len(messages) > 1:
            break
    said = response.header(b"grpc-status") or header(response.body.trailers, b"grpc-status")
    if said is not None and (code := read_code(said)) is not Code.OK:
        if code is Code.NOT_FOUND:
            raise _ill(f"it knows no service {service!r}")
        raise _ill("it has no health service" if code is Code.UNIMPLEMENTED else f"the call ended as {code.name}")
    if len(messages) != 1 or reader.inside or messages[0].flags & COMPRESSED:
        raise _ill("its answer is not one plain message")
    if said is None:
        raise _ill("its answer has no grpc-status")
    return messages[0].data


def _ill(words: str) -> ExchangeError:
    return ExchangeError(Reason.UPSTREAM_PROTOCOL, words)


def written_service(service: str) -> bytes:
    """`HealthCheckRequest` for a service, in protocol buffers."""
    name = service.encode()
    if not name:
        return b""
    written, size = bytearray([_SERVICE_TAG]), len(name)
    while size > 0x7F:
        written.append(size & 0x7F | 0x80)
        size >>= 7
    written.append(size)
    return bytes(written + name)


def read_serving(message: bytes) -> int:
    """The status in a `HealthCheckResponse`; other fields are passed by. Raises `ValueError` if it is none."""
    serving = at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            serving = value if tag == _STATUS_TAG else serving
        elif kind == _LENGTH:
            size, at = _varint(message, at)
            at += size
        else:
            try:
                at += _FIXED_BYTES[kind]
            except KeyError:
                raise ValueError(f"wire type {kind} is not used") from None
    if at > len(message):
        raise ValueError("a field is cut")
    return serving


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of up to 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is cut, or has more than 64 bits")


GRPC_HEALTH = HealthCheckType("grpc", GrpcHealthSettings, _build)
"""To be returned by `daemun_health_checks`."""
