"""From a request's path to the names below the root that it stands for, or a refusal.

Pure functions over bytes. The path is decoded once; a decoded name that could be taken for anything but one
name below the root is refused here, whatever the file system would make of it.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

__all__ = ["MAX_NAMES", "Names", "RefusedPathError", "names_of", "redirect_into"]

MAX_NAMES = 100
"""Depth of a path; each level costs a descriptor while the file is looked up."""

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_QUERY_SAFE = "!$%&'()*+,-./:;=?@_~[]|^`{}\\"


class RefusedPathError(Exception):
    """A path that no file can have; `status` is what the client is told."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"refused with {status}")


class Names(NamedTuple):
    """What a path stands for."""

    names: tuple[bytes, ...]
    """Names of folders and, last, of a file, each valid UTF-8; none for the root itself."""
    folder: bool
    """The path ended in a slash: only a folder will do."""


def names_of(path: bytes, *, well_known: bool) -> Names:
    """The names that `path` stands for.

    Raises `RefusedPathError`: 400 for a malformed escape or a NUL, 404 for whatever is not a plain name:
    empty, with a slash or backslash in it, or not UTF-8; 404 too for names that begin with a dot, except a
    first `.well-known`.
    """
    escaped = b"%" in path
    if escaped and _BAD_ESCAPE.search(path):
        raise RefusedPathError(400)
    inner = path.removeprefix(b"/")
    folder = inner.endswith(b"/") or not inner
    if not inner:
        return Names((), folder)
    raw = inner.removesuffix(b"/").split(b"/")
    if len(raw) > MAX_NAMES:
        raise RefusedPathError(404)
    names = tuple(map(unquote_to_bytes, raw)) if escaped else tuple(raw)
    for place, name in enumerate(names):
        if b"\0" in name:
            raise RefusedPathError(400)
        if not name or b"/" in name or b"\\" in name or not _is_utf8(name):
            raise RefusedPathError(404)
        if name[0] == 0x2E and not (well_known and place == 0 and name == b".well-known"):
            raise RefusedPathError(404)
    return Names(names, folder)


def redirect_into(name: bytes, query: bytes) -> bytes:
    """A `Location` that leads from `…/name` to `…/name/`, query kept.

    It is relative, so a prefix that the route took away stays, and begins with `./`, so that a name can be
    neither a scheme (`a:b`) nor a host (`//b`).
    """
    location = b"./" + quote_from_bytes(name, safe="").encode() + b"/"
    if query:
        location += b"?" + quote_from_bytes(query, safe=_QUERY_SAFE).encode()
    return location


def _is_utf8(name: bytes) -> bool:
    if name.isascii():
        return True
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
