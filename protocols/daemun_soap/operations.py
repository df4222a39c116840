"""Operations as settings name them: by local name, or by qualified name."""

from __future__ import annotations

from collections.abc import Callable

from daemun_soap.names import local_name

__all__ = ["allows"]


def allows(names: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether an operation is among `names`; all are, if there are none. `{}Name` has no namespace."""
    if not names:
        return _anything
    exact = frozenset(name.removeprefix("{}") for name in names if name.startswith("{"))
    local = frozenset(name for name in names if not name.startswith("{"))

    def allowed(operation: str) -> bool:
        return operation in exact or local_name(operation) in local

    return allowed


def _anything(operation: str) -> bool:
    return True
