"""A process is started once, told where to listen, and published as soon as it answers."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from daemun import ExchangeError, Reason

if TYPE_CHECKING:
    from tests.plugins.process.conftest import Kit

pytestmark = pytest.mark.anyio

HTTP = {"kind": "http"}


async def test_all_who_wait_share_one_process(kit: Kit) -> None:
    async with kit.open() as activator:
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(activator.activate)
        assert len(kit.pids()) == 1
        assert (await kit.ask(kit.only))["pid"] == kit.pids()[0]
    assert not kit.alive()
    assert kit.endpoints.ready == ()


@pytest.mark.parametrize("readiness", [{}, HTTP], ids=["tcp", "http"])
async def test_a_slow_start_is_waited_for(kit: Kit, readiness: dict[str, Any]) -> None:
    async with kit.open("sleep=0.4", readiness=readiness) as activator:
        await activator.activate()
        assert await kit.ask(kit.only)


async def test_http_readiness_waits_for_a_good_status(kit: Kit) -> None:
    async with kit.open("not_yet=3", readiness={**HTTP, "path": "/healthz"}) as activator:
        await activator.activate()
        assert await kit.ask(kit.only)
    assert len(kit.pids()) == 1


async def test_an_unwanted_status_can_be_declared_good(kit: Kit) -> None:
    async with kit.open("not_yet=1000", readiness={**HTTP, "statuses": [200, 503]}) as activator:
        await activator.activate()
        assert kit.endpoints.ready


async def test_the_port_is_filled_in(kit: Kit) -> None:
    environment = {"BIND": "127.0.0.1:${PORT}", "PRICE": "$PORTS $5 $HOME"}
    async with kit.open("port=$PORT", "url=http://x:${PORT}/$SOCKET", environment=environment) as activator:
        await activator.activate()
        port = kit.only.port
        seen = await kit.ask(kit.only)
    assert seen["arguments"] == [f"port={port}", f"url=http://x:{port}/$SOCKET"]
    assert seen["environment"]["BIND"] == f"127.0.0.1:{port}"
    assert seen["environment"]["PORT"] == str(port)
    assert seen["environment"]["PRICE"] == "$PORTS $5 $HOME"


async def test_a_unix_socket_in_a_private_folder(kit: Kit) -> None:
    async with kit.open("socket=$SOCKET", socket=True, readiness=HTTP) as activator:
        await activator.activate()
        assert kit.only.spec.address.startswith("unix:/")
        folder = Path(kit.only.path).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        seen = await kit.ask(kit.only)
        assert seen["arguments"] == [f"socket={kit.only.path}"]
        assert "PORT" not in seen["environment"]
    assert not folder.exists()


async def test_a_fixed_port(kit: Kit, free_port: int) -> None:
    async with kit.open(port=free_port, capacity=3, protocol="http2") as activator:
        await activator.activate()
        assert kit.only.spec.address == f"127.0.0.1:{free_port}"
        assert kit.only.spec.protocol == "http2"
        assert kit.only.capacity == 3


async def test_a_fixed_port_that_a_stranger_has(kit: Kit) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as stranger:
        port = stranger.extra(anyio.abc.SocketAttribute.local_port)
        async with kit.open(port=port) as activator:
            with pytest.raises(ExchangeError, match="cannot be started: address already in use"):
                await activator.activate()
    assert kit.pids() == []


@pytest.mark.parametrize(
    ("inherit", "expected"),
    [
        ([], {"PATH"}),
        (["GATEWAY_SECRET", "NOT_SET"], {"PATH", "GATEWAY_SECRET"}),
        (False, set()),
        (True, {"PATH", "GATEWAY_SECRET"}),
    ],
    ids=["default", "named", "none", "all"],
)
async def test_what_a_process_inherits(kit: Kit, inherit: Any, expected: set[str]) -> None:
    async with kit.open(inherit_environment=inherit, environment={"COLOUR": "red"}) as activator:
        await activator.activate()
        seen = (await kit.ask(kit.only))["environment"]
    assert {"PATH", "GATEWAY_SECRET"} & set(seen) == expected
    assert seen["COLOUR"] == "red"


async def test_the_folder_of_the_settings_is_where_it_runs(kit: Kit) -> None:
    (kit.folder / "inner").mkdir()
    async with kit.open(command=[sys.executable, "../server.py"], directory="inner") as activator:
        await activator.activate()
    assert (kit.folder / "inner" / "pids").exists()


@pytest.mark.parametrize(
    "settings",
    [{"command": ["no-such-program-anywhere"]}, {"directory": "no/such/folder"}, {"log_file": "no/such/log"}],
    ids=["program", "directory", "log_file"],
)
async def test_what_cannot_be_started_is_told_at_once(kit: Kit, settings: dict[str, Any]) -> None:
    async with kit.open(**settings) as activator:
        with anyio.fail_after(5):
            with pytest.raises(ExchangeError) as caught:
                await activator.activate()
    error = caught.value
    assert error.reason is Reason.ACTIVATION_FAILED
    assert error.message == "the process cannot be started: no such file or directory (1 start)"
    assert kit.endpoints.ready == ()


async def test_a_process_that_wants_no_shell_gets_none(kit: Kit) -> None:
    async with kit.open("word=$(touch pwned); `touch pwned` * ~") as activator:
        await activator.activate()
        assert (await kit.ask(kit.only))["arguments"] == ["word=$(touch pwned); `touch pwned` * ~"]
    assert not (kit.folder / "pwned").exists()
