"""The HTTP server of the metrics: one path, GET and HEAD, few connections, nothing that may take for ever."""

from __future__ import annotations

import logging
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import anyio
import h11
from anyio.abc import Listener, SocketAttribute, SocketStream, TaskGroup

from daemun import SettingsError, http_date
from daemun_prometheus.exposition import Page
from daemun_prometheus.settings import parse_bind

__all__ = ["Admin", "Listeners", "bound", "url"]

log = logging.getLogger("daemun.prometheus")

_MAX_CONNECTIONS = 64
_MAX_HEAD_BYTES = 16 * 1024
_RECEIVE_BYTES = 16 * 1024
_PROBE_SECONDS = 1.0
_PAUSE_SECONDS = 0.1

Listeners = Sequence[Listener[SocketStream]]
"""The sockets of one address: a name may stand for several."""
_Fields = list[tuple[str, str]]
_Answer = tuple[int, _Fields, list[bytes]]
_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


@asynccontextmanager
async def bound(name: str, where: str, base_dir: Path, *, shared: bool) -> AsyncIterator[Listeners]:
    """The sockets of the address `where`, until the context is left; `shared`: other processes bind it too.

    Raises `SettingsError` that names the observer `name` and the address.
    """
    listeners = await _bind(name, where, base_dir, shared=shared)
    try:
        yield listeners
    finally:
        with anyio.CancelScope(shield=True):
            for listener in listeners:
                address = listener.extra(SocketAttribute.local_address)
                if isinstance(address, str):  # before it is closed: afterwards the file may be another's
                    await anyio.Path(address).unlink(missing_ok=True)
                await listener.aclose()


async def _bind(name: str, where: str, base_dir: Path, *, shared: bool) -> Listeners:
    address = parse_bind(where)
    try:
        if isinstance(address, str):
            path = base_dir / address
            await _make_way(path)
            return [await anyio.create_unix_listener(path)]
        host, port = address
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port, reuse_port=shared)
        return listener.listeners
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"observer {name} cannot bind {where}: {words} (accepted: host:port, [v6]:port, unix:/path)"
        ) from error


async def _make_way(path: Path) -> None:
    """Leaves a socket's file that nobody listens behind to be replaced. Raises `OSError` for any other."""
    try:
        if not stat.S_ISSOCK((await anyio.Path(path).lstat()).st_mode):
            raise FileExistsError(None, "there is a file that is no socket")
        with anyio.move_on_after(_PROBE_SECONDS):
            await (await anyio.connect_unix(path)).aclose()
    except (FileNotFoundError, ConnectionRefusedError):
        return
    raise OSError(None, "address already in use")


def url(listener: Listener[SocketStream], path: str) -> str:
    """Where metrics are, for people."""
    address = listener.extra(SocketAttribute.local_address)
    if isinstance(address, str):
        return f"unix:{address} {path}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"http://{host}:{address[1]}{path}"


class Admin:
    """Answers scrapes with the pages of `scrape`, which is given the field `Accept` and whether gzip will do."""

    def __init__(self, path: str, scrape: Callable[[str, bool], Awaitable[Page]], idle_timeout_seconds: float) -> None:
        self._path = path
        self._scrape = scrape
        self._idle_timeout_seconds = idle_timeout_seconds
        self._connections = 0

    async def serve(self, listener: Listener[SocketStream], tasks: TaskGroup) -> None:
        """Accepts until cancelled; each connection is served in a task of `tasks`."""
        while True:
            try:
                await listener.serve(self._connected, tasks)
            except (OSError, anyio.BrokenResourceError) as error:  # out of descriptors
                log.debug("the admin listener could not accept: %s", error)
                await anyio.sleep(_PAUSE_SECONDS)

    async def _connected(self, stream: SocketStream) -> None:
        self._connections += 1
        try:
            async with stream:
                if self._connections <= _MAX_CONNECTIONS:
                    await self._converse(stream)
        except _GONE:
            pass
        except Exception:
            log.exception("a scrape failed")
        finally:
            self._connections -= 1

    async def _converse(self, stream: SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        while True:
            with anyio.move_on_after(self._idle_timeout_seconds) as patience:
                try:
                    request = await _request(stream, connection)
                except h11.RemoteProtocolError as error:
                    await _send(stream, connection, _refusal(error.error_status_hint))
                    return
            if patience.cancelled_caught or request is None:
                return
            answer = await self._answer(request)
            with anyio.move_on_after(self._idle_timeout_seconds) as patience:
                await _send(stream, connection, answer, head_only=request.method == b"HEAD")
            if patience.cancelled_caught or not connection.our_state is connection.their_state is h11.DONE:
                return
            connection.start_next_cycle()

    async def _answer(self, request: h11.Request) -> _Answer:
        if request.target.partition(b"?")[0] != self._path.encode():
            return _refusal(404)
        if request.method not in (b"GET", b"HEAD"):
            return _refusal(405, ("allow", "GET, HEAD"))
        try:
            page = await self._scrape(_field(request, b"accept"), _takes_gzip(_field(request, b"accept-encoding")))
        except Exception:
            log.exception("a scrape failed")
            return _refusal(500)
        fields = [("content-type", page.content_type), ("vary", "accept, accept-encoding")]
        if page.encoding:
            fields.append(("content-encoding", page.encoding))
        return 200, fields, page.pieces


def _refusal(status: int, *fields: tuple[str, str]) -> _Answer:
    """A text of one line that names `status`."""
    text = f"{HTTPStatus(status).phrase.lower()}\n".encode()
    return status, [("content-type", "text/plain; charset=utf-8"), *fields], [text]


async def _request(stream: SocketStream, connection: h11.Connection) -> h11.Request | None:
    """The next request; None if the client has finished. Raises `h11.RemoteProtocolError`, also for content."""
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if isinstance(event, h11.EndOfMessage):
            return request
        if isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.ConnectionClosed):
            return None
        elif event is h11.NEED_DATA and (request is None or not _has_content(request)):
            try:
                connection.receive_data(await stream.receive(_RECEIVE_BYTES))
            except anyio.EndOfStream:
                connection.receive_data(b"")
        else:
            raise h11.RemoteProtocolError("content is not taken", error_status_hint=413)


def _has_content(request: h11.Request) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in request.headers)


def _field(request: h11.Request, name: bytes) -> str:
    return b",".join(value for field, value in request.headers if field == name).decode("latin-1")


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether `gzip` is among the codings, and not with the weight 0 (RFC 9110 §12.5.3)."""
    for item in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        if coding == "gzip":
            return not any(part.startswith("q=") and not part[2:].strip("0.") for part in parameters)
    return False


async def _send(stream: SocketStream, connection: h11.Connection, answer: _Answer, *, head_only: bool = False) -> None:
    status, fields, pieces = answer
    length = sum(map(len, pieces))
    head = [("date", http_date().decode()), ("content-length", str(length)), *fields]
    if connection.their_state not in (h11.DONE, h11.MUST_CLOSE):
        head.append(("connection", "close"))
    await stream.send(connection.send(h11.Response(status_code=status, headers=head)) or b"")
    if not head_only:
        for piece in pieces:
            await stream.send(connection.send(h11.Data(data=piece)) or b"")
    connection.send(h11.EndOfMessage())
