"""The access log: the observer `accesslog` writes a line for each exchange.

settings   what may be set
names      the fields that can be chosen, and the header fields that are never logged
record     what is kept of an exchange until its line is made, and many of them column by column
columns    from a column of kept values to what is written
formats    from records to lines: JSON, Common Log Format, combined
sink       where lines go: a file or a stream, its errors, its reopening; blocking, for a thread
writer     the task that formats and writes, and the bounded backlog that it empties
losses     what the gateway's own log says about lines that were lost
observer   the request path: which exchanges are logged, and what is kept of them
"""

from __future__ import annotations

from collections.abc import Iterable

from daemun import ObserverType, hookimpl
from daemun_accesslog.observer import build
from daemun_accesslog.settings import AccessLogSettings

__all__ = ["AccessLogSettings", "daemun_observers"]


@hookimpl
def daemun_observers() -> Iterable[ObserverType]:
    """The observer `accesslog`."""
    return [ObserverType(name="accesslog", settings=AccessLogSettings, build=build)]
