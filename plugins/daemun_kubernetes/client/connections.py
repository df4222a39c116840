"""Connections to an API server: kept while they are of use, made anew when what they were made with has changed."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import anyio
import anyio.to_thread
import httpcore

from daemun import SettingsError
from daemun_kubernetes.client.auth import Grant
from daemun_kubernetes.client.config import Target
from daemun_kubernetes.client.tls import tls_context

__all__ = ["Connections", "proxy_of"]

_KEPT = 16
_KEPT_SECONDS = 60.0
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
"""A peer that is gone is noticed within 35 s, also where nothing is sent."""


class _Link:
    """Connections made with the same proofs."""

    __slots__ = ("made_with", "pool", "users")

    def __init__(self, pool: httpcore.AsyncConnectionPool, made_with: tuple[bytes, bytes, bytes]) -> None:
        self.pool = pool
        self.made_with = made_with
        self.users = 0


class Connections:
    """The connections to `target`. `start` is first, `aclose` is last. Raises `SettingsError` for a useless proxy."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._proxy = proxy_of(target, os.environ)
        scheme = urlsplit(self._proxy).scheme
        if scheme in ("http", "https") and target.cluster.tls_server_name:
            raise SettingsError(f"{target.who}: tls-server-name does not go with a proxy of {scheme}")
        if scheme in ("socks5", "socks5h") and find_spec("socksio") is None:
            words = "needs the module socksio, which is not installed (pip install 'httpx[socks]')"
            raise SettingsError(f"{target.who}: a proxy of {scheme} {words}")
        self._link: _Link | None = None
        self._lock = anyio.Lock()

    async def start(self, grant: Grant) -> None:
        """Looks whether connections can be made with `grant`, without making one. Raises `SettingsError`."""
        self._link = await self._made(grant)

    async def aclose(self) -> None:
        """Closes what is open."""
        if self._link is not None:
            await self._link.pool.aclose()

    @asynccontextmanager
    async def of(self, grant: Grant) -> AsyncIterator[httpcore.AsyncConnectionPool]:
        """Those that were made with what `grant` shows. Raises `SettingsError` if that is no certificate."""
        async with self._lock:
            if self._link is None or self._link.made_with != grant.connection:
                former, self._link = self._link, await self._made(grant)
                if former is not None and not former.users:
                    await former.pool.aclose()
            link = self._link
            link.users += 1
        try:
            yield link.pool
        finally:
            link.users -= 1
            if link is not self._link and not link.users:
                with anyio.CancelScope(shield=True):
                    await link.pool.aclose()

    async def _made(self, grant: Grant) -> _Link:
        insecure = self._target.cluster.insecure_skip_tls_verify
        context = await anyio.to_thread.run_sync(lambda: tls_context(grant, self._target.who, insecure=insecure))
        try:
            pool = httpcore.AsyncConnectionPool(
                ssl_context=context,
                proxy=_proxy(self._proxy),
                max_connections=None,
                max_keepalive_connections=_KEPT,
                keepalive_expiry=_KEPT_SECONDS,
                socket_options=_KEEPALIVE,
                network_backend=_Backend(),
            )
        except ValueError:
            raise SettingsError(f"{self._target.who}: proxy-url is no URL; accepted: http, https, socks5") from None
        return _Link(pool, grant.connection)


class _Backend(httpcore.AnyIOBackend):
    """The same on every event loop: uvloop has no socket any more where the server reset the connection at once."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = _Stream(await super().connect_tcp(host, port, timeout, local_address))
        try:
            raw = stream.get_extra_info("socket")
            if raw is None:
                raise ConnectionResetError(errno.ECONNRESET, "the connection was reset at once")
            for option in socket_options or ():
                raw.setsockopt(*option)
        except OSError as error:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            raise httpcore.ConnectError(str(error)) from error
        return stream


class _Stream(httpcore.AsyncNetworkStream):
    """Adds what httpcore leaves out.

    A cancelled handshake closes its socket, and does not leave that to the garbage collector. An error of TLS after the
    handshake is one like others: TLS 1.3 tells so that a certificate is refused.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return await self._stream.read(max_bytes, timeout)
        except ssl.SSLError as error:
            raise httpcore.ReadError from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            await self._stream.write(buffer, timeout)
        except ssl.SSLError as error:
            raise httpcore.WriteError from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        try:
            return self._stream.get_extra_info(info)
        except AttributeError:  # anyio asks a socket that uvloop has given up: there is an end to be read
            return True if info == "is_readable" else None


def _proxy(url: str) -> httpcore.Proxy | None:
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "socks5", "socks5h") or not parts.hostname:
        raise ValueError
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return httpcore.Proxy(f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}", auth)


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
