"""Where every task of an event loop stands: for saying who holds up what, also from another thread."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator
from types import AsyncGeneratorType, FrameType
from typing import Any

from daemun.transport.loop import asyncio_loop

__all__ = ["Standing"]


class Standing:
    """The tasks of the event loop in which it was made."""

    def __init__(self) -> None:
        self._loop = asyncio_loop()
        self._root: Any = None if self._loop is not None else sys.modules["trio"].lowlevel.current_root_task()

    def stacks(self) -> Iterator[list[FrameType]]:
        """The frames of each task that waits, innermost first."""
        if self._loop is not None:
            for task in asyncio.all_tasks(self._loop):
                yield _frames(task.get_coro())
            return
        waiting = [self._root]
        while waiting:
            trio_task = waiting.pop()
            yield _frames(trio_task.coro)
            for nursery in trio_task.child_nurseries:
                waiting += nursery.child_tasks


def _frames(coroutine: Any) -> list[FrameType]:
    found = []
    while coroutine is not None:
        if type(coroutine).__name__ in ("async_generator_asend", "async_generator_athrow"):
            coroutine = next((one for one in gc.get_referents(coroutine) if type(one) is AsyncGeneratorType), None)
            continue
        for kind in ("cr", "gi", "ag"):
            frame = getattr(coroutine, f"{kind}_frame", None)
            if frame is not None:
                found.append(frame)
                coroutine = getattr(coroutine, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
                break
        else:
            break
    return found[::-1]
