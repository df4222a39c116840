"""One request to an API server: its connection, its time, and who asks. Needs httpx."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlencode, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import anyio
import anyio.to_thread
import httpx
from msgspec import Struct

from daemun import SettingsError
from daemun_kubernetes.client.auth import Credentials, Grant
from daemun_kubernetes.client.config import Target
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.tls import tls_context
from daemun_kubernetes.settings import ClusterSettings

__all__ = ["Answer", "Asked", "Http", "proxy_of"]

log = logging.getLogger("daemun.kubernetes")

_CONNECT_SECONDS = 10.0
_KEPT_CONNECTIONS = 16
_KEPT_SECONDS = 60.0
_MAX_AT_ONCE = 32
_MAX_PAUSES = 10
_AGENT = "daemun"
_WITHOUT_BODY = ("GET", "HEAD", "DELETE")
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
"""A peer that is gone is noticed within 35 s, also where nothing is sent."""
_STALE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class Asked(Struct, frozen=True):
    """A request. Its path has the server's own in front of it."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    body: bytes = b""
    content_type: str = "application/json"
    accept: str = "application/json"
    max_bytes: int = 64 * 1024 * 1024


class Answer(Struct, frozen=True):
    """What came back, in full."""

    status: int
    body: bytes
    retry_after_seconds: float | None = None


class _Link:
    """Connections made with the same proofs; closed when they are superseded and nobody uses them."""

    __slots__ = ("made_with", "transport", "users")

    def __init__(self, transport: httpx.AsyncHTTPTransport, made_with: tuple[bytes, bytes, bytes]) -> None:
        self.transport = transport
        self.made_with = made_with
        self.users = 0


class Http:
    """Requests to `target` as `credentials` say. Use `aclose` in the end."""

    def __init__(self, target: Target, credentials: Credentials, settings: ClusterSettings) -> None:
        self.server = target.cluster.server.rstrip("/")
        self.who = target.who
        """Whose credentials are shown, for messages."""
        self._target = target
        self._credentials = credentials
        self._timeout_seconds = settings.request_timeout_seconds
        self._silence_seconds = settings.silence_timeout_seconds
        self._proxy = proxy_of(target, os.environ)
        self._link: _Link | None = None
        self._lock = anyio.Lock()
        self._places = anyio.Semaphore(_MAX_AT_ONCE)

    async def aclose(self) -> None:
        """Closes what is open."""
        if self._link is not None:
            await self._link.transport.aclose()

    async def start(self) -> None:
        """Looks whether there are credentials that can be used. Raises `SettingsError`."""
        await self._relink(await self._credentials.grant())

    async def request(self, asked: Asked) -> Answer:
        """Asks, and asks again when the server wants it so. Raises `ApiError` only where no answer came."""
        with anyio.move_on_after(self._timeout_seconds):
            return await self._insist(asked)
        raise ApiError(f"{self.server} has not answered {asked.method} {asked.path} within {self._timeout_seconds:g} s")

    @asynccontextmanager
    async def stream(self, asked: Asked) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """The head of the answer, and its content as it comes. Raises `ApiError`, also from the content."""
        with anyio.move_on_after(self._timeout_seconds) as patience:
            grant = await self._granted()
        if patience.cancelled_caught:
            raise ApiError(f"there are no credentials for {self.server} within {self._timeout_seconds:g} s")
        async with self._linked(grant) as transport:
            with self._in_words():
                response = await transport.handle_async_request(self._http_request(asked, grant, self._silence_seconds))
            async with _content(response) as pieces:
                if response.status_code == 401:  # for the next one
                    with anyio.move_on_after(self._timeout_seconds):
                        await self._renewed(grant)
                yield Answer(response.status_code, b"", _pause(response)), _InWords(self, pieces)

    async def _insist(self, asked: Asked) -> Answer:
        grant = await self._granted()
        renewed = stale = False
        pauses = 0
        while True:
            try:
                async with self._places:
                    answer = await self._exchange(asked, grant)
            except ApiError as error:
                if asked.method != "GET" or stale or not isinstance(error.__cause__, _STALE):
                    raise
                stale = True  # a kept connection that the server closed: another one may do
                continue
            if answer.status == 401 and not renewed:
                renewed = True
                refused, grant = grant, await self._renewed(grant)
                if grant is not refused:
                    continue
            pause = answer.retry_after_seconds
            if (
                pause is None
                or pauses == _MAX_PAUSES
                or anyio.current_time() + pause > anyio.current_effective_deadline()
            ):
                return answer
            pauses += 1
            await anyio.sleep(pause)

    async def _exchange(self, asked: Asked, grant: Grant) -> Answer:
        async with self._linked(grant) as transport:
            with self._in_words():
                response = await transport.handle_async_request(self._http_request(asked, grant, self._timeout_seconds))
                async with _content(response) as pieces:
                    body: list[bytes] = []
                    size = 0
                    async for piece in pieces:
                        body.append(piece)
                        size += len(piece)
                        if size > asked.max_bytes:
                            what = f"{asked.method} {asked.path}"
                            raise ApiError(f"what {self.server} says to {what} is larger than {asked.max_bytes} bytes")
        return Answer(response.status_code, b"".join(body), _pause(response))

    def _http_request(self, asked: Asked, grant: Grant, read_seconds: float) -> httpx.Request:
        url = httpx.URL(f"{self.server}{asked.path}{'?' if asked.query else ''}{urlencode(asked.query)}")
        fields = [("host", url.netloc.decode("ascii")), ("user-agent", _AGENT), ("accept", asked.accept)]
        fields += [("accept-encoding", "identity"), *grant.fields]
        if asked.body:
            fields.append(("content-type", asked.content_type))
        if asked.body or asked.method not in _WITHOUT_BODY:
            fields.append(("content-length", str(len(asked.body))))
        extensions: dict[str, object] = {
            "timeout": {"connect": _CONNECT_SECONDS, "read": read_seconds, "write": self._timeout_seconds, "pool": None}
        }
        if self._target.cluster.tls_server_name:
            extensions["sni_hostname"] = self._target.cluster.tls_server_name
        return httpx.Request(asked.method, url, headers=fields, stream=_Body(asked.body), extensions=extensions)

    @asynccontextmanager
    async def _linked(self, grant: Grant) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """Connections that are made with what `grant` says."""
        if self._link is None or self._link.made_with != grant.connection:
            async with self._lock:
                if self._link is None or self._link.made_with != grant.connection:
                    try:
                        await self._relink(grant)
                    except SettingsError as error:
                        raise ApiError(f"{self.server}: {error}", reason="Unauthorized") from error
        link = self._link
        assert link is not None
        link.users += 1
        try:
            yield link.transport
        finally:
            link.users -= 1
            if link is not self._link and not link.users:
                with anyio.CancelScope(shield=True):
                    await link.transport.aclose()

    async def _relink(self, grant: Grant) -> None:
        cluster = self._target.cluster
        context = await anyio.to_thread.run_sync(
            lambda: tls_context(grant, self._target.who, insecure=cluster.insecure_skip_tls_verify)
        )
        transport = httpx.AsyncHTTPTransport(
            verify=context,
            trust_env=False,
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS, keepalive_expiry=_KEPT_SECONDS
            ),
            proxy=self._proxy or None,
            socket_options=_KEEPALIVE,
        )
        former, self._link = self._link, _Link(transport, grant.connection)
        if former is not None and not former.users:
            await former.transport.aclose()

    async def _granted(self) -> Grant:
        try:
            return await self._credentials.grant()
        except SettingsError as error:
            raise ApiError(f"there are no credentials for {self.server}: {error}", reason="Unauthorized") from error

    async def _renewed(self, refused: Grant) -> Grant:
        try:
            return await self._credentials.renewed(refused)
        except SettingsError as error:
            log.debug("credentials were not renewed: %s", error)
            return refused

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise ApiError(f"{self.server} cannot be reached: {_words(error)}") from error
        except httpx.TimeoutException as error:
            raise ApiError(f"{self.server} is silent: {_words(error)}") from error
        except httpx.HTTPError as error:
            raise ApiError(f"{self.server} broke off: {_words(error)}") from error


class _Body(httpx.AsyncByteStream):
    """Content at once, and no generator, which would be left to the garbage collector when sending fails."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data, self._data = self._data, b""
        if not data:
            raise StopAsyncIteration
        return data


class _InWords:
    """Content whose end before its time is an `ApiError`."""

    def __init__(self, http: Http, pieces: AsyncIterator[bytes]) -> None:
        self._http = http
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with self._http._in_words():
            return await anext(self._pieces)


@asynccontextmanager
async def _content(response: httpx.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    pieces = aiter(stream)
    try:
        yield pieces
    finally:
        await _unwind(pieces)
        with anyio.CancelScope(shield=True):
            await stream.aclose()


def _words(error: Exception) -> str:
    """What the system or TLS said, which is at the bottom of several errors; else the first that has words."""
    words = ""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate verify failed: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            words = cause.strerror
        words = words or str(cause)
        cause = cause.__cause__ or cause.__context__
    words = words or type(error).__name__
    return (words[:1].lower() + words[1:]).rstrip(".")


def _pause(response: httpx.Response) -> float | None:
    """How long the server wants to be left alone; None if it does not say."""
    if response.status_code not in (429, 503):
        return None
    text = response.headers.get("retry-after", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        return None
    return float(text)


async def _unwind(pieces: AsyncIterator[bytes]) -> None:
    """Ends generators inside generators from within, so that none is left to the garbage collector."""
    with anyio.CancelScope(shield=True) as scope:
        scope.cancel()
        try:
            async for _ in pieces:
                pass
        except httpx.HTTPError:
            pass


def proxy_of(target: Target, environment: Mapping[str, str]) -> str:
    """The proxy that leads to `target`; "" for none. `$NO_PROXY` may hold networks, as in Go."""
    if target.cluster.proxy_url:
        return target.cluster.proxy_url
    parts = urlsplit(target.cluster.server)
    host = parts.hostname or ""
    variable = f"{parts.scheme}_proxy"
    proxy = environment.get(variable) or environment.get(variable.upper()) or ""
    if not proxy or host == "localhost":
        return ""
    passed_by = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if proxy_bypass_environment(f"{host}:{parts.port or 443}", {"no": passed_by}):
        return ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return proxy
    if address.is_loopback:
        return ""
    for name in passed_by.split(","):
        try:
            if address in ipaddress.ip_network(name.strip(), strict=False):
                return ""
        except ValueError:
            continue
    return proxy
