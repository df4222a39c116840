"""Keys in fields and in the query, consumers, what upstreams see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import daemun_key_auth
import msgspec
import pytest

from daemun.testing import MemoryGateway, answer_ok, in_memory
from daemun.testing.batteries import check_filter

pytestmark = pytest.mark.anyio

CONSUMERS = {"ada": ["ada-key", "sha256:" + sha256(b"second").hexdigest()], "bob": ["bob-key"]}


@asynccontextmanager
async def guarded(**settings: Any) -> AsyncIterator[MemoryGateway]:
    filters = [{"type": "key-auth", "settings": {"consumers": CONSUMERS, **settings}}]
    source = {
        "type": "inline",
        "backends": {"up": {"endpoints": ["http://up.test:80"]}},
        "routes": [{"name": "all", "to": "up", "filters": filters}],
    }
    opened = in_memory(
        {"sources": [source]}, plugins=[daemun_key_auth], only=["http1", "file"], upstreams={"up.test:80": answer_ok}
    )
    async with opened as gateway:
        yield gateway


def seen(gateway: MemoryGateway) -> tuple[bytes, dict[bytes, bytes]]:
    asked = gateway.upstream["up.test:80"].asked[-1]
    return asked.target, dict(asked.headers)


@pytest.mark.parametrize(("key", "consumer"), [("ada-key", b"ada"), ("second", b"ada"), ("bob-key", b"bob")])
async def test_a_key_names_its_consumer(key: str, consumer: bytes) -> None:
    async with guarded() as gateway:
        for target, headers in (("/", [("apikey", key)]), (f"/?x=1&apikey={key}", [])):
            assert (await gateway.ask(target=target, headers=headers)).status == 200
            assert seen(gateway)[1][b"x-consumer-username"] == consumer


@pytest.mark.parametrize(
    ("target", "headers", "words"),
    [
        ("/", [], "No API key found in request"),
        ("/", [("apikey", "nobodys")], "Unauthorized"),
        ("/?apikey=ada-key", [("apikey", "bob-key")], "Duplicate API key found"),
    ],
)
async def test_who_has_no_key_is_not_let_in(target: str, headers: list[tuple[str, str]], words: str) -> None:
    async with guarded() as gateway:
        answer = await gateway.ask(target=target, headers=headers)
        assert (answer.status, msgspec.json.decode(answer.body)) == (401, {"message": words})
        assert answer.field(b"www-authenticate") == b'Key realm="daemun"'
        assert gateway.upstream["up.test:80"].asked == []


async def test_a_key_can_be_hidden_from_the_upstream() -> None:
    async with guarded(hide_credentials=True) as gateway:
        await gateway.ask(target="/a?apikey=ada-key&b=%20", headers=[("apikey", "ada-key")])
        target, headers = seen(gateway)
        assert target == b"/a?b=%20"
        assert b"apikey" not in headers


async def test_a_client_cannot_say_who_it_is() -> None:
    async with guarded(anonymous="guest") as gateway:
        await gateway.ask(headers=[("X-Consumer-Username", "root"), ("X-Consumer-Id", "1")])
        headers = seen(gateway)[1]
        assert headers[b"x-consumer-username"] == b"guest"
        assert headers[b"x-anonymous-consumer"] == b"true"
        assert b"x-consumer-id" not in headers


async def test_preflights_may_pass() -> None:
    async with guarded(run_on_preflight=False) as gateway:
        assert (await gateway.ask("OPTIONS")).status == 200
        assert (await gateway.ask()).status == 401


async def test_it_keeps_the_contract_of_filters() -> None:
    (kind,) = daemun_key_auth.daemun_filters()
    await check_filter(kind, {"consumers": CONSUMERS}, headers=((b"apikey", b"ada-key"),))
