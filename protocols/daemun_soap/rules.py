"""What a message may ask for: by names that settings list, by its action, and by the WSDL if there is one."""

from __future__ import annotations

from daemun import ExchangeError, Reason
from daemun_soap.envelopes.action import names_operation
from daemun_soap.envelopes.fault import Code, FaultError
from daemun_soap.envelopes.message import SoapMessage
from daemun_soap.envelopes.prolog import malformed
from daemun_soap.operations import allows
from daemun_soap.settings import CheckSettings, versions_of
from daemun_soap.wsdl.contract import Contract
from daemun_soap.wsdl.model import Operation

__all__ = ["Rules"]


def _refused(words: str) -> ExchangeError:
    return ExchangeError(Reason.FORBIDDEN, words)


class Rules:
    """The rules of one filter."""

    def __init__(self, settings: CheckSettings, contract: Contract | None) -> None:
        self._allowed = allows(settings.operations)
        self._alone = settings.body_children == "one"
        self._contract = contract
        self._match_action = settings.soap_action == "match"
        self._spoken = " and ".join(settings.versions)
        self._versions = versions_of(settings.versions)

    def check(self, message: SoapMessage) -> Operation | None:
        """The operation in the WSDL, if there is one, of a message that says what it asks for.

        May be called again when more is known of it. Raises `ExchangeError` for what it may not ask for.
        """
        name, version = message.operation or "", message.version
        if version is None or version not in self._versions:
            raise FaultError(
                Code.VERSION_MISMATCH, f"a version of SOAP that is not accepted here; accepted: {self._spoken}"
            )
        if self._alone and message.siblings:
            raise malformed("a Body with more than one child")
        if not self._allowed(name):
            raise _refused("the operation is not one of those that may be called here")
        if self._contract is None:
            if self._match_action and (action := message.action) and not names_operation(action, name):
                raise _refused("the action is not that of the operation in the Body")
            return None
        said = message.announced or message.wsa_action or ""
        found = self._contract.operation(name, version, said)
        if found is None:
            raise _refused("the WSDL has no operation that begins so")
        operation = found[1]
        if self._match_action and not self._contract.action_fits(operation, message.announced, message.wsa_action):
            raise _refused("the action is not that of the operation in the Body")
        return operation
