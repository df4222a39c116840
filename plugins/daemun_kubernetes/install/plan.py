"""What is to be installed: every name and number that manifests are made of, decided in one place."""

from __future__ import annotations

import enum
from importlib.metadata import version
from math import ceil
from typing import Any

from msgspec import Struct

from daemun_kubernetes.ingress.settings import CONTROLLER

__all__ = [
    "DEFAULT_KNATIVE_NAMESPACE",
    "DEFAULT_NAME",
    "DEFAULT_NAMESPACE",
    "INSTANCE_LABEL",
    "KNATIVE_CLASS",
    "MANAGER",
    "MODE_LABEL",
    "OURS",
    "Mode",
    "Plan",
    "ServiceKind",
    "default_image",
    "default_namespace",
]

DEFAULT_NAMESPACE = "daemun-system"
"""For gateways alone, so the printed manifests make it. Any other may hold what is not ours: they never do."""
DEFAULT_KNATIVE_NAMESPACE = "knative-serving"
DEFAULT_NAME = "daemun"
OURS = {"app.kubernetes.io/managed-by": "daemun"}
"""Label of everything that is installed: what lacks it is not removed."""
INSTANCE_LABEL = "app.kubernetes.io/instance"
MODE_LABEL = "app.kubernetes.io/component"
MANAGER = "daemun-install"
"""Field manager of what is applied (server-side apply)."""
KNATIVE_CLASS = "daemun.ingress.networking.knative.dev"
"""What `config-network` and the annotation of a KIngress call this gateway."""
_SPARE_SECONDS = 10


class Mode(enum.Enum):
    """Where the gateway's routes come from."""

    KNATIVE = "knative"
    """KIngresses of Knative Serving."""
    INGRESS = "ingress"
    """Ingresses of `networking.k8s.io/v1`."""
    GATEWAY = "gateway"
    """Documents of routes in a ConfigMap."""


class ServiceKind(enum.Enum):
    """How the gateway is reached from outside the cluster."""

    LOAD_BALANCER = "LoadBalancer"
    NODE_PORT = "NodePort"
    CLUSTER_IP = "ClusterIP"


def default_image() -> str:
    """The image of this version, by the name that `docker build -t` gives it in the checkout."""
    return f"daemun:{version('daemun')}"


def default_namespace(mode: Mode, knative_namespace: str) -> str:
    """Where a gateway is put: beside Knative Serving, which it is of no use without, else in a namespace of its own."""
    return knative_namespace if mode is Mode.KNATIVE else DEFAULT_NAMESPACE


class Plan(Struct, frozen=True):
    """An installation. Equal plans have equal manifests."""

    mode: Mode
    image: str
    namespace: str = DEFAULT_NAMESPACE
    name: str = DEFAULT_NAME
    """Of the Deployment and the public Service; the other names begin with it."""
    min_replicas: int = 2
    max_replicas: int = 10
    """Equal to `min_replicas`: the number is fixed, and there is no autoscaler."""
    service: ServiceKind = ServiceKind.LOAD_BALANCER
    default_class: bool = False
    """Ingresses without a class are for this gateway."""
    tls_secret: str = ""
    """Secret with the certificate of the listener `https` where no source brings any; "": there is no such listener."""
    knative_namespace: str = DEFAULT_KNATIVE_NAMESPACE
    delay_seconds: int = 5
    """From SIGTERM on the gateway accepts for it: until nobody sends to the Pod any more."""
    grace_seconds: int = 30
    """What still runs then gets it to finish."""
    settings: dict[str, Any] = {}
    """What is to be otherwise in the settings file; see `overlaid`."""

    @property
    def termination_seconds(self) -> int:
        """From SIGTERM on, until a Pod is killed."""
        drain = {"delay_seconds": self.delay_seconds, "grace_seconds": self.grace_seconds, **self._drain}
        return ceil(drain["delay_seconds"] + drain["grace_seconds"] + drain.get("close_seconds", 0)) + _SPARE_SECONDS

    @property
    def _drain(self) -> dict[str, float]:
        """What is to be otherwise about how it stops."""
        drain: dict[str, float | None] = self.settings.get("drain") or {}
        return {key: seconds for key, seconds in drain.items() if seconds is not None}

    @property
    def autoscaled(self) -> bool:
        return self.max_replicas > self.min_replicas

    @property
    def reads_cluster(self) -> bool:
        """Whether the gateway itself speaks to the API server."""
        return self.mode is not Mode.GATEWAY

    @property
    def has_https(self) -> bool:
        return self.reads_cluster or bool(self.tls_secret)

    @property
    def has_internal(self) -> bool:
        """Whether there is a Service for callers inside the cluster alone."""
        return self.mode is Mode.KNATIVE

    @property
    def internal_name(self) -> str:
        return f"{self.name}-internal"

    @property
    def routes_name(self) -> str:
        """The ConfigMap with routes. It is the user's: never part of the manifests."""
        return f"{self.name}-routes"

    @property
    def lease_name(self) -> str:
        """The Lease whose holder writes statuses. The gateway makes it."""
        return f"{self.name}-{self.mode.value}"

    @property
    def own_namespace(self) -> bool:
        """Whether the namespace is for gateways alone."""
        return self.namespace == DEFAULT_NAMESPACE

    @property
    def beside_knative(self) -> bool:
        """Whether the namespace is that of Knative Serving, which is not ours to make."""
        return self.mode is Mode.KNATIVE and self.namespace == self.knative_namespace

    @property
    def command(self) -> str:
        """What installs it, as far as names tell."""
        usual = default_namespace(self.mode, self.knative_namespace)
        told = (
            ("name", self.name, DEFAULT_NAME),
            ("namespace", self.namespace, usual),
            ("knative-namespace", self.knative_namespace, DEFAULT_KNATIVE_NAMESPACE),
        )
        flags = "".join(f" --{option} {value}" for option, value, default in told if value != default)
        return f"daemun install {self.mode.value}{flags}"

    @property
    def met_in(self) -> str:
        """The namespace in which there may be another gateway to mind; "": in any."""
        return "" if self.reads_cluster else self.namespace

    def meets(self, mode: str, name: str) -> bool:
        """Whether a gateway of this mode and name, in another namespace, serves the same objects."""
        if mode != self.mode.value or self.mode is Mode.GATEWAY:
            return False
        return self.mode is Mode.KNATIVE or name == self.name

    @property
    def cluster_name(self) -> str:
        """Of what has no namespace: two installations in one cluster do not meet."""
        return f"{self.namespace}:{self.name}"

    @property
    def ingress_class(self) -> str:
        """What Ingresses call this gateway: its name."""
        return self.name

    @property
    def controller(self) -> str:
        """What its IngressClass names: gateways of different names do not serve each other's Ingresses."""
        return CONTROLLER if self.name == DEFAULT_NAME else f"{CONTROLLER}-{self.name}"

    @property
    def selector(self) -> dict[str, str]:
        """Labels of the gateway's Pods. They never change, as a Deployment's selector cannot."""
        return {"app.kubernetes.io/name": "daemun", INSTANCE_LABEL: self.name}

    @property
    def labels(self) -> dict[str, str]:
        """Labels of everything that is installed."""
        return {
            **self.selector,
            MODE_LABEL: self.mode.value,
            **OURS,
        }
