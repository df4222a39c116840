"""Checks of what is around a gateway, which plugins add to `daemun check`."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

__all__ = ["CheckType", "Finding", "Severity"]


class Severity(enum.Enum):
    """How bad a finding is."""

    FINE = "fine"
    """As it should be."""
    WARNING = "warning"
    """It works now, and will not for long, or not for all."""
    ERROR = "error"
    """Something does not work; the exit code is 1."""


class Finding(Struct, frozen=True):
    """What a check saw of one thing."""

    severity: Severity
    """How bad it is."""
    subject: str
    """The thing: `Deployment daemun-system/daemun`."""
    words: str
    """What is so, in plain words."""
    hint: str = ""
    """What can be done about it; "": nothing, or it is plain."""


class CheckType(Struct, frozen=True):
    """A check that `daemun check --NAME` runs, in the place of compiling the settings."""

    name: str
    """Lower-case words with `-` between them: the option."""
    help: str
    """One line for `daemun check --help`."""
    run: Callable[[], Awaitable[Sequence[Finding]]]
    """Looks at everything that it knows of and says what it saw; it has its own time limits. A `DaemunError` says why
    it cannot look at all."""
