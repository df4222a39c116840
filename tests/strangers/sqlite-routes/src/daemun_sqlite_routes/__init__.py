"""`sqlite`: each row of the table `routes` of a SQLite database is a route, as long as it is there.

Columns: `host`, `path` (a prefix by segments, "/" if null) and `address` (`host:port` of the upstream).
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
from msgspec import Meta, Struct

from daemun import (
    BackendSpec,
    EndpointSpec,
    Forward,
    HostKind,
    HostMatch,
    ObjectStatus,
    PathKind,
    PathMatch,
    Publish,
    RouteSpec,
    Snapshot,
    Source,
    SourceContext,
    SourceType,
    Split,
    hookimpl,
)

_QUERY = "SELECT rowid, host, coalesce(path, '/'), address FROM routes ORDER BY length(path) DESC, rowid"

Rows = list[tuple[int, str, str, str]]


class SqliteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Of the source."""

    file: str
    """The database, from the folder of the settings file."""
    interval_seconds: Annotated[float, Meta(gt=0)] = 1.0
    """How often the database is asked whether it changed."""


class SqliteSource:
    """Publishes the table whenever it is another one."""

    def __init__(self, file: Path, interval_seconds: float) -> None:
        self._file = file
        self._interval_seconds = interval_seconds
        self._again = anyio.Event()

    async def run(self, publish: Publish) -> None:
        published: Rows | None = None
        while True:
            rows = await anyio.to_thread.run_sync(self._read)
            if rows != published or self._again.is_set():
                self._again = anyio.Event()
                await publish(self._snapshot(rows))
                published = rows
            with anyio.move_on_after(self._interval_seconds):
                await self._again.wait()

    def reload(self) -> None:
        self._again.set()

    def _read(self) -> Rows:
        with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)) as database:
            return database.execute(_QUERY).fetchall()

    def _snapshot(self, rows: Rows) -> Snapshot:
        routes: list[RouteSpec] = []
        backends: list[BackendSpec] = []
        refused: list[ObjectStatus] = []
        for number, host, path, address in rows:
            name, origin = f"row-{number}", f"{self._file.name}:routes:{number}"
            if not isinstance(host, str) or not isinstance(address, str):
                refused.append(ObjectStatus("row", name, origin, "host and address are needed"))
                continue
            kind, value = (HostKind.ONE_LABEL, host[2:]) if host.startswith("*.") else (HostKind.EXACT, host)
            backends.append(BackendSpec(name, endpoints=(EndpointSpec(address),), origin=origin))
            routes.append(
                RouteSpec(
                    name,
                    Forward((Split(name),)),
                    (HostMatch(kind, value),),
                    path=PathMatch(PathKind.SEGMENT_PREFIX, path),
                    origin=origin,
                )
            )
        return Snapshot(tuple(routes), tuple(backends), tuple(refused))


@asynccontextmanager
async def build(settings: SqliteSettings, context: SourceContext) -> AsyncIterator[Source]:
    yield SqliteSource(context.base_dir / settings.file, settings.interval_seconds)


@hookimpl
def daemun_sources() -> Iterable[SourceType]:
    return [SourceType("sqlite", SqliteSettings, build)]
