"""OpenAPI 3.1 of the façade: every operation with what it takes, what it answers, and how it fails."""

from __future__ import annotations

from typing import Any

from daemun_soap.facade.operations import HEADER, BodyElement, Facade, JsonOperation, JsonService
from daemun_soap.facade.schema import JsonSchemas

__all__ = ["openapi"]

_PROBLEM = "Problem"
_PROBLEM_TYPE = "application/problem+json"


def openapi(facade: Facade, server: str = "/") -> dict[str, Any]:
    """The document; `server` is the URL, or the path, where the façade is."""
    return _Document(facade, server).made()


class _Document:
    """One document while it is made."""

    def __init__(self, facade: Facade, server: str) -> None:
        self._facade = facade
        self._server = server
        self._schemas = JsonSchemas(facade.codec.shapes)
        self._schemas.components[_PROBLEM] = _problem_schema()

    def made(self) -> dict[str, Any]:
        services = list(self._facade.services.values())
        names = [name for service in services for name in service.operations]
        paths = {
            f"/{service.name}/{operation.name}": {
                "post": self._operation(operation, unique=names.count(operation.name) == 1)
            }
            for service in services
            for operation in service.operations.values()
        }
        return {
            "openapi": "3.1.0",
            "info": {"title": " and ".join(service.name for service in services), "version": "1.0.0"},
            "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
            "servers": [{"url": self._server}],
            "tags": [_tag(service) for service in services],
            "paths": paths,
            "components": {"schemas": self._schemas.components},
        }

    def _operation(self, operation: JsonOperation, *, unique: bool) -> dict[str, Any]:
        found: dict[str, Any] = {
            "operationId": operation.name if unique else f"{operation.service}_{operation.name}",
            "tags": [operation.service],
        }
        if operation.operation.documentation:
            found["description"] = operation.operation.documentation
        if operation.request is not None:
            schema = self._with_header(operation, self._body(operation.request))
            found["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": schema}},
            }
        found["responses"] = {
            **self._answers(operation),
            "400": _failure("The JSON does not fit, or the service blames the caller.", {"$ref": _ref(_PROBLEM)}),
            "default": _failure("The service failed, or the gateway did.", self._failed(operation)),
        }
        return found

    def _body(self, body: BodyElement) -> dict[str, Any]:
        schema = self._schemas.element(body.element)
        if self._facade.is_wrapped(body):
            return {
                "type": "object",
                "properties": {"value": schema},
                "required": ["value"],
                "additionalProperties": False,
            }
        return schema

    def _with_header(self, operation: JsonOperation, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema of a request whose operation declares header blocks, which are one more member."""
        elements = self._facade.header_elements(operation)
        if not elements:
            return schema
        if "$ref" in schema:
            schema = self._schemas.components[schema["$ref"].rpartition("/")[2]]
        blocks = {element.local_name: self._schemas.element(element) for element in elements}
        header = {
            "type": "object",
            "description": "Header blocks.",
            "properties": blocks,
            "additionalProperties": False,
        }
        return {**schema, "properties": {**schema.get("properties", {}), HEADER: header}}

    def _answers(self, operation: JsonOperation) -> dict[str, Any]:
        if operation.one_way:
            return {"202": {"description": "Taken; there is no answer."}}
        if operation.response is None:
            return {"204": {"description": "Done; the answer is empty."}}
        content = {"application/json": {"schema": self._body(operation.response)}}
        return {"200": {"description": "The answer.", "content": content}}

    def _failed(self, operation: JsonOperation) -> dict[str, Any]:
        details = {
            element.local_name: self._schemas.element(element) for element in self._facade.fault_elements(operation)
        }
        if not details:
            return {"$ref": _ref(_PROBLEM)}
        fault = {"properties": {"detail": {"type": "object", "properties": details}}}
        return {"allOf": [{"$ref": _ref(_PROBLEM)}, {"properties": {"fault": fault}}]}


def _ref(name: str) -> str:
    return f"#/components/schemas/{name}"


def _tag(service: JsonService) -> dict[str, str]:
    if not service.documentation:
        return {"name": service.name}
    return {"name": service.name, "description": service.documentation}


def _failure(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {_PROBLEM_TYPE: {"schema": schema}}}


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "RFC 9457: what went wrong.",
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "problems": {
                "type": "array",
                "description": "What does not fit in the request, and where.",
                "items": {"type": "object", "properties": {"path": text, "message": text}},
            },
            "fault": {
                "type": "object",
                "description": "The Fault of the service.",
                "properties": {
                    "code": text,
                    "subcodes": {"type": "array", "items": text},
                    "actor": text,
                    "detail": {"type": "object", "description": "The elements of its detail, by name."},
                },
            },
        },
    }
