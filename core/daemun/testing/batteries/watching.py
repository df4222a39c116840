"""What a plugin may leave behind or hold up: tasks, descriptors, threads, and the event loop itself."""

from __future__ import annotations

import _socket
import ipaddress
import os
import re
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import anyio
import anyio.lowlevel
from msgspec import Struct

from daemun.testing.batteries.rules import expect, words_of

__all__ = [
    "SETTLE_SECONDS",
    "Held",
    "blocking_calls",
    "calls",
    "does_not_grow",
    "held",
    "left_behind",
    "swallows",
    "turns",
]

SETTLE_SECONDS = 10.0
"""How long what is left behind may take to go."""
_SHORT_SECONDS = 0.2
_ROUNDS = 5
_POLL_SECONDS = 0.01
_DIGITS = re.compile(r"\d+")
_IDLE_THREADS = ("AnyIO worker thread", "Trio thread", "asyncio_", "waitpid-")
"""Beginnings of the names of threads that event loops keep for later."""
_WAITING = frozenset((time.sleep, select.select, os.system, socket.gethostbyname, _socket.gethostbyaddr))
_SOCKET_WAITS = frozenset(("accept", "connect", "recv", "recv_into", "sendall"))


class Held(Struct, frozen=True):
    """What is open in this process: how many of each, by what they are called."""

    tasks: dict[str, int]
    descriptors: dict[str, int]
    threads: dict[str, int]

    def grown_since(self, before: Held) -> str:
        """What there is now and was not before, in words; "" if nothing is."""
        found = []
        for word, now, then in (
            ("task", self.tasks, before.tasks),
            ("descriptor of", self.descriptors, before.descriptors),
            ("thread", self.threads, before.threads),
        ):
            for name, count in sorted((Counter(now) - Counter(then)).items()):
                found.append(f"{word} {name}" if count == 1 else f"{count} times {word} {name}")
        return ", ".join(found)


def held() -> Held:
    """What is open now."""
    tasks = Counter(_DIGITS.sub("N", task.name or "?") for task in anyio.get_running_tasks())
    names = [one.name for one in threading.enumerate() if not one.name.startswith(_IDLE_THREADS)]
    return Held(dict(tasks), dict(Counter(_descriptors())), dict(Counter(_DIGITS.sub("N", name) for name in names)))


def _descriptors() -> Iterator[str]:
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return  # where there is no /proc descriptors are not counted
    for number in numbers:
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # the one of the listing itself
        yield target.partition(":")[0] if target.startswith(("socket:", "pipe:", "anon_inode:")) else target


async def left_behind(before: Held, after_what: str) -> None:
    """Breaks the rule if something stays that was not there `before`."""
    grown = await _grown(before, SETTLE_SECONDS)
    expect(not grown, f"{grown} left after {after_what}", "everything is closed when the context is left")


async def does_not_grow(action: Callable[[], Awaitable[None]], after_what: str) -> None:
    """Breaks the rule if each `action` leaves more than the one before: what is kept for the next one does not."""
    await action()
    for rounds_left in range(_ROUNDS, 0, -1):
        before = held()
        await action()
        grown = await _grown(before, SETTLE_SECONDS if rounds_left == 1 else _SHORT_SECONDS)
        if not grown:
            return
    expect(False, f"{grown} more each time after {after_what}", "what an exchange opened is closed with it")


async def _grown(before: Held, seconds: float) -> str:
    """What there is more than `before` when that time is over; "": nothing, from some moment on."""
    deadline = anyio.current_time() + seconds
    while (grown := held().grown_since(before)) and anyio.current_time() < deadline:  # noqa: ASYNC110  (nothing tells)
        await anyio.sleep(_POLL_SECONDS)
    return grown


async def turns(count: int = 10) -> None:
    """Lets every other task run, `count` times."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def swallows(run: Callable[[], Awaitable[object]], reached: anyio.Event) -> str:
    """Cancels `run` once `reached` is set. What it did instead of being cancelled; "": nothing, or it had ended.

    `reached` is set when `run` ends.
    """
    cancelled, instead = False, ""

    async def go() -> None:
        nonlocal instead
        try:
            await run()
            instead = "it was cancelled, and it returned" if cancelled else ""
        except Exception as error:
            if not cancelled:
                raise
            instead = f"it was cancelled, and it raised {words_of(error)}"
        finally:
            reached.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go)
        await reached.wait()
        cancelled = True
        tasks.cancel_scope.cancel()
    return instead


@contextmanager
def blocking_calls() -> Iterator[list[str]]:
    """The calls by which this thread waits without its event loop, with their places, as they happen."""
    found: list[str] = []

    def seen(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and _waits(called, frame):
            found.append(f"{called.__name__}() at {os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        yield found
    finally:
        sys.setprofile(before)


def _waits(called: Any, frame: FrameType) -> bool:
    if called is _socket.getaddrinfo:
        return not _is_numeric(frame.f_locals.get("host"))  # of socket.getaddrinfo
    owner = getattr(called, "__self__", None)
    if isinstance(owner, socket.socket):
        return str(called.__name__) in _SOCKET_WAITS and owner.gettimeout() != 0
    if type(owner).__name__ == "poll":  # of `subprocess`; event loops have epoll
        return frame.f_globals.get("__name__") == "selectors" and frame.f_locals.get("timeout") != 0
    return called in _WAITING


def _is_numeric(host: object) -> bool:
    if host is None:
        return True
    try:
        ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host))
    except ValueError:
        return False
    return True


def calls(function: Callable[[], object]) -> int:
    """Python functions that `function` calls, itself included: the same on every machine."""
    count = 0

    def seen(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count
