"""What the source `knative_files` can be told."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

__all__ = ["KnativeFilesSettings", "Names", "Seconds"]

Names = tuple[Annotated[str, Meta(min_length=1)], ...]
Seconds = Annotated[float, Meta(ge=0)]


class KnativeFilesSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the source `knative_files`."""

    paths: Annotated[
        Names, Meta(min_length=1, description="Files, folders and patterns, relative to the settings file.")
    ]
    images: Annotated[
        dict[str, dict[str, Any]],
        Meta(
            description="What is run in the place of an image: settings of the activator `process`. A key is "
            "an image, an image without tag, or a pattern; `$PYTHON` in a command is the gateway's own."
        ),
    ] = {}
    domain: Annotated[str, Meta(description="The domain of hosts: name.namespace.domain.")] = "example.com"
    watch: Annotated[bool, Meta(description="Whether changes are seen at once; SIGHUP reads again in any case.")] = True
    recursive: Annotated[bool, Meta(description="Whether folders in folders are read too.")] = False
    max_file_bytes: Annotated[int, Meta(ge=1, le=1 << 30, description="A larger file is refused.")] = 16 * 1024 * 1024
    listeners: Annotated[Names, Meta(description="Listeners that serve public Services; none: all.")] = ()
    https_listeners: Annotated[
        Names,
        Meta(description="Those with TLS, for an Ingress that sends the others there (`httpOption: Redirected`)."),
    ] = ()
    local_listeners: Annotated[
        Names,
        Meta(description="Listeners that serve cluster-local Services; none: such a Service is refused."),
    ] = ()
    services: Annotated[
        dict[str, str],
        Meta(
            description="The URL that stands for a Service that an Ingress refers to: by `namespace/name:port`, or by "
            "`namespace/name` for all of its ports."
        ),
    ] = {}
    allow_commands: Annotated[
        bool,
        Meta(description="Whether a manifest's `command` is run, on this machine, instead of the table's."),
    ] = False
    idle_timeout_seconds: Annotated[
        Seconds | None, Meta(description="For images that do not say it; 0: never stopped.")
    ] = None
    start_timeout_seconds: Annotated[Seconds | None, Meta(description="For images that do not say it.")] = None
    backend_settings: Annotated[
        dict[str, Any], Meta(description="Settings of each Service's back end, as of the type `endpoints`.")
    ] = {}
