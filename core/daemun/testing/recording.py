"""Which hooks were called, of whom, with what, and what they gave."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, NamedTuple, Self

import pluggy

__all__ = ["HookCall", "HookRecorder", "record"]


class HookCall(NamedTuple):
    """One call of one plugin's implementation of a hook."""

    hook: str
    """Name of the hook."""
    plugin: str
    """Name of the plugin."""
    arguments: dict[str, Any]
    """Those that the implementation takes, by name."""
    result: Any
    """What it returned; None if it raised."""
    error: Exception | None
    """What it raised."""


class HookRecorder:
    """Records the calls of hooks of every gateway that helpers of this kit make while it is entered (`with`)."""

    def __init__(self) -> None:
        self.calls: list[HookCall] = []
        """In their order."""

    def watch(self, manager: pluggy.PluginManager) -> None:
        """Records the calls of what is registered with `manager` now."""
        for name in vars(manager.hook):
            if name.startswith("_"):
                continue
            for implementation in getattr(manager.hook, name).get_hookimpls():
                implementation.function = self._recorded(name, implementation)

    def of(self, hook: str, plugin: str = "") -> list[HookCall]:
        """The calls of one hook, of one plugin if it is named."""
        return [call for call in self.calls if call.hook == hook and plugin in ("", call.plugin)]

    def clear(self) -> None:
        """Forgets the calls."""
        self.calls.clear()

    def __enter__(self) -> Self:
        """Records from now on."""
        _entered.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _entered.remove(self)

    def _recorded(self, hook: str, implementation: pluggy.HookImpl) -> Callable[..., Any]:
        function: Callable[..., Any] = implementation.function

        @wraps(function)
        def recorded(*values: Any) -> Any:
            arguments = dict(zip(implementation.argnames, values, strict=True))
            result, failure = None, None
            try:
                result = function(*values)
                return result
            except Exception as error:
                failure = error
                raise
            finally:
                self.calls.append(HookCall(hook, implementation.plugin_name, arguments, result, failure))

        return recorded


_entered: list[HookRecorder] = []


def record(manager: pluggy.PluginManager) -> None:
    """Has every recorder that is entered watch `manager`. Called by helpers that make a gateway."""
    for recorder in _entered:
        recorder.watch(manager)
