"""Objects of one kind, watched only as far as something refers to them.

A watch is as wide as what is referred to asks for: one object, one namespace, or, once there are many of them, the
whole cluster. While a watch takes over from others these stay until it has listed, and what it lists is not older than
what they have seen, so that nothing that is in use is gone for a moment, or as it was before.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.kinds import Kind, KubeObject
from daemun_kubernetes.client.watch import Change, Reflector

__all__ = ["Key", "References", "open_references"]

log = logging.getLogger("daemun.kubernetes")

T = TypeVar("T", bound=KubeObject)

Key = tuple[str, str]
"""Namespace and name."""

_EVERYTHING: Key = ("", "")
_AGAIN_SECONDS = 5.0
_LOOK_SECONDS = 0.5


class _Watch(Generic[T]):
    """One watch: all objects of a scope, by what they are referred to as."""

    __slots__ = ("by_key", "reflector", "scope", "settled", "task")

    def __init__(self, scope: Key) -> None:
        self.scope = scope
        """The object, or the namespace (no name), or everything (neither)."""
        self.by_key: dict[Key, dict[str, T]] = {}
        self.reflector: Reflector[T]
        self.settled = anyio.Event()
        """It has listed, or was waited for long enough."""
        self.task = anyio.CancelScope()

    @property
    def is_told(self) -> bool:
        """Whether it has listed, or the server has said for long enough that it may not."""
        return self.reflector.synced or (self.settled.is_set() and self.reflector.refused)

    def covers(self, key: Key) -> bool:
        namespace, name = self.scope
        return namespace in ("", key[0]) and name in ("", key[1])

    def meets(self, scope: Key) -> bool:
        """Whether there may be something that both see."""
        return all(not mine or not other or mine == other for mine, other in zip(self.scope, scope, strict=True))


class References(Generic[T]):
    """The objects of one kind that are referred to. `on_change` hears which of them changed; it may not wait."""

    def __init__(
        self,
        tasks: TaskGroup,
        cluster: Cluster,
        kind: Kind[T],
        on_change: Callable[[frozenset[Key]], None],
        *,
        name_of: Callable[[T], str],
        labels: str = "",
        fields: str = "",
        max_names: int = 0,
        max_namespaces: float = 16,
        patience_seconds: float = 10.0,
    ) -> None:
        """`name_of` tells the name that an object is referred to by. `labels` and `fields` select what is listed of a
        namespace. Up to `max_names` objects have watches of their own, up to `max_namespaces` namespaces. A watch
        that has not listed after `patience_seconds` counts as settled; it goes on trying.
        """
        self.keys: frozenset[Key] = frozenset()
        """What is referred to."""
        self._tasks = tasks
        self._cluster = cluster
        self._kind = kind
        self._on_change = on_change
        self._name_of = name_of
        self._labels = labels
        self._fields = fields
        self._max_names = max_names
        self._max_namespaces = max_namespaces
        self._patience_seconds = patience_seconds
        self._watches: dict[Key, _Watch[T]] = {}
        self._leaving: list[_Watch[T]] = []
        """Those that others take over from."""

    def refer(self, keys: Collection[Key]) -> None:
        """Watches what is needed for `keys`, and nothing else, from now on."""
        if keys == self.keys:
            return
        self.keys = frozenset(keys)
        wanted = self._scopes()
        for scope in wanted - self._watches.keys():
            watch = self._watches[scope] = self._start(scope)
            self._tasks.start_soon(self._run, watch)
        for scope in self._watches.keys() - wanted:
            self._leaving.append(self._watches.pop(scope))
        self._let_go()

    def objects(self, key: Key) -> Collection[T]:
        """The objects that are called `key`, as far as they are known."""
        for watch in self._covering(key):
            found = watch.by_key.get(key)
            return found.values() if found is not None else ()
        return ()

    def settled(self, key: Key) -> bool:
        """Whether it is known if there is such an object, or that was waited for long enough."""
        return any(watch.reflector.synced or watch.settled.is_set() for watch in self._covering(key))

    def trouble(self, key: Key) -> str:
        """Why it is not known if there is such an object; "": it is."""
        for watch in self._covering(key):
            if watch.reflector.synced:
                return ""
            return watch.reflector.trouble or f"{self._words(watch.scope)} are not listed yet"
        return f"{self._kind.plural} of namespace {key[0]} are not watched"

    async def wait_synced(self) -> None:
        """Returns once all that is referred to was listed, or is refused (403, 404) and settled.

        What passes, such as a server in trouble, is waited for as long as it takes: who has just started does better
        not to serve at all than to serve without.
        """
        while waiting := [watch for watch in self._watches.values() if not watch.is_told]:
            await waiting[0].settled.wait()
            with anyio.move_on_after(_LOOK_SECONDS):
                await waiting[0].reflector.wait_synced()

    @property
    def watches(self) -> tuple[Key, ...]:
        """The scopes that are watched: (namespace, name), (namespace, "") or ("", "")."""
        return tuple(sorted(self._watches))

    def _covering(self, key: Key) -> Iterator[_Watch[T]]:
        """The watches that see `key`, the best first: one that has listed before one that has not."""
        scopes = (key, (key[0], ""), _EVERYTHING)
        watches = [watch for scope in scopes if (watch := self._watches.get(scope)) is not None]
        if self._leaving:
            watches += [watch for watch in self._leaving if watch.covers(key)]
        return iter(sorted(watches, key=lambda watch: not watch.reflector.synced))

    def _scopes(self) -> set[Key]:
        """Narrow while there is little; wide again only when there is half of what made it wide."""
        if len(self.keys) <= self._room(self._max_names, is_wide=not any(name for _, name in self._watches)):
            return set(self.keys)
        namespaces = {(namespace, "") for namespace, _ in self.keys}
        if len(namespaces) <= self._room(self._max_namespaces, is_wide=_EVERYTHING in self._watches):
            return namespaces
        return {_EVERYTHING}

    def _room(self, limit: float, *, is_wide: bool) -> float:
        return limit / 2 if is_wide and self._watches and not math.isinf(limit) else limit

    def _start(self, scope: Key) -> _Watch[T]:
        watch: _Watch[T] = _Watch(scope)
        namespace, name = scope

        def on_change(change: Change[T]) -> None:
            self._note(watch, change)

        watch.reflector = Reflector(
            self._cluster,
            self._kind,
            namespace,
            labels="" if name else self._labels,
            fields=f"metadata.name={name}" if name else self._fields,
            at_least=self._newest(scope),
            on_change=on_change,
        )
        return watch

    def _newest(self, scope: Key) -> str:
        """The newest version that was seen of what is in `scope`: servers differ in what they know."""
        watches = (*self._watches.values(), *self._leaving)
        versions = (watch.reflector.version for watch in watches if watch.meets(scope))
        return max((version for version in versions if version.isdecimal()), key=int, default="0")

    async def _run(self, watch: _Watch[T]) -> None:
        try:
            with watch.task:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._reflect, watch)
                    with anyio.move_on_after(self._patience_seconds):
                        await watch.reflector.wait_synced()
                    watch.settled.set()
                    if not watch.reflector.synced:
                        log.warning("%s: nothing is known yet: %s", self._words(watch.scope), watch.reflector.trouble)
                        self._tell(watch)
                        await watch.reflector.wait_synced()
                    self._tell(watch)
                    self._let_go()
        finally:
            watch.settled.set()

    def _tell(self, watch: _Watch[T]) -> None:
        """All that it sees is known from now on, or known to be unknown: also what is not there."""
        if affected := frozenset(key for key in self.keys if watch.covers(key)):
            self._on_change(affected)

    async def _reflect(self, watch: _Watch[T]) -> None:
        while True:
            try:
                await watch.reflector.run()
            except Exception:
                log.exception("%s: the watch failed and begins anew", self._words(watch.scope))
            await anyio.sleep(_AGAIN_SECONDS)

    def _let_go(self) -> None:
        """Ends watches that nobody needs any more: others have listed all that is referred to of theirs."""
        listed = [watch for watch in self._watches.values() if watch.reflector.synced]
        over = []
        for watch in self._leaving:
            needed = [key for key in self.keys if watch.covers(key)]
            if all(any(other.covers(key) for other in listed) for key in needed):
                over.append(watch)
        for watch in over:
            self._leaving.remove(watch)
            watch.task.cancel()

    def _note(self, watch: _Watch[T], change: Change[T]) -> None:
        affected: set[Key] = set()
        if change.old is not None:
            key, name = self._place(change.old)
            affected.add(key)
            found = watch.by_key.get(key)
            if found is not None and found.pop(name, None) is not None and not found:
                del watch.by_key[key]
        key, name = self._place(change.object)
        affected.add(key)
        if change.kind != "deleted":
            watch.by_key.setdefault(key, {})[name] = change.object
        elif (found := watch.by_key.get(key)) is not None:
            found.pop(name, None)
            if not found:
                del watch.by_key[key]
        if affected := affected & self.keys:
            self._on_change(frozenset(affected))

    def _place(self, item: T) -> tuple[Key, str]:
        return (item.metadata.namespace, self._name_of(item)), item.metadata.name

    def _words(self, scope: Key) -> str:
        namespace, name = scope
        if name:
            return f"{self._kind.kind} {namespace}/{name}"
        return f"{self._kind.plural} of namespace {namespace}" if namespace else f"{self._kind.plural} of the cluster"


@asynccontextmanager
async def open_references(
    cluster: Cluster,
    kind: Kind[T],
    on_change: Callable[[frozenset[Key]], None],
    *,
    name_of: Callable[[T], str],
    labels: str = "",
    fields: str = "",
    max_names: int = 0,
    max_namespaces: float = 16,
    patience_seconds: float = 10.0,
) -> AsyncIterator[References[T]]:
    """References whose watches end when the context is left. For the arguments see `References`."""
    async with anyio.create_task_group() as tasks:
        yield References(
            tasks,
            cluster,
            kind,
            on_change,
            name_of=name_of,
            labels=labels,
            fields=fields,
            max_names=max_names,
            max_namespaces=max_namespaces,
            patience_seconds=patience_seconds,
        )
        tasks.cancel_scope.cancel()
