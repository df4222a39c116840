"""What stays of an action that was done many times: objects by their type, and memory."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from heapq import heapify
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from anyio.lowlevel import checkpoint

from daemun.transport.loop import asyncio_loop

__all__ = ["check_leaks"]

_PARTS = 3
"""Objects of a type leak if there are more of them after each of so many parts."""
_ROUNDS_OF_LOOP = 10
_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MANY = 10


async def check_leaks(
    action: Callable[[], Awaitable[object]],
    *,
    times: int = 100,
    warm_up: int = 10,
    grown_bytes: int = 8 * 1024 * 1024,
    ignore: tuple[str, ...] = (),
) -> None:
    """Does `action` so many `times`, after a `warm_up` that may fill caches.

    Raises `AssertionError` that names the types of which more and more objects stay: more after each third of the
    times, and one for three actions at least. Types whose name starts with one of `ignore` (`package.module.Name`) may.
    It is raised too if the process holds `grown_bytes` more, and more again after as many times once more. What the
    test itself keeps counts, records of logs (`caplog`) and of calls (`daemun_hooks`) among it.
    """
    for _ in range(warm_up):
        await action()
    counts: list[dict[str, int]] = [{} for _ in range(_PARTS + 1)]  # now: they are to be no objects more
    await _count_objects(counts[0])
    before = _resident_bytes()
    for part in range(_PARTS):
        for _ in range(times * part // _PARTS, times * (part + 1) // _PARTS):
            await action()
        await _count_objects(counts[part + 1])
    grown = _grown(counts, max(_PARTS, times // _PARTS))
    names = [f"{name} +{count}" for name, count in grown.most_common() if not name.startswith(ignore or ("\0",))]
    if names:
        more = f", and {len(names) - _MANY} types more" if len(names) > _MANY else ""
        raise AssertionError(f"after {times} times there are more objects: {', '.join(names[:_MANY])}{more}")
    resident = _resident_bytes()
    if resident - before < grown_bytes:
        return
    for _ in range(times):
        await action()
    await _count_objects({})
    if _resident_bytes() - resident >= grown_bytes / 2:
        mebibytes = (_resident_bytes() - before) / 1024 / 1024
        raise AssertionError(f"after {2 * times} times the process holds {mebibytes:.1f} MiB more")


async def _count_objects(counts: dict[str, int]) -> None:
    """Fills in how many objects there are, by type, once everything that was let go of is gone."""
    for _ in range(_ROUNDS_OF_LOOP):
        await checkpoint()
    _forget_timers()
    gc.collect()
    for kind, count in Counter(map(type, gc.get_objects())).items():
        name = f"{kind.__module__}.{kind.__qualname__}"
        counts[name] = counts.get(name, 0) + count


def _forget_timers() -> None:
    """Has the event loop let go of timers that were cancelled; it would keep some thousands of them until they are due.

    uvloop keeps none. There is no public name for it.
    """
    loop: Any = asyncio_loop()
    if loop is None:
        runs: Any = import_module("trio._core._run").GLOBAL_RUN_CONTEXT
        runs.runner.deadlines._prune()
        return
    timers: list[Any] | None = getattr(loop, "_scheduled", None)
    if timers is not None:
        for timer in timers:
            timer._scheduled = not timer.cancelled()
        timers[:] = [timer for timer in timers if timer._scheduled]
        heapify(timers)
        loop._timer_cancelled_count = 0


def _grown(counts: list[dict[str, int]], least: int) -> Counter[str]:
    """By how many each type grew that grew every time."""
    first, last = counts[0], counts[-1]
    return Counter(
        {
            name: last[name] - first.get(name, 0)
            for name in last
            if last[name] - first.get(name, 0) >= least
            and all(before.get(name, 0) < after.get(name, 0) for before, after in pairwise(counts))
        }
    )


def _resident_bytes() -> int:
    """What the process holds in memory; 0 where the system does not tell."""
    return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES if _STATM.exists() else 0
