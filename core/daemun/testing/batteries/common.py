"""Rules that all kinds have: the name, the settings, the code, and a `build` that leaves nothing behind."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from time import thread_time
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from daemun.errors import SettingsError
from daemun.strict import convert
from daemun.testing.batteries.rules import Check, cannot_tell, expect
from daemun.testing.batteries.subject import Subject
from daemun.testing.batteries.watching import blocking_calls, held, left_behind, turns

__all__ = [
    "BUILT",
    "CODE",
    "NAMED",
    "SETTINGS",
    "build_blocks_nobody",
    "can_be_cancelled_while_it_opens",
    "can_be_opened_again",
    "can_be_opened_twice_at_once",
    "imports_public_names",
    "is_not_bound_to_a_loop",
    "leaves_nothing_behind",
    "name_fits",
    "settings_are_strict",
    "settings_fit",
    "settings_have_a_schema",
    "unknown_keys_are_refused",
]

_NAME = re.compile(r"[a-z][a-z0-9]*([._-][a-z0-9]+)*\Z")
_UNKNOWN = "no_such_key"
_GATEWAY = "daemun"
_FUNCTIONS = ("build", "serve", "connect", "claims", "render", "callback")
_MAX_CPU_SECONDS = 2.0
"""Of one turn of the event loop, while something is opened."""
_CANCELLED_AFTER = (0, 1, 3, 10)
"""Turns of the event loop."""


async def name_fits(subject: Subject) -> None:
    """Its name can stand in settings: lower-case letters, digits, and `-`, `_` or `.` between them."""
    name = subject.thing.name
    expect(isinstance(name, str) and _NAME.match(name), f"the name is {name!r}", "a name such as `rate-limit`")


async def settings_are_strict(subject: Subject) -> None:
    """Its settings, and those inside them, are msgspec Structs with `frozen=True, forbid_unknown_fields=True`."""
    kind = subject.thing.settings
    expect(isinstance(kind, type) and issubclass(kind, msgspec.Struct), f"settings are {kind!r}", "a msgspec Struct")
    for struct in _structs(kind):
        config = struct.__struct_config__
        expect(config.frozen, f"{struct.__name__} can be changed", "class …(Struct, frozen=True, …)")
        expect(
            config.forbid_unknown_fields,
            f"{struct.__name__} takes any key",
            "class …(Struct, frozen=True, forbid_unknown_fields=True)",
        )


def _structs(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """`kind`, and the structs that its fields hold."""
    found: set[type[msgspec.Struct]] = set()

    def visit(info: Any) -> None:
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in found:
                return
            found.add(info.cls)
            for field in info.fields:
                visit(field.type)
            return
        for name in ("type", "item_type", "key_type", "value_type"):
            inner = getattr(info, name, None)
            if isinstance(inner, msgspec.inspect.Type):
                visit(inner)
        for inner in (*getattr(info, "types", ()), *getattr(info, "item_types", ())):
            visit(inner)

    visit(msgspec.inspect.type_info(kind))
    yield from sorted(found, key=lambda struct: struct.__name__)


async def settings_have_a_schema(subject: Subject) -> None:
    """Its settings have a JSON schema, for `daemun schema` and for editors."""
    try:
        msgspec.json.schema(subject.thing.settings)
    except TypeError as error:
        expect(False, str(error), "types that JSON has")


async def settings_fit(subject: Subject) -> None:
    """The settings that it is checked with are such that it takes."""
    expect(not subject.unfit, subject.unfit, "settings that fit, in the argument `settings` or in --daemun-settings")


async def unknown_keys_are_refused(subject: Subject) -> None:
    """A key that it does not know is refused with its path, when settings are decoded."""
    subject.decoded()
    try:
        convert({**subject.settings, _UNKNOWN: 1}, subject.thing.settings)
    except SettingsError as error:
        expect(_UNKNOWN in str(error), str(error), f"an error that names `{_UNKNOWN}`")
    else:
        expect(False, f"`{_UNKNOWN}: 1` was taken", "SettingsError")


async def imports_public_names(subject: Subject) -> None:
    """Of the gateway its code imports names of `daemun` and no submodule: those are what stays."""
    for file, line, words in _imports(_package(subject)):
        expect(False, f"{words} at {file}:{line}", "from daemun import …, with a name of `daemun.__all__`")


async def is_not_bound_to_a_loop(subject: Subject) -> None:
    """Its code imports neither asyncio nor trio, since the gateway runs on both: it has anyio."""
    for file, line, words in _imports(_package(subject), ("asyncio", "trio", "uvloop")):
        expect(False, f"{words} at {file}:{line}", "anyio")


def _package(subject: Subject) -> str:
    """The package that its code is in: of one of its functions, or of a class of its own."""
    things = [subject.thing, *getattr(subject.thing, "commands", {}).values()]
    functions = [getattr(thing, part, None) for thing in things for part in _FUNCTIONS]
    modules = [getattr(one, "__module__", None) or "" for one in (*functions, *map(type, things))]
    packages = [module.partition(".")[0] for module in modules]
    found = next((package for package in packages if package not in ("", "builtins", "click", _GATEWAY)), "")
    if not found:
        cannot_tell("it is made by the gateway itself")
    return found


@functools.cache
def _imports(package: str, banned: tuple[str, ...] = ()) -> tuple[tuple[str, int, str], ...]:
    """Imports that a plugin's package may not have: file, line, words. By default those of the gateway's insides."""
    module: ModuleType | None = sys.modules.get(package)
    file = getattr(module, "__file__", None)
    if file is None:
        return ()
    path = Path(file)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    found: list[tuple[str, int, str]] = []
    for one in files:
        for node in ast.walk(ast.parse(one.read_bytes())):
            for name, words in _imported(node):
                top, _, rest = name.partition(".")
                if top in banned or (not banned and top == _GATEWAY and not _is_public(rest)):
                    found.append((str(one.relative_to(path.parent)), node.lineno, words))  # type: ignore[attr-defined]
    return tuple(found)


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name, f"import {alias.name}"
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
        for alias in node.names:
            yield f"{node.module}.{alias.name}", f"from {node.module} import {alias.name}"


def _is_public(rest: str) -> bool:
    return not rest or rest in sys.modules[_GATEWAY].__all__ or rest.partition(".")[0] == "testing"


async def can_be_opened_again(subject: Subject) -> None:
    """It can be opened again after it was closed."""
    for _ in range(2):
        async with subject.opened():
            await turns()


async def can_be_opened_twice_at_once(subject: Subject) -> None:
    """It can be open twice at once: a reload opens the new one while the old one is drained."""
    async with subject.opened(), subject.opened():
        await turns()


async def leaves_nothing_behind(subject: Subject) -> None:
    """Closing it leaves no task, no descriptor and no thread."""
    async with subject.opened():  # what is made once in a process, and kept
        await turns()
    before = held()
    async with subject.opened():
        await turns()
    await left_behind(before, "it was closed")


async def can_be_cancelled_while_it_opens(subject: Subject) -> None:
    """Opening it can be cancelled at any point, and leaves nothing behind."""
    async with subject.opened():
        await turns()
    before = held()
    for count in _CANCELLED_AFTER:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_open, subject)
            await turns(count)
            tasks.cancel_scope.cancel()
        await left_behind(before, f"its opening was cancelled after {count} turns of the event loop")


async def _open(subject: Subject) -> None:
    async with subject.opened():
        await anyio.sleep_forever()


async def build_blocks_nobody(subject: Subject) -> None:
    """Opening it does not hold up the event loop: what waits or computes long goes through `anyio.to_thread`."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            since = thread_time()
            await anyio.lowlevel.checkpoint()
            longest = max(longest, thread_time() - since)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        with blocking_calls() as found:
            async with subject.opened():
                await turns(2)
        tasks.cancel_scope.cancel()
    expect(not found, f"it waits in {', '.join(found[:3])}", "anyio's own calls, or anyio.to_thread.run_sync")
    expect(
        longest <= _MAX_CPU_SECONDS,
        f"one turn of the event loop took {longest:.1f} s of CPU",
        "long computations in anyio.to_thread.run_sync",
    )


NAMED: tuple[Check, ...] = (name_fits,)
CODE: tuple[Check, ...] = (imports_public_names, is_not_bound_to_a_loop)
SETTINGS: tuple[Check, ...] = (settings_are_strict, settings_have_a_schema, unknown_keys_are_refused, settings_fit)
BUILT: tuple[Check, ...] = (
    can_be_opened_again,
    can_be_opened_twice_at_once,
    can_be_cancelled_while_it_opens,
    leaves_nothing_behind,
    build_blocks_nobody,
)
"""Of things whose `build` is a context manager."""
