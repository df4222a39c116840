"""What may be set for a folder that is served."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["Extension", "FieldValue", "FileName", "StaticSettings"]

FieldValue = Annotated[str, Meta(pattern=r"^[ -~]*$(?!\n)")]
"""What may stand in a header field. The look-ahead is there because `$` alone lets a last line break pass."""

FileName = Annotated[str, Meta(pattern=r"^[^./\\\x00][^/\\\x00]*$(?!\n)")]

Extension = Annotated[str, Meta(pattern=r"^\.[^./]+$(?!\n)")]


class StaticSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the back end `static`."""

    root: Annotated[
        str,
        Meta(min_length=1, description="Folder to serve; a relative one starts at the settings file's folder."),
    ]
    index: Annotated[
        tuple[FileName, ...],
        Meta(
            max_length=8,
            description="Names tried in this order when a folder is asked for; a folder is never listed.",
        ),
    ] = ("index.html",)
    fallback: Annotated[
        str,
        Meta(description="File below the root for navigations to what is not there (single-page apps)."),
    ] = ""
    precompressed: Annotated[
        tuple[Literal["br", "gzip", "zstd"], ...],
        Meta(description="Encodings looked for beside a file (`.br`, `.gz`, `.zst`), the preferred one first."),
    ] = ("br", "gzip")
    cache_control: Annotated[
        FieldValue | dict[str, FieldValue],
        Meta(description="`Cache-Control` of all files, or by patterns of which the first match counts."),
    ] = ""
    content_types: Annotated[
        dict[Extension, FieldValue],
        Meta(description="Content types by extension (`.abc`), over the built-in table."),
    ] = {}
    serve_well_known: Annotated[
        bool,
        Meta(description="Serves `/.well-known`; any other name that begins with a dot is never served."),
    ] = True
    follow_symlinks_outside: Annotated[
        bool,
        Meta(description="Follows symbolic links that leave the root; those that stay in it always work."),
    ] = False
    look_up_in_thread: Annotated[
        bool, Meta(description="Touches files in threads only: for network file systems, which can hang.")
    ] = False
    threads: Annotated[
        int, Meta(ge=1, le=256, description="Threads that may read files at once, of this back end.")
    ] = 16
    small_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1_048_576,
            description="Files up to this size are read at once and may be kept in memory.",
        ),
    ] = 65_536
    kept_bytes: Annotated[
        int,
        Meta(ge=0, le=1_073_741_824, description="Memory for the contents of small files; 0: none are kept."),
    ] = 16_777_216
    max_ranges: Annotated[
        int,
        Meta(ge=0, le=100, description="Ranges answered in one response; with more, the whole file is sent."),
    ] = 16
