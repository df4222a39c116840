"""The group `daemun`: our commands, and those that plugins bring."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import click

from daemun.cli import building, checking, costing, installed, knowing, looking, scaffolding, serving, units
from daemun.cli.output import fault_of
from daemun.errors import DaemunError, PluginError
from daemun.extend.registry import usable_plugins
from daemun.process.log import set_up_log

__all__ = ["main"]

_OWN = (
    serving.run,
    serving.reverse_proxy,
    serving.file_server,
    checking.check,
    looking.routes,
    looking.explain,
    installed.plugins,
    knowing.hooks,
    knowing.schema,
    costing.bench,
    scaffolding.plugin,
    building.build,
    units.systemd_unit,
)


class _Commands(click.Group):
    """Asks plugins for commands only when a name is none of ours, so that a broken plugin breaks no other command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._brought()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or self._brought().get(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; an error of ours is one line, and exit code 1."""
        try:
            return super().invoke(ctx)
        except (DaemunError, BaseExceptionGroup) as error:
            fault = fault_of(error)
            if fault is None:
                raise
            click.secho(f"daemun: {fault}", fg="red", err=True)
            ctx.exit(1)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except Exception as error:
            culprit = usable_plugins()[0].blame.of(error)
            if not culprit.plugin:
                raise
            click.secho(f"daemun: the command failed: {culprit} raised {error!r}", fg="red", err=True)
            ctx.exit(1)

    def _brought(self) -> dict[str, click.Command]:
        registry, faults = usable_plugins()
        for fault in faults:
            click.secho(f"daemun: {fault}", fg="red", err=True)
        commands = {command.name: command for command in registry.commands if command.name}
        for name in sorted(commands.keys() & self.commands.keys()):
            fault = PluginError(f"command {name!r} is daemun's own", plugin=registry.commands.items()[name])
            click.secho(f"daemun: {fault}", fg="red", err=True)
            del commands[name]
        return commands


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("daemun"), message="daemun %(version)s")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much is logged to standard error.",
)
def main(log_level: str) -> None:
    """daemun: a gateway made of plugins.

    Exit codes: 0 it worked, 1 a fault in settings, plugins or objects, 2 wrong usage.
    """
    set_up_log(log_level)


for command in _OWN:
    main.add_command(command)
