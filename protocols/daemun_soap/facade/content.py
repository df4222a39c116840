"""Content that is taken as a whole, and work on it that must not hold up everybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from daemun import Body, Buffered, ExchangeError, Reason
from daemun_soap.envelopes.hardened import learning

__all__ = ["OffLoop", "is_json", "whole"]

T = TypeVar("T")

_SMALL_BYTES = 2 * 1024


def is_json(content_type: bytes | None) -> bool:
    """Whether a `content-type` is that of JSON."""
    media_type = (content_type or b"").partition(b";")[0].strip().lower()
    return media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )


async def whole(body: Body, max_bytes: int, *, answers: bool = False) -> bytes:
    """All of a body, which is closed. Raises `ExchangeError` if it is longer than `max_bytes`."""
    try:
        if body.length is not None and body.length > max_bytes:
            raise _too_long(max_bytes, answers=answers)
        if type(body) is Buffered:
            return body.data
        chunks, size = [], 0
        while chunk := await body.read():
            size += len(chunk)
            if size > max_bytes:
                raise _too_long(max_bytes, answers=answers)
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        await body.aclose()


def _too_long(max_bytes: int, *, answers: bool) -> ExchangeError:
    if answers:
        return ExchangeError(Reason.UPSTREAM_PROTOCOL, f"the answer is longer than {max_bytes} bytes")
    return ExchangeError(Reason.CONTENT_TOO_LARGE, f"the request is longer than {max_bytes} bytes")


class OffLoop:
    """Runs work on messages: small ones at once, others in a thread, one at a time."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """What `work` returns, for a message of `size` bytes."""
        if size <= _SMALL_BYTES:
            return learning(size, work)
        return await anyio.to_thread.run_sync(lambda: learning(size, work), limiter=self._limiter)
