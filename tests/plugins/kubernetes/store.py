"""What an API server keeps, as the stand-in `api_server` tells it: objects, versions, watches, and how it forgets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec

from .api_server import ApiServer, Call, api_server, status_of

__all__ = ["Store", "store_server"]

Key = tuple[str, str]


class Store:
    """Objects by collection (`/api/v1/configmaps`) and key. Every write has a version of its own."""

    def __init__(self, page_objects: int = 0) -> None:
        self.version = 100
        self.oldest = 0
        """Versions before this one are forgotten."""
        self.page_objects = page_objects
        self.objects: dict[str, dict[Key, dict[str, Any]]] = {}
        self.history: list[tuple[int, str, str, dict[str, Any]]] = []
        """Version, collection, type of event, object."""
        self.extra: list[bytes] = []
        """Lines for all watches that were there when they were said."""
        self.hanging = False
        """Whether requests are read and not answered."""
        self.refusing: tuple[int, str] | None = None
        self.watches = 0
        self._changed = anyio.Event()
        self._lists: dict[int, dict[Key, dict[str, Any]]] = {}
        self._uid = 0

    def put(self, path: str, namespace: str, name: str, **more: Any) -> dict[str, Any]:
        """Creates or replaces an object."""
        kept = self.objects.setdefault(path, {})
        old = kept.get((namespace, name))
        self.version += 1
        if old is None:
            self._uid += 1
        metadata = {
            **more.pop("metadata", {}),
            "name": name,
            "namespace": namespace,
            "uid": old["metadata"]["uid"] if old else f"uid-{self._uid}",
            "resourceVersion": str(self.version),
        }
        value = {**more, "metadata": metadata}
        kept[namespace, name] = value
        self._tell(path, "MODIFIED" if old else "ADDED", value)
        return value

    def remove(self, path: str, namespace: str, name: str) -> None:
        """Deletes an object, if there is one."""
        old = self.objects.get(path, {}).pop((namespace, name), None)
        if old is not None:
            self.version += 1
            last = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.version)}}
            self._tell(path, "DELETED", last)

    def forget(self) -> None:
        """Compaction: nothing before now is known any more."""
        self.oldest = self.version
        self.history.clear()
        self._lists.clear()
        self._wake()

    def say(self, line: bytes) -> None:
        """A line for all watches there are."""
        self.extra.append(line)
        self._wake()

    def bookmark(self) -> None:
        self.say(self.event("BOOKMARK", {"kind": "X", "metadata": {"resourceVersion": str(self.version)}}))

    @staticmethod
    def event(type_: str, value: Any) -> bytes:
        return msgspec.json.encode({"type": type_, "object": value}) + b"\n"

    def _tell(self, path: str, type_: str, value: dict[str, Any]) -> None:
        self.history.append((self.version, path, type_, value))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def handle(self, call: Call) -> None:
        if self.hanging:
            await anyio.sleep_forever()
        if self.refusing is not None:
            await call.refuse(*self.refusing, "no")
            return
        parts = call.path.strip("/").split("/")
        namespace = ""
        if "namespaces" in parts[:-1]:
            at = parts.index("namespaces")
            namespace = parts[at + 1]
            parts = parts[:at] + parts[at + 2 :]
        depth = 3 if parts[0] == "api" else 4
        path, names = "/" + "/".join(parts[:depth]), parts[depth:]
        if names:
            await self._one(call, path, (namespace, names[0]))
        elif call.method == "POST":
            await self._create(call, path, namespace)
        elif call.query.get("watch") == "true":
            await self._watch(call, path, namespace)
        else:
            await self._list(call, path, namespace)

    async def _one(self, call: Call, path: str, key: Key) -> None:
        value = self.objects.get(path, {}).get(key)
        if value is None:
            await call.refuse(404, "NotFound", f"{path} {key[1]!r} not found")
        elif call.method == "GET":
            await call.answer(value)
        elif call.method == "DELETE":
            self.remove(path, *key)
            await call.answer(status_of(200, "Success"))
        else:
            body = call.json
            wanted = body.get("metadata", {}).get("resourceVersion", "")
            if wanted and wanted != value["metadata"]["resourceVersion"]:
                await call.refuse(409, "Conflict", "the object has been modified")
                return
            if call.method == "PATCH":
                body = _merged(value, body)
            await call.answer(self.put(path, *key, **body))

    async def _create(self, call: Call, path: str, namespace: str) -> None:
        body = call.json
        name = body["metadata"]["name"]
        if (namespace, name) in self.objects.get(path, {}):
            await call.refuse(409, "AlreadyExists", f"{name} already exists")
        else:
            await call.answer(self.put(path, namespace, name, **body), 201)

    async def _list(self, call: Call, path: str, namespace: str) -> None:
        wanted = call.query.get("resourceVersion", "")
        if wanted and int(wanted) > self.version:
            causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
            await call.refuse(504, "Timeout", "Too large resource version", causes=causes)
            return
        begun, _, last = call.query.get("continue", "").partition(":")
        if begun and int(begun) < self.oldest:
            await call.refuse(410, "Expired", "the provided continue parameter is too old")
            return
        kept = self._lists[int(begun)] if begun else self.objects.get(path, {})
        items = [value for key, value in sorted(kept.items()) if namespace in ("", key[0])]
        metadata = {"resourceVersion": begun or str(self.version)}
        limit = min(int(call.query.get("limit", "0")), self.page_objects)
        if limit:
            self._lists.setdefault(int(metadata["resourceVersion"]), dict(kept))
            items = [value for value in items if value["metadata"]["name"] > last]
            if len(items) > limit:
                items = items[:limit]
                metadata["continue"] = f"{metadata['resourceVersion']}:{items[-1]['metadata']['name']}"
        await call.answer({"kind": "List", "metadata": metadata, "items": items})

    async def _watch(self, call: Call, path: str, namespace: str) -> None:
        seen = int(call.query["resourceVersion"])
        if seen < self.oldest:
            await call.refuse(410, "Expired", "too old resource version")
            return
        if seen > self.version:
            causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
            await call.refuse(504, "Timeout", "Too large resource version", causes=causes)
            return
        await call.begin()
        self.watches += 1
        said = len(self.extra)
        try:
            while True:
                changed = self._changed
                if seen < self.oldest:  # what it would have been told next is forgotten
                    await call.event("ERROR", status_of(410, "Expired", "too old resource version"))
                    await call.end()
                    return
                for version, where, type_, value in list(self.history):
                    if version > seen:
                        seen = version
                        if where == path and namespace in ("", value["metadata"]["namespace"]):
                            await call.event(type_, value)
                while said < len(self.extra):
                    said += 1
                    await call.send(self.extra[said - 1])
                if changed is self._changed:
                    await changed.wait()
        finally:
            self.watches -= 1


def _merged(value: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, item in patch.items():
        if item is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), item)
    return merged


@asynccontextmanager
async def store_server(store: Store) -> AsyncIterator[ApiServer]:
    """A server that tells what `store` keeps."""
    async with api_server(store.handle) as server:
        yield server
