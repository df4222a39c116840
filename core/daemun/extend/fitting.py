"""Whether what a plugin registered is what its type says, down to each field; looked at once, at start."""

from __future__ import annotations

import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

__all__ = ["misfit"]


def misfit(thing: Struct) -> str:
    """What is wrong with the first field of `thing` that is not of its type, or ""."""
    hints = _hints(type(thing))
    for field in fields(thing):
        value, kind = getattr(thing, field.name), hints[field.name]
        if not _fits(value, kind):
            return f"{field.name} is {value!r}; accepted: {_words(kind)}"
        if type(value) in (int, float) and field.name.rpartition("_")[2] in ("bytes", "seconds") and value < 0:
            return f"{field.name} is {value!r}; accepted: 0 or more"
    return ""


_hints = functools.cache(typing.get_type_hints)


def _fits(value: Any, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is type:
        return isinstance(value, type) and issubclass(value, arguments)
    if origin is Callable:
        return callable(value) and not inspect.iscoroutine(value)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, arguments[0]) for one in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or kind) if isinstance(origin or kind, type) else True


def _words(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_words, arguments))
    if origin is type:
        return f"a subclass of {arguments[0].__name__}"
    if origin is Callable:
        return "a function"
    if origin is tuple:
        return f"a tuple of {_words(arguments[0])}"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"one of {kind.__name__}: {', '.join(kind.__members__)}"
    return "None" if kind is types.NoneType else getattr(kind, "__name__", str(kind))
