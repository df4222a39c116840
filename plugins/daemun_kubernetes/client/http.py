"""One request to an API server: its time, its size, and who asks. Needs httpx and what that is made of."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from urllib.parse import urlencode, urlsplit

import anyio
import httpcore
from msgspec import Struct

from daemun import SettingsError
from daemun_kubernetes.client.auth import Credentials, Grant
from daemun_kubernetes.client.config import Target
from daemun_kubernetes.client.connections import Connections
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.settings import ClusterSettings

__all__ = ["Answer", "Asked", "Http"]

log = logging.getLogger("daemun.kubernetes")

_CONNECT_SECONDS = 10.0
_MAX_AT_ONCE = 32
_MAX_PAUSES = 10
_AGENT = "daemun"
_WITHOUT_BODY = ("GET", "HEAD", "DELETE")
_STALE = (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError)
_FAILED = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError, httpcore.UnsupportedProtocol)


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
        self._host = urlsplit(self.server).netloc
        self._connections = Connections(target)
        self._places = anyio.Semaphore(_MAX_AT_ONCE)

    async def aclose(self) -> None:
        """Closes what is open."""
        await self._connections.aclose()

    async def start(self) -> None:
        """Looks whether there are credentials that can be used. Raises `SettingsError`."""
        await self._connections.start(await self._credentials.grant())

    async def request(self, asked: Asked) -> Answer:
        """Asks, and asks again when the server wants it so. Raises `ApiError` only where no answer came.

        The time of a request begins when there are credentials: an exec plugin has its own.
        """
        grant = await self._granted()
        answer = await self._timed(asked, grant)
        if answer.status == 401 and (renewed := await self._renewed(grant)) is not grant:
            answer = await self._timed(asked, renewed)
        return answer

    @asynccontextmanager
    async def stream(self, asked: Asked) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """The head of the answer, and its content as it comes. Raises `ApiError`, also from the content."""
        grant = await self._granted()
        async with self._connected(grant) as pool:
            with self._in_words():
                response = await pool.handle_async_request(self._request(asked, grant, self._silence_seconds))
            async with _content(response) as pieces:
                if response.status == 401:  # for the next one
                    await self._renewed(grant)
                yield Answer(response.status, b"", _pause(response)), _InWords(self, pieces)

    async def _timed(self, asked: Asked, grant: Grant) -> Answer:
        with anyio.move_on_after(self._timeout_seconds):
            return await self._insist(asked, grant)
        raise ApiError(f"{self.server} has not answered {asked.method} {asked.path} within {self._timeout_seconds:g} s")

    async def _insist(self, asked: Asked, grant: Grant) -> Answer:
        stale = False
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
        async with self._connected(grant) as pool:
            with self._in_words():
                response = await pool.handle_async_request(self._request(asked, grant, self._timeout_seconds))
                async with _content(response) as pieces:
                    body: list[bytes] = []
                    size = 0
                    async for piece in pieces:
                        body.append(piece)
                        size += len(piece)
                        if size > asked.max_bytes:
                            what = f"{asked.method} {asked.path}"
                            raise ApiError(f"what {self.server} says to {what} is larger than {asked.max_bytes} bytes")
        return Answer(response.status, b"".join(body), _pause(response))

    def _request(self, asked: Asked, grant: Grant, read_seconds: float) -> httpcore.Request:
        url = f"{self.server}{asked.path}{'?' if asked.query else ''}{urlencode(asked.query)}"
        fields = [("host", self._host), ("user-agent", _AGENT), ("accept", asked.accept)]
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
        return httpcore.Request(asked.method, url, headers=fields, content=_Body(asked.body), extensions=extensions)

    @asynccontextmanager
    async def _connected(self, grant: Grant) -> AsyncIterator[httpcore.AsyncConnectionPool]:
        async with AsyncExitStack() as stack:
            try:
                pool = await stack.enter_async_context(self._connections.of(grant))
            except SettingsError as error:
                raise ApiError(f"{self.server}: {error}", reason="Unauthorized") from error
            yield pool

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
        except httpcore.ConnectError as error:
            raise ApiError(f"{self.server} cannot be reached: {_words(error)}") from error
        except httpcore.TimeoutException as error:
            raise ApiError(f"{self.server} is silent: {_words(error)}") from error
        except _FAILED as error:
            raise ApiError(f"{self.server} broke off: {_words(error)}") from error


class _Body:
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
async def _content(response: httpcore.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    pieces = response.aiter_stream()
    try:
        yield pieces
    finally:
        await _unwind(pieces)
        with anyio.CancelScope(shield=True):
            await response.aclose()


def _words(error: Exception) -> str:
    """What the system or TLS said, which is at the bottom of several errors; else the first that has words."""
    words = ""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate verify failed: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return cause.reason.lower().replace("_", " ")
        if isinstance(cause, OSError) and cause.strerror:
            words = cause.strerror
        words = words or str(cause)
        cause = cause.__cause__ or cause.__context__
    words = words or type(error).__name__
    return (words[:1].lower() + words[1:]).rstrip(".")


def _pause(response: httpcore.Response) -> float | None:
    """How long the server wants to be left alone; None if it does not say."""
    if response.status not in (429, 503):
        return None
    text = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"")
    return float(text) if text.isdigit() and len(text) <= 6 else None


async def _unwind(pieces: AsyncIterator[bytes]) -> None:
    """Ends generators inside generators from within, so that none is left to the garbage collector."""
    with anyio.CancelScope(shield=True) as scope:
        scope.cancel()
        try:
            async for _ in pieces:
                pass
        except (*_FAILED, httpcore.TimeoutException):
            pass
