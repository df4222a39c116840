"""Commands that tell what there is: `hooks`, `schema`; `plugins` has a file of its own."""

from __future__ import annotations

import inspect

import click
import msgspec

from daemun import hookspecs
from daemun.cli.output import as_json, json_option
from daemun.extend.loading import load_plugins
from daemun.extend.registry import Registry
from daemun.settings import Settings

__all__ = ["hooks", "schema"]

_WITHOUT = ("dialect", "command", "check")
"""Kinds that have no settings."""


@click.command()
@json_option
def hooks(json_: bool) -> None:
    """List every hook, and who implements it."""
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
    """Print the JSON schema of the settings file.

    What each plugin takes in it is part of it.
    """
    registry = Registry(load_plugins())
    words = {f"{word.replace(' ', '_')}s": kind for word, kind in registry.kinds.items() if word not in _WITHOUT}
    document = msgspec.json.schema(Settings)
    document["x-daemun-plugins"] = {
        word: {thing.name: msgspec.json.schema(thing.settings) for thing in kind} for word, kind in words.items()
    }
    as_json(document)
