"""Which event loop runs now."""

from __future__ import annotations

import asyncio

__all__ = ["asyncio_loop"]


def asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """The running loop of asyncio or uvloop; None on trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
