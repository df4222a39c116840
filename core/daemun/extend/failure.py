"""What becomes of an exchange when a filter fails."""

from __future__ import annotations

import enum
from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["DisableAfter", "FailurePolicy"]


class FailurePolicy(enum.Enum):
    """What an exception out of a filter means, before it has answered. An `ExchangeError` is no failure."""

    CLOSED = "closed"
    """The client gets a 500."""
    OPEN = "open"
    """The exchange goes on as if the filter were not there, unless it has begun to read the content, of the request or
    of the answer, or has cancelled what it wraps: then it is `closed`."""


class DisableAfter(Struct, frozen=True, forbid_unknown_fields=True):
    """The failure policy of a filter that is passed by like one that is `open`, and left out when it fails often."""

    faults: Annotated[int, Meta(ge=1, le=10_000)] = 5
    """So many within `within_seconds`, over all routes of one instance, have it left out."""
    within_seconds: Annotated[float, Meta(gt=0)] = 60.0
    """The time that faults are counted over."""
    rest_seconds: Annotated[float, Meta(gt=0)] = 60.0
    """How long it is left out; then it is tried again."""
