"""Back ends as Knative has them: they answer probes themselves, and tell who they are.

`python backends.py ADDRESS…` listens on port 8012 of each address until it is ended. The content of an answer is the
address, and after a space the request's header `x-version`. `/slow` takes half a second.
"""

from __future__ import annotations

import re
import sys

import anyio
from anyio.abc import SocketAttribute, SocketStream

__all__ = ["PORT"]

PORT = 8012

_HASH = re.compile(rb"\r\nk-network-hash: *([^\r]*)", re.IGNORECASE)
_PROBE = re.compile(rb"\r\nk-network-probe: *probe\r", re.IGNORECASE)
_VERSION = re.compile(rb"\r\nx-version: *([^\r]*)", re.IGNORECASE)
_SLOW_SECONDS = 0.5


async def _serve(stream: SocketStream) -> None:
    """Requests without content, one after the other."""
    own = str(stream.extra(SocketAttribute.local_address)[0])
    data = b""
    async with stream:
        try:
            while True:
                head, end, rest = data.partition(b"\r\n\r\n")
                if not end:
                    data += await stream.receive()
                    continue
                data = rest
                if head.startswith(b"GET /slow"):
                    await anyio.sleep(_SLOW_SECONDS)
                await stream.send(_answer(own, head + b"\r\n"))
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


def _answer(own: str, head: bytes) -> bytes:
    fields = b""
    if _PROBE.search(head) and (asked := _HASH.search(head)):
        fields = b"k-network-hash: " + asked[1] + b"\r\n"
    version = _VERSION.search(head)
    content = own.encode() + (b" " + version[1] if version else b"")
    return b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%s" % (fields, len(content), content)


async def _main(addresses: list[str]) -> None:
    async with anyio.create_task_group() as tasks:
        for address in addresses:
            listener = await anyio.create_tcp_listener(local_host=address, local_port=PORT, backlog=1024)
            tasks.start_soon(listener.serve, _serve)
        print("ready", flush=True)


if __name__ == "__main__":
    anyio.run(_main, sys.argv[1:], backend_options={"use_uvloop": True})
