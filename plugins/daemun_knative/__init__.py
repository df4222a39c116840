"""Knative: its ingress on a cluster, and its Services without one.

services/   `Service` manifests in files, run as local processes: the source `knative_files`, `daemun demo`
kingress/   KIngresses of a cluster: the source `knative`, which takes the place of Kourier, Istio or Gloo under Serving
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from daemun import FilterType, Source, SourceContext, SourceType, hookimpl
from daemun_knative.kingress.filter import PROBE_FILTER
from daemun_knative.kingress.settings import KnativeSettings
from daemun_knative.services.command import demo
from daemun_knative.services.settings import KnativeFilesSettings
from daemun_knative.services.source import open_knative_files

__all__ = ["KnativeFilesSettings", "KnativeSettings"]


@asynccontextmanager
async def _open_knative(settings: KnativeSettings, context: SourceContext) -> AsyncIterator[Source]:
    from daemun_knative.kingress.source import open_knative

    async with open_knative(settings, context) as source:
        yield source


@hookimpl
def daemun_sources() -> list[SourceType]:
    return [
        SourceType("knative", KnativeSettings, _open_knative, patience_seconds=math.inf),
        SourceType("knative_files", KnativeFilesSettings, open_knative_files),
    ]


@hookimpl
def daemun_filters() -> list[FilterType]:
    return [PROBE_FILTER]


@hookimpl
def daemun_commands() -> list[click.Command]:
    return [demo]
