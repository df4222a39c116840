"""From `module:attribute` to what it names: imported beside the event loop, with errors that say what is there."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from difflib import get_close_matches
from os.path import realpath
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from anyio import to_thread

from daemun import SettingsError

__all__ = ["Callee", "loaded"]

Callee = Any
"""Something that can be called: an application, a middleware's class, a factory."""

_lock = Lock()
_held: dict[str, int] = {}
"""Folders on `sys.path` because of us, and for how many."""


@asynccontextmanager
async def loaded(name: str, folder: Path, *, key: str, factory: bool = False) -> AsyncIterator[Callee]:
    """What `name` (`module:attribute`) stands for; modules are found in `folder` too, as long as the context is open.

    `key` is the setting that it comes from. Raises `SettingsError` that says what was looked at.
    """
    path = str(folder)
    if not await to_thread.run_sync(folder.is_dir):
        raise SettingsError(f"{path} is no folder; accepted: one that holds the module", path="$.app_dir")
    _hold(path)
    try:
        yield await to_thread.run_sync(_load, name, path, key, factory)
    finally:
        _let_go(path)


def _hold(path: str) -> None:
    with _lock:
        _held[path] = _held.get(path, 0) + 1
        if _held[path] == 1:
            if path in sys.path:
                _held[path] += 1  # it is somebody else's, and stays
            else:
                sys.path.append(path)  # at the end: nothing of the gateway is found there instead


def _let_go(path: str) -> None:
    with _lock:
        _held[path] -= 1
        if not _held[path]:
            del _held[path]
            sys.path.remove(path)


def _load(name: str, folder: str, key: str, factory: bool) -> Callee:
    where = f"$.{key}"
    module_name, _, attributes = name.partition(":")
    importlib.invalidate_caches()
    module = _import(module_name, folder, where)
    found: Any = module
    for depth, attribute in enumerate(attributes.split(".")):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            owner = ".".join([module_name, *attributes.split(".")[:depth]])
            raise SettingsError(
                f"{owner} ({_file(module)}) has no attribute {attribute!r}{_near(attribute, found)}", path=where
            ) from None
    if not callable(found):
        raise SettingsError(f"{name} is a {type(found).__name__}; accepted: something that can be called", path=where)
    if factory:
        try:
            found = found()
        except BaseException as error:
            raise SettingsError(f"the factory {name} raised {_words(error)}", path=where) from error
        if not callable(found):
            words = f"the factory {name} returned a {type(found).__name__}; accepted: an application"
            raise SettingsError(words, path=where)
    return found


def _import(name: str, folder: str, where: str) -> ModuleType:
    top = name.partition(".")[0]
    found = importlib.machinery.PathFinder.find_spec(top, [folder])
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise SettingsError(
                f"there is no module {error.name!r}; accepted: one in {folder}, or one that is installed", path=where
            ) from None
        raise SettingsError(f"the import of {name} raised {_words(error)}", path=where) from error
    except BaseException as error:
        raise SettingsError(f"the import of {name} raised {_words(error)}", path=where) from error
    loaded_from = _file(sys.modules[top])
    if found is not None and found.origin and realpath(loaded_from) != realpath(found.origin):
        words = f"the module {top!r} is already there from {loaded_from}, and {found.origin} cannot be loaded beside it"
        raise SettingsError(f"{words}; accepted: another name for one of them", path=where)
    return module


def _near(attribute: str, owner: Any) -> str:
    near = get_close_matches(attribute, dir(owner), 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    held = getattr(owner, "__dict__", {})
    names = [name for name, value in held.items() if callable(value) and not name.startswith("_")]
    return f"; accepted: {', '.join(sorted(names)[:10]) or 'nothing in it can be called'}"


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "built in"


def _words(error: BaseException) -> str:
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith("<frozen")]
    last = frames[-1]
    file, line = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (last.filename, last.lineno)
    return f"{type(error).__name__}: {error} ({file}:{line})"
