"""A folder to serve, with a secret beside it, and a way to ask for its files."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from daemun import EMPTY, BackendContext, Exchange, Handler, Peer, Request, header
from daemun_static import StaticSettings, daemun_backends


class Answer(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    length: int | None
    body: bytes

    def field(self, name: bytes) -> bytes | None:
        return header(self.headers, name)


class Site:
    """`root`, which is served, in `outside`, which is not and holds `secret.txt`."""

    def __init__(self, outside: Path) -> None:
        self.outside = outside
        self.root = outside / "root"
        self.root.mkdir()
        self.secret = b"the secret beside the root"
        (outside / "secret.txt").write_bytes(self.secret)

    def write(self, name: str, content: bytes = b"content") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    @asynccontextmanager
    async def serve(self, **settings: Any) -> AsyncIterator[Handler]:
        """The handler that a settings file with `settings` gives."""
        (kind,) = daemun_backends()
        decoded = msgspec.convert({"root": "root", **settings}, kind.settings)
        assert isinstance(decoded, StaticSettings)
        async with kind.build(decoded, BackendContext(name="site", base_dir=self.outside)) as handler:
            yield handler

    async def ask(self, target: bytes, *fields: tuple[bytes, bytes], method: bytes = b"GET", **settings: Any) -> Answer:
        """What a fresh back end answers to one request."""
        async with self.serve(**settings) as handler:
            return await self.fetch(handler, target, *fields, method=method)

    @classmethod
    async def fetch(
        cls, handler: Handler, target: bytes, *fields: tuple[bytes, bytes], method: bytes = b"GET"
    ) -> Answer:
        """What `handler` answers, read as a driver reads it."""
        response = await handler(cls.request(target, *fields, method=method))
        content = b""
        try:
            while chunk := await response.body.read():
                content += chunk
        finally:
            await response.body.aclose()
        return Answer(response.status, response.headers, response.body.length, content)

    @staticmethod
    def request(target: bytes, *fields: tuple[bytes, bytes], method: bytes = b"GET") -> Request:
        return Request(method, target, b"example.com", fields, EMPTY, Exchange(Peer()))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def open_files() -> Callable[[], int]:
    """How many descriptors the process holds."""
    return lambda: len(os.listdir("/proc/self/fd"))
