"""Sources, balancers, matchers, activators, observers and registrations that break their word: each is named, and no
other thing is hurt."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import click
import pytest

from daemun import (
    ActivatorType,
    BackendType,
    BalancerType,
    Buffered,
    FilterType,
    Handler,
    MatcherType,
    NoSettings,
    Observer,
    ObserverType,
    PluginError,
    Request,
    Response,
    RouteSpec,
    Snapshot,
    SourceType,
)
from daemun.extend.loading import load_plugins
from daemun.extend.registry import Registry
from daemun.routing.spec import Respond
from daemun.testing import HandSource, Wire, built, eventually, make_plugin, running, scripted
from daemun.testing.upstreams import answer_ok

pytestmark = pytest.mark.anyio

ANY: Any = None

GET = b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n"


async def ask(wire: Wire, path: bytes = b"/") -> tuple[int, bytes]:
    await wire.send(GET % path)
    answer = await wire.answer()
    return answer.status, answer.body


@asynccontextmanager
async def before(source: dict[str, Any], *plugins: ModuleType, **more: Any) -> AsyncIterator[Wire]:
    """A connection to a gateway with an inline source, and `plugins`."""
    raw = {"sources": [{"type": "inline", **source}], "drain": {"grace_seconds": 5}, **more}
    async with running(raw, only=["http1", "file"], extra=plugins) as gateway:
        wire = Wire(await gateway.connect())
        try:
            yield wire
        finally:
            await wire.aclose()
        await eventually(lambda: gateway.gateway.table.leases == 0, "the end of every exchange")
        assert all(one.in_flight == one.waiting == 0 for one in gateway.gateway.table.endpoints)


def faults(caplog: pytest.LogCaptureFixture, logger: str = "daemun.exchange") -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == logger]


# --- balancers, matchers ---


class Picks:
    """A balancer that picks what a test says."""

    def __init__(self, picks: Any) -> None:
        self.picks = picks

    def pick(self, endpoints: Any, request: Request) -> Any:
        if request.path == b"/fine":
            return endpoints[0]
        if isinstance(self.picks, Exception):
            raise self.picks
        return self.picks


@pytest.mark.parametrize("picks", ["endpoint", 7, object(), LookupError("dizzy")])
async def test_a_balancer_that_picks_rubbish_is_a_500(picks: Any, caplog: pytest.LogCaptureFixture) -> None:
    plugin = make_plugin("dizzy", daemun_balancers=lambda: [BalancerType("odd", NoSettings, lambda _: Picks(picks))])
    async with scripted(answer_ok) as one, scripted(answer_ok) as two:
        up = {"endpoints": [one.url, two.url], "settings": {"balancer": "odd"}}
        async with before({"backends": {"up": up}, "routes": [{"name": "all", "to": "up"}]}, plugin) as wire:
            for _ in range(2):
                assert (await ask(wire))[0] == 500
                assert await ask(wire, b"/fine") == (200, b"ok")
    assert len(faults(caplog)) == 2
    assert all(line.startswith("route all: plugin dizzy") for line in faults(caplog))


@pytest.mark.parametrize("says", [None, 1, "yes", LookupError("lost")])
async def test_a_matcher_that_says_neither_yes_nor_no_is_a_500(says: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def matches(request: Request, peek: object) -> Any:
        if isinstance(says, Exception):
            raise says
        return says

    plugin = make_plugin("vague", daemun_matchers=lambda: [MatcherType("odd", NoSettings, built(matches))])
    routes = [
        {"name": "odd", "match": {"path": "/odd", "matchers": [{"type": "odd"}]}, "respond": {"body": "odd"}},
        {"name": "rest", "respond": {"body": "fine"}},
    ]
    async with before({"routes": routes}, plugin) as wire:
        for _ in range(2):
            assert (await ask(wire, b"/odd"))[0] == 500
            assert await ask(wire) == (200, b"fine")
    assert len(faults(caplog)) == 2
    assert all("plugin vague" in line for line in faults(caplog))


# --- filters in front of others ---


@pytest.mark.parametrize("headers", [None, "x-a: 1", (("x-a", "1"),), ((b"x a", b"1"),), ((b"x-a", b"1\r\nb: 2"),)])
async def test_a_request_that_a_filter_spoils_reaches_nobody(headers: Any, caplog: pytest.LogCaptureFixture) -> None:
    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            return await handler(request.with_headers(headers) if request.path == b"/odd" else request)

        return handle

    plugin = make_plugin("spoiler", daemun_filters=lambda: [FilterType("odd", NoSettings, built(layer))])
    async with scripted(answer_ok) as upstream:
        source = {
            "backends": {"up": {"endpoints": [upstream.url]}},
            "routes": [{"name": "all", "to": "up", "filters": [{"type": "odd"}]}],
        }
        async with before(source, plugin) as wire:
            for _ in range(2):
                assert (await ask(wire, b"/odd"))[0] == 500
                assert await ask(wire) == (200, b"ok")
        assert [one.target for one in upstream.asked] == [b"/", b"/"]
    assert len(faults(caplog)) == 2
    assert all("plugin spoiler (filter odd)" in line for line in faults(caplog))


@pytest.mark.parametrize("gives", [None, "a layer", lambda handler: None, lambda handler: "a handler"])
async def test_a_filter_that_is_none_has_its_route_refused(gives: Any, caplog: pytest.LogCaptureFixture) -> None:
    plugin = make_plugin("hollow", daemun_filters=lambda: [FilterType("odd", NoSettings, built(gives))])
    routes = [
        {"name": "odd", "match": {"path": "/odd"}, "respond": {"body": "odd"}, "filters": [{"type": "odd"}]},
        {"name": "rest", "respond": {"body": "fine"}},
    ]
    async with before({"routes": routes}, plugin) as wire:
        for _ in range(2):
            assert (await ask(wire, b"/odd")) == (200, b"fine")  # of the other route
            assert await ask(wire) == (200, b"fine")
    (refused,) = [line for line in caplog.messages if "route odd refused" in line]
    assert "plugin hollow: filter odd at " in refused
    assert re.search(r":[0-9]+ gave (a str|None); accepted: a (layer|handler)", refused)


# --- activators ---


class Asleep:
    """An activator that does not what it should."""

    def __init__(self, fault: Exception | None) -> None:
        self.fault = fault

    async def activate(self) -> None:
        if self.fault is not None:
            raise self.fault


@pytest.mark.parametrize("fault", [None, LookupError("no power")])
async def test_an_activator_that_gives_no_endpoint_is_named(
    fault: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    kind = ActivatorType("odd", NoSettings, built(Asleep(fault)))
    plugin = make_plugin("sleeper", daemun_activators=lambda: [kind])
    source = {
        "backends": {"up": {"activator": "odd"}},
        "routes": [
            {"name": "all", "match": {"path": "/odd"}, "to": "up"},
            {"name": "rest", "respond": {"body": "fine"}},
        ],
    }
    async with before(source, plugin) as wire:
        for _ in range(2):
            assert (await ask(wire, b"/odd"))[0] == 504
            assert await ask(wire) == (200, b"fine")
    assert any("plugin sleeper" in line for line in faults(caplog, "daemun.activation"))


# --- sources, observers ---


@pytest.mark.parametrize("snapshot", [None, "routes", [], Snapshot(routes=None), Snapshot(routes=(None,))])  # type: ignore[arg-type]
async def test_a_source_that_publishes_rubbish_keeps_what_it_published_last(
    snapshot: Any, caplog: pytest.LogCaptureFixture
) -> None:
    again = anyio.Event()

    class Rubbish:
        async def run(self, publish: Callable[[Any], Any]) -> None:
            await publish(Snapshot((RouteSpec("kept", Respond(200, b"kept")),)))
            await again.wait()
            await publish(snapshot)
            raise LookupError("it was taken")

        def reload(self) -> None:
            raise LookupError("no reload")

    plugin = make_plugin("rambling", daemun_sources=lambda: [SourceType("odd", NoSettings, built(Rubbish()))])
    raw = {"sources": [{"type": "odd"}], "drain": {"grace_seconds": 5}}
    async with running(raw, only=["http1", "file"], extra=[plugin]) as gateway:
        wire = Wire(await gateway.connect())
        assert (await ask(wire))[0] == 200
        gateway.gateway.reload()
        again.set()
        await eventually(lambda: any("source odd failed: " in line for line in caplog.messages), "the log")
        assert (await ask(wire))[0] == 200
        await wire.aclose()
    told = [line for line in caplog.messages if line.startswith("source odd failed")]
    assert len(told) >= 2
    assert all("plugin rambling" in line for line in told)


@pytest.mark.parametrize("field", ["name", "hosts", "path", "action", "filters", "methods", "headers", "priority"])
async def test_a_route_of_the_wrong_types_is_refused_alone(field: str) -> None:
    good = RouteSpec("good", Respond(200, b"good"))
    for rubbish in (None, 7, "x", ("x",), object()):
        bad = RouteSpec(**{"name": "bad", "action": Respond(200, b"bad"), field: rubbish})  # type: ignore[arg-type]
        source = HandSource()
        raw = {**source.settings, "drain": {"grace_seconds": 5}}
        async with running(raw, only=["http1"], extra=[source.plugin]) as gateway:
            try:
                await source.publish(good, bad)
            except Exception:
                await source.publish(good)
            wire = Wire(await gateway.connect())
            assert (await ask(wire))[0] in (200, 500)
            await wire.aclose()


async def test_an_observer_that_fails_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Observer):
        def finished(self, request: Any, response: Any, exchange: Any) -> None:
            raise LookupError("blind")

        def reopen(self) -> None:
            raise LookupError("closed")

    plugin = make_plugin("blind", daemun_observers=lambda: [ObserverType("odd", NoSettings, built(Failing()))])
    raw = {
        "sources": [{"type": "inline", "routes": [{"name": "all", "respond": {"body": "fine"}}]}],
        "observers": [{"type": "odd"}],
        "drain": {"grace_seconds": 5},
    }
    async with running(raw, only=["http1", "file"], extra=[plugin]) as gateway:
        wire = Wire(await gateway.connect())
        for _ in range(2):
            assert await ask(wire) == (200, b"fine")
        gateway.gateway.reopen()
        await wire.aclose()
    told = [line for line in caplog.messages if "an observer failed" in line]
    assert len(told) == 3
    assert all(f"plugin blind at {__file__}:" in line for line in told)


# --- registrations ---


def raising() -> Iterator[Any]:
    yield FilterType("first", NoSettings, built(ANY))
    raise LookupError("no second")


REGISTERED: dict[str, tuple[str, Callable[[], Any], str]] = {
    "a generator that raises": ("daemun_filters", raising, "LookupError: no second"),
    "nothing": ("daemun_filters", lambda: None, "returned None; accepted: a list of FilterType"),
    "no filter": ("daemun_filters", lambda: ["knock"], "returned a list with a str; accepted: a list of FilterType"),
    "no name": (
        "daemun_filters",
        lambda: [FilterType("", NoSettings, built(ANY))],
        "accepted: FilterType with a name",
    ),
    "a phase in words": (
        "daemun_filters",
        lambda: [FilterType("odd", NoSettings, built(ANY), phase="early")],  # type: ignore[arg-type]
        "filter odd: phase is 'early'; accepted: one of Phase: EARLY",
    ),
    "a negative buffer": (
        "daemun_filters",
        lambda: [FilterType("odd", NoSettings, built(ANY), buffer_bytes=-1)],
        "filter odd: buffer_bytes is -1; accepted: 0 or more",
    ),
    "a policy in words": (
        "daemun_filters",
        lambda: [FilterType("odd", NoSettings, built(ANY), failure="open")],  # type: ignore[arg-type]
        "filter odd: failure is 'open'; accepted: one of FailurePolicy: CLOSED, OPEN or DisableAfter",
    ),
    "an order in words": (
        "daemun_filters",
        lambda: [FilterType("odd", NoSettings, built(ANY), before="cors")],  # type: ignore[arg-type]
        "filter odd: before is 'cors'; accepted: a tuple of str",
    ),
    "settings that are none": (
        "daemun_backends",
        lambda: [BackendType("odd", dict, built(ANY))],  # type: ignore[arg-type]
        "odd: settings is <class 'dict'>; accepted: a subclass of Struct",
    ),
    "a build that is none": (
        "daemun_sources",
        lambda: [SourceType("odd", NoSettings, None)],  # type: ignore[arg-type]
        "source odd: build is None; accepted: a function",
    ),
    "patience in words": (
        "daemun_sources",
        lambda: [SourceType("odd", NoSettings, built(ANY), patience_seconds="long")],  # type: ignore[arg-type]
        "source odd: patience_seconds is 'long'; accepted: float",
    ),
}


@pytest.mark.parametrize("what", REGISTERED)
def test_a_registration_that_does_not_fit_names_the_plugin_and_the_field(what: str) -> None:
    hook, function, words = REGISTERED[what]
    with pytest.raises(PluginError) as raised:
        Registry(load_plugins(only=["http1"], extra=[make_plugin("clumsy", **{hook: function})]))
    assert raised.value.plugin == "clumsy"
    assert words in str(raised.value)


async def test_what_a_plugin_leaves_behind_is_cleaned_up() -> None:
    """Tasks of a streamed exchange end with it, and a body that nobody read is closed."""
    ended: list[str] = []

    class Body:
        length = None
        trailers = ()

        async def read(self) -> bytes:
            return b""

        async def aclose(self) -> None:
            ended.append("body")

    async def linger() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("task")

    async def handle(request: Request) -> Response:
        assert request.exchange.tasks is not None
        request.exchange.tasks.start_soon(linger)
        await anyio.lowlevel.checkpoint()
        return Response(204, (), Body()) if request.path == b"/bare" else Response(200, (), Buffered(b"fine"))

    kind = BackendType("odd", NoSettings, built(handle))
    plugin = make_plugin("careless", daemun_backends=lambda: [kind])
    source = {"backends": {"up": {"type": "odd"}}, "routes": [{"name": "all", "to": "up"}]}
    async with before(source, plugin) as wire:
        for path, left in ((b"/", ["task"]), (b"/bare", ["body", "task"])):
            ended.clear()
            await wire.send(b"POST %b HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % path)
            assert (await wire.answer("POST")).status in (200, 204)
            await eventually(lambda left=left: sorted(ended) == left, "the end of what was left")  # type: ignore[misc]


# --- failure policies, commands ---


@pytest.mark.parametrize("gives", [None, "an answer", 200, LookupError("broken")])
@pytest.mark.parametrize("policy", ["open", {"faults": 2, "within_seconds": 600, "rest_seconds": 600}, "closed"])
async def test_the_failure_policy_holds_whatever_a_filter_gives(
    gives: Any, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[bytes] = []

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Any:
            called.append(request.path)
            if isinstance(gives, Exception):
                raise gives
            return gives

        return handle

    plugin = make_plugin("flimsy", daemun_filters=lambda: [FilterType("odd", NoSettings, built(layer))])
    routes = [{"name": "all", "respond": {"body": "fine"}, "filters": [{"type": "odd"}]}]
    async with before({"routes": routes}, plugin, plugins={"failure": {"odd": policy}}) as wire:
        answers = [await ask(wire) for _ in range(4)]
    if policy == "closed":
        assert [status for status, _ in answers] == [500] * 4
    else:
        assert answers == [(200, b"fine")] * 4
    assert len(called) == (2 if isinstance(policy, dict) else 4)
    assert any("plugin flimsy" in line for line in caplog.messages)


def test_a_command_that_raises_is_one_line_that_names_its_plugin(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def stumble() -> None:
        raise LookupError("no such street")

    manager = load_plugins(only=["http1"], extra=[make_plugin("lame", daemun_commands=lambda: [stumble])])
    monkeypatch.setattr("daemun.cli.main.usable_plugins", lambda: (Registry(manager), ()))
    done = cli("stumble")
    assert done.exit_code == 1
    line = f"{__file__}:{stumble.callback.__code__.co_firstlineno + 2}"  # type: ignore[union-attr]
    assert done.stderr == f"daemun: the command failed: plugin lame at {line} raised LookupError('no such street')\n"
