"""Commands that tell what there is: `plugins`, `hooks`, `schema`."""

from __future__ import annotations

import inspect
from typing import Any

import click
import msgspec

from daemun import hookspecs
from daemun.cli.output import as_json, json_option, table
from daemun.extend.loading import installed, load_plugins
from daemun.extend.registry import Kind, Registry
from daemun.settings import Settings

__all__ = ["hooks", "plugins", "schema"]


@click.command()
@json_option
def plugins(json_: bool) -> None:
    """List the installed plugins with version, hooks and what they bring."""
    manager = load_plugins()
    registry = Registry(manager)
    points = installed()
    rows = []
    for name, plugin in sorted(manager.list_name_plugin()):
        point = points.get(name)
        rows.append(
            {
                "name": name,
                "version": point.dist.version if point is not None and point.dist is not None else "",
                "module": point.value if point is not None else "",
                "hooks": [caller.name for caller in manager.get_hookcallers(plugin) or ()],
                "brings": _brings(registry, name),
            }
        )
    if json_:
        as_json(rows)
        return
    table(
        [(row["name"], row["version"], row["module"], "; ".join(row["brings"])) for row in rows],  # type: ignore[misc]
        ("PLUGIN", "VERSION", "MODULE", "BRINGS"),
    )


def _brings(registry: Registry, plugin: str) -> list[str]:
    kinds: dict[str, Kind[Any]] = {
        "protocol": registry.protocols,
        "dialect": registry.dialects,
        "source": registry.sources,
        "matcher": registry.matchers,
        "filter": registry.filters,
        "backend": registry.backends,
        "balancer": registry.balancers,
        "activator": registry.activators,
        "observer": registry.observers,
        "health check": registry.health_checks,
        "command": registry.commands,
        "check": registry.checks,
    }
    return [f"{word} {name}" for word, kind in kinds.items() for name, owner in kind.items().items() if owner == plugin]


@click.command()
@json_option
def hooks(json_: bool) -> None:
    """List every hook with its signature and who implements it."""
    manager = load_plugins()
    rows = []
    for name, spec in vars(hookspecs).items():
        if name.startswith("daemun_"):
            by = [implementation.plugin_name for implementation in getattr(manager.hook, name).get_hookimpls()]
            rows.append(
                (name, f"{name}{inspect.signature(spec)}".replace("'", ""), inspect.getdoc(spec) or "", sorted(by))
            )
    if json_:
        as_json([{"name": n, "signature": s, "doc": d, "plugins": by} for n, s, d, by in rows])
        return
    for _, signature, doc, by in rows:
        click.secho(signature, bold=True)
        click.echo(f"    {doc.splitlines()[0]}")
        click.echo(f"    implemented by: {', '.join(by) or 'no plugin'}")


@click.command()
def schema() -> None:
    """Print the JSON schema of the settings file, and of what each plugin takes in it."""
    registry = Registry(load_plugins())
    kinds: dict[str, Any] = {
        "sources": registry.sources,
        "matchers": registry.matchers,
        "filters": registry.filters,
        "backends": registry.backends,
        "balancers": registry.balancers,
        "activators": registry.activators,
        "observers": registry.observers,
        "health_checks": registry.health_checks,
        "protocols": registry.protocols,
    }
    document = msgspec.json.schema(Settings)
    document["x-daemun-plugins"] = {
        word: {thing.name: msgspec.json.schema(thing.settings) for thing in kind} for word, kind in kinds.items()
    }
    as_json(document)
