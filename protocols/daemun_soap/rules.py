"""What a message may ask for: by names that settings list, by its action, and by the WSDL if there is one."""

from __future__ import annotations

from daemun import ExchangeError, Reason, SettingsError
from daemun_soap.envelopes.action import names_operation
from daemun_soap.envelopes.fault import Code, FaultError
from daemun_soap.envelopes.message import SoapMessage
from daemun_soap.envelopes.prolog import malformed
from daemun_soap.names import Version, listed, quoted
from daemun_soap.operations import allows
from daemun_soap.settings import CheckSettings, versions_of
from daemun_soap.wsdl.contract import Contract
from daemun_soap.wsdl.model import Operation

__all__ = ["Rules"]


def _refused(words: str) -> ExchangeError:
    return ExchangeError(Reason.FORBIDDEN, words)


def _called(name: str) -> str:
    return f"the operation {quoted(name)}" if name else "an empty Body"


def _mismatch(words: str, spoken: tuple[Version, ...]) -> FaultError:
    accepted = " and ".join(f"SOAP {version.value}" for version in spoken)
    return FaultError(Code.VERSION_MISMATCH, f"{words}; accepted: {accepted}", spoken=spoken)


class Rules:
    """The rules of one filter."""

    def __init__(self, settings: CheckSettings, contract: Contract | None) -> None:
        """Raises `SettingsError` for operations that the WSDL does not have."""
        if contract is not None:
            for name in settings.operations:
                if not any(map(allows((name,)), contract.roots())):
                    raise SettingsError(
                        f"operations: wsdl {contract.wsdl.location} has none whose request begins with {name!r} "
                        f"(accepted: {listed(contract.roots())})"
                    )
        self._accepted = listed(settings.operations)
        self._allowed = allows(settings.operations)
        self._alone = settings.body_children == "one"
        self._contract = contract
        self._match_action = settings.soap_action == "match"
        self._published = settings.publish
        self._versions = versions_of(settings.versions)

    def check(self, message: SoapMessage) -> Operation | None:
        """The operation in the WSDL, if there is one, of a message that says what it asks for.

        May be called again when more is known of it. Raises `ExchangeError` for what it may not ask for.
        """
        name, version = message.operation or "", message.version
        if version is None or version not in self._versions:
            said = f"SOAP {version.value}" if version is not None else "a version of SOAP that is not known"
            raise _mismatch(f"the message is of {said}", tuple(one for one in Version if one in self._versions))
        if self._alone and message.siblings:
            raise malformed("a Body with more than one child")
        if not self._allowed(name):
            raise _refused(f"{_called(name)} may not be called here; accepted: {self._accepted}")
        if self._contract is None:
            if self._match_action and (action := message.action) and not names_operation(action, name):
                raise _refused(
                    f"the action {quoted(action)} is not that of {_called(name)}; accepted: one that ends with its name"
                )
            return None
        said = message.announced or message.wsa_action or ""
        found = self._contract.operation(name, version, said)
        if found is None:
            raise self._unknown(self._contract, name, version)
        operation = found[1]
        if self._match_action and not self._contract.action_fits(operation, message.announced, message.wsa_action):
            known = {action for action in (operation.action, operation.wsa_action) if action}
            said = next((said for said in (message.announced, message.wsa_action) if said and said not in known), said)
            raise _refused(f"the action {quoted(said)} is not that of {_called(name)}; accepted: {listed(known)}")
        return operation

    def _unknown(self, contract: Contract, name: str, version: Version) -> ExchangeError:
        """The error of a message whose operation the WSDL does not have, in its version at least."""
        spoken = contract.versions(name) if name else ()
        if spoken:
            return _mismatch(f"{_called(name)} is not to be had in SOAP {version.value}", spoken)
        if version not in contract.versions():
            return _mismatch(f"the WSDL has nothing for SOAP {version.value}", contract.versions())
        words = (
            f"the WSDL has no operation that begins with {quoted(name)}"
            if name
            else "the WSDL has no operation without content"
        )
        if self._published:  # what is not told of cannot be asked for
            words += f"; accepted: {listed(root or 'an empty Body' for root in contract.roots(version))}"
        return _refused(words)
