"""Requests at a constant rate, and what became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketStream
from msgspec import Struct

__all__ = ["Answer", "Load", "ask", "first_answer", "load", "until_answered"]

_TIMEOUT_SECONDS = 10.0
_PAUSE_SECONDS = 0.02
_KNOCK_SECONDS = 0.005
_BROKEN = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, TimeoutError, ValueError)


class Answer(Struct, frozen=True):
    """What came back."""

    at: float
    """When it had come, in seconds of `anyio.current_time`."""
    status: int
    content: str
    closes: bool = False


class _Client:
    """One connection at a time."""

    def __init__(self, address: tuple[str, int], host: str, path: str) -> None:
        self._address = address
        self._request = f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
        self._stream: SocketStream | None = None

    @property
    def connected(self) -> bool:
        return self._stream is not None

    async def ask(self) -> Answer:
        try:
            with anyio.fail_after(_TIMEOUT_SECONDS):
                if self._stream is None:
                    self._stream = await anyio.connect_tcp(*self._address)
                await self._stream.send(self._request)
                answer = await self._receive(self._stream)
        except BaseException:
            await self.close()
            raise
        if answer.closes:
            await self.close()
        return answer

    async def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    async def _receive(self, stream: SocketStream) -> Answer:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, content = data.partition(b"\r\n\r\n")
        line, *fields = head.decode().lower().split("\r\n")
        values = dict(field.split(": ", 1) for field in fields)
        length = int(values["content-length"])
        while len(content) < length:
            content += await stream.receive()
        closes = values.get("connection") == "close"
        return Answer(anyio.current_time(), int(line.split()[1]), content.decode(), closes)


async def ask(address: str, host: str, path: str = "/", port: int = 80) -> Answer:
    """One answer, on a connection of its own."""
    client = _Client((address, port), host, path)
    try:
        return await client.ask()
    finally:
        await client.close()


async def first_answer(address: str, host: str, *, port: int = 80, seconds: float = 60.0) -> Answer:
    """The first answer of somebody who does not listen yet, perhaps. Raises `TimeoutError`."""
    with anyio.fail_after(seconds):
        while True:
            try:
                return await ask(address, host, port=port)
            except OSError:
                await anyio.sleep(_KNOCK_SECONDS)


async def until_answered(
    address: str, host: str, condition: Callable[[Answer], bool], *, port: int = 80, seconds: float = 30.0
) -> Answer:
    """The first answer that is so, asked for again and again. Raises `TimeoutError`."""
    with anyio.fail_after(seconds):
        while True:
            answer = await ask(address, host, port=port)
            if condition(answer):
                return answer
            await anyio.sleep(_PAUSE_SECONDS)


class Load:
    """Clients that ask for one host. What is no 200 is a failure, and so is a connection that breaks."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.failures: Counter[str] = Counter()
        self.again = 0
        """Requests sent once more: a connection that was in use before may be closed at any time."""
        self._news = anyio.Event()

    async def until(self, condition: Callable[[Answer], bool], seconds: float = 20.0) -> Answer:
        """The first answer from now on that is so. Raises `TimeoutError`."""
        seen = len(self.answers)
        with anyio.fail_after(seconds):
            while True:
                for answer in self.answers[seen:]:
                    if condition(answer):
                        return answer
                seen = len(self.answers)
                await self._news.wait()

    async def run(self, client: _Client, pause_seconds: float, *, keep_alive: bool) -> None:
        """One client, for ever."""
        due = anyio.current_time()
        while True:
            used = client.connected
            try:
                try:
                    answer = await client.ask()
                except _BROKEN:
                    if not used:
                        raise
                    self.again += 1
                    answer = await client.ask()
            except _BROKEN as error:
                self.failures[repr(error)] += 1
            else:
                if answer.status == 200:
                    self.answers.append(answer)
                    self._news.set()
                    self._news = anyio.Event()
                else:
                    self.failures[f"{answer.status} {answer.content[:200]}"] += 1
            if not keep_alive:
                await client.close()
            due = max(due + pause_seconds, anyio.current_time() - 1.0)
            await anyio.sleep_until(due)


@asynccontextmanager
async def load(
    address: str,
    host: str,
    *,
    path: str = "/",
    port: int = 80,
    per_second: float = 200.0,
    clients: int = 4,
    keep_alive: bool = True,
) -> AsyncIterator[Load]:
    """Clients that ask, together so often, until the context is left."""
    one = Load()
    pool = [_Client((address, port), host, path) for _ in range(clients)]

    async def run(client: _Client) -> None:
        try:
            await one.run(client, clients / per_second, keep_alive=keep_alive)
        finally:
            await client.close()

    async with anyio.create_task_group() as tasks:
        for client in pool:
            tasks.start_soon(run, client)
        yield one
        tasks.cancel_scope.cancel()
