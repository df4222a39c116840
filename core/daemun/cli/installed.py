"""`plugins`: what is installed, what it brings, how it fails, and what it costs a request."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from daemun.cli.costing import folder_of, read_things, things_option
from daemun.cli.output import as_json, bar, json_option, muted, table
from daemun.errors import DaemunError, PluginError, SettingsError
from daemun.extend.failure import DisableAfter
from daemun.extend.loading import deprecated_hooks, installed
from daemun.extend.registry import usable_plugins
from daemun.extend.types import FilterType, MatcherType
from daemun.process.loop import choose_loop, run_on

if TYPE_CHECKING:
    from daemun.testing.costs import Part, Report

__all__ = ["plugins"]

_SECONDS_EACH = 0.5
_HEAD = ("PLUGIN", "VERSION", "MODULE", "HOOKS", "BRINGS", "PHASE", "CONTENT", "FAILURE", "COST")


class _Thing(Struct):
    """What a plugin brings."""

    kind: str
    name: str
    phase: str = ""
    """Where a filter stands in a route's chain."""
    content: str = ""
    """What it needs of a request's content."""
    failure: str = ""
    """What its exceptions mean."""
    cost: str = ""
    """CPU that it adds to one request; "–": it never runs for one."""
    why: str = ""
    """Why there is no figure, where there should be one."""


class _Row(Struct):
    """One plugin."""

    name: str
    version: str
    module: str
    hooks: list[str]
    things: list[_Thing]
    deprecated: list[str]
    """Hooks of it that are to go, each with what to use instead."""


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--cost", is_flag=True, help="Measure what each adds to a request (half a second for each plugin).")
@things_option
@json_option
def plugins(names: tuple[str, ...], cost: bool, file: str | None, json_: bool) -> None:
    """List the installed plugins, or those that are named.

    Each has its version, its hooks and what it brings. Of filters also their phase, what they need of the content, and
    what their failures mean. With --cost, --settings has those of what cannot do without. Exit code 1 if one of them
    cannot be used, with why.
    """
    if file is not None and not cost:
        raise click.UsageError("--settings is for --cost")
    settings = read_things(file)
    registry, unusable = usable_plugins()
    manager, points = registry.manager, installed()
    known = dict(manager.list_name_plugin())
    unknown = sorted(set(names) - set(points))
    if unknown:
        raise PluginError(f"not installed; installed are: {', '.join(sorted(points))}", plugin=unknown[0])
    faults = [fault for fault in unusable if not names or fault.plugin in names]
    for fault in faults:
        click.secho(f"daemun: {fault}", fg="red", err=True)
    rows = []
    for name, plugin in sorted(known.items()):
        if names and name not in names:
            continue
        point = points.get(name)
        rows.append(
            _Row(
                name,
                point.dist.version if point is not None and point.dist is not None else "",
                point.value if point is not None else "",
                sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()),
                [_thing(word, one) for word, things in registry.brings(name).items() for one in things],
                deprecated_hooks(manager, plugin),
            )
        )
    if settings:
        _check_known(settings, rows, file)
    if cost:
        _measure(rows, settings, folder_of(file))
    if json_:
        as_json(rows)
        sys.exit(1 if faults else 0)
    head = _HEAD if cost else _HEAD[:-1]
    table([line[: len(head)] for row in rows for line in _lines(row)], head)
    for row in rows:
        for words in row.deprecated:
            click.secho(f"{row.name}: {words}", fg="yellow")
        for thing in row.things:
            if thing.why:
                click.secho(f"{row.name}: {thing.kind} {thing.name}: not measured: {thing.why}", fg="yellow")
    sys.exit(1 if faults else 0)


def _thing(word: str, one: Any) -> _Thing:
    thing = _Thing(word, one.name)
    if isinstance(one, FilterType):
        thing.phase = one.phase.name.lower()
        thing.content = f"in memory, ≤ {_size(one.buffer_bytes)}" if one.buffer_bytes else "as it comes"
        thing.failure = _policy(one.failure)
    elif isinstance(one, MatcherType):
        thing.content = f"the first {_size(one.peek_bytes)}"
    return thing


def _policy(policy: Any) -> str:
    if isinstance(policy, DisableAfter):
        return f"left out after {policy.faults} in {policy.within_seconds:g} s"
    words: str = policy.value
    return words


def _size(count: int) -> str:
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} B"


def _lines(row: _Row) -> Iterator[tuple[str, ...]]:
    first = (row.name, row.version, row.module)
    for hook, thing in zip_longest(row.hooks or [""], row.things):
        of = thing or _Thing("", "")
        yield (*first, hook or "", f"{of.kind} {of.name}".strip(), of.phase, of.content, of.failure, of.cost)
        first = ("", "", "")


def _check_known(settings: Mapping[str, Any], rows: Sequence[_Row], file: str | None) -> None:
    from daemun.testing.costs import settings_keys

    known = {key for row in rows for key in settings_keys(map(_named, row.things)).values()}
    for key in settings:
        if key not in known:
            accepted = ", ".join(sorted(known)) or "none, for nothing here has any"
            raise SettingsError(f"settings for {key!r}, which nobody brings (accepted: {accepted})", file=file or "")


def _named(thing: _Thing) -> tuple[str, str]:
    return thing.kind, thing.name


def _measure(rows: Sequence[_Row], settings: Mapping[str, dict[str, Any]], base_dir: Path) -> None:
    """Fills in what each thing costs. A plugin that cannot be measured says why, and the others are measured."""
    from daemun.testing.costs import cost_of, settings_keys

    with bar("measuring") as progress, muted():
        for number, row in enumerate(rows):
            keys = settings_keys(map(_named, row.things)).values()
            given = {key: settings[key] for key in keys if key in settings}

            async def main(name: str = row.name, given: Mapping[str, Any] = given) -> Report:
                return await cost_of(name, settings=given, seconds=_SECONDS_EACH, base_dir=base_dir)

            try:
                report = run_on(choose_loop("auto"), main)
            except DaemunError as error:
                for thing in row.things:
                    thing.why = str(error)
            else:
                _fill(row, report)
            progress((number + 1) / len(rows))


def _fill(row: _Row, report: Report) -> None:
    figures = {part.what: _figure(part) for part in report.parts}
    never = {one.what for one in report.not_measured if not one.fault}
    whys = {one.what: one.why for one in report.not_measured if one.fault}
    dialects = next((words for what, words in figures.items() if what.startswith("dialect ")), "")  # all at once
    for thing in row.things:
        what = f"{thing.kind} {thing.name}"
        thing.cost = figures.get(what) or ("–" if what in never else dialects if thing.kind == "dialect" else "")
        thing.why = whys.get(what, "")


def _figure(part: Part) -> str:
    cpu = part.cost.cpu
    return f"{cpu.ns / 1000:+.2f} ± {cpu.error_ns / 1000:.2f} µs"
