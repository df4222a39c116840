"""The group `daemun soap`. Its commands are imported with the first of them that is asked for."""

from __future__ import annotations

import click

__all__ = ["soap"]


class _Later(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _commands().get(cmd_name)


def _commands() -> dict[str, click.Command]:
    try:
        from daemun_soap.shell import COMMANDS
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"daemun soap needs the module {error.name}, which is not installed (pip install 'daemun[soap]')"
        ) from error
    return COMMANDS


soap = _Later("soap", help="Work with a WSDL, which is a file or a URL.")
