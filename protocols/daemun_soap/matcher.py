"""The matcher `soap`: routes chosen by operation, version or action.

No more is looked at than tells them, and that the rest is right is for the filter `soap` to see. Content that is known
to be short is waited for whole: so it may be sent again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemun import ExchangeError, Matcher, MatcherContext, NoContent, Peek, Request
from daemun_soap.envelopes.limits import Limits
from daemun_soap.envelopes.message import SHORT_BYTES, SoapMessage, head_of, message_of
from daemun_soap.names import Version
from daemun_soap.operations import allows
from daemun_soap.settings import MatchSettings, versions_of

__all__ = ["build"]

_LIMITS = Limits()
_STEP_BYTES = 1024


@asynccontextmanager
async def build(settings: MatchSettings, context: MatcherContext) -> AsyncIterator[Matcher]:
    allowed = allows(settings.operations)
    versions = versions_of(settings.versions)
    actions = frozenset(settings.actions)

    async def match(request: Request, peek: Peek) -> bool:
        if request.method != b"POST" or type(request.body) is NoContent:
            return False
        head = head_of(request)
        if head is None:
            return False
        message = message_of(request, head, _LIMITS)
        if message.operation is None and not await _is_told(request, message, peek):
            return False
        return (
            message.version in versions
            and allowed(message.operation or "")
            and (not actions or message.action in actions)
        )

    yield match


async def _is_told(request: Request, message: SoapMessage, peek: Peek) -> bool:
    """Reads until the operation is known; whether it is SOAP. Raises `ExchangeError` for SOAP that is malformed."""
    if message.foreign:
        return False
    try:
        length = request.body.length
        if length is not None and length <= SHORT_BYTES:
            while await peek.more():
                pass
        await _read_on(message, peek)
    except BaseException as error:
        message.drop()
        if not isinstance(error, ExchangeError):
            raise
        if message.foreign and _may_be_another(message):
            return False
        raise
    return True


async def _read_on(message: SoapMessage, peek: Peek) -> None:
    offset = 0
    for data in peek.seen:
        _show(message, offset, data)
        offset += len(data)
    while message.operation is None:
        data = await peek.more()
        if not data:
            message.close()
            return
        _show(message, offset, data)
        offset += len(data)


def _show(message: SoapMessage, offset: int, data: bytes) -> None:
    """Shows no more of `data` than tells the operation."""
    at, step = 0, _STEP_BYTES
    while at < len(data) and message.operation is None:
        message.show(offset + at, data[at : at + step])
        at, step = at + step, step * 2


def _may_be_another(message: SoapMessage) -> bool:
    """Whether XML of that type may be something else than SOAP."""
    return message.media.version is Version.V1_1 and not message.said
