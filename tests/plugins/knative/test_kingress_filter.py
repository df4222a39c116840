"""Probes learn which version of an Ingress a route is of; nobody else is touched."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from daemun import EMPTY, Exchange, FilterContext, Handler, Headers, Layer, Peer, Request, Response
from daemun_knative.kingress.filter import PROBE_FILTER, ProbeSettings

pytestmark = pytest.mark.anyio

TOKEN = "0123456789abcdef" * 4


async def sent_on(headers: Headers, tmp_path: Path) -> Request:
    """What comes out behind the filter."""
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return Response(200)

    settings = ProbeSettings(hash=TOKEN)
    async with PROBE_FILTER.build(settings, FilterContext("knative-probe", tmp_path)) as layer:
        wrapped: Handler = layer(handler)
        request = Request(b"GET", b"/healthz", b"a.example.com", headers, EMPTY, Exchange(Peer()))
        await wrapped(request)
    if seen[0].headers == headers:
        assert seen[0] is request
    return seen[0]


async def test_a_probe_takes_the_token_along_and_all_else_of_it_stays(tmp_path: Path) -> None:
    headers = (
        (b"k-network-probe", b"probe"),
        (b"k-network-hash", b"override"),
        (b"user-agent", b"Knative-Ingress-Probe"),
    )
    request = await sent_on(headers, tmp_path)
    assert sorted(request.headers) == sorted(
        ((b"k-network-probe", b"probe"), (b"k-network-hash", TOKEN.encode()), (b"user-agent", b"Knative-Ingress-Probe"))
    )


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"accept", b"*/*"),),
        ((b"k-network-hash", b"anything"),),
        ((b"k-network-hash", b""),),
        ((b"k-network-hash", b"Override"),),
        ((b"k-network-hash", b"override2"),),
        ((b"k-network-probe", b"override"),),
        ((b"k-network-hash", TOKEN.encode()),),
    ],
)
async def test_any_other_request_passes_as_it_is(headers: Headers, tmp_path: Path) -> None:
    assert (await sent_on(headers, tmp_path)).headers == headers


@pytest.mark.parametrize("value", ["", "override", TOKEN[1:], TOKEN.upper(), f"{TOKEN}\n"])
def test_what_is_no_token_is_refused(value: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"hash": value}, ProbeSettings)


async def test_one_layer_serves_many_routes(tmp_path: Path) -> None:
    async with PROBE_FILTER.build(ProbeSettings(hash=TOKEN), FilterContext("x", tmp_path)) as layer:
        shared: Layer = layer

        async def one(request: Request) -> Response:
            return Response(201)

        async def two(request: Request) -> Response:
            return Response(202)

        request = Request(b"GET", b"/", b"a", (), EMPTY, Exchange(Peer()))
        assert [(await shared(handler)(request)).status for handler in (one, two)] == [201, 202]
