"""Who the gateway is for the API server, while tokens and certificates change."""

from __future__ import annotations

import base64
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from daemun import SettingsError
from daemun.testing import eventually
from daemun_kubernetes import ApiError, Reflector
from daemun_kubernetes.client.auth import Credentials, Grant
from daemun_kubernetes.client.config import ClusterEntry, ExecPlugin, ExecVariable, Target, UserEntry
from daemun_kubernetes.client.kinds import CONFIG_MAP

from .api_server import Call, Handle, api_server
from .clusters import kubeconfig, opened

pytestmark = pytest.mark.anyio

SECRET = "s3cr3t-t0k3n"
V1 = "client.authentication.k8s.io/v1"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def target(user: UserEntry, folder: Path = Path()) -> Target:
    return Target(ClusterEntry(server="https://a.test:6443"), user, "home", "user 'me'", folder)


def bearer(grant: Grant) -> str:
    return dict(grant.fields)["authorization"].removeprefix("Bearer ")


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Target]:
    """A user whose exec plugin prints what it is told to, and keeps account of how often it ran."""

    def make(output: str, code: int = 0, **more: Any) -> Target:
        (tmp_path / "output").write_text(output)
        script = tmp_path / "bin" / "login"
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            f'#!/bin/sh\ncd "{tmp_path}"\necho x >> runs\necho "$KUBERNETES_EXEC_INFO" > info\necho "$1 $WHO" > words\n'
            f"cat output\nexit {code}\n"
        )
        script.chmod(0o755)
        more.setdefault("api_version", V1)
        return target(UserEntry(exec=ExecPlugin(command="./bin/login", **more)), tmp_path)

    return make


def credential(**status: Any) -> str:
    return msgspec.json.encode({"apiVersion": V1, "kind": "ExecCredential", "status": status}).decode()


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().split())


async def test_a_token_file_is_read_again_once_a_minute(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "token"
    file.write_text(" one\n")
    credentials = Credentials(target(UserEntry(token_file=str(file))), clock=clock)
    assert bearer(await credentials.grant()) == "one"
    file.write_text("two")
    clock.now += 59
    assert bearer(await credentials.grant()) == "one"
    clock.now += 2
    assert bearer(await credentials.grant()) == "two"


async def test_a_token_that_is_refused_is_read_again_at_once(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    credentials = Credentials(target(UserEntry(token_file=str(file))))
    refused = await credentials.grant()
    assert await credentials.renewed(refused) is refused, "there is nothing else"
    file.write_text("two")
    renewed = await credentials.renewed(refused)
    assert bearer(renewed) == "two"
    assert await credentials.renewed(refused) is renewed, "somebody else has renewed it already"


async def test_a_token_whose_file_vanishes_is_used_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, file = Clock(), tmp_path / "token"
    file.write_text(SECRET)
    credentials = Credentials(target(UserEntry(token_file=str(file))), clock=clock)
    assert bearer(await credentials.grant()) == SECRET
    file.unlink()
    for _ in range(5):
        clock.now += 61
        assert bearer(await credentials.grant()) == SECRET
    (record,) = caplog.records
    assert "token cannot be read: no such file" in record.getMessage()
    file.write_text("two")
    clock.now += 5
    assert bearer(await credentials.grant()) == "two"


@pytest.mark.parametrize(
    ("user", "fields"),
    [
        (UserEntry(), {}),
        (UserEntry(token=SECRET), {"authorization": f"Bearer {SECRET}"}),
        (UserEntry(username="a", password="b"), {"authorization": "Basic " + base64.b64encode(b"a:b").decode()}),
        (UserEntry(as_user="x", as_uid="1"), {"impersonate-user": "x", "impersonate-uid": "1"}),
        (
            UserEntry(as_user="x", as_groups=("g",), as_user_extra={"a/B": ("1",)}),
            {"impersonate-user": "x", "impersonate-group": "g", "impersonate-extra-a%2Fb": "1"},
        ),
    ],
)
async def test_what_a_request_carries(user: UserEntry, fields: dict[str, str]) -> None:
    grant = await Credentials(target(user)).grant()
    assert dict(grant.fields) == fields
    assert SECRET not in repr(grant)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (UserEntry(token_file="/nowhere/token"), "/nowhere/token cannot be read: no such file"),
        (UserEntry(token=f"{SECRET}\r\nx: y"), "holds characters that cannot be sent"),
        (UserEntry(client_certificate_data=b"x"), "client-certificate and client-key go together"),
        (UserEntry(as_groups=("g",)), "need as"),
        (UserEntry(as_user="Jürgen"), "what is to be sent as impersonate-user holds characters that cannot be sent"),
    ],
)
async def test_what_cannot_be_used_is_said_without_the_secret(user: UserEntry, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        await Credentials(target(user)).grant()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (
            UserEntry(auth_provider={"name": "gcp"}),
            "auth-provider 'gcp' is no longer part of Kubernetes; accepted: exec",
        ),
        (
            UserEntry(exec=ExecPlugin(command="c", api_version="client.authentication.k8s.io/v1alpha1")),
            "v1alpha1' is not known; accepted: client.authentication.k8s.io/v1,",
        ),
        (UserEntry(exec=ExecPlugin(command="c", api_version=V1, interactive_mode="Always")), "at a terminal"),
        (UserEntry(exec=ExecPlugin(command="c", api_version=V1, interactive_mode="Often")), "'Often' is not known"),
    ],
)
def test_a_user_that_is_not_supported_is_refused_at_once(user: UserEntry, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Credentials(target(user))


async def test_an_exec_plugin_is_run_when_what_it_gave_expires(plugin: Callable[..., Target], tmp_path: Path) -> None:
    clock = Clock()
    expiry = datetime.fromtimestamp(clock.now, UTC) + timedelta(seconds=100)
    user = plugin(
        credential(token="one", expirationTimestamp=expiry.isoformat()),
        args=("word",),
        env=(ExecVariable("WHO", "me"),),
        interactive_mode="IfAvailable",
        provide_cluster_info=True,
    )
    credentials = Credentials(user, clock=clock)
    assert bearer(await credentials.grant()) == "one"
    assert (tmp_path / "words").read_text() == "word me\n"
    assert msgspec.json.decode((tmp_path / "info").read_text()) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": "https://a.test:6443"}},
    }
    (tmp_path / "output").write_text(credential(token="two"))
    clock.now += 80
    assert bearer(await credentials.grant()) == "one"
    assert runs(tmp_path) == 1
    clock.now += 15
    assert bearer(await credentials.grant()) == "two"
    clock.now += 1_000_000
    assert bearer(await credentials.grant()) == "two"
    assert runs(tmp_path) == 2, "what has no expiry is good until it is refused"
    await credentials.renewed(await credentials.grant())
    assert runs(tmp_path) == 3


async def test_an_exec_plugin_runs_once_for_all_who_wait(plugin: Callable[..., Target], tmp_path: Path) -> None:
    credentials = Credentials(plugin(credential(token="one")))
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(credentials.grant)
    assert runs(tmp_path) == 1


async def test_an_exec_plugin_may_give_a_certificate(plugin: Callable[..., Target]) -> None:
    grant = await Credentials(plugin(credential(clientCertificateData="CERT", clientKeyData="KEY"))).grant()
    assert grant.connection == (b"", b"CERT", b"KEY")
    assert grant.fields == ()


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        (credential(token=SECRET), 3, "ended with status 3"),
        ("", 0, "gave no ExecCredential"),
        (f"{{ {SECRET}", 0, "gave no ExecCredential"),
        (credential(token=SECRET).replace("v1", "v1beta1"), 0, "gave no ExecCredential of client"),
        (credential(), 0, "gave neither a token nor a certificate"),
        (credential(clientCertificateData=SECRET), 0, "gave one of certificate and key"),
        (credential(token=7), 0, "gave no ExecCredential"),
        ("x" * 2_000_000, 0, "gave more than 1048576 bytes"),
    ],
)
async def test_an_exec_plugin_that_fails(plugin: Callable[..., Target], output: str, code: int, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        await Credentials(plugin(output, code)).grant()
    assert SECRET not in str(caught.value)


async def test_an_exec_plugin_that_fails_is_not_run_again_by_all_who_wait(
    plugin: Callable[..., Target], tmp_path: Path
) -> None:
    clock = Clock()
    credentials = Credentials(plugin("", 1), clock=clock)
    for _ in range(5):
        with pytest.raises(SettingsError, match="ended with status 1"):
            await credentials.grant()
    assert runs(tmp_path) == 1
    clock.now += 5
    with pytest.raises(SettingsError, match="ended with status 1"):
        await credentials.grant()
    assert runs(tmp_path) == 2


async def test_an_exec_plugin_may_take_longer_than_a_request(plugin: Callable[..., Target], tmp_path: Path) -> None:
    async def handle(call: Call) -> None:
        await call.answer({"metadata": {"name": call.fields["authorization"]}})

    expiry = datetime.now(UTC) + timedelta(seconds=1)
    made = plugin(credential(token="one", expirationTimestamp=expiry.isoformat()))
    script = tmp_path / "bin" / "login"
    script.write_text(script.read_text().replace("cat output", "sleep 1.7; cat output"))
    assert made.user.exec is not None
    user = {"exec": {"apiVersion": V1, "command": str(script)}}
    async with (
        api_server(handle) as server,
        opened(kubeconfig(server.url, user), request_timeout_seconds=1.5) as cluster,
    ):
        await anyio.sleep(1)  # what was given at the start is good for at least a second
        (tmp_path / "output").write_text(credential(token="two"))
        assert (await cluster.get(CONFIG_MAP, "x")).metadata.name == "Bearer two"


async def test_an_exec_plugin_that_is_not_there_says_how_to_get_it() -> None:
    plugin = ExecPlugin(command="no-such-program", api_version=V1, install_hint="get it from the shop\n")
    with pytest.raises(SettingsError, match=r"no-such-program cannot be started: .* \(get it from the shop\)"):
        await Credentials(target(UserEntry(exec=plugin))).grant()


async def test_after_a_401_a_request_is_sent_again_with_the_new_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    good = "new"

    async def handle(call: Call) -> None:
        if call.fields["authorization"] != f"Bearer {good}":
            file.write_text("new")  # it was rotated meanwhile
            await call.refuse(401, "Unauthorized", "Unauthorized")
        elif call.query.get("watch"):
            await call.begin()
            await call.end()
        else:
            await call.answer({"metadata": {"name": "x"}})

    async with (
        api_server(handle) as server,
        opened(kubeconfig(server.url, {"tokenFile": str(file)})) as cluster,
    ):
        assert (await cluster.get(CONFIG_MAP, "x")).metadata.name == "x"
        assert [call.fields["authorization"] for call in server.calls] == ["Bearer old", "Bearer new"]
        good = "newest"
        with pytest.raises(
            ApiError, match=r"the credentials of user 'somebody' of context 'test' in .* are not accepted"
        ):
            await cluster.get(CONFIG_MAP, "x")
        assert len(server.calls) == 3, "the same token is not sent again"
        with pytest.raises(ApiError) as caught:
            async with cluster.watch(CONFIG_MAP, "", {}):
                pass
        assert caught.value.status == 401
        good = "new"
        async with cluster.watch(CONFIG_MAP, "", {}) as pieces:
            assert [piece async for piece in pieces] == []


async def test_a_credential_that_vanishes_is_an_api_error(tmp_path: Path, plugin: Callable[..., Target]) -> None:
    async def handle(call: Call) -> None:
        await call.refuse(401, "Unauthorized", "Unauthorized")

    file = tmp_path / "token"
    file.write_text(SECRET)
    async with api_server(handle) as server, opened(kubeconfig(server.url, {"tokenFile": str(file)})) as cluster:
        file.unlink()
        with pytest.raises(ApiError) as caught:
            await cluster.get(CONFIG_MAP, "x")
        assert caught.value.status == 401
        assert SECRET not in str(caught.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, two servers and two clients of it, an authority that nobody knows, and a client of that."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl on this machine")
    folder = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

    def make(name: str, *more: str, authority: str = "") -> None:
        signed = ("-CA", f"{authority}.crt", "-CAkey", f"{authority}.key") if authority else ()
        argv = [program, "req", "-x509", *key, *signed, "-subj", f"/CN={name}", *more]
        subprocess.run(
            [*argv, "-keyout", f"{name}.key", "-out", f"{name}.crt"], cwd=folder, check=True, capture_output=True
        )

    make("ca")
    make("stranger")
    leaf = ("-addext", "basicConstraints=critical,CA:FALSE")
    make("server", *leaf, "-addext", "subjectAltName=IP:127.0.0.1,DNS:api.test", authority="ca")
    make("elsewhere", *leaf, "-addext", "subjectAltName=DNS:api.test", authority="ca")
    make("one", *leaf, authority="ca")
    make("two", *leaf, authority="ca")
    make("three", *leaf, authority="stranger")
    return folder


def serving(folder: Path, name: str = "server") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    context.load_verify_locations(folder / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def whoever(folder: Path) -> Handle:
    """Answers with the name of the client's certificate."""
    names = {ssl.PEM_cert_to_DER_cert((folder / f"{name}.crt").read_text()): name for name in ("one", "two")}

    async def handle(call: Call) -> None:
        name = names.get(call.peer["certificate"], "nobody")
        await call.answer({"metadata": {"name": name}})

    return handle


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


async def test_the_server_is_verified(certificates: Path) -> None:
    async with api_server(whoever(certificates), serving(certificates)) as server:
        authority = {"certificate-authority": str(certificates / "ca.crt")}
        async with opened(kubeconfig(server.url, **authority)) as cluster:
            assert (await cluster.get(CONFIG_MAP, "x")).metadata.name == "nobody"
        data = {"certificate-authority-data": encoded(certificates / "ca.crt")}
        async with opened(kubeconfig(server.url, **data)) as cluster:
            assert (await cluster.get(CONFIG_MAP, "x")).metadata.name == "nobody"
        for wrong in ({}, {"certificate-authority": str(certificates / "stranger.crt")}):
            async with opened(kubeconfig(server.url, {"token": SECRET}, **wrong)) as cluster:
                with pytest.raises(ApiError, match=r"cannot be reached: .*certificate verify failed"):
                    await cluster.get(CONFIG_MAP, "x")
        async with opened(kubeconfig(server.url, **{"insecure-skip-tls-verify": True})) as cluster:
            assert (await cluster.get(CONFIG_MAP, "x")).metadata.name == "nobody"
        assert not any("authorization" in call.fields for call in server.calls), (
            "no token for a server that is not known"
        )


async def test_the_servers_name_is_verified_and_may_be_told(certificates: Path) -> None:
    async with api_server(whoever(certificates), serving(certificates, "elsewhere")) as server:
        authority = {"certificate-authority": str(certificates / "ca.crt")}
        async with opened(kubeconfig(server.url, **authority)) as cluster:
            with pytest.raises(ApiError, match=r"cannot be reached: .*certificate verify failed"):
                await cluster.get(CONFIG_MAP, "x")
        async with opened(kubeconfig(server.url, **authority, **{"tls-server-name": "api.test"})) as cluster:
            assert (await cluster.get(CONFIG_MAP, "x")).metadata.name == "nobody"


async def test_a_client_certificate_is_shown_and_a_new_one_after_it(certificates: Path, tmp_path: Path) -> None:
    async def handle(call: Call) -> None:
        await (whoever(certificates) if allowed(call) else refuse)(call)

    def allowed(call: Call) -> bool:
        return good is None or call.peer["certificate"] == good

    async def refuse(call: Call) -> None:
        await call.refuse(401, "Unauthorized")

    good: bytes | None = None
    for suffix in ("crt", "key"):
        shutil.copy(certificates / f"one.{suffix}", tmp_path / f"me.{suffix}")
    user = {"client-certificate": str(tmp_path / "me.crt"), "client-key": str(tmp_path / "me.key")}
    async with (
        api_server(handle, serving(certificates)) as server,
        opened(kubeconfig(server.url, user, **{"certificate-authority": str(certificates / "ca.crt")})) as cluster,
    ):
        assert (await cluster.get(CONFIG_MAP, "x")).metadata.name == "one"
        assert (await cluster.get(CONFIG_MAP, "x")).metadata.name == "one"
        assert server.accepted == 1, "connections are kept"
        for suffix in ("crt", "key"):
            shutil.copy(certificates / f"two.{suffix}", tmp_path / f"me.{suffix}")
        good = ssl.PEM_cert_to_DER_cert((certificates / "two.crt").read_text())
        assert (await cluster.get(CONFIG_MAP, "x")).metadata.name == "two"
        assert server.accepted == 2


@contextmanager
def refusing(context: ssl.SSLContext) -> Iterator[int]:
    """The port of a server that makes handshakes, and tells why where one fails."""

    def serve() -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            secured = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            try:
                secured.do_handshake()
            except ssl.SSLError:
                pass
            with socket.socket(fileno=secured.detach()) as raw:
                while raw.recv(4096):  # what it said is lost when it closes too soon
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (ssl.TLSVersion.TLSv1_2, "cannot be reached: tlsv1 alert unknown ca"),
        (ssl.TLSVersion.TLSv1_3, "broke off: tlsv1 alert unknown ca"),
    ],
)
async def test_a_client_certificate_that_is_refused_is_an_api_error(
    certificates: Path, version: ssl.TLSVersion, words: str
) -> None:
    """With TLS 1.3 that is said after the handshake, which has succeeded for the client."""
    context = serving(certificates)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    files = {"client-certificate": certificates / "three.crt", "client-key": certificates / "three.key"}
    user = {name: str(path) for name, path in files.items()}
    with refusing(context) as port:
        config = kubeconfig(
            f"https://127.0.0.1:{port}", user, **{"certificate-authority": str(certificates / "ca.crt")}
        )
        async with opened(config) as cluster:
            with pytest.raises(ApiError, match=words):
                await cluster.get(CONFIG_MAP, "x")
            reflector = Reflector(cluster, CONFIG_MAP, on_change=lambda change: None)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reflector.run)
                await eventually(lambda: words in reflector.trouble)
                tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("user", "cluster", "words"),
    [
        (
            {},
            {"certificate-authority-data": base64.b64encode(b"x").decode()},
            "certificate-authority is no certificate",
        ),
        (
            {
                "client-certificate-data": base64.b64encode(b"x").decode(),
                "client-key-data": base64.b64encode(SECRET.encode()).decode(),
            },
            {},
            "are no pair in PEM",
        ),
        ({}, {"proxy-url": f"ftp://u:{SECRET}@p"}, "proxy-url is no URL; accepted: http, https, socks5"),
        ({}, {"proxy-url": f"http://u:{SECRET}@p:x"}, "proxy-url is no URL"),
        ({}, {"proxy-url": "http://p", "tls-server-name": "a.test"}, "does not go with a proxy of http"),
        ({}, {"proxy-url": f"socks5://u:{SECRET}@p"}, "a proxy of socks5 needs the module socksio"),
    ],
)
async def test_what_cannot_be_connected_with_is_said_at_the_start(
    user: dict[str, str], cluster: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(SettingsError, match=words) as caught:
        async with opened(kubeconfig("https://127.0.0.1:1", user, **cluster)):
            pass
    assert SECRET not in str(caught.value)
