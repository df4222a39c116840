"""What the sources `file` and `inline` can be told."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from daemun_file.document import inlined_schema

__all__ = ["FileSettings", "InlineSettings"]


class FileSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the source `file`."""

    paths: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(min_length=1, description="Files, folders and patterns, relative to the settings file."),
    ]
    watch: Annotated[bool, Meta(description="Whether changes are seen at once; SIGHUP reads again in any case.")] = True
    recursive: Annotated[bool, Meta(description="Whether folders in folders are read too.")] = False
    max_file_bytes: Annotated[int, Meta(ge=1, le=1 << 30, description="A larger file is refused.")] = 16 * 1024 * 1024


class InlineSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the source `inline`: a document of routes, whose objects the source decodes one by one."""

    backends: Annotated[dict[str, Any], Meta(extra_json_schema=inlined_schema("backends"))] = {}
    """Back ends by name."""
    routes: Annotated[tuple[Any, ...], Meta(extra_json_schema=inlined_schema("routes"))] = ()
    """Routes, the earlier one first where nothing else decides."""
