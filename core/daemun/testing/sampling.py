"""What a request takes of memory, looked at from the ends of its connection: between requests, inside, answering."""

from __future__ import annotations

import tracemalloc
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from daemun.testing.memory import MemoryClient

__all__ = ["Held", "Memory", "PeakClient", "SamplingClient", "traced"]


class Held(Struct, frozen=True):
    """Memory in use beside what was there when the request came."""

    blocks: int
    """Blocks of the interpreter."""
    bytes: int
    """Bytes, as tracemalloc counts them."""


class Memory(Struct, frozen=True):
    """Memory that one request takes. Exact for one version of Python."""

    inside: Held
    """While the back end has it: every layer has been entered."""
    answering: Held
    """While its answer is written."""
    peak_bytes: int
    """Most bytes at any moment, as tracemalloc counts them."""
    kept_blocks: float
    """Blocks that are not given back within a second, garbage collected: more than a few hundredths is a leak."""
    deferred_blocks: float
    """Blocks that are given back later, by a task or thread of a plugin."""


class SamplingClient(MemoryClient):
    """Looks at a figure between requests, while the back end has each, and while it is answered."""

    def __init__(self, data: Iterator[bytes], count: int, now: Callable[[], int]) -> None:
        super().__init__(data, count)
        self._now = now
        self._rest = 0
        self.inside, self.answering = (array("q", bytes(8 * count)) for _ in range(2))  # they take no block later

    def asks(self) -> None:
        self._rest = self._now()

    def sample(self) -> None:
        self.inside[self.asked - 1] = self._now() - self._rest

    def send_nowait(self, item: bytes) -> bool:
        self.answering[self.asked - 1] = self._now() - self._rest
        return True


class PeakClient(MemoryClient):
    """Looks at the most bytes that were in use since the request before."""

    def __init__(self, data: Iterator[bytes], count: int) -> None:
        super().__init__(data, count)
        self.peaks = array("q", bytes(8 * count))
        self._rest = 0

    def asks(self) -> None:
        now, peak = tracemalloc.get_traced_memory()
        self.peaks[self.asked - 1] = peak - self._rest
        self._rest = now
        tracemalloc.reset_peak()


@contextmanager
def traced() -> Iterator[None]:
    """tracemalloc runs."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        yield
    finally:
        if not running:
            tracemalloc.stop()
