"""The kinds of matcher and filter, and what may be set for them. What they need is imported where a route has one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from daemun import FilterContext, FilterType, Layer, Matcher, MatcherContext, MatcherType, Phase, SettingsError
from daemun_soap.facade.settings import JsonToSoapSettings, SoapToJsonSettings
from daemun_soap.settings import CheckSettings, MatchSettings

__all__ = ["JSON_TO_SOAP", "SOAP_FILTER", "SOAP_MATCHER", "SOAP_TO_JSON"]


@contextmanager
def _needed(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{name} needs the module {error.name}, which is not installed (pip install 'daemun[soap]')"
        ) from error


@asynccontextmanager
async def _match(settings: MatchSettings, context: MatcherContext) -> AsyncIterator[Matcher]:
    with _needed("matcher soap"):
        from daemun_soap.matcher import build
    async with build(settings, context) as matcher:
        yield matcher


@asynccontextmanager
async def _check(settings: CheckSettings, context: FilterContext) -> AsyncIterator[Layer]:
    with _needed("filter soap"):
        from daemun_soap.checks import build
    async with build(settings, context) as layer:
        yield layer


@asynccontextmanager
async def _to_soap(settings: JsonToSoapSettings, context: FilterContext) -> AsyncIterator[Layer]:
    with _needed("filter json-to-soap"):
        from daemun_soap.facade.to_soap import build
    async with build(settings, context) as layer:
        yield layer


@asynccontextmanager
async def _from_soap(settings: SoapToJsonSettings, context: FilterContext) -> AsyncIterator[Layer]:
    with _needed("filter soap-to-json"):
        from daemun_soap.facade.from_soap import build
    async with build(settings, context) as layer:
        yield layer


SOAP_MATCHER = MatcherType("soap", MatchSettings, _match, peek_bytes=1024 * 1024)
"""Takes messages of SOAP by what they ask for. Content of other types is not read."""
SOAP_FILTER = FilterType("soap", CheckSettings, _check, phase=Phase.AUTHZ)
"""Refuses what is no SOAP message, or asks for what may not be asked for."""
JSON_TO_SOAP = FilterType("json-to-soap", JsonToSoapSettings, _to_soap, phase=Phase.TRANSFORM)
"""Takes JSON to an upstream that speaks SOAP."""
SOAP_TO_JSON = FilterType("soap-to-json", SoapToJsonSettings, _from_soap, phase=Phase.TRANSFORM)
"""Takes SOAP to an upstream that speaks JSON."""
