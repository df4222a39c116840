"""Which codec a connection uses, with the field lines that it has read."""

from __future__ import annotations

from functools import cache
from typing import Literal

from daemun_http1.codec import Codec
from daemun_http1.codec_plain import PlainCodec
from daemun_http1.lines import Lines
from daemun_http1.roles import (
    DROPPED,
    REFUSED,
    REQUEST_ROLES,
    RESPONSE_ROLES,
)

__all__ = ["choose", "request_lines", "response_lines"]


@cache
def choose(name: str) -> Codec:
    """The codec `name`; `auto` is `plain`.

    Raises `ModuleNotFoundError` if it was asked for and is not installed (`pip install httptools`).
    """
    match name:
        case "h11":
            from daemun_http1.codec_h11 import H11Codec

            return H11Codec()
        case "httptools":
            from daemun_http1.codec_httptools import HttptoolsCodec

            return HttptoolsCodec()
        case _:
            return PlainCodec()


@cache
def request_lines(codec: str, underscores: Literal["drop", "refuse", "keep"]) -> Lines:
    """The field lines of requests, for every connection of this process with these settings."""
    role = {"drop": DROPPED, "refuse": REFUSED, "keep": None}[underscores]
    return Lines(choose(codec).request_fields, REQUEST_ROLES, role)


@cache
def response_lines(codec: str) -> Lines:
    """The field lines of responses."""
    return Lines(choose(codec).response_fields, RESPONSE_ROLES)
