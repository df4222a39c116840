"""The action of a message: what fields, parameters and headers say that it is about.

Back ends choose by it what they do, so it may not say anything else than the body: that is how checks of operations
are walked around ("SOAPAction spoofing").
"""

from __future__ import annotations

import re

from daemun_soap.envelopes.media import SoapType
from daemun_soap.envelopes.prolog import malformed
from daemun_soap.names import local_name

__all__ = ["agreed_action", "announced_action", "joined_action", "names_operation"]

_SAID = re.compile(rb'"([^"]*)"|([^" \t]*)')
_SUFFIX = "Request"


def announced_action(field: bytes | None, media: SoapType) -> str | None:
    """What the head says: the field `SOAPAction`, or the parameter `action`; None: neither is there.

    Quotes are not demanded, though WS-I does. Raises `ExchangeError` for two that differ.
    """
    said = media.action
    if field is None:
        return said
    match = _SAID.fullmatch(field.strip(b" \t"))
    if match is None:
        raise malformed('its SOAPAction is malformed; accepted: "URI"')
    action = (match[1] or match[2] or b"").decode("latin-1")
    if said and action and said != action:
        raise malformed("SOAPAction and the action of its content-type differ")
    return action or said or ""


def joined_action(announced: str | None, said: str | None) -> str | None:
    """The one action that the head of a request and that of the envelope's part say. Raises `ExchangeError` for two."""
    if announced and said and announced != said:
        raise malformed("the action that its first part says and that of its head differ")
    return announced or said


def agreed_action(announced: str | None, addressed: str | None) -> str:
    """The one action that head and WS-Addressing header agree on; "": none was said. Raises `ExchangeError`."""
    if announced and addressed and announced != addressed:
        raise malformed("its SOAPAction (or action) and the Action of its WS-Addressing header differ")
    return addressed or announced or ""


def names_operation(action: str, operation: str) -> bool:
    """Whether an action can be that of a message whose body begins with `operation`, as far as names can tell.

    What follows its last `/`, `#`, `:` or `?` is to be the operation's name, which `Request` may follow on either side.
    """
    begins = 1 + max(action.rfind("/"), action.rfind("#"), action.rfind(":"), action.rfind("?"))
    named = action[begins:]
    name = local_name(operation)
    return named == name or named == name + _SUFFIX or named + _SUFFIX == name
