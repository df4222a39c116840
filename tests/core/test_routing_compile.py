"""A route becomes one chain: order of filters, buffering, failure policy, and faults in words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from inspect import unwrap
from typing import Annotated, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct, structs

from daemun import (
    BackendSpec,
    BackendType,
    Body,
    Buffered,
    DisableAfter,
    EndpointSpec,
    ExchangeError,
    FailurePolicy,
    FilterSpec,
    FilterType,
    Forward,
    Handler,
    HeaderEdit,
    Headers,
    HostKind,
    HostMatch,
    Layer,
    MatcherSpec,
    MatcherType,
    NoSettings,
    PathKind,
    PathMatch,
    Phase,
    PluginError,
    Reason,
    Redirect,
    Request,
    Respond,
    Response,
    Retries,
    RouteSpec,
    SettingsError,
    Split,
    ValueKind,
    ValueMatch,
)
from daemun.extend.ordering import in_order
from daemun.testing import Pieces, built, make_plugin, make_request, routed, running

pytestmark = pytest.mark.anyio


def marking(name: str, **how: Any) -> FilterType:
    """A filter that writes its name into `x-passed` on the way in."""

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            passed = (request.header(b"x-passed") or b"") + b" " + name.encode()
            return await handler(request.with_header(b"x-passed", passed.strip()))

        return handle

    return FilterType(name, NoSettings, built(layer), **how)


def line_of(function: Callable[..., Any], below: int = 0) -> str:
    """` at FILE:LINE` of a function of this file without decorators, or of a line of it."""
    return f" at {__file__}:{function.__code__.co_firstlineno + below}"


async def echo(request: Request) -> Response:
    """Answers with what passed, the target and the content."""
    data = b""
    while chunk := await request.body.read():
        data += chunk
    headers = ((b"x-passed", request.header(b"x-passed") or b""), (b"x-target", request.target))
    return Response(200, headers, Buffered(data))


ECHO = BackendType("echo", NoSettings, built(echo))


def plugin_with(*filters: FilterType, backends: tuple[BackendType, ...] = (ECHO,)) -> Any:
    return make_plugin("test_plugin", daemun_filters=lambda: filters, daemun_backends=lambda: backends)


def route(*filters: str | FilterSpec, name: str = "r", **changes: Any) -> RouteSpec:
    specs = tuple(FilterSpec(one) if isinstance(one, str) else one for one in filters)
    return RouteSpec(name, Forward((Split("echo"),)), filters=specs, **changes)


BACKENDS = (BackendSpec("echo", "echo"),)


async def passed_by(filters: list[FilterType], *names: str) -> list[str]:
    async with routed(plugin_with(*filters)) as table:
        applied = await table.publish(route(*names), backends=BACKENDS)
        assert not applied.refused
        response = await table.handle(make_request())
        return (response.header(b"x-passed") or b"").decode().split()


async def test_filters_pass_by_phase_whatever_the_route_lists() -> None:
    filters = [
        marking("late", phase=Phase.UPSTREAM),
        marking("plain"),
        marking("who", phase=Phase.AUTHN),
        marking("first", phase=Phase.EARLY),
        marking("may", phase=Phase.AUTHZ),
        marking("rate", phase=Phase.RATELIMIT),
        marking("cors", phase=Phase.CORS),
    ]
    names = [kind.name for kind in filters]
    assert await passed_by(filters, *names) == ["first", "cors", "who", "may", "rate", "plain", "late"]


async def test_before_and_after_hold_within_a_phase() -> None:
    filters = [marking("a", after=("b",)), marking("b"), marking("c", before=("b",))]
    assert await passed_by(filters, "a", "b", "c") == ["c", "b", "a"]


async def test_a_demand_moves_nobody_else() -> None:
    filters = [marking("a", after=("b",)), marking("b"), marking("c")]
    assert await passed_by(filters, "a", "b", "c") == ["b", "a", "c"]


async def test_where_nothing_is_demanded_the_route_decides() -> None:
    filters = [marking("a"), marking("b"), marking("c")]
    assert await passed_by(filters, "c", "a", "b", "a") == ["c", "a", "b", "a"]


async def test_filters_that_wait_for_each_other_are_named() -> None:
    filters = [marking("a", after=("b",)), marking("b", after=("a",)), marking("c")]
    async with routed(plugin_with(*filters)) as table:
        applied = await table.publish(route("a", "b", "c"), backends=BACKENDS)
    words = applied.refused[0].error
    assert words.startswith("filters wait for each other: ")
    assert {"a", "b"} <= set(words.partition(": ")[2].split(" → "))


@given(st.data())
def test_the_order_keeps_every_demand_and_every_filter(data: st.DataObject) -> None:
    names = data.draw(st.permutations("abcde"))
    ranks = {name: rank for rank, name in enumerate("abcde")}
    kinds = []
    for name in names:
        later = [other for other in names if ranks[other] > ranks[name]]
        earlier = [other for other in names if ranks[other] < ranks[name]]
        chosen = st.lists(st.sampled_from(later), max_size=2) if later else st.just([])
        chosen_earlier = st.lists(st.sampled_from(earlier), max_size=2) if earlier else st.just([])
        kinds.append(
            marking(
                name,
                phase=data.draw(st.sampled_from([Phase.AUTHN, Phase.TRANSFORM])),
                before=tuple(data.draw(chosen)),
                after=tuple(data.draw(chosen_earlier)),
            )
        )
    order = in_order(kinds)
    assert sorted(order) == list(range(len(kinds)))
    place = {kinds[position].name: rank for rank, position in enumerate(order)}
    phase = {kind.name: kind.phase for kind in kinds}
    assert [kinds[position].phase for position in order] == sorted(phase.values())
    for kind in kinds:
        for other in kind.before:
            assert phase[other] is not kind.phase or place[kind.name] < place[other]
        for other in kind.after:
            assert phase[other] is not kind.phase or place[other] < place[kind.name]


async def test_the_chain_is_told_in_words_outermost_first() -> None:
    async with routed(plugin_with(marking("a"))) as table:
        await table.publish(
            RouteSpec(
                "all",
                Forward((Split("echo", 3), Split("other", 1)), Retries(attempts=2)),
                filters=(FilterSpec("a"),),
                timeout_seconds=2.5,
                rewrite_path="/x",
                request_headers=HeaderEdit(remove=("x",)),
            ),
            RouteSpec("gone", Redirect(path="/y", status=308)),
            RouteSpec("fixed", Respond(204)),
            RouteSpec("tried", Forward((Split("echo"),), Retries(per_try_timeout_seconds=1))),
            backends=(*BACKENDS, BackendSpec("other", "echo")),
        )
        assert table.chain("all") == [
            "timeout 2.5 s",
            "filter a",
            "rewrite",
            "headers",
            "forward retry 2 × (echo × 3 | other × 1)",
        ]
        assert table.chain("gone") == ["redirect 308"]
        assert table.chain("fixed") == ["respond 204"]
        assert table.chain("tried") == ["forward retry 0 × (echo)"]


async def test_filters_see_the_request_before_it_is_rewritten() -> None:
    seen: list[bytes] = []

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            seen.append(request.target)
            return await handler(request)

        return handle

    async with routed(plugin_with(FilterType("see", NoSettings, built(layer)))) as table:
        await table.publish(route("see", rewrite_path="/after"), backends=BACKENDS)
        response = await table.handle(make_request(url="http://a/before?q"))
    assert seen == [b"/before?q"]
    assert response.header(b"x-target") == b"/after?q"


async def test_a_share_of_a_split_has_request_headers_of_its_own() -> None:
    split = Split("echo", request_headers=HeaderEdit(set={"x-passed": "share"}))
    async with routed(plugin_with()) as table:
        await table.publish(RouteSpec("r", Forward((split,))), backends=BACKENDS)
        response = await table.handle(make_request())
    assert response.header(b"x-passed") == b"share"


async def test_hooks_add_filters_to_every_route_as_it_is_compiled() -> None:
    asked: list[str] = []

    def daemun_route_filters(route: RouteSpec) -> list[FilterSpec]:
        asked.append(route.name)
        return [FilterSpec("added")] if route.name == "r" else []

    adding = make_plugin("adding", daemun_route_filters=daemun_route_filters)
    async with routed(plugin_with(marking("added"), marking("own")), adding) as table:
        await table.publish(route("own"), RouteSpec("other", Respond()), backends=BACKENDS)
        assert table.chain("r") == ["filter own", "filter added", "forward echo"]
        assert asked == ["r", "other"]


async def test_a_hook_that_fails_refuses_its_route_and_names_the_plugin() -> None:
    def daemun_route_filters(route: RouteSpec) -> list[FilterSpec]:
        if route.name == "bad":
            raise RuntimeError("no idea")
        return []

    adding = make_plugin("adding", daemun_route_filters=daemun_route_filters)
    async with routed(plugin_with(), adding) as table:
        applied = await table.publish(RouteSpec("bad", Respond()), RouteSpec("good", Respond()))
        assert [(status.name, status.error) for status in applied.refused] == [
            (
                "bad",
                f"plugin adding: daemun_route_filters failed: RuntimeError: no idea{line_of(daemun_route_filters, 2)}",
            )
        ]
        assert (await table.handle(make_request())).status == 200


@pytest.mark.parametrize(
    ("returned", "words"), [(None, "None"), (FilterSpec("x"), "a FilterSpec"), (["x"], "a list with a str")]
)
async def test_a_hook_that_returns_no_list_refuses_its_route(returned: Any, words: str) -> None:
    def daemun_route_filters(route: RouteSpec) -> Any:
        return returned

    adding = make_plugin("adding", daemun_route_filters=daemun_route_filters)
    async with routed(plugin_with(), adding) as table:
        applied = await table.publish(RouteSpec("bad", Respond()))
    where = f"daemun_route_filters{line_of(daemun_route_filters)}"
    assert applied.refused[0].error == f"plugin adding: {where} returned {words}; accepted: a list of FilterSpec"


# --- buffering ---


class Chunks:
    """A body that comes in pieces and counts what was read."""

    def __init__(self, *chunks: bytes, length: int | None = None, trailers: Headers = ()) -> None:
        self.length = length
        self.trailers = trailers
        self._chunks = list(chunks)
        self.reads = 0

    async def read(self) -> bytes:
        self.reads += 1
        return self._chunks.pop(0) if self._chunks else b""

    async def aclose(self) -> None:
        self._chunks.clear()


async def test_a_filter_that_asks_for_it_sees_the_whole_body() -> None:
    seen: list[bytes] = []

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            assert isinstance(request.body, Buffered)
            seen.append(request.body.data)
            seen.append(b"%d" % len(request.body.trailers))
            return await handler(request)

        return handle

    async with routed(plugin_with(FilterType("see", NoSettings, built(layer), buffer_bytes=10))) as table:
        await table.publish(route("see"), backends=BACKENDS)
        body = Chunks(b"abc", b"def", trailers=((b"x-sum", b"1"),))
        response = await table.handle(make_request("POST", body=body))
        assert seen == [b"abcdef", b"1"]
        assert await response.body.read() == b"abcdef"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Chunks(b"12345", b"678901"),
        lambda: Buffered(b"12345678901"),
        lambda: Chunks(b"12345678901", length=11),
    ],
    ids=["chunked", "in memory", "announced"],
)
async def test_a_body_above_the_limit_of_a_filter_is_refused(make: Callable[[], Body]) -> None:
    async with routed(plugin_with(marking("a", buffer_bytes=10))) as table:
        await table.publish(route("a"), backends=BACKENDS)
        with pytest.raises(ExchangeError) as raised:
            await table.handle(make_request("POST", body=make()))
    assert (raised.value.reason, raised.value.status) == (Reason.CONTENT_TOO_LARGE, 413)


async def test_a_body_that_announces_too_much_is_refused_unread() -> None:
    body = Chunks(b"12345678901", length=11)
    async with routed(plugin_with(marking("a", buffer_bytes=10))) as table:
        await table.publish(route("a"), backends=BACKENDS)
        with pytest.raises(ExchangeError):
            await table.handle(make_request("POST", body=body))
    assert body.reads == 0


@pytest.mark.parametrize(
    "make",
    [lambda: Chunks(b"1234567890"), Chunks, lambda: Buffered(b"1234567890")],
    ids=["chunked", "empty", "in memory"],
)
async def test_a_body_up_to_the_limit_is_taken(make: Callable[[], Body]) -> None:
    async with routed(plugin_with(marking("a", buffer_bytes=10))) as table:
        await table.publish(route("a"), backends=BACKENDS)
        assert (await table.handle(make_request("POST", body=make()))).status == 200


# --- failure policy ---


def failing(where: str, failure: FailurePolicy) -> FilterType:
    """A filter that fails before or after the next handler."""

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            if where == "before":
                raise LookupError("before")
            try:
                response = await handler(request)
            except ExchangeError:
                if where == "instead":
                    raise LookupError("instead") from None
                raise
            if where == "after":
                raise LookupError("after")
            return response

        return handle

    return FilterType("fails", NoSettings, built(layer), failure=failure)


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_filter_that_may_fail_is_passed_by(where: str) -> None:
    calls: list[Request] = []

    async def count(request: Request) -> Response:
        calls.append(request)
        return Response(200)

    counting = BackendType("echo", NoSettings, built(count))
    async with routed(plugin_with(failing(where, FailurePolicy.OPEN), backends=(counting,))) as table:
        await table.publish(route("fails"), backends=BACKENDS)
        assert (await table.handle(make_request())).status == 200
    assert len(calls) == 1


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_filter_that_may_not_fail_ends_the_exchange(where: str) -> None:
    async with routed(plugin_with(failing(where, FailurePolicy.CLOSED))) as table:
        await table.publish(route("fails"), backends=BACKENDS)
        with pytest.raises(LookupError, match=where):
            await table.handle(make_request())


@pytest.mark.parametrize("error", [ExchangeError(Reason.NO_ENDPOINT), KeyError("inner")])
@pytest.mark.parametrize("where", ["never", "instead"])
async def test_what_the_inner_handler_raises_is_not_the_filters_failure(error: Exception, where: str) -> None:
    calls: list[Request] = []

    async def fail(request: Request) -> Response:
        calls.append(request)
        raise error

    backend = BackendType("echo", NoSettings, built(fail))
    async with routed(plugin_with(failing(where, FailurePolicy.OPEN), backends=(backend,))) as table:
        await table.publish(route("fails"), backends=BACKENDS)
        with pytest.raises(type(error)) as raised:
            await table.handle(make_request("POST"))
    assert raised.value is error
    assert len(calls) == 1


async def test_a_filter_that_may_fail_can_still_refuse_on_purpose() -> None:
    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            raise ExchangeError(Reason.BAD_REQUEST, "not so")

        return handle

    refusing = FilterType("no", NoSettings, built(layer), failure=FailurePolicy.OPEN)
    async with routed(plugin_with(refusing)) as table:
        await table.publish(route("no"), backends=BACKENDS)
        with pytest.raises(ExchangeError, match="not so"):
            await table.handle(make_request())


async def test_a_filter_that_began_to_read_the_content_cannot_be_passed_by() -> None:
    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            await request.body.read()
            raise LookupError("too late")

        return handle

    late = FilterType("late", NoSettings, built(layer), failure=FailurePolicy.OPEN)
    async with routed(plugin_with(late)) as table:
        await table.publish(route("late"), backends=BACKENDS)
        with pytest.raises(LookupError, match="too late"):
            await table.handle(make_request("POST", body=Pieces(b"a", b"b")))
        assert (await table.handle(make_request("POST", body=Buffered(b"ab")))).status == 200


async def test_a_filter_that_may_fail_keeps_what_its_layer_counts() -> None:
    def layer(handler: Handler) -> Handler:
        count = 0

        async def handle(request: Request) -> Response:
            nonlocal count
            count += 1
            if count == 2:
                raise LookupError("the second")
            return (await handler(request)).with_header(b"x-count", b"%d" % count)

        return handle

    counting = FilterType("counting", NoSettings, built(layer), failure=FailurePolicy.OPEN)
    async with routed(plugin_with(counting)) as table:
        await table.publish(route("counting"), backends=BACKENDS)
        counts = [(await table.handle(make_request())).header(b"x-count") for _ in range(3)]
    assert counts == [b"1", None, b"3"]


def counted(calls: list[str], policy: DisableAfter) -> FilterType:
    """A filter that fails on `/fail`, and notes each call."""

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            calls.append(request.target.decode())
            if request.target == b"/fail":
                raise LookupError("again")
            return await handler(request)

        return handle

    return FilterType("counted", NoSettings, built(layer), failure=policy)


async def test_a_filter_that_fails_often_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []
    kind = counted(calls, DisableAfter(faults=3, within_seconds=1000, rest_seconds=1000))
    async with routed(plugin_with(kind)) as table:
        await table.publish(route("counted"), backends=BACKENDS)
        for path in ("fail", "ok", "fail", "fail", "ok", "fail"):
            assert (await table.handle(make_request(url=f"http://a.test/{path}"))).status == 200
    assert calls == ["/fail", "/ok", "/fail", "/fail"]
    assert (
        "filter counted (plugin test_plugin) failed 3 times within 1000 s and is left out for 1000 s" in caplog.messages
    )


async def test_a_filter_that_is_passed_by_is_logged_with_its_route_and_its_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kind = counted([], DisableAfter())
    async with routed(plugin_with(kind)) as table:
        await table.publish(route("counted"), backends=BACKENDS)
        await table.handle(make_request(url="http://a.test/fail"))
    who = f"plugin test_plugin (filter counted){line_of(counted, 7)}"
    assert f"route r: {who} failed and is passed by" in caplog.messages


async def test_a_filter_that_was_left_out_is_tried_again() -> None:
    calls: list[str] = []
    kind = counted(calls, DisableAfter(faults=1, within_seconds=1, rest_seconds=0.01))
    async with routed(plugin_with(kind)) as table:
        await table.publish(route("counted"), backends=BACKENDS)
        for _ in range(2):
            calls.clear()
            while not calls:
                assert (await table.handle(make_request(url="http://a.test/fail"))).status == 200


async def test_faults_long_apart_do_not_add_up() -> None:
    calls: list[str] = []
    kind = counted(calls, DisableAfter(faults=2, within_seconds=1e-9, rest_seconds=1000))
    async with routed(plugin_with(kind)) as table:
        await table.publish(route("counted"), backends=BACKENDS)
        for _ in range(5):
            await table.handle(make_request(url="http://a.test/fail"))
    assert len(calls) == 5


@pytest.mark.parametrize("policy", ["open", {"faults": 1, "rest_seconds": 1000}])
async def test_the_operator_overrules_the_failure_policy(policy: object) -> None:
    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            raise LookupError("always")

        return handle

    plugin = plugin_with(FilterType("shut", NoSettings, built(layer)))
    inline = {"type": "inline", "routes": [{"name": "all", "respond": {"body": "x"}, "filters": [{"type": "shut"}]}]}
    request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
    async with running({"sources": [inline]}, extra=[plugin]) as gateway:
        assert b" 500 " in await gateway.exchange(request)
    async with running({"plugins": {"failure": {"shut": policy}}, "sources": [inline]}, extra=[plugin]) as gateway:
        assert b" 200 " in await gateway.exchange(request)


async def test_a_policy_for_a_filter_that_nobody_brought_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"plugins\.failure: unknown filter 'shutt'"):
        async with running({"plugins": {"failure": {"shutt": "open"}}}):
            pass


# --- faults in words ---


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a filter under test."""

    rate: Annotated[int, Meta(ge=1)] = 1


LIMIT = FilterType("limit", Limits, built(lambda handler: handler))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (route("limt"), "unknown filter 'limt'; did you mean 'limit'? (accepted: limit)"),
        (
            route(FilterSpec("limit", {"rat": 2})),
            "$.filters[limit].settings: unknown key `rat`; did you mean `rate`? (accepted: rate)",
        ),
        (
            route(FilterSpec("limit", {"rate": 0})),
            "$.filters[limit].settings.rate: expected `int` >= 1",
        ),
        (
            RouteSpec("r", Forward((Split("ecko"),))),
            "unknown back end 'ecko' (accepted: bad-activator, bad-balancer, bad-endpoint, bad-protocol, bad-setting, bad-type, echo)",
        ),
        (
            RouteSpec("r", Forward((Split("bad-type"),))),
            "unknown back end type 'ecko'; did you mean 'echo'? (accepted: echo)",
        ),
        (
            RouteSpec("r", Forward((Split("bad-balancer"),))),
            "unknown balancer 'roundrobin'; did you mean 'round_robin'? "
            "(accepted: consistent_hash, least_requests, power_of_two, round_robin)",
        ),
        (
            RouteSpec("r", Forward((Split("bad-setting"),))),
            "$.settings: unknown key `balance`; did you mean `balancer`? (accepted: balancer, ",
        ),
        (RouteSpec("r", Forward((Split("bad-activator"),))), "unknown activator 'nobody' (accepted: none)"),
        (RouteSpec("r", Forward((Split("bad-protocol"),))), "unknown wire protocol 'http9'; did you mean 'http1'?"),
        (
            RouteSpec("r", Forward((Split("bad-endpoint"),))),
            "$.endpoints: address 'nowhere' is not host:port, [v6]:port or unix:/path",
        ),
        (RouteSpec("r", Forward(())), "a route that forwards needs a back end"),
        (RouteSpec("r", Respond(), path=PathMatch(value="a")), "path 'a' does not start with /"),
        (RouteSpec("r", Respond(), path=PathMatch(PathKind.REGEX, "/(")), "missing ), unterminated subpattern"),
        (RouteSpec("r", Respond(), path=PathMatch(PathKind.REGEX, r"/\u0041")), r"bad escape \u"),
        (RouteSpec("r", Respond(), headers=(ValueMatch("x", ValueKind.REGEX, "["),)), "unterminated character set"),
        (RouteSpec("r", Respond(), query=(ValueMatch("x", ValueKind.REGEX, "["),)), "unterminated character set"),
        (RouteSpec("r", Respond(), hosts=(HostMatch(HostKind.ANY_DEPTH),)), "a wildcard host names a domain"),
        (
            RouteSpec("r", Respond(), request_headers=HeaderEdit(set={"host": "x"})),
            "field 'host' belongs to the connection",
        ),
        (RouteSpec("r", Respond(headers=(("x", "\n"),))), "the value of field 'x' holds a control character"),
        (RouteSpec("r", Redirect(host="a b")), "'a b' is no host"),
    ],
)
async def test_a_fault_is_told_with_its_place_and_what_is_accepted(spec: RouteSpec, words: str) -> None:
    backends = (
        *BACKENDS,
        BackendSpec("bad-type", "ecko"),
        BackendSpec("bad-balancer", settings={"balancer": "roundrobin"}),
        BackendSpec("bad-setting", settings={"balance": "round_robin"}),
        BackendSpec("bad-activator", activator="nobody"),
        BackendSpec("bad-protocol", endpoints=(EndpointSpec("127.0.0.1:1", protocol="http9"),)),
        BackendSpec("bad-endpoint", endpoints=(EndpointSpec("nowhere"),)),
    )
    async with routed(plugin_with(LIMIT)) as table:
        applied = await table.publish(spec, RouteSpec("good", Respond(201)), backends=backends)
        assert [status.name for status in applied.refused] == ["r"]
        assert applied.refused[0].error.startswith(words)
        assert (await table.handle(make_request())).status == 201


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_build_that_fails_is_told_with_the_plugin_that_brought_it(*, grouped: bool) -> None:
    @asynccontextmanager
    async def build(settings: object, context: object) -> AsyncIterator[Layer]:
        if grouped:
            async with anyio.create_task_group():
                raise RuntimeError("no key")
        raise RuntimeError("no key")
        yield lambda handler: handler

    async with routed(plugin_with(FilterType("locked", NoSettings, build))) as table:
        applied = await table.publish(route("locked"), backends=BACKENDS)
    (status,) = applied.refused
    assert status.error.startswith("plugin test_plugin: filter locked: its build failed: RuntimeError: no key at ")
    assert __file__ in status.error


async def generates(settings: object, context: object) -> AsyncIterator[Layer]:
    """A `build` without its decorator."""
    yield lambda handler: handler


async def returns(settings: object, context: object) -> Layer:
    """A `build` that returns, with or without its decorator."""
    return lambda handler: handler


def waits_not(settings: object, context: object) -> Iterator[Layer]:
    """A `build` that is not `async`, with or without its decorator."""
    yield lambda handler: handler


def gives(settings: object, context: object) -> Any:
    """A `build` that gives the thing at once."""
    return lambda handler: handler


MANAGER = "accepted: an async context manager"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (generates, f"has no @asynccontextmanager; {MANAGER}"),
        (returns, f"gave a coroutine; {MANAGER} (@asynccontextmanager above a function that yields)"),
        (asynccontextmanager(returns), f"yields nothing; {MANAGER} (`yield` where it says `return`)"),  # type: ignore[arg-type]
        (asynccontextmanager(gives), f"yields nothing; {MANAGER} (`yield` where it says `return`)"),
        (waits_not, f"is no `async def`; {MANAGER} (@asynccontextmanager above `async def`)"),
        (contextmanager(waits_not), f"is no `async def`; {MANAGER} (@asynccontextmanager above `async def`)"),
        (asynccontextmanager(waits_not), f"is no `async def`; {MANAGER} (@asynccontextmanager above `async def`)"),  # type: ignore[arg-type]
        (gives, f"gave a function; {MANAGER} (@asynccontextmanager above a function that yields)"),
    ],
)
@pytest.mark.parametrize("kind", ["filter", "matcher", "back end type"])
async def test_a_build_that_gives_no_context_manager_is_told_what_would_do(build: Any, words: str, kind: str) -> None:
    spec = route("odd") if kind == "filter" else route()
    if kind == "matcher":
        spec = structs.replace(spec, matchers=(MatcherSpec("odd"),))
    plugin = make_plugin(
        "hasty",
        daemun_filters=lambda: [FilterType("odd", NoSettings, build)],
        daemun_matchers=lambda: [MatcherType("odd", NoSettings, build)],
        daemun_backends=lambda: [BackendType("odd", NoSettings, build)],
    )
    backends = [BackendSpec("echo", type="odd" if kind == "back end type" else "echo")]
    async with routed(plugin_with(), plugin) as table:
        (status,) = (await table.publish(spec, backends=backends)).refused
    assert status.error == f"plugin hasty: {kind} odd: its build{line_of(unwrap(build))} {words}"


async def test_a_layer_that_is_a_coroutine_is_told() -> None:
    async def layer(handler: Handler) -> Handler:
        return handler

    kind = FilterType("odd", NoSettings, built(layer))  # type: ignore[arg-type]
    async with routed(plugin_with(kind)) as table:
        (status,) = (await table.publish(route("odd"), backends=BACKENDS)).refused
    assert status.error == f"plugin test_plugin: filter odd{line_of(layer)} gave a coroutine; accepted: a handler"


@pytest.mark.parametrize("error", [ValueError("no such key"), FileNotFoundError("no such key")])
async def test_a_fault_that_a_build_finds_is_told_with_the_filter(error: Exception) -> None:
    @asynccontextmanager
    async def build(settings: object, context: object) -> AsyncIterator[Layer]:
        raise error
        yield lambda handler: handler

    async with routed(plugin_with(FilterType("locked", NoSettings, build))) as table:
        applied = await table.publish(route("locked"), backends=BACKENDS)
    assert [status.error for status in applied.refused] == ["filter locked: no such key"]


@pytest.mark.parametrize("error", [SettingsError("no such key", path="$.key"), PluginError("sulks", plugin="p")])
async def test_errors_of_ours_pass_through_a_build(error: Exception) -> None:
    @asynccontextmanager
    async def build(settings: object, context: object) -> AsyncIterator[Layer]:
        async with anyio.create_task_group():
            raise error
        yield lambda handler: handler

    async with routed(plugin_with(FilterType("locked", NoSettings, build))) as table:
        applied = await table.publish(route("locked"), backends=BACKENDS)
    assert [status.error for status in applied.refused] == [str(error)]


async def test_a_layer_that_cannot_be_applied_refuses_the_route() -> None:
    def layer(handler: Handler) -> Handler:
        raise RuntimeError("not like this")

    async with routed(plugin_with(FilterType("odd", NoSettings, built(layer)))) as table:
        applied = await table.publish(route("odd"), RouteSpec("good", Respond()), backends=BACKENDS)
        assert [(status.name, status.error) for status in applied.refused] == [("r", "RuntimeError: not like this")]
        assert (await table.handle(make_request())).status == 200
