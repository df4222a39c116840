"""Opening connections to one endpoint, in time and with words for what goes wrong."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any

import anyio
from anyio.abc import TaskGroup

from daemun.errors import ExchangeError, Reason, Retry
from daemun.extend.wire import WireProtocol
from daemun.transport.open import Dial, dial
from daemun.upstream.connection import UpstreamConnection
from daemun.upstream.endpoints import Endpoint

__all__ = ["Dialler"]


class Dialler:
    """Makes connections to `endpoint` that speak `protocol`."""

    __slots__ = ("_connect_timeout_seconds", "_context", "_dial", "_protocol", "_settings", "endpoint", "tasks")

    def __init__(
        self,
        endpoint: Endpoint,
        protocol: WireProtocol,
        settings: Any,
        *,
        tasks: TaskGroup,
        context: ssl.SSLContext | None,
        connect_timeout_seconds: float,
        dial: Dial = dial,
    ) -> None:
        self.endpoint = endpoint
        self._protocol = protocol
        self._settings = settings
        self.tasks = tasks
        """Of the back end."""
        self._context = context
        self._connect_timeout_seconds = connect_timeout_seconds
        self._dial = dial

    async def connect(self) -> UpstreamConnection:
        """A new connection. Raises `ExchangeError` (nothing was sent: any method may be tried again)."""
        endpoint = self.endpoint
        try:
            with anyio.fail_after(self._connect_timeout_seconds or None):
                stream = await self._dial(
                    self.tasks,
                    host=endpoint.host,
                    port=endpoint.port,
                    path=endpoint.path,
                    context=self._context,
                    server_name=endpoint.spec.server_name,
                )
                try:
                    assert self._protocol.connect is not None
                    return await self._protocol.connect(stream, endpoint, self._settings)
                except BaseException:
                    stream.abort()
                    raise
        except TimeoutError:
            raise ExchangeError(
                Reason.CONNECT_TIMEOUT,
                f"no connection to the upstream within {self._connect_timeout_seconds:g} s",
                retry=Retry.UNSENT,
            ) from None
        except OSError as error:
            raise ExchangeError(
                Reason.CONNECT_FAILED, f"cannot connect to the upstream: {_words(error)}", retry=Retry.UNSENT
            ) from error


def _words(error: OSError) -> str:
    """What a client may know: the text of the error itself can hold an address or a name."""
    if isinstance(error, ssl.SSLError):
        return f"tls: {(error.reason or 'handshake failed').lower().replace('_', ' ')}"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return os.strerror(error.errno).lower() if error.errno else "no answer"
