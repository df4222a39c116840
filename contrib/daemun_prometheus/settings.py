"""What may be set for the metrics."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["Buckets", "PrometheusSettings", "parse_bind"]

Buckets = Annotated[tuple[Annotated[float, Meta(gt=0)], ...], Meta(min_length=1, max_length=64)]
"""Upper bounds of a histogram's buckets in seconds, ascending; the bucket without a bound is added."""


class PrometheusSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the observer `prometheus`."""

    bind: Annotated[
        str,
        Meta(
            description="Where metrics are served: `host:port`, `[v6]:port` or `unix:/path`, apart from all listeners."
        ),
    ] = "127.0.0.1:9090"
    path: Annotated[
        str, Meta(pattern=r'^/[!-"$->@-~]*$(?!\n)', description="Path they are served at; all others are a 404.")
    ] = "/metrics"
    duration_buckets_seconds: Annotated[
        Buckets, Meta(description="Upper bounds of the buckets of request durations, ascending.")
    ] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
    cold_start_buckets_seconds: Annotated[
        Buckets, Meta(description="Upper bounds of the buckets of cold starts, ascending.")
    ] = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
    max_label_sets: Annotated[
        int,
        Meta(
            ge=1, le=1_000_000, description="Label sets of one metric; others are counted with all labels `overflow`."
        ),
    ] = 20_000
    idle_timeout_seconds: Annotated[
        float,
        Meta(
            gt=0, le=3600, description="A connection to the metrics may be silent, or slow to take an answer, so long."
        ),
    ] = 120.0

    def __post_init__(self) -> None:
        parse_bind(self.bind)
        for name in ("duration_buckets_seconds", "cold_start_buckets_seconds"):
            bounds: tuple[float, ...] = getattr(self, name)
            if not all(math.isfinite(bound) for bound in bounds) or any(low >= high for low, high in pairwise(bounds)):
                raise ValueError(f"{name} must be finite and ascending")


def parse_bind(where: str) -> tuple[str, int] | str:
    """`host:port` and `[v6]:port` as (host, port), `unix:/path` as the path. Raises `ValueError` in words."""
    if where.startswith("unix:"):
        if len(where) == 5 or "\0" in where:
            raise ValueError(f"bind {where!r} names no path; use unix:/path/to.sock")
        return where[5:]
    host, _, digits = where.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not host or (":" in host) is not bracketed or not (digits.isascii() and digits.isdigit()) or int(digits) > 65535:
        raise ValueError(f"bind {where!r} is not host:port, [v6]:port or unix:/path")
    return host, int(digits)
