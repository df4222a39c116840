"""All Ingresses together: who has what, what does not change, and that trouble stays where it is."""

from __future__ import annotations

from random import Random
from time import process_time

import pytest
from bench.peers.origin import certificate
from hypothesis import given, settings
from hypothesis import strategies as st

from daemun import Applied, Forward, ObjectStatus
from daemun.testing import HandSource, make_request, running, scripted
from daemun.testing.routes import routed
from daemun_kubernetes.client.kinds import Ingress

from .ingresses import World, get, ingress, path, rule, serving

pytestmark = pytest.mark.anyio

PAIR = (
    "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
)


def test_of_two_who_claim_the_same_the_older_has_it_and_the_other_hears_of_it() -> None:
    world = World()
    world.serve("cart", 1)
    young = ingress("young", rule("a.test", path("/x", "cart:8080"), path("/y", "cart:8080")), created="2026-02-01")
    world.add(young)
    assert world.routes() == ["default/young:a.test/x", "default/young:a.test/y", "a.test!default"]
    assert world.problems() == {}
    world.add(ingress("old", rule("A.test", path("/x/", "cart:8080", "ImplementationSpecific")), created="2026-01-01"))
    assert world.routes() == ["default/old:a.test/x", "default/young:a.test/y", "a.test!default"]
    assert world.problems() == {"young": ["a.test/x is served for default/old, which is older"]}
    world.assembly.put(("default", "old"), None)
    assert world.routes() == ["default/young:a.test/x", "default/young:a.test/y", "a.test!default"]
    assert world.problems() == {"young": []}


def test_of_two_of_one_age_the_name_decides() -> None:
    world = World().add(*(ingress(name, rule("", path("/", "cart:80"))) for name in ("b", "a", "c")))
    assert world.routes() == ["default/a:*/"]


def test_the_order_is_exact_hosts_wildcards_any_and_in_each_longer_paths_exact_ones_and_what_is_left() -> None:
    world = World().add(
        ingress("any", rule("", path("/very/long/path", "cart:80")), default="cart:80", created="1"),
        ingress("wild", rule("*.a.test", path("/longer", "cart:80")), created="2"),
        ingress(
            "exact",
            rule("b.a.test", path("/", "cart:80"), path("/x", "cart:80"), path("/x", "cart:80", "Exact")),
            default="cart:80",
            created="3",
        ),
    )
    assert world.routes() == [
        "default/exact:b.a.test=/x",
        "default/exact:b.a.test/x",
        "default/exact:b.a.test/",
        "default/exact:b.a.test!default",
        "default/wild:*.a.test/longer",
        "*.a.test!default",
        "default/any:*/very/long/path",
        "default/any:*!default",
    ]


def test_an_older_default_back_end_is_only_news_to_an_ingress_that_is_nothing_else() -> None:
    world = World().add(
        ingress("first", default="cart:80", created="1"),
        ingress("second", rule("a.test", path("/", "cart:80")), default="cart:80", created="2"),
        ingress("third", default="cart:80", created="3"),
    )
    lost = "what no rule takes is served for default/first, which is older"
    assert {name: lost in said for name, said in world.problems().items()} == {
        "first": False,
        "second": False,
        "third": True,
    }


def test_one_change_among_many_leaves_the_others_the_same_objects() -> None:
    world = World()
    world.serve("cart", 1)
    world.add(
        *(ingress(f"i{n}", rule(f"{n}.test", path("/", "cart:8080"), path("/x", "cart:8080"))) for n in range(200))
    )
    before = world.assembly.snapshot()
    world.add(ingress("i7", rule("7.test", path("/", "cart:8080"), path("/y", "cart:8080"))))
    after = world.assembly.snapshot()
    names = [{route.name for route in snapshot.routes} for snapshot in (before, after)]
    assert names[0] ^ names[1] == {"default/i7:7.test/x", "default/i7:7.test/y"}
    kept = {route.name: route for route in before.routes}
    assert sum(kept.get(route.name) is route for route in after.routes) == 398
    assert after.backends[1] is before.backends[1]
    assert world.assembly.snapshot().routes is after.routes


def test_endpoints_that_move_change_a_back_end_and_no_route() -> None:
    world = World().add(ingress("web", rule("", path("/", "cart:8080"))))
    world.serve("cart", 1)
    before = world.assembly.snapshot()
    world.serve("cart", 1, 2)
    after = world.assembly.snapshot()
    assert after.routes is before.routes
    assert [endpoint.address for endpoint in after.backends[1].endpoints] == ["127.0.0.1:1", "127.0.0.1:2"]
    assert after.backends[1].name == before.backends[1].name == "default/cart:8080"


def test_what_nobody_refers_to_any_more_is_gone() -> None:
    world = World().add(ingress("web", rule("", path("/", "cart:8080")), tls=[("cert", ("a.test",))]))
    assert world.assembly.services == {("default", "cart")}
    assert world.assembly.secrets == {("default", "cert")}
    world.assembly.snapshot()
    world.add(ingress("web", rule("", path("/", "other:8080"))))
    assert world.assembly.services == {("default", "cart"), ("default", "other")}, "one is served, one is to be"
    world.assembly.snapshot()
    assert world.assembly.services == {("default", "other")}
    world.assembly.put(("default", "web"), None)
    snapshot = world.assembly.snapshot()
    assert (world.assembly.services, world.assembly.secrets) == (frozenset(), frozenset())
    assert [backend.name for backend in snapshot.backends] == ["nowhere"]
    assert snapshot.routes == ()


def test_what_the_cluster_has_not_told_of_yet_holds_an_ingress_at_what_it_was() -> None:
    world = World()
    world.serve("cart", 1)
    world.add(ingress("web", rule("a.test", path("/", "cart:8080"))))
    assert world.routes() == ["default/web:a.test/"]
    world.pending.add(("default", "new"))
    world.add(
        ingress("web", rule("b.test", path("/", "new:8080"))), ingress("other", rule("c.test", path("/", "cart:8080")))
    )
    assert world.routes() == ["default/web:a.test/", "default/other:c.test/"]
    world.pending.clear()
    world.serve("new", 2)
    assert world.routes() == ["default/web:b.test/", "default/other:c.test/"]
    world.pending.add(("default", "cert"))
    world.add(ingress("third", rule("d.test", path("/", "cart:8080")), tls=[("cert", ())]))
    assert world.routes() == ["default/web:b.test/", "default/other:c.test/"]


async def test_a_service_that_is_missing_or_empty_is_503_and_a_wider_path_takes_nothing_of_it() -> None:
    world = World()
    world.serve("empty")
    world.add(
        ingress(
            "web",
            rule(
                "a.test",
                path("/missing", "missing:8080"),
                path("/empty", "empty:8080"),
                path("/port", "cart:web"),
                path("/files", "Bucket/files"),
                path("/", "cart:8080"),
            ),
        )
    )
    async with scripted() as upstream:
        world.serve("cart", upstream.port)
        async with serving(world) as gateway:
            for target in ("/missing", "/empty/x", "/port", "/files/a"):
                answer = await get(gateway, "a.test", target)
                assert (answer.status, answer.field(b"x-daemun-reason")) == (503, b"no_endpoint"), target
            assert (await get(gateway, "a.test", "/else")).status == 200
    assert world.problems() == {
        "web": [
            "a.test/files: a resource (Bucket files) cannot be served; use a service",
            "service default/cart has no port 'web' (it has: 8080); its paths answer 503",
            "service default/empty has no ready endpoint for port 8080; its paths answer 503",
            "service default/missing not found; its paths answer 503",
        ]
    }


async def test_a_service_that_comes_is_served_without_a_route_being_changed() -> None:
    source = HandSource()
    world = World().add(ingress("web", rule("a.test", path("/", "cart:8080"))))
    async with running(source.settings, extra=[source.plugin], only=["http1"]) as gateway, scripted() as upstream:
        await world.publish(source)
        before = world.assembly.snapshot().routes
        assert (await get(gateway, "a.test")).status == 503
        world.serve("cart", upstream.port)
        await world.publish(source)
        assert (await get(gateway, "a.test")).status == 200
        assert world.assembly.snapshot().routes is before


async def test_what_the_rules_of_a_host_do_not_take_is_for_nobody_elses() -> None:
    world = World()
    async with scripted() as upstream:
        for namespace in ("bank", "evil"):
            world.serve("cart", upstream.port, namespace=namespace)
        world.add(
            ingress("bank", rule("bank.test", path("/app", "cart:8080")), namespace="bank"),
            ingress(
                "evil",
                rule("", path("/.well-known/acme-challenge/", "cart:8080")),
                rule("*.test", path("/", "cart:8080")),
                default="cart:8080",
                namespace="evil",
            ),
        )
        async with serving(world) as gateway:
            for target in ("/", "/other", "/.well-known/acme-challenge/x", "/appx"):
                assert (await get(gateway, "bank.test", target)).status == 404, target
            for host, target in (("bank.test", "/app/x"), ("x.test", "/"), ("a.b", "/.well-known/acme-challenge/x")):
                assert (await get(gateway, host, target)).status == 200, host
            assert (await get(gateway, "a.b", "/else")).status == 200, "its own default back end"


def test_what_is_left_of_a_host_is_for_its_default_back_end_else_for_that_of_the_gateway() -> None:
    world = World(default_backend="ops/rest:8080")
    world.add(
        ingress("one", rule("a.test", path("/x", "cart:80")), default="own:80"),
        ingress("two", rule("b.test", path("/x", "cart:80"))),
        ingress("three", rule("c.test", path("/", "cart:80"))),
        ingress("four", rule("d.test")),
    )

    def rest() -> dict[str, str]:
        return {
            f"{route.hosts[0].value}{route.path.value}": route.action.splits[0].backend
            for route in world.assembly.snapshot().routes
            if isinstance(route.action, Forward) and route.path.value == "/"
        }

    gateway = "ops/rest:8080"
    assert rest() == {"a.test/": "default/own:80", "b.test/": gateway, "c.test/": "default/cart:80", "d.test/": gateway,
                      "/": gateway}  # fmt: skip
    world.add(ingress("three", rule("c.test", path("/x", "cart:80"))))
    world.assembly.put(("default", "four"), None)
    assert rest() == {"a.test/": "default/own:80", "b.test/": gateway, "c.test/": gateway, "/": gateway}


def test_a_host_belongs_to_the_namespace_of_the_oldest_that_names_it() -> None:
    world = World()
    bank = ingress("bank", rule("bank.test", path("/app", "cart:80")), namespace="bank", created="1")
    more = ingress("more", rule("bank.test", path("/more", "cart:80")), namespace="bank", created="4")
    evil = ingress(
        "evil",
        rule("bank.test", path("/app/login", "cart:80"), path("/z", "cart:80")),
        rule("evil.test", path("/", "cart:80")),
        namespace="evil",
        created="2",
    )
    world.add(evil)
    taken = ["evil/evil:bank.test/app/login", "evil/evil:bank.test/z", "bank.test!default", "evil/evil:evil.test/"]
    assert world.routes() == taken
    world.problems()
    world.add(bank, more)
    assert world.routes() == [
        "bank/more:bank.test/more",
        "bank/bank:bank.test/app",
        "bank.test!default",
        "evil/evil:evil.test/",
    ]
    words = "bank.test belongs to namespace bank: bank/bank is older, and hosts are not shared"
    assert [said for said in world.problems()["evil"] if "belongs" in said] == [
        f"{words}; nothing of it is served from here"
    ]
    world.assembly.put(("bank", "bank"), None)
    assert world.routes() == taken, "the oldest is another now"
    assert {"evil", "more"} <= set(world.problems())
    world.assembly.put(("evil", "evil"), None)
    assert world.routes() == ["bank/more:bank.test/more", "bank.test!default"]


def test_hosts_that_are_shared_are_of_all_who_name_them() -> None:
    world = World(share_hosts=True)
    world.add(
        ingress("bank", rule("bank.test", path("/app", "cart:80")), namespace="bank", created="1"),
        ingress("evil", rule("bank.test", path("/app/x", "cart:80"), path("/app", "cart:80")), namespace="evil"),
    )
    assert world.routes() == ["evil/evil:bank.test/app/x", "bank/bank:bank.test/app", "bank.test!default"]
    assert "bank.test/app is served for bank/bank, which is older" in world.problems()["evil"]


def test_a_rule_without_host_is_a_host_too_and_a_default_back_end_beside_rules_is_none() -> None:
    world = World().add(
        ingress("hosts", rule("a.test", path("/", "cart:80")), default="rest:80", namespace="a", created="1"),
        ingress("any", rule("", path("/x", "cart:80")), namespace="b", created="2"),
        ingress("late", rule("", path("/x/y", "cart:80")), namespace="c", created="3"),
    )
    assert world.routes() == ["a/hosts:a.test/", "a/hosts:a.test!default", "b/any:*/x"]
    (said,) = (one for one in world.problems()["late"] if "belongs" in one)
    assert said.startswith("any host belongs to namespace b: b/any is older")
    world.assembly.put(("b", "any"), None)
    world.assembly.put(("c", "late"), None)
    assert world.routes() == ["a/hosts:a.test/", "a/hosts:a.test!default", "a/hosts:*!default"]


def test_a_certificate_is_only_for_hosts_whose_requests_are_for_its_namespace() -> None:
    world = World()
    for namespace in ("a", "evil"):
        world.keep("cert", PAIR, namespace)
    owner = ingress(
        "a", rule("*.corp.test", path("/", "x:80")), namespace="a", tls=[("cert", ("*.corp.test",))], created="1"
    )
    evil = ingress(
        "evil",
        rule("", path("/z", "x:80")),
        namespace="evil",
        tls=[("cert", ("pay.corp.test", "free.test")), ("cert", ())],
        created="2",
    )

    def hosts() -> dict[str, tuple[str, ...]]:
        return {one.name: one.hosts for one in world.assembly.snapshot().certificates}

    world.add(evil)
    assert hosts() == {"evil/cert": ("free.test", "pay.corp.test"), "evil/cert!default": ()}
    world.problems()
    world.add(owner)
    assert hosts() == {"a/cert": ("*.corp.test",), "evil/cert": ("free.test",), "evil/cert!default": ()}
    assert "the certificate of pay.corp.test is not presented: namespace a has its requests" in world.problems()["evil"]
    world.add(ingress("any", default="x:80", namespace="a", created="0"))
    assert hosts() == {"a/cert": ("*.corp.test",)}
    world.assembly.put(("a", "any"), None)
    world.assembly.put(("a", "a"), None)
    assert hosts() == {"evil/cert": ("free.test", "pay.corp.test"), "evil/cert!default": ()}
    world.assembly.put(("evil", "evil"), None)
    assert hosts() == {}


def test_certificates_of_hosts_that_are_shared_are_those_of_the_oldest_whatever_their_rules() -> None:
    world = World(share_hosts=True)
    world.keep("cert", PAIR, "a")
    world.keep("cert", PAIR, "b")
    world.add(
        ingress("a", rule("*.test", path("/", "x:80")), namespace="a", tls=[("cert", ("*.test", "x.test"))]),
        ingress("b", rule("", path("/z", "x:80")), namespace="b", tls=[("cert", ("x.test", "y.test"))], created="9"),
    )
    certificates = world.assembly.snapshot().certificates
    assert [(one.name, one.hosts) for one in certificates] == [
        ("a/cert", ("*.test", "x.test")),
        ("b/cert", ("y.test",)),
    ]


def test_what_a_thousand_claim_costs_a_change_no_square_of_them() -> None:
    world = World()
    world.serve("cart", 1)
    world.add(
        *(
            ingress(
                f"i{n}",
                rule(f"{n}.test", path("/x", "cart:8080")),
                rule("same.test", path("/", "cart:8080")),
                default="cart:8080",
            )
            for n in range(1000)
        )
    )
    world.problems()
    before = process_time()
    world.add(ingress("i7", rule("7.test", path("/x", "cart:8080"), path("/y", "cart:8080")), default="cart:8080"))
    world.serve("cart", 1, 2)
    news = world.problems()
    assert process_time() - before < 0.7, "it was a second and a half"
    assert set(news) == {"i7"}


async def test_a_redirect_answers_without_tls_only() -> None:
    world = World().add(
        ingress("web", rule("a.test", path("/x", "cart:8080")), annotations={"daemun.dev/redirect": "https"})
    )
    async with serving(world) as gateway:
        answer = await get(gateway, "a.test:8080", "/x/y?z=1")
    assert (answer.status, answer.field(b"location")) == (308, b"https://a.test/x/y?z=1")


async def test_a_default_back_end_of_the_settings_takes_what_no_ingress_does() -> None:
    world = World(default_backend="ops/rest:8080")
    assert world.assembly.services == {("ops", "rest")}
    async with scripted() as upstream:
        world.serve("rest", upstream.port, namespace="ops")
        world.add(ingress("web", rule("a.test", path("/x", "cart:8080"))))
        async with serving(world) as gateway:
            assert (await get(gateway, "a.test", "/y")).status == 200
            assert (await get(gateway, "b.test")).status == 200
            assert (await get(gateway, "a.test", "/x")).status == 503


def test_a_certificate_has_all_hosts_that_its_secret_won() -> None:
    world = World()
    world.keep("one", PAIR)
    world.keep("two", PAIR)
    world.add(
        ingress(
            "a", rule("", path("/", "cart:80")), tls=[("one", ("a.test", "b.test")), ("two", ("c.test",))], created="1"
        ),
        ingress(
            "b", rule("", path("/b", "cart:80")), tls=[("two", ("b.test", "*.d.test")), ("one", ("",))], created="2"
        ),
    )
    certificates = {one.name: one for one in world.assembly.snapshot().certificates}
    assert {name: one.hosts for name, one in certificates.items()} == {
        "default/one": ("a.test", "b.test"),
        "default/one!default": (),
        "default/two": ("*.d.test", "c.test"),
    }
    assert {one.listeners for one in certificates.values()} == {("https",)}
    assert "the certificate of b.test is that of default/a, which is older" in world.problems()["b"]


def test_without_its_secret_an_ingress_is_served_and_says_so() -> None:
    world = World()
    world.serve("cart", 1)
    world.add(ingress("web", rule("a.test", path("/", "cart:8080")), tls=[("cert", ("a.test",))]))
    snapshot = world.assembly.snapshot()
    assert ([route.name for route in snapshot.routes], snapshot.certificates) == (["default/web:a.test/"], ())
    assert world.problems() == {"web": ["secret default/cert not found; without it there is no TLS for its hosts"]}
    world.keep("cert", PAIR)
    (found,) = world.assembly.snapshot().certificates
    assert (found.hosts, found.certificate, found.key) == (("a.test",), *PAIR)
    assert world.problems() == {"web": []}
    assert world.assembly.snapshot().certificates[0] is found


def test_a_secret_that_goes_bad_leaves_what_it_held_until_it_is_gone() -> None:
    world = World()
    world.serve("cart", 1)
    world.keep("cert", PAIR)
    world.add(ingress("web", rule("a.test", path("/", "cart:8080")), tls=[("cert", ("a.test",))]))
    (good,) = world.assembly.snapshot().certificates
    world.keep("cert", ("nonsense", PAIR[1]))
    assert world.assembly.snapshot().certificates == (good,)
    words = "secret default/cert: tls.crt holds no certificate in PEM; the version from before stays in use"
    assert world.problems() == {"web": [words]}
    world.add(ingress("web", rule("b.test", path("/", "cart:8080")), tls=[("cert", ("b.test",))]))
    assert [one.hosts for one in world.assembly.snapshot().certificates] == [("b.test",)]
    del world.secrets["default", "cert"]
    world.assembly.secrets_changed([("default", "cert")])
    assert world.assembly.snapshot().certificates == ()
    assert world.problems() == {"web": ["secret default/cert not found; without it there is no TLS for its hosts"]}


async def test_a_key_that_does_not_fit_is_said_of_the_ingress_and_hurts_no_other(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pairs = []
    for number in range(2):
        folder = tmp_path_factory.mktemp(f"pair{number}")
        if reason := certificate(folder / "chain.pem", folder / "key.pem"):
            pytest.skip(reason)
        pairs.append(((folder / "chain.pem").read_text(), (folder / "key.pem").read_text()))
    world = World()
    world.serve("cart", 1)
    world.keep("good", pairs[0])
    world.keep("bad", (pairs[0][0], pairs[1][1]))
    world.add(
        ingress("a", rule("a.test", path("/", "cart:8080")), tls=[("bad", ())]),
        ingress("b", rule("b.test", path("/", "cart:8080")), tls=[("good", ())]),
    )
    async with routed() as table:
        source, found = table.source, table.table.certificates
        await world.publish(source)
        assert (found.find("https", "a.test"), found.find("https", "b.test") is None) == (None, False)
        (words,) = world.problems()["a"]
        assert words.startswith("its certificate cannot be used with its key")
        assert words.endswith("; without it there is no TLS for its hosts")
        world.keep("bad", pairs[1])
        await world.publish(source)
        assert found.find("https", "a.test") is not None
    assert world.problems() == {"a": []}


def test_what_the_gateway_refuses_is_said_of_the_ingress_that_it_came_from() -> None:
    world = World()
    world.serve("cart", 1)
    world.add(ingress("web", rule("a.test", path("/", "cart:8080"))))
    world.assembly.snapshot()
    world.assembly.applied(Applied(1, (ObjectStatus("route", "x", "ingress default/web", "no such filter"),)))
    assert world.problems() == {"web": ["no such filter"]}
    world.assembly.applied(Applied(2, ()))
    assert world.problems() == {"web": []}


_HOSTS = ("", "a.test", "*.test", "x.a.test", "*.a.test")
_PATHS = ("/", "/a", "/a/", "/a/b", "/ab")
_TYPES = ("Exact", "Prefix")


def wins(ingresses: list[Ingress], host: str, target: str, *, shared: bool) -> str | None:
    """The Service that a request is for, by the letter of the API: the host first, and then the path."""
    rules = [(one, entry) for one in ingresses for entry in one.spec.rules]
    for named in (host, f"*.{host.partition('.')[2]}", ""):
        of_host = [(one, entry) for one, entry in rules if entry.host == named]
        if of_host:
            break
    else:
        return None
    oldest = min(of_host, key=lambda pair: pair[0].metadata.creation_timestamp)[0].metadata.namespace
    best = None
    for number, (one, entry) in enumerate(of_host):
        if not shared and one.metadata.namespace != oldest:
            continue
        for place, item in enumerate(entry.http.paths if entry.http is not None else ()):
            whole = item.path.rstrip("/")
            if item.path_type == "Exact" and item.path != target:
                continue
            if item.path_type == "Prefix" and not (f"{target}/".startswith(f"{whole}/")):
                continue
            length = len(item.path) if item.path_type == "Exact" else len(whole)
            rank = (-length, item.path_type != "Exact", one.metadata.creation_timestamp, number, place)
            service = item.backend.service
            assert service is not None
            if best is None or rank < best[0]:
                best = (rank, f"{one.metadata.namespace}/{service.name}:80")
    return best[1] if best is not None else None


_RULES = st.lists(
    st.tuples(
        st.sampled_from(_HOSTS), st.lists(st.tuples(st.sampled_from(_PATHS), st.sampled_from(_TYPES)), max_size=4)
    ),
    max_size=3,
)
_GROUPS = st.lists(st.tuples(st.sampled_from(["n1", "n2"]), _RULES), max_size=4)


@settings(max_examples=60)
@given(_GROUPS, st.booleans(), st.randoms())
async def test_whoever_has_what_a_request_goes_where_the_letter_of_the_api_says(
    groups: list[tuple[str, list[tuple[str, list[tuple[str, str]]]]]], shared: bool, random: Random
) -> None:
    ingresses, services = [], iter(range(1000))
    for age, (namespace, group) in enumerate(groups):
        rules = [
            rule(host, *(path(value, f"s{next(services)}:80", kind) for value, kind in paths)) for host, paths in group
        ]
        ingresses.append(ingress(f"i{len(groups) - age}", *rules, namespace=namespace, created=str(age)))
    world = World(share_hosts=shared)
    passing = [ingress("passing", rule(host, path("/a", "gone:80")), namespace="n0", created="") for host in _HOSTS]
    for one in random.sample(ingresses + passing, len(ingresses) + len(passing)):
        world.add(one)
        world.assembly.snapshot()
    world.assembly.put(("n0", "passing"), None)
    async with routed() as table:
        await world.publish(table.source)
        for host in ("a.test", "x.a.test", "y.a.test", "b.test", "test", "a.b.a.test"):
            for target in ("/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a/c", "/abc", "/b"):
                winner = table.table.current.winner(make_request(url=f"http://{host}{target}"))
                found = winner.backends[0].name if winner is not None and winner.backends else None
                assert found == wins(ingresses, host, target, shared=shared), (host, target)


_TLS = st.lists(st.lists(st.sampled_from(_HOSTS), max_size=2), max_size=2)
_PUTS = st.lists(
    st.tuples(st.sampled_from(["n1", "n2"]), st.sampled_from("ab"), st.integers(0, 3), _RULES, _TLS, st.booleans()),
    max_size=8,
)


@settings(max_examples=80)
@given(_PUTS, st.booleans())
def test_however_it_came_about_the_end_is_what_is_there(
    puts: list[tuple[str, str, int, list[tuple[str, list[tuple[str, str]]]], list[list[str]], bool]], shared: bool
) -> None:
    worlds = [World(share_hosts=shared) for _ in range(2)]
    last: dict[tuple[str, str], Ingress] = {}
    for world in worlds:
        for namespace in ("n1", "n2"):
            world.keep("cert", PAIR, namespace)
    changing, fresh = worlds
    for namespace, name, age, group, tls, is_there in puts:
        last.pop((namespace, name), None)
        if is_there:
            rules = [rule(host, *(path(value, f"{name}:80", kind) for value, kind in paths)) for host, paths in group]
            entries = [("cert", tuple(hosts)) for hosts in tls]
            one = ingress(name, *rules, namespace=namespace, created=str(age), default="rest:80", tls=entries)
            last[namespace, name] = one
        changing.assembly.put((namespace, name), last.get((namespace, name)))
        changing.assembly.snapshot()
        changing.assembly.news()
    fresh.add(*last.values())
    assert changing.routes() == fresh.routes()
    assert changing.assembly.snapshot().certificates == fresh.assembly.snapshot().certificates
    fresh.assembly.news()
    assert changing.assembly._reported == fresh.assembly._reported
