"""`daemun plugin new`: a project to begin a plugin with."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

import click

from daemun.cli.output import as_json, json_option
from daemun.errors import PluginError, SettingsError
from daemun.extend.registry import usable_plugins
from daemun.scaffold.kinds import KINDS, PluginKind, kind_named
from daemun.scaffold.names import ProjectName, check_free, project_name
from daemun.scaffold.project import project_files, write_project

__all__ = ["new", "plugin"]

T = TypeVar("T")


def _read_as(read: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, str], T]:
    """What `read` makes of a word; its error is wrong usage."""

    def convert(ctx: click.Context, param: click.Parameter, value: str) -> T:
        try:
            return read(value)
        except SettingsError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return convert


@click.group()
def plugin() -> None:
    """Make a plugin."""


@plugin.command()
@click.argument("name", callback=_read_as(project_name))
@click.option(
    "--kind",
    "-k",
    default="",
    metavar="KIND",
    callback=_read_as(kind_named),
    help=f"One of {', '.join(kind.name for kind in KINDS)}.",
)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the project, which must be empty if it is there.  [default: daemun-NAME]",
)
@json_option
@click.pass_context
def new(ctx: click.Context, name: ProjectName, kind: PluginKind, into: Path | None, json_: bool) -> None:
    """Make a project for a plugin NAME, to be installed as it is.

    It is complete, typed and tested, and does something small and real; its comments say what to change. Exit code 1 if
    the folder is not empty or the name is taken, and nothing is written then.
    """
    registry, unusable = usable_plugins()
    for fault in unusable:
        click.secho(f"daemun: {fault}", fg="yellow", err=True)
    check_free(name, kind, registry)
    own = ctx.find_root().command
    if kind.name == "command" and isinstance(own, click.Group) and own.get_command(ctx.find_root(), name.plugin):
        raise PluginError(f"`daemun {name.plugin}` is daemun's own: take another name", plugin=name.plugin)
    folder = into or Path(name.project)
    texts = project_files(name, kind)
    write_project(folder, texts)
    steps = [f"cd {shlex.quote(str(folder))}", "python -m pip install --editable '.[dev]'", "pytest"]
    if json_:
        paths = [str(path) for path in texts]
        as_json({**_facts(name, kind), "folder": str(folder), "files": paths, "next": steps})
        return
    click.secho(f"{folder}", bold=True, nl=False)
    click.echo(f": {kind.words} that {kind.does}")
    for line in _tree(texts):
        click.echo(line)
    click.echo("\nnext:")
    for step in steps if folder != Path() else steps[1:]:
        click.echo(f"  {step}")


def _facts(name: ProjectName, kind: PluginKind) -> dict[str, str]:
    return {"name": name.plugin, "kind": kind.name, "module": name.module, "project": name.project}


def _tree(paths: Iterable[PurePosixPath]) -> Iterator[str]:
    """The files, folder by folder."""
    above: tuple[str, ...] = ()
    for path in sorted(paths, key=lambda path: (len(path.parts) > 1, path)):
        folders = path.parent.parts
        for depth, folder in enumerate(folders):
            if above[: depth + 1] != folders[: depth + 1]:
                yield f"{'  ' * (depth + 1)}{folder}/"
        above = folders
        yield f"{'  ' * (len(folders) + 1)}{path.name}"
