"""What is written into the status of a KIngress, and when there is nothing to write.

`Ready` is the sum of `NetworkConfigured` (the object and all that it refers to can be used) and `LoadBalancerReady`
(every gateway serves it). Serving believes a status whose `observedGeneration` is the object's generation.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from daemun_knative.kingress.types import Condition, LoadBalancer, LoadBalancerIngress, Status

__all__ = [
    "LOAD_BALANCER_READY",
    "NETWORK_CONFIGURED",
    "READY",
    "TRUE",
    "WAITING",
    "Verdict",
    "conflict",
    "is_programmed",
    "is_ready",
    "next_status",
    "not_possible",
    "not_yet",
    "was_programmed",
]

NETWORK_CONFIGURED = "NetworkConfigured"
LOAD_BALANCER_READY = "LoadBalancerReady"
READY = "Ready"
_CONFLICT = "DomainConflict"


class Verdict(Struct, frozen=True):
    """What is so, and why not if it is not."""

    status: str
    """`True`, `False` or `Unknown`."""
    reason: str = ""
    """One word in camel case."""
    message: str = ""


TRUE = Verdict("True")
WAITING = Verdict("Unknown", "Uninitialized", "waiting for every gateway to serve this version")


def not_yet(reason: str, message: str) -> Verdict:
    """What may come by itself: a Secret or a Service that is not there."""
    return Verdict("Unknown", reason, message)


def not_possible(reason: str, message: str) -> Verdict:
    """What stays wrong until somebody changes it."""
    return Verdict("False", reason, message)


def conflict(host: str, namespace: str, name: str) -> Verdict:
    """A host that is another's, as `LoadBalancerReady`."""
    return not_possible(_CONFLICT, f"host {host} belongs to Ingress {namespace}/{name}, which was served first")


def next_status(
    before: Status,
    generation: int,
    network: Verdict,
    load_balancer: Verdict,
    *,
    public: str = "",
    private: str = "",
    now: datetime,
) -> Status:
    """The status after `before`, equal to it if there is nothing to write.

    `generation` is that of the version which the verdicts are about. `public` and `private` are the names within the
    cluster of the Services in front of the gateway; without them what was published stays. A condition that does not
    change keeps its time.
    """
    time = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = {condition.type: condition for condition in before.conditions}
    for kind, verdict in (
        (NETWORK_CONFIGURED, network),
        (LOAD_BALANCER_READY, load_balancer),
        (READY, _sum(network, load_balancer)),
    ):
        conditions[kind] = _condition(kind, verdict, conditions.get(kind), time)
    return replace(
        before,
        observed_generation=generation,
        conditions=tuple(condition for _, condition in sorted(conditions.items())),
        public_load_balancer=_at(public) or before.public_load_balancer,
        private_load_balancer=_at(private) or before.private_load_balancer,
    )


def is_ready(status: Status, generation: int) -> bool:
    """Whether the status says that this generation is served."""
    return status.observed_generation == generation and any(
        condition.type == READY and condition.status == "True" for condition in status.conditions
    )


def is_programmed(status: Status, generation: int) -> bool:
    """Whether the status says that this generation was served everywhere; a Secret may have been lost since."""
    return status.observed_generation == generation and any(
        condition.type == LOAD_BALANCER_READY and condition.status == "True" for condition in status.conditions
    )


def was_programmed(status: Status) -> bool:
    """Whether the status says that some version was served everywhere, and no host was lost to another one since.

    Where a gateway is reached is only written once it was.
    """
    if any(condition.reason == _CONFLICT for condition in status.conditions):
        return False
    return bool(status.public_load_balancer or status.private_load_balancer) or any(
        condition.type == READY and condition.status == "True" for condition in status.conditions
    )


def _sum(*verdicts: Verdict) -> Verdict:
    for status in ("False", "Unknown"):
        for verdict in verdicts:
            if verdict.status == status:
                return verdict
    return TRUE


def _condition(kind: str, verdict: Verdict, before: Condition | None, time: str) -> Condition:
    after = Condition(type=kind, status=verdict.status, reason=verdict.reason, message=verdict.message)
    if before is not None and replace(after, last_transition_time=before.last_transition_time) == before:
        return before
    return replace(after, last_transition_time=time)


def _at(domain: str) -> LoadBalancer | None:
    return LoadBalancer(ingress=(LoadBalancerIngress(domain_internal=domain),)) if domain else None
