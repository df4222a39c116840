"""Rules of a contract: each is a coroutine function that looks at one thing, and says what it saw.

The first line of its docstring is the rule. A battery is a tuple of such functions; it runs them all and tells of all
that are broken at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import anyio
from msgspec import Struct

from daemun.errors import DaemunError
from daemun.testing.patience import PATIENCE_SECONDS

__all__ = [
    "Breach",
    "BrokenRules",
    "Check",
    "Unseen",
    "cannot_tell",
    "expect",
    "look",
    "rule_of",
    "run_battery",
    "shown",
    "words_of",
]

Check = Callable[[Any], Awaitable[None]]
"""`await check(subject)`: returns if the rule is kept; calls `expect` or `cannot_tell` if not."""


class Breach(Struct, frozen=True):
    """A rule that is broken."""

    check: str
    """Name of the check."""
    rule: str
    """The rule in words."""
    seen: str
    """What was seen."""
    right: str = ""
    """What would be right; "": it follows from the rule."""

    def __str__(self) -> str:
        lines = [f"{self.check}: {self.rule}", f"  seen: {self.seen}"]
        if self.right:
            lines.append(f"  right: {self.right}")
        return "\n".join(lines)


class Unseen(Struct, frozen=True):
    """A rule that could not be looked at."""

    check: str
    """Name of the check."""
    why: str
    """What is missing for it."""


class BrokenRules(AssertionError):
    """What a battery found: `breaches`, all of them."""

    def __init__(self, subject: str, breaches: Sequence[Breach]) -> None:
        self.breaches = tuple(breaches)
        many = "1 rule" if len(breaches) == 1 else f"{len(breaches)} rules"
        super().__init__("\n".join([f"{subject} breaks {many} of its contract", *map(str, breaches)]))


class _Broken(AssertionError):
    def __init__(self, seen: str, right: str) -> None:
        super().__init__(seen)
        self.seen = seen
        self.right = right


class _CannotTell(Exception):
    """A rule cannot be looked at here."""


def expect(condition: object, seen: str, right: str = "") -> None:
    """Breaks the rule unless `condition` holds: `seen` is what was found instead, `right` what would do."""
    if not condition:
        raise _Broken(seen, right)


def cannot_tell(why: str) -> NoReturn:
    """Leaves the rule: it is neither kept nor broken here."""
    raise _CannotTell(why)


def shown(value: object) -> str:
    """`value` in words. A coroutine, of a function that should be none, is closed: nobody awaits it."""
    if inspect.iscoroutine(value):
        value.close()
        return "a coroutine"
    return repr(value)


def rule_of(check: Check) -> str:
    """The rule that `check` looks at, in words."""
    words = (check.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(words.split())


def words_of(error: BaseException) -> str:
    """An exception with the innermost place of its traceback that is not of the batteries."""
    lone = _lone(error)
    trace, where = lone.__traceback__, ""
    own = Path(__file__).parent
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.parent != own:
            where = f" at {file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(lone).__name__}: {lone}{where}"


def _lone(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def look(check: Check, subject: Any) -> Breach | Unseen | None:
    """Runs one check. What it raises besides, and a time of `PATIENCE_SECONDS` that passes, break its rule too."""
    name = getattr(check, "__name__", "check")
    seen, right = "", ""
    with anyio.move_on_after(PATIENCE_SECONDS) as patience:
        try:
            await check(subject)
            return None
        except Exception as raised:
            error = _lone(raised)
            if isinstance(error, _CannotTell):
                return Unseen(name, str(error))
            if isinstance(error, _Broken):
                seen, right = error.seen, error.right
            else:
                seen = ("" if isinstance(error, DaemunError) else "it raised ") + words_of(error)
    if patience.cancelled_caught:
        seen, right = f"it did not come to an end within {PATIENCE_SECONDS:g} s", "an end"
    return Breach(name, rule_of(check), seen, right)


async def run_battery(words: str, checks: Sequence[Check], subject: Any) -> tuple[Unseen, ...]:
    """Runs all `checks` on `subject`, which `words` name. Gives what could not be seen; raises `BrokenRules`."""
    found = [await look(check, subject) for check in checks]
    breaches = [one for one in found if isinstance(one, Breach)]
    if breaches:
        raise BrokenRules(words, breaches)
    return tuple(one for one in found if isinstance(one, Unseen))
