"""The bytes of a file: small ones kept in memory, large ones read as they are sent.

What the page cache holds is read on the event loop with a call that never waits (`RWF_NOWAIT`; 7 µs for
64 KiB). A trip to a thread costs some 100 µs and is made only for what that call refuses: bytes that are on
disk alone, and file systems that do not know it, such as overlays and network file systems.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from time import time_ns

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import checkpoint

from daemun import ExchangeError, Headers, Reason
from daemun_static.ranges import Span

__all__ = [
    "AT_ONCE_BYTES",
    "SETTLED_NANOSECONDS",
    "THREAD_BYTES",
    "FileBody",
    "SmallFiles",
    "read_small",
    "read_small_at_once",
]

THREAD_BYTES = 262_144
"""What one trip to a thread brings back."""
AT_ONCE_BYTES = 122_880
"""What one read on the event loop brings: below glibc's threshold of 128 KiB, above which the memory of each
chunk is mapped and unmapped (64 MiB: 14 ms of CPU, 74 ms in chunks of 256 KiB)."""
SETTLED_NANOSECONDS = 2_000_000_000
"""A file that changed less than this ago may change again with the same time stamp (clocks of file systems
tick in milliseconds, some in seconds): its content is not kept."""


_NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)


class SmallFiles:
    """Contents of small files, the least used ones dropped above `limit_bytes`.

    They are found by what `stat` says, never by path: whoever asks has walked to the file, so nothing kept
    can be had by a path that does not lead to it any more.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._contents: OrderedDict[tuple[int, int], tuple[tuple[int, int, int], bytes]] = OrderedDict()

    def get(self, facts: os.stat_result) -> bytes | None:
        """The content of the file with these facts, if it is kept and the file is unchanged."""
        key = (facts.st_dev, facts.st_ino)
        found = self._contents.get(key)
        if found is None or found[0] != _stamp(facts):
            return None
        self._contents.move_to_end(key)
        return found[1]

    def keep(self, facts: os.stat_result, data: bytes) -> None:
        """Keeps `data`, read after `facts` were taken, unless the file changed so lately that it may go
        on."""
        if len(data) > self._limit_bytes or time_ns() - facts.st_ctime_ns < SETTLED_NANOSECONDS:
            return
        key = (facts.st_dev, facts.st_ino)
        self._drop(key)
        self._contents[key] = (_stamp(facts), data)
        self._bytes += len(data) + _ENTRY_BYTES
        while self._bytes > self._limit_bytes:
            self._drop(next(iter(self._contents)))

    def _drop(self, key: tuple[int, int]) -> None:
        found = self._contents.pop(key, None)
        if found is not None:
            self._bytes -= len(found[1]) + _ENTRY_BYTES


_ENTRY_BYTES = 512
"""What keeping a file costs beside its content, so that empty files are bounded too."""


def read_small(descriptor: int, facts: os.stat_result) -> bytes:
    """The whole content of an open file. Blocks. Raises `ExchangeError` if it changes meanwhile (503), or if
    it cannot be read."""
    try:
        data = os.pread(descriptor, facts.st_size + 1, 0)
    except OSError as error:
        raise ExchangeError(Reason.PLUGIN_FAULT, "the file cannot be read") from error
    if len(data) != facts.st_size or _changed(descriptor, facts):
        raise ExchangeError(
            Reason.UPSTREAM_CLOSED, "the file changed while it was read", status=503, retry_after_seconds=1
        )
    return data


def read_small_at_once(descriptor: int, facts: os.stat_result) -> bytes | None:
    """The whole content of an open file, or None where that would take a wait or the file has changed."""
    data = _read_at_once(descriptor, facts.st_size, 0)
    if data is None or len(data) != facts.st_size or _changed(descriptor, facts):
        return None
    return data


class FileBody:
    """Parts of an open file, and bytes between them, read as they are asked for.

    Owns `descriptor` and closes it. Reads do not move the file's position, so descriptor and `parts` are all
    that sending without a copy would need.
    """

    __slots__ = (
        "_closing",
        "_limiter",
        "_part",
        "_place",
        "_reading",
        "descriptor",
        "length",
        "parts",
        "trailers",
    )

    def __init__(self, descriptor: int, parts: Sequence[Span | bytes], limiter: CapacityLimiter) -> None:
        self.descriptor = descriptor
        """-1 once it is closed."""
        self.parts = parts
        """Spans of the file and literal bytes, in the order in which they are sent."""
        self.length: int | None = sum(len(p) if isinstance(p, bytes) else p[1] - p[0] for p in parts)
        self.trailers: Headers = ()
        self._limiter = limiter
        self._part = 0
        self._place = -1
        self._reading = False
        self._closing = False

    async def read(self) -> bytes:
        """The next bytes. Raises `ExchangeError` if the file became shorter than was announced, or is
        unreadable."""
        while self._part < len(self.parts) and not self._closing:
            part = self.parts[self._part]
            if isinstance(part, bytes):
                self._part += 1
                return part
            start, end = part
            place = max(start, self._place)
            if place >= end:
                self._part += 1
                self._place = -1
                continue
            data = await self._pread(end - place, place)
            if not data and not self._closing:
                raise ExchangeError(Reason.UPSTREAM_CLOSED, "the file became shorter while it was sent")
            self._place = place + len(data)
            return data
        return b""

    async def aclose(self) -> None:
        """Closes the file; if a read is still under way, as soon as that ends."""
        self._closing = True
        if not self._reading and self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)

    async def _pread(self, count: int, place: int) -> bytes:
        await checkpoint()  # or a large file in memory would keep the event loop to itself
        if self._closing:
            return b""
        data = _read_at_once(self.descriptor, min(count, AT_ONCE_BYTES), place)
        if data is not None:
            return data
        self._reading = True
        try:
            return await to_thread.run_sync(
                os.pread, self.descriptor, min(count, THREAD_BYTES), place, limiter=self._limiter
            )
        except OSError as error:
            raise ExchangeError(Reason.UPSTREAM_CLOSED, "the file cannot be read any further") from error
        finally:
            self._reading = False
            if self._closing:
                await self.aclose()


def _read_at_once(descriptor: int, count: int, place: int) -> bytes | None:
    """Up to `count` bytes, at least one, if they are in memory. Some kernels say 0 for bytes that are not."""
    if _NO_WAIT is None:
        return None
    buffer = bytearray(count)
    try:
        got = os.preadv(descriptor, (buffer,), place, _NO_WAIT)
    except OSError:
        return None
    return bytes(memoryview(buffer)[:got]) if got else None


def _changed(descriptor: int, facts: os.stat_result) -> bool:
    """Whether the content changed since `facts`; the time of the inode's change would also count a rename."""
    now = os.fstat(descriptor)
    return (now.st_mtime_ns, now.st_size) != (facts.st_mtime_ns, facts.st_size)


def _stamp(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size
