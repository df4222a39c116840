"""The clock of a test whose event loop runs on virtual time (`virtual.py`), and the clocks that the product reads.

While such a loop is there, `monotonic`, `time` and their like in the modules of daemun and of its plugins are of it:
the names in those modules stand for other functions until the loop is closed. Nothing else in the process notices.
"""

from __future__ import annotations

import sys
import time as _real
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

import anyio

from daemun import exchange

__all__ = ["VirtualClock", "VirtualTime", "virtual"]

_EXEMPT = frozenset((__name__,))
_current: VirtualTime | None = None


class VirtualTime(ABC):
    """The time of one event loop. It stands still while anything runs, and jumps when everything waits."""

    def __init__(self) -> None:
        self.jumps = 0
        """How often it jumped."""
        self.threads = 0
        """Threads that are at work for the loop; time waits for them."""
        self._monotonic = float(int(_real.monotonic()) + 1)
        self._wall = float(int(_real.time()))
        self._before: VirtualTime | None = None
        self._replaced: list[tuple[ModuleType, str, Any]] = []
        self._modules = 0
        self._packages: set[str] = set()
        self._instead: dict[int, Any] = {}

    @abstractmethod
    def seconds(self) -> float:
        """Since it began."""

    @abstractmethod
    async def all_wait(self) -> None:
        """Returns once everything else waits, and before time jumps."""

    def jumped(self) -> None:
        """To be called after each jump: modules that were imported since are to know."""
        self.jumps += 1
        if len(sys.modules) != self._modules:
            self.tell_modules()

    def begin(self) -> None:
        """The loop begins: from now on the product's clocks are this one."""
        global _current
        self._before, _current = _current, self
        shim = _Shim(self)
        names = "monotonic", "monotonic_ns", "time", "time_ns"
        self._instead = {id(getattr(_real, name)): getattr(shim, name) for name in names} | {id(_real): shim}
        points = entry_points(group="daemun")
        self._packages = {"daemun"} | {point.module.partition(".")[0] for point in points}
        _have_exchanges_read(shim.monotonic)
        self.tell_modules()

    def end(self) -> None:
        """The loop is closed."""
        global _current
        for module, name, value in self._replaced:
            setattr(module, name, value)
        self._replaced.clear()
        _have_exchanges_read(_real.monotonic)
        if _current is self:
            _current = self._before

    def tell_modules(self, packages: Iterable[str] = ()) -> None:
        """Has the clocks of daemun, of its plugins, and of more `packages`, be this one."""
        self._packages.update(packages)
        self._modules = len(sys.modules)
        for name, module in list(sys.modules.items()):
            package = name.partition(".")[0]
            if (package in self._packages or package.startswith("daemun_")) and name not in _EXEMPT:
                self._tell(module)

    def _tell(self, module: ModuleType) -> None:
        for name, value in list(vars(module).items()):
            instead = self._instead.get(id(value))
            if instead is not None:
                self._replaced.append((module, name, value))
                setattr(module, name, instead)

    def monotonic(self) -> float:
        """What `time.monotonic` says in it."""
        return self._monotonic + self.seconds()

    def wall(self) -> float:
        """What `time.time` says in it."""
        return self._wall + self.seconds()


class _Shim(ModuleType):
    """The module `time` as modules of the product see it."""

    def __init__(self, of: VirtualTime) -> None:
        super().__init__("time")
        self.monotonic = of.monotonic
        self.monotonic_ns = lambda: round(of.monotonic() * 1e9)
        self.time = of.wall
        self.time_ns = lambda: round(of.wall() * 1e9)

    def __getattr__(self, name: str) -> Any:
        return getattr(_real, name)


def _have_exchanges_read(clock: Callable[[], float]) -> None:
    of_exchanges: Any = exchange.clock
    of_exchanges.__setstate__((clock, (), {}, None))


def virtual() -> VirtualTime | None:
    """The time of the virtual loop that is open; None if there is none."""
    return _current


class VirtualClock:
    """Virtual time in the hands of a test; the test's fixture `anyio_backend` is one of `virtual_backends`."""

    def now(self) -> float:
        """Seconds since the event loop began."""
        return self._time.seconds()

    @property
    def jumps(self) -> int:
        """How often time has jumped, because everything waited."""
        return self._time.jumps

    async def advance(self, seconds: float = 0.0) -> None:
        """Lets so much time pass. What was due until then has run when it returns, and waits again."""
        if seconds > 0:
            await anyio.sleep(seconds)
        await self._time.all_wait()

    @property
    def _time(self) -> VirtualTime:
        found = virtual()
        if found is None:
            raise RuntimeError("time is not virtual: let the fixture `anyio_backend` give one of `virtual_backends`")
        return found
