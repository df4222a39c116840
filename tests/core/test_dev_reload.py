"""A plugin's code replaced while a gateway serves: what is opened anew, what stays, and what is closed when."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from daemun import (
    BackendSpec,
    CertificateSpec,
    EndpointSpec,
    ExchangeError,
    FilterSpec,
    FilterType,
    Forward,
    NoSettings,
    ObjectStatus,
    Respond,
    RouteSpec,
    Snapshot,
    Split,
)
from daemun.cli.finding import find_plugin
from daemun.errors import PluginError
from daemun.extend.loading import load_plugins
from daemun.process.dev.developer import Developer, Reload, open_developer
from daemun.process.gateway import Gateway, open_gateway
from daemun.settings import Settings
from daemun.strict import convert
from daemun.testing import HandSource, RunningGateway, eventually, make_plugin, make_request

pytestmark = pytest.mark.anyio

HEAD = """
from contextlib import asynccontextmanager
from pathlib import Path
import anyio
from msgspec import Struct
from daemun import *

GENERATION = 1
go = anyio.Event()


def note(context, words):
    with Path(context.base_dir, "ledger").open("a") as ledger:
        ledger.write(f"{words} {GENERATION}\\n")

"""
FILTER = (
    HEAD
    + """
class Marks(Struct, frozen=True, forbid_unknown_fields=True):
    mark: str = "x"


@asynccontextmanager
async def build(settings, context):
    note(context, "open")

    def layer(handler):
        async def handle(request):
            response = await handler(request)
            if request.path == b"/waits":
                await go.wait()
            return response.with_header(b"x-generation", b"%d" % GENERATION)

        return handle

    yield layer
    note(context, "close")


@hookimpl
def daemun_filters():
    return [FilterType("mine", Marks, build)]
"""
)


class Bench:
    """A plugin in a file, and a gateway that has it."""

    def __init__(self, file: Path, gateway: Gateway, developer: Developer, source: HandSource) -> None:
        self.file = file
        self.gateway = gateway
        self.running = RunningGateway(gateway)
        self.developer = developer
        self.source = source
        self.name = file.stem

    @property
    def module(self) -> ModuleType:
        return sys.modules[self.name]

    @property
    def ledger(self) -> list[str]:
        """What the plugin noted."""
        return (self.file.parent / "ledger").read_text().splitlines()

    def save(self, *changes: tuple[str, str]) -> None:
        """Replaces parts of the code."""
        text = self.file.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.file.write_text(text)

    async def reload(self, *changes: tuple[str, str]) -> Reload:
        self.save(*changes)
        return await self.developer.reload(self.name)

    async def route(self, *filters: str, backends: Iterable[BackendSpec] = (), **changes: Any) -> None:
        """Publishes one route; it answers 200 unless there are back ends."""
        names = tuple(Split(one.name) for one in backends)
        spec = RouteSpec("r", Forward(names) if names else Respond(200), **changes)
        applied = await self.source.publish(
            RouteSpec(
                **{**{f: getattr(spec, f) for f in spec.__struct_fields__}, "filters": tuple(map(FilterSpec, filters))}
            ),
            backends=backends,
        )
        assert not applied.refused

    async def ask(self, path: str = "/") -> Any:
        """What a request is answered, without a connection."""
        return await self.gateway.table.current.handle(make_request(url=f"http://a.test{path}"))

    async def generation(self, path: str = "/") -> int:
        """The version of the code of the filter that an exchange runs on."""
        return int((await self.ask(path)).header(b"x-generation"))

    async def over_the_wire(self) -> bytes:
        """What a whole exchange over HTTP/1 is answered."""
        return await self.running.exchange(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")


GROWS = ("GENERATION = 1", "GENERATION = 2")


@pytest.fixture
def restored() -> Iterator[None]:
    """What tests import is gone afterwards."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - set(modules):
        if not name.startswith("daemun"):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def bench(tmp_path: Path, restored: None) -> Callable[..., Any]:
    @asynccontextmanager
    async def open_bench(
        text: str,
        settings: dict[str, Any] | None = None,
        *others: ModuleType,
        tell: Callable[[Reload], None] = lambda reload: None,
        watched: bool = False,
    ) -> AsyncIterator[Bench]:
        file = tmp_path / f"developed_{id(tmp_path):x}.py"
        file.write_text(text)
        (tmp_path / "ledger").write_text("")
        found = find_plugin(str(file))
        assert found.module is not None
        source = HandSource()
        raw = {"listeners": [{"name": "http", "bind": "127.0.0.1:0"}], **(settings or {})}
        raw["sources"] = [*source.settings["sources"], *raw.get("sources", [])]
        decoded = convert(raw, Settings)
        manager = load_plugins(only=["http1"], extra=[source.plugin, found.module, *others])
        async with open_gateway(decoded, manager, tmp_path, developed=[found.name]) as gateway:
            del manager, found
            async with open_developer(gateway, decoded, [file.stem], tell, watched=watched) as developer:
                yield Bench(file, gateway, developer, source)

    return open_bench


async def test_new_exchanges_run_on_the_new_code_and_old_ones_finish_on_the_old(bench: Any) -> None:
    async with bench(FILTER) as one:
        await one.route("mine")
        old = one.module
        answers: list[int] = []

        async def wait() -> None:
            answers.append(await one.generation("/waits"))

        async with anyio.create_task_group() as tasks:
            generation = one.gateway.table.current
            generation.leases += 1  # as a connection has for an exchange
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            done = await one.reload(GROWS)
            assert (done.fault, done.generation, done.brings) == (None, 2, ("filter mine",))
            assert await one.generation() == 2
            assert one.module is not old
            assert not answers
            assert one.ledger == ["open 1", "open 2"]
            old.go.set()
            await eventually(lambda: bool(answers))
            assert one.ledger == ["open 1", "open 2"]  # its exchange has not ended
            generation.leave()
        assert answers == [1]
        await eventually(lambda: one.ledger == ["open 1", "open 2", "close 1"])


async def test_a_stream_over_a_connection_finishes_on_the_old_code(bench: Any) -> None:
    text = (
        HEAD
        + """
class Slow:
    length = None
    trailers = ()

    def __init__(self, handler):
        self.step = 0

    async def read(self):
        self.step += 1
        if self.step == 2:
            await go.wait()
        return b"" if self.step == 3 else b"generation %d;" % GENERATION

    async def aclose(self):
        pass


@asynccontextmanager
async def build(settings, context):
    note(context, "open")

    async def handle(request):
        return Response(200, (), Slow(None))

    yield handle
    note(context, "close")


@hookimpl
def daemun_backends():
    return [BackendType("mine", NoSettings, build)]
"""
    )
    async with bench(text) as one:
        await one.route(backends=[BackendSpec("b", type="mine")])
        old = one.module
        async with await one.running.connect() as stream:
            await stream.send(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
            received = b""
            while b"generation 1;" not in received:
                received += await stream.receive()
            assert (await one.reload(GROWS)).fault is None
            assert (await one.ask()).body.length is None
            old.go.set()
            with pytest.raises(anyio.EndOfStream):
                while True:
                    received += await stream.receive()
        assert received.count(b"generation 1;") == 2
        assert b"generation 2;" not in received
        one.module.go.set()
        assert (await one.over_the_wire()).count(b"generation 2;") == 2
        await eventually(lambda: one.ledger == ["open 1", "open 2", "close 1"])


async def test_things_of_other_plugins_stay_open(bench: Any) -> None:
    built: list[int] = []

    @asynccontextmanager
    async def build(settings: Any, context: Any) -> AsyncIterator[Any]:
        built.append(1)
        yield lambda handler: handler
        built.append(-1)

    asked: list[int] = []

    def filters() -> list[FilterType]:
        asked.append(1)
        return [FilterType("other", NoSettings, build)]

    async with bench(FILTER, {}, make_plugin("others", daemun_filters=filters)) as one:
        await one.route("mine", "other")
        for number in (2, 3):
            assert (await one.reload((f"GENERATION = {number - 1}", f"GENERATION = {number}"))).fault is None
            assert await one.generation() == number
        assert (built, asked) == ([1], [1])


async def test_filters_that_are_added_to_routes_and_notices_are_of_the_new_code(bench: Any) -> None:
    text = (
        FILTER
        + """

@hookimpl
def daemun_route_filters(route):
    return [FilterSpec("mine")] if GENERATION > 1 else []


applied = []


@hookimpl
def daemun_applied(applied):
    globals()["last"] = applied.generation
"""
    )
    async with bench(text) as one:
        await one.route()
        assert (await one.ask()).header(b"x-generation") is None
        done = await one.reload(GROWS)
        assert done.brings == ("filter mine", "daemun_applied", "daemun_route_filters")
        assert await one.generation() == 2
        assert one.module.last == one.gateway.table.current.number


async def test_an_observer_is_entered_before_the_old_one_is_left_and_none_misses_an_exchange(bench: Any) -> None:
    text = (
        HEAD
        + """
class Seen(Observer):
    def __init__(self, context):
        self.context = context

    def finished(self, request, response, exchange):
        note(self.context, "saw")


@asynccontextmanager
async def build(settings, context):
    async with anyio.create_task_group() as tasks:
        note(context, "open")
        yield Seen(context)
        note(context, "close")


@hookimpl
def daemun_observers():
    return [ObserverType("mine", NoSettings, build)]
"""
    )
    async with bench(text, {"observers": [{"type": "mine"}]}) as one:
        await one.route()
        await one.over_the_wire()
        assert (await one.reload(GROWS)).fault is None
        await one.over_the_wire()
        await eventually(lambda: len(one.ledger) == 5)
        assert one.ledger[:3] == ["open 1", "saw 1", "open 2"]
        assert sorted(one.ledger[3:]) == ["close 1", "saw 2"]
    assert one.ledger[5:] == ["close 2"]


SOURCE = (
    HEAD
    + """
class Routes:
    def __init__(self, context):
        self.context = context

    async def run(self, publish):
        await publish(Snapshot((RouteSpec("of-source", Respond(200 + GENERATION), path=PathMatch(value="/of-source")),)))

    def reload(self):
        note(self.context, "reload")


@asynccontextmanager
async def build(settings, context):
    note(context, "open")
    yield Routes(context)
    note(context, "close")


@hookimpl
def daemun_sources():
    return [SourceType("mine", NoSettings, build)]
"""
)


async def test_a_source_is_stopped_and_started_again_while_its_routes_stay(bench: Any) -> None:
    async with bench(SOURCE, {"sources": [{"type": "mine"}]}) as one:
        assert (await one.ask("/of-source")).status == 201
        assert (await one.reload(GROWS)).fault is None
        assert one.ledger == ["open 1", "close 1", "open 2"]
        while (await one.ask("/of-source")).status != 202:
            await anyio.lowlevel.checkpoint()
        one.gateway.reload()
        assert one.ledger[3:] == ["reload 2"]


async def test_a_source_that_cannot_be_opened_gives_way_to_the_old_one(bench: Any) -> None:
    async with bench(SOURCE, {"sources": [{"type": "mine"}]}) as one:
        done = await one.reload(GROWS, ('    note(context, "open")\n', '    raise OSError("no table")\n'))
        assert done.fault.words == "$.sources[1]: source mine cannot be opened: no table"
        assert done.fault.text.strip() == 'raise OSError("no table")'
        await eventually(lambda: one.ledger == ["open 1", "close 1", "open 1"])
        assert (await one.ask("/of-source")).status == 201
        done = await one.reload(("raise OSError", "str"), ("yield", 'note(context, "open")\n    yield'))
        assert (done.generation, done.mended) == (2, True)
        await eventually(lambda: one.ledger[3:] == ["close 1", "open 2"])


@asynccontextmanager
async def given_up(one: Any, *changes: tuple[str, str]) -> AsyncIterator[None]:
    """A reload that is given up when the context is left, as it is once its patience is over."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.reload, *changes)
        yield
        tasks.cancel_scope.cancel()


ENTRY = '    note(context, "open")\n'


@pytest.mark.parametrize(
    ("before", "change", "sign"),
    [
        pytest.param(
            (ENTRY, ENTRY),
            (ENTRY, '    note(context, "hangs")\n    await anyio.sleep_forever()\n'),
            "hangs 2",
            id="entry",
        ),
        pytest.param(
            ('    note(context, "close")\n', '    note(context, "close")\n    await go.wait()\n'),
            (ENTRY, ENTRY),
            "close 1",
            id="exit",
        ),
    ],
)
async def test_a_source_that_hangs_is_given_up_and_the_old_one_comes_back(
    bench: Any, before: tuple[str, str], change: tuple[str, str], sign: str
) -> None:
    async with bench(SOURCE.replace(*before), {"sources": [{"type": "mine"}]}) as one:
        async with given_up(one, GROWS, change):
            await eventually(lambda: one.ledger[-1] == sign)
        await eventually(lambda: one.ledger[-1] == "open 1")
        assert one.ledger.count("open 1") == 2
        assert (await one.ask("/of-source")).status == 201
        await one.route()  # the table is free
        one.module.go.set()
        assert (await one.reload((change[1], ENTRY))).fault is None
        assert one.ledger[-2:] == ["close 1", "open 2"]
        one.module.go.set()


async def test_a_source_whose_old_code_hangs_before_it_is_open_gives_way(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemun.process.source_run._FIRST_PAUSE_SECONDS", 0)
    hangs = """    if Path(context.base_dir, "ledger").read_text():
        note(context, "hangs")
        await anyio.sleep_forever()
"""
    text = SOURCE.replace(ENTRY, hangs + ENTRY).replace(
        "\n    def reload(self):", "        raise OSError\n\n    def reload(self):"
    )
    async with bench(text, {"sources": [{"type": "mine"}]}) as one:
        await eventually(lambda: one.ledger == ["open 1", "hangs 1"])
        assert (await one.reload(GROWS, (hangs, ""), ("        raise OSError\n", ""))).fault is None
        assert one.ledger == ["open 1", "hangs 1", "open 2"]


@pytest.mark.parametrize("who", ["new", "old"])
async def test_a_source_that_heeds_no_cancellation_holds_the_table_no_longer_than_its_patience(
    bench: Any, who: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shielded = """
@asynccontextmanager
async def stubborn(context):
    with anyio.CancelScope(shield=True):
        note(context, "stubborn")
        await go.wait()
        yield


@asynccontextmanager
async def build"""
    text = SOURCE.replace("\n@asynccontextmanager\nasync def build", shielded)
    change = (ENTRY, "    async with stubborn(context):\n        pass\n" + ENTRY)
    if who == "old":
        change = (ENTRY, ENTRY)
        text = text.replace(
            "        await publish(",
            """        await publish(Snapshot())
        async with stubborn(self.context):
            await publish(Snapshot())
        await publish(""",
        )
    async with bench(text, {"sources": [{"type": "mine"}]}) as one:
        module = one.module
        if who == "old":
            await eventually(lambda: one.ledger == ["open 1", "stubborn 1"])
        async with given_up(one, GROWS, change):
            await eventually(lambda: one.module is not module)
            if who == "old":
                await anyio.wait_all_tasks_blocked()
                module.go.set()
                await anyio.wait_all_tasks_blocked()
            else:
                await eventually(lambda: one.ledger[-1] == "stubborn 2")
                module = one.module
            monkeypatch.setattr("daemun.process.sources.USUAL_PATIENCE_SECONDS", 0.05)
        assert f"sources mine are not open again after 0.05 s: plugin {one.name}" in caplog.text
        await one.route()
        module.go.set()
        await eventually(lambda: one.ledger.count("open 1") == 2)
        begun = ["stubborn 1", "close 1"] if who == "old" else ["close 1", "stubborn 2", "open 2"]
        assert one.ledger[: len(begun) + 2] == ["open 1", *begun, "open 1"]


async def test_a_protocol_that_fails_when_it_is_asked_leaves_everything_as_it_was(bench: Any) -> None:
    text = (
        FILTER
        + """

async def serve(stream, connection, settings):
    await stream.send(b"%d" % GENERATION)


def silence(settings):
    return 10.0


@hookimpl
def daemun_protocols():
    return [WireProtocol("mine", NoSettings, (), lambda start: Sniff.YES, serve, None, silence_seconds=silence)]
"""
    )
    listeners = [{"name": "lines", "bind": "127.0.0.1:0", "protocols": ["mine"]}]
    async with bench(text, {"listeners": listeners}) as one:
        await one.route("mine")
        registry, observers = one.gateway.parts.registry, one.gateway.parts.observers
        done = await one.reload(GROWS, ("return 10.0", "return {}[settings]"))
        assert done.fault.text.strip() == "return {}[settings]"
        assert (done.generation, one.gateway.parts.registry) == (1, registry)
        assert one.gateway.parts.observers is observers
        assert await one.generation() == 1
        async with await one.running.connect() as stream:
            assert await stream.receive() == b"1"
        assert (await one.reload(("return {}[settings]", "return 10.0"))).generation == 2
        async with await one.running.connect() as stream:
            assert await stream.receive() == b"2"


async def test_what_became_of_certificates_is_told_once_however_often_it_is_compiled(bench: Any) -> None:
    async with bench(FILTER) as one:
        refused = ObjectStatus("certificate", "by-source", "there", "not signed")
        unfit = CertificateSpec("by-us", certificate="", key="", hosts=("a.test",))
        await one.gateway.table.apply("certificates", Snapshot(certificates=(unfit,), refused=(refused,)))
        before = one.gateway.table.statuses
        assert [(status.name, status.error != "") for status in before] == [("by-source", True), ("by-us", True)]
        for _ in range(2):
            assert (await one.reload()).fault is None
            assert one.gateway.table.statuses == before


async def test_new_connections_speak_the_new_protocol_and_old_ones_the_old(bench: Any) -> None:
    text = (
        HEAD
        + """
def sniff(start):
    return Sniff.YES


async def serve(stream, connection, settings):
    while True:
        while not (data := stream.receive_nowait()):
            await stream.wait_readable()
        await stream.send(b"%d:" % GENERATION + data)


async def connect(stream, endpoint, settings):
    raise OSError


@hookimpl
def daemun_protocols():
    return [WireProtocol("mine", NoSettings, (), sniff, serve, connect)]
"""
    )

    async def said(stream: Any) -> bytes:
        await stream.send(b"hey")
        data: bytes = await stream.receive()
        return data

    settings = {"listeners": [{"name": "lines", "bind": "127.0.0.1:0", "protocols": ["mine"]}]}
    async with bench(text, {**settings, "drain": {"grace_seconds": 0}}) as one, await one.running.connect() as old:
        assert await said(old) == b"1:hey"
        assert (await one.reload(GROWS)).fault is None
        async with await one.running.connect() as new:
            assert await said(new) == b"2:hey"
        assert await said(old) == b"1:hey"


async def test_a_dialect_renders_by_its_new_code(bench: Any) -> None:
    text = (
        HEAD
        + """
def render(request, error):
    return Response(error.status, ((b"x-rendered", b"%d" % GENERATION),))


@hookimpl
def daemun_dialects():
    return [Dialect("mine", lambda request: True, render)]
"""
    )
    async with bench(text) as one:
        assert b"x-rendered: 1" in (await one.over_the_wire()).lower()
        assert (await one.reload(GROWS)).fault is None
        assert b"x-rendered: 2" in (await one.over_the_wire()).lower()


@pytest.mark.parametrize("what", ["balancer", "health_check", "activator"])
async def test_a_back_end_is_opened_anew_for_what_it_uses(bench: Any, what: str) -> None:
    text = (
        HEAD
        + """
class First:
    def pick(self, endpoints, request):
        there = [endpoint for endpoint in endpoints if endpoint.address.endswith(str(GENERATION))]
        return there[0] if there else endpoints[0]


async def check(send, endpoint):
    pass


class Starter:
    def __init__(self, context):
        self.context = context

    async def activate(self):
        self.context.endpoints.update((EndpointSpec(f"unix:/nowhere/{GENERATION}"),))


@asynccontextmanager
async def start(settings, context):
    note(context, "open")
    yield Starter(context)
    note(context, "close")


@hookimpl
def daemun_balancers():
    return [BalancerType("mine", NoSettings, lambda settings: First())]


@hookimpl
def daemun_health_checks():
    return [HealthCheckType("mine", NoSettings, lambda settings: check)]


@hookimpl
def daemun_activators():
    return [ActivatorType("mine", NoSettings, start)]
"""
    )
    specs = {
        "balancer": BackendSpec(
            "b", endpoints=_endpoints("/nowhere/1", "/nowhere/2"), settings={"balancer": {"type": "mine"}}
        ),
        "health_check": BackendSpec(
            "b", endpoints=_endpoints("/nowhere/1"), settings={"health_check": {"type": "mine"}}
        ),
        "activator": BackendSpec("b", activator="mine"),
    }
    async with bench(text) as one:
        await one.route(backends=[specs[what]])
        (before,) = one.gateway.table.endpoints
        picked = []
        for number in (1, 2):
            request = make_request()
            with pytest.raises(ExchangeError, match="cannot connect"):
                await one.gateway.table.current.handle(request)
            picked.append(request.exchange.endpoint)
            if number == 1:
                assert (await one.reload(GROWS)).fault is None
        last = {"balancer": [2, 1], "health_check": [1, 1], "activator": [1, 2]}  # who refused is not picked again
        assert picked == [f"unix:/nowhere/{number}" for number in last[what]]
        await eventually(lambda: before not in one.gateway.table.endpoints)
        if what == "activator":
            await eventually(lambda: one.ledger == ["open 1", "open 2", "close 1"])


def _endpoints(*paths: str) -> tuple[EndpointSpec, ...]:
    return tuple(EndpointSpec(f"unix:{path}") for path in paths)


async def test_a_back_end_that_uses_nothing_of_it_stays_open(bench: Any) -> None:
    async with bench(FILTER) as one:
        await one.route("mine", backends=[BackendSpec("b", endpoints=_endpoints("/nowhere/1"))])
        before = tuple(one.gateway.table.endpoints)
        assert (await one.reload(GROWS)).fault is None
        assert tuple(one.gateway.table.endpoints) == before


async def test_what_old_code_holds_for_the_process_ends_after_all_that_uses_it(bench: Any) -> None:
    text = (
        FILTER.replace('    note(context, "open")\n', "    await context.process.open(KEY, lambda: held(context))\n")
        .replace('    note(context, "close")\n', '    await slowly()\n    note(context, "close")\n')
        .replace(
            "@asynccontextmanager\nasync def build",
            """KEY = StashKey("held")


@asynccontextmanager
async def held(context):
    note(context, "hold")
    yield
    note(context, "let go")


async def slowly():
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def watch(settings, context):
    await context.process.open(KEY, lambda: held(context))
    yield Observer()
    await slowly()
    note(context, "watched")


@hookimpl
def daemun_observers():
    return [ObserverType("mine", NoSettings, watch)]


@asynccontextmanager
async def build""",
        )
    )
    async with bench(text, {"observers": [{"type": "mine"}]}) as one:
        await one.route("mine")
        assert (await one.reload(GROWS)).fault is None
        await eventually(lambda: len(one.ledger) == 5)
        assert one.ledger[:2] == ["hold 1", "hold 2"]
        assert sorted(one.ledger[2:4]) == ["close 1", "watched 1"]
        assert one.ledger[4] == "let go 1"
    assert sorted(one.ledger[5:7]) == ["close 2", "watched 2"]
    assert one.ledger[7:] == ["let go 2"]


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])
async def test_reloads_keep_nothing_of_the_old_code(bench: Any) -> None:
    stateful = FILTER.replace(
        "    def layer(handler):\n", "    state = State()\n    STATES.append(state)\n\n    def layer(handler):\n"
    )
    stateful = stateful.replace("class Marks(", "class State:\n    pass\n\n\nSTATES = []\n\n\nclass Marks(")
    async with bench(stateful) as one:
        await one.route("mine")
        assert (await one.reload(GROWS)).fault is None  # the first one is held by who started the gateway with it
        old = [weakref.ref(thing) for thing in (one.module, one.module.State, one.module.STATES[0], one.module.build)]
        assert (await one.reload()).fault is None
        assert await one.generation() == 2
        await eventually(lambda: one.ledger == ["open 1", "open 2", "close 1", "open 2", "close 2"])
        gc.collect()
        assert [ref() for ref in old] == [None] * 4

        counts = []
        for number in range(200):
            if number % 100 == 0:
                await anyio.wait_all_tasks_blocked()
                gc.collect()
                counts.append(len(gc.get_objects()))
            assert (await one.reload()).fault is None
            assert await one.generation() == 2
        await eventually(lambda: one.ledger.count("close 2") == 201)
        gc.collect()
        counts.append(len(gc.get_objects()))
        assert counts[2] - counts[1] < 500, counts
        assert one.gateway.parts.registry.versions[one.name] == 203


FAULTS = {
    "syntax": (("yield layer", "yield layer)"), "unmatched ')'"),
    "import": (("import anyio\n", "import anyio, no_such_module_of_mine\n"), "needs the module no_such_module_of_mine"),
    "raises": (("GENERATION = 1", "GENERATION = 1 / 0"), "ZeroDivisionError: division by zero"),
    "exits": (("GENERATION = 1", "raise SystemExit(3)"), "SystemExit: 3"),
    "hook": (("def daemun_filters():", "def daemun_filterz():"), "unknown hook 'daemun_filterz'"),
    "argument": (("def daemun_filters():", "def daemun_filters(rout):"), "has no argument 'rout' (accepted: none)"),
    "hook raises": (('return [FilterType("mine"', 'return [FiltrType("mine"'), "daemun_filters failed: NameError"),
    "hook exits": (
        ("def daemun_filters():", "def daemun_filters():\n    raise SystemExit(4)"),
        "daemun_filters failed: SystemExit: 4",
    ),
    "returns": (
        ('return [FilterType("mine", Marks, build)]', 'return ["mine"]'),
        "returned a list with a str; accepted: a list of FilterType",
    ),
    "clash": (('FilterType("mine"', 'FilterType("other"'), "filter 'other' is registered by plugin others too"),
    "build": (('    note(context, "open")', '    int("x")'), "invalid literal for int()"),
    "settings": (('mark: str = "x"', "mark: str"), "missing required field `mark`"),
    "gone": (('FilterType("mine"', 'FilterType("yours"'), "unknown filter 'mine'"),
}
PLACES = {
    "hook": "def daemun_filterz",
    "argument": "def daemun_filters(rout)",
    "hook exits": "raise SystemExit(4)",
    "returns": "def daemun_filters",
    "clash": "def daemun_filters",
    "settings": "class Marks",
    "gone": None,
}


@pytest.mark.parametrize("kind", FAULTS)
async def test_code_that_cannot_be_used_is_told_with_its_place_and_the_last_good_stays(bench: Any, kind: str) -> None:
    @asynccontextmanager
    async def build(settings: Any, context: Any) -> AsyncIterator[Any]:
        yield lambda handler: handler

    other = make_plugin("others", daemun_filters=lambda: [FilterType("other", NoSettings, build)])
    told: list[Reload] = []
    async with bench(FILTER, {}, other, tell=told.append) as one:
        await one.route("mine")
        module, table = one.module, one.gateway.table.current
        (old, new), words = FAULTS[kind]
        done = await one.reload((old, new))
        assert told == [done]
        assert done.fault is not None
        assert words in done.fault.words
        place = PLACES.get(kind, new.split("\n")[0].strip())
        if place is None:
            assert done.fault.place == ""
        else:
            lines = one.file.read_text().splitlines()
            assert done.fault.file == str(one.file)
            assert place in lines[done.fault.line - 1]
            assert done.fault.text == lines[done.fault.line - 1]
        assert done.generation == 1
        assert one.module is module
        assert one.gateway.table.current is table
        assert await one.generation() == 1
        done = await one.reload((new, old), GROWS)
        assert (done.fault, done.generation, done.mended) == (None, 2, True)
        assert await one.generation() == 2
        await eventually(lambda: one.ledger[-1] == "close 1")
        assert one.ledger.count("open 1") == 1


async def test_a_fault_says_what_is_gone_when_the_file_is(bench: Any) -> None:
    async with bench(FILTER) as one:
        await one.route("mine")
        one.file.unlink()
        done = await one.developer.reload(one.name)
        assert done.fault.words == f"plugin {one.name}: its file is gone"
        assert done.fault.place == str(one.file)
        assert await one.generation() == 1
        one.file.write_text(FILTER.replace(*GROWS))
        assert (await one.developer.reload(one.name)).generation == 2
        assert await one.generation() == 2


async def test_a_route_that_was_refused_before_does_not_hold_new_code_back(bench: Any) -> None:
    async with bench(FILTER) as one:
        good = RouteSpec("good", Respond(200), filters=(FilterSpec("mine"),))
        bad = RouteSpec("bad", Respond(200), filters=(FilterSpec("mine", {"marc": 1}),))
        assert len((await one.source.publish(good, bad)).refused) == 1
        assert (await one.reload(GROWS)).fault is None
        assert await one.generation() == 2
        assert [status.error != "" for status in one.gateway.table.statuses] == [False, True]
        assert (await one.reload(("mark: str", "marc: int = 0\n    mark: str"))).fault is None
        assert [status.error for status in one.gateway.table.statuses] == ["", ""]


async def test_the_last_good_version_of_a_route_runs_on_the_new_code_too(bench: Any) -> None:
    async with bench(FILTER) as one:
        await one.route("mine")
        bad = RouteSpec("r", Respond(200), filters=(FilterSpec("mine", {"marc": 1}),))
        (refused,) = (await one.source.publish(bad)).refused
        assert refused.error.endswith("; the version from before stays in use")
        assert (await one.reload(GROWS)).fault is None
        assert await one.generation() == 2
        assert one.gateway.table.statuses == (refused,)
        await eventually(lambda: one.ledger == ["open 1", "open 2", "close 1"])
        done = await one.reload(('    note(context, "open")', '    int("x")'))
        assert "route r: " in done.fault.words
        assert await one.generation() == 2


async def test_a_build_that_waits_for_ever_is_given_up(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemun.process.dev.developer._PATIENCE_SECONDS", 0.05)
    async with bench(FILTER) as one:
        await one.route("mine")
        done = await one.reload(('note(context, "open")', "await anyio.sleep_forever()"))
        assert done.fault.words == f"plugin {one.name}: it was not ready after 0.05 s"
        assert await one.generation() == 1


async def test_a_plugin_that_is_not_loaded_or_has_no_file_cannot_be_developed(bench: Any) -> None:
    async with bench(FILTER, {}, make_plugin("of_no_file")) as one:
        for name, words in (("nobody", "it is not loaded"), ("of_no_file", "its code is in no file that could change")):
            with pytest.raises(PluginError, match=words):
                Developer(one.gateway, Settings(), [name], lambda reload: None)


async def test_saves_are_seen(bench: Any) -> None:
    told: list[Reload] = []
    async with bench(FILTER, tell=told.append, watched=True) as one:
        await one.route("mine")
        one.save(GROWS)
        await eventually(lambda: len(told) == 1)
        assert (told[0].fault, told[0].generation) == (None, 2)
        fresh = one.file.with_suffix(".new")
        fresh.write_text(one.file.read_text().replace("yield layer", "yield layer)"))
        fresh.replace(one.file)  # as editors do
        await eventually(lambda: len(told) == 2)
        assert told[1].fault is not None
        one.file.unlink()
        await eventually(lambda: len(told) == 3)
        assert told[2].fault is not None
        assert told[2].fault.words.endswith("its file is gone")
        one.file.write_text(FILTER.replace("GENERATION = 1", "GENERATION = 3"))
        await eventually(lambda: told[-1].fault is None and len(told) > 3)
        assert told[-1].mended
        assert await one.generation() == 3


async def test_an_installed_package_whose_hooks_are_an_object(
    tmp_path: Path, restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    information = tmp_path / "dev_installed-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: dev-installed\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[daemun]\ndeveloped = dev_installed.hooks:Hooks.mine\n")
    folder = tmp_path / "dev_installed"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "status.py").write_text("STATUS = 201\n")
    (folder / "hooks.py").write_text(
        HEAD
        + """
from .status import STATUS


@asynccontextmanager
async def build(settings, context):
    async def handle(request):
        return Response(STATUS)

    yield handle


class Brings:
    @hookimpl
    def daemun_backends(self):
        return [BackendType("mine", NoSettings, build)]


class Hooks:
    mine = Brings()
"""
    )
    source = HandSource()
    settings = convert(source.settings, Settings)
    manager = load_plugins(only=["http1", "developed"], extra=[source.plugin])
    async with (
        open_gateway(settings, manager, tmp_path, developed=["developed"]) as gateway,
        open_developer(gateway, settings, ["developed"], lambda reload: None, watched=False) as developer,
    ):
        await source.publish(RouteSpec("r", Forward((Split("b"),))), backends=[BackendSpec("b", type="mine")])
        for number in (201, 202, 203):
            (folder / "status.py").write_text(f"STATUS = {number}\n")
            if number > 201:
                assert (await developer.reload("developed")).brings == ("backend mine",)
            assert (await gateway.table.current.handle(make_request())).status == number
        (folder / "hooks.py").write_text("Hooks = None\n")
        done = await developer.reload("developed")
        assert done.fault is not None
        assert done.fault.words.endswith("module dev_installed.hooks has no Hooks.mine, which its entry point names")
        assert done.fault.place == str(folder / "hooks.py")
        assert (await gateway.table.current.handle(make_request())).status == 203
