"""Waiting in tests: for a condition, with a deadline, and never for a guessed time."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from daemun.testing.clock import virtual

__all__ = ["PATIENCE_SECONDS", "eventually", "patience_seconds"]

PATIENCE_SECONDS = 20.0
"""How long a test waits for anything before it fails."""
_VIRTUAL_PATIENCE_SECONDS = 3600.0
_POLL_SECONDS = 0.002
_POLLS = 500
"""As many as fit into the time that has passed, so that an hour of virtual time is no million of polls."""


def patience_seconds() -> float:
    """`PATIENCE_SECONDS`; an hour of virtual time, which costs nothing."""
    return PATIENCE_SECONDS if virtual() is None else _VIRTUAL_PATIENCE_SECONDS


async def eventually(condition: Callable[[], bool], what: str = "what was waited for") -> None:
    """Waits until `condition()` holds. Raises `AssertionError` that names `what` if it does not come to it."""
    patience, began = patience_seconds(), anyio.current_time()
    with anyio.move_on_after(patience):
        while not condition():  # noqa: ASYNC110  (no event tells: the condition may be of any kind)
            await anyio.sleep(max(_POLL_SECONDS, (anyio.current_time() - began) / _POLLS))
        return
    raise AssertionError(f"{what} did not come about within {patience:g} s")
