"""What may be set for the filters of gRPC."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["ConnectSettings", "LimitSettings", "Origins", "WebSettings"]

_ORIGIN = re.compile(r"(?i:https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)")
_METHOD = re.compile(r"[A-Za-z_][\w.]*/[A-Za-z_]\w*", re.ASCII)

Origins = Annotated[
    tuple[str, ...],
    Meta(
        description="Origins whose pages may call: `https://app.example.com` and the like, or `*`; none: no CORS here."
    ),
]


def _check_origins(origins: tuple[str, ...]) -> None:
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"allow_origins: {origin!r} is no origin (accepted: https://host, http://host:port, *)")


class WebSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `grpc-web`."""

    allow_origins: Origins = ()

    def __post_init__(self) -> None:
        _check_origins(self.allow_origins)


class ConnectSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `connect`."""

    allow_origins: Origins = ()
    codecs: Annotated[
        tuple[Literal["proto", "json"], ...],
        Meta(
            min_length=1,
            description="What the upstream's messages may be coded in; for anything else the answer is 415.",
        ),
    ] = ("proto", "json")
    get_methods: Annotated[
        tuple[str, ...],
        Meta(description="Methods without side effects, `package.Service/Method`, that may be called by GET."),
    ] = ()
    max_message_bytes: Annotated[
        int,
        Meta(ge=1, le=0xFFFFFFFF, description="Longest message of a unary call, which is held in memory, either way."),
    ] = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        _check_origins(self.allow_origins)
        for method in self.get_methods:
            if not _METHOD.fullmatch(method):
                raise ValueError(f"get_methods: {method!r} is no method (accepted: package.Service/Method)")


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `grpc-limits`."""

    max_request_bytes: Annotated[
        int, Meta(ge=0, le=0xFFFFFFFF, description="Longest message that a client may send; 0: any.")
    ] = 4 * 1024 * 1024
    max_response_bytes: Annotated[
        int, Meta(ge=0, le=0xFFFFFFFF, description="Longest message that an upstream may answer; 0: any.")
    ] = 0
