"""Which requests are of the Connect protocol, and how each of them says what it wants."""

from __future__ import annotations

import binascii
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from daemun import ExchangeError, Reason, Request

__all__ = ["STREAM_PREFIX", "Form", "Get", "form_of", "is_get", "read_get"]

STREAM_PREFIX = b"application/connect+"


class Form(NamedTuple):
    """How messages come and go."""

    codec: bytes
    streams: bool


_UNARY = {b"application/proto": Form(b"proto", streams=False), b"application/json": Form(b"json", streams=False)}


def form_of(content_type: bytes | None) -> Form | None:
    """The form of a POST with this `content-type`; None if it is not Connect's."""
    if content_type is None:
        return None
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type.startswith(STREAM_PREFIX):
        return Form(media_type[len(STREAM_PREFIX) :], streams=True)
    return _UNARY.get(media_type)


class Get(NamedTuple):
    """A unary call in a query."""

    codec: bytes
    message: bytes
    compression: bytes


def is_get(request: Request) -> bool:
    """Whether a GET is a call."""
    return b"connect=v1" in request.query.split(b"&")


def read_get(request: Request) -> Get:
    """The call in the query of a GET. Raises `ExchangeError` for what is missing or malformed."""
    said = {}
    for parameter in request.query.split(b"&"):
        name, _, value = parameter.partition(b"=")
        said[name] = unquote_to_bytes(value.replace(b"+", b" "))
    if b"message" not in said or b"encoding" not in said:
        raise ExchangeError(Reason.BAD_REQUEST, "the query of a call by GET has message and encoding")
    message = said[b"message"]
    if said.get(b"base64") == b"1":
        message = _from_base64(message)
    return Get(said[b"encoding"], message, said.get(b"compression", b""))


def _from_base64(value: bytes) -> bytes:
    value = value.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return binascii.a2b_base64(value + b"=" * (-len(value) % 4), strict_mode=True)
    except binascii.Error:
        raise ExchangeError(Reason.BAD_REQUEST, "the message of a call by GET is no base64") from None
