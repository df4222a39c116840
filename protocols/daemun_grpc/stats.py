"""The filter `grpc-stats`: counts the messages of a call, both ways, for observers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemun import FilterContext, FilterType, Handler, Layer, NoSettings, Phase, Request, Response
from daemun_grpc.answer import is_grpc
from daemun_grpc.calls import begin_call
from daemun_grpc.messages import Counter
from daemun_grpc.passing import shown

__all__ = ["STATS_FILTER"]


def _layer(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        if not is_grpc(request.header(b"content-type")):
            return await handler(request)
        call = begin_call(request)
        call.request_messages = call.response_messages = 0
        asked, answered = Counter("request"), Counter("response")

        def ask(data: bytes) -> None:
            asked.feed(data)
            call.request_messages = asked.begun

        def answer(data: bytes) -> None:
            answered.feed(data)
            call.response_messages = answered.begun

        response = await handler(request.with_body(shown(request.body, ask)))
        if not is_grpc(response.header(b"content-type")):
            return response
        return response.with_body(shown(response.body, answer))

    return handle


@asynccontextmanager
async def _build(settings: NoSettings, context: FilterContext) -> AsyncIterator[Layer]:
    yield _layer


STATS_FILTER = FilterType("grpc-stats", NoSettings, _build, phase=Phase.CORS, after=("grpc-web", "connect"))
"""Counts messages; behind the bridges, which make gRPC of what they take."""
