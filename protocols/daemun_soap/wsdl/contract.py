"""What a WSDL promises, for the filter `soap`: which operation a message is, whether it fits, what to publish."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread
from lxml import etree

from daemun import Request, Response
from daemun_soap.names import Version, local_name
from daemun_soap.wsdl.documents import Documents, load_documents
from daemun_soap.wsdl.gaps import Validates
from daemun_soap.wsdl.gather import gather_schemas
from daemun_soap.wsdl.model import Operation, Port, Wsdl
from daemun_soap.wsdl.publish import Publisher
from daemun_soap.wsdl.read import describe
from daemun_soap.wsdl.schema import typed_schema
from daemun_soap.wsdl.validate import Validator

__all__ = ["Contract", "open_contract"]


class Contract:
    """One WSDL, ready to be asked for each message."""

    def __init__(self, wsdl: Wsdl, publisher: Publisher, validator: Validator | None) -> None:
        self.wsdl = wsdl
        self._publisher = publisher
        self._validator = validator
        self._operations = _by_root(wsdl)
        self._owners: dict[str, set[str]] = {}
        for _, operation in (pair for found in self._operations.values() for pair in found):
            for action in (operation.action, operation.wsa_action, operation.name):
                self._owners.setdefault(action, set()).add(operation.name)

    def operation(self, root: str, version: Version, action: str = "") -> tuple[Port, Operation] | None:
        """The operation whose request begins with `root` ("": an empty Body), in `version` of SOAP, or None.

        Where several begin alike, `action` decides (SOAPAction without its quotes, or that of WS-Addressing), else
        the first one is meant.
        """
        found = self._operations.get((root, version))
        if found is None:
            return None
        if action and len(found) > 1:
            for port, operation in found:
                if action in (operation.action, operation.wsa_action):
                    return port, operation
        return found[0]

    def roots(self, version: Version | None = None) -> list[str]:
        """What the requests of its operations begin with, of those in `version` or of all."""
        return [root for root, one in self._operations if version in (None, one)]

    def versions(self, root: str = "") -> tuple[Version, ...]:
        """The versions of SOAP in which it has the operation whose request begins with `root`; "": any operation."""
        return tuple(
            one for one in Version if any(one is known and root in ("", name) for name, known in self._operations)
        )

    def action_fits(self, operation: Operation, soap_action: str | None, wsa_action: str | None) -> bool:
        """Whether what the head of a request says fits the operation that its body is.

        SOAPAction (or `action` of SOAP 1.2), without quotes: None or "" says nothing. It may be that of WS-Addressing
        too, as some toolkits have it. Where the WSDL has no SOAPAction, any is good that is not another operation's.
        """
        if wsa_action is not None and (not wsa_action or wsa_action not in (operation.wsa_action, operation.action)):
            return False
        if not soap_action or soap_action in (operation.action, operation.wsa_action):
            return True
        owners = self._owners.get(soap_action)
        return not operation.action and (owners is None or operation.name in owners)

    def published(self, request: Request) -> Response | None:
        """The answer to `?wsdl`, `?singleWsdl`, `?wsdl=N`, `?xsd=N`; None for any other request."""
        return self._publisher.published(request)

    @property
    def slow(self) -> bool:
        """Whether a check may take seconds, whatever the message's length."""
        return self._validator is not None and self._validator.slow

    def check_request(self, envelope: etree._Element, operation: Operation) -> None:
        """Raises `InvalidMessage` for a request that the schema does not allow. Only if opened with `checked`."""
        if self._validator is not None:
            self._validator.check(envelope, operation, operation.request)

    def check_response(self, envelope: etree._Element, operation: Operation) -> None:
        """Raises `InvalidMessage` for a response that the schema does not allow. Only if opened with `checked`."""
        if self._validator is not None:
            self._validator.check(envelope, operation, operation.response)


async def open_contract(location: str, base_dir: Path, *, address: str = "", checked: bool = False) -> Contract:
    """Reads the WSDL at `location`, a file relative to `base_dir` or an http(s) URL.

    `address` is the outside URL to publish, "" for the one that each request came to. `checked` makes `check_request`
    and `check_response` check. Raises `SettingsError` for what cannot be read or used, and with `checked` for what
    messages cannot be checked by as a whole.
    """
    documents = await load_documents(location, base_dir)
    return await anyio.to_thread.run_sync(_contract, documents, address, checked)


def _contract(documents: Documents, address: str, checked: bool) -> Contract:
    schemas = gather_schemas(documents)
    wsdl = describe(documents, typed_schema(schemas))
    validator = Validator(wsdl, schemas) if checked else None
    documents.gaps.settle(Validates.NOBODY if validator is None else validator.by)
    return Contract(wsdl, Publisher(documents, wsdl, address), validator)


def _by_root(wsdl: Wsdl) -> dict[tuple[str, Version], list[tuple[Port, Operation]]]:
    """Operations by what their requests begin with; each once, of the first port that has it."""
    found: dict[tuple[str, Version], list[tuple[Port, Operation]]] = {}
    for service in wsdl.services:
        for port in service.ports:
            for operation in port.operations:
                roots = {operation.request.root}
                if operation.style == "rpc" and not operation.request.root.startswith("{"):
                    # a binding without a namespace: some toolkits write none, some that of the WSDL
                    roots.add(f"{{{wsdl.namespace}}}{local_name(operation.request.root)}")
                for root in roots:
                    same = found.setdefault((root, port.version), [])
                    if all(known != operation for _, known in same):
                        same.append((port, operation))
    return found
