"""Which event loop runs the gateway."""

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from daemun.errors import SettingsError
from daemun.transport.loop import asyncio_loop

__all__ = ["choose_loop", "current_loop", "run_on"]

T = TypeVar("T")


def choose_loop(name: str) -> str:
    """`asyncio`, `uvloop` or `trio`; `auto` takes uvloop where it is installed. Raises `SettingsError`."""
    if name == "auto":
        return "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    if name not in ("asyncio", "uvloop", "trio"):
        raise SettingsError(f"unknown event loop {name!r} (accepted: auto, asyncio, uvloop, trio)", path="$.event_loop")
    if name != "asyncio" and not importlib.util.find_spec(name):
        extra = "fast" if name == "uvloop" else "trio"
        raise SettingsError(f"{name} is not installed (pip install 'daemun[{extra}]')", path="$.event_loop")
    return name


def run_on(loop: str, main: Callable[[], Awaitable[T]]) -> T:
    """Runs `main` on the event loop that `choose_loop` named."""
    backend = "trio" if loop == "trio" else "asyncio"
    options: dict[str, Any] = {"use_uvloop": True} if loop == "uvloop" else {}
    return anyio.run(main, backend=backend, backend_options=options)


def current_loop() -> str:
    """The event loop that runs now: `asyncio`, `uvloop` or `trio`."""
    loop = asyncio_loop()
    if loop is None:
        return "trio"
    return "uvloop" if type(loop).__module__.startswith("uvloop") else "asyncio"
