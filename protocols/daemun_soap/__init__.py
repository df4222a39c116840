"""SOAP 1.1 and 1.2: routes by operation, envelopes that are checked, WSDL, and JSON on either side.

names.py       namespaces, versions, qualified names; operations.py lists of them
kinds.py       what is registered; settings.py what may be set for the matcher and the filter `soap`
dialect.py     `soap`, `soap-json`; rendering.py errors of ours as Faults
matcher.py     routes chosen by operation
checks.py      the filter `soap`: rules.py what may be asked for, validity.py whether it is what the WSDL says
envelopes/     XML from strangers: caps, scans, parts, Faults
wsdl/          what describes a service: read, published, validated by
facade/        `json-to-soap` and `soap-to-json`
commands.py    `daemun soap`: shell.py its commands, call.py a call
"""

from __future__ import annotations

from collections.abc import Iterable

import click

from daemun import Dialect, FilterType, MatcherType, hookimpl
from daemun_soap.commands import soap
from daemun_soap.dialect import SOAP, SOAP_JSON
from daemun_soap.kinds import JSON_TO_SOAP, SOAP_FILTER, SOAP_MATCHER, SOAP_TO_JSON

__all__ = ["daemun_commands", "daemun_dialects", "daemun_filters", "daemun_matchers"]


@hookimpl
def daemun_dialects() -> Iterable[Dialect]:
    return [SOAP_JSON, SOAP]


@hookimpl
def daemun_filters() -> Iterable[FilterType]:
    return [SOAP_FILTER, JSON_TO_SOAP, SOAP_TO_JSON]


@hookimpl
def daemun_matchers() -> Iterable[MatcherType]:
    return [SOAP_MATCHER]


@hookimpl
def daemun_commands() -> Iterable[click.Command]:
    return [soap]
