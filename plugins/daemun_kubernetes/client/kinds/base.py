"""What all objects have, and how a kind of them is read and addressed.

Fields have the names of the API in our spelling (`cluster_ip` is `clusterIP`). What is not modelled is skipped; what is
null is as if it were not there: Go writes `null` for a list without items.
"""

from __future__ import annotations

from functools import cache
from typing import Generic, Protocol, TypeVar, cast
from urllib.parse import quote

import msgspec
from msgspec.json import Decoder

from daemun_kubernetes.client.nulls import without_nulls

__all__ = ["Condition", "Kind", "KubeObject", "Metadata", "ObjectReference", "OwnerReference", "Wire"]


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all: camel case in JSON, and nothing said that is a default."""


class OwnerReference(Wire, frozen=True):
    """Whose child an object is."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class Metadata(Wire, frozen=True):
    """What every object has. Times are RFC 3339; "" where there is none."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()


class KubeObject(Protocol):
    """What is kept in a cluster: any struct with `metadata`."""

    @property
    def metadata(self) -> Metadata: ...


T = TypeVar("T", bound=KubeObject)


class Kind(msgspec.Struct, Generic[T], frozen=True):
    """A kind of object: `Kind("Lease", "coordination.k8s.io/v1", "leases", Lease)`."""

    kind: str
    api_version: str
    plural: str
    type: type[T]
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; "" for the core."""
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """Its name in rules of RBAC and for kubectl: `leases.coordination.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Where the API server has it; without `name` the collection, without `namespace` of all namespaces."""
        parts = ["apis" if self.group else "api", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(parts)

    def decode(self, data: bytes | msgspec.Raw) -> T:
        """The object that `data` is the JSON of. Raises `msgspec.DecodeError` that names the place."""
        try:
            return cast("Decoder[T]", _decoder(self.type)).decode(data)
        except msgspec.ValidationError:  # perhaps only for a null
            return msgspec.convert(without_nulls(msgspec.json.decode(data)), self.type)


@cache
def _decoder(kind: type[T]) -> Decoder[T]:
    return Decoder(kind)


class Condition(Wire, frozen=True):
    """One thing that is so, is not so, or is unknown."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


class ObjectReference(Wire, frozen=True):
    """Another object."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""
