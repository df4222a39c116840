"""SOAP 1.1 and 1.2."""

from __future__ import annotations

from collections.abc import Iterable

import click

from daemun import Dialect, FilterType, MatcherType, hookimpl
from daemun_soap.checks import SOAP_FILTER
from daemun_soap.commands import soap
from daemun_soap.dialect import SOAP
from daemun_soap.json_problem import SOAP_JSON
from daemun_soap.json_to_soap import JSON_TO_SOAP
from daemun_soap.matcher import SOAP_MATCHER
from daemun_soap.soap_to_json import SOAP_TO_JSON

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
