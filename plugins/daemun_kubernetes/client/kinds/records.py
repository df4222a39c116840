"""What holds a few values: Secrets, ConfigMaps, Leases, Events."""

from __future__ import annotations

from msgspec import field

from daemun_kubernetes.client.kinds.base import Kind, Metadata, ObjectReference, Wire

__all__ = [
    "CONFIG_MAP",
    "EVENT",
    "LEASE",
    "SECRET",
    "ConfigMap",
    "Event",
    "EventSource",
    "Lease",
    "LeaseSpec",
    "Secret",
]


class Secret(Wire, frozen=True):
    """Secret, v1. What it holds is not shown by `repr`."""

    metadata: Metadata
    type: str = "Opaque"
    data: dict[str, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Secret({self.metadata.namespace}/{self.metadata.name}: {', '.join(sorted(self.data))})"


class ConfigMap(Wire, frozen=True):
    """ConfigMap, v1."""

    metadata: Metadata
    data: dict[str, str] = field(default_factory=dict)
    binary_data: dict[str, bytes] = field(default_factory=dict)


class LeaseSpec(Wire, frozen=True):
    """Who holds a Lease, and for how long."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    lease_transitions: int = 0
    strategy: str = ""
    preferred_holder: str = ""


class Lease(Wire, frozen=True):
    """Lease, coordination.k8s.io/v1; complete."""

    metadata: Metadata
    spec: LeaseSpec = LeaseSpec()


class EventSource(Wire, frozen=True):
    """Who saw it."""

    component: str = ""
    host: str = ""


class Event(Wire, frozen=True):
    """Event, v1: something that happened to another object."""

    metadata: Metadata
    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int = 0
    first_timestamp: str = ""
    last_timestamp: str = ""
    source: EventSource = EventSource()
    reporting_component: str = ""
    reporting_instance: str = ""


SECRET = Kind("Secret", "v1", "secrets", Secret)
CONFIG_MAP = Kind("ConfigMap", "v1", "configmaps", ConfigMap)
LEASE = Kind("Lease", "coordination.k8s.io/v1", "leases", Lease)
EVENT = Kind("Event", "v1", "events", Event)
