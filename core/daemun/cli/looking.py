"""Commands that look at routes without serving: `routes`, `explain`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import click

from daemun.cli.output import as_json, json_option, settings_file, settings_option, table
from daemun.errors import PluginError
from daemun.exchange import Exchange, Peer
from daemun.extend.loading import load_plugins
from daemun.extend.registry import usable_plugins
from daemun.message import EMPTY, Request
from daemun.process.gateway import open_table
from daemun.process.loop import choose_loop, run_on
from daemun.process.parts import Parts
from daemun.routing.compiled import CompiledRoute
from daemun.routing.match import mismatch
from daemun.routing.spec import HostKind, HostMatch, ObjectStatus, RouteSpec
from daemun.routing.table import Table
from daemun.settings import Settings, load_settings

__all__ = ["explain", "routes", "statuses_of", "with_parts"]

T = TypeVar("T")

_LOSERS = 2


def with_parts(file: str, look: Callable[[Settings, Parts], T], unusable: list[PluginError] | None = None) -> T:
    """What `look` says of what the settings in `file` lead to. Raises `SettingsError` or `PluginError`.

    With `unusable` a plugin that cannot be used is left out, and why is put there.
    """
    path = Path(file)
    settings = load_settings(path)
    of = settings.plugins
    if unusable is None:
        manager = load_plugins(of.block, of.only)
    else:
        registry, faults = usable_plugins(of.block, of.only)
        manager = registry.manager
        unusable += faults
    base_dir = path.resolve().parent

    async def main() -> T:
        async with open_table(settings, manager, base_dir, observed=False) as parts:
            return look(settings, parts)

    return run_on(choose_loop(settings.event_loop), main)


def statuses_of(parts: Parts) -> tuple[ObjectStatus, ...]:
    """What became of every object; a source that has published none is one that is refused."""
    return (*parts.sources.unheard, *parts.table.statuses)


@click.command()
@settings_file
@json_option
def routes(file: str, json_: bool) -> None:
    """Print every object with what became of it.

    Routes are told with the chain that a request of each runs.
    """

    def look(_: Settings, of: Parts) -> tuple[list[CompiledRoute], tuple[ObjectStatus, ...]]:
        return list(of.table.current.routes), statuses_of(of)

    compiled, statuses = with_parts(file, look)
    if json_:
        as_json({"routes": [_as_data(route) for route in compiled], "objects": statuses})
        return
    rows = [
        (route.spec.name, _hosts(route.spec), _path(route.spec), " → ".join(route.chain), route.spec.origin)
        for route in compiled
    ]
    table(rows, ("ROUTE", "HOSTS", "PATH", "CHAIN", "ORIGIN"))
    refused = [status for status in statuses if status.error]
    if refused:
        click.echo()
        table(
            [(status.kind, status.name, status.error, status.origin) for status in refused],
            ("REFUSED", "NAME", "WHY", "ORIGIN"),
        )


@click.command()
@click.argument("method")
@click.argument("url")
@click.option("--header", "-H", "headers", multiple=True, help="A field, `name: value`; repeatable.")
@click.option("--listener", default="", help="Name of the listener that the request comes by.")
@settings_option
@json_option
def explain(method: str, url: str, headers: tuple[str, ...], listener: str, file: str, json_: bool) -> None:
    """Say which route wins for METHOD URL, and why.

    The next two are named with why they lost, and the compiled chain is told in order.
    """
    request = _request(method, url, headers, listener)

    def look(_: Settings, of: Parts) -> tuple[CompiledRoute | None, list[tuple[str, str]]]:
        winner = of.table.current.winner(request)
        return winner, _losers(of.table, winner, request)

    winner, losers = with_parts(file, look)
    if json_:
        as_json(
            {
                "winner": _as_data(winner) if winner is not None else None,
                "lost": [{"route": name, "why": why} for name, why in losers],
            }
        )
    elif winner is None:
        click.secho("no route matches: the answer is 404 no_route", fg="yellow")
    else:
        click.secho(f"{winner.spec.name} wins", bold=True, nl=False)
        click.echo(f"  ({_hosts(winner.spec)} {_path(winner.spec)}, {winner.spec.origin or 'no origin'})")
        for number, step in enumerate(winner.chain, 1):
            click.echo(f"  {number}. {step}")
    if not json_:
        for name, why in losers:
            click.echo(f"{name} lost: {why}")
    sys.exit(0 if winner is not None else 1)


def _request(method: str, url: str, headers: tuple[str, ...], listener: str) -> Request:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError as error:
        raise click.UsageError(f"{url!r} is no URL: {error}") from None
    fields = []
    authority = parts.netloc
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise click.UsageError(f"-H {header!r} is not `name: value`")
        if name.lower() == "host":
            authority = value.strip()
        else:
            fields.append((name.strip().lower().encode(), value.strip().encode()))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    exchange = Exchange(Peer(listener=listener, scheme=parts.scheme))
    return Request(method.upper().encode(), target.encode(), authority.lower().encode(), tuple(fields), EMPTY, exchange)


def _losers(of: Table, winner: CompiledRoute | None, request: Request) -> list[tuple[str, str]]:
    """The routes nearest to winning: those that match and come later first, then those that nearly match."""
    later, other = [], []
    for route in of.current.routes:
        if route is winner:
            continue
        why = mismatch(route.spec, request)
        if why:
            other.append((route.spec.name, why))
        elif winner is not None and winner.spec.priority > route.spec.priority:
            later.append(
                (
                    route.spec.name,
                    f"matches too, at priority {route.spec.priority} below {winner.spec.priority}",
                )
            )
        else:
            later.append((route.spec.name, "matches too, and its source lists it later"))
    return (later + other)[:_LOSERS]


def _as_data(route: CompiledRoute) -> dict[str, object]:
    return {"spec": route.spec, "chain": route.chain}


def _hosts(spec: RouteSpec) -> str:
    return ", ".join(_host(host) for host in spec.hosts)


def _host(match: HostMatch) -> str:
    stars = {HostKind.EXACT: "", HostKind.ONE_LABEL: "*.", HostKind.ANY_DEPTH: "**.", HostKind.ANY: "*"}
    return stars[match.kind] + match.value


def _path(spec: RouteSpec) -> str:
    return f"{spec.path.kind.value} {spec.path.value}"
