"""The gateway in the foreground: runs it, and prints what a person wants to see first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import click
import msgspec

from daemun.errors import SettingsError
from daemun.process.info import GatewayInfo
from daemun.process.run import run_gateway
from daemun.settings import Settings

__all__ = ["print_started", "serve"]


def serve(
    settings: Settings,
    base_dir: Path,
    *,
    json: bool = False,
    complete: bool = False,
    reread: Callable[[], Settings] | None = None,
    develop: Mapping[str, ModuleType | None] | None = None,
) -> None:
    """Serves until a signal ends it (see `run_gateway`). Prints what listens where, as JSON if asked.

    `reread` reads the settings file again, for a reload with several workers; `develop` are plugins that are reloaded
    when they are saved.
    Raises `SettingsError` or `PluginError` if the gateway cannot start, with `complete` also if an object was refused.
    """
    if not settings.listeners:
        raise SettingsError("no listener: nothing would be served", path="$.listeners")
    say = _print_json if json else print_started

    def started(info: GatewayInfo, seconds: float) -> None:
        if complete and info.refused:
            raise SettingsError("not everything can be used; the log above says why")
        say(info, seconds)

    run_gateway(settings, base_dir, started, reread, develop)


def _print_json(info: GatewayInfo, seconds: float) -> None:
    click.echo(msgspec.json.encode(info))


def print_started(info: GatewayInfo, seconds: float) -> None:
    """Start-up output for people: what listens where, with which plugins, how many routes."""
    name = click.style(f"daemun {info.version}", bold=True)
    click.echo(f"{name} on {info.event_loop}, ready in {seconds * 1000:.0f} ms")
    for listener in info.listeners:
        url = click.style(listener.url, fg="green")
        click.echo(f"  {listener.name:<10} {url}  {', '.join(listener.protocols)}")
    if info.workers:
        pids = ", ".join(map(str, info.workers))
        click.echo(f"  {'workers':<10} {len(info.workers)} (pids {pids})")
    click.echo(f"  {'plugins':<10} {', '.join(info.plugins)}")
    objects = "object" if info.refused == 1 else "objects"
    refused = f", {info.refused} {objects} refused (see `daemun check`)" if info.refused else ""
    click.echo(f"  {'routes':<10} {info.routes}{click.style(refused, fg='yellow')}")
