"""What a source publishes: routes, back ends, certificates and the snapshot that holds them.

Sources decide precedence: `priority` first, then the order in which they list their routes. The core adds no
rule of its own, because the dialects disagree (Ingress, Gateway API, KIngress, Envoy).
"""

from __future__ import annotations

import enum
from typing import Annotated, Any

from msgspec import Meta, Struct

__all__ = [
    "BackendSpec",
    "CertificateSpec",
    "EndpointSpec",
    "FilterSpec",
    "Forward",
    "HeaderEdit",
    "HostKind",
    "HostMatch",
    "MatcherSpec",
    "ObjectStatus",
    "PathKind",
    "PathMatch",
    "Redirect",
    "Respond",
    "Retries",
    "RouteSpec",
    "Snapshot",
    "Split",
    "ValueKind",
    "ValueMatch",
]


class HostKind(enum.Enum):
    """How a host is compared. Ports are not compared."""

    EXACT = "exact"
    """The same host."""
    ONE_LABEL = "one_label"
    """`*.example.com` takes `a.example.com`, not `a.b.example.com` (Ingress)."""
    ANY_DEPTH = "any_depth"
    """`*.example.com` takes both (Gateway API, KIngress)."""
    ANY = "any"
    """Every host, and requests without one."""


class HostMatch(Struct, frozen=True):
    """A host to match; `value` is lower-case and without `*.` for wildcards, "" for ANY."""

    kind: HostKind
    """How it is compared."""
    value: str = ""


class PathKind(enum.Enum):
    """How a path is compared; the query never takes part."""

    EXACT = "exact"
    """The same path."""
    RAW_PREFIX = "raw_prefix"
    """`/ab` takes `/abc` (KIngress)."""
    SEGMENT_PREFIX = "segment_prefix"
    """`/ab` takes `/ab` and `/ab/c`, not `/abc` (Ingress `Prefix`)."""
    REGEX = "regex"
    """Must match the whole path; Python's `re` syntax."""


class PathMatch(Struct, frozen=True):
    """A path to match."""

    kind: PathKind = PathKind.SEGMENT_PREFIX
    """How it is compared."""
    value: str = "/"
    """The path, its beginning, or a pattern."""


class ValueKind(enum.Enum):
    """How a field's or a parameter's value is compared."""

    EXACT = "exact"
    """The same value."""
    PREFIX = "prefix"
    """Begins with it."""
    REGEX = "regex"
    """Must match the whole value."""
    PRESENT = "present"
    """Any value."""
    ABSENT = "absent"
    """The field or parameter is not there."""


class ValueMatch(Struct, frozen=True):
    """A header field (its name in any case) or a query parameter to match."""

    name: str
    """Of the field or parameter."""
    kind: ValueKind = ValueKind.PRESENT
    """How the value is compared."""
    value: str = ""
    """What it is compared with; nothing for PRESENT and ABSENT."""


class HeaderEdit(Struct, frozen=True, forbid_unknown_fields=True):
    """Changes to fields: first `remove`, then `set` (exactly one), then `add`. Names in any case."""

    set: dict[str, str] = {}
    add: dict[str, str] = {}
    remove: tuple[str, ...] = ()


class FilterSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A filter of a route: the name of a `FilterType` and its settings, still undecoded."""

    type: str
    """Name of the `FilterType`."""
    settings: dict[str, Any] = {}
    """Its settings."""


class MatcherSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A condition on a request's content: the name of a `MatcherType` and its settings, still undecoded."""

    type: str
    """Name of the `MatcherType`."""
    settings: dict[str, Any] = {}
    """Its settings."""


class Split(Struct, frozen=True):
    """A share of a route's traffic. Shares are relative to the sum of all weights."""

    backend: str
    """Name of a `BackendSpec` of the same source."""
    weight: int = 1
    """0: nothing is sent there."""
    request_headers: HeaderEdit = HeaderEdit()
    """Changes to the fields of requests that are sent there."""


class Retries(Struct, frozen=True, forbid_unknown_fields=True):
    """When a request is sent again. Never after the first byte of a response was seen, never for a method that
    is not idempotent once a byte was sent, never with a body that was streamed."""

    attempts: Annotated[int, Meta(ge=0, le=10, description="Further tries after the first.")] = 0
    on_status: tuple[int, ...] = ()
    """Statuses that count as failures, such as 502 and 503."""
    per_try_timeout_seconds: Annotated[float, Meta(ge=0, description="Limit of one try; 0: none.")] = 0.0
    backoff_seconds: Annotated[float, Meta(ge=0, description="Base of the jittered pause between tries.")] = 0.025


class Forward(Struct, frozen=True, tag="forward"):
    """Sends the request to one of the splits, picked by weight for each request."""

    splits: tuple[Split, ...]
    """At least one."""
    retries: Retries = Retries()
    """Whether a request that failed is sent again."""


class Redirect(Struct, frozen=True, tag="redirect"):
    """Answers with a `Location`; "" keeps what the request had."""

    scheme: str = ""
    """`http` or `https`."""
    host: str = ""
    """Host, with or without a port."""
    port: int = 0
    """0: none is written, if another part of the authority changes."""
    path: str = ""
    """Replaces the path."""
    prefix: str = ""
    """Replaces the matched prefix of the path, if the route matches by prefix."""
    status: int = 302
    """Its status: 301, 302, 303, 307 or 308."""
    strip_query: bool = False
    """Leaves the query away."""


class Respond(Struct, frozen=True, tag="respond"):
    """A fixed response."""

    status: int = 200
    """Its status."""
    body: bytes = b""
    """Its content, as it is."""
    headers: tuple[tuple[str, str], ...] = ()
    """Its fields; the length is added."""


class RouteSpec(Struct, frozen=True):
    """One route: what it matches, and what is done with it."""

    name: str
    """Unique within its source; shown by `daemun routes`, logs and metrics."""
    action: Forward | Redirect | Respond
    """What is done with a request."""
    hosts: tuple[HostMatch, ...] = (HostMatch(HostKind.ANY),)
    """One of them must match."""
    path: PathMatch = PathMatch()
    """Must match."""
    methods: tuple[str, ...] = ()
    """Upper-case, one of them; empty: all."""
    headers: tuple[ValueMatch, ...] = ()
    """All of them must match."""
    query: tuple[ValueMatch, ...] = ()
    """All of them must match."""
    matchers: tuple[MatcherSpec, ...] = ()
    """Conditions on the content, asked last. If one fails the next route that matches is tried."""
    listeners: tuple[str, ...] = ()
    """Names of the listeners that serve it; empty: all."""
    priority: int = 0
    """Higher wins; equal ones in the order of the source."""
    rewrite_host: str = ""
    """Replaces the host; "": it stays."""
    rewrite_path: str = ""
    """Replaces the path, query kept."""
    rewrite_prefix: str | None = None
    """Replaces the matched prefix."""
    request_headers: HeaderEdit = HeaderEdit()
    """Changes to the fields of the request, after the filters."""
    response_headers: HeaderEdit = HeaderEdit()
    """Changes to the fields of the response."""
    timeout_seconds: float = 0.0
    """From the request's head to the end of the response; 0: none, which is the default on purpose."""
    filters: tuple[FilterSpec, ...] = ()
    """In any order: their phases decide, then `before` and `after`, then this list."""
    origin: str = ""
    """Where it was defined, for people: `routes.yaml#hello`."""


class EndpointSpec(Struct, frozen=True):
    """An address that can answer."""

    address: str
    """`host:port`, `[v6]:port` or `unix:/path`."""
    protocol: str = "http1"
    """Name of the wire protocol spoken there; chosen by the source, never guessed."""
    tls: bool = False
    """Whether TLS is spoken there; the certificate is verified."""
    server_name: str = ""
    """Name for SNI and certificate; "": the host of the address."""
    weight: int = 1
    """Its share of requests relative to the others; 0: none."""
    capacity: int = 0
    """Exchanges it takes at once (container concurrency); 0: no limit."""


class BackendSpec(Struct, frozen=True):
    """Something that answers, by name: a set of endpoints, or a back end of another type."""

    name: str
    """Unique within its source; splits name it."""
    type: str = "endpoints"
    """`endpoints`, or the name of a `BackendType`."""
    settings: dict[str, Any] = {}
    """Settings of that type, still undecoded; for `endpoints` see `EndpointsSettings`."""
    endpoints: tuple[EndpointSpec, ...] = ()
    """Where requests are sent, for back ends of the type `endpoints`."""
    activator: str = ""
    """Name of the `ActivatorType` that makes endpoints when there are none; "": none."""
    activation: dict[str, Any] = {}
    """Settings of the activator, still undecoded."""
    origin: str = ""
    """Where it was defined, for people."""


class CertificateSpec(Struct, frozen=True):
    """A certificate that listeners with TLS present to those who ask for one of its hosts (SNI, RFC 6066 §3)."""

    name: str
    """Unique within its source."""
    hosts: tuple[str, ...]
    """Lower-case; `*.example.com` takes one label. None: whoever asks for a host that nobody else has, or for none."""
    certificate: str
    """The chain in PEM, the leaf first."""
    key: str
    """Its key in PEM, unencrypted. It is in no message and in no `repr`."""
    listeners: tuple[str, ...] = ()
    """Names of the listeners that present it; empty: all with TLS."""
    origin: str = ""
    """Where it was defined, for people."""

    def __repr__(self) -> str:
        return f"CertificateSpec(name={self.name!r}, hosts={self.hosts!r}, origin={self.origin!r})"


class ObjectStatus(Struct, frozen=True):
    """What became of one object of a snapshot."""

    kind: str
    """`route`, `backend`, `certificate`, or the source's own word."""
    name: str
    """The object's name."""
    origin: str = ""
    """Where it was defined, for people."""
    error: str = ""
    """Why it was refused; "": it is in use."""


class Snapshot(Struct, frozen=True):
    """Everything a source has to say at one moment. Publishing it replaces the source's last one."""

    routes: tuple[RouteSpec, ...] = ()
    """In the order of precedence, where their `priority` is equal."""
    backends: tuple[BackendSpec, ...] = ()
    """What the routes' splits name."""
    refused: tuple[ObjectStatus, ...] = ()
    """Objects that the source itself could not read."""
    certificates: tuple[CertificateSpec, ...] = ()
    """On one name and listener the first wins, and sources in the order of the settings."""
