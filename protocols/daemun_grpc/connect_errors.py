"""How a call ends in the Connect protocol: a JSON object, as the content of an answer or at the end of a stream."""

from __future__ import annotations

import binascii
from typing import Any

import msgspec

from daemun import Buffered, ExchangeError, Headers, Reason, Response, header, header_values
from daemun_grpc.answer import MESSAGE, REASON, STATUS
from daemun_grpc.details import details_of
from daemun_grpc.messages import frame
from daemun_grpc.status import HTTP_STATUS, Code, code_of, decode_words, read_code

__all__ = [
    "DETAILS",
    "END_STREAM",
    "connect_code",
    "end_of_stream",
    "error_answer",
    "failed",
    "failed_stream",
    "failure_of",
    "metadata",
]

END_STREAM = 0x02
"""The flag of the envelope that ends a stream."""
DETAILS = b"grpc-status-details-bin"
_OF_GRPC = (b"grpc-", b"content-")


class _Failure(msgspec.Struct, omit_defaults=True):
    """A call that failed, as Connect says it."""

    code: str
    message: str = ""
    details: list[dict[str, str]] = []


def _name(code: Code) -> str:
    return "canceled" if code is Code.CANCELLED else code.name.lower()


def connect_code(error: ExchangeError) -> Code:
    """The code of an error of ours. Unlike gRPC, Connect tells a client that its request is malformed."""
    return Code.INVALID_ARGUMENT if error.reason is Reason.BAD_REQUEST else code_of(error)


def failure_of(ending: Headers) -> tuple[Code, _Failure] | None:
    """What the fields that end a call say of its failure; None: there was none."""
    code = read_code(header(ending, STATUS) or b"")
    if code is Code.OK:
        return None
    details = [
        {"type": detail.type, "value": binascii.b2a_base64(detail.value, newline=False).rstrip(b"=").decode()}
        for detail in details_of(header(ending, DETAILS) or b"")
    ]
    return code, _Failure(_name(code), decode_words(header(ending, MESSAGE) or b""), details)


def metadata(fields: Headers) -> Headers:
    """Fields of a head or a trailer section that are not gRPC's own."""
    return tuple(field for field in fields if not field[0].startswith(_OF_GRPC))


def error_answer(code: Code, failure: _Failure, fields: Headers) -> Response:
    """The answer to a unary call that failed."""
    headers = ((b"content-type", b"application/json"), *fields)
    return Response(HTTP_STATUS[code], headers, Buffered(msgspec.json.encode(failure)))


def end_of_stream(ending: Headers) -> bytes:
    """The envelope that ends a stream, from the fields that end a call."""
    found = failure_of(ending)
    said = metadata(ending)
    end: dict[str, Any] = {} if found is None else {"error": found[1]}
    if said:
        end["metadata"] = {
            name.decode("latin-1"): [value.decode("latin-1") for value in header_values(said, name)] for name, _ in said
        }
    return frame(msgspec.json.encode(end), END_STREAM)


def failed(error: ExchangeError) -> Response:
    """An error of ours, as the answer to a unary call."""
    fields: Headers = ((REASON, error.reason.value.encode()),)
    if error.retry_after_seconds is not None:
        fields = (*fields, (b"retry-after", b"%d" % error.retry_after_seconds))
    code = connect_code(error)
    return error_answer(code, _Failure(_name(code), error.message), fields)


def failed_stream(error: ExchangeError, content_type: bytes) -> Response:
    """An error of ours, as the answer to a call that streams."""
    failure = _Failure(_name(connect_code(error)), error.message)
    end = frame(msgspec.json.encode({"error": failure}), END_STREAM)
    return Response(200, ((b"content-type", content_type), (REASON, error.reason.value.encode())), Buffered(end))
