"""Functions get events, and their answers are responses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import daemun_lambda
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun.testing import in_memory
from daemun.testing.batteries import check_backend

pytestmark = pytest.mark.anyio

Write = Callable[[str], str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """Writes a module with a function `handler`; returns what to name in the settings."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(source: str) -> str:
        name = f"function_{abs(hash(request.node.nodeid))}"
        (tmp_path / f"{name}.py").write_text(source)
        return f"{name}.handler"

    return write


def gateway(handler: str, **settings: Any) -> Any:
    source = {
        "type": "inline",
        "backends": {"f": {"type": "lambda", "settings": {"handler": handler, **settings}}},
        "routes": [{"name": "all", "to": "f"}],
    }
    return in_memory({"sources": [source]}, plugins=[daemun_lambda], only=["http1", "file"])


async def test_the_function_gets_the_event(written: Write) -> None:
    async with gateway(written("def handler(event, context):\n    return event\n")) as one:
        answer = await one.ask(
            "POST", "/a/b?x=1&x=2&y=", headers=[("Cookie", "a=1; b=2"), ("X-Two", "1"), ("X-Two", "2")], content=b"hi"
        )
        event = msgspec.json.decode(answer.body)
    assert (event["rawPath"], event["rawQueryString"], event["body"]) == ("/a/b", "x=1&x=2&y=", "hi")
    assert event["queryStringParameters"] == {"x": "1,2", "y": ""}
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["headers"]["x-two"] == "1,2"
    assert event["requestContext"]["http"]["method"] == "POST"


async def test_binary_content_goes_both_ways(written: Write) -> None:
    source = (
        "def handler(event, context):\n"
        "    return {'statusCode': 201, 'isBase64Encoded': True, 'body': event['body'],\n"
        "            'headers': {'Content-Type': 'image/png', 'Content-Length': '1'}, 'cookies': ['a=1', 'b=2']}\n"
    )
    async with gateway(written(source)) as one:
        answer = await one.ask("POST", content=b"\x89PNG\xff")
    assert (answer.status, answer.body, answer.field(b"content-type")) == (201, b"\x89PNG\xff", b"image/png")
    assert [value for name, value in answer.headers if name == b"set-cookie"] == [b"a=1", b"b=2"]


@pytest.mark.parametrize(
    ("source", "settings", "status", "reason"),
    [
        ("def handler(event, context): 1 / 0\n", {}, 500, b"plugin_fault"),
        ("def handler(event, context): return {'statusCode': 'what'}\n", {}, 500, b"plugin_fault"),
        ("def handler(event, context): return 'x'\n", {"max_content_bytes": 1}, 413, b"content_too_large"),
    ],
)
async def test_faults_are_told(
    written: Write, source: str, settings: dict[str, Any], status: int, reason: bytes
) -> None:
    async with gateway(written(source), **settings) as one:
        answer = await one.ask("POST", content=b"abc")
    assert (answer.status, answer.field(b"x-daemun-reason")) == (status, reason)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])  # a thread takes real time
async def test_a_function_that_takes_too_long_is_left_to_itself(written: Write) -> None:
    released = threading.Event()
    threading.released = released  # type: ignore[attr-defined]  # where the function finds it
    source = "import threading\ndef handler(event, context):\n    threading.released.wait(30)\n"
    try:
        async with gateway(written(source), timeout_seconds=0.05) as one:
            answer = await one.ask()
    finally:
        released.set()
    assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"upstream_timeout")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
async def test_whatever_is_returned_is_an_answer(answer: Any) -> None:
    response = daemun_lambda.response_of(answer)
    content = await response.body.read()
    assert response.status == 200
    assert content.decode() == answer if isinstance(answer, str) else msgspec.json.decode(content) == answer


async def test_it_keeps_the_contract_of_back_ends(written: Write, tmp_path: Path) -> None:
    (kind,) = daemun_lambda.daemun_backends()
    handler = written("def handler(event, context): return 'ok'\n")
    await check_backend(kind, {"handler": handler}, base_dir=tmp_path)
