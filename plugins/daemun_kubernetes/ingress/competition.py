"""What several want and one can have: the one who is oldest gets it, and the others are told who that is.

Claims stand in order, so that it costs the same whether two claim a thing or thousands do.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

__all__ = ["Competition"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_Owner = tuple[str, str]
_Age = tuple[Any, ...]
_EVERYWHERE = ""


class Competition(Generic[K, V]):
    """Claims of owners (namespace, name). A change costs what it concerns."""

    def __init__(self) -> None:
        self._of_owner: dict[_Owner, tuple[_Age, Mapping[K, V]]] = {}
        self._of_key: dict[K, dict[str, list[tuple[_Age, _Owner]]]] = {}
        """Who claims it, the oldest first: of each namespace, and of all."""

    def put(self, owner: _Owner, age: _Age, claims: Mapping[K, V]) -> set[K]:
        """Replaces what `owner` claims; the keys that may have another winner now. The lower age wins."""
        before, old = self._of_owner.pop(owner, ((), {}))
        for key in old:
            self._forget(key, (before, owner))
        if claims:
            self._of_owner[owner] = (age, claims)
        for key in claims:
            ranks = self._of_key.setdefault(key, {})
            for namespace in (owner[0], _EVERYWHERE):
                insort(ranks.setdefault(namespace, []), (age, owner))
        return {*old, *claims}

    def winner(self, key: K, namespace: str = _EVERYWHERE) -> tuple[_Owner, V] | None:
        """Who has `key`, and with what; with `namespace`, which of its own owners."""
        ranks = self._of_key.get(key, {}).get(namespace)
        if not ranks:
            return None
        owner = ranks[0][1]
        return owner, self._of_owner[owner][1][key]

    def owners(self, keys: Iterable[K]) -> set[_Owner]:
        """All who claim one of `keys`."""
        return {owner for key in keys for _, owner in self._of_key.get(key, {}).get(_EVERYWHERE, ())}

    def lost(self, owner: _Owner, namespace_of: Callable[[K], str] = lambda key: _EVERYWHERE) -> dict[K, _Owner | None]:
        """What `owner` claims and does not get, each with who has it; None: nobody has.

        `namespace_of` tells whose owners alone may have a key; "": all may.
        """
        lost: dict[K, _Owner | None] = {}
        for key in self._of_owner.get(owner, ((), {}))[1]:
            winner = self.winner(key, namespace_of(key))
            if winner is None or winner[0] != owner:
                lost[key] = winner[0] if winner is not None else None
        return lost

    def keys(self) -> Iterable[K]:
        """All that is claimed."""
        return self._of_key.keys()

    def _forget(self, key: K, rank: tuple[_Age, _Owner]) -> None:
        ranks = self._of_key[key]
        for namespace in (rank[1][0], _EVERYWHERE):
            of_namespace = ranks[namespace]
            del of_namespace[bisect_left(of_namespace, rank)]
            if not of_namespace:
                del ranks[namespace]
        if not ranks:
            del self._of_key[key]
