"""A reverse proxy as one writes it with aiohttp: streamed both ways, connections kept, hop-by-hop fields dropped.

python aiohttp_proxy.py SETTINGS.json, started by the suite with the Python that has aiohttp.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web  # type: ignore[import-not-found,unused-ignore]

_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host")
)
_PIECE_BYTES = 64 * 1024


def application(settings: dict[str, Any]) -> Any:
    """The proxy as an aiohttp application."""
    base = f"http://127.0.0.1:{settings['origin']}"
    hosts = frozenset(settings["hosts"])
    sessions: list[Any] = []

    async def opened(_: Any) -> Any:
        connector = TCPConnector(limit=0, keepalive_timeout=600)
        async with ClientSession(connector=connector, auto_decompress=False, timeout=ClientTimeout()) as session:
            sessions.append(session)
            yield

    async def handle(request: Any) -> Any:
        if hosts and request.host.partition(":")[0] not in hosts:
            return web.Response(status=404)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        headers += [("Host", request.host), ("X-Forwarded-For", request.remote), ("X-Forwarded-Proto", request.scheme)]
        async with sessions[0].request(
            request.method,
            base + request.raw_path,
            headers=headers,
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        ) as upstream:
            kept = [(name, value) for name, value in upstream.headers.items() if name.lower() not in _HOP_BY_HOP]
            length = upstream.content_length
            if length is not None and length <= _PIECE_BYTES:
                return web.Response(status=upstream.status, headers=kept, body=await upstream.read())
            response = web.StreamResponse(status=upstream.status, headers=kept)
            await response.prepare(request)
            async for piece in upstream.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    app = web.Application(client_max_size=0)
    app.cleanup_ctx.append(opened)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


def main() -> None:
    """Serves until it is told to stop."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    context = None
    if settings["certificate"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings["certificate"], settings["key"])
    try:
        import uvloop  # type: ignore[import-not-found,unused-ignore]

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    except ImportError:
        loop = asyncio.new_event_loop()
    web.run_app(
        application(settings),
        host="127.0.0.1",
        port=settings["port"],
        ssl_context=context,
        access_log=None,
        print=None,
        loop=loop,
        keepalive_timeout=600,
        backlog=4096,
    )


if __name__ == "__main__":
    main()
