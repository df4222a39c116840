"""Answers that are not a file: which status an error of the file system means, and its small text."""

from __future__ import annotations

import errno
from http import HTTPStatus

from daemun import Buffered, ExchangeError, Headers, NoContent, Reason, Request, Response

__all__ = ["refusal", "status_of_error"]

_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EINVAL}
_FORBIDDEN = {errno.EACCES, errno.EPERM}
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_TEXT: Headers = ((b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"))


def refusal(request: Request, status: int, *fields: tuple[bytes, bytes]) -> Response:
    """A text of one line that names `status`, with `fields`."""
    text = f"{HTTPStatus(status).phrase.lower()}\n".encode()
    return Response(status, (*_TEXT, *fields), NoContent(len(text)) if request.method == b"HEAD" else Buffered(text))


def status_of_error(error: OSError) -> int:
    """404 or 403. Raises `ExchangeError` where not the request is at fault: 503 if the process is out of
    descriptors or memory, else 500."""
    if error.errno in _MISSING:
        return 404
    if error.errno in _FORBIDDEN:
        return 403
    if error.errno in _EXHAUSTED:
        raise ExchangeError(Reason.OVERLOADED, "no resources to open a file", retry_after_seconds=1) from error
    raise ExchangeError(Reason.PLUGIN_FAULT, "the file system failed") from error
