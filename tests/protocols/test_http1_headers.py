"""What a head looks like on the other side: targets, hosts, hop-by-hop fields, what is told about the client."""

from __future__ import annotations

import pytest

from daemun.testing import Scene, proxying

pytestmark = pytest.mark.anyio


async def test_fields_are_passed_on_in_order_with_names_in_lower_case(codec: str) -> None:
    async def answer(scene: Scene) -> None:
        await scene.request()
        await scene.send(
            b"HTTP/1.1 299 Odd but fine\r\nX-B: 1\r\nx-a: 2\r\nX-B:3\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n"
            b"X-Empty:\r\nX-Latin: caf\xe9\r\nContent-Length: 0\r\n\r\n"
        )
        await scene.gone()

    async with proxying(answer, http1={"codec": codec}) as proxy:
        answer_ = await proxy.ask(
            b"GET /p%C3%A9;x=1?q=%2F&r=a+b HTTP/1.1\r\nHost: A.Test:80\r\nX-B: 1\r\nx-a:\t2 \r\nX-B: 3\r\n"
            b"Cookie: a=b\r\nX-Empty:\r\nX-Latin: caf\xe9\r\n\r\n"
        )
        (asked,) = proxy.upstream.asked
        assert asked.target == b"/p%C3%A9;x=1?q=%2F&r=a+b"
        assert asked.headers[0] == (b"host", b"a.test:80")
        assert asked.headers[1:7] == (
            (b"x-b", b"1"),
            (b"x-a", b"2"),
            (b"x-b", b"3"),
            (b"cookie", b"a=b"),
            (b"x-empty", b""),
            (b"x-latin", b"caf\xe9"),
        )
        assert answer_.status == 299
        assert answer_.headers[:7] == (
            (b"x-b", b"1"),
            (b"x-a", b"2"),
            (b"x-b", b"3"),
            (b"set-cookie", b"a=b"),
            (b"set-cookie", b"c=d"),
            (b"x-empty", b""),
            (b"x-latin", b"caf\xe9"),
        )


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"PATCH", b"PROPFIND", b"M-SEARCH", b"BREW"])
async def test_any_method_is_passed_on(method: bytes, codec: str) -> None:
    async with proxying(http1={"codec": codec}) as proxy:
        answer = await proxy.ask(method + b" / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (answer.status, proxy.upstream.asked[0].method) == (200, method)


async def test_trace_is_refused() -> None:
    async with proxying() as proxy:
        assert (await proxy.ask(b"TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n")).status == 405
        assert proxy.upstream.connections == 0


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"http://B.test/x?y", b"b.test", b"/x?y"),
        (b"http://b.test:8080", b"b.test:8080", b"/"),
        (b"HTTP://b.test?y", b"b.test", b"/?y"),
        (b"http://[::1]:81/a", b"[::1]:81", b"/a"),
        (b"http://b.test:/a", b"b.test", b"/a"),
    ],
)
async def test_an_absolute_target_says_the_host(target: bytes, host: bytes, path: bytes, codec: str) -> None:
    async with proxying(http1={"codec": codec}) as proxy:
        answer = await proxy.ask(b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % target)
        assert answer.status == 200
        (asked,) = proxy.upstream.asked
        assert (asked.target, asked.values(b"host")) == (path, [host])
        assert asked.field(b"x-forwarded-host") == host


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"https://a.test/", 421),
        (b"ftp://a.test/", 400),
        (b"http:///x", 400),
        (b"http://user@a.test/", 400),
        (b"http://a.test:x/", 400),
        (b"http://a.test/#x", 400),
        (b"a.test", 400),
        (b"*", 400),
        (b"/a/../b", 400),
        (b"/a/%2e%2E/b", 400),
        (b"/a\\..\\b", 400),
        (b"/a#b", 400),
        (b"/a%00", 400),
    ],
)
async def test_targets_that_could_be_read_in_two_ways_are_refused(target: bytes, status: int) -> None:
    async with proxying() as proxy:
        answer = await proxy.ask(b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % target)
        assert (answer.status, answer.field(b"connection")) == (status, b"close")
        assert proxy.upstream.connections == 0


async def test_options_may_ask_for_the_server_itself() -> None:
    async with proxying(route={"match": {"regex": ".*"}}) as proxy:
        assert (await proxy.ask(b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n")).status == 200
        assert proxy.upstream.asked[0].target == b"*"


@pytest.mark.parametrize(
    "hosts",
    [
        b"",
        b"Host: a.test\r\nHost: a.test\r\n",
        b"Host: a.test, b.test\r\n",
        b"Host: a test\r\n",
        b"Host: a.test/x\r\n",
        b"Host: user@a.test\r\n",
        b"Host: a.test:65536\r\n",
        b"Host: [::1\r\n",
        b"Host: a%2fb\r\n",
        b"Host: \r\n",
    ],
)
async def test_a_request_needs_one_good_host(hosts: bytes, codec: str) -> None:
    async with proxying(http1={"codec": codec}) as proxy:
        assert (await proxy.ask(b"GET / HTTP/1.1\r\n%b\r\n" % hosts)).status == 400
        assert proxy.upstream.connections == 0


async def test_an_http10_request_needs_no_host() -> None:
    async with proxying() as proxy:
        assert (await proxy.ask(b"GET / HTTP/1.0\r\n\r\n")).status == 200
        assert proxy.upstream.asked[0].values(b"host") == [b""]


async def test_hop_by_hop_fields_stop_here_and_so_do_those_that_connection_names(codec: str) -> None:
    async def answer(scene: Scene) -> None:
        await scene.request()
        await scene.send(
            b"HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
            b"Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-End: 1\r\nContent-Length: 2\r\n\r\nok"
        )
        await scene.gone()

    async with proxying(answer, http1={"codec": codec}) as proxy:
        got = await proxy.ask(
            b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, X-Hop ,,x-other\r\nConnection: X-Third\r\n"
            b"X-Hop: 1\r\nX-Hop: 2\r\nX-Other: 3\r\nX-Third: 4\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy: x\r\n"
            b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\nX-End: 1\r\n\r\n"
        )
        names = {name for name, _ in proxy.upstream.asked[0].headers}
        assert names == {b"host", b"x-end", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"via"}
        assert {name for name, _ in got.headers} == {b"x-end", b"content-length"}


async def test_connection_cannot_take_host_or_framing_away(codec: str) -> None:
    async with proxying(http1={"codec": codec}) as proxy:
        await proxy.ask(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nConnection: host, content-length, x-forwarded-for\r\n"
            b"Content-Length: 2\r\n\r\nab"
        )
        (asked,) = proxy.upstream.asked
        assert (asked.field(b"host"), asked.body) == (b"a.test", b"ab")
        assert asked.field(b"x-forwarded-for") == b"127.0.0.1"


async def test_via_names_the_gateway_and_the_clients_version() -> None:
    async with proxying() as proxy:
        wire = await proxy.connect()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nVia: 1.1 first\r\n\r\n")
        await wire.answer()
        await wire.send(b"GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n")
        await wire.answer()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await wire.answer()
        assert [asked.values(b"via") for asked in proxy.upstream.asked] == [
            [b"1.1 first", b"1.1 daemun"],
            [b"1.0 daemun"],
            [b"1.1 daemun"],
        ]


async def test_via_can_be_renamed_or_left_out() -> None:
    for via, values in (("edge", [b"1.1 edge"]), ("", [])):
        async with proxying(listener={"forwarded": {"via": via}}) as proxy:
            await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert proxy.upstream.asked[0].values(b"via") == values


CLAIMS = (
    b"GET / HTTP/1.1\r\nHost: a.test:81\r\n"
    b"X-Forwarded-For: 9.9.9.9, 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n"
    b"X-Forwarded-Proto: ftp\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: claimed.test\r\n"
    b'Forwarded: for=9.9.9.9;proto=ftp, for="[2001:db8::1]";proto=https\r\nX-Real-IP: 9.9.9.9\r\n\r\n'
)


@pytest.mark.parametrize(
    ("hops", "x_for", "x_proto", "x_host", "forwarded"),
    [
        (0, b"127.0.0.1", b"http", b"a.test:81", b""),
        (1, b"2.2.2.2, 127.0.0.1", b"https", b"claimed.test", b'for="[2001:db8::1]";proto=https, '),
        (
            2,
            b"1.1.1.1, 2.2.2.2, 127.0.0.1",
            b"https",
            b"claimed.test",
            b'for=9.9.9.9;proto=ftp, for="[2001:db8::1]";proto=https, ',
        ),
    ],
)
async def test_what_a_client_claims_counts_as_far_as_proxies_in_front_are_trusted(
    hops: int, x_for: bytes, x_proto: bytes, x_host: bytes, forwarded: bytes, codec: str
) -> None:
    listener = {"forwarded": {"trusted_hops": hops, "forwarded": True}}
    async with proxying(listener=listener, http1={"codec": codec}) as proxy:
        await proxy.ask(CLAIMS)
        (asked,) = proxy.upstream.asked
        assert asked.values(b"x-forwarded-for") == [x_for]
        assert asked.values(b"x-forwarded-proto") == [x_proto]
        assert asked.values(b"x-forwarded-host") == [x_host]
        assert asked.values(b"forwarded") == [forwarded + b'for=127.0.0.1;host="a.test:81";proto=http']
        assert asked.values(b"x-real-ip") == []


async def test_trusted_proxies_that_claim_nothing_add_nothing() -> None:
    listener = {"forwarded": {"trusted_hops": 2, "forwarded": True}}
    async with proxying(listener=listener) as proxy:
        await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: ,\r\nForwarded:\r\n\r\n")
        for asked in proxy.upstream.asked:
            assert asked.values(b"x-forwarded-for") == [b"127.0.0.1"]
            assert asked.values(b"forwarded") == [b"for=127.0.0.1;host=a.test;proto=http"]


async def test_what_is_told_about_the_client_is_told_for_each_request_of_a_connection() -> None:
    async with proxying(listener={"forwarded": {"trusted_hops": 1}}) as proxy:
        wire = await proxy.connect()
        for host, claim in ((b"a.test", b"1.1.1.1"), (b"b.test", b""), (b"b.test", b"2.2.2.2"), (b"a.test", b"")):
            field = b"X-Forwarded-For: %b\r\n" % claim if claim else b""
            await wire.send(b"GET / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (host, field))
            await wire.answer()
        told = [(asked.field(b"x-forwarded-for"), asked.field(b"x-forwarded-host")) for asked in proxy.upstream.asked]
        assert told == [
            (b"1.1.1.1, 127.0.0.1", b"a.test"),
            (b"127.0.0.1", b"b.test"),
            (b"2.2.2.2, 127.0.0.1", b"b.test"),
            (b"127.0.0.1", b"a.test"),
        ]


async def test_connection_cannot_hide_a_trusted_claim_half() -> None:
    async with proxying(listener={"forwarded": {"trusted_hops": 1}}) as proxy:
        await proxy.ask(
            b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: X-Forwarded-For\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n"
        )
        assert proxy.upstream.asked[0].values(b"x-forwarded-for") == [b"127.0.0.1"]


async def test_field_names_with_an_underscore_are_dropped_refused_or_kept(codec: str) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a.test\r\nX_Forwarded_For: 6.6.6.6\r\nX-Ok: a_b\r\nContent_Length: 7\r\n\r\n"
    for policy, status, kept in (("drop", 200, False), ("refuse", 400, False), ("keep", 200, True)):
        async with proxying(http1={"codec": codec, "underscores": policy}) as proxy:
            assert (await proxy.ask(request)).status == status
            for asked in proxy.upstream.asked:
                assert asked.field(b"x-ok") == b"a_b"
                assert asked.field(b"x_forwarded_for") == (b"6.6.6.6" if kept else None)
            assert len(proxy.upstream.requests) == (status == 200)


async def test_underscores_in_values_alone_are_never_refused() -> None:
    async with proxying(http1={"underscores": "refuse"}) as proxy:
        assert (await proxy.ask(b"GET /a_b HTTP/1.1\r\nHost: a.test\r\nX: a_b\r\n\r\n")).status == 200
