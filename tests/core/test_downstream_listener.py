"""Sockets that accept: TCP, Unix, inherited, with and without TLS; faults in words."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import stat
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream

from daemun import (
    BackendType,
    Buffered,
    NoSettings,
    Peer,
    Request,
    Response,
    SettingsError,
    Sniff,
    Stream,
    WireProtocol,
)
from daemun.downstream.listener import bind, connection_limit
from daemun.settings import ListenerSettings
from daemun.testing import Wire, built, eventually, make_plugin, running

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


class Peers:
    """A plugin whose back end keeps who asked."""

    def __init__(self) -> None:
        self.seen: list[Peer] = []
        self.cue: anyio.Event | None = None
        """What answers wait for."""
        self.plugin = make_plugin(
            "peers", daemun_backends=lambda: [BackendType("peers", NoSettings, built(self.handle))]
        )

    async def handle(self, request: Request) -> Response:
        self.seen.append(request.exchange.peer)
        if self.cue is not None:
            await self.cue.wait()
        return Response(200, (), Buffered(b"fine"))

    def settings(self, *listeners: dict[str, Any]) -> dict[str, Any]:
        source = {
            "type": "inline",
            "backends": {"b": {"type": "peers"}},
            "routes": [{"name": "all", "to": "b"}],
        }
        return {"listeners": list(listeners), "sources": [source]}


async def all_of(stream: Any) -> bytes:
    data = b""
    async with stream:
        await stream.send(GET)
        try:
            while True:
                data += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return data


@pytest.mark.parametrize(
    ("bind_to", "address"), [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("localhost:0", None)]
)
async def test_tcp(bind_to: str, address: str | None) -> None:
    peers = Peers()
    listener = {"name": "tcp", "bind": bind_to}
    async with running(peers.settings(listener), only=["http1", "file"], extra=[peers.plugin]) as gateway:
        host, _, port = gateway.url.removeprefix("http://").rpartition(":")
        answer = await all_of(await anyio.connect_tcp(host.strip("[]"), int(port)))
    assert answer.endswith(b"\r\n\r\nfine")
    peer = peers.seen[0]
    assert (peer.listener, peer.scheme, peer.local) == ("tcp", "http", f"{host}:{port}")
    assert address is None or peer.address == address
    assert peer.port
    assert (peer.server_name, peer.client_name) == ("", "")


async def test_a_unix_socket_is_there_while_it_listens(tmp_path: Path) -> None:
    peers = Peers()
    path = tmp_path / "d.sock"
    listener = {"name": "unix", "bind": f"unix:{path}"}
    async with running(peers.settings(listener), only=["http1", "file"], extra=[peers.plugin]) as gateway:
        assert gateway.url == f"unix:{path}"
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert (await all_of(await anyio.connect_unix(path))).endswith(b"fine")
    assert (peers.seen[0].address, peers.seen[0].local) == ("", f"unix:{path}")
    assert not path.exists()


async def test_the_socket_that_a_dead_process_left_is_taken_over(tmp_path: Path) -> None:
    peers = Peers()
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    listener = {"name": "unix", "bind": f"unix:{path}"}
    async with running(peers.settings(listener), only=["http1", "file"], extra=[peers.plugin]):
        assert (await all_of(await anyio.connect_unix(path))).endswith(b"fine")


async def test_a_gateway_that_stops_leaves_its_successors_socket_alone(tmp_path: Path) -> None:
    old, new = Peers(), Peers()
    path = tmp_path / "d.sock"
    listener = {"name": "unix", "bind": f"unix:{path}"}
    started, stop, stopped = anyio.Event(), anyio.Event(), anyio.Event()

    async def serve_old() -> None:
        async with running(old.settings(listener), only=["http1", "file"], extra=[old.plugin]):
            started.set()
            await stop.wait()
        stopped.set()

    old.cue = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve_old)
        await started.wait()
        async with await anyio.connect_unix(path) as running_one:
            await running_one.send(GET)
            await eventually(lambda: len(old.seen) == 1)
            stop.set()
            await eventually(lambda: not path.exists(), "the end of the old listener")
            async with running(new.settings(listener), only=["http1", "file"], extra=[new.plugin]):
                old.cue.set()
                assert (await running_one.receive()).endswith(b"fine")
                await stopped.wait()
                assert (await all_of(await anyio.connect_unix(path))).endswith(b"fine")
    assert (len(old.seen), len(new.seen)) == (1, 1)


async def test_an_inherited_descriptor(tmp_path: Path) -> None:
    peers = Peers()
    with socket.socket() as inherited:
        inherited.bind(("127.0.0.1", 0))
        listener = {"name": "fd", "bind": f"fd:{inherited.fileno()}"}
        async with running(peers.settings(listener), only=["http1", "file"], extra=[peers.plugin]) as gateway:
            assert gateway.port == inherited.getsockname()[1]
            assert (await all_of(await gateway.connect())).endswith(b"fine")
        assert inherited.fileno() >= 0
        assert inherited.getsockname()[1] == gateway.port


async def test_several_listeners_serve_their_own_routes() -> None:
    listeners = [{"name": name, "bind": "127.0.0.1:0"} for name in ("outer", "inner")]
    routes = [
        {"name": "inner", "listeners": ["inner"], "respond": {"body": "inner"}},
        {"name": "all", "respond": {"body": "all"}},
    ]
    settings = {"listeners": listeners, "sources": [{"type": "inline", "routes": routes}]}
    async with running(settings, only=["http1", "file"]) as gateway:
        ports = [int(listener.url.rpartition(":")[2]) for listener in gateway.gateway.info.listeners]
        bodies = [(await all_of(await anyio.connect_tcp("127.0.0.1", port)))[-5:] for port in ports]
    assert bodies == [b"\n\r\nall"[-5:], b"inner"]


async def test_no_more_connections_than_allowed_are_held_and_the_rest_wait() -> None:
    settings = {
        "listeners": [{"name": "few", "bind": "127.0.0.1:0", "max_connections": 2}],
        "sources": [{"type": "inline", "routes": [{"name": "all", "respond": {"body": "fine"}}]}],
    }
    async with running(settings, only=["http1", "file"]) as gateway:
        at_once = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(4)]
        wires = [Wire(await SocketStream.from_socket(sock)) for sock in at_once]
        for wire in wires:
            await wire.send(GET.replace(b"Connection: close\r\n", b""))
        for wire in wires[:2]:
            assert (await wire.answer()).status == 200
        with anyio.move_on_after(0.05) as patience:
            await wires[2].more()
        assert patience.cancelled_caught
        assert len(gateway.gateway.connections) == 2
        for wire in wires[2:]:
            await wires.pop(0).aclose()
            assert (await wire.answer()).status == 200
        for wire in wires:
            await wire.aclose()


# --- faults in words ---


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("nowhere", "is not host:port"),
        ("127.0.0.1:99999", "is not host:port"),
        ("::1:80", r"write an IPv6 address as \[::1\]:80"),
        ("192.0.2.1:0", "cannot assign requested address"),
        ("unix:", "listener x cannot bind unix:: "),
        ("unix:/nowhere/at/all.sock", "no such file or directory"),
        ("fd:no", "invalid literal"),
        ("fd:9999", "bad file descriptor"),
    ],
)
def test_what_cannot_be_bound_is_told(where: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as raised:
        bind(ListenerSettings("x", where))
    assert str(raised.value).startswith(f"listener x cannot bind {where}: ")
    assert str(raised.value).endswith("(accepted: host:port, [v6]:port, unix:/path, fd:N, systemd:NAME)")


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsError, match="address already in use"):
            bind(ListenerSettings("x", f"127.0.0.1:{taken.getsockname()[1]}"))


def test_a_socket_that_answers_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        with pytest.raises(SettingsError, match="address already in use"):
            bind(ListenerSettings("x", f"unix:{path}"))
    assert path.exists()


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    path.write_text("precious")
    with pytest.raises(SettingsError, match="address already in use"):
        bind(ListenerSettings("x", f"unix:{path}"))
    assert path.read_text() == "precious"


def test_a_descriptor_that_is_no_socket_is_told(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with (tmp_path / "f").open("w") as file, pytest.raises(SettingsError, match="socket operation on non-socket"):
        bind(ListenerSettings("x", f"fd:{file.fileno()}"))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("listeners", "words"),
    [
        ([{"name": "a", "bind": "127.0.0.1:0"}] * 2, "two listeners are named 'a'"),
        (
            [{"name": "a", "bind": "127.0.0.1:0", "protocols": ["http9"]}],
            "unknown wire protocol 'http9'; did you mean 'http1'",
        ),
        ([{"name": "a", "bind": "127.0.0.1:0"}, {"name": "b", "bind": "nowhere"}], "listener b cannot bind nowhere"),
    ],
)
async def test_a_gateway_that_cannot_listen_does_not_start(listeners: list[dict[str, Any]], words: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SettingsError, match=words):
        async with running({"listeners": listeners}, only=["http1"]):
            raise AssertionError("it started")
    assert len(os.listdir("/proc/self/fd")) <= before


def test_half_of_the_descriptors_are_left_for_upstreams() -> None:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 0 < connection_limit() < soft


# --- TLS ---


def openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl on this machine")
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a server and a client that it vouches for."""
    folder = tmp_path_factory.mktemp("certificates")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(folder, "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test ca", "-days", "2")
    for name, more in (("server", "subjectAltName=DNS:a.test"), ("client", "extendedKeyUsage=clientAuth")):
        (folder / "ext").write_text(f"{more}\n")
        openssl(folder, "req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN=the {name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    openssl(folder, "ec", "-in", "server.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key")
    return folder


def tls_listener(**changes: str) -> dict[str, Any]:
    tls = {"certificate": "server.pem", "key": "server.key", **changes}
    return {"name": "tls", "bind": "127.0.0.1:0", "tls": tls}


def client_context(folder: Path, name: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


async def tls_to(port: int, context: ssl.SSLContext) -> TLSStream:
    return await TLSStream.wrap(
        await anyio.connect_tcp("127.0.0.1", port), hostname="a.test", ssl_context=context, standard_compatible=False
    )


async def test_tls_and_what_is_known_of_it(certificates: Path) -> None:
    peers = Peers()
    settings = peers.settings(tls_listener(client_ca="ca.pem"))
    async with running(settings, certificates, only=["http1", "file"], extra=[peers.plugin]) as gateway:
        assert gateway.url.startswith("https://")
        context = client_context(certificates, "client")
        context.set_alpn_protocols(["http/1.1"])
        assert (await all_of(await tls_to(gateway.port, context))).endswith(b"fine")
    peer = peers.seen[0]
    assert (peer.scheme, peer.server_name, peer.client_name) == ("https", "a.test", "the client")


async def test_tls_without_a_client_certificate(certificates: Path) -> None:
    peers = Peers()
    settings = peers.settings(tls_listener())
    async with running(settings, certificates, only=["http1", "file"], extra=[peers.plugin]) as gateway:
        assert (await all_of(await tls_to(gateway.port, client_context(certificates)))).endswith(b"fine")
    assert (peers.seen[0].server_name, peers.seen[0].client_name) == ("a.test", "")


async def test_a_client_that_must_show_a_certificate_and_does_not_is_not_served(certificates: Path) -> None:
    peers = Peers()
    settings = peers.settings(tls_listener(client_ca="ca.pem"))
    async with running(settings, certificates, only=["http1", "file"], extra=[peers.plugin]) as gateway:
        with pytest.raises((anyio.BrokenResourceError, AssertionError, ssl.SSLError)):
            assert await all_of(await tls_to(gateway.port, client_context(certificates)))
        await eventually(lambda: len(gateway.gateway.connections) == 0)
        assert (await all_of(await tls_to(gateway.port, client_context(certificates, "client")))).endswith(b"fine")
    assert len(peers.seen) == 1


async def test_a_plain_client_on_a_tls_listener_is_not_served(certificates: Path) -> None:
    peers = Peers()
    settings = peers.settings(tls_listener())
    async with running(settings, certificates, only=["http1", "file"], extra=[peers.plugin]) as gateway:
        assert b"HTTP" not in await all_of(await gateway.connect())
        await eventually(lambda: len(gateway.gateway.connections) == 0)
    assert not peers.seen


async def test_a_handshake_that_takes_too_long_is_ended(certificates: Path) -> None:
    peers = Peers()
    listener = tls_listener()
    listener["tls"]["handshake_timeout_seconds"] = 0.05
    async with running(peers.settings(listener), certificates, only=["http1", "file"], extra=[peers.plugin]) as gateway:
        async with await gateway.connect() as stream:
            with anyio.fail_after(5), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
        await eventually(lambda: len(gateway.gateway.connections) == 0)


async def test_an_upstream_with_tls(certificates: Path) -> None:
    peers = Peers()
    async with running(
        peers.settings(tls_listener()), certificates, only=["http1", "file"], extra=[peers.plugin]
    ) as upstream:
        endpoint = {"url": f"https://127.0.0.1:{upstream.port}", "server_name": "a.test"}
        backends = {
            "trusting": {"endpoints": [endpoint], "settings": {"tls": {"ca": "ca.pem"}}},
            "careful": {"endpoints": [endpoint]},
            "careless": {"endpoints": [endpoint], "settings": {"tls": {"verify": False}}},
        }
        routes = [{"name": name, "hosts": [name], "to": name} for name in backends]
        source = {"type": "inline", "backends": backends, "routes": routes}
        async with running({"sources": [source]}, certificates, only=["http1", "file"]) as gateway:
            answers = {name: await gateway.exchange(GET.replace(b"a.test", name.encode())) for name in backends}
    assert answers["trusting"].endswith(b"fine")
    assert answers["careless"].endswith(b"fine")
    assert answers["careful"].startswith(b"HTTP/1.1 502 ")
    assert b"tls: certificate verify failed" in answers["careful"]
    assert [peer.server_name for peer in peers.seen] == ["a.test", "a.test"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"certificate": "none.pem"}, "none.pem: no such file"),
        ({"key": "client.key"}, "server.pem: cannot use it with key .*client.key: .*(?i:mismatch)"),
        ({"key": "locked.key"}, "the key is encrypted; accepted: a PEM chain and its unencrypted PEM key"),
        ({"certificate": "server.key"}, "server.key: cannot use it"),
        ({"client_ca": "server.key"}, "server.key: no certificate authority"),
    ],
)
async def test_a_certificate_that_cannot_be_used_is_told(
    certificates: Path, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        async with running({"listeners": [tls_listener(**changes)]}, certificates, only=["http1"]):
            raise AssertionError("it started")


# --- which protocol a connection speaks ---


async def test_a_listener_that_could_speak_nothing_is_refused() -> None:
    words = r"\$.listeners: listener web speaks nothing: no plugin brought a wire protocol that TLS can name"
    with pytest.raises(SettingsError, match=words):
        async with running({"listeners": [{"name": "web", "bind": "127.0.0.1:0"}]}, only=[]):
            pass


class Spoken:
    """A wire protocol that greets and keeps what came first."""

    def __init__(self, name: str, start: bytes, alpn: tuple[str, ...] = ()) -> None:
        self.heard: list[bytes] = []
        self.name = name
        self._start = start
        self.protocol = WireProtocol(name, NoSettings, alpn, self.sniff, self.serve, self.connect)

    def sniff(self, start: bytes) -> Sniff:
        if start.startswith(self._start):
            return Sniff.YES
        return Sniff.MORE if self._start.startswith(start) else Sniff.NO

    async def serve(self, stream: Stream, connection: object, settings: object) -> None:
        self.heard.append(await stream.receive())
        await stream.send(self.name.encode())

    async def connect(self, stream: Stream, endpoint: object, settings: object) -> Any:
        raise AssertionError("this half is not used")


@pytest.mark.parametrize(
    ("pieces", "name"),
    [((b"ONE hello",), b"one"), ((b"T", b"W", b"O hello"), b"two"), ((b"THREE",), b""), ((b"",), b"")],
)
async def test_the_first_bytes_tell_the_protocol(pieces: tuple[bytes, ...], name: bytes) -> None:
    one, two = Spoken("one", b"ONE "), Spoken("two", b"TWO ")
    plugin = make_plugin("spoken", daemun_protocols=lambda: [one.protocol, two.protocol])
    settings = {"listeners": [{"name": "x", "bind": "127.0.0.1:0", "protocols": ["one", "two"]}]}
    async with running(settings, only=[], extra=[plugin]) as gateway, await gateway.connect() as stream:
        for piece in pieces:
            if piece:
                await stream.send(piece)
        if not name:
            await stream.send_eof()
        received = b""
        try:
            while True:
                received += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
    assert received == name
    heard = [*one.heard, *two.heard]
    assert b"".join(heard) == (b"".join(pieces)[: len(b"".join(heard))] if name else b"")


async def test_alpn_tells_the_protocol_on_tls(certificates: Path) -> None:
    one, two = Spoken("one", b"ONE ", ("one/1",)), Spoken("two", b"TWO ", ("two/1",))
    plugin = make_plugin("spoken", daemun_protocols=lambda: [one.protocol, two.protocol])
    listener = {**tls_listener(), "protocols": ["one", "two"]}
    async with running({"listeners": [listener]}, certificates, only=[], extra=[plugin]) as gateway:
        context = client_context(certificates)
        context.set_alpn_protocols(["two/1"])
        async with await tls_to(gateway.port, context) as stream:
            await stream.send(b"ONE hello")
            assert await stream.receive() == b"two"
