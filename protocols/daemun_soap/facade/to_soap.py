"""The filter `json-to-soap`: callers that speak JSON, a back end that speaks SOAP.

`POST {path}/{service}/{operation}` takes the JSON of the operation; `{path}/{operation}` does where there is one
service. What is not below `path` passes as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

import anyio.to_thread
from msgspec.structs import replace

from daemun import Buffered, FilterContext, Handler, Headers, Layer, Request, Response
from daemun_soap.dialect import SOAP_JSON
from daemun_soap.facade.answers import Answers
from daemun_soap.facade.bounds import Bounds, JsonError
from daemun_soap.facade.codec import from_json, to_json
from daemun_soap.facade.content import OffLoop, is_json, whole
from daemun_soap.facade.messages import fields_for
from daemun_soap.facade.openapi import openapi
from daemun_soap.facade.operations import Facade, JsonOperation
from daemun_soap.facade.problem import problem
from daemun_soap.facade.settings import JsonToSoapSettings
from daemun_soap.names import listed, quoted
from daemun_soap.wsdl.gaps import Validates
from daemun_soap.wsdl.read import read_wsdl

__all__ = ["build"]

_OPENAPI = "openapi.json"
_DROPPED = frozenset(
    (
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"content-digest",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-md5",
        b"content-type",
        b"digest",
        b"expect",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-unmodified-since",
        b"mime-version",
        b"prefer",
        b"range",
        b"repr-digest",
        b"soapaction",
    )
)


def _unsupported() -> Response:
    return problem(415, "accepted: application/json", headers=((b"accept-post", b"application/json"),))


class _Bridge:
    """Takes JSON to the next handler, as SOAP."""

    def __init__(self, settings: JsonToSoapSettings, facade: Facade, off_loop: OffLoop, handler: Handler) -> None:
        self._prefix = settings.path.rstrip("/") + "/"
        self._settings = settings
        self._facade = facade
        self._handler = handler
        self._off_loop = off_loop
        self._answers = Answers(facade, settings.max_response_bytes, off_loop)
        self._document = b""

    async def handle(self, request: Request) -> Response:
        path = unquote(request.path.decode("latin-1"))
        if path + "/" == self._prefix:
            path = self._prefix  # which is no operation either
        if not path.startswith(self._prefix):
            return await self._handler(request)
        request.exchange.dialect = SOAP_JSON
        rest = path[len(self._prefix) :]
        if self._settings.openapi and rest == _OPENAPI:
            return await self._describe(request)
        service, slash, name = rest.rpartition("/")
        operation = None if slash and not service else self._facade.find(service, name)
        if operation is None:
            return self._unknown(rest)
        if request.method != b"POST":
            return problem(405, "operations are called by POST", headers=((b"allow", b"POST"),))
        return await self._call(request, operation)

    def _unknown(self, asked: str) -> Response:
        words = f"there is no operation {quoted(asked)} below {self._prefix}"
        if self._settings.openapi:
            known = listed(
                f"{service.name}/{name}" for service in self._facade.services.values() for name in service.operations
            )
            words += f" (accepted: {known}; GET {self._prefix}{_OPENAPI} tells of all)"
        return problem(404, words)

    async def _describe(self, request: Request) -> Response:
        if request.method not in (b"GET", b"HEAD"):
            return problem(405, "the document is read by GET", headers=((b"allow", b"GET, HEAD"),))
        if not self._document:
            server = self._prefix.rstrip("/") or "/"
            self._document = await self._off_loop.run(
                len(b"".join(self._facade.wsdl.documents.values())), lambda: to_json(openapi(self._facade, server))
            )
        return Response(200, ((b"content-type", b"application/json"),), Buffered(self._document))

    async def _call(self, request: Request, operation: JsonOperation) -> Response:
        content_type = request.header(b"content-type")
        if content_type is not None and not is_json(content_type):
            return _unsupported()
        if request.header(b"content-encoding") not in (None, b"identity"):
            return problem(415, "accepted: content without encoding", headers=((b"accept-encoding", b"identity"),))
        data = await whole(request.body, self._settings.max_request_bytes)
        if data and content_type is None:
            return _unsupported()

        def encode() -> bytes:
            value = from_json(data) if data.strip() else {}
            return self._facade.write_request(operation, value)

        try:
            content = await self._off_loop.run(len(data), encode)
        except JsonError as error:
            return problem(400, "the JSON does not fit the operation", problems=error.problems)
        response = await self._handler(self._asked(request, operation, content))
        return await self._answers.read(response, operation)

    def _asked(self, request: Request, operation: JsonOperation, content: bytes) -> Request:
        service = self._facade.services[operation.service]
        target = self._settings.back_end_path or service.path
        kept = (field for field in request.headers if field[0] not in _DROPPED)
        headers: Headers = (*fields_for(operation.port.version, operation.operation.action), *kept)
        return replace(
            request, method=b"POST", target=target.encode("latin-1", "replace"), headers=headers, body=Buffered(content)
        )


@asynccontextmanager
async def build(settings: JsonToSoapSettings, context: FilterContext) -> AsyncIterator[Layer]:
    wsdl = await read_wsdl(settings.wsdl, context.base_dir, validates=Validates.TYPED)
    bounds = Bounds(settings.max_depth, max_read=settings.max_response_nodes, max_written=settings.max_request_nodes)
    facade = await anyio.to_thread.run_sync(lambda: Facade(wsdl, settings.service, settings.port, bounds))
    off_loop = OffLoop()
    yield lambda handler: _Bridge(settings, facade, off_loop, handler).handle
