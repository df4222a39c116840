"""The battery for filters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemun.extend.failure import DisableAfter, FailurePolicy
from daemun.extend.types import FilterContext, FilterType, Phase
from daemun.headers import Headers
from daemun.testing.batteries.common import BUILT, CODE, NAMED, SETTINGS
from daemun.testing.batteries.layers import LAYERED
from daemun.testing.batteries.rules import Check, Unseen, expect, run_battery
from daemun.testing.batteries.subject import Subject

__all__ = ["FILTER", "check_filter", "declares_its_place", "filter_subject"]


async def declares_its_place(subject: Subject) -> None:
    """It declares a phase, what it comes before and after, what it wants in memory, and what its failure means."""
    kind: FilterType = subject.thing
    expect(isinstance(kind.phase, Phase), f"phase is {kind.phase!r}", "one of Phase")
    for field in ("before", "after"):
        names = getattr(kind, field)
        expect(
            isinstance(names, tuple)
            and all(isinstance(name, str) and name for name in names)
            and kind.name not in names,
            f"{field} is {names!r}",
            "a tuple of names of other filters",
        )
    size = kind.buffer_bytes
    expect(isinstance(size, int) and size >= 0, f"buffer_bytes is {size!r}", "bytes, or 0")
    failure = kind.failure
    expect(
        isinstance(failure, (FailurePolicy, DisableAfter)), f"failure is {failure!r}", "FailurePolicy or DisableAfter"
    )


FILTER: tuple[Check, ...] = (*NAMED, *SETTINGS, *CODE, declares_its_place, *BUILT, *LAYERED)
"""What `check_filter` looks at."""


def filter_subject(
    kind: FilterType,
    settings: Mapping[str, Any] | None = None,
    *,
    headers: Headers = (),
    target: bytes = b"/",
    base_dir: Path | None = None,
) -> Subject:
    """What its checks look at."""

    def context(name: str, folder: Path, process: Any) -> FilterContext:
        return FilterContext(name, folder, process, route="checked" if kind.per_route else "")

    return Subject(
        "filter", kind, settings, context=context, headers=headers, target=target, base_dir=base_dir, varied=True
    )


async def check_filter(
    kind: FilterType,
    settings: Mapping[str, Any] | None = None,
    *,
    headers: Headers = (),
    target: bytes = b"/",
    base_dir: Path | None = None,
) -> tuple[Unseen, ...]:
    """Checks a filter with `settings`. `headers` are those of requests that it lets pass.

    Gives the rules that could not be looked at. Raises `BrokenRules`, an `AssertionError` with all that are broken.
    """
    subject = filter_subject(kind, settings, headers=headers, target=target, base_dir=base_dir)
    return await run_battery(subject.words, FILTER, subject)
