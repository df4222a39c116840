"""An observer that counts exchanges and shows the counts to Prometheus, summed over all workers.

settings     what may be set
build        imports what the rest needs, where an observer is used and not before
service      such an observer: cells, scrapes and listener put together
observer     what each exchange pays: a look-up and a few additions
families     every metric: its name, its labels, and where its numbers are
label_sets   from labels to cells, never more than allowed
cells        the numbers of a single worker, in memory
record_file  the numbers of one of several workers as bytes; reading them back whatever happened to them
shared       such a file, mapped into memory, owned by one worker and inherited by its successor
workers      what the files of all workers say together, and which of the workers live
gauges       what is true now and not counted
exposition   from numbers to text, by prometheus-client
admin        the small HTTP server that gives it away
"""

from __future__ import annotations

from collections.abc import Iterable

from daemun import ObserverType, hookimpl
from daemun_prometheus.build import build
from daemun_prometheus.settings import PrometheusSettings

__all__ = ["PrometheusSettings", "daemun_observers"]


@hookimpl
def daemun_observers() -> Iterable[ObserverType]:
    """The observer `prometheus`."""
    return [ObserverType(name="prometheus", settings=PrometheusSettings, build=build)]
