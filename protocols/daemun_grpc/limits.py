"""The filter `grpc-limits`: how long a message may be, whatever the length of its stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemun import FilterContext, FilterType, Handler, Layer, Phase, Request, Response
from daemun_grpc.answer import is_grpc
from daemun_grpc.messages import Counter
from daemun_grpc.passing import shown
from daemun_grpc.settings import LimitSettings

__all__ = ["LIMITS_FILTER"]


@asynccontextmanager
async def _build(settings: LimitSettings, context: FilterContext) -> AsyncIterator[Layer]:
    asked, answered = settings.max_request_bytes, settings.max_response_bytes

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            if not is_grpc(request.header(b"content-type")):
                return await handler(request)
            if asked:
                request = request.with_body(shown(request.body, Counter("request", asked).feed))
            response = await handler(request)
            if answered and is_grpc(response.header(b"content-type")):
                try:
                    response = response.with_body(shown(response.body, Counter("response", answered).feed))
                except BaseException:
                    await response.body.aclose()
                    raise
            return response

        return handle

    yield layer


LIMITS_FILTER = FilterType("grpc-limits", LimitSettings, _build, phase=Phase.RATELIMIT)
"""Refuses messages that are too long as soon as they begin; nothing is held in memory for it."""
