"""All KIngresses together: what is served while versions come and go, and what is said of those that are not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bench.peers.origin import certificate
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from daemun import (
    Applied,
    BackendContext,
    BackendSpec,
    BackendType,
    ExchangeError,
    Handler,
    ObjectStatus,
    Request,
    Response,
    Snapshot,
)
from daemun.testing import RoutedTable, make_plugin, make_request, routed
from daemun_knative.kingress.assembly import Assembly, Entry
from daemun_knative.kingress.claims import Key
from daemun_knative.kingress.conditions import TRUE
from daemun_knative.kingress.defaults import with_defaults
from daemun_knative.kingress.filter import PROBE_FILTER
from daemun_knative.kingress.hash import token_of
from daemun_knative.kingress.settings import KnativeSettings
from daemun_knative.kingress.translate import Doors
from daemun_knative.kingress.types import KINGRESS, KIngress, Status
from daemun_kubernetes import Pair, Resolved

from .kingresses import path, split
from .kingresses import rule as rule_of

pytestmark = pytest.mark.anyio

DOORS = Doors(external_http=("http",), external_https=("https",), internal_http=("local",), internal_https=("tls",))
UNTOLD = "0" * 64
PLAIN: dict[str, Any] = {"response_timeout_seconds": 0, "waiting_room": {"max_requests": 0}}


@asynccontextmanager
async def echo(settings: KnativeSettings, context: BackendContext) -> AsyncIterator[Handler]:
    """Answers with what it was sent, and the name of its back end."""

    async def handle(request: Request) -> Response:
        return Response(200, ((b"who", settings.namespace.encode()), *request.headers))

    yield handle


PLUGIN = make_plugin(
    "echoes",
    daemun_backends=lambda: [BackendType("echo", KnativeSettings, echo)],
    daemun_filters=lambda: [PROBE_FILTER],
)


READY = [{"type": "LoadBalancerReady", "status": "True"}, {"type": "Ready", "status": "True"}]


def version(
    name: str = "web",
    *hosts: str,
    to: str = "one",
    secret: str = "",
    generation: int = 1,
    created: str = "2026-01-01T00:00:00Z",
    ready: int = 0,
    **more: Any,
) -> KIngress:
    """A KIngress of which `to` serves all hosts; `ready` is the generation that its status says is served."""
    status = {"observedGeneration": ready, "conditions": READY}
    hosts = hosts or (f"{name}.test",)
    spec: dict[str, Any] = {"rules": [rule_of(path(split(to)), hosts=hosts)], **more}
    if secret:
        spec["tls"] = [{"hosts": hosts, "secretName": secret, "secretNamespace": "default"}]
    metadata = {"name": name, "namespace": "default", "generation": generation, "creationTimestamp": created}
    data = {"metadata": metadata, "spec": spec, "status": status if ready else {}}
    return KINGRESS.decode(json.dumps(data).encode())


def broken(name: str = "web", generation: int = 1) -> KIngress:
    """One that cannot be served."""
    return version(name, generation=generation, rules=[rule_of(path(split(percent=50), split(percent=20)))])


def token(ingress: KIngress) -> str:
    return token_of(with_defaults(ingress))


class World:
    """Services and Secrets as the cluster has them, and the assembly that looks at them."""

    def __init__(self, *services: str, two_steps: bool = False) -> None:
        self.services = dict.fromkeys(services, True)
        """Whether an endpoint is ready, by name."""
        self.secrets: dict[str, Pair] = {}
        self.assembly = Assembly(DOORS, self._backend, self._pair, settings=PLAIN, two_steps=two_steps)

    def begin(self, *ingresses: KIngress) -> World:
        self.assembly.begin(ingresses)
        return self

    def put(self, *ingresses: KIngress) -> World:
        for one in ingresses:
            self.assembly.put(("default", one.metadata.name), one)
        return self

    def gone(self, name: str) -> None:
        self.assembly.put(("default", name), None)

    def service(self, name: str, ready: bool | None) -> None:
        """A Service with or without an endpoint that is ready; None: there is none."""
        if ready is None:
            self.services.pop(name, None)
        else:
            self.services[name] = ready
        self.assembly.services_changed([("default", name)])

    def secret(self, name: str, pair: Pair | None) -> None:
        if pair is None:
            self.secrets.pop(name, None)
        else:
            self.secrets[name] = pair
        self.assembly.secrets_changed([("default", name)])

    def entry(self, name: str = "web") -> Entry:
        return self.assembly.entries["default", name]

    def verdict(self, name: str = "web") -> tuple[str, str, str]:
        """What is said of the version that is wanted."""
        network = self.entry(name).network
        return network.status, network.reason, network.message

    def hosts(self) -> dict[str, str]:
        """Who is served on each host now."""
        return hosts_of(self.assembly.snapshot()[0])

    def step(self) -> list[str]:
        """A publish that nothing is wrong with: whose it was."""
        _, keys = self.assembly.snapshot()
        self.assembly.applied(Applied(1, ()), keys)
        return [name for _, name in keys]

    def _backend(self, namespace: str, name: str, port: int | str) -> Resolved:
        ready = self.services.get(name)
        if ready is None:
            return Resolved(None, f"service {namespace}/{name} not found")
        return Resolved(BackendSpec(f"{namespace}/{name}:{port}", "echo", {"namespace": name}), ready=ready)

    def _pair(self, namespace: str, name: str) -> Pair:
        return self.secrets.get(name) or Pair(error=f"secret {namespace}/{name} not found")


def hosts_of(snapshot: Snapshot) -> dict[str, str]:
    """Who is served on each host; fails if two are."""
    found: dict[str, str] = {}
    for route in snapshot.routes:
        for host in route.hosts:
            owner = route.name.partition(":")[0].removeprefix("default/")
            assert found.setdefault(host.value, owner) == owner, f"{host.value} has two owners"
    return found


class Served:
    """A gateway's table that serves a world."""

    def __init__(self, world: World, table: RoutedTable) -> None:
        self.world = world
        self.table = table

    async def publish(self) -> bool:
        """One step: whether there is another."""
        snapshot, keys = self.world.assembly.snapshot()
        applied = await self.table.source.publish(
            *snapshot.routes, backends=snapshot.backends, certificates=snapshot.certificates
        )
        return self.world.assembly.applied(applied, keys)

    async def ask(self, host: str = "web.test") -> tuple[int, str, str]:
        """Status, who answered, and what a probe was told."""
        probe = ((b"k-network-probe", b"probe"), (b"k-network-hash", b"override"))
        try:
            answer = await self.table.handle(make_request(url=f"http://{host}/", headers=probe))
        except ExchangeError as error:
            return error.status, "", ""
        told = answer.header(b"k-network-hash") or b""
        return answer.status, (answer.header(b"who") or b"").decode(), told.decode()

    async def who(self, host: str = "web.test") -> str | int:
        status, who, _ = await self.ask(host)
        return who or status


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[Served]:
    """What `world` is now, served in one step."""
    async with routed(PLUGIN) as table:
        served = Served(world, table)
        await served.publish()
        yield served


async def test_a_version_is_served_when_all_that_it_needs_is_there_and_the_old_one_until_then() -> None:
    world = World("one")
    async with serving(world) as served:
        world.put(version())
        await served.publish()
        assert await served.ask() == (200, "one", token(version()))
        new = version(to="two", secret="pair", generation=2)
        world.put(new)
        await served.publish()
        assert await served.ask() == (200, "one", token(version()))
        assert world.verdict() == ("Unknown", "ServiceNotReady", "service default/two not found")
        world.service("two", ready=False)
        await served.publish()
        assert await served.who() == "one"
        assert world.verdict() == (
            "Unknown",
            "ServiceNotReady",
            "service default/two has no endpoint that is ready",
        )
        world.service("two", ready=True)
        await served.publish()
        assert await served.who() == "one"
        assert world.verdict() == ("Unknown", "SecretNotReady", "secret default/pair not found")
        assert world.entry().programmed == token(version())
        world.secret("pair", Pair("chain", "key"))
        await served.publish()
        assert await served.ask() == (200, "two", token(new))


async def test_what_is_new_and_lacks_something_is_not_served_at_all() -> None:
    world = World().put(version())
    async with serving(world) as served:
        assert await served.who() == 404
        assert (world.entry().programmed, world.verdict()[1]) == ("", "ServiceNotReady")
        world.service("one", ready=True)
        await served.publish()
        assert await served.who() == "one"
        assert (world.entry().programmed, world.entry().network) == (token(version()), TRUE)


async def test_after_a_restart_what_was_served_is_whatever_is_missing_and_the_rest_waits() -> None:
    world = World("three").begin(
        version("missing", to="one", ready=1),
        version("new", to="one"),
        version("changed", to="one", generation=2, ready=1),
        version("fine", to="three", ready=1),
        version("begun", to="three"),
    )
    async with serving(world) as served:
        asked = {name: await served.who(f"{name}.test") for name in ("missing", "new", "changed", "fine", "begun")}
        assert asked == {"missing": 503, "new": 404, "changed": 503, "fine": "three", "begun": "three"}
        world.service("one", ready=True)
        await served.publish()
        assert {await served.who(f"{name}.test") for name in ("missing", "new", "changed")} == {"one"}


async def test_what_was_ready_stays_so_through_a_restart_while_its_service_is_missing() -> None:
    """Endpoints come and go by themselves: an object that says not to be ready would be gated by the next restart."""
    world = World().begin(version(ready=1))
    async with serving(world):
        assert (world.entry().network, world.entry().programmed) == (TRUE, token(version()))


async def test_a_version_that_comes_while_a_restart_goes_on_waits_for_its_turn() -> None:
    world = World("one").begin(version(ready=1))
    world.put(version(to="two", generation=2))
    async with serving(world) as served:
        assert await served.ask() == (200, "one", token(version()))
        world.service("two", ready=True)
        await served.publish()
        assert await served.who() == "two"


async def test_an_object_that_is_wrong_affects_nobody_else_and_its_served_version_stays() -> None:
    world = World("one", "two").put(version(), version("other", to="two"))
    async with serving(world) as served:
        world.put(broken(generation=2), broken("third"))
        await served.publish()
        assert (await served.who(), await served.who("other.test"), await served.who("third.test")) == (
            "one",
            "two",
            404,
        )
        words = "spec.rules[0].http.paths[0].splits: traffic split percentage must total to 100, but was 70"
        assert world.verdict() == world.verdict("third") == ("False", "Invalid", words)
        assert world.entry("other").network is TRUE
        assert (world.entry().token, world.entry().generation) == ("", 2)
        world.service("one", ready=False)
        await served.publish()
        assert world.verdict()[1] == "Invalid"
        world.put(version(generation=3), version("third", to="two"))
        await served.publish()
        assert (await served.who(), await served.who("third.test")) == ("one", "two"), (
            "what was served waits for nothing"
        )
        assert world.entry().network is TRUE


async def test_a_service_that_vanishes_is_503_and_no_news_of_its_ingress() -> None:
    world = World("one").put(version())
    async with serving(world) as served:
        world.service("one", ready=None)
        await served.publish()
        assert await served.who() == 503
        assert (world.entry().network, world.entry().programmed) == (TRUE, token(version()))
        world.service("one", ready=True)
        await served.publish()
        assert await served.who() == "one"


async def test_what_is_deleted_is_unknown_at_once() -> None:
    world = World("one").put(version(), version("other"))
    async with serving(world) as served:
        world.gone("web")
        await served.publish()
        assert (await served.who(), await served.who("other.test")) == (404, "one")
        assert list(world.assembly.entries) == [("default", "other")]
        world.gone("web")
        assert world.step() == []


async def test_of_two_that_want_a_host_the_first_has_it_and_the_other_when_it_goes() -> None:
    world = World("one", "two").put(version("a", "x.test", "a.test", ready=1))
    world.put(version("b", "x.test", "b.test", to="two", created="2020-01-01T00:00:00Z"))
    async with serving(world) as served:
        assert [await served.who(f"{host}.test") for host in "xab"] == ["one", "one", "two"]
        assert world.assembly.conflicts(("default", "b")) == (("x.test", ("default", "a")),)
        assert world.assembly.conflicts(("default", "a")) == ()
        world.gone("a")
        _, keys = world.assembly.snapshot()
        assert keys == [("default", "b")], "its status is to be written anew"
        await served.publish()
        assert [await served.who(f"{host}.test") for host in "xab"] == ["two", 404, "two"]
        assert world.assembly.conflicts(("default", "b")) == ()


async def test_one_that_cannot_be_served_keeps_no_host_from_one_that_can() -> None:
    world = World("two").put(version("a", "x.test", created="2020-01-01T00:00:00Z"), version("b", "x.test", to="two"))
    async with serving(world) as served:
        assert await served.who("x.test") == "two"
        assert world.assembly.conflicts(("default", "b")) == ()
        world.assembly.told(("default", "b"), version("b", ready=1).status)
        world.service("one", ready=True)
        await served.publish()
        assert await served.who("x.test") == "two", "it was programmed first"
        assert world.assembly.conflicts(("default", "a")) == (("x.test", ("default", "b")),)


def test_an_older_one_that_asks_for_more_takes_no_host_from_who_has_it() -> None:
    world = World("one", "two").begin(
        version("old", "x.test", created="2020-01-01T00:00:00Z", ready=1), version("new", "bank.test", ready=1)
    )
    assert world.hosts() == {"x.test": "old", "bank.test": "new"}
    status = {"observedGeneration": 2, "publicLoadBalancer": {"ingress": [{"domainInternal": "x"}]}}
    more = version("old", "x.test", "bank.test", to="three", created="2020-01-01T00:00:00Z", generation=2)
    world.put(more)
    world.assembly.told(("default", "old"), msgspec.convert(status, Status))
    world.service("three", ready=True)
    assert world.hosts() == {"x.test": "old", "bank.test": "new"}
    assert world.assembly.conflicts(("default", "old")) == (("bank.test", ("default", "new")),)


def test_what_the_gateway_did_not_take_is_asked_of_every_publish() -> None:
    world = World("one").put(version("a"), version("b"))
    snapshot, keys = world.assembly.snapshot()
    a, b = (world.entry(name) for name in "ab")
    world.assembly.applied(Applied(1, (ObjectStatus("certificate", "default/a:0", "", "too many files"),)), keys)
    assert (a.network.reason, b.network, a.programmed, b.programmed) == ("Refused", TRUE, "", b.token)
    assert world.assembly.refused == [("default", "a")]
    assert world.assembly.snapshot() == (snapshot, [])
    world.assembly.applied(Applied(2, ()), ())
    assert (a.network, a.programmed, world.assembly.refused) == (TRUE, a.token, [])
    world.put(version("c"))
    _, keys = world.assembly.snapshot()
    world.assembly.applied(Applied(3, (ObjectStatus("source", "knative", "", "too large"),)), keys)
    assert (world.entry("c").programmed, world.verdict("c")) == ("", ("False", "Refused", "too large"))


async def test_a_host_that_a_new_version_drops_is_anothers_in_the_same_moment() -> None:
    world = World("one", "two").put(version("a", "x.test"), version("b", "x.test", to="two"))
    async with serving(world) as served:
        world.put(version("a", "y.test", to="slow", generation=2))
        await served.publish()
        assert [await served.who(f"{host}.test") for host in "xy"] == ["one", 404], "the old version is still served"
        assert world.assembly.conflicts(("default", "b")) == (("x.test", ("default", "a")),)
        world.service("slow", ready=True)
        await served.publish()
        assert [await served.who(f"{host}.test") for host in "xy"] == ["two", "slow"]
        assert world.assembly.conflicts(("default", "b")) == ()


async def test_who_comes_to_a_host_that_an_old_version_is_served_on_waits_for_it() -> None:
    world = World("one", "two").put(version("a", "x.test"))
    async with serving(world) as served:
        world.put(version("a", "y.test", to="slow", generation=2))
        await served.publish()
        world.put(version("b", "x.test", to="two"))
        await served.publish()
        assert await served.who("x.test") == "one"
        world.put(version("a", "x.test", generation=3))
        await served.publish()
        assert await served.who("x.test") == "one"
        world.gone("a")
        await served.publish()
        assert await served.who("x.test") == "two"


async def test_a_host_that_was_never_served_is_free_for_others() -> None:
    world = World("one", "two").put(version("a", "x.test"), version("b", "x.test", to="slow"))
    async with serving(world) as served:
        world.put(version("b", "y.test", to="slow", generation=2))
        world.gone("a")
        world.put(version("c", "x.test", to="two"))
        await served.publish()
        assert (await served.who("x.test"), world.assembly.conflicts(("default", "b"))) == ("two", ())


async def test_with_many_workers_a_probe_is_told_of_a_version_once_all_of_them_serve_it() -> None:
    world = World("one", "two", two_steps=True).put(version())
    async with routed(PLUGIN) as table:
        served = Served(world, table)
        assert await served.publish(), "there is a second step"
        assert (await served.ask(), world.entry().programmed) == ((200, "one", UNTOLD), "")
        assert not await served.publish()
        assert (await served.ask(), world.entry().programmed) == ((200, "one", token(version())), token(version()))
        new = version(to="two", generation=2)
        world.put(new)
        assert await served.publish()
        assert await served.ask() == (200, "two", UNTOLD), "the new one is served, and not told yet"
        assert world.entry().programmed == "", "what was told before is served no more"
        assert not await served.publish()
        assert (await served.ask(), world.entry().programmed) == ((200, "two", token(new)), token(new))


async def test_with_many_workers_a_host_that_is_inherited_is_told_in_the_second_step_too() -> None:
    world = World("one", "two", two_steps=True).put(version("a", "x.test"), version("b", "x.test", "b.test", to="two"))
    async with routed(PLUGIN) as table:
        served = Served(world, table)
        while await served.publish():
            pass
        told = token(version("b", "x.test", "b.test", to="two"))
        assert await served.ask("b.test") == (200, "two", told)
        world.gone("a")
        assert await served.publish()
        assert await served.ask("x.test") == (200, "two", UNTOLD)
        assert not await served.publish()
        assert await served.ask("x.test") == (200, "two", told)


async def test_what_the_gateway_refuses_is_said_until_it_takes_it() -> None:
    world = World("one", "two").put(version(secret="pair"), version("other"))
    world.secret("pair", Pair("no chain", "no key"))
    async with serving(world) as served:
        status, reason, message = world.verdict()
        assert (status, reason) == ("False", "Refused")
        assert "certificate" in message
        assert "no key" not in message
        assert (world.entry().programmed, world.entry("other").network) == ("", TRUE)
        assert await served.who("other.test") == "one"
        world.assembly.services_changed([("default", "one")])
        world.assembly.snapshot()
        assert world.verdict()[1] == "Refused", "nothing has changed"
        world.put(version(to="two", generation=2))
        await served.publish()
        assert (world.entry().network, await served.who()) == (TRUE, "two")


def test_what_is_refused_of_what_is_served_is_not_said_of_the_version_that_waits() -> None:
    world = World("one").put(version())
    _, keys = world.assembly.snapshot()
    world.assembly.applied(Applied(1, (ObjectStatus("route", "default/web:0.0", "here", "no such filter"),)), keys)
    assert world.verdict() == ("False", "Refused", "no such filter")
    world.put(version(to="two", generation=2))
    assert world.step() == ["web"]
    assert world.verdict()[1] == "ServiceNotReady"


def test_a_back_end_that_is_refused_is_not_the_fault_of_its_ingress() -> None:
    world = World("one").put(version())
    _, keys = world.assembly.snapshot()
    assert not world.assembly.applied(Applied(1, (ObjectStatus("backend", "default/one:80", "", "no"),)), keys)
    assert (world.entry().network, world.entry().programmed) == (TRUE, token(version()))


def pairs(snapshot: Snapshot) -> dict[str, tuple[tuple[str, ...], str]]:
    """Hosts and chain of each certificate."""
    return {one.name: (one.hosts, one.certificate) for one in snapshot.certificates}


def test_without_its_secret_nothing_of_an_ingress_is_served_and_the_last_good_pair_stays() -> None:
    world = World("one").put(version(secret="pair"), version("other"))
    assert world.hosts() == {"other.test": "other"}
    assert world.verdict() == ("Unknown", "SecretNotReady", "secret default/pair not found")
    world.secret("pair", Pair("first", "key"))
    snapshot, _ = world.assembly.snapshot()
    assert pairs(snapshot) == {"default/web:0:ExternalIP": (("web.test",), "first")}
    assert snapshot.certificates[0].listeners == ("https",)
    world.secret("pair", Pair(error="secret default/pair: tls.crt holds no certificate in PEM"))
    snapshot, _ = world.assembly.snapshot()
    assert pairs(snapshot) == {"default/web:0:ExternalIP": (("web.test",), "first")}
    assert world.hosts() == {"other.test": "other", "web.test": "web"}
    words = "secret default/pair: tls.crt holds no certificate in PEM"
    assert world.verdict() == ("Unknown", "SecretNotReady", words)
    world.secret("pair", Pair("second", "key"))
    assert pairs(world.assembly.snapshot()[0]) == {"default/web:0:ExternalIP": (("web.test",), "second")}
    assert world.entry().network is TRUE


@pytest.mark.parametrize("new", [broken(generation=2), version(secret="other", generation=2)])
def test_a_certificate_is_renewed_while_the_next_version_waits(new: KIngress) -> None:
    world = World("one").put(version(secret="pair"))
    world.secret("pair", Pair("first", "key"))
    world.step()
    world.put(new)
    world.step()
    world.secret("pair", Pair("second", "key"))
    assert pairs(world.assembly.snapshot()[0]) == {"default/web:0:ExternalIP": (("web.test",), "second")}


def test_a_pair_of_a_former_version_is_not_kept() -> None:
    world = World("one").put(version(secret="old"))
    world.secret("old", Pair("old", "key"))
    world.step()
    world.put(version(secret="new", generation=2))
    world.secret("new", Pair("new", "key"))
    world.step()
    assert list(world.entry().pairs) == [("default", "new")]
    assert world.assembly.secrets == {("default", "new")}


async def test_a_secret_is_presented_to_who_asks_for_its_host(tmp_path: Path) -> None:
    if reason := certificate(tmp_path / "chain.pem", tmp_path / "key.pem"):
        pytest.skip(reason)
    world = World("one").put(version(secret="pair"), version("other"))
    world.secret("pair", Pair((tmp_path / "chain.pem").read_text(), (tmp_path / "key.pem").read_text()))
    async with serving(world) as served:
        found = served.table.table.certificates
        assert world.entry().network is TRUE
        assert [found.find("https", name) is None for name in ("web.test", "other.test", "")] == [False, True, True]
        assert found.find("tls", "web.test") is None
        world.gone("web")
        await served.publish()
        assert found.find("https", "web.test") is None


def test_what_is_referred_to_is_what_is_wanted_and_what_is_served() -> None:
    world = World("one").put(version(secret="pair"), broken("other"))
    world.secret("pair", Pair("chain", "key"))
    world.step()
    assert (world.assembly.services, world.assembly.secrets) == ({("default", "one")}, {("default", "pair")})
    world.put(version(to="two", generation=2))
    world.step()
    assert world.assembly.services == {("default", "one"), ("default", "two")}
    assert world.assembly.secrets == {("default", "pair")}
    world.service("two", ready=True)
    world.step()
    assert (world.assembly.services, world.assembly.secrets) == ({("default", "two")}, set())
    world.gone("web")
    assert (world.assembly.services, world.assembly.secrets) == (set(), set())


def test_a_change_looks_at_those_that_it_concerns() -> None:
    world = World("one", "two").put(version("a"), version("b", to="two"), version("c"))
    assert world.step() == ["a", "b", "c"]
    assert world.step() == []
    world.service("one", ready=True)
    assert sorted(world.step()) == ["a", "c"]
    world.put(version("b", to="two", generation=2))
    assert world.step() == ["b"]
    assert world.entry("b").programmed == world.entry("b").token, "the same version with another number"


NAMES, HOSTS = ("a", "b", "c"), ("x.test", "y.test", "z.test")
SERVICES, SECRETS = ("one", "two", "three"), ("p", "q")


class Life(RuleBasedStateMachine):
    """Any changes in any order."""

    @initialize(two_steps=st.booleans())
    def setup(self, two_steps: bool) -> None:
        self.world = World("one", two_steps=two_steps)
        self.wanted: dict[str, KIngress] = {}
        self.generation = 0

    @rule(
        name=st.sampled_from(NAMES),
        hosts=st.lists(st.sampled_from(HOSTS), min_size=1, unique=True),
        to=st.sampled_from(SERVICES),
        secret=st.sampled_from(("", "", *SECRETS)),
        created=st.sampled_from("123"),
    )
    def put(self, name: str, hosts: list[str], to: str, secret: str, created: str) -> None:
        self.generation += 1
        one = version(name, *hosts, to=to, secret=secret, generation=self.generation, created=created)
        self.wanted[name] = one
        self.world.put(one)

    @rule(name=st.sampled_from(NAMES))
    def put_broken(self, name: str) -> None:
        self.generation += 1
        self.wanted[name] = broken(name, self.generation)
        self.world.put(self.wanted[name])

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self.wanted.pop(name, None)
        self.world.gone(name)

    @rule(name=st.sampled_from(SERVICES), ready=st.sampled_from((True, True, False, None)))
    def service(self, name: str, ready: bool | None) -> None:
        self.world.service(name, ready)

    @rule(name=st.sampled_from(SECRETS), chain=st.sampled_from(("first", "second", "", None)))
    def secret(self, name: str, chain: str | None) -> None:
        self.world.secret(name, None if chain is None else Pair(chain, "key") if chain else Pair(error="it is broken"))

    @rule()
    def restart(self) -> None:
        """With statuses as a leader has written them by then: who was ready has lost nothing."""
        before, ready = self.publish(), self.ready()
        self.world = again(self.world, self.wanted, ready)
        assert routes_of(before, ready) == routes_of(self.publish(), ready)

    @invariant()
    def every_host_has_one_owner_and_nothing_is_left_undone(self) -> None:
        snapshot = self.publish()
        owners = hosts_of(snapshot)
        for (_, name), entry in self.entries().items():
            assert entry.hosts == {host for host, owner in owners.items() if owner == name}
            if entry.wanted is not None:
                lost = {host for host, _ in self.world.assembly.conflicts(("default", name))}
                assert entry.served is not entry.wanted or entry.hosts | lost == set(hosts_wanted(self.wanted[name]))
        backends = {backend.name for backend in snapshot.backends}
        assert {part.backend for route in snapshot.routes for part in route.action.splits} <= backends  # type: ignore[union-attr]
        self.world.assembly.services_changed(self.world.assembly.services)
        self.world.assembly.secrets_changed(self.world.assembly.secrets)
        assert self.world.assembly.snapshot()[0] == snapshot, "something was not looked at that had changed"

    def teardown(self) -> None:
        """When all is there at last, it is as if it had always been, but for whose is what two want."""
        if not hasattr(self, "world"):
            return
        for service in SERVICES:
            self.world.service(service, ready=True)
        for secret in SECRETS:
            self.world.secret(secret, Pair("third", "key"))
        before, ready = self.publish(), self.ready()
        assert {name for name in self.wanted if not self.is_broken(name) and not self.conflicts(name)} == ready
        after = again(self.world, self.wanted, ready)
        snapshot = publish(after)
        assert routes_of(before, ready) == routes_of(snapshot, ready)
        if ready == set(self.wanted):
            assert as_sets(before) == as_sets(snapshot)
        fresh = again(self.world, self.wanted, ())
        assert set(hosts_of(publish(fresh))) == {
            host for name, one in self.wanted.items() if not self.is_broken(name) for host in hosts_wanted(one)
        }

    def entries(self) -> dict[Key, Entry]:
        return dict(self.world.assembly.entries) if hasattr(self, "world") else {}

    def publish(self) -> Snapshot:
        return publish(self.world)

    def is_broken(self, name: str) -> bool:
        return len(self.wanted[name].spec.rules[0].paths[0].splits) != 1

    def conflicts(self, name: str) -> bool:
        return bool(self.world.assembly.conflicts(("default", name)))

    def ready(self) -> set[str]:
        """Whose status says so."""
        return {
            name
            for (_, name), entry in self.entries().items()
            if entry.wanted is not None
            and entry.network is TRUE
            and entry.programmed == entry.token
            and not self.conflicts(name)
        }


def hosts_wanted(ingress: KIngress) -> tuple[str, ...]:
    return ingress.spec.rules[0].hosts


def publish(world: World) -> Snapshot:
    """Until all steps are done."""
    for _ in range(3):
        snapshot, keys = world.assembly.snapshot()
        if not world.assembly.applied(Applied(1, ()), keys):
            return snapshot
    raise AssertionError("there are more than two steps")


def again(world: World, wanted: dict[str, KIngress], ready: Iterable[str]) -> World:
    """The same world after a restart."""
    after = World(two_steps=world.assembly._two_steps)
    after.services, after.secrets = world.services, world.secrets
    ingresses = []
    for name, one in wanted.items():
        data = json.loads(msgspec.json.encode(one))
        if name in ready:
            generation = one.metadata.generation
            data["status"] = {"observedGeneration": generation, "conditions": READY}
        ingresses.append(KINGRESS.decode(json.dumps(data).encode()))
    return after.begin(*ingresses)


def routes_of(snapshot: Snapshot, names: Iterable[str]) -> set[str]:
    """The routes of some, as text."""
    kept = {f"default/{name}" for name in names}
    return {repr(route) for route in snapshot.routes if route.name.partition(":")[0] in kept}


def as_sets(snapshot: Snapshot) -> tuple[set[str], ...]:
    return tuple({repr(one) for one in part} for part in (snapshot.routes, snapshot.backends, snapshot.certificates))


Life.TestCase.settings = settings(max_examples=25, stateful_step_count=25)
TestLife = Life.TestCase
