"""The request path: which exchanges are logged, and what is kept of them until a task writes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import random
from time import monotonic

import anyio
from anyio import to_thread

from daemun import Exchange, ExchangeError, Observer, ObserverContext, Peer, Request, Response, SettingsError
from daemun_accesslog.formats import header_names, make_format
from daemun_accesslog.record import Values, pick_first
from daemun_accesslog.settings import AccessLogSettings
from daemun_accesslog.sink import Sink
from daemun_accesslog.writer import Writer

__all__ = ["AccessLog", "build"]


@asynccontextmanager
async def build(settings: AccessLogSettings, context: ObserverContext) -> AsyncIterator[Observer]:
    """The access log that `settings` ask for. Raises `SettingsError` if its file cannot be opened."""
    try:
        sink = await to_thread.run_sync(Sink, settings.file, context.base_dir)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"{settings.file} cannot be opened: {words}, expected a file to append to, `-` or `stderr`", path="$.file"
        ) from error
    writer = Writer(sink, make_format(settings, context.worker.index), settings.max_pending_lines)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        try:
            yield AccessLog(settings, writer)
        finally:
            with anyio.CancelScope(shield=True):
                if await writer.finish(settings.close_timeout_seconds):
                    sink.close()


class AccessLog(Observer):
    """Keeps what a line needs of each exchange that is to be logged."""

    def __init__(self, settings: AccessLogSettings, writer: Writer) -> None:
        self._writer = writer
        self._pending = writer.pending
        self._max_pending = settings.max_pending_lines
        self._limit = settings.max_value_bytes
        requested, responded = header_names(settings)
        self._of_request = pick_first([name.encode() for name in requested], self._limit)
        self._of_response = pick_first([name.encode() for name in responded], self._limit)
        self._no_request: Values = (None,) * len(requested)
        self._no_response: Values = (None,) * len(responded)
        self._sample = settings.sample
        self._min_status = settings.min_status
        self._skipped = frozenset(settings.skip_routes)
        self._keep_errors = settings.keep_errors
        self._selects = settings.sample < 1 or settings.min_status > 0 or bool(settings.skip_routes)

    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        reason, status = exchange.reason, exchange.status
        if self._selects and not self._is_wanted(status, exchange.route, failed=reason is not None):
            return
        pending = self._pending
        if len(pending) >= self._max_pending:
            self._writer.overflow()
            return
        method, target, authority = request.method, request.target, request.authority
        if len(method) + len(target) + len(authority) > self._limit:
            end = self._limit + 1  # a byte more, which tells that it was cut
            method, target, authority = method[:end], target[:end], authority[:end]
        pick, pick_too = self._of_request, self._of_response
        pending.append(
            (
                exchange.started,
                monotonic(),
                method,
                target,
                authority,
                exchange.version,
                status,
                reason,
                exchange.plugin,
                exchange.route,
                exchange.endpoint,
                exchange.received_bytes,
                exchange.sent_bytes,
                exchange.cold_start_seconds,
                exchange.peer,
                pick(request.headers) if pick is not None else (),
                () if pick_too is None else self._no_response if response is None else pick_too(response.headers),
            )
        )
        if len(pending) == 1:
            self._writer.wake()

    def refused(self, peer: Peer, error: ExchangeError) -> None:
        if self._selects and not self._is_wanted(error.status, "", failed=True):
            return
        pending = self._pending
        if len(pending) >= self._max_pending:
            self._writer.overflow()
            return
        facts = (monotonic(), -1.0, b"", b"", b"", "", error.status, error.reason, "", "", "", 0, 0, -1.0)
        pending.append((*facts, peer, self._no_request, self._no_response))
        if len(pending) == 1:
            self._writer.wake()

    def reopen(self) -> None:
        self._writer.reopen()

    def _is_wanted(self, status: int, route: str, *, failed: bool) -> bool:
        """Whether the exchange is logged. A status of 0 is one that was cut off before it had another."""
        if self._keep_errors and (failed or status >= 500 or status == 0):
            return True
        if status < self._min_status or route in self._skipped:
            return False
        return self._sample >= 1 or random() < self._sample
