"""A back end made of endpoints: their view, pools, balancer, waiting room and activator, as one resource."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import anyio
from msgspec import Meta, Struct

from daemun.errors import SettingsError
from daemun.extend.endpoints import Activator, ActivatorContext
from daemun.extend.fitting import managed
from daemun.extend.registry import Registry
from daemun.handler import Handler
from daemun.routing.spec import BackendSpec
from daemun.strict import convert
from daemun.transport.open import Dial, dial
from daemun.transport.timers import Timers
from daemun.transport.tls import client_context
from daemun.upstream.activation import WaitingRoom, WaitingRoomSettings
from daemun.upstream.balance import BALANCERS, Checked
from daemun.upstream.dialling import Dialler
from daemun.upstream.endpoints import Endpoint, Endpoints
from daemun.upstream.forward import forward
from daemun.upstream.health import health_check, keep_checked
from daemun.upstream.pool import Pool
from daemun.upstream.sharing import SharedPool

__all__ = ["Backend", "EndpointsSettings", "UpstreamTls", "open_backend"]

_SWEEP_SECONDS = 5.0


class UpstreamTls(Struct, frozen=True, forbid_unknown_fields=True):
    """TLS towards endpoints that ask for it."""

    ca: str = ""
    """PEM file of the authorities; "": the system's."""
    verify: bool = True
    """Whether the certificate and its name are checked."""


class EndpointsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a back end of type `endpoints`."""

    balancer: str | dict[str, Any] = "round_robin"
    """Name of a balancer, or `{type: NAME, …its settings}`."""
    connect_timeout_seconds: Annotated[float, Meta(gt=0)] = 5.0
    """From the first packet to the end of the TLS handshake; then another endpoint is tried."""
    max_idle_connections: Annotated[int, Meta(ge=0)] = 256
    """Kept open for each endpoint; more, while as many exchanges run on it."""
    idle_timeout_seconds: Annotated[float, Meta(gt=0, description="Idle connections are closed after it.")] = 30.0
    response_timeout_seconds: Annotated[
        float,
        Meta(ge=0, description="An upstream may be silent for it before its response begins; 0: for ever."),
    ] = 60.0
    health_check: dict[str, Any] | None = None
    """How endpoints are asked whether they are well: `{type: NAME, …}` with its settings and those of `HealthSettings`.
    None: they are not asked."""
    waiting_room: WaitingRoomSettings = WaitingRoomSettings()
    """Where requests wait while no endpoint is ready, or all are full."""
    cold_start_header: bool = True
    """Whether an answer that waited for a start carries `X-Daemun-Cold-Start: true`."""
    tls: UpstreamTls = UpstreamTls()
    """For endpoints whose URL is `https`."""


class Backend:
    """What a compiled route holds of a back end: its handler, and its live view for `daemun routes`."""

    __slots__ = ("endpoints", "handler")

    def __init__(self, handler: Handler, endpoints: Endpoints | None) -> None:
        self.handler = handler
        self.endpoints = endpoints


@asynccontextmanager
async def open_backend(
    spec: BackendSpec,
    registry: Registry,
    protocols: Mapping[str, Any],
    base_dir: Path,
    timers: Timers,
    dial: Dial = dial,
) -> AsyncIterator[Backend]:
    """The back end of `spec`, of type `endpoints`, until it exits. Raises `SettingsError` with the path of the fault.

    `protocols` holds the decoded settings of each wire protocol by its name.
    """
    settings = convert(spec.settings, EndpointsSettings, path="$.settings")
    balancer = _balancer(settings.balancer, registry)
    health = None if settings.health_check is None else health_check(settings.health_check, registry)
    contexts: dict[str, ssl.SSLContext] = {}

    def dialler(endpoint: Endpoint) -> Dialler:
        protocol = registry.spoken_upstream(endpoint.spec.protocol)
        context = None
        if endpoint.spec.tls:
            context = contexts.get(protocol.name)
            if context is None:
                ca = Path(base_dir, settings.tls.ca) if settings.tls.ca else None
                context = client_context(protocol.alpn, ca, verify=settings.tls.verify)
                contexts[protocol.name] = context
        return Dialler(
            endpoint,
            protocol,
            protocols[protocol.name],
            tasks=tasks,
            context=context,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            dial=dial,
        )

    def lend_pool(endpoint: Endpoint) -> Pool | SharedPool:
        multiplexed = registry.spoken_upstream(endpoint.spec.protocol).multiplexed
        pool = (SharedPool if multiplexed else Pool)(
            dialler(endpoint),
            max_idle=settings.max_idle_connections,
            idle_timeout_seconds=settings.idle_timeout_seconds,
            leave=endpoints.leave,
        )
        endpoint.tasks = tasks
        endpoint.timers = timers
        endpoint.response_timeout_seconds = settings.response_timeout_seconds
        pools.append(pool)
        return pool

    pools: list[Pool | SharedPool] = []
    async with anyio.create_task_group() as tasks:
        endpoints = Endpoints(spec.name, lend_pool)
        if health is not None:
            keep_checked(endpoints, *health, dialler, registry.blame)
        try:
            endpoints.update(spec.endpoints)
        except (ValueError, OSError) as error:
            raise SettingsError(str(error), path="$.endpoints") from error
        tasks.start_soon(_sweep, pools)
        async with AsyncExitStack() as stack:
            activator = await _open_activator(spec, registry, endpoints, base_dir, stack)
            async with anyio.create_task_group() as activations:
                room = WaitingRoom(endpoints, balancer, settings.waiting_room, activations, activator, registry.blame)
                yield Backend(
                    forward(endpoints, balancer.pick, room, cold_start_header=settings.cold_start_header),
                    endpoints,
                )
                activations.cancel_scope.cancel()
        for pool in pools:
            pool.close_idle()
        tasks.cancel_scope.cancel()


async def _open_activator(
    spec: BackendSpec, registry: Registry, endpoints: Endpoints, base_dir: Path, stack: AsyncExitStack
) -> Activator | None:
    if not spec.activator:
        return None
    kind = registry.activator(spec.activator)
    settings = convert(spec.activation, kind.settings, path="$.activation")
    context = ActivatorContext(backend=spec.name, endpoints=endpoints, base_dir=base_dir)
    thing = registry.activators.thing(kind.name)
    return await stack.enter_async_context(managed(thing, kind.build, settings, context))


async def _sweep(pools: list[Pool | SharedPool]) -> None:
    while True:
        await anyio.sleep(_SWEEP_SECONDS)
        now = monotonic()
        pools[:] = [pool for pool in pools if not pool.endpoint.retired or pool.endpoint.active]
        for pool in pools:
            pool.sweep(now)


def _balancer(wanted: str | dict[str, Any], registry: Registry) -> Any:
    raw = {"type": wanted} if isinstance(wanted, str) else dict(wanted)
    name = raw.pop("type", None)
    if not isinstance(name, str):
        raise SettingsError("a balancer needs `type`", path="$.settings.balancer")
    kind = registry.balancer(name)
    balancer = kind.build(convert(raw, kind.settings, path="$.settings.balancer"))
    return balancer if kind in BALANCERS else Checked(balancer)
