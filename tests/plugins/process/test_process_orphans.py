"""Nothing that was started outlives the gateway, however the gateway ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugins.process.conftest import Kit

GATEWAY = """
import sys
from pathlib import Path
import anyio
from daemun import ActivatorContext, Endpoints
from daemun_process import ProcessSettings, build_process

class NoPool:
    def close_idle(self):
        pass

async def main():
    endpoints = Endpoints("shop", lambda endpoint: NoPool())
    settings = ProcessSettings(command=tuple(sys.argv[2:]))
    async with build_process(settings, ActivatorContext("shop", endpoints, Path.cwd())) as activator:
        await activator.activate()
        print("ready", flush=True)
        await anyio.sleep(600)

backend, uvloop = ("asyncio", True) if sys.argv[1] == "uvloop" else (sys.argv[1], False)
anyio.run(main, backend=backend, backend_options={"use_uvloop": True} if uvloop else {})
"""


def guardians() -> list[int]:
    """Guardians that are our own children."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if b"guardian.py" in words and parent == os.getpid():
            found.append(int(folder.name))
    return found


@contextmanager
def gateway(kit: Kit, backend: str, *options: str, script: str = GATEWAY) -> Iterator[subprocess.Popen[bytes]]:
    """A process that hosts the activator; its first line tells that it is ready."""
    command = [sys.executable, "-W", "ignore", "-c", script, backend, *kit.server(*options)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, cwd=kit.folder, env=environment, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + 20
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT], ids=["killed", "aborted"])
@pytest.mark.parametrize("options", [(), ("child=1", "ignore_term=1"), ("child=own_session",)])
def test_a_gateway_that_vanishes_leaves_nothing(
    kit: Kit, loop: str, number: signal.Signals, options: tuple[str, ...]
) -> None:
    with gateway(kit, loop, *options) as process:
        assert first_line(process) == b"ready"
        assert len(kit.alive()) == (2 if options else 1)
        process.send_signal(number)
        assert process.wait() == -number
        wait_until(lambda: not kit.alive())


def test_a_gateway_that_vanishes_while_it_starts_a_process_leaves_nothing(kit: Kit) -> None:
    early = GATEWAY.replace("import sys", KILLED_BEFORE_IT_TELLS)
    with gateway(kit, "asyncio", script=early) as process:
        assert process.wait() == -signal.SIGKILL
        assert len(kit.pids()) == 1
        wait_until(lambda: not kit.alive())


KILLED_BEFORE_IT_TELLS = """
import os, sys, time
from daemun_process.guard import Guard

def die(self, line):
    while not (os.path.exists("pids") and os.path.getsize("pids")):
        time.sleep(0.001)
    os.kill(os.getpid(), 9)

Guard._tell = die
"""


def test_a_fork_of_the_gateway_does_not_keep_the_guardian(kit: Kit) -> None:
    script = GATEWAY.replace('print("ready", flush=True)', FORK)
    with gateway(kit, "asyncio", script=script) as process:
        fork = int(first_line(process))
        try:
            process.kill()
            wait_until(lambda: not kit.alive())
            assert kit.lives(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


FORK = """import os, time
        fork = os.fork()
        if not fork:
            time.sleep(600)
        print(fork, flush=True)"""


@pytest.mark.anyio
async def test_a_terminal_cannot_interrupt_the_processes(kit: Kit) -> None:
    async with kit.open("child=1", stop_grace_seconds=0.1) as activator:
        await activator.activate()
        for pid in kit.pids():
            assert os.getsid(pid) == kit.pids()[0] != os.getsid(0)
        (guardian,) = guardians()
        assert os.getsid(guardian) == guardian


@pytest.mark.anyio
async def test_the_guardian_shrugs_signals_off(kit: Kit) -> None:
    async with kit.open() as activator:
        await activator.activate()
        (guardian,) = guardians()
        ignored = f"/proc/{guardian}/status"
        wanted = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

        def deaf() -> bool:
            mask = int(Path(ignored).read_text().partition("SigIgn:")[2].split()[0], 16)
            return all(mask >> (number - 1) & 1 for number in wanted)

        await kit.until(deaf)
        for number in wanted:
            os.kill(guardian, number)
        assert await kit.ask(kit.only)
    assert guardians() == []


@pytest.mark.anyio
async def test_one_guardian_serves_all_back_ends_and_goes_with_the_last(kit: Kit) -> None:
    async with kit.open() as first:
        assert guardians() == [], "it is started with the first process"
        await first.activate()
        (guardian,) = guardians()
        async with kit.open() as second:
            await second.activate()
            assert guardians() == [guardian]
        assert guardians() == [guardian]
    assert guardians() == []


@pytest.mark.anyio
async def test_a_guardian_that_was_killed_is_replaced(kit: Kit) -> None:
    async with kit.open() as activator:
        await activator.activate()
        (guardian,) = guardians()
        os.kill(guardian, signal.SIGKILL)
        await kit.until(lambda: not kit.lives(guardian))
        await kit.ask(kit.only, "/die")
        await kit.until(lambda: not kit.endpoints.ready)
        await activator.activate()
        (other,) = guardians()
        assert other != guardian
