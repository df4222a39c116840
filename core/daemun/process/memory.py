"""What a process that serves does about memory, once it has started."""

from __future__ import annotations

import gc

__all__ = ["settle_memory"]

_COLLECT_EVERY = 20_000
"""New objects between two collections of the youngest generation."""
_LARGE_BYTES = 8 * 1024 * 1024


def settle_memory() -> None:
    """What start-up made stays: the garbage collector need not look at it for every few requests. And the allocator
    learns that blocks of the size of a read come and go, or glibc gives each one back to the kernel and pays for its
    pages again: freeing a large block raises the limits below which it keeps them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 50)
    bytearray(_LARGE_BYTES)
