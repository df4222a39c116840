"""daemun: a gateway made of plugins. These are the names that a plugin author imports.

message, handler, exchange   what flows: Request, Response, Body; Handler, Layer; Exchange
errors                       what goes wrong, and who failed
hookspecs, extend            how a plugin registers what it brings
routing.spec                 what a source publishes
transport, downstream        what a wire protocol works with: Stream, Connection
settings, process            a gateway from a file: load_settings, serve
"""

from daemun.dates import http_date
from daemun.downstream.forwarded import IDENTITY_FIELDS
from daemun.downstream.render import render
from daemun.errors import DaemunError, ExchangeError, PluginError, Reason, Retry, SettingsError, Side
from daemun.exchange import Exchange, Peer
from daemun.extend.checks import CheckType, Finding, Severity
from daemun.extend.endpoints import (
    Activator,
    ActivatorContext,
    ActivatorType,
    Balancer,
    BalancerType,
    HealthCheck,
    HealthCheckType,
)
from daemun.extend.failure import DisableAfter, FailurePolicy
from daemun.extend.observe import GatewayView, Observer, ObserverContext, ObserverType, Worker
from daemun.extend.sources import Applied, Publish, Source, SourceContext, SourceType
from daemun.extend.types import (
    BackendContext,
    BackendType,
    Dialect,
    FilterContext,
    FilterType,
    Matcher,
    MatcherContext,
    MatcherType,
    NoSettings,
    Peek,
    Phase,
)
from daemun.extend.wire import Connection, Sniff, WireProtocol
from daemun.handler import Handler, Layer, compose
from daemun.headers import Headers, header, header_values
from daemun.hookspecs import hookimpl
from daemun.message import EMPTY, Body, Buffered, NoContent, Request, Response
from daemun.process.info import GatewayInfo, ListenerInfo
from daemun.process.serve import serve
from daemun.routing.spec import (
    BackendSpec,
    CertificateSpec,
    EndpointSpec,
    FilterSpec,
    Forward,
    HeaderEdit,
    HostKind,
    HostMatch,
    MatcherSpec,
    ObjectStatus,
    PathKind,
    PathMatch,
    Redirect,
    Respond,
    Retries,
    RouteSpec,
    Snapshot,
    Split,
    ValueKind,
    ValueMatch,
)
from daemun.scopes import Scope
from daemun.settings import Settings, load_settings
from daemun.stash import Stash, StashKey
from daemun.targets import normal_authority, normal_origin, normal_target
from daemun.transport.stream import Stream
from daemun.transport.timers import Timer, Timers
from daemun.transport.waker import Waker, new_waker, waker_factory
from daemun.upstream.connection import UpstreamConnection
from daemun.upstream.endpoints import Endpoint, Endpoints
from daemun.watching import watch_folders

__all__ = [
    "EMPTY",
    "IDENTITY_FIELDS",
    "Activator",
    "ActivatorContext",
    "ActivatorType",
    "Applied",
    "BackendContext",
    "BackendSpec",
    "BackendType",
    "Balancer",
    "BalancerType",
    "Body",
    "Buffered",
    "CertificateSpec",
    "CheckType",
    "Connection",
    "DaemunError",
    "Dialect",
    "DisableAfter",
    "Endpoint",
    "EndpointSpec",
    "Endpoints",
    "Exchange",
    "ExchangeError",
    "FailurePolicy",
    "FilterContext",
    "FilterSpec",
    "FilterType",
    "Finding",
    "Forward",
    "GatewayInfo",
    "GatewayView",
    "Handler",
    "HeaderEdit",
    "Headers",
    "HealthCheck",
    "HealthCheckType",
    "HostKind",
    "HostMatch",
    "Layer",
    "ListenerInfo",
    "Matcher",
    "MatcherContext",
    "MatcherSpec",
    "MatcherType",
    "NoContent",
    "NoSettings",
    "ObjectStatus",
    "Observer",
    "ObserverContext",
    "ObserverType",
    "PathKind",
    "PathMatch",
    "Peek",
    "Peer",
    "Phase",
    "PluginError",
    "Publish",
    "Reason",
    "Redirect",
    "Request",
    "Respond",
    "Response",
    "Retries",
    "Retry",
    "RouteSpec",
    "Scope",
    "Settings",
    "SettingsError",
    "Severity",
    "Side",
    "Snapshot",
    "Sniff",
    "Source",
    "SourceContext",
    "SourceType",
    "Split",
    "Stash",
    "StashKey",
    "Stream",
    "Timer",
    "Timers",
    "UpstreamConnection",
    "ValueKind",
    "ValueMatch",
    "Waker",
    "WireProtocol",
    "Worker",
    "compose",
    "header",
    "header_values",
    "hookimpl",
    "http_date",
    "load_settings",
    "new_waker",
    "normal_authority",
    "normal_origin",
    "normal_target",
    "render",
    "serve",
    "waker_factory",
    "watch_folders",
]
