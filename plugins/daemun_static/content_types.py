"""From a file's name to its `Content-Type`, the same on every machine: the host's mime files are not asked.

Our own table goes over the one that is built into Python, and holds what that one lacks, calls otherwise in
some versions, or what a browser is strict about.
"""

from __future__ import annotations

from collections.abc import Mapping
from mimetypes import MimeTypes

__all__ = ["ContentTypes"]

_OURS = {
    ".7z": "application/x-7z-compressed",
    ".aac": "audio/aac",
    ".apng": "image/apng",
    ".avif": "image/avif",
    ".br": "application/octet-stream",
    ".bz2": "application/x-bzip2",
    ".cjs": "text/javascript",
    ".css": "text/css",
    ".csv": "text/csv",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".gz": "application/gzip",
    ".htm": "text/html",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".jxl": "image/jxl",
    ".log": "text/plain",
    ".m4a": "audio/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mkv": "video/x-matroska",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".rss": "application/rss+xml",
    ".atom": "application/atom+xml",
    ".svg": "image/svg+xml",
    ".tgz": "application/gzip",
    ".toml": "application/toml",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".vtt": "text/vtt",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xml": "application/xml",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
    ".zst": "application/zstd",
}


class ContentTypes:
    """The table of one back end, with the settings' own entries (`.ext` to type) over all others."""

    __slots__ = ("_types",)

    def __init__(self, own: Mapping[str, str] = {}) -> None:
        builtin = MimeTypes().types_map[True]  # an instance starts from the table in Python's source alone
        table = {**builtin, **_OURS}
        charset = {extension: _with_charset(kind) for extension, kind in table.items()}
        charset.update((extension.lower(), kind) for extension, kind in own.items())
        self._types = {extension.encode(): kind.encode() for extension, kind in charset.items()}

    def of(self, name: bytes) -> bytes:
        """The type of the file `name`, by its last extension in any case."""
        return self._types.get(_extension(name), b"application/octet-stream")

    def knows(self, name: bytes) -> bool:
        """Whether `name` has an extension of the table, as files have and routes of an application do not."""
        return _extension(name) in self._types


def _extension(name: bytes) -> bytes:
    place = name.rfind(b".")
    return name[place:].lower() if place > 0 else b""


def _with_charset(kind: str) -> str:
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
