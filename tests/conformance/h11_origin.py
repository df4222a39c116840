"""A back end that is in no hurry and reads everything, trailers too: python h11_origin.py PORT. It answers with a page."""

from __future__ import annotations

import sys

import anyio
import h11
from anyio.abc import SocketStream

__all__: list[str] = []

_PAGE = b"a page of some text\n" * 10
_HEAD = h11.Response(status_code=200, headers=[("content-length", str(len(_PAGE))), ("content-type", "text/plain")])


async def _serve(stream: SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    async with stream:
        try:
            while await _request(stream, connection):
                for event in (_HEAD, h11.Data(data=_PAGE), h11.EndOfMessage()):
                    await stream.send(connection.send(event) or b"")
                connection.start_next_cycle()
        except (h11.ProtocolError, anyio.BrokenResourceError, anyio.EndOfStream):
            return


async def _request(stream: SocketStream, connection: h11.Connection) -> bool:
    """Reads one to its end; False: there is none."""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                go_on = connection.send(h11.InformationalResponse(status_code=100, headers=[]))
                await stream.send(go_on or b"")
            try:
                connection.receive_data(await stream.receive())
            except anyio.EndOfStream:
                connection.receive_data(b"")
        elif isinstance(event, h11.EndOfMessage):
            return True
        elif isinstance(event, h11.ConnectionClosed):
            return False


async def _main() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=int(sys.argv[1]))
    await listener.serve(_serve)


if __name__ == "__main__":
    anyio.run(_main)
