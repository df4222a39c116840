"""What was done to one object, as it is told to a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from daemun import DaemunError

__all__ = ["InstallError", "Say", "Step"]


class InstallError(DaemunError):
    """Something that stands in the way of installing, removing or finding a gateway; the text says what to do."""


class Step(Struct, frozen=True):
    """One line of progress."""

    did: Literal["created", "configured", "unchanged", "removed", "kept", "waiting", "ready"]
    thing: str
    """`Deployment daemun-system/daemun`."""
    words: str = ""
    """What else is to be known, such as why it was kept."""


Say = Callable[[Step], None]
"""Gets each step when it is done."""
