"""gRPC over HTTP/2: a dialect, bridges to it from gRPC-Web and Connect, filters for its messages, and a health check.

status.py     codes, and what HTTP and our own errors are among them; timeout.py the time that a client gives
messages.py   the framing; passing.py shows content on its way to those who count
answer.py     an answer that ends in a status, whatever the upstream said
dialect.py    `grpc`: deadlines, answers, errors
web.py        `grpc-web`: its dialect and its filter; base64_stream.py its text mode
connect.py    `connect`: the same; connect_forms.py, connect_requests.py, connect_answers.py, connect_errors.py its
              parts, details.py what an error carries
cors.py       pages of other origins; leaving.py clients that leave
limits.py     `grpc-limits`, stats.py `grpc-stats`, settings.py what may be set for filters
health.py     `grpc` as a health check
calls.py      a call as facts, for observers
"""

from __future__ import annotations

from collections.abc import Iterable

from daemun import Dialect, FilterType, HealthCheckType, hookimpl
from daemun_grpc.calls import GRPC_CALL, Call, call_of
from daemun_grpc.connect import CONNECT, CONNECT_FILTER
from daemun_grpc.dialect import GRPC
from daemun_grpc.health import GRPC_HEALTH
from daemun_grpc.limits import LIMITS_FILTER
from daemun_grpc.stats import STATS_FILTER
from daemun_grpc.status import Code
from daemun_grpc.web import GRPC_WEB, WEB_FILTER

__all__ = ["GRPC_CALL", "Call", "Code", "call_of", "daemun_dialects", "daemun_filters", "daemun_health_checks"]


@hookimpl
def daemun_dialects() -> Iterable[Dialect]:
    """gRPC-Web before gRPC, whose content type begins like it."""
    return [GRPC_WEB, CONNECT, GRPC]


@hookimpl
def daemun_filters() -> Iterable[FilterType]:
    return [WEB_FILTER, CONNECT_FILTER, LIMITS_FILTER, STATS_FILTER]


@hookimpl
def daemun_health_checks() -> Iterable[HealthCheckType]:
    return [GRPC_HEALTH]
