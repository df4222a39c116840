"""Limits of HTTP/2 connections, on both sides."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["Http2Settings"]


class Http2Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Section `protocols: {http2: …}` of the settings file."""

    codec: Literal["auto", "plain", "h2"] = "auto"
    """Who reads and writes frames; `auto` is `plain`, our own and the fastest, `h2` the library of that name."""
    max_concurrent_streams: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """Exchanges that a client may have open on one connection; more are refused, and may be sent again."""
    max_head_bytes: Annotated[int, Meta(ge=1024)] = 64 * 1024
    """Longest field section, as HTTP/2 counts it: 32 bytes more for each field. Above it 431."""
    max_fields: Annotated[int, Meta(ge=8)] = 100
    """Most fields in a head or trailer section; above it 431."""
    window_bytes: Annotated[int, Meta(ge=1024, le=16 * 1024 * 1024)] = 64 * 1024
    """Content that the peer may send on a stream before it is read."""
    max_window_bytes: Annotated[int, Meta(ge=1024, le=16 * 1024 * 1024)] = 2 * 1024 * 1024
    """What that grows to on a stream whose reader keeps up."""
    head_timeout_seconds: Annotated[float, Meta(gt=0)] = 10.0
    """From the start of a connection to the peer's settings, and from the first byte of a head to its last."""
    keep_alive_seconds: Annotated[float, Meta(gt=0)] = 60.0
    """A client's connection without an exchange is closed after it."""
    content_timeout_seconds: Annotated[float, Meta(ge=0)] = 300.0
    """Longest silence of a client whose content is waited for; then 408. Not for gRPC and other dialects. 0: none."""
    body_grace_seconds: Annotated[float, Meta(gt=0)] = 10.0
    """Time that a client may be slow with content of a known length before the least rate counts."""
    body_min_bytes_per_second: Annotated[float, Meta(ge=0)] = 240.0
    """Least rate of content of a known length while we wait for it; below it 408. 0: none."""
    send_timeout_seconds: Annotated[float, Meta(ge=0)] = 60.0
    """A stream whose client takes no byte for it is reset; a connection is cut off. 0: neither."""
    upgrades: tuple[str, ...] = ("websocket",)
    """Protocols that a client may ask for by extended CONNECT (RFC 8441); for others 501."""
    connect: bool = False
    """Whether CONNECT is taken to the routes; otherwise 501."""
    strict_server_name: bool = False
    """Whether a request for another host than the TLS handshake named is refused with 421."""
