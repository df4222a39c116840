"""Static files: the back end `static` serves a folder.

settings        what may be set
serve           the handler: from a request to a response
resolve         from a request's path to names, or a refusal; touches no file
beneath         from names to a file below the root, and to nothing else
content         bytes of a file: small ones kept in memory, large ones read as they are sent
conditional     validators, and what a conditional request is answered with (RFC 9110 §13)
ranges          which bytes a `Range` asks for (RFC 9110 §14)
negotiate       what `Accept` and `Accept-Encoding` allow (RFC 9110 §12.5)
refuse          answers that are not a file
content_types   from a file's name to its `Content-Type`, the same on every machine
"""

from __future__ import annotations

from collections.abc import Iterable

from daemun import BackendType, hookimpl
from daemun_static.serve import build
from daemun_static.settings import StaticSettings

__all__ = ["StaticSettings", "daemun_backends"]


@hookimpl
def daemun_backends() -> Iterable[BackendType]:
    """The back end `static`."""
    return [BackendType(name="static", settings=StaticSettings, build=build)]
