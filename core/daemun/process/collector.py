"""The garbage collector of a process that serves."""

from __future__ import annotations

import gc

__all__ = ["settle_collector"]

_COLLECT_EVERY = 20_000
"""New objects between two collections of the youngest generation."""


def settle_collector() -> None:
    """What start-up made stays: the garbage collector need not look at it for every few requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 50)
