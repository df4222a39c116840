"""`daemun demo`: a Knative Service that runs from zero, out of the installed package."""

from __future__ import annotations

from importlib.resources import as_file, files

import click

from daemun import load_settings, serve

__all__ = ["demo"]


@click.command()
@click.option("--print-settings", is_flag=True, help="Print the settings of the demo and stop.")
def demo(print_settings: bool) -> None:
    """Serve a hello-world Knative Service, from zero.

    It starts with the first request and stops a minute after the last.

    Try: curl -H "Host: helloworld-go.default.example.com" http://127.0.0.1:8080
    """
    with as_file(files("daemun_knative.services") / "demo") as folder:
        file = folder / "daemun.yaml"
        if print_settings:
            click.echo(file.read_text(), nl=False)
            return
        serve(load_settings(file), folder)
