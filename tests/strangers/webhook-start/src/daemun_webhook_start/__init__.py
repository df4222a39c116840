"""`webhook`: a back end is started by a call to a URL, and used once its address answers.

For whatever has an API that starts machines: a cloud's, a hypervisor's, a home server's.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Annotated

import anyio
import anyio.to_thread
from msgspec import Meta, Struct

from daemun import (
    Activator,
    ActivatorContext,
    ActivatorType,
    EndpointSpec,
    ExchangeError,
    Reason,
    hookimpl,
)

_PAUSE_SECONDS = 0.1


class WebhookSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The `activation` of the back end."""

    start_url: Annotated[str, Meta(pattern="^https?://")]
    """Is sent a POST without content; any 2xx is a promise."""
    address: str
    """`host:port` that is used once it accepts a connection."""
    token: str = ""
    """Sent as `Authorization: Bearer …`; "": no such field."""
    timeout_seconds: Annotated[float, Meta(gt=0)] = 60.0
    """For the call and all the waiting; then the requests that wait get 504."""


class Webhook:
    """Starts one back end."""

    def __init__(self, settings: WebhookSettings, context: ActivatorContext) -> None:
        self._settings = settings
        self._endpoints = context.endpoints

    async def activate(self) -> None:
        settings, refused = self._settings, "it was not called yet"
        with anyio.move_on_after(settings.timeout_seconds):
            refused = await anyio.to_thread.run_sync(self._call, abandon_on_cancel=True)
            while not refused:
                if await self._answers():
                    self._endpoints.update([EndpointSpec(settings.address)])
                    return
                await anyio.sleep(_PAUSE_SECONDS)
        words = refused or f"nothing answers after {settings.timeout_seconds:g} s"
        raise ExchangeError(Reason.ACTIVATION_FAILED, f"the start was asked for: {words}")

    def _call(self) -> str:
        """ "" if the start was promised, else why not."""
        headers = {"Authorization": f"Bearer {self._settings.token}"} if self._settings.token else {}
        request = urllib.request.Request(self._settings.start_url, b"", headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self._settings.timeout_seconds):
                return ""
        except urllib.error.HTTPError as error:
            error.close()
            return f"the answer was {error.code}"
        except (OSError, ValueError):
            return "there was no answer"

    async def _answers(self) -> bool:
        host, _, port = self._settings.address.rpartition(":")
        try:
            async with await anyio.connect_tcp(host, int(port)):
                return True
        except OSError:
            return False


@asynccontextmanager
async def build(settings: WebhookSettings, context: ActivatorContext) -> AsyncIterator[Activator]:
    yield Webhook(settings, context)


@hookimpl
def daemun_activators() -> Iterable[ActivatorType]:
    return [ActivatorType("webhook", WebhookSettings, build)]
