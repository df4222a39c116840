"""`daemun nftables FILE`: the firewall rules that the listeners of a settings file need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path

import click

from daemun import hookimpl, load_settings


def rules(binds: Iterable[str]) -> Iterator[str]:
    """A rule for each port that other machines may reach; loopback, Unix sockets and descriptors need none."""
    for bind in binds:
        host, colon, port = bind.rpartition(":")
        if not colon or host in ("unix", "fd", "systemd") or bind.startswith("unix:") or not port.isdigit():
            continue
        try:
            address = ip_address(host.strip("[]"))
        except ValueError:
            yield f"tcp dport {port} accept comment {host!r}".replace("'", '"')
            continue
        if address.is_loopback:
            continue
        family = "ip6" if address.version == 6 else "ip"
        where = "" if address.is_unspecified else f"{family} daddr {address} "
        yield f"{where}tcp dport {port} accept"


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--table", default="inet filter", show_default=True, help="Family and name of the table.")
@click.option("--chain", default="input", show_default=True, help="Where the rules are added.")
def nftables(file: str, table: str, chain: str) -> None:
    """Print what `nft -f -` reads to let others reach the listeners in FILE."""
    for rule in dict.fromkeys(rules(one.bind for one in load_settings(Path(file)).listeners)):
        click.echo(f"add rule {table} {chain} {rule}")


@hookimpl
def daemun_commands() -> Iterable[click.Command]:
    return [nftables]
