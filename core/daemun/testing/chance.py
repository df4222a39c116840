"""Chance that can be repeated: `random` follows a seed for a while."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int | str) -> Iterator[random.Random]:
    """Has `random` follow `seed`, wherever it is used; what it was comes back afterwards. Yields a generator of its own
    for the test, which follows the same seed."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield random.Random(f"{seed}, for the test")
    finally:
        random.setstate(before)
