"""Knative Services. Here is the half that needs no cluster: manifests in files, run as local processes.

manifest    the fields of a Service, used, ignored or refused
validate    what Knative's webhook refuses, and the parts of a valid Service
translate   a Service as a route and a back end that is started on demand
source      the source `knative_files`, on the reader and watcher of `daemun_file`
command     `daemun demo`
demo/       the hello-world server, its manifest, and settings that run it
"""

import click

from daemun import SourceType, hookimpl
from daemun_knative.command import demo
from daemun_knative.settings import KnativeFilesSettings
from daemun_knative.source import open_knative_files

__all__ = ["KnativeFilesSettings"]


@hookimpl
def daemun_sources() -> list[SourceType]:
    return [SourceType("knative_files", KnativeFilesSettings, open_knative_files)]


@hookimpl
def daemun_commands() -> list[click.Command]:
    return [demo]
