"""The handler of one folder: from a request to a response.

A request runs in three steps. *Look up* finds the file and opens it, or takes a kept content: a few system
calls of microseconds each, made on the event loop unless the settings say that the file system may hang.
*Judge* decides by the conditional fields and `Range` what of it is sent. *Send* makes the body: of a small
file a whole one in memory, of a large one a body that reads as it is sent.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from fnmatch import translate
from functools import partial
from secrets import token_hex
from typing import NamedTuple
from urllib.parse import quote

import anyio
from anyio import CapacityLimiter, to_thread

from daemun import (
    BackendContext,
    Body,
    Buffered,
    Handler,
    Headers,
    NoContent,
    Request,
    Response,
    SettingsError,
)
from daemun_static.beneath import Walk
from daemun_static.conditional import Validators, http_date, range_counts, status_of, validators_of
from daemun_static.content import FileBody, SmallFiles, read_small, read_small_at_once
from daemun_static.content_types import ContentTypes
from daemun_static.negotiate import accepts_html, codings_for
from daemun_static.ranges import Span, content_range, multipart, spans_of
from daemun_static.refuse import refusal, status_of_error
from daemun_static.resolve import Names, RefusedPathError, names_of, redirect_into
from daemun_static.settings import StaticSettings

__all__ = ["Chosen", "FileServer", "build"]

_SUFFIXES = {"br": b".br", "gzip": b".gz", "zstd": b".zst"}
_READ_FIELDS = frozenset(
    (
        b"accept",
        b"accept-encoding",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    )
)
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_RANGES = (b"accept-ranges", b"bytes")


@asynccontextmanager
async def build(settings: StaticSettings, context: BackendContext) -> AsyncIterator[Handler]:
    """The handler that serves `settings.root`. Raises `SettingsError` if that is no folder, or a name cannot
    be served."""
    root = await anyio.Path(context.base_dir, settings.root).absolute()
    try:
        is_folder = await root.is_dir()
    except OSError as error:
        raise SettingsError(f"root cannot be reached: {root}: {error.strerror}", path="$.root") from error
    if not is_folder:
        raise SettingsError(f"root is no folder: {root}, expected one that exists", path="$.root")
    try:
        fallback = names_of(quote(settings.fallback).encode(), well_known=settings.serve_well_known)
    except RefusedPathError:
        raise SettingsError(
            f"fallback cannot be served: {settings.fallback!r}, expected a file below the root",
            path="$.fallback",
        ) from None
    yield FileServer(settings, os.fsencode(root), fallback).serve


class Chosen(NamedTuple):
    """What was found for a request: a file, open (`descriptor`) or its kept content (`data`)."""

    facts: os.stat_result
    descriptor: int
    data: bytes | None
    path: Sequence[bytes]
    """Names below the root by which it was found, without the suffix of an encoding."""
    coding: str
    vary: bytes


class FileServer:
    """Serves the files below one folder."""

    def __init__(self, settings: StaticSettings, root: bytes, fallback: Names) -> None:
        self._root = root
        self._settings = settings
        self._index = tuple(name.encode() for name in settings.index)
        self._fallback = fallback.names
        self._vary = b"accept-encoding" if settings.precompressed else b""
        self._vary_of_fallback = b", ".join(filter(None, (self._vary, b"accept")))
        self._vary_of_refusal = ((b"vary", b"accept"),) if fallback.names else ()
        self._types = ContentTypes(settings.content_types)
        self._small = SmallFiles(0 if settings.look_up_in_thread else settings.kept_bytes)
        self._limiter = CapacityLimiter(settings.threads)
        rules = settings.cache_control
        patterns = {"*": rules} if isinstance(rules, str) else rules
        self._cache_control = [
            (re.compile(translate(glob)), (b"cache-control", value.encode()))
            for glob, value in patterns.items()
            if value
        ]

    async def serve(self, request: Request) -> Response:
        """Answers with a file, a redirect to a folder, or a small text that says why not.

        Raises `ExchangeError` (503) when the process is out of descriptors or a file changes while it is
        read, and (500) when the file system fails.
        """
        if request.method not in (b"GET", b"HEAD"):
            return refusal(request, 405, (b"allow", b"GET, HEAD"))
        fields = _fields_of(request.headers)
        try:
            if self._settings.look_up_in_thread:
                chosen = await to_thread.run_sync(self._look_up, request, fields, limiter=self._limiter)
            else:
                chosen = self._look_up(request, fields)
        except RefusedPathError as refused:
            return refusal(request, refused.status)
        except OSError as error:
            return refusal(request, status_of_error(error), *self._vary_of_refusal)
        if isinstance(chosen, Response):
            return chosen
        response: Response | None = None
        try:
            response = await self._respond(request, fields, chosen)
            return response
        finally:
            if chosen.descriptor >= 0 and not (response and isinstance(response.body, FileBody)):
                os.close(chosen.descriptor)

    def _look_up(self, request: Request, fields: Mapping[bytes, bytes]) -> Chosen | Response:
        names, folder = names_of(request.path, well_known=self._settings.serve_well_known)
        walk = Walk(self._root, leave=self._settings.follow_symlinks_outside)
        try:
            try:
                path, facts = self._reach(walk, names, folder=folder)
                if path != names and not folder:
                    return Response(301, ((b"location", redirect_into(names[-1], request.query)),))
            except OSError as error:
                if not self._falls_back(names, fields) or status_of_error(error) != 404:
                    raise
                walk.rewind()
                path, facts = self._reach(walk, self._fallback, folder=False)
            return self._open(walk, path, facts, fields)
        finally:
            walk.close()

    def _reach(self, walk: Walk, names: tuple[bytes, ...], *, folder: bool) -> tuple[tuple[bytes, ...], os.stat_result]:
        """Walks to the file that `names` stand for, or to the index of that folder."""
        facts = walk.descend(names)
        if facts is not None:
            if folder:
                raise NotADirectoryError(errno.ENOTDIR, "a file is no folder")
            return names, facts
        for index in self._index:
            try:
                facts = walk.descend((index,))
            except FileNotFoundError:
                walk.rewind()  # a link that leads nowhere has led away from here
                walk.descend(names)
                continue
            if facts is not None:
                return (*names, index), facts
            raise FileNotFoundError(errno.ENOENT, "the index is a folder")
        raise FileNotFoundError(errno.ENOENT, "a folder without index")

    def _falls_back(self, names: Sequence[bytes], fields: Mapping[bytes, bytes]) -> bool:
        return (
            bool(self._fallback)
            and accepts_html(fields.get(b"accept", b""))
            and not (names and (names[0].startswith(b".") or self._types.knows(names[-1])))
        )

    def _open(self, walk: Walk, path: Sequence[bytes], facts: os.stat_result, fields: Mapping[bytes, bytes]) -> Chosen:
        suffix, coding = b"", ""
        if b"accept-encoding" in fields:
            for liked in codings_for(fields[b"accept-encoding"], self._settings.precompressed):
                beside = walk.beside(_SUFFIXES[liked])
                if beside is not None:
                    facts, suffix, coding = beside, _SUFFIXES[liked], liked
                    break
        vary = self._vary_of_fallback if path == self._fallback else self._vary
        data = self._small.get(facts)
        if data is not None:
            return Chosen(facts, -1, data, path, coding, vary)
        descriptor, facts = walk.open(suffix)
        if self._settings.look_up_in_thread and facts.st_size <= self._settings.small_bytes:
            try:
                return Chosen(facts, -1, read_small(descriptor, facts), path, coding, vary)
            finally:
                os.close(descriptor)
        return Chosen(facts, descriptor, None, path, coding, vary)

    async def _respond(self, request: Request, fields: Mapping[bytes, bytes], chosen: Chosen) -> Response:
        facts = chosen.facts
        size = facts.st_size
        validators = validators_of(
            mtime_ns=facts.st_mtime_ns, ctime_ns=facts.st_ctime_ns, size=size, coding=chosen.coding
        )
        headers = self._headers_of(chosen, validators)
        status = status_of(fields, validators) if fields else 200
        if status == 304:
            return Response(304, tuple(pair for pair in headers if pair[0] not in _NOT_IN_304), NoContent(None))
        if status == 412:
            return refusal(request, 412)
        if request.method == b"HEAD":
            return Response(200, headers, NoContent(size))
        spans: Sequence[Span] | None = None
        if b"range" in fields and range_counts(fields.get(b"if-range"), validators):
            # A multipart content cannot say that only its parts are encoded.
            limit = 1 if chosen.coding else self._settings.max_ranges
            spans = spans_of(fields[b"range"], size, limit=limit)
        if spans is None:
            return Response(200, headers, await self._body_of(chosen, ((0, size),)))
        if not spans:
            return refusal(request, 416, (b"content-range", b"bytes */%d" % size))
        if len(spans) == 1:
            headers = (*headers, (b"content-range", content_range(spans[0], size)))
            return Response(206, headers, await self._body_of(chosen, spans))
        boundary = token_hex(16).encode()
        kind = self._types.of(chosen.path[-1])
        several = (b"content-type", b"multipart/byteranges; boundary=" + boundary)
        parts = multipart(spans, boundary, kind, size)
        return Response(206, (several, *headers[1:]), await self._body_of(chosen, parts))

    async def _body_of(self, chosen: Chosen, parts: Sequence[Span | bytes]) -> Body:
        data = chosen.data
        if data is None:
            if chosen.facts.st_size > self._settings.small_bytes:
                return FileBody(chosen.descriptor, parts, self._limiter)
            data = read_small_at_once(chosen.descriptor, chosen.facts)
            if data is None:
                read = partial(read_small, chosen.descriptor, chosen.facts)
                data = await to_thread.run_sync(read, limiter=self._limiter)
            self._small.keep(chosen.facts, data)
        if len(parts) == 1:
            part = parts[0]
            return Buffered(part if isinstance(part, bytes) else data[part[0] : part[1]])
        return Buffered(b"".join(part if isinstance(part, bytes) else data[part[0] : part[1]] for part in parts))

    def _headers_of(self, chosen: Chosen, validators: Validators) -> Headers:
        """The fields of a 200; `content-type` comes first."""
        headers = [
            (b"content-type", self._types.of(chosen.path[-1])),
            _NOSNIFF,
            _RANGES,
            (b"etag", validators.etag),
        ]
        if validators.modified is not None:
            headers.append((b"last-modified", http_date(validators.modified)))
        if chosen.coding:
            headers.append((b"content-encoding", chosen.coding.encode()))
        if chosen.vary:
            headers.append((b"vary", chosen.vary))
        if self._cache_control:
            path = b"/".join(chosen.path).decode()
            for pattern, field in self._cache_control:
                if pattern.match(path):
                    headers.append(field)
                    break
        return tuple(headers)


_NOT_IN_304 = frozenset((b"content-type", b"content-encoding", b"accept-ranges", b"x-content-type-options"))


def _fields_of(headers: Headers) -> dict[bytes, bytes]:
    """The fields that are looked at. Repeated ones are joined (RFC 9110 §5.3): lists stay lists, and what may
    not be a list is malformed then and so ignored."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _READ_FIELDS:
            fields[name] = fields[name] + b", " + value if name in fields else value
    return fields
