"""What a plugin opens once and has closed when its owner ends: the process, a connection, an exchange."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from daemun.stash import StashKey

__all__ = ["ENDED", "Lender", "Lent", "Scope", "lent_scope", "with_process_of"]

T = TypeVar("T")

_EXIT_SECONDS = 60.0
"""What the exit of one thing may take; then it is cancelled."""


class Lent(Protocol):
    """Something open that is held."""

    value: Any
    broken: bool
    """It ended by itself."""


class Lender(Protocol):
    """Who enters and exits what scopes hold, each in a task of its own."""

    async def lease(self, key: Hashable, make: Callable[[], AbstractAsyncContextManager[Any]]) -> Any: ...

    def release(self, resource: Any, within_seconds: float = math.inf) -> None: ...


class Scope:
    """Things of plugins that live as long as their owner. `context.process`, `exchange.peer.scope` and `exchange.scope`
    are scopes; a filter of its own for each route has `FilterType.per_route`."""

    __slots__ = ("_held", "_lender", "_over", "_owner")

    def __init__(self, owner: str = "", lender: Lender | None = None) -> None:
        """`owner` in words, for logs. Without a lender it belongs to no gateway, and opens nothing."""
        self._owner = owner
        self._lender = lender
        self._held: dict[StashKey[Any], Lent] = {}
        self._over = False

    async def open(self, key: StashKey[T], make: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """What `make()` yields: entered for the first caller that names `key`, the same for all others, and exited when
        the owner ends. `key` is a constant of a module: another key is another thing.

        Entry and exit run in one task of the gateway, so that `make` may open task groups; a caller that is cancelled
        while it waits ends the entry if nobody else waits. Raises what the entry raised, and the next call tries
        again; `RuntimeError` if the owner has ended or there is no gateway.
        """
        held = self._held.get(key)
        if held is not None and not held.broken:
            return cast("T", held.value)
        if self._lender is None or self._over:
            why = "has ended" if self._over else "belongs to no gateway"
            raise RuntimeError(f"{key!r} cannot be opened: its {self._owner or 'scope'} {why}")
        lent = await self._lender.lease((f"{self._owner} scope", repr(key), self, key), make)
        held = self._held.get(key)
        if self._over:
            self._lender.release(lent)
            raise RuntimeError(f"{key!r} was opened too late: its {self._owner} has ended")
        if held is lent:  # somebody else waited for the same
            self._lender.release(lent)
        else:
            if held is not None:
                self._lender.release(held)
            self._held[key] = lent
        return cast("T", lent.value)

    def close(self) -> None:
        """Begins the exit of everything in it. Called once by its owner; returns before the exits are over."""
        self._over = True
        for lent in self._held.values():
            assert self._lender is not None
            self._lender.release(lent, _EXIT_SECONDS)
        self._held.clear()


ENDED = Scope("exchange")
"""That of an exchange that is over and had none."""
ENDED.close()


@asynccontextmanager
async def lent_scope(owner: str, lender: Lender) -> AsyncIterator[Scope]:
    """A scope that ends with the context."""
    scope = Scope(owner, lender)
    try:
        yield scope
    finally:
        scope.close()


@asynccontextmanager
async def with_process_of(
    code: tuple[str, ...], lender: Lender, make: Callable[[Scope], AbstractAsyncContextManager[T]]
) -> AsyncIterator[T]:
    """What `make` opens, given the scope `process` of `code` that may change: it ends after the last that has it, so
    that an exit finds open what it uses."""
    lent = await lender.lease(("process scope", *code), partial(lent_scope, "process", lender))
    try:
        async with make(lent.value) as made:
            yield made
    finally:
        lender.release(lent)
