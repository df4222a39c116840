"""What processes print goes to the log or to a file, in bounds, and never makes them wait."""

from __future__ import annotations

import logging
import stat
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugins.process.conftest import Kit

pytestmark = pytest.mark.anyio

LOGGER = "daemun.process.shop"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged for the process itself."""
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


@pytest.fixture(autouse=True)
def log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def test_lines_are_logged_with_the_name_of_the_back_end(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    async with kit.open("say=héllo\n\x1b[31mred\ttab\r\nlast") as activator:
        await activator.activate()
        await kit.until(lambda: len(lines(caplog)) == 3)
    assert lines(caplog) == ["héllo", "\\x1b[31mred\ttab", "last"]
    levels = {record.levelno for record in caplog.records if record.name == LOGGER}
    assert levels == {logging.INFO}


async def test_what_is_printed_before_a_crash_is_logged_and_not_told(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    code = "import sys; sys.stderr.write('password=hunter2'); sys.exit(4)"
    async with kit.open(command=[sys.executable, "-c", code], start_attempts=1) as activator:
        with pytest.raises(Exception, match="exited with status 4") as caught:
            await activator.activate()
    assert lines(caplog) == ["password=hunter2"]
    assert "hunter2" not in str(caught.value)


async def test_long_lines_are_cut(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    async with kit.open("say=" + "x" * 100_000) as activator:
        await activator.activate()
        await kit.until(lambda: lines(caplog))
    assert lines(caplog) == ["x" * 4096 + "… (95904 bytes more)"]


@pytest.mark.parametrize("limit", [100, 0])
async def test_a_flood_does_not_block_the_process(kit: Kit, caplog: pytest.LogCaptureFixture, limit: int) -> None:
    flood = 'for n in range(200_000): print(n)\nprint(end="", flush=True)\n'
    (kit.folder / "flood.py").write_text(flood + (kit.folder / "server.py").read_text())
    async with kit.open(
        command=[sys.executable, "flood.py"], log_lines_per_second=limit, start_timeout_seconds=20
    ) as activator:
        await activator.activate()
        assert await kit.ask(kit.only)
    logged = [line for line in lines(caplog) if line.isdigit()]
    assert len(logged) < 100 * 25
    assert bool(logged) is bool(limit)
    if limit:
        dropped = sum(int(line.split()[0]) for line in lines(caplog) if "were not logged" in line)
        assert len(logged) + dropped == 200_000


async def test_a_last_word_without_a_line_end_is_logged(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(print('bye', end='')))\n"
    (kit.folder / "polite.py").write_text(code + (kit.folder / "server.py").read_text())
    async with kit.open(command=[sys.executable, "polite.py"]) as activator:
        await activator.activate()
    assert lines(caplog) == ["bye"]


async def test_a_log_file_is_appended_to(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    for word in ("one", "two"):
        async with kit.open(f"say={word}", log_file="server.log") as activator:
            await activator.activate()
    log = kit.folder / "server.log"
    assert log.read_text() == "one\ntwo\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert lines(caplog) == []
