"""What gateways are asked before a version is ready, and what is made of their answers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSListener
from bench.peers.origin import certificate

from daemun.testing import Scene, ScriptedUpstream, eventually, scripted
from daemun_knative.kingress import probe
from daemun_knative.kingress.claims import Key
from daemun_knative.kingress.probe import Prober, Question, open_prober, questions

from .kingresses import ingress, path, rule, split

pytestmark = pytest.mark.anyio

KEY, OTHER = ("default", "web"), ("default", "other")
TOKEN, FORMER = "ab" * 32, "cd" * 32
ASKED = Question(external=True, tls=False, host="web.test", path="/healthz")
NOTHING = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n"
Answer = bytes | Callable[[Scene], Any]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits here for a gateway that may need a while."""
    monkeypatch.setattr(probe, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(probe, "_LONGEST_PAUSE_SECONDS", 0.02)


def status(code: int) -> bytes:
    return NOTHING % code


def told(token: str, code: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\nK-Network-Hash: %s\r\nContent-Length: 0\r\n\r\n" % (code, token.encode())


async def silence(scene: Scene) -> None:
    await scene.gone()


async def endless(scene: Scene) -> None:
    """Content for as long as anybody reads it."""
    await scene.send(b"HTTP/1.1 200 OK\r\nK-Network-Hash: %s\r\n\r\n" % TOKEN.encode())
    while True:
        await scene.send(b"data: x\r\n\r\n")
        await anyio.sleep(0.01)


async def drops(scene: Scene) -> None:
    """A head that never ends, and never pauses for long."""
    await scene.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await scene.send(b"X: y\r\n")
        await anyio.sleep(0.01)


@asynccontextmanager
async def gateway(*answers: Answer) -> AsyncIterator[ScriptedUpstream]:
    """A gateway that gives these answers, one after the other, and the last one for ever."""
    left = list(answers)

    async def script(scene: Scene) -> None:
        if await scene.request():
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, bytes):
                await scene.send(answer)
            else:
                await answer(scene)

    async with scripted(script) as upstream:
        yield upstream


def at(*gateways: ScriptedUpstream) -> list[str]:
    return [f"127.0.0.1:{one.port}" for one in gateways]


class Probing:
    """A prober, and what it found."""

    def __init__(self, *external: str) -> None:
        self.external = list(external)
        self.internal = list(external)
        self.served: list[tuple[Key, str]] = []
        self.prober: Prober

    def gateways(self, external: bool, tls: bool) -> list[str]:
        return self.external if external else self.internal


@asynccontextmanager
async def probing(*gateways: ScriptedUpstream, try_seconds: float = 5.0) -> AsyncIterator[Probing]:
    found = Probing(*at(*gateways))
    heard = found.served

    def served(key: Key, token: str) -> None:
        heard.append((key, token))

    async with open_prober(found.gateways, served, try_seconds=try_seconds) as found.prober:
        yield found


async def test_it_is_asked_until_the_version_is_served() -> None:
    answers = [status(404), told(FORMER), status(503), status(502), status(504), told(TOKEN)]
    async with gateway(*answers) as gate, probing(gate) as found:
        found.prober.probe(KEY, TOKEN, [ASKED])
        await eventually(lambda: bool(found.served))
        assert found.served == [(KEY, TOKEN)]
        assert found.prober.trouble == {}
        assert gate.connections == len(gate.requests) == len(answers), "no connection is kept"
    for asked in gate.asked:
        assert (asked.method, asked.target) == (b"GET", b"/healthz")
        assert asked.field(b"host") == b"web.test"
        assert asked.field(b"user-agent") == b"Knative-Ingress-Probe"
        assert (asked.field(b"k-network-probe"), asked.field(b"k-network-hash")) == (b"probe", b"override")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(status(200), id="200 without a token"),
        pytest.param(status(301), id="redirect"),
        pytest.param(status(401), id="refused"),
        pytest.param(told(FORMER, 403), id="refused with another token"),
        pytest.param(endless, id="endless"),
    ],
)
async def test_an_answer_of_something_that_knows_no_probes_will_do(answer: Answer) -> None:
    async with gateway(answer) as gate, probing(gate) as found:
        found.prober.probe(KEY, TOKEN, [ASKED])
        await eventually(lambda: found.served == [(KEY, TOKEN)])
        assert gate.connections == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (status(404), "status 404"),
        (status(503), "status 503"),
        (told(FORMER), "another version is served"),
        (silence, "no answer within 0.2 s"),
        (drops, "no answer within 0.2 s"),
        (b"what?\r\n\r\n", "illegal status line"),
        (b"", "Server disconnected"),
    ],
)
async def test_what_is_wrong_is_said_with_gateway_and_host(answer: Answer, words: str) -> None:
    seconds = 0.2 if "within" in words else 10
    async with gateway(answer) as gate, probing(gate, try_seconds=seconds) as found:
        found.prober.probe(KEY, TOKEN, [ASKED])
        await eventually(lambda: gate.connections > 2)
        assert found.prober.trouble[KEY].startswith(f"{at(gate)[0]}: web.test: {words}")
        assert found.served == []


async def test_a_gateway_that_cannot_be_reached_is_asked_again() -> None:
    async with scripted() as gone:
        pass
    async with gateway(told(TOKEN)) as gate, probing(gone) as found:
        found.prober.probe(KEY, TOKEN, [ASKED])
        await eventually(lambda: KEY in found.prober.trouble)
        assert found.prober.trouble[KEY].startswith(f"{at(gone)[0]}: web.test: ")
        found.external = at(gone, gate)
        await eventually(lambda: gate.connections == 1)
        assert found.served == []
        found.external = at(gate)
        await eventually(lambda: found.served == [(KEY, TOKEN)])
        assert gate.connections == 1


async def test_a_gateway_that_vanishes_is_waited_for_no_longer() -> None:
    async with gateway(silence) as hangs, gateway(told(TOKEN)) as gate, probing(hangs, gate, try_seconds=1.5) as found:
        found.prober.probe(KEY, TOKEN, [ASKED])
        await eventually(lambda: hangs.connections > 1)
        assert (found.served, gate.connections) == ([], 1)
        found.external = at(gate)
        await eventually(lambda: found.served == [(KEY, TOKEN)])
        assert gate.connections == 1


async def test_without_a_gateway_nothing_is_served() -> None:
    async with gateway(told(TOKEN)) as gate, probing() as found:
        found.prober.probe(KEY, TOKEN, [ASKED])
        await eventually(lambda: KEY in found.prober.trouble)
        assert found.prober.trouble[KEY] == "no gateway is ready behind the external Service"
        found.external = at(gate)
        await eventually(lambda: found.served == [(KEY, TOKEN)])


async def test_every_gateway_is_asked_everything_and_nothing_twice_that_was_answered() -> None:
    asked = [ASKED, Question(external=False, tls=False, host="web.default.svc", path="/x/healthz")]
    async with gateway(told(TOKEN)) as one, gateway(status(404), told(TOKEN)) as two, probing(one, two) as found:
        found.prober.probe(KEY, TOKEN, asked)
        await eventually(lambda: found.served == [(KEY, TOKEN)])
        targets = {b"/healthz": b"web.test", b"/x/healthz": b"web.default.svc"}
        assert {one.target: one.field(b"host") for one in one.asked} == targets
        assert (one.connections, two.connections) == (2, 3)


async def test_inside_and_outside_are_different_gateways() -> None:
    inside = Question(external=False, tls=False, host="web.test", path="/inside/healthz")
    async with gateway(told(TOKEN)) as one, gateway(told(TOKEN)) as two, probing(one) as found:
        found.internal = at(two)
        found.prober.probe(KEY, TOKEN, [ASKED, inside])
        await eventually(lambda: found.served == [(KEY, TOKEN)])
        assert [asked.target for asked in one.asked] == [b"/healthz"]
        assert [asked.target for asked in two.asked] == [b"/inside/healthz"]


async def test_a_new_version_ends_what_was_asked_for_the_old_one() -> None:
    async with gateway(told(TOKEN)) as gate, probing(gate) as found:
        found.prober.probe(KEY, FORMER, [ASKED])
        await eventually(lambda: gate.connections > 1)
        found.prober.probe(KEY, TOKEN, [ASKED])
        await eventually(lambda: found.served == [(KEY, TOKEN)])
        asked = gate.connections
        found.prober.probe(OTHER, TOKEN, [ASKED])
        await eventually(lambda: len(found.served) == 2)
        assert (found.served[1], gate.connections) == ((OTHER, TOKEN), asked + 1), "nobody else asks any more"
        assert found.prober.trouble == {}


async def test_to_probe_what_is_probed_changes_nothing() -> None:
    async with gateway(silence) as gate, probing(gate) as found:
        for _ in range(3):
            found.prober.probe(KEY, TOKEN, [ASKED])
        await eventually(lambda: gate.open == 1)
        await anyio.wait_all_tasks_blocked()
        assert gate.connections == 1


async def test_what_is_forgotten_is_not_asked_and_not_heard_of() -> None:
    async with gateway(silence) as gate, probing(gate) as found:
        for key in (KEY, OTHER):
            found.prober.probe(key, TOKEN, [ASKED])
        await eventually(lambda: gate.open == 2)
        found.prober.forget(KEY)
        found.prober.forget(KEY)
        await eventually(lambda: gate.open == 1)
        found.prober.forget_all()
        await eventually(lambda: gate.open == 0)
        assert (found.served, found.prober.trouble) == ([], {})


async def test_what_is_forgotten_in_the_moment_of_its_last_answer_is_not_heard_of() -> None:
    async with probing() as found:
        found.prober.probe(KEY, FORMER, ())
        found.prober.probe(OTHER, FORMER, ())
        found.prober.forget(OTHER)
        found.prober.probe(KEY, TOKEN, ())
        await eventually(lambda: bool(found.served))
        await anyio.wait_all_tasks_blocked()
        assert found.served == [(KEY, TOKEN)]


async def test_there_is_a_bound_to_what_is_asked_at_once() -> None:
    most, go = 0, anyio.Event()

    async def hold(scene: Scene) -> None:
        await go.wait()
        await scene.send(told(TOKEN))

    async with gateway(hold) as gate, probing(gate, try_seconds=20) as found:
        for number in range(20):
            asked = [Question(True, False, f"{host}.test", "/healthz") for host in range(6)]
            found.prober.probe(("default", str(number)), TOKEN, asked)
        await eventually(lambda: gate.open == 64)
        await anyio.wait_all_tasks_blocked()
        most = gate.connections
        go.set()
        await eventually(lambda: len(found.served) == 20)
        assert (most, gate.connections) == (64, 120)


async def test_one_with_many_hosts_takes_few_places() -> None:
    go = anyio.Event()

    async def hold(scene: Scene) -> None:
        await go.wait()
        await scene.send(told(TOKEN))

    async with gateway(hold) as gate, probing(gate, try_seconds=20) as found:
        asked = [Question(True, False, f"{host}.test", "/healthz") for host in range(30)]
        found.prober.probe(KEY, TOKEN, asked)
        await eventually(lambda: gate.open == 4)
        await anyio.wait_all_tasks_blocked()
        assert gate.connections == 4
        go.set()
        await eventually(lambda: len(found.served) == 1)


async def test_what_stays_silent_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_AT_ONCE", 4)
    monkeypatch.setattr(probe, "_SILENT_AT_ONCE", 1)
    async with gateway(silence) as hangs, gateway(told(TOKEN)) as gate, probing(gate, try_seconds=2) as found:
        found.internal = at(hangs)
        asked = [Question(False, False, f"{host}.test", "/healthz") for host in range(4)]
        found.prober.probe(OTHER, TOKEN, asked)
        await eventually(lambda: hangs.open == 4)
        await eventually(lambda: OTHER in found.prober.trouble)
        await eventually(lambda: hangs.connections == 5)
        await anyio.wait_all_tasks_blocked()
        assert hangs.connections == 5
        found.prober.probe(KEY, TOKEN, [ASKED])
        await eventually(lambda: found.served == [(KEY, TOKEN)])


async def test_one_that_fails_delays_no_other() -> None:
    async with gateway(silence) as hangs, gateway(told(TOKEN)) as gate, probing(gate) as found:
        found.internal = at(hangs)
        found.prober.probe(OTHER, TOKEN, [Question(False, False, "other.test", "/healthz")])
        await eventually(lambda: hangs.open == 1)
        found.prober.probe(KEY, TOKEN, [ASKED])
        await eventually(lambda: found.served == [(KEY, TOKEN)])


async def test_fields_that_a_path_asks_for_are_sent_as_they_are() -> None:
    fields = (("Knative-Serving-Tag", "grün"), ("X-Empty", ""))
    async with gateway(told(TOKEN)) as gate, probing(gate) as found:
        found.prober.probe(KEY, TOKEN, [Question(True, False, "web.test", "/a/healthz", fields)])
        await eventually(lambda: found.served == [(KEY, TOKEN)])
    (asked,) = gate.asked
    assert (asked.field(b"knative-serving-tag"), asked.field(b"x-empty")) == ("grün".encode(), b"")


@pytest.mark.parametrize("question", [Question(True, False, "web.test", "/\x01"), Question(True, False, "a b", "/x")])
async def test_what_cannot_be_asked_is_trouble_of_its_own_ingress(question: Question) -> None:
    async with gateway(told(TOKEN)) as gate, probing(gate) as found:
        found.prober.probe(OTHER, TOKEN, [Question(True, False, "web.test", "/", (("x", "a\nb"),)), question])
        found.prober.probe(KEY, TOKEN, [ASKED])
        await eventually(lambda: (KEY, TOKEN) in found.served)
        await eventually(lambda: OTHER in found.prober.trouble)


async def test_a_host_without_a_certificate_is_said_to_have_none() -> None:
    async def leave(scene: Scene) -> None:
        await scene.more()

    question = Question(external=True, tls=True, host="redir.test", path="/healthz")
    async with scripted(leave) as upstream, probing(upstream) as found:
        found.prober.probe(KEY, TOKEN, [question])
        await eventually(lambda: KEY in found.prober.trouble)
        words = "redir.test: TLS is refused, as it is where there is no certificate for this host"
        assert found.prober.trouble[KEY] == f"{at(upstream)[0]}: {words}"


async def test_with_tls_the_host_is_named_and_any_certificate_will_do(tmp_path: Path) -> None:
    if reason := certificate(tmp_path / "chain.pem", tmp_path / "key.pem"):
        pytest.skip(reason)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)

    async def serve(stream: anyio.abc.AnyByteStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(told(TOKEN))

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(TLSListener(listener, context, standard_compatible=False).serve, serve)
        async with probing() as found:
            found.external = [f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"]
            found.prober.probe(KEY, TOKEN, [Question(True, True, "web.test", "/healthz")])
            await eventually(lambda: found.served == [(KEY, TOKEN)])
        tasks.cancel_scope.cancel()
    assert names == ["web.test"]


INSIDE, OUTSIDE, OUTSIDE_TLS, INSIDE_TLS = (False, False), (True, False), (True, True), (False, True)
HOST = "hello.example.com"


def doors(found: tuple[Question, ...], host: str = HOST) -> set[tuple[bool, bool]]:
    return {(one.external, one.tls) for one in found if one.host == host}


def secured(*hosts: str) -> dict[str, Any]:
    return {"hosts": hosts, "secretName": "pair", "secretNamespace": "default"}


def test_every_host_is_asked_for_by_each_door_that_serves_it() -> None:
    found = questions(ingress(rule(hosts=("a.test", "B.test.")), rule(hosts=("c.svc",), visibility="ClusterLocal")))
    assert [doors(found, host) for host in ("a.test", "b.test", "c.svc")] == [
        {INSIDE, OUTSIDE},
        {INSIDE, OUTSIDE},
        {INSIDE},
    ]
    assert len(found) == 5
    assert {one.path for one in found} == {"/healthz"}


def test_tls_is_asked_for_where_there_is_a_certificate() -> None:
    tls = [secured(HOST, "local.svc", "half.test")]
    found = questions(
        ingress(
            rule(),
            rule(hosts=("local.svc",), visibility="ClusterLocal"),
            rule(hosts=("half.test", "other.test")),
            tls=tls,
        )
    )
    assert doors(found) == {INSIDE, OUTSIDE, OUTSIDE_TLS}
    assert doors(found, "local.svc") == {INSIDE, INSIDE_TLS}
    assert doors(found, "half.test") == {INSIDE, OUTSIDE}, "an entry applies to rules all of whose hosts it lists"


def test_what_is_redirected_is_asked_for_by_tls_from_outside() -> None:
    local = rule(hosts=("local.svc",), visibility="ClusterLocal")
    found = questions(ingress(rule(), local, tls=[secured(HOST)], httpOption="Redirected"))
    assert (doors(found), doors(found, "local.svc")) == ({INSIDE, OUTSIDE_TLS}, {INSIDE})


def test_the_path_that_takes_everything_is_asked_for_and_no_solver_of_acme() -> None:
    solver = path(split("solver"), path="/.well-known/acme-challenge/token")
    tagged = path(headers={"Knative-Serving-Tag": {"exact": "blue"}})
    found = questions(ingress(rule(solver, tagged, path()), rule(path(split("more"), path="/more"))))
    assert {(one.path, one.headers) for one in found} == {("/healthz", ())}
    assert len(found) == 2
    found = questions(ingress(rule(solver), rule(path(path="/"))))
    assert {one.path for one in found} == {"/healthz"}


def test_without_one_for_everything_a_path_is_asked_for_that_there_is() -> None:
    found = questions(ingress(rule(path(path="/a/", headers={"X": {"exact": "y"}}), path(path="/b"))))
    assert {(one.path, one.headers) for one in found} == {("/b/healthz", ())}
    found = questions(ingress(rule(path(path="/a/", headers={"X": {"exact": "y"}}))))
    assert {(one.path, one.headers) for one in found} == {("/a/healthz", (("X", "y"),))}


def test_a_rule_for_any_host_is_asked_for_by_a_name_that_nobody_has() -> None:
    found = questions(ingress(rule(hosts=())))
    assert doors(found, "any.invalid") == {INSIDE, OUTSIDE}
    assert len(found) == 2
