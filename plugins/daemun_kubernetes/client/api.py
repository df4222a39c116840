"""A cluster to ask: objects are read, listed, written and applied.

A request is bounded in time and size, waits when the server says so (429, `Retry-After`), and is sent again with
renewed credentials after a 401. What is refused is an `ApiError` in words.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
import msgspec

from daemun import SettingsError
from daemun_kubernetes.client.auth import Credentials
from daemun_kubernetes.client.config import find_target
from daemun_kubernetes.client.errors import ApiError, read_status
from daemun_kubernetes.client.kinds import Kind, KubeObject
from daemun_kubernetes.settings import ClusterSettings

if TYPE_CHECKING:
    from daemun_kubernetes.client.http import Answer, Http

__all__ = ["Body", "Cluster", "open_cluster"]

_PAGE_OBJECTS = 500
_MAX_BYTES = 64 * 1024 * 1024
_MAX_LIST_BYTES = 256 * 1024 * 1024
_MAX_REFUSAL_BYTES = 64 * 1024
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_MERGE_PATCH = "application/merge-patch+json"
_APPLY_PATCH = "application/apply-patch+yaml"
_REASONS = {
    404: "NotFound",
    409: "Conflict",
    410: "Gone",
    429: "TooManyRequests",
    401: "Unauthorized",
    403: "Forbidden",
}
Body = dict[str, Any] | msgspec.Struct
"""What is written: a manifest, or a struct of `kinds`."""
T = TypeVar("T", bound=KubeObject)
X = TypeVar("X")
_List = list  # which a method of the same name hides


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str | None = None
    continue_: str | None = msgspec.field(default=None, name="continue")


class _Page(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    items: tuple[msgspec.Raw, ...] | None = None


_PAGE = msgspec.json.Decoder(_Page)


class _Resource(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool


class _Resources(msgspec.Struct, frozen=True):
    resources: tuple[_Resource, ...] | None = None


@asynccontextmanager
async def open_cluster(settings: ClusterSettings, base_dir: Path) -> AsyncIterator[Cluster]:
    """The cluster that `settings` mean; paths are relative to `base_dir`. No request is made yet.

    Raises `SettingsError` if there is none, or nothing to show for it, or without the extra `kubernetes`.
    """
    try:
        from daemun_kubernetes.client.http import Http
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"a cluster needs the module {error.name}, which is not installed (pip install 'daemun[kubernetes]')"
        ) from error
    target = await anyio.to_thread.run_sync(find_target, settings, base_dir, dict(os.environ))
    http = Http(target, Credentials(target), settings)
    try:
        await http.start()
        yield Cluster(http, target.namespace, settings.watch_timeout_seconds)
    finally:
        with anyio.CancelScope(shield=True):
            await http.aclose()


class Cluster:
    """An API server. `namespace` is where objects are that name none: the Pod's own, the context's, or `default`.

    All methods raise `ApiError`.
    """

    def __init__(self, http: Http, namespace: str, watch_timeout_seconds: float) -> None:
        self.namespace = namespace
        self.server = http.server
        """Its address, for messages."""
        self.watch_timeout_seconds = watch_timeout_seconds
        self._http = http
        self._resources: dict[str, dict[str, _Resource]] = {}

    async def get(self, kind: Kind[T], name: str, namespace: str = "") -> T:
        """One object."""
        namespace = self._namespace(kind, namespace)
        body = await self._ask("GET", kind, namespace, name)
        return self._decode(kind, body, name)

    async def list(self, kind: Kind[T], namespace: str = "", *, labels: str = "", fields: str = "") -> _List[T]:
        """All objects, of all namespaces if none is named, that the selectors choose; read in pages."""
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        return (await self.walk(kind, namespace, query, lambda item: self._decode(kind, item, "")))[1]

    async def walk(
        self, kind: Kind[Any], namespace: str, query: Mapping[str, str], take: Callable[[msgspec.Raw], X]
    ) -> tuple[str, _List[X]]:
        """The resource version of a list, and what `take` makes of each object, page by page.

        If the server forgets the list meanwhile, it is asked once more, for all at once.
        """
        asked = dict(query)
        if query.get("resourceVersion", "0") == "0":  # a limit would turn any other into that version exactly
            asked["limit"] = str(_PAGE_OBJECTS)
        taken: _List[X] = []
        while True:
            try:
                body = await self._ask("GET", kind, namespace, verb="list", query=asked, max_bytes=_MAX_LIST_BYTES)
            except ApiError as error:
                if not error.gone or "continue" not in asked:
                    raise
                asked = {key: value for key, value in query.items() if key != "resourceVersion"}
                taken.clear()
                continue
            try:
                page = _PAGE.decode(body)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                raise self._malformed(kind, "", error) from None
            taken += [take(item) for item in page.items or ()]
            if not page.metadata.continue_:
                return page.metadata.resource_version or "", taken
            asked = {key: value for key, value in asked.items() if key != "resourceVersion"}
            asked["continue"] = page.metadata.continue_

    @asynccontextmanager
    async def watch(
        self, kind: Kind[Any], namespace: str, query: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The events of a watch, as bytes, until the server ends it. Reading raises `ApiError` when it breaks off."""
        from daemun_kubernetes.client.http import Asked

        asked = Asked("GET", kind.path(namespace), {"watch": "true", **query})
        async with self._http.stream(asked) as (head, pieces):
            if head.status != 200:
                body = b""
                async for piece in pieces:
                    body += piece
                    if len(body) > _MAX_REFUSAL_BYTES:
                        break
                answer = msgspec.structs.replace(head, body=body)
                raise self._refused(answer, f"watch {kind.resource}", _where(namespace))
            yield pieces

    async def create(self, kind: Kind[T], body: Body, namespace: str = "") -> T:
        """A new object, as the server made it; its namespace is its own, or else `namespace`."""
        manifest = _manifest(kind, body)
        namespace = self._namespace(kind, manifest["metadata"].get("namespace") or namespace)
        answer = await self._ask("POST", kind, namespace, manifest["metadata"].get("name", ""), body=manifest)
        return self._decode(kind, answer, "")

    async def replace(self, kind: Kind[T], body: Body, *, subresource: str = "") -> T:
        """The whole object, if it still has the resource version that `body` says; else `Conflict`, 409.

        What `body` does not say is gone afterwards: a struct of `kinds` is good for this where it is complete.
        """
        manifest = _manifest(kind, body)
        metadata = manifest["metadata"]
        name = metadata.get("name", "")
        if not name or not metadata.get("resourceVersion"):
            raise ValueError(f"replacing {kind.plural} needs metadata.name and metadata.resourceVersion")
        namespace = self._namespace(kind, metadata.get("namespace", ""))
        answer = await self._ask("PUT", kind, namespace, name, subresource, body=manifest)
        return self._decode(kind, answer, name)

    async def patch(
        self, kind: Kind[T], name: str, namespace: str, body: dict[str, Any], *, subresource: str = ""
    ) -> T:
        """The object with a JSON merge patch; with `metadata.resourceVersion` in it only if it still has that."""
        namespace = self._namespace(kind, namespace)
        answer = await self._ask("PATCH", kind, namespace, name, subresource, body=body, content_type=_MERGE_PATCH)
        return self._decode(kind, answer, name)

    async def delete(self, kind: Kind[Any], name: str, namespace: str = "") -> None:
        """Asks for an object to be deleted; it may be there until its finalizers are done."""
        await self._ask("DELETE", kind, self._namespace(kind, namespace), name)

    async def apply(
        self, manifest: dict[str, Any], *, manager: str, dry_run: bool = False, force: bool = True
    ) -> dict[str, Any]:
        """Any object by server-side apply: `manager` owns the fields that it says, with `force` also another's."""
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        path = await self.locate(manifest)
        answer = await self.raw(
            "PATCH", path, query=query, body=msgspec.json.encode(manifest), content_type=_APPLY_PATCH
        )
        result: dict[str, Any] = msgspec.json.decode(answer, type=dict)
        return result

    async def locate(self, manifest: dict[str, Any]) -> str:
        """The path of an object of any kind, by asking the server where it has that kind.

        `ApiError` 404 if it knows no such kind.
        """
        version, name = str(manifest.get("apiVersion", "")), str(manifest.get("kind", ""))
        known = self._resources.get(version, {}).get(name)
        if known is None:  # perhaps it is new
            base = f"/apis/{version}" if "/" in version else f"/api/{version}"
            listed = msgspec.json.decode(await self.raw("GET", base), type=_Resources)
            self._resources[version] = {
                resource.kind: resource for resource in listed.resources or () if "/" not in resource.name
            }
            known = self._resources[version].get(name)
        if known is None:
            raise ApiError(f"{self.server} knows no kind {name} of {version}", status=404, reason="NotFound")
        kind: Kind[Any] = Kind(name, version, known.name, KubeObject, known.namespaced)
        metadata = manifest.get("metadata", {})
        return kind.path(self._namespace(kind, metadata.get("namespace", "")), metadata.get("name", ""))

    async def raw(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        """Whatever else the server answers, in full."""
        from daemun_kubernetes.client.http import Asked

        answer = await self._http.request(Asked(method, path, query or {}, body, content_type, accept))
        if not 200 <= answer.status < 300:
            raise self._refused(answer, f"{method} {path}", "")
        return answer.body

    async def _ask(
        self,
        method: str,
        kind: Kind[Any],
        namespace: str,
        name: str = "",
        subresource: str = "",
        *,
        verb: str = "",
        query: Mapping[str, str] | None = None,
        body: dict[str, Any] | None = None,
        content_type: str = "application/json",
        max_bytes: int = _MAX_BYTES,
    ) -> bytes:
        from daemun_kubernetes.client.http import Asked

        answer = await self._http.request(
            Asked(
                method,
                kind.path(namespace, "" if method == "POST" else name, subresource),
                query or {},
                b"" if body is None else msgspec.json.encode(body),
                content_type,
                max_bytes=max_bytes,
            )
        )
        if not 200 <= answer.status < 300:
            resource = f"{kind.resource}/{subresource}" if subresource else kind.resource
            raise self._refused(answer, f"{verb or _VERBS[method]} {resource}", _where(namespace, name))
        return answer.body

    def _namespace(self, kind: Kind[Any], namespace: str) -> str:
        return (namespace or self.namespace) if kind.namespaced else ""

    def _decode(self, kind: Kind[T], data: bytes | msgspec.Raw, name: str) -> T:
        try:
            return kind.decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise self._malformed(kind, name, error) from None

    def _malformed(self, kind: Kind[Any], name: str, error: Exception) -> ApiError:
        what = " ".join(part for part in (kind.plural, name) if part)
        return ApiError(f"{self.server} gave {what} that cannot be read: {error}", status=200, reason="Malformed")

    def _refused(self, answer: Answer, right: str, where: str) -> ApiError:
        status, said = answer.status, read_status(answer.body)
        reason = said.reason or _REASONS.get(status, "Unknown")
        words = said.message or "no reason was given"
        if status == 401:
            words = f"the credentials of {self._http.who} are not accepted"
        elif status == 403:
            words = f"{words}; the right to {right} is missing"
        text = f"cannot {right}{where} at {self.server}: {words} ({status} {reason})"
        return ApiError(text, status=status, reason=reason, said=said, retry_after_seconds=answer.retry_after_seconds)


def _where(namespace: str, name: str = "") -> str:
    if name:
        return f" {namespace}/{name}" if namespace else f" {name}"
    return f" in namespace {namespace}" if namespace else ""


def _manifest(kind: Kind[Any], body: Body) -> dict[str, Any]:
    """A copy of `body` that says what it is."""
    value: dict[str, Any] = dict(body) if isinstance(body, dict) else msgspec.to_builtins(body)
    value["apiVersion"], value["kind"] = kind.api_version, kind.kind
    value.setdefault("metadata", {})
    return value
