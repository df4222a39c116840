"""A gateway from start to stop: notices, drain, reload, and what is closed when."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from daemun import (
    Applied,
    BackendType,
    Buffered,
    FilterContext,
    FilterSpec,
    FilterType,
    Layer,
    NoSettings,
    Observer,
    ObserverContext,
    ObserverType,
    PluginError,
    Publish,
    Request,
    Respond,
    Response,
    RouteSpec,
    SettingsError,
    Snapshot,
    SourceType,
)
from daemun.process import source_run
from daemun.process.loop import choose_loop, current_loop, run_on
from daemun.testing import (
    CutOff,
    HandSource,
    RunningGateway,
    Wire,
    built,
    eventually,
    in_memory,
    make_plugin,
    running,
    virtual_backends,
)

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
LAST = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


class Diary:
    """A plugin that writes down the notices that it gets."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.draining = anyio.Event()
        self.plugin = make_plugin(
            "diary",
            daemun_started=lambda info: self.lines.append(f"started {len(info.listeners)} {info.routes}"),
            daemun_applied=lambda applied: self.lines.append(f"applied {len(applied.objects)}"),
            daemun_draining=self._draining,
            daemun_stopped=lambda: self.lines.append("stopped"),
        )

    def _draining(self, reason: str) -> None:
        self.lines.append(f"draining {reason}")
        self.draining.set()


class Slow:
    """A plugin whose back end answers on its cue."""

    def __init__(self) -> None:
        self.cue = anyio.Event()
        self.running = 0
        self.plugin = make_plugin(
            "slow", daemun_backends=lambda: [BackendType("slow", NoSettings, built(self._handle))]
        )

    async def _handle(self, request: Request) -> Response:
        self.running += 1
        try:
            if request.path == b"/":
                await self.cue.wait()
        finally:
            self.running -= 1
        return Response(200, (), Buffered(b"fine"))

    def settings(self, **drain: float) -> dict[str, Any]:
        source = {
            "type": "inline",
            "backends": {"b": {"type": "slow"}},
            "routes": [{"name": "all", "to": "b"}],
        }
        return {"sources": [source], "drain": drain}


class Stoppable:
    """A gateway in a task of its own, which is told to stop."""

    def __init__(self, gateway: RunningGateway, stop: Callable[[], None]) -> None:
        self.gateway = gateway
        self.stop = stop
        self.stopped = anyio.Event()

    async def connect(self, request: bytes = b"") -> Wire:
        wire = Wire(await self.gateway.connect())
        if request:
            await wire.send(request)
        return wire

    async def refuses(self) -> None:
        """Waits until no new connection is taken."""
        with anyio.fail_after(20):
            while True:
                try:
                    wire = await self.connect()
                except OSError:
                    return
                await wire.aclose()


@asynccontextmanager
async def stoppable(settings: dict[str, Any], *plugins: Any) -> AsyncIterator[Stoppable]:
    started, stop = anyio.Event(), anyio.Event()
    found: list[Stoppable] = []

    async def serve() -> None:
        async with running(settings, only=["http1", "file"], extra=plugins) as gateway:
            found.append(Stoppable(gateway, stop.set))
            started.set()
            await stop.wait()
        found[0].stopped.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            await started.wait()
            yield found[0]
            stop.set()


# --- notices ---


async def test_the_notices_of_a_life_in_their_order() -> None:
    diary, source = Diary(), HandSource()
    async with running(source.settings, only=["http1"], extra=[diary.plugin, source.plugin]):
        assert diary.lines == ["applied 0", "started 1 0"]
        await source.publish(RouteSpec("r", Respond()))
        assert diary.lines[2:] == ["applied 1"]
    assert diary.lines[3:] == ["draining stop", "stopped"]


async def test_a_notice_that_raises_is_logged_and_the_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    def fail(**_: Any) -> None:
        raise LookupError("not now")

    failing = make_plugin(
        "moody",
        daemun_started=lambda: fail(),
        daemun_applied=lambda: fail(),
        daemun_draining=lambda: fail(),
        daemun_stopped=lambda: fail(),
    )
    diary = Diary()
    slow = Slow()
    async with running(slow.settings(), only=["http1", "file"], extra=[failing, diary.plugin, slow.plugin]) as gateway:
        assert await gateway.exchange(GET.replace(b"/ ", b"/x ").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert diary.lines == ["applied 2", "started 1 1", "draining stop", "stopped"]
    logged = [record.getMessage() for record in caplog.records if "moody" in record.getMessage()]
    assert logged == [f"plugin moody failed in daemun_{hook}" for hook in ("applied", "started", "draining", "stopped")]


async def test_what_runs_is_told_as_data() -> None:
    infos: list[Any] = []
    plugin = make_plugin("curious", daemun_started=lambda info: infos.append(info))
    settings = {
        "listeners": [{"name": "one", "bind": "127.0.0.1:0"}, {"name": "two", "bind": "127.0.0.1:0"}],
        "sources": [{"type": "inline", "routes": [{"name": "r", "respond": {}}, {"name": "bad"}]}],
    }
    async with running(settings, only=["http1", "file"], extra=[plugin]) as gateway:
        info = infos[0]
        assert info is gateway.gateway.info
        assert [listener.name for listener in info.listeners] == ["one", "two"]
        assert info.listeners[0].protocols == ("http1",)
        assert info.plugins == ("curious", "file", "http1")
        assert (info.routes, info.refused) == (1, 1)
        assert info.event_loop == current_loop()
        assert info.start_seconds > 0


# --- drain ---


async def test_running_exchanges_finish_and_say_that_they_were_the_last() -> None:
    slow = Slow()
    async with stoppable(slow.settings(), slow.plugin) as service:
        wires = [await service.connect(GET) for _ in range(5)]
        await eventually(lambda: slow.running == 5)
        service.stop()
        await service.refuses()
        slow.cue.set()
        for wire in wires:
            answer = await wire.answer()
            assert (answer.status, answer.field(b"connection")) == (200, b"close")
            assert not await wire.more()
            await wire.aclose()
        await service.stopped.wait()


async def test_idle_connections_are_closed_at_once() -> None:
    slow = Slow()
    async with stoppable(slow.settings(), slow.plugin) as service:
        untouched, used = await service.connect(), await service.connect(GET.replace(b"/ ", b"/x "))
        assert (await used.answer()).status == 200
        await eventually(lambda: len(service.gateway.gateway.connections) == 2)
        service.stop()
        for wire in (untouched, used):
            assert not await wire.more()
            await wire.aclose()
        await service.stopped.wait()


async def test_a_request_that_has_begun_to_come_is_the_last_of_its_connection() -> None:
    slow = Slow()
    fast = GET.replace(b"/ ", b"/x ")
    async with stoppable(slow.settings(), slow.plugin) as service:
        wire = await service.connect(fast + fast[:20])
        assert (await wire.answer()).field(b"connection") is None
        service.stop()
        await service.refuses()
        await wire.send(fast[20:])
        answer = await wire.answer()
        assert (answer.status, answer.field(b"connection")) == (200, b"close")
        await wire.aclose()
        await service.stopped.wait()


async def test_new_connections_are_refused_while_others_finish() -> None:
    slow = Slow()
    async with stoppable(slow.settings(), slow.plugin) as service:
        wire = await service.connect(GET)
        await eventually(lambda: slow.running == 1)
        service.stop()
        await service.refuses()
        assert slow.running == 1
        slow.cue.set()
        assert (await wire.answer()).status == 200
        await wire.aclose()


async def test_the_delay_lets_balancers_notice_first() -> None:
    slow, diary = Slow(), Diary()
    async with stoppable(slow.settings(delay_seconds=1.5), slow.plugin, diary.plugin) as service:
        service.stop()
        await diary.draining.wait()
        wire = await service.connect(GET.replace(b"/ ", b"/x "))
        assert (await wire.answer()).status == 200
        await wire.aclose()
        await service.stopped.wait()


async def test_during_the_delay_each_answer_is_the_last_of_its_connection() -> None:
    slow, diary = Slow(), Diary()
    async with stoppable(slow.settings(delay_seconds=1.5), slow.plugin, diary.plugin) as service:
        slow.cue.set()
        wire = await service.connect(GET)
        assert b"connection" not in dict((await wire.answer()).headers)
        service.stop()
        await diary.draining.wait()
        for one in (wire, await service.connect()):
            await one.send(GET)
            assert dict((await one.answer()).headers)[b"connection"] == b"close"
            await one.aclose()
        await service.stopped.wait()


async def test_what_outlives_the_grace_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow()
    async with stoppable(slow.settings(grace_seconds=0.05), slow.plugin) as service:
        wire = await service.connect(GET)
        await eventually(lambda: slow.running == 1)
        service.stop()
        with pytest.raises(CutOff):
            await wire.answer()
        await wire.aclose()
        await service.stopped.wait()
        assert slow.running == 0
    assert "1 connection was cut off after " in caplog.text


@pytest.mark.parametrize("drain", [{}, {"delay_seconds": 60}])
async def test_a_drain_can_be_cut_short(drain: dict[str, float]) -> None:
    slow, diary = Slow(), Diary()
    async with stoppable(slow.settings(**drain), slow.plugin, diary.plugin) as service:
        wire = await service.connect(GET)
        await eventually(lambda: slow.running == 1)
        service.stop()
        await diary.draining.wait()
        service.gateway.gateway.cut_off()
        with pytest.raises(CutOff):
            await wire.answer()
        await wire.aclose()
        await service.stopped.wait()


async def test_a_gateway_that_is_left_at_once_stops_cleanly() -> None:
    diary = Diary()
    for _ in range(5):
        async with running({}, only=["http1"], extra=[diary.plugin]):
            pass
    assert diary.lines.count("stopped") == 5


async def test_an_exception_in_its_context_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with running({}, only=["http1"]):
            raise KeyError("mine")


# --- reload, and sources ---


async def test_a_reload_is_told_to_every_source_and_one_that_fails_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Sulking(HandSource):
        def reload(self) -> None:
            raise LookupError("no")

    sulking, willing = Sulking("sulking"), HandSource("willing")
    settings = {"sources": [{"type": "sulking"}, {"type": "willing"}]}
    async with running(settings, only=["http1"], extra=[sulking.plugin, willing.plugin]) as gateway:
        gateway.gateway.reload()
        assert willing.reloads == 1
    assert any(one.startswith("source sulking failed to reload: plugin ") for one in caplog.messages)


async def test_a_reload_reads_files_again(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("routes: [{name: r, respond: {body: one}}]")
    settings = {"sources": [{"type": "file", "paths": ["r.yaml"], "watch": False}]}
    ask = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with running(settings, tmp_path, only=["http1", "file"]) as gateway:
        assert (await gateway.exchange(ask)).endswith(b"one")
        file.write_text("routes: [{name: r, respond: {body: two}}]")
        gateway.gateway.reload()
        number = gateway.gateway.table.current.number
        await eventually(lambda: gateway.gateway.table.current.number > number)
        assert (await gateway.exchange(ask)).endswith(b"two")


class OneShot:
    """A source that publishes once, and then ends as told."""

    def __init__(self, error: Exception | None = None, *, before: bool = False) -> None:
        self.error = error
        self.before = before
        self.plugin = make_plugin("one_shot", daemun_sources=lambda: [SourceType("one_shot", NoSettings, built(self))])

    async def run(self, publish: Publish) -> None:
        if self.error is not None and self.before:
            raise self.error
        applied = await publish(Snapshot((RouteSpec("r", Respond(204)),)))
        assert isinstance(applied, Applied)
        if self.error is not None:
            raise self.error

    def reload(self) -> None:
        """There is nothing to read again."""


ONE_SHOT = {"sources": [{"type": "one_shot"}]}


async def test_what_a_source_published_before_it_failed_stays_in_use(caplog: pytest.LogCaptureFixture) -> None:
    source = OneShot(LookupError("lost"))
    async with running(ONE_SHOT, only=["http1"], extra=[source.plugin]) as gateway:
        answer = await gateway.exchange(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answer.startswith(b"HTTP/1.1 204 ")
    assert any(one.startswith("source one_shot failed: plugin ") for one in caplog.messages)


async def test_a_source_that_fails_before_it_published_does_not_keep_the_gateway_from_starting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = OneShot(LookupError("lost"), before=True)
    with anyio.fail_after(5):
        async with running(ONE_SHOT, only=["http1"], extra=[source.plugin]) as gateway:
            assert gateway.gateway.info.routes == 0
    assert any(record.exc_info for record in caplog.records if record.levelno == logging.ERROR)


class Late:
    """A source that publishes on its cue."""

    def __init__(self, patience_seconds: float) -> None:
        self.runs = anyio.Event()
        self.cue = anyio.Event()
        self.filters: tuple[FilterSpec, ...] = ()
        kind = SourceType("late", NoSettings, built(self), patience_seconds)
        self.plugin = make_plugin("late", daemun_sources=lambda: [kind])

    async def run(self, publish: Publish) -> None:
        self.runs.set()
        await self.cue.wait()
        await publish(Snapshot((RouteSpec("late", Respond(204), filters=self.filters),)))

    def reload(self) -> None:
        raise AssertionError("nobody asked for it")


@pytest.mark.parametrize("anyio_backend", virtual_backends)
async def test_what_is_being_applied_is_waited_for_though_patience_is_over() -> None:
    """It takes its time to compile many routes."""

    @asynccontextmanager
    async def build(settings: NoSettings, context: FilterContext) -> AsyncIterator[Layer]:
        await anyio.sleep(3600)
        yield lambda handler: handler

    source = Late(1.0)
    source.cue.set()
    source.filters = (FilterSpec("slow"),)
    slow = make_plugin("slow", daemun_filters=lambda: [FilterType("slow", NoSettings, build)])
    settings = {"sources": [{"type": "late"}]}
    async with in_memory(settings, only=["http1"], plugins=[source.plugin, slow]) as gateway:
        assert gateway.gateway.info.routes == 1


@pytest.mark.parametrize("patience_seconds", [0.0, math.inf])
async def test_a_gateway_accepts_when_its_source_has_published_or_its_patience_is_over(patience_seconds: float) -> None:
    source = Late(patience_seconds)
    opened, over = anyio.Event(), anyio.Event()

    async def serve() -> None:
        async with running({"sources": [{"type": "late"}]}, only=["http1"], extra=[source.plugin]) as gateway:
            opened.set()
            assert gateway.gateway.info.routes == (patience_seconds > 0)
            await over.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await source.runs.wait()
        await anyio.wait_all_tasks_blocked()
        assert opened.is_set() == (patience_seconds == 0)
        source.cue.set()
        await opened.wait()
        over.set()


class Faltering:
    """A source that fails once after it published, and once before."""

    def __init__(self) -> None:
        self.begun = 0
        kind = SourceType("faltering", NoSettings, lambda *_: self._open(), math.inf)
        self.plugin = make_plugin("faltering", daemun_sources=lambda: [kind])

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Faltering]:
        yield self

    async def run(self, publish: Publish) -> None:
        self.begun += 1
        if self.begun != 1:
            await publish(Snapshot((RouteSpec("r", Respond(200 + self.begun)),)))
        if self.begun < 3:
            raise LookupError("lost")

    def reload(self) -> None:
        raise AssertionError("nobody asked for it")


async def test_a_source_that_fails_is_begun_again_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_run, "_FIRST_PAUSE_SECONDS", 0.01)
    source = Faltering()
    async with running({"sources": [{"type": "faltering"}]}, only=["http1"], extra=[source.plugin]) as gateway:
        assert gateway.gateway.info.routes == 1, "it had published before the gateway accepted"
        with anyio.fail_after(20):
            while not (await gateway.exchange(LAST)).startswith(b"HTTP/1.1 203 "):
                pass
        assert source.begun == 3


async def test_two_sources_of_one_kind() -> None:
    settings = {
        "sources": [
            {"type": "inline", "routes": [{"name": "r", "respond": {"body": "first"}}]},
            {"type": "inline", "routes": [{"name": "r", "respond": {"body": "second"}, "priority": 1}]},
        ]
    }
    async with running(settings, only=["http1", "file"]) as gateway:
        assert gateway.gateway.info.routes == 2
        answer = await gateway.exchange(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answer.endswith(b"second")


# --- what cannot start, in words ---


@asynccontextmanager
async def failing_build(*_: Any) -> AsyncIterator[Any]:
    raise OSError(2, "No such file or directory", "/nowhere")
    yield


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sources": [{"type": "fil"}]}, r"unknown source 'fil'; did you mean 'file'"),
        ({"sources": [{"paths": []}]}, r"\$\.sources\[0\]: `type` is missing or no string"),
        ({"sources": [{"type": 1}]}, r"\$\.sources\[0\]: `type` is missing or no string"),
        (
            {"sources": [{"type": "inline", "route": []}]},
            r"\$\.sources\[0\]: unknown key `route`; did you mean `routes`",
        ),
        ({"sources": [{"type": "locked"}]}, r"\$\.sources\[0\]: source locked cannot be opened: .*No such file"),
        ({"observers": [{"type": "log"}]}, r"unknown observer 'log' \(accepted: locked\)"),
        ({"observers": [{}]}, r"\$\.observers\[0\]: `type` is missing"),
        ({"observers": [{"type": "locked"}]}, r"\$\.observers\[0\]: observer locked cannot be opened: .*No such file"),
        ({"protocols": {"http9": {}}}, r"unknown wire protocol 'http9'"),
        (
            {"protocols": {"http1": {"codek": "h11"}}},
            r"\$\.protocols\.http1: unknown key `codek`; did you mean `codec`",
        ),
    ],
)
async def test_a_gateway_that_cannot_start_says_why(settings: dict[str, Any], words: str) -> None:
    plugin = make_plugin(
        "locked",
        daemun_sources=lambda: [SourceType("locked", NoSettings, failing_build)],
        daemun_observers=lambda: [ObserverType("locked", NoSettings, failing_build)],
    )
    with pytest.raises(SettingsError, match=words):
        async with running(settings, only=["http1", "file"], extra=[plugin]):
            raise AssertionError("it started")


async def test_a_gateway_whose_plugin_is_at_fault_says_which() -> None:
    plugin = make_plugin("sloppy", daemun_filters=lambda: 1)
    with pytest.raises(
        PluginError, match=r"plugin sloppy: daemun_filters at .* returned an int; accepted: a list of FilterType"
    ):
        async with running({}, only=["http1"], extra=[plugin]):
            raise AssertionError("it started")


async def test_observers_are_closed_when_the_gateway_stops() -> None:
    closed: list[str] = []

    @asynccontextmanager
    async def build(settings: object, context: ObserverContext) -> AsyncIterator[Observer]:
        yield Observer()
        closed.append(context.base_dir.name)

    plugin = make_plugin("watching", daemun_observers=lambda: [ObserverType("watching", NoSettings, build)])
    settings = {"observers": [{"type": "watching"}]}
    async with running(settings, Path("/here"), only=["http1"], extra=[plugin]):
        assert closed == []
    assert closed == ["here"]


# --- event loops ---


def test_the_event_loop_is_chosen_by_name() -> None:
    assert choose_loop("auto") in ("uvloop", "asyncio")
    assert [choose_loop(name) for name in ("asyncio", "uvloop", "trio")] == ["asyncio", "uvloop", "trio"]
    with pytest.raises(SettingsError, match=r"unknown event loop 'twisted' \(accepted: auto, asyncio, uvloop, trio\)"):
        choose_loop("twisted")


def test_an_event_loop_that_is_not_installed_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_loop("auto") == "asyncio"
    with pytest.raises(SettingsError, match=r"uvloop is not installed \(pip install 'daemun\[fast\]'\)"):
        choose_loop("uvloop")
    with pytest.raises(SettingsError, match=r"trio is not installed \(pip install 'daemun\[trio\]'\)"):
        choose_loop("trio")


@pytest.mark.parametrize("name", ["asyncio", "uvloop", "trio"])
def test_the_event_loop_that_was_chosen_runs(name: str) -> None:
    async def which() -> str:
        return current_loop()

    assert run_on(name, which) == name
