"""The filter types that look at messages: how a plugin makes one, and `websocket-messages`.

What looks is imported where a route has such a filter, and not before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from msgspec import Struct

from daemun import FilterContext, FilterType, Layer, Phase
from daemun_websocket.lens_settings import MessageSettings
from daemun_websocket.message_filter import OpenFilter

__all__ = ["MESSAGES_FILTER", "message_filter"]

_AFTER = ("websocket",)
"""Rules may take away of what is offered: they come first."""


def message_filter(
    name: str,
    settings: type[Struct],
    build: Callable[[Any, FilterContext], AbstractAsyncContextManager[OpenFilter]],
    *,
    phase: Phase = Phase.TRANSFORM,
    streamed: bool = False,
) -> FilterType:
    """A kind of filter for messages, to be registered by `daemun_filters`. Requests that are no WebSocket pass it.

    A client's messages pass the filters of a route in the order of its requests, an upstream's the other way. They
    come whole, or, if each filter on the route is `streamed`, in pieces as they arrive.
    """

    @asynccontextmanager
    async def build_layer(values: Any, context: FilterContext) -> AsyncIterator[Layer]:
        from daemun_websocket.looking import looking

        async with build(values, context) as open_filter:
            yield lambda handler: looking(handler, name, open_filter, streamed=streamed)

    return FilterType(name, settings, build_layer, phase, after=_AFTER)


@asynccontextmanager
async def _build_bounds(settings: MessageSettings, context: FilterContext) -> AsyncIterator[Layer]:
    from daemun_websocket.looking import looking

    yield lambda handler: looking(handler, context.name, None, streamed=True, settings=settings)


MESSAGES_FILTER = FilterType("websocket-messages", MessageSettings, _build_bounds, Phase.EARLY, after=_AFTER)
"""Sets how far messages may go on a route, for all its message filters; by itself it does no more than that."""
