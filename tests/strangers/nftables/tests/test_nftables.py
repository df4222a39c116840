"""Rules for what others may reach, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import daemun_nftables
import pytest
from click.testing import CliRunner

from daemun.testing.batteries import check_command


@pytest.mark.parametrize(
    ("bind", "rules"),
    [
        ("0.0.0.0:80", ["tcp dport 80 accept"]),
        ("[::]:443", ["tcp dport 443 accept"]),
        ("10.0.0.1:80", ["ip daddr 10.0.0.1 tcp dport 80 accept"]),
        ("[fd00::1]:80", ["ip6 daddr fd00::1 tcp dport 80 accept"]),
        ("gate.test:80", ['tcp dport 80 accept comment "gate.test"']),
        ("127.0.0.1:80", []),
        ("[::1]:80", []),
        ("unix:/run/d.sock", []),
        ("fd:3", []),
    ],
)
def test_who_can_be_reached_has_a_rule(bind: str, rules: list[str]) -> None:
    assert list(daemun_nftables.rules([bind])) == rules


def test_the_command_prints_what_nft_reads(tmp_path: Path) -> None:
    file = tmp_path / "daemun.yaml"
    listeners = "[{name: a, bind: '0.0.0.0:80'}, {name: b, bind: '[::]:80'}, {name: c, bind: '127.0.0.1:1'}]"
    file.write_text(f"listeners: {listeners}\n")
    result = CliRunner().invoke(daemun_nftables.nftables, [str(file), "--table", "ip mine"])
    assert (result.exit_code, result.output) == (0, "add rule ip mine input tcp dport 80 accept\n")


@pytest.mark.anyio
async def test_it_keeps_the_contract_of_commands() -> None:
    await check_command(daemun_nftables.nftables)
