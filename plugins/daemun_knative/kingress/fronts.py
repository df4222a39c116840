"""The Services in front of the gateway: by which name the cluster knows them, and which replicas are behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from daemun_knative.kingress.claims import Key
from daemun_knative.kingress.settings import KnativeSettings
from daemun_kubernetes import ServiceView

__all__ = ["Fronts", "cluster_domain"]


class Fronts:
    """The external Service and the internal one; either may be missing."""

    def __init__(self, settings: KnativeSettings, own_namespace: str, services: ServiceView) -> None:
        self._services = services
        self._keys = {
            external: _key(name, own_namespace)
            for external, name in ((True, settings.external_service), (False, settings.internal_service))
        }
        domain = settings.cluster_domain or cluster_domain()
        self.public, self.private = (
            f"{key[1]}.{key[0]}.svc.{domain}" if key is not None else "" for key in self._keys.values()
        )

    @property
    def keys(self) -> set[Key]:
        """Namespace and name of those that there are."""
        return {key for key in self._keys.values() if key is not None}

    def has(self, external: bool) -> bool:
        """Whether there is an external Service, or an internal one."""
        return self._keys[external] is not None

    def gateways(self, external: bool, tls: bool) -> Sequence[str]:
        """The addresses of all replicas that have traffic."""
        key = self._keys[external]
        if key is None:
            return ()
        resolved = self._services.backend(*key, 443 if tls else 80)
        return [endpoint.address for endpoint in resolved.spec.endpoints] if resolved.spec is not None else ()


def _key(name: str, own_namespace: str) -> Key | None:
    if not name:
        return None
    namespace, slash, rest = name.partition("/")
    return (namespace, rest) if slash else (own_namespace, name)


def cluster_domain(file: Path = Path("/etc/resolv.conf")) -> str:
    """As kubelet says it to a Pod: among the domains that are searched is `svc.` and the cluster's own."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        words = line.split()
        for word in words[1:] if words[:1] == ["search"] else ():
            if word.startswith("svc.") and len(word) > 4:
                return word[4:].rstrip(".")
    return "cluster.local"
