"""Who speaks GraphQL gets errors of GraphQL; all others get what they got before."""

from __future__ import annotations

from typing import Any

import daemun_graphql_errors
import msgspec
import pytest

from daemun.testing import in_memory
from daemun.testing.batteries import check_dialect

pytestmark = pytest.mark.anyio

ANSWER = b"application/graphql-response+json"
ROUTES = {
    "type": "inline",
    "backends": {"gone": {"endpoints": ["http://gone.test:80"]}},
    "routes": [{"name": "gone", "match": {"path": "/gone"}, "to": "gone"}],
}


def gateway() -> Any:
    return in_memory({"sources": [ROUTES]}, plugins=[daemun_graphql_errors], only=["http1", "file"])


@pytest.mark.parametrize(
    "headers",
    [
        [("Accept", "application/graphql-response+json; charset=utf-8, application/json;q=0.9")],
        [("Content-Type", "Application/GraphQL")],
    ],
)
async def test_an_error_is_one_of_graphql(headers: list[tuple[str, str]]) -> None:
    async with gateway() as one:
        answer = await one.ask("POST", "/nowhere", headers=headers, content=b"{ me { name } }")
        assert (answer.status, answer.field(b"content-type")) == (404, ANSWER)
        (error,) = msgspec.json.decode(answer.body)["errors"]
        assert error == {"message": "no route matches", "extensions": {"code": "NO_ROUTE", "side": "gateway"}}
        answer = await one.ask("POST", "/gone", headers=headers)
        (error,) = msgspec.json.decode(answer.body)["errors"]
        assert (answer.status, error["extensions"]) == (502, {"code": "CONNECT_FAILED", "side": "upstream"})


@pytest.mark.parametrize("headers", [[], [("Accept", "*/*")], [("Accept", "application/json")]])
async def test_others_get_none_of_graphql(headers: list[tuple[str, str]]) -> None:
    async with gateway() as one:
        answer = await one.ask(target="/nowhere", headers=headers)
        assert answer.status == 404
        assert answer.field(b"content-type") != ANSWER


async def test_it_keeps_the_contract_of_dialects() -> None:
    (dialect,) = daemun_graphql_errors.daemun_dialects()
    await check_dialect(dialect)
