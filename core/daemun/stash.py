"""Typed private data of plugins on an object that they do not own."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

__all__ = ["Stash", "StashKey"]

T = TypeVar("T")
D = TypeVar("D")


class StashKey(Generic[T]):
    """A key that only its module knows; two keys are never equal. Make one per value, at import."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name
        """For people, in logs and errors."""

    def __repr__(self) -> str:
        return f"StashKey({self.name!r})"


class Stash:
    """A mapping from `StashKey[T]` to `T`."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[StashKey[Any], object] = {}

    def __setitem__(self, key: StashKey[T], value: T) -> None:
        """`stash[key] = value`."""
        self._values[key] = value

    def __getitem__(self, key: StashKey[T]) -> T:
        """`stash[key]`; `KeyError` if there is none."""
        return cast("T", self._values[key])

    def __contains__(self, key: StashKey[Any]) -> bool:
        """`key in stash`."""
        return key in self._values

    def get(self, key: StashKey[T], default: D) -> T | D:
        """The value of `key`, or `default`."""
        return cast("T | D", self._values.get(key, default))
