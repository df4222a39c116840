"""Plugins that keep the event loop from turning: the log says who and where, and what can be interrupted is."""

from __future__ import annotations

import http.client
import signal
import socket
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from daemun import BackendContext, BackendType, Buffered, Handler, NoSettings, Request, Response
from daemun.process.watchdog import Watchdog
from daemun.settings import BlockingSettings
from daemun.testing import RunningGateway, Wire, built, eventually, make_plugin, running
from daemun.testing.program import program, soon

pytestmark = pytest.mark.anyio

GET = b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n"
QUICK = BlockingSettings(warn_seconds=0.2, interrupt_seconds=0.5)


def sleep() -> None:
    time.sleep(60)


def hold(seconds: float) -> None:
    """In pieces: while the whole machine stands still nothing of it passes."""
    for _ in range(int(seconds * 100)):
        time.sleep(0.01)


def spin() -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pass


def read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)


BLOCKS: dict[bytes, Callable[[], None]] = {
    b"/sleep": sleep,
    b"/spin": spin,
    b"/read": read,
    b"/short": lambda: hold(1.0),
}


async def block(request: Request) -> Response:
    how = BLOCKS.get(request.path)
    if how is not None:
        how()
    return Response(200, (), Buffered(b"fine"))


@asynccontextmanager
async def watched(settings: BlockingSettings, build: Any = None) -> AsyncIterator[RunningGateway]:
    """A gateway with the back end `blocker`, and a watchdog."""
    kind = BackendType("blocker", NoSettings, build or built(block))
    plugin = make_plugin("sleepy", daemun_backends=lambda: [kind])
    source = {"type": "inline", "backends": {"up": {"type": "blocker"}}, "routes": [{"name": "all", "to": "up"}]}
    raw = {"sources": [source], "drain": {"grace_seconds": 5}}
    async with running(raw, only=["http1", "file"], extra=[plugin]) as gateway, anyio.create_task_group() as tasks:
        serving = gateway.gateway
        watchdog = Watchdog(settings, serving.blame, serving.things)
        tasks.start_soon(watchdog.run)
        if settings.warn_seconds < 1:
            await eventually(lambda: watchdog.turns > 0, "the first turn")
        yield gateway
        tasks.cancel_scope.cancel()


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    lines = [one.getMessage() for one in caplog.records if one.name == "daemun.watchdog"]
    return [line for line in lines if words in line]


@pytest.mark.parametrize("how", [b"/sleep", b"/spin", b"/read"])
async def test_a_request_that_blocks_is_interrupted_and_others_are_served(
    how: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(QUICK) as gateway:
        wire = Wire(await gateway.connect())
        await wire.send(GET % how)
        answer = await wire.answer()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
        await wire.send(GET % b"/fine")
        assert (await wire.answer()).body == b"fine"
        await wire.aclose()
        await eventually(lambda: bool(said(caplog, "turns again")), "the end of the incident")
    (words,) = said(caplog, "is blocked for")
    assert f"plugin sleepy (back end type blocker) at {__file__}:" in words
    assert words.endswith(" on route all")
    assert len(said(caplog, "interrupted after")) == 1
    assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL


async def test_without_interruption_the_log_says_who_and_for_how_long(caplog: pytest.LogCaptureFixture) -> None:
    async with watched(BlockingSettings(warn_seconds=0.2, interrupt_seconds=0)) as gateway:
        wire = Wire(await gateway.connect())
        await wire.send(GET % b"/short")
        assert (await wire.answer()).body == b"fine"
        await wire.aclose()
        await eventually(lambda: bool(said(caplog, "turns again")), "the end of the incident")
    assert len(said(caplog, f"plugin sleepy (back end type blocker) at {__file__}:")) == 1
    assert said(caplog, "interrupted") == []


async def test_what_no_request_waits_for_is_not_interrupted(caplog: pytest.LogCaptureFixture) -> None:
    wanted, done = anyio.Event(), anyio.Event()

    @asynccontextmanager
    async def build(settings: NoSettings, context: BackendContext) -> AsyncIterator[Handler]:
        async def work() -> None:
            await wanted.wait()
            hold(1.5)
            done.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            yield block

    async with watched(QUICK, build) as gateway:
        wanted.set()
        await done.wait()
        wire = Wire(await gateway.connect())
        await wire.send(GET % b"/fine")
        assert (await wire.answer()).body == b"fine"
        await wire.aclose()
    assert len(said(caplog, f"by plugin sleepy at {__file__}:")) == 1
    assert len(said(caplog, "cannot be interrupted there")) == 1


async def test_a_loop_that_turns_is_not_spoken_of(caplog: pytest.LogCaptureFixture) -> None:
    async with watched(BlockingSettings(warn_seconds=5)) as gateway:
        wire = Wire(await gateway.connect())
        await wire.send(GET % b"/fine")
        assert (await wire.answer()).body == b"fine"
        await wire.aclose()
    assert said(caplog, "") == []


async def test_it_can_be_switched_off() -> None:
    blame = object()
    await Watchdog(BlockingSettings(warn_seconds=0), blame).run()  # type: ignore[arg-type]


# --- the whole program ---

PLUGIN = """
    import anyio, time
    from contextlib import asynccontextmanager
    from daemun import BackendType, Buffered, NoSettings, Response, hookimpl

    async def handle(request):
        if request.path == b"/sticky":
            while True:
                try:
                    await anyio.sleep_forever()
                except BaseException:
                    pass
        if request.path == b"/blocks":
            while True:
                try:
                    time.sleep(60)
                except Exception:
                    pass
        return Response(200, (), Buffered(b"fine"))

    @asynccontextmanager
    async def build(settings, context):
        yield handle

    @hookimpl
    def daemun_backends():
        return [BackendType("nasty", NoSettings, build)]
"""


@pytest.fixture
def nasty(tmp_path: Path) -> dict[str, str]:
    """The environment in which the plugin `nasty` is installed."""
    home = tmp_path / "site"
    info = home / "nasty-1.0.dist-info"
    info.mkdir(parents=True)
    (home / "nasty.py").write_text(textwrap.dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nasty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[daemun]\nnasty = nasty\n")
    return {"PYTHONPATH": str(home)}


def settings_of(loop: str, **more: Any) -> dict[str, Any]:
    source = {"type": "inline", "backends": {"up": {"type": "nasty"}}, "routes": [{"name": "all", "to": "up"}]}
    drain = {"grace_seconds": 0.1, "close_seconds": 0.1}
    return {"event_loop": loop, "sources": [source], "drain": drain, **more}


@pytest.mark.conformance
@pytest.mark.parametrize("loop", ["uvloop", "asyncio", "trio"])
@pytest.mark.parametrize("path", ["/sticky", "/blocks"])
def test_a_stop_comes_to_its_end_and_says_who_held_it_up(
    loop: str, path: str, tmp_path: Path, nasty: dict[str, str]
) -> None:
    with program(tmp_path, settings_of(loop), **nasty) as one:
        assert one.get("/")[0] == 200
        client = http.client.HTTPConnection("127.0.0.1", one.port)
        client.request("GET", path, headers={"Host": "a.test"})
        time.sleep(0.5)  # nothing tells that the request has begun to hang
        one.tell(signal.SIGTERM)
        assert one.end(30) == 1
        assert "the gateway does not stop and is ended: what hangs is plugin nasty at " in one.log()
        client.close()


@pytest.mark.conformance
def test_a_second_signal_does_not_wait_for_the_grace(tmp_path: Path, nasty: dict[str, str]) -> None:
    settings = {**settings_of("uvloop"), "drain": {"grace_seconds": 3600}}
    with program(tmp_path, settings, **nasty) as one:
        client = http.client.HTTPConnection("127.0.0.1", one.port)
        client.request("GET", "/sticky", headers={"Host": "a.test"})
        for _ in range(2):
            time.sleep(0.5)  # nothing tells that the request hangs, nor that a signal was heard
            one.tell(signal.SIGINT)
        assert one.end(60) == 1
        assert "1 connection was cut off after " in one.log()
        assert "the gateway does not stop and is ended: what hangs is plugin nasty at " in one.log()
        client.close()


@pytest.mark.conformance
def test_a_worker_that_hangs_is_replaced_and_the_log_says_by_whom(tmp_path: Path, nasty: dict[str, str]) -> None:
    more = {
        "workers": 2,
        "supervisor": {"ping_timeout_seconds": 4},
        "plugins": {"blocking": {"warn_seconds": 0.5, "interrupt_seconds": 1}},
    }
    with program(tmp_path, settings_of("auto", **more), **nasty) as one:
        client = http.client.HTTPConnection("127.0.0.1", one.port)
        client.request("GET", "/blocks", headers={"Host": "a.test"})
        soon(lambda: "answers no ping for 4 s and is killed" in one.log())
        soon(lambda: " serves after " in one.log())
        assert one.get("/")[0] == 200
        log = one.log()
        assert log.index("blocked for") < log.index("is killed")
        assert "by plugin nasty (back end type nasty) at " in log
        client.close()
