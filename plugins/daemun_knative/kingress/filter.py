"""The filter `knative-probe`: a request that asks which version of an Ingress its route is of takes the token along.

Whoever is behind the route answers such a probe with the token, which proves the way there and the version at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from msgspec import Meta, Struct

from daemun import FilterContext, FilterType, Handler, Layer, Phase

__all__ = ["HASH_HEADER", "OVERRIDE", "PROBE_FILTER", "ProbeSettings"]

HASH_HEADER = b"k-network-hash"
OVERRIDE = b"override"


class ProbeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `knative-probe`."""

    hash: Annotated[
        str,
        Meta(pattern=r"^[0-9a-f]{64}\Z", description="What takes the place of `override` in `K-Network-Hash`."),
    ]


@asynccontextmanager
async def _build(settings: ProbeSettings, context: FilterContext) -> AsyncIterator[Layer]:
    token = settings.hash.encode()
    asked = (HASH_HEADER, OVERRIDE)

    def layer(handler: Handler) -> Handler:
        # one comparison in C is what a request without the header costs
        return lambda request: handler(request.with_header(HASH_HEADER, token) if asked in request.headers else request)

    yield layer


PROBE_FILTER = FilterType("knative-probe", ProbeSettings, _build, phase=Phase.EARLY)
