"""What a process that serves does about memory: once it has started, and each time that a burst is over."""

from __future__ import annotations

import ctypes
import gc
import resource
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

__all__ = ["give_back_memory", "settle_memory"]

_COLLECT_EVERY = 20_000
"""New objects between two collections of the youngest generation."""
_LARGE_BYTES = 8 * 1024 * 1024
_LOOK_SECONDS = 10.0
_GROWN_PAGES = 16 * 1024 * 1024 // resource.getpagesize()
_STATM = Path("/proc/self/statm")


def settle_memory() -> None:
    """What start-up made stays: the garbage collector need not look at it for every few requests. And the allocator
    learns that blocks of the size of a read come and go, or glibc gives each one back to the kernel and pays for its
    pages again: freeing a large block raises the limits below which it keeps them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 50)
    bytearray(_LARGE_BYTES)


async def give_back_memory(running: Callable[[], int]) -> None:
    """Gives what the allocator keeps of a burst back to the kernel, whenever nothing is `running`; for ever.

    Does nothing where the allocator is none of glibc's.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None or not await anyio.Path(_STATM).exists():
        return
    settled = _resident_pages()
    while True:
        await anyio.sleep(_LOOK_SECONDS)
        if not running() and _resident_pages() > settled + _GROWN_PAGES:
            await anyio.to_thread.run_sync(trim, 0)
            settled = _resident_pages()


def _resident_pages() -> int:
    return int(_STATM.read_bytes().split()[1])
