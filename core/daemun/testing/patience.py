"""Waiting in tests: for a condition, with a deadline, and never for a guessed time."""

from __future__ import annotations

from collections.abc import Callable

import anyio

__all__ = ["PATIENCE_SECONDS", "eventually"]

PATIENCE_SECONDS = 20.0
"""How long a test waits for anything before it fails."""
_POLL_SECONDS = 0.002


async def eventually(condition: Callable[[], bool], what: str = "what was waited for") -> None:
    """Waits until `condition()` holds. Raises `AssertionError` that names `what` if it does not come to it."""
    with anyio.move_on_after(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110  (no event tells: the condition may be of any kind)
            await anyio.sleep(_POLL_SECONDS)
        return
    raise AssertionError(f"{what} did not come about within {PATIENCE_SECONDS:g} s")
