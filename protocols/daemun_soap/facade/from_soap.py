"""The filter `soap-to-json`: callers that speak SOAP, a back end that speaks JSON.

The operation is found by the child of the Body, and checked against what the message says of its action. What is no
SOAP passes as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio.to_thread
from lxml import etree
from msgspec.structs import replace

from daemun import (
    EMPTY,
    Buffered,
    FilterContext,
    Handler,
    Headers,
    Layer,
    Reason,
    Request,
    Response,
    SettingsError,
)
from daemun_soap.envelopes.fault import Code, FaultError
from daemun_soap.envelopes.media import SoapType
from daemun_soap.envelopes.message import head_of, message_of
from daemun_soap.facade.bounds import Bounds, JsonError, Problem
from daemun_soap.facade.content import OffLoop, whole
from daemun_soap.facade.messages import Incoming, limits_of, read_envelope
from daemun_soap.facade.operations import HEADER, Facade, JsonOperation
from daemun_soap.facade.replies import Replies
from daemun_soap.facade.settings import SoapToJsonSettings
from daemun_soap.facade.shapes import namespace_of
from daemun_soap.facade.targets import Target, target_of
from daemun_soap.names import SOAP12, WSA, Version, listed, qualified, quoted
from daemun_soap.wsdl.gaps import Validates
from daemun_soap.wsdl.model import Operation
from daemun_soap.wsdl.read import read_wsdl

__all__ = ["build"]

_DROPPED = frozenset(
    (b"accept", b"accept-charset", b"accept-encoding", b"expect", b"mime-version", b"range", b"soapaction")
)
_ACCEPT = (b"accept", b"application/json, application/problem+json")
_ADDRESSED = (
    "",
    "http://schemas.xmlsoap.org/soap/actor/next",
    f"{SOAP12}/role/next",
    f"{SOAP12}/role/ultimateReceiver",
)


class _Call(NamedTuple):
    """A request that was read."""

    operation: JsonOperation
    version: Version
    value: Any


class _Bridge:
    """Takes SOAP to the next handler, as JSON."""

    def __init__(
        self,
        settings: SoapToJsonSettings,
        facade: Facade,
        targets: dict[int, Target],
        off_loop: OffLoop,
        handler: Handler,
    ) -> None:
        self._facade = facade
        self._handler = handler
        self._targets = targets
        self._off_loop = off_loop
        self._max_bytes = settings.max_request_bytes
        self._understood = frozenset(settings.understood)
        self._limits = limits_of(facade.codec.bounds, settings.max_request_bytes)
        self._replies = Replies(facade, settings.max_response_bytes, off_loop)
        self._by_root: dict[str, list[JsonOperation]] = {}
        for service in facade.services.values():
            for operation in service.operations.values():
                self._by_root.setdefault(operation.operation.request.root, []).append(operation)

    async def handle(self, request: Request) -> Response:
        head = head_of(request) if request.method == b"POST" else None
        if head is None:
            return await self._handler(request)
        announced = message_of(request, head, self._limits).announced  # from now on the dialect knows the exchange
        if head.coding not in (None, b"identity"):
            raise FaultError(Code.SENDER, "the message is compressed; accepted: content without encoding")
        data = await whole(request.body, self._max_bytes)
        call = await self._off_loop.run(len(data), lambda: self._read(data, head.media, announced or ""))
        try:
            target, content = self._targets[id(call.operation)].fill(call.value)
        except ValueError as error:
            raise FaultError(Code.SENDER, str(error)) from None
        method = self._targets[id(call.operation)].method.encode()
        response = await self._handler(_asked(request, method, target, content))
        return await self._replies.read(response, call.operation, call.version)

    def _read(self, data: bytes, media: SoapType, announced: str) -> _Call:
        incoming = read_envelope(data, media, self._limits, Reason.BAD_REQUEST)
        if media.version not in (None, incoming.version):
            raise FaultError(
                Code.VERSION_MISMATCH,
                f"an Envelope of SOAP {incoming.version.value} in a message whose content-type says another version",
            )
        first: tuple[Problem, ...] = ()
        for operation in self._operations(incoming, announced):
            problems: tuple[Problem, ...] = ()
            if operation.request is not None and incoming.child is not None:
                problems = self._facade.codec.problems(operation.request.element, incoming.child)
            if not problems:
                return _Call(operation, incoming.version, self._value(operation, incoming))
            first = first or problems
        words = "; ".join(f"{problem.path}: {problem.message}" for problem in first)
        raise FaultError(Code.SENDER, f"the message is not valid: {words}")

    def _value(self, operation: JsonOperation, incoming: Incoming) -> Any:
        """The JSON of a request, with the header blocks that the operation declares."""
        value: Any = {}
        try:
            if operation.request is not None and incoming.child is not None:
                value = self._facade.read(operation.request, incoming.child)
            if incoming.header is None:
                return value
            self._check_header(operation, incoming.header, incoming.version)
            blocks = self._facade.read_header(operation, incoming.header)
        except JsonError as error:
            raise FaultError(Code.SENDER, f"the message {error.problems[0].message}") from None
        return {HEADER: blocks, **value} if blocks and isinstance(value, dict) else value

    def _check_header(self, operation: JsonOperation, header: etree._Element, version: Version) -> None:
        """Refuses what must be understood and the back end will not even see."""
        role = qualified(version.namespace, "actor" if version is Version.V1_1 else "role")
        shown = {element.name for element in self._facade.header_elements(operation)}
        for block in header.iterchildren(tag=etree.Element):
            tag = str(block.tag)
            demanded = block.get(qualified(version.namespace, "mustUnderstand"), "").strip() in ("1", "true")
            for_us = block.get(role, "").strip() in _ADDRESSED
            known = tag in shown or tag in self._understood or f"{{{namespace_of(tag)}}}*" in self._understood
            if demanded and for_us and not known:
                raise FaultError(Code.MUST_UNDERSTAND, f"nobody here understands the header {tag[:200]}")

    def _operations(self, incoming: Incoming, announced: str) -> list[JsonOperation]:
        """The operations that a message may mean: one, unless several begin with the same element."""
        if incoming.child is not None and next(incoming.child.itersiblings(etree.Element), None) is not None:
            raise FaultError(Code.SENDER, "a Body with more than one child")
        root = "" if incoming.child is None else str(incoming.child.tag)
        found = self._by_root.get(root, [])
        if not found:
            words = f"no operation begins with {quoted(root)}" if root else "no operation has an empty Body"
            raise FaultError(
                Code.SENDER, f"{words}; accepted: {listed(one or 'an empty Body' for one in self._by_root)}"
            )
        header = incoming.header
        addressed = "" if header is None else (header.findtext(qualified(WSA, "Action")) or "").strip()
        agreed = [one for one in found if _agrees(one.operation, announced, addressed)]
        if not agreed:
            known = listed(
                action for one in found for action in (one.operation.action, one.operation.wsa_action) if action
            )
            raise FaultError(
                Code.SENDER,
                f"the action {quoted(announced or addressed)} is not that of {quoted(root)}; accepted: {known}",
            )
        return [one for one in agreed if one.operation.action == announced] or agreed


def _agrees(operation: Operation, announced: str, addressed: str) -> bool:
    """Whether what a message says of its action may be said of the operation; "": it says nothing."""
    known = (operation.action, operation.wsa_action)
    return (not announced or operation.action == "" or announced in known) and (not addressed or addressed in known)


def _asked(request: Request, method: bytes, target: bytes, content: bytes | None) -> Request:
    kept = (field for field in request.headers if field[0] not in _DROPPED and field[0][:8] != b"content-")
    headers: Headers = (_ACCEPT, *kept)
    if content is None:
        return replace(request, method=method, target=target, headers=headers, body=EMPTY)
    headers = ((b"content-type", b"application/json"), *headers)
    return replace(request, method=method, target=target, headers=headers, body=Buffered(content))


def _targets(settings: SoapToJsonSettings, facade: Facade) -> dict[int, Target]:
    operations = [one for service in facade.services.values() for one in service.operations.values()]
    unknown = settings.paths.keys() - {operation.name for operation in operations}
    if unknown:
        known = ", ".join(operation.name for operation in operations)
        raise SettingsError(f"paths: {min(unknown)!r} is no operation (known: {known})")
    return {
        id(operation): target_of(facade, operation, settings.path, settings.paths.get(operation.name, ""))
        for operation in operations
    }


@asynccontextmanager
async def build(settings: SoapToJsonSettings, context: FilterContext) -> AsyncIterator[Layer]:
    wsdl = await read_wsdl(settings.wsdl, context.base_dir, validates=Validates.TYPED)
    bounds = Bounds(settings.max_depth, max_read=settings.max_request_nodes, max_written=settings.max_response_nodes)
    facade = await anyio.to_thread.run_sync(lambda: Facade(wsdl, settings.service, settings.port, bounds))
    targets, off_loop = _targets(settings, facade), OffLoop()
    yield lambda handler: _Bridge(settings, facade, targets, off_loop, handler).handle
