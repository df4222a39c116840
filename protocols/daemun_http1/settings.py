"""Limits of HTTP/1 connections, on both sides."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["Http1Settings"]


class Http1Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Section `protocols: {http1: …}` of the settings file."""

    codec: Literal["auto", "plain", "h11", "httptools"] = "auto"
    """Who reads field lines; `auto` is `plain`, our own grammar and the fastest. All take the same messages."""
    max_head_bytes: Annotated[int, Meta(ge=1024)] = 64 * 1024
    """Longest head of a message; above it 431, or 414 if its first line alone is longer."""
    max_fields: Annotated[int, Meta(ge=8)] = 100
    """Most fields in a head or trailer section; above it 431."""
    head_timeout_seconds: Annotated[float, Meta(gt=0)] = 10.0
    """From the first byte of a head to its last; then 408."""
    keep_alive_seconds: Annotated[float, Meta(gt=0)] = 60.0
    """A connection without a request is closed after it."""
    body_grace_seconds: Annotated[float, Meta(gt=0)] = 10.0
    """Time that a client may be slow with a request's content before the least rate counts."""
    body_min_bytes_per_second: Annotated[float, Meta(ge=0)] = 240.0
    """Least rate of a request's content while we wait for it; below it 408. 0: none."""
    send_timeout_seconds: Annotated[float, Meta(ge=0)] = 60.0
    """A client that takes no byte for it is cut off. 0: none is."""
    drain_bytes: Annotated[int, Meta(ge=0)] = 64 * 1024
    """Content that nobody wanted is read up to this size to keep the connection."""
    underscores: Literal["drop", "refuse", "keep"] = "drop"
    """What to do with field names that hold `_`: many back ends read `X_Forwarded_For` as `X-Forwarded-For`."""
    upgrades: tuple[str, ...] = ("websocket",)
    """Protocols that a client may ask for by `Upgrade`; others are ignored, and `h2c` always is."""
    connect: bool = False
    """Whether CONNECT is taken to the routes; otherwise 501."""
