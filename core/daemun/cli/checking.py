"""`daemun check`: the settings and all that sources read, or what plugins know how to look at."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from daemun.cli.looking import statuses_of, with_parts
from daemun.cli.output import as_json, json_option, settings_file
from daemun.errors import DaemunError, PluginError
from daemun.extend.checks import CheckType, Finding, Severity
from daemun.extend.registry import usable_plugins
from daemun.process.loop import choose_loop, run_on
from daemun.process.parts import Parts
from daemun.routing.spec import ObjectStatus
from daemun.settings import Settings
from daemun.transport.tls import load_files, server_context

__all__ = ["check"]

_LOOKS = {Severity.FINE: ("✓", "green"), Severity.WARNING: ("!", "yellow"), Severity.ERROR: ("✗", "red")}


class _Check(click.Command):
    """Has an option for each check that a plugin brings; a broken plugin takes none of the rest away."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        brought = [
            click.Option([f"--{kind.name}", _parameter(kind)], is_flag=True, help=kind.help) for kind in _checks()
        ]
        params = super().get_params(ctx)
        return [*params[:-1], *brought, *params[-1:]]


def _checks() -> list[CheckType]:
    try:
        return list(usable_plugins()[0].checks)
    except PluginError:
        return []


def _parameter(kind: CheckType) -> str:
    return "check_" + kind.name.replace("-", "_")


@click.command(cls=_Check)
@settings_file
@json_option
def check(file: str, json_: bool, **wanted: bool) -> None:
    """Compile everything and print every fault.

    Each has its place. Exit code 1 if there is one.
    """
    kinds = [kind for kind in _checks() if wanted.get(_parameter(kind))]
    if not kinds:
        sys.exit(_check_settings(file, json_))
    found: list[Finding] = []
    for kind in kinds:
        found += run_on(choose_loop("auto"), kind.run)
    if json_:
        as_json({"findings": found, "errors": _errors(found)})
    else:
        _print(found)
    sys.exit(1 if _errors(found) else 0)


def _check_settings(file: str, json_: bool) -> int:
    unusable: list[PluginError] = []
    try:
        statuses = with_parts(file, lambda settings, of: _statuses(file, settings, of), unusable)
    except DaemunError:
        for error in unusable:
            click.secho(f"daemun: {error}", fg="red", err=True)
        raise
    statuses = (*map(_as_status, unusable), *statuses)
    faults = [status for status in statuses if status.error]
    if json_:
        as_json({"objects": statuses, "faults": len(faults)})
    else:
        for fault in faults:
            click.secho(f"{fault.origin or file}: {fault.kind} {fault.name}: {fault.error}", fg="red")
        words = (
            f"{len(faults)} of {len(statuses)} objects refused"
            if faults
            else f"{len(statuses)} object{'s' * (len(statuses) != 1)}, all good"
        )
        click.echo(f"{file}: {words}")
    return 1 if faults else 0


def _as_status(error: PluginError) -> ObjectStatus:
    return ObjectStatus("plugin", error.plugin, "", str(error).removeprefix(f"plugin {error.plugin}: "))


def _statuses(file: str, settings: Settings, of: Parts) -> tuple[ObjectStatus, ...]:
    base = Path(file).resolve().parent
    for listener in settings.listeners:
        if listener.tls is not None and listener.tls.certificate:
            load_files(server_context(()), base / listener.tls.certificate, base / listener.tls.key)
    return statuses_of(of)


def _print(found: Sequence[Finding]) -> None:
    for one in found:
        mark, colour = _LOOKS[one.severity]
        click.echo(f"{click.style(mark, fg=colour, bold=True)} {one.subject}: {one.words}")
        if one.hint:
            click.echo(f"    {one.hint}")
    errors = _errors(found)
    warnings = sum(one.severity is Severity.WARNING for one in found)
    counts = ((errors, "error"), (warnings, "warning"))
    words = [f"{count} {word}{'s' * (count > 1)}" for count, word in counts if count]
    click.echo(", ".join(words) or "all good")


def _errors(found: Sequence[Any]) -> int:
    return sum(one.severity is Severity.ERROR for one in found)
