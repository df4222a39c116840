"""The commands of `daemun soap`: what a WSDL offers, its façade as OpenAPI, and calls of its operations."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import click
import msgspec

from daemun import Buffered, ExchangeError, Headers, Response
from daemun_soap.call import Endpoint, post
from daemun_soap.facade.answers import Answers
from daemun_soap.facade.bounds import JsonError
from daemun_soap.facade.codec import from_json, to_json
from daemun_soap.facade.content import OffLoop
from daemun_soap.facade.messages import fields_for
from daemun_soap.facade.openapi import openapi
from daemun_soap.facade.operations import Facade, JsonOperation
from daemun_soap.facade.problem import problem
from daemun_soap.names import Version
from daemun_soap.wsdl.model import Operation, Wsdl
from daemun_soap.wsdl.read import read_wsdl

__all__ = ["COMMANDS"]

_wsdl = click.argument("wsdl")
_service = click.option("--service", default="", help="The service of the WSDL; default: all that it has.")
_port = click.option("--port", default="", help="The port; default: its first for SOAP 1.1, or its first.")


@click.command("openapi")
@_wsdl
@_service
@_port
@click.option("--server", default="/", show_default=True, help="The URL, or the path, where the JSON is served.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="A file to write to.")
def _openapi(wsdl: str, service: str, port: str, server: str, output: Path | None) -> None:
    """Print the OpenAPI 3.1 of the JSON façade of WSDL."""
    document = msgspec.json.format(to_json(openapi(Facade(_read(wsdl), service, port), server))).decode()
    if output is None:
        click.echo(document)
    else:
        output.write_text(document + "\n", encoding="utf-8")


@click.command("operations")
@_wsdl
@click.option("--json", "json_", is_flag=True, help="Print JSON for programs.")
def _operations(wsdl: str, json_: bool) -> None:
    """List the operations of WSDL, of every service and port."""
    rows = [
        (service.name, port.name, port.version.value, _style(operation), operation.name, operation.action)
        for service in _read(wsdl).services
        for port in service.ports
        for operation in port.operations
    ]
    head = ("SERVICE", "PORT", "VERSION", "STYLE", "OPERATION", "ACTION")
    if json_:
        click.echo(_formatted(to_json([dict(zip(map(str.lower, head), row, strict=True)) for row in rows])))
    else:
        _table(rows, head)


@click.command("call")
@_wsdl
@click.argument("operation")
@click.argument("json_text", metavar="[JSON|-]", default="{}")
@_service
@_port
@click.option("--endpoint", default="", help="Where to call; default: the address of the port.")
@click.option("--soap-version", type=click.Choice(["1.1", "1.2"]), help="Default: that of the port.")
@click.option("--header", "-H", "headers", multiple=True, help="A field, `Name: value`; repeatable.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="Seconds of silence.")
@click.option("--raw", is_flag=True, help="Print the answer as it came, in XML.")
def _call(
    wsdl: str,
    operation: str,
    json_text: str,
    service: str,
    port: str,
    endpoint: str,
    soap_version: str | None,
    headers: tuple[str, ...],
    timeout: float,
    raw: bool,
) -> None:
    """Call OPERATION of WSDL with JSON.

    The JSON comes from standard input if it is `-`; the answer is printed as JSON. What went wrong, a Fault or anything
    else, is a problem document on standard error, and exit code 1.
    """
    fields = _fields(headers)
    read = _read(wsdl)
    version = None if soap_version is None else Version(soap_version)
    facade = Facade(read, service, port or _port_of(read, service, version))
    found = _find(facade, operation)
    value = _value(json_text)
    try:
        target = Endpoint(endpoint or found.port.address, timeout_seconds=timeout)
    except ValueError as error:
        raise click.UsageError(f"--endpoint: {error}") from None
    version = version or found.port.version
    try:
        content = facade.write_request(found, value, version)
        answer = post(target, (*fields_for(version, found.operation.action), *fields), content)
        if not raw:
            answers = Answers(facade, target.max_bytes, OffLoop())
            answer = anyio.run(answers.read, answer, found)
    except JsonError as error:
        answer = problem(400, "the JSON does not fit the operation", problems=error.problems)
    except ExchangeError as error:
        answer = problem(error.status, error.message)
    _print(answer, raw=raw)


COMMANDS: dict[str, click.Command] = {"call": _call, "openapi": _openapi, "operations": _operations}
"""By name."""


def _print(answer: Response, *, raw: bool) -> None:
    """Prints an answer, or a problem, and ends the program if it is one."""
    failed = answer.status >= 300
    content = answer.body.data if isinstance(answer.body, Buffered) else b""
    if content:
        is_json = (answer.header(b"content-type") or b"").endswith(b"json")
        click.echo(content if raw and not is_json else _formatted(content), err=failed)
    if failed:
        sys.exit(1)


def _read(wsdl: str) -> Wsdl:
    return anyio.run(read_wsdl, wsdl, Path.cwd())


def _formatted(data: bytes) -> str | bytes:
    try:
        return msgspec.json.format(data).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data  # it only says that it is JSON


def _style(operation: Operation) -> str:
    return f"{operation.style}/{'encoded' if operation.encoded else 'literal'}"


def _port_of(wsdl: Wsdl, service: str, version: Version | None) -> str:
    """The first port that speaks `version`; "" if that does not matter, or none does."""
    ports = (port for one in wsdl.services if service in ("", one.name) for port in one.ports)
    return next((port.name for port in ports if port.version is version), "") if version is not None else ""


def _find(facade: Facade, name: str) -> JsonOperation:
    """The operation of this name, `Service/Operation` if it is not unique."""
    service, _, plain = name.rpartition("/")
    found = [
        one.operations[plain]
        for one in facade.services.values()
        if service in ("", one.name) and plain in one.operations
    ]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{one.name}/{operation}" for one in facade.services.values() for operation in one.operations)
    raise click.UsageError(f"operation {name!r} is {'not unique' if found else 'not known'} (accepted: {known})")


def _value(text: str) -> object:
    data = sys.stdin.buffer.read() if text == "-" else text.encode()
    try:
        return from_json(data)
    except JsonError as error:
        raise click.UsageError(f"JSON: {error.problems[0].message}") from None


def _fields(headers: tuple[str, ...]) -> Headers:
    fields = []
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip() or "\n" in header or "\r" in header:
            raise click.UsageError(f"--header {header!r} is not `Name: value`")
        fields.append((name.strip().lower().encode("latin-1", "replace"), value.strip().encode("latin-1", "replace")))
    return tuple(fields)


def _table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    for number, row in enumerate([head, *rows]):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        click.secho(line, bold=number == 0)
