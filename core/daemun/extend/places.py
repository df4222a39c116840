"""Where in a plugin's code something stands, for the words of an error."""

from __future__ import annotations

import functools
import inspect
import traceback
from typing import Any

__all__ = ["at", "definition", "raised_at"]


def definition(function: object) -> tuple[str, int] | None:
    """File and line of the `def` of a function, whatever is wrapped around it; None if it has none."""
    while isinstance(function, functools.partial):
        function = function.func
    inner: Any = inspect.unwrap(function) if callable(function) else None
    code = getattr(inner, "__code__", None)
    return (code.co_filename, code.co_firstlineno + _decorators(inner)) if code is not None else None


def _decorators(function: Any) -> int:
    """Lines between the first decorator of a function and its `def`."""
    try:
        lines, _ = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return 0
    return next((number for number, line in enumerate(lines) if line.lstrip().startswith(("def ", "async def "))), 0)


def at(function: object) -> str:
    """` at FILE:LINE` of the function, for the end of words; "" if it has none."""
    found = definition(function)
    return f" at {found[0]}:{found[1]}" if found is not None else ""


def raised_at(error: BaseException, module: str) -> str:
    """` at FILE:LINE`: where in the package of `module` the error was raised; "" if it was not."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {error.filename}:{error.lineno}"
    package = module.partition(".")[0]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            return f" at {frame.f_code.co_filename}:{line}"
    return ""
