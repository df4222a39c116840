"""What several want and one can have: the one who is oldest gets it, and the others are told who that is."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

__all__ = ["Competition"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_Owner = tuple[str, str]
_Age = tuple[Any, ...]


class Competition(Generic[K, V]):
    """Claims of owners (namespace, name). A change costs what it concerns."""

    def __init__(self) -> None:
        self._of_owner: dict[_Owner, Mapping[K, V]] = {}
        self._of_key: dict[K, dict[_Owner, tuple[_Age, V]]] = {}

    def put(self, owner: _Owner, age: _Age, claims: Mapping[K, V]) -> set[K]:
        """Replaces what `owner` claims; the keys that may have another winner now. The lower age wins."""
        touched = set(self._of_owner.get(owner, ())) | set(claims)
        for key in self._of_owner.pop(owner, ()):
            owners = self._of_key[key]
            del owners[owner]
            if not owners:
                del self._of_key[key]
        if claims:
            self._of_owner[owner] = claims
        for key, value in claims.items():
            self._of_key.setdefault(key, {})[owner] = (age, value)
        return touched

    def winner(self, key: K) -> tuple[_Owner, V] | None:
        """Who has `key`, and with what."""
        owners = self._of_key.get(key)
        if not owners:
            return None
        owner = min(owners, key=lambda one: (owners[one][0], one))
        return owner, owners[owner][1]

    def owners(self, keys: Iterable[K]) -> set[_Owner]:
        """All who claim one of `keys`."""
        return {owner for key in keys for owner in self._of_key.get(key, ())}

    def lost(self, owner: _Owner) -> dict[K, _Owner]:
        """What `owner` claims and does not get, each with who has it."""
        lost = {}
        for key in self._of_owner.get(owner, ()):
            winner = self.winner(key)
            if winner is not None and winner[0] != owner:
                lost[key] = winner[0]
        return lost

    def keys(self) -> Iterable[K]:
        """All that is claimed."""
        return self._of_key.keys()
