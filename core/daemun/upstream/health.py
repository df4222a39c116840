"""Health checks: each endpoint is asked now and then whether it is well, and has traffic only while it is.

Checks go on connections of their own. So they show that an endpoint takes new ones, take nothing from traffic, and
are not counted as such: a back end that only checks talk to is idle.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import random
from typing import Annotated, Any, Literal

import anyio
import msgspec
from msgspec import Meta, Struct

from daemun.errors import ExchangeError, SettingsError, is_fault
from daemun.extend.culprit import Blame
from daemun.extend.endpoints import HealthCheck
from daemun.extend.registry import Registry
from daemun.message import Request, Response
from daemun.strict import convert
from daemun.upstream.connection import UpstreamConnection
from daemun.upstream.dialling import Dialler
from daemun.upstream.endpoints import Endpoint, Endpoints

__all__ = ["Checks", "HealthSettings", "health_check", "keep_checked"]

log = logging.getLogger("daemun.health")

_FIRST_SECONDS = 1.0
"""The first check of an endpoint is within so long, at any moment of it,"""
_SPREAD_SECONDS = 0.005
"""or within this for each endpoint that there is, if that is longer: many that come at once are not asked at once."""
_JITTER = 0.1
"""By what share of it the interval is shorter or longer, so that checks do not come in step."""
_PATH = "$.settings.health_check"


class HealthSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What all health checks have, beside `type` and the settings of that type."""

    interval_seconds: Annotated[
        float, Meta(ge=0.01, le=86_400, description="From the end of a check to the next one, a tenth more or less.")
    ] = 5.0
    timeout_seconds: Annotated[
        float, Meta(gt=0, le=3_600, description="A check that takes longer has failed, connecting included.")
    ] = 2.0
    healthy_threshold: Annotated[
        int, Meta(ge=1, le=1_000, description="Checks in a row that must succeed until an endpoint is used again.")
    ] = 2
    unhealthy_threshold: Annotated[
        int, Meta(ge=1, le=1_000, description="Checks in a row that must fail until an endpoint is not used.")
    ] = 3
    initially: Literal["healthy", "unhealthy"] = "healthy"
    """What a new endpoint counts as until its first check is over. That one decides alone, whatever the thresholds."""
    when_none_healthy: Literal["use_all", "refuse"] = "use_all"
    """`use_all`: as if all were healthy, since checks that all fail say more of the checks or of a network than of
    endpoints. `refuse`: as if there were no endpoint."""


def health_check(raw: dict[str, Any], registry: Registry) -> tuple[HealthCheck, HealthSettings]:
    """What the setting `health_check` asks for. Raises `SettingsError`."""
    name = raw.get("type")
    if not isinstance(name, str):
        raise SettingsError("a health check needs `type`", path=_PATH)
    kind = registry.health_check(name)
    common = {field.encode_name for field in msgspec.structs.fields(HealthSettings)}
    own = {field.encode_name for field in msgspec.structs.fields(kind.settings)}
    keys = [(key, Any, None) for key in ("type", *sorted(own), *sorted(common))]
    convert(raw, msgspec.defstruct("Keys", keys, forbid_unknown_fields=True), path=_PATH)
    settings = convert({key: raw[key] for key in raw if key in common}, HealthSettings, path=_PATH)
    of_kind = convert({key: raw[key] for key in raw if key in own}, kind.settings, path=_PATH)
    return kind.build(of_kind), settings


def keep_checked(
    endpoints: Endpoints,
    check: HealthCheck,
    settings: HealthSettings,
    dialler: Callable[[Endpoint], Dialler],
    blame: Blame | None = None,
) -> None:
    """Has each endpoint that comes into `endpoints` checked, in a task of `endpoint.tasks`, until it is retired."""
    endpoints.use_all = settings.when_none_healthy == "use_all"
    endpoints.on_new = Checks(endpoints, check, settings, dialler, blame or Blame()).begin


class Checks:
    """The checks of one back end."""

    def __init__(
        self,
        endpoints: Endpoints,
        check: HealthCheck,
        settings: HealthSettings,
        dialler: Callable[[Endpoint], Dialler],
        blame: Blame,
    ) -> None:
        self._blame = blame
        self._endpoints = endpoints
        self._check = check
        self._settings = settings
        self._dialler = dialler
        self._none_healthy = False

    def begin(self, endpoint: Endpoint) -> None:
        """Checks `endpoint` from now on."""
        endpoint.healthy = self._settings.initially == "healthy"
        endpoint.tasks.start_soon(self._run, endpoint)

    async def _run(self, endpoint: Endpoint) -> None:
        interval = self._settings.interval_seconds
        with anyio.CancelScope() as scope:
            endpoint.on_retired = scope.cancel
            dialler = self._dialler(endpoint)
            against = 0
            pause = min(interval, max(_FIRST_SECONDS, _SPREAD_SECONDS * len(self._endpoints.all))) * random()
            while not endpoint.retired:
                await anyio.sleep(pause)
                against = self._learn(endpoint, await self.fault(endpoint, dialler), against)
                pause = interval * (1 + _JITTER * (2 * random() - 1))

    async def fault(self, endpoint: Endpoint, dialler: Dialler) -> str:
        """What a check finds wrong; "": nothing."""
        opened: list[UpstreamConnection] = []

        async def send(request: Request) -> Response:
            connection = await dialler.connect()
            connection.released = _nothing
            opened.append(connection)
            return await connection.send(request)

        try:
            with anyio.move_on_after(self._settings.timeout_seconds):
                await self._check(send, endpoint)
                return ""
            return f"no answer within {self._settings.timeout_seconds:g} s"
        except ExchangeError as error:
            return error.message
        except BaseException as error:
            if not is_fault(error):
                raise
            words = f"its check broke: {type(error).__name__}"
            if words != endpoint.last_check:
                name, culprit = self._endpoints.name, self._blame.of(error, (), self._check)
                log.exception(
                    "back end %s: the check of endpoint %s broke: the fault of %s", name, endpoint.address, culprit
                )
            return words
        finally:
            for connection in opened:
                connection.close()

    def _learn(self, endpoint: Endpoint, fault: str, against: int) -> int:
        """Takes the outcome of a check; `against`, and what is returned, are how many in a row spoke against what the
        endpoint counts as."""
        if endpoint.retired:
            return 0
        first, endpoint.last_check = endpoint.last_check is None, fault
        settings, healthy = self._settings, not fault
        against = against + 1 if healthy is not endpoint.healthy else 0
        enough = 1 if first else settings.healthy_threshold if healthy else settings.unhealthy_threshold
        changed = against >= enough
        if changed:
            against, endpoint.healthy = 0, healthy
        if changed or (first and fault):
            self._tell(endpoint, fault)
        if changed or first:
            self._endpoints.health_changed()
            self._tell_if_none()
        return against

    def _tell(self, endpoint: Endpoint, fault: str) -> None:
        name, address = self._endpoints.name, endpoint.address
        if fault:
            log.warning("back end %s: endpoint %s is unhealthy: %s", name, address, fault)
        else:
            log.info("back end %s: endpoint %s is healthy", name, address)

    def _tell_if_none(self) -> None:
        none_healthy = self._endpoints.none_healthy
        if none_healthy and not self._none_healthy:
            what = "all are used" if self._endpoints.use_all else "none is used"
            log.warning("back end %s: no endpoint is healthy, %s", self._endpoints.name, what)
        self._none_healthy = none_healthy


def _nothing(connection: UpstreamConnection) -> None:
    """The exchange of a check is over: nobody has counted it."""
