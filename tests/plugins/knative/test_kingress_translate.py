"""A KIngress as routes: what a request meets on each door, run through the gateway's own table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from daemun import (
    BackendContext,
    BackendSpec,
    BackendType,
    CertificateSpec,
    ExchangeError,
    Forward,
    Handler,
    HostKind,
    HostMatch,
    Peer,
    Reason,
    Request,
    Response,
    RouteSpec,
)
from daemun.testing import RoutedTable, make_plugin, make_request, routed
from daemun_knative.kingress.filter import PROBE_FILTER
from daemun_knative.kingress.translate import (
    ANY_HOST,
    Doors,
    References,
    certificates,
    hosts_of,
    references,
    routes,
)
from daemun_knative.kingress.types import KIngress

from .kingresses import ingress, path, rule, split

pytestmark = pytest.mark.anyio

TOKEN = "ab" * 32
DOORS = Doors(external_http=("http",), external_https=("https",), internal_http=("local",), internal_https=("tls",))
EVERY_DOOR = ("http", "https", "local", "tls")


class EchoSettings(Struct, frozen=True):
    name: str


@asynccontextmanager
async def echo(settings: EchoSettings, context: BackendContext) -> AsyncIterator[Handler]:
    """Answers with what it was sent, and who it is."""

    async def handle(request: Request) -> Response:
        return Response(200, ((b"who", settings.name.encode()), (b"host", request.authority), *request.headers))

    yield handle


PLUGIN = make_plugin(
    "echoes",
    daemun_backends=lambda: [BackendType("echo", EchoSettings, echo)],
    daemun_filters=lambda: [PROBE_FILTER],
)


def backend_name(namespace: str, name: str, port: int | str) -> str:
    return f"{namespace}/{name}:{port}"


def everyone(host: str) -> bool:
    return True


def routes_of(one: KIngress, doors: Doors = DOORS, hosts: Callable[[str], bool] = everyone) -> tuple[RouteSpec, ...]:
    return routes(one, TOKEN, doors, backend_name, hosts)


@asynccontextmanager
async def served(*ingresses: KIngress, doors: Doors = DOORS) -> AsyncIterator[RoutedTable]:
    names = {backend_name(*service) for one in ingresses for service in references(one).services}
    backends = [BackendSpec(name, "echo", {"name": name.partition("/")[2].partition(":")[0]}) for name in sorted(names)]
    async with routed(PLUGIN) as table:
        applied = await table.publish(
            *(route for one in ingresses for route in routes_of(one, doors)), backends=backends
        )
        assert applied.refused == ()
        yield table


async def asked(table: RoutedTable, url: str, door: str = "http", **headers: str) -> Response:
    fields = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    peer = Peer(listener=door, address="127.0.0.1", scheme="https" if door in ("https", "tls") else "http")
    return await table.handle(make_request(url=url, headers=fields, peer=peer))


async def who(table: RoutedTable, url: str, door: str = "http", **headers: str) -> str:
    """Which back end answered; "" if no route took the request."""
    try:
        response = await asked(table, url, door, **headers)
    except ExchangeError as error:
        assert error.reason is Reason.NO_ROUTE
        return ""
    return (response.header(b"who") or b"").decode()


async def test_paths_are_raw_prefixes_and_the_first_in_the_list_wins() -> None:
    one = ingress(
        rule(
            path(split("foo"), path="/foo"),
            path(split("deep"), path="/foo/deep"),
            path(split("bar"), path="/ba"),
            path(split("rest")),
        )
    )
    async with served(one) as table:
        found = [
            await who(table, f"http://hello.example.com{at}")
            for at in ("/foo", "/foobar", "/foo/deep", "/bar?x", "/", "")
        ]
    assert found == ["foo", "foo", "foo", "bar", "rest", "rest"]


async def test_rules_with_one_host_are_one_list() -> None:
    one = ingress(
        rule(path(split("acme"), path="/.well-known/acme-challenge/t"), hosts=("a.test",)),
        rule(path(split("all")), hosts=("b.test", "A.test.")),
        rule(path(split("never")), hosts=("a.test",)),
    )
    async with served(one) as table:
        found = [
            await who(table, url)
            for url in ("http://a.test/.well-known/acme-challenge/t", "http://a.test/x", "http://b.test/x")
        ]
    assert found == ["acme", "all", "all"]


async def test_a_port_in_the_authority_does_not_matter_and_another_host_is_unknown() -> None:
    async with served(ingress(rule())) as table:
        assert await who(table, "http://hello.example.com:80/") == "hello"
        assert await who(table, "http://Hello.Example.Com:8080/") == "hello"
        assert await who(table, "http://www.hello.example.com/") == ""


async def test_headers_match_exactly_whatever_the_case_of_their_names() -> None:
    one = ingress(
        rule(path(split("tagged"), headers={"Knative-Serving-Tag": {"exact": "the-tag"}}), path(split("plain")))
    )
    async with served(one) as table:
        tags = [
            await who(table, "http://hello.example.com/", knative_serving_tag=tag)
            for tag in ("the-tag", "the-tag2", "")
        ]
        assert tags == ["tagged", "plain", "plain"]
        assert await who(table, "http://hello.example.com/") == "plain"


async def test_headers_are_set_for_the_path_and_then_for_the_split_and_a_client_cannot_add_to_them() -> None:
    one = ingress(
        rule(
            path(
                split(appendHeaders={"Knative-Serving-Revision": "r1", "Both": "split"}),
                appendHeaders={"Foo-Bar": "path", "Both": "path"},
            )
        )
    )
    async with served(one) as table:
        response = await asked(
            table,
            "http://hello.example.com/",
            foo_bar="bogus",
            knative_serving_revision="bogus",
            both="bogus",
            other="mine",
        )
    assert sorted(response.headers) == [
        (b"both", b"split"),
        (b"foo-bar", b"path"),
        (b"host", b"hello.example.com"),
        (b"knative-serving-revision", b"r1"),
        (b"other", b"mine"),
        (b"who", b"hello"),
    ]


async def test_a_share_of_nothing_is_never_picked_nor_referred_to() -> None:
    one = ingress(rule(path(split("all", 100), split("none", 0))))
    async with served(one) as table:
        assert {await who(table, "http://hello.example.com/") for _ in range(50)} == {"all"}
    assert references(one) == References(services=(("default", "all", 80),))


async def test_shares_are_percent_and_a_lone_one_has_all() -> None:
    several, lone = routes_of(ingress(rule(path(split("a", 30), split("b", 70), path="/s"), path(split("c")))))
    for route, shares in ((several, [("a", 30), ("b", 70)]), (lone, [("c", 100)])):
        assert isinstance(route.action, Forward)
        assert [(one.backend, one.weight) for one in route.action.splits] == [
            (f"default/{name}:80", weight) for name, weight in shares
        ]


async def test_the_host_is_rewritten() -> None:
    one = ingress(rule(path(rewriteHost="hello.default.svc.cluster.local")))
    async with served(one) as table:
        assert (await asked(table, "http://hello.example.com/")).header(b"host") == b"hello.default.svc.cluster.local"


async def test_what_is_local_is_unknown_outside() -> None:
    one = ingress(
        rule(path(split("local")), hosts=("a.default", "a.default.svc"), visibility="ClusterLocal"),
        rule(path(split("public")), hosts=("a.example.com",)),
    )
    async with served(one) as table:
        local = [await who(table, "http://a.default.svc/", door) for door in EVERY_DOOR]
        public = [await who(table, "http://a.example.com/", door) for door in EVERY_DOOR]
    assert local == ["", "", "local", "local"]
    assert public == ["public"] * 4


async def test_one_host_may_have_paths_for_insiders_only() -> None:
    one = ingress(rule(path(split("inner"), path="/in"), visibility="ClusterLocal"), rule(path(split("outer"))))
    async with served(one) as table:
        assert [await who(table, "http://hello.example.com/in", door) for door in EVERY_DOOR] == [
            "outer",
            "outer",
            "inner",
            "inner",
        ]


async def test_outsiders_are_redirected_to_https_and_insiders_never() -> None:
    one = ingress(
        rule(path(path="/only")), rule(hosts=("a.default",), visibility="ClusterLocal"), httpOption="Redirected"
    )
    async with served(one) as table:
        response = await asked(table, "http://hello.example.com:80/only/this?x=1")
        assert (response.status, response.header(b"location")) == (301, b"https://hello.example.com/only/this?x=1")
        assert await who(table, "http://hello.example.com/else") == ""
        assert [await who(table, "http://hello.example.com/only", door) for door in EVERY_DOOR[1:]] == ["hello"] * 3
        assert [await who(table, "http://a.default/", door) for door in EVERY_DOOR] == ["", "", "hello", "hello"]


async def test_a_rule_without_hosts_takes_what_nobody_has() -> None:
    anybody = ingress(rule(path(split("any")), hosts=()), name="a")
    async with served(anybody, ingress(rule(path(split("named"))))) as table:
        assert await who(table, "http://whoever.test/") == "any"
        assert await who(table, "http://hello.example.com/") == "named"


async def test_a_probe_has_the_token_of_the_route_and_anything_else_passes() -> None:
    async with served(ingress(rule())) as table:
        hashes = [
            (await asked(table, "http://hello.example.com/healthz", k_network_hash=value)).header(b"k-network-hash")
            for value in ("override", "other")
        ]
    assert hashes == [TOKEN.encode(), b"other"]


def test_nothing_limits_time_and_nothing_is_sent_again() -> None:
    (route,) = routes_of(ingress(rule()))
    assert isinstance(route.action, Forward)
    assert (route.timeout_seconds, route.action.retries.attempts) == (0, 0)


def test_hosts_of_others_are_left_out_and_none_left_is_no_route() -> None:
    one = ingress(rule(hosts=("mine.test", "other.test")), rule(hosts=("other.test",)), rule(hosts=()))
    (route,) = routes_of(one, hosts=lambda host: host == "mine.test")
    assert route.hosts == (HostMatch(HostKind.EXACT, "mine.test"),)


@pytest.mark.parametrize("option", ["Enabled", "Redirected"])
@pytest.mark.parametrize("visibility", ["ExternalIP", "ClusterLocal", "clusterlocal"])
def test_without_doors_there_is_no_route_since_no_listener_would_mean_all(visibility: str, option: str) -> None:
    one = ingress(rule(visibility=visibility), httpOption=option)
    assert routes_of(one, Doors()) == ()
    outside = routes_of(one, Doors(external_http=("http",), external_https=("https",)))
    assert all(route.listeners for route in outside)
    assert bool(outside) == (visibility == "ExternalIP")


def test_one_listener_for_all_redirects_on_it_alone() -> None:
    one = ingress(rule(), httpOption="Redirected")
    found = routes_of(one, Doors(external_http=("web",), external_https=("https",), internal_http=("web",)))
    assert [route.listeners for route in found] == [("web",), ("https",)]


def test_names_of_routes_are_unique_and_stay_when_a_path_is_added_at_the_end() -> None:
    before = routes_of(ingress(rule(path(path="/a")), httpOption="Redirected"))
    after = routes_of(ingress(rule(path(path="/a"), path(path="/b")), httpOption="Redirected"))
    assert len({route.name for route in after}) == len(after) == 4
    assert before == after[:2]


def test_what_a_kingress_wants_and_refers_to() -> None:
    one = ingress(
        rule(path(split("a", 50), split("b", 50, servicePort="http2")), path(split("a")), hosts=("X.test", "y.test")),
        rule(path(split("a")), hosts=("x.test",)),
        rule(path(split("c")), hosts=()),
        tls=[{"hosts": ["x.test", "y.test"], "secretName": "s", "secretNamespace": "default"},
             {"hosts": ["x.test"], "secretName": "t", "secretNamespace": "other"},
             {"hosts": ["y.test"], "secretName": "unused", "secretNamespace": "default"}],
    )  # fmt: skip
    assert hosts_of(one) == ("x.test", "y.test", ANY_HOST)
    assert references(one) == References(
        services=(("default", "a", 80), ("default", "b", "http2"), ("default", "c", 80)),
        secrets=(("default", "s"), ("other", "t")),
    )


# --- certificates ---


def tls(*hosts: str, secret: str = "s") -> dict[str, Any]:
    return {"hosts": hosts, "secretName": secret, "secretNamespace": "default"}


def pair(namespace: str, name: str) -> tuple[str, str] | None:
    return None if name == "missing" else (f"certificate {namespace}/{name}", f"key {namespace}/{name}")


def presented(found: tuple[CertificateSpec, ...]) -> list[tuple[tuple[str, ...], tuple[str, ...], str, str]]:
    return [(one.hosts, one.listeners, one.certificate, one.key) for one in found]


def test_a_certificate_is_for_the_door_of_the_rule_whose_hosts_it_has_and_for_these_hosts() -> None:
    one = ingress(
        rule(hosts=("A.test", "b.test")),
        rule(hosts=("a.default", "a.default.svc"), visibility="ClusterLocal"),
        tls=[
            tls("a.test", "b.test", "not-ours.test"),
            tls("a.default", "a.default.svc", secret="local"),
            tls("a.test", secret="half"),
        ],
    )
    assert presented(certificates(one, pair, DOORS)) == [
        (("a.test", "b.test"), ("https",), "certificate default/s", "key default/s"),
        (("a.default", "a.default.svc"), ("tls",), "certificate default/local", "key default/local"),
    ]


def test_a_host_of_another_has_no_certificate_of_this_one() -> None:
    one = ingress(rule(hosts=("mine.test", "other.test")), tls=[tls("mine.test", "other.test")])
    (found,) = certificates(one, pair, DOORS, lambda host: host == "mine.test")
    assert found.hosts == ("mine.test",)
    assert certificates(one, pair, DOORS, lambda host: False) == ()


def test_without_a_pair_or_a_door_there_is_no_certificate() -> None:
    one = ingress(rule(hosts=("a.test",)), tls=[tls("a.test", secret="missing"), tls("a.test")])
    assert [found.certificate for found in certificates(one, pair, DOORS)] == ["certificate default/s"]
    assert certificates(one, pair, Doors(external_http=("http",), internal_https=("tls",))) == ()


def test_a_rule_for_any_host_has_no_certificate() -> None:
    one = ingress(rule(hosts=()), tls=[tls("a.test"), tls()])
    assert certificates(one, pair, DOORS) == ()
    assert references(one).secrets == ()


# --- the rules, said a second time ---

HOSTS = ("a.test", "b.test", "c.test")
PREFIXES = ("", "/", "/a", "/ab", "/a/b", "/b")
TAGS = ("one", "two")
headers_strategy = st.sampled_from([{}, *({"Tag": {"exact": tag}} for tag in TAGS)])
rules_strategy = st.lists(
    st.tuples(
        st.lists(st.sampled_from(HOSTS), max_size=2, unique=True),
        st.sampled_from(["ExternalIP", "ClusterLocal"]),
        st.lists(st.tuples(st.sampled_from(PREFIXES), headers_strategy), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=4,
)
requests_strategy = st.lists(
    st.tuples(
        st.sampled_from((*HOSTS, "d.test")),
        st.sampled_from(("/", "/a", "/abc", "/a/b/c", "/b", "/x")),
        st.sampled_from(("", *TAGS)),
        st.sampled_from(EVERY_DOOR),
    ),
    min_size=1,
    max_size=8,
)


@given(rules_strategy, requests_strategy)
async def test_the_first_path_of_the_list_that_matches_takes_the_request(
    rules: list[tuple[list[str], str, list[tuple[str, dict[str, Any]]]]], requests: list[tuple[str, str, str, str]]
) -> None:
    numbered = [
        (f"s{number}-{index}", hosts, visibility, prefix, headers)
        for number, (hosts, visibility, paths) in enumerate(rules)
        for index, (prefix, headers) in enumerate(paths)
    ]

    def expected(host: str, at: str, tag: str, door: str) -> str:
        for by_name in (True, False):
            for service, hosts, visibility, prefix, headers in numbered:
                if (
                    (host in hosts if by_name else not hosts)
                    and at.startswith(prefix)
                    and (not headers or headers["Tag"]["exact"] == tag)
                    and (visibility == "ExternalIP" or door in ("local", "tls"))
                ):
                    return service
        return ""

    one = ingress(
        *(
            rule(
                *(
                    path(split(f"s{number}-{index}"), path=prefix, headers=headers)
                    for index, (prefix, headers) in enumerate(paths)
                ),
                hosts=tuple(hosts),
                visibility=visibility,
            )
            for number, (hosts, visibility, paths) in enumerate(rules)
        )
    )
    async with served(one) as table:
        for host, at, tag, door in requests:
            headers = {"tag": tag} if tag else {}
            assert await who(table, f"http://{host}{at}", door, **headers) == expected(host, at, tag, door)
