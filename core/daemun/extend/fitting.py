"""Whether what a plugin gives is what was asked for: the list of a hook, each field of a type, the context manager of a
`build`. Looked at when routes are compiled, never for a request."""

from __future__ import annotations

import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

from daemun.errors import PluginError
from daemun.extend.culprit import Thing
from daemun.extend.places import at, raised_at

__all__ = ["given", "listed", "managed", "misfit"]


def listed(function: Callable[..., Any], hook: str, plugin: str, wanted: type[Any], *arguments: Any) -> list[Any]:
    """What `function`, with which `plugin` implements `hook`, returns: things of the type `wanted`. Raises
    `PluginError` if it raised, or returned anything else."""
    accepted = f"accepted: a list of {wanted.__name__}"
    try:
        made = function(*arguments)
        is_list = isinstance(made, Iterable) and not isinstance(made, (str, bytes, types.CoroutineType))
        things = list(made) if is_list else []
    except (Exception, SystemExit) as error:
        where = raised_at(error, function.__module__) or at(function)
        words = f"{hook} failed: {type(error).__name__}: {error}{where}"
        raise PluginError(words, plugin=plugin, code=function) from error
    if not is_list:
        words = f"{hook}{at(function)} returned {given(made)}; {accepted}"
        raise PluginError(words, plugin=plugin, code=function)
    for thing in things:
        if not isinstance(thing, wanted):
            words = f"{hook}{at(function)} returned a list with {given(thing)}; {accepted}"
            raise PluginError(words, plugin=plugin, code=function)
    return things


def managed(thing: Thing, build: Callable[..., Any], *arguments: Any) -> AbstractAsyncContextManager[Any]:
    """What `build` of `thing` gives, to be entered. Raises `PluginError` if that is no async context manager."""
    made = build(*arguments)
    decorated = type(made).__module__ == "contextlib" and hasattr(made, "gen")
    inner = made.gen if decorated else made
    if inspect.isasyncgen(inner) and not decorated:
        wrong, accepted = "has no @asynccontextmanager", ""
    elif inspect.isgenerator(inner):
        wrong, accepted = "is no `async def`", " (@asynccontextmanager above `async def`)"
    elif decorated and not hasattr(inner, "__anext__"):
        wrong, accepted = "yields nothing", " (`yield` where it says `return`)"
    elif not isinstance(made, AbstractAsyncContextManager):
        wrong, accepted = f"gave {given(made)}", " (@asynccontextmanager above a function that yields)"
    else:
        return made
    given(inner)
    words = f"{thing.words}: its build{at(build)} {wrong}; accepted: an async context manager{accepted}"
    raise PluginError(words, plugin=thing.plugin, code=build)


def misfit(thing: Struct) -> str:
    """What is wrong with the first field of `thing` that is not of its type, or ""."""
    hints = _hints(type(thing))
    for field in fields(thing):
        value, kind = getattr(thing, field.name), hints[field.name]
        if not _fits(value, kind):
            words = f"is {value!r}"
            if inspect.isfunction(value):
                words = f"takes ({', '.join(inspect.signature(value).parameters)}){at(value)}"
            return f"{field.name} {words}; accepted: {_words(kind)}"
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
        return callable(value) and _takes(value, arguments[0])
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, arguments[0]) for one in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or kind) if isinstance(origin or kind, type) else True


def _takes(function: Callable[..., Any], arguments: Any) -> bool:
    """Whether `function` can be called with these, one after the other."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True  # it is not known
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _words(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_words, arguments))
    if origin is type:
        return f"a subclass of {arguments[0].__name__}"
    if origin is Callable:
        return f"a function of ({', '.join('settings' if one is Any else _words(one) for one in arguments[0])})"
    if origin is tuple:
        return f"a tuple of {_words(arguments[0])}"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"one of {kind.__name__}: {', '.join(kind.__members__)}"
    return "None" if kind is types.NoneType else getattr(kind, "__name__", str(kind))


def given(made: Any) -> str:
    """What somebody made, in words. A coroutine is closed: nobody will await it."""
    if inspect.iscoroutine(made):
        made.close()
        return "a coroutine"
    if made is None:
        return "None"
    name = type(made).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
