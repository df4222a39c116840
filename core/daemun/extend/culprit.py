"""Who is to blame for a fault: the plugin, the thing that it brought, and the line of its code."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import CodeType, FrameType, TracebackType
from typing import Any

from msgspec import Struct

from daemun.errors import DaemunError, ExchangeError, PluginError, lone

__all__ = ["Blame", "ContractError", "Culprit", "Thing", "frames_of"]

_CORE = "daemun"
_LOOPS = frozenset(("asyncio", "uvloop", "anyio", "trio", "sniffio", "outcome"))


class Thing(Struct, frozen=True):
    """What a plugin brought, as a route uses it."""

    words: str
    """`filter knock`."""
    plugin: str


class Culprit(Struct, frozen=True):
    """Who it was, as far as it is known."""

    plugin: str
    """Its name; "" where several may have been it, or none was."""
    words: str
    """For a log: `plugin knock (filter knock)`."""
    place: str = ""
    """`file:line`, or ""."""

    def __str__(self) -> str:
        return f"{self.words} at {self.place}" if self.place else self.words


class ContractError(DaemunError):
    """What a plugin gave is not what its contract allows; `giver` is the object of the plugin that gave it."""

    def __init__(self, message: str, giver: object) -> None:
        self.giver = giver
        super().__init__(message)


class Blame:
    """Knows whose code a frame, an exception or an object is."""

    def __init__(
        self,
        packages: Mapping[str, Collection[str]] = {},
        ours: Iterable[str] = (),
    ) -> None:
        """`packages` are plugins by the package that their code is in; `ours` those that no fault of another passes as
        its own: wire protocols, which handle what all others make."""
        self._packages = dict(packages)
        self._ours = frozenset(ours)

    def plugin(self, module: str, things: Sequence[Thing] = ()) -> str:
        """The plugin that the code of `module` belongs to, or "". Where it is the code of several, those that have a
        part in `things`."""
        while module:
            found = self._packages.get(module)
            if found is not None:
                part = {thing.plugin for thing in things}.intersection(found) if len(found) > 1 else ()
                return " or ".join(sorted(part or found))
            module = module.rpartition(".")[0]
        return ""

    def is_ours(self, module: str) -> bool:
        """Whether `module` is of the core, of an event loop, or of a wire protocol."""
        package = module.partition(".")[0]
        plugin = self.plugin(module)
        return plugin in self._ours if plugin else package == _CORE or package in _LOOPS

    def in_frames(self, frames: Iterable[FrameType]) -> tuple[Culprit, FrameType] | None:
        """The first of `frames`, innermost first, that is a plugin's and none of a wire protocol."""
        for frame in frames:
            plugin = self.plugin(_module(frame))
            if plugin and plugin not in self._ours:
                return Culprit(plugin, f"plugin {plugin}", _place(frame, frame.f_lineno)), frame
        return None

    def standing_in(self, code: CodeType | None, stacks: Iterable[Sequence[FrameType]]) -> str:
        """The plugins in whose code tasks stand that run `code` (None: all tasks), in words; `stacks` are the frames of
        all tasks, each innermost first."""
        found = []
        for stack in stacks:
            if code is None or any(frame.f_code is code for frame in stack):
                one = self.in_frames(stack)
                if one is not None:
                    found.append(str(one[0]))
        return (
            ", ".join(
                f"{words} ({found.count(words)} times)" if found.count(words) > 1 else words
                for words in dict.fromkeys(found)
            )
            or "no plugin"
        )

    def of_object(self, giver: object) -> Culprit | None:
        """The plugin whose code defines `giver`, a function or an instance."""
        while isinstance(giver, partial):
            giver = giver.func
        module = getattr(giver, "__module__", None) or type(giver).__module__
        plugin = self.plugin(module)
        return Culprit(plugin, f"plugin {plugin}") if plugin and plugin not in self._ours else None

    def described(self, culprit: Culprit, things: Sequence[Thing]) -> Culprit:
        """`culprit` with those of `things` that it brought."""
        return Culprit(culprit.plugin, _plugin_words(culprit.plugin, things), culprit.place)

    def of(self, error: BaseException, things: Sequence[Thing] = (), giver: object = None) -> Culprit:
        """Who is to blame for `error`: the plugin that raised it, or that called what did.

        Where code of ours raised it, since it was given what it cannot use: who brought `giver`; else the only one of
        `things` that may have, or all of them.
        """
        error = lone(error)
        if isinstance(error, ExchangeError) and error.__cause__ is not None:
            error = lone(error.__cause__)
        named = error.plugin if isinstance(error, PluginError) else ""
        found, place, nobody = "", "", ""
        for frame, line in reversed(list(_walk(error.__traceback__))):
            module = _module(frame)
            plugin = self.plugin(module, things)
            if named:
                if plugin == named:
                    found, place = named, _place(frame, line)
                    break
            elif self.is_ours(module):
                break
            elif plugin:
                found, place = plugin, _place(frame, line)
                break
            nobody = nobody or f"{module} at {_place(frame, line)}"
        found = found or named
        if not found:
            by_object = self.of_object(error.giver if isinstance(error, ContractError) else giver)
            if by_object is None:
                return _one_of(things) or Culprit("", nobody or _raised_in(error))
            found = by_object.plugin
        return Culprit(found, _plugin_words(found, things), place)


def frames_of(frame: FrameType | None) -> Iterator[FrameType]:
    """`frame` and those that called it, innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _one_of(things: Sequence[Thing]) -> Culprit | None:
    """All who may have been it, once each."""
    plugins = list(dict.fromkeys(thing.plugin for thing in things))
    if not plugins:
        return None
    words = " or ".join(_plugin_words(plugin, things) for plugin in plugins)
    return Culprit(plugins[0] if len(plugins) == 1 else "", words)


def _plugin_words(plugin: str, things: Sequence[Thing]) -> str:
    brought = ", ".join(dict.fromkeys(thing.words for thing in things if thing.plugin == plugin))
    return f"plugin {plugin} ({brought})" if brought else f"plugin {plugin}"


def _walk(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _raised_in(error: BaseException) -> str:
    frames = list(_walk(error.__traceback__))
    return f"{_module(frames[-1][0])} at {_place(*frames[-1])}" if frames else "?"


def _module(frame: FrameType) -> str:
    name: Any = frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""


def _place(frame: FrameType, line: int | None) -> str:
    return f"{frame.f_code.co_filename}:{line}"
