"""What a check sees of the objects that the gateway serves: which are not ready and why, and certificates that end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime

import msgspec

from daemun import Finding, Severity
from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import (
    ENDPOINT_SLICE,
    INGRESS,
    INGRESS_CLASS,
    SECRET,
    SERVICE,
    Condition,
    EndpointSlice,
    Ingress,
    Kind,
    Metadata,
    Wire,
)
from daemun_kubernetes.ingress.assembly import Assembly
from daemun_kubernetes.ingress.classes import default_class, is_ours
from daemun_kubernetes.ingress.settings import IngressSettings
from daemun_kubernetes.ingress.status import addresses_of, has_addresses
from daemun_kubernetes.ingress.translate import Target
from daemun_kubernetes.install.address import ready_behind
from daemun_kubernetes.install.objects import find
from daemun_kubernetes.install.plan import KNATIVE_CLASS, Mode, Plan
from daemun_kubernetes.install.validity import end_of, misfit_of
from daemun_kubernetes.view.secrets import Pair, pair_of
from daemun_kubernetes.view.services import Resolved, resolve

__all__ = ["SERVED_KINGRESS", "ServedKIngress", "inspect_routes"]

_MOST = 20
"""Findings of one sort; of more there is the number."""
_MOST_SECRETS = 200
_SOON_DAYS = 14
_SERVICE_NAME = "kubernetes.io/service-name"
_CLASS_ANNOTATION = "networking.knative.dev/ingress.class"
_Key = tuple[str, str]


class _Tls(Wire, frozen=True):
    secret_name: str = ""
    secret_namespace: str = ""


class _Spec(Wire, frozen=True):
    tls: tuple[_Tls, ...] = ()


class _Status(Wire, frozen=True):
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class ServedKIngress(Wire, frozen=True):
    """Knative's Ingress, as far as it tells whether it is served."""

    metadata: Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()


SERVED_KINGRESS = Kind("Ingress", "networking.internal.knative.dev/v1alpha1", "ingresses", ServedKIngress)


async def inspect_routes(cluster: Cluster, plan: Plan) -> AsyncIterator[Finding]:
    """KIngresses or Ingresses of the gateway's class, and the certificates that they refer to."""
    if plan.mode is Mode.GATEWAY:
        return
    looked = _kingresses(cluster) if plan.mode is Mode.KNATIVE else _ingresses(cluster, plan)
    try:
        faults, secrets, subject, fine = await looked
    except ApiError as error:
        if error.status != 404:
            raise
        words = "the cluster does not know the kind Ingress of Knative"
        yield Finding(Severity.ERROR, "CustomResourceDefinitions", words, "install Knative Serving")
        return
    for finding in _few(faults):
        yield finding
    if not faults and await ready_behind(cluster, plan.namespace, plan.name):
        yield Finding(Severity.FINE, subject, fine)
    certificates = [await _secret(cluster, key) for key in sorted(secrets)[:_MOST_SECRETS]]
    for finding in _few([one for one in certificates if one is not None]):
        yield finding


_FINE = "{} of this gateway's class, all served"
_Looked = tuple[list[Finding], set[_Key], str, str]
"""Faults, Secrets that are referred to, and the finding if there is no fault: its subject and words."""


async def _kingresses(cluster: Cluster) -> _Looked:
    faults: list[Finding] = []
    secrets: set[_Key] = set()
    number = 0
    for one in await cluster.list(SERVED_KINGRESS):
        if one.metadata.annotations.get(_CLASS_ANNOTATION) != KNATIVE_CLASS or one.metadata.deletion_timestamp:
            continue
        number += 1
        secrets |= {(tls.secret_namespace or one.metadata.namespace, tls.secret_name) for tls in one.spec.tls}
        words = _not_ready(one)
        if words:
            faults.append(Finding(Severity.ERROR, f"KIngress {one.metadata.namespace}/{one.metadata.name}", words))
    return faults, secrets, "KIngresses", _FINE.format(number)


def _not_ready(one: ServedKIngress) -> str:
    """Why it is not ready; "": it is."""
    if one.status.observed_generation != one.metadata.generation:
        return "its newest version is not served yet"
    conditions = {condition.type: condition for condition in one.status.conditions}
    ready = conditions.get("Ready")
    if ready is None:
        return "nothing has been said of it yet"
    if ready.status == "True":
        return ""
    parts = [one for one in conditions.values() if one.type != "Ready" and one.status != "True" and one.message]
    said = ready if ready.message else min(parts, key=_rank, default=ready)
    words = ": ".join(part for part in (said.reason, said.message) if part)
    return words or f"its condition {said.type} is {said.status}"


def _rank(condition: Condition) -> bool:
    """What is wrong comes before what only waits, which may be for that."""
    return condition.status != "False"


async def _ingresses(cluster: Cluster, plan: Plan) -> _Looked:
    classes = {one.metadata.name: one for one in await cluster.list(INGRESS_CLASS)}
    default = default_class(classes.values())
    all_of_them = await cluster.list(INGRESS)
    served = [
        one
        for one in all_of_them
        if is_ours(one, classes, default, plan.controller) and not one.metadata.deletion_timestamp
    ]
    # without a load balancer there is nothing that a status could say
    published = bool(addresses_of(await find(cluster, SERVICE, plan.name, plan.namespace)))
    problems = await _problems(cluster, plan, served)
    faults = []
    for one in served:
        key = (one.metadata.namespace, one.metadata.name)
        said = bool(has_addresses(one)) or not published
        words = problems.get(key) or ("" if said else "no address was published in its status")
        if words:
            severity = Severity.WARNING if said else Severity.ERROR
            faults.append(Finding(severity, f"Ingress {key[0]}/{key[1]}", words))
    secrets = {(one.metadata.namespace, tls.secret_name) for one in served for tls in one.spec.tls if tls.secret_name}
    fine = _FINE.format(len(served))
    if any(not has_addresses(one) for one in served):
        fine += "; none has an address in its status, as there is no load balancer"
    return faults, secrets, "Ingresses", fine


async def _problems(cluster: Cluster, plan: Plan, served: Iterable[Ingress]) -> dict[_Key, str]:
    """What the gateway says of those that are not as their authors meant them, as things are now. It says so in events
    too, but nobody takes back an event. Certificates are looked at by themselves."""
    settings = msgspec.convert({"controller": plan.controller}, IngressSettings)
    services = {(one.metadata.namespace, one.metadata.name): one for one in await cluster.list(SERVICE)}
    slices: dict[_Key, list[EndpointSlice]] = {}
    for piece in await cluster.list(ENDPOINT_SLICE):
        slices.setdefault((piece.metadata.namespace, piece.metadata.labels.get(_SERVICE_NAME, "")), []).append(piece)

    def backend(target: Target) -> Resolved:
        key = target.namespace, target.service
        found = slices.get(key, ())
        return resolve(key, target.port, services.get(key), found, external_names=settings.external_names)

    assembly = Assembly(settings, backend, lambda key: Pair())
    for one in served:
        assembly.put((one.metadata.namespace, one.metadata.name), one)
    assembly.snapshot()
    return {key: "; ".join(one.message for one in problems) for key, problems in assembly.news().items()}


async def _secret(cluster: Cluster, key: _Key) -> Finding | None:
    subject = f"Secret {key[0]}/{key[1]}"
    pair = pair_of(key, await find(cluster, SECRET, key[1], key[0]))
    if pair.error:
        return Finding(Severity.ERROR, subject, pair.error)
    misfit = misfit_of(pair.certificate, pair.key)
    if misfit:
        return Finding(Severity.ERROR, subject, f"its certificate cannot be used with its key: {misfit}")
    end = end_of(pair.certificate)
    if end is None:
        return Finding(Severity.ERROR, subject, "its certificate cannot be read")
    days = (end - datetime.now(UTC)).total_seconds() / 86400
    if days <= 0:
        return Finding(Severity.ERROR, subject, f"its certificate ended on {end:%Y-%m-%d}", "renew it")
    if days < _SOON_DAYS:
        return Finding(Severity.WARNING, subject, f"its certificate ends on {end:%Y-%m-%d %H:%M} UTC", "renew it")
    return None


def _few(findings: Iterable[Finding]) -> list[Finding]:
    """Those that say what no other says come first."""
    findings = list(findings)
    firsts = list({one.words: one for one in reversed(findings)}.values())[::-1]
    findings = [*firsts, *(one for one in findings if not any(one is first for first in firsts))]
    left = len(findings) - _MOST
    if left <= 0:
        return findings
    last = findings[_MOST]
    kind = last.subject.partition(" ")[0]
    return [*findings[:_MOST], Finding(last.severity, kind, f"{left} more like these")]
