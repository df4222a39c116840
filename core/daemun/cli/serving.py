"""Commands that serve: `run` with a settings file, and one-liners that only write the equivalent settings."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import click
import msgspec
import yaml

from daemun.cli.finding import FoundPlugin, find_plugin
from daemun.cli.output import json_option
from daemun.errors import PluginError, SettingsError
from daemun.process.serve import serve
from daemun.settings import Settings, load_settings
from daemun.strict import convert

__all__ = ["file_server", "reverse_proxy", "run"]


@click.command()
@click.argument("file", type=click.Path(dir_okay=False), default="daemun.yaml", envvar="DAEMUN_SETTINGS")
@click.option(
    "--dev",
    "develop",
    multiple=True,
    metavar="PLUGIN",
    help="Reload this plugin's code whenever it is saved: an installed one, a module of the current folder, or a .py "
    "file; repeatable.",
)
@json_option
def run(file: str, develop: tuple[str, ...], json_: bool) -> None:
    """Serve with the settings in FILE (default: daemun.yaml).

    SIGTERM and SIGINT drain, a second one cuts off, SIGHUP reloads the sources. With several workers it also puts
    changed settings into force.
    """
    path = Path(file)
    settings = load_settings(path)
    found: dict[str, ModuleType | None] = {}
    for word in develop:
        plugin = _found(word)
        found[plugin.name] = plugin.module
    if found and settings.workers != 1:
        click.echo(f"workers: {settings.workers} in {file}, and 1 with --dev", err=True)
        settings = msgspec.structs.replace(settings, workers=1)
    serve(settings, path.resolve().parent, json=json_, reread=lambda: load_settings(path), develop=found)


def _found(word: str) -> FoundPlugin:
    """The plugin that `word` stands for. Raises `PluginError`, with the place in the code if that is at fault."""
    try:
        return find_plugin(word)
    except PluginError as error:
        from daemun.process.dev.notice import excerpt_of

        click.echo("".join(f"{line}\n" for line in excerpt_of(error, word)), err=True, nl=False)
        raise


def _listener(listen: str, certificate: str | None, key: str | None) -> dict[str, Any]:
    if (certificate is None) != (key is None):
        raise SettingsError("--tls-cert and --tls-key go together")
    listener: dict[str, Any] = {"name": "http", "bind": listen}
    if certificate is not None:
        listener["tls"] = {
            "certificate": str(Path(certificate).resolve()),
            "key": str(Path(key or "").resolve()),
        }
    return listener


def _one_liner(raw: dict[str, Any], print_settings: bool) -> None:
    if print_settings:
        click.echo(yaml.safe_dump(raw, sort_keys=False), nl=False)
        return
    serve(convert(raw, Settings), Path.cwd(), complete=True)


_listen_option = click.option("--listen", default="127.0.0.1:8080", show_default=True, help="host:port or unix:/path.")
_certificate_option = click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="PEM chain.")
_key_option = click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="PEM key.")
_print_option = click.option("--print-settings", is_flag=True, help="Print the equivalent settings and stop.")


@click.command("reverse-proxy")
@_listen_option
@click.option(
    "--to", "to", multiple=True, required=True, help="http://…, https://…, h2c://… or unix:/path; repeatable."
)
@_certificate_option
@_key_option
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Worker processes.")
@_print_option
def reverse_proxy(
    listen: str,
    to: tuple[str, ...],
    tls_cert: str | None,
    tls_key: str | None,
    workers: int,
    print_settings: bool,
) -> None:
    """Send every request to the given upstreams, in turn."""
    source = {
        "type": "inline",
        "backends": {"upstream": {"endpoints": list(to)}},
        "routes": [{"name": "all", "to": "upstream"}],
    }
    raw: dict[str, Any] = {"listeners": [_listener(listen, tls_cert, tls_key)], "sources": [source]}
    if workers > 1:
        raw["workers"] = workers
    _one_liner(raw, print_settings)


@click.command("file-server")
@_listen_option
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False),
    default=".",
    show_default=True,
    help="The directory.",
)
@_certificate_option
@_key_option
@_print_option
def file_server(listen: str, root: str, tls_cert: str | None, tls_key: str | None, print_settings: bool) -> None:
    """Serve the files of a directory."""
    source = {
        "type": "inline",
        "backends": {"files": {"type": "static", "settings": {"root": str(Path(root).resolve())}}},
        "routes": [{"name": "all", "to": "files"}],
    }
    _one_liner({"listeners": [_listener(listen, tls_cert, tls_key)], "sources": [source]}, print_settings)
