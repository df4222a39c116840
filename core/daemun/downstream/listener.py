"""Sockets that accept: TCP, Unix, inherited. Never more connections than descriptors are left for."""

from __future__ import annotations

import errno
import logging
import resource
import socket
import ssl
import stat
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute

from daemun.downstream.drain import Connections
from daemun.downstream.exchange import DownstreamConnection
from daemun.downstream.forwarded import Forwarding
from daemun.downstream.inherited import is_inherited, take_inherited
from daemun.downstream.negotiate import Conversation, Spoken, negotiate
from daemun.downstream.services import Services
from daemun.errors import SettingsError, is_fault
from daemun.exchange import Peer
from daemun.extend.wire import Connection
from daemun.routing.certificates import Certificate
from daemun.settings import ListenerSettings
from daemun.transport.open import wrap_accepted
from daemun.transport.stream import Stream
from daemun.transport.tls import load_files, load_pair, server_context
from daemun.upstream.endpoints import parse_address

__all__ = ["Listener", "Turn", "bind", "connection_limit", "raise_descriptor_limit", "remove_socket_file"]

log = logging.getLogger("daemun.listener")

_ACCEPTS_IN_A_ROW = 64
_RESERVED_DESCRIPTORS = 64
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


def raise_descriptor_limit() -> None:
    """Asks for as many descriptors as the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            log.debug("the limit of %d descriptors cannot be raised", soft)


def connection_limit() -> int:
    """Downstream connections that leave as many descriptors for upstream ones, and some for files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 100_000
    return max(1, (soft - _RESERVED_DESCRIPTORS) // 2)


def bind(settings: ListenerSettings) -> socket.socket:
    """The listening socket of `settings`, non-blocking. Raises `SettingsError` in words."""
    where = settings.bind
    try:
        if is_inherited(where):
            sock = take_inherited(where)
        elif where.startswith("unix:"):
            sock = _bind_unix(Path(where[5:]))
        else:
            sock = _bind_tcp(where, reuse_port=settings.reuse_port)
        try:
            sock.listen(settings.backlog)
        except OSError:
            sock.close()
            raise
    except (OSError, ValueError) as error:
        words = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
        raise SettingsError(
            f"listener {settings.name} cannot bind {where}: {words} (accepted: host:port, [v6]:port, unix:/path, fd:N, "
            f"systemd:NAME)"
        ) from error
    sock.setblocking(False)
    return sock


def remove_socket_file(settings: ListenerSettings, sock: socket.socket) -> None:
    """Removes the file of a Unix socket that `bind` made."""
    if sock.family == socket.AF_UNIX and not is_inherited(settings.bind):
        Path(settings.bind[5:]).unlink(missing_ok=True)


def _bind_tcp(where: str, *, reuse_port: bool) -> socket.socket:
    host, port, _ = parse_address(where if not where.endswith(":0") else where[:-1] + "1")
    port = 0 if where.endswith(":0") else port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    info = socket.getaddrinfo(host, port, family if host[:1].isdigit() or ":" in host else 0, socket.SOCK_STREAM)
    sock = socket.socket(info[0][0], socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(info[0][4])
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_unix(path: Path) -> socket.socket:
    try:
        if stat.S_ISSOCK(path.lstat().st_mode) and not _answers(path):
            path.unlink()
    except FileNotFoundError:
        pass
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
    except BaseException:
        sock.close()
        raise
    return sock


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


class Turn(Protocol):
    """When this process may accept on a socket that it shares."""

    async def wait(self) -> int:
        """How many connections to accept now; lets others go first if they have fewer."""
        ...

    def note(self) -> None:
        """A connection ended."""
        ...


class Listener:
    """One listening socket and the connections that it accepts."""

    def __init__(
        self,
        settings: ListenerSettings,
        sock: socket.socket,
        spoken: Spoken,
        services: Services,
        connections: Connections,
        base_dir: Path,
        *,
        turn: Turn | None = None,
    ) -> None:
        """`turn` is given if other processes accept on this socket too; its file is not ours to remove then."""
        self.settings = settings
        self.sock = sock
        self._turn = turn
        self.speak(spoken)
        self._services = services
        self._certificates = services.table.certificates
        self._connections = connections
        self._limit = settings.max_connections or connection_limit()
        self._tcp = sock.family != socket.AF_UNIX
        self._complained = False
        self._context: ssl.SSLContext | None = None
        self._names: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()
        """SNI of connections whose handshake runs."""
        self._contexts: WeakKeyDictionary[Certificate, ssl.SSLContext] = WeakKeyDictionary()
        """Of certificates that sources published and somebody asked for."""
        if settings.tls is not None:
            self._context = self._new_context(base_dir)
            if settings.tls.certificate or settings.tls.key:
                load_files(self._context, base_dir / settings.tls.certificate, base_dir / settings.tls.key)
            self._context.sni_callback = self._asked_for
        self._base_dir = base_dir

    def speak(self, spoken: Spoken) -> None:
        """Has connections that come from now on speak it. What a TLS handshake offers stays what it was at first."""
        self._spoken = spoken

    @property
    def address(self) -> str:
        """Where it listens, with the real port."""
        name = self.sock.getsockname()
        if not self._tcp:
            return f"unix:{name if isinstance(name, str) else name.decode()}"
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    @property
    def url(self) -> str:
        """Where it listens, for people."""
        scheme = "https" if self._context is not None else "http"
        return f"{scheme}://{self.address}" if self._tcp else self.address

    async def accept(self, tasks: TaskGroup) -> None:
        """Accepts until cancelled, and closes; each connection is served in a task of `tasks`."""
        try:
            while True:
                await self._connections.below(self._limit)
                await anyio.wait_readable(self.sock)
                if self._turn is None:
                    await self._accept_waiting(tasks, _ACCEPTS_IN_A_ROW)
                    continue
                while await self._accept_waiting(tasks, await self._turn.wait()):
                    await checkpoint()
        finally:
            self.close()

    async def _accept_waiting(self, tasks: TaskGroup, count: int) -> bool:
        """Accepts `count` at most; returns whether more may wait."""
        for _ in range(count):
            if len(self._connections) >= self._limit:
                return False
            try:
                sock, address = self.sock.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    await self._wait_out(error)
                    return False
                if error.errno in (errno.EBADF, errno.EINVAL):
                    raise
                continue
            sock.setblocking(False)
            peer = self._peer(address)
            forwarding = Forwarding(peer, self.settings.forwarded)
            connection = DownstreamConnection(self._services, peer, forwarding)
            self._connections.add(connection)
            tasks.start_soon(self._serve, sock, connection, tasks)
        return True

    async def _wait_out(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            log.warning("listener %s: %s; accepting again when connections close", self.settings.name, error.strerror)
        await anyio.sleep(0.1)

    def _peer(self, address: Any) -> Peer:
        scheme = "https" if self._context is not None else "http"
        if not self._tcp:
            return Peer(listener=self.settings.name, local=self.address, scheme=scheme, lender=self._services.lender)
        host = address[0]
        if host.startswith("::ffff:") and "." in host:
            host = host[7:]
        return Peer(
            listener=self.settings.name,
            address=host,
            port=address[1],
            local=self.address,
            scheme=scheme,
            lender=self._services.lender,
        )

    async def _serve(self, sock: socket.socket, connection: Connection, tasks: TaskGroup) -> None:
        spoken = self._spoken
        try:
            if self._tcp:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls = self.settings.tls
            try:
                stream = await wrap_accepted(
                    sock, tasks, self._context, tls.handshake_timeout_seconds if tls is not None else 0.0
                )
            except (OSError, TimeoutError, anyio.BrokenResourceError) as error:
                log.debug("listener %s: no handshake: %s", self.settings.name, error)
                sock.close()
                return
            if self._context is not None:
                self._note_tls(stream, connection.peer)
            async with Conversation(stream):
                protocol = await negotiate(stream, connection, spoken.protocols, spoken.silence_seconds)
                if protocol is not None and protocol.serve is not None:
                    await protocol.serve(stream, connection, spoken.settings[protocol.name])
        except BaseException as error:
            if not is_fault(error):
                raise
            log.exception("listener %s: a connection failed", self.settings.name)
        finally:
            self._connections.remove(connection)
            connection.peer.leave()
            if self._turn is not None:
                self._turn.note()

    def _new_context(self, base_dir: Path) -> ssl.SSLContext:
        assert self.settings.tls is not None
        ca = base_dir / self.settings.tls.client_ca if self.settings.tls.client_ca else None
        return server_context([name for protocol in self._spoken.protocols for name in protocol.alpn], ca)

    def _asked_for(self, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        """A handshake begins: its context is that of the certificate for `name`, if a source has one."""
        assert self.settings.tls is not None
        self._names[tls] = name or ""
        certificate = self._certificates.find(self.settings.name, name or "")
        if certificate is None or (self.settings.tls.certificate and not certificate.spec.hosts):
            return None if self.settings.tls.certificate else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        context = self._contexts.get(certificate)
        if context is None:
            try:
                context = self._new_context(self._base_dir)
                load_pair(context, certificate.spec.certificate, certificate.spec.key)
            except SettingsError as error:
                log.warning("listener %s: certificate %s: %s", self.settings.name, certificate.spec.name, error)
                return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
            self._contexts[certificate] = context
        tls.context = context
        return None

    def _note_tls(self, stream: Stream, peer: Peer) -> None:
        tls = stream.extra(TLSAttribute.ssl_object)
        peer.server_name = self._names.get(tls, "")
        subject: Any = (tls.getpeercert() or {}).get("subject", ())
        peer.client_name = next((value for part in subject for name, value in part if name == "commonName"), "")

    def close(self) -> None:
        """Accepts no more. A Unix socket's file is removed. Idempotent: the file may be another's by then."""
        if self.sock.fileno() < 0:
            return
        if self._turn is None:
            remove_socket_file(self.settings, self.sock)
        self.sock.close()
