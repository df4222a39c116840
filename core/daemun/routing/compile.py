"""A route becomes one handler: every choice that settings allow is made here, none on the request path."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from daemun.errors import DaemunError, PluginError, Reason, SettingsError
from daemun.extend.failure import DisableAfter, FailurePolicy
from daemun.extend.fitting import given, listed, managed
from daemun.extend.ordering import in_order
from daemun.extend.places import at
from daemun.extend.registry import Registry
from daemun.extend.types import BackendContext, FilterContext, FilterType, Matcher, MatcherContext
from daemun.handler import Handler, Layer
from daemun.message import Request
from daemun.routing.actions import redirect, respond, split
from daemun.routing.buffering import buffered
from daemun.routing.compiled import CompiledRoute, apart, check_spec, used_backends
from daemun.routing.edit import edit_headers, edit_requests, header_editor, rewriter
from daemun.routing.failing import with_policy
from daemun.routing.shared import Shared
from daemun.routing.spec import (
    BackendSpec,
    FilterSpec,
    Forward,
    MatcherSpec,
    Redirect,
    Respond,
    RouteSpec,
    Split,
)
from daemun.scopes import Scope, with_process_of
from daemun.strict import convert
from daemun.transport.open import Dial, dial
from daemun.transport.timers import Timers
from daemun.upstream.backend import Backend, open_backend
from daemun.upstream.endpoints import Endpoints
from daemun.upstream.forward import retrying

__all__ = ["Compiler"]

T = TypeVar("T")


class Compiler:
    """Compiles routes of one worker. Equal settings share one filter or back end, over routes and reloads."""

    def __init__(
        self,
        registry: Registry,
        shared: Shared,
        protocols: Mapping[str, Any],
        base_dir: Path,
        timers: Timers,
        *,
        process: Scope = Scope(),  # noqa: B008 - it belongs to no gateway, and holds nothing
        failures: Mapping[str, FailurePolicy | DisableAfter] | None = None,
        dial: Dial = dial,
    ) -> None:
        """`failures` are the policies that the settings name, by filter."""
        self._registry = registry
        self.blame = registry.blame
        """Who a fault is named after."""
        self._shared = shared
        self._protocols = protocols
        self._timers = timers
        self._base_dir = base_dir
        self._process = process
        self._failures = failures or {}
        self._dial = dial
        self.endpoints: set[Endpoints] = set()
        """The live view of every back end that is open and has one."""

    @property
    def code(self) -> tuple[Registry, Mapping[str, Any]]:
        """What routes are compiled with: the registry, and the settings of each wire protocol by its name. What is
        compiled stays as it is when they are replaced."""
        return self._registry, self._protocols

    @code.setter
    def code(self, code: tuple[Registry, Mapping[str, Any]]) -> None:
        self._registry, self._protocols = code

    @property
    def broken(self) -> bool:
        """Whether any route may be broken."""
        return self._shared.broken > 0

    async def compile(self, spec: RouteSpec, source: str, backends: Mapping[str, BackendSpec]) -> CompiledRoute:
        """The route, ready to run. Raises `SettingsError` or `PluginError`; nothing stays open then."""
        used = used_backends(spec, backends)
        route = CompiledRoute(spec, tuple(map(apart, used)))
        try:
            await self._compile(route, source, {backend.name: backend for backend in used})
        except BaseException as error:
            self.release(route)
            if isinstance(error, (ValueError, re.error)):
                raise SettingsError(str(error)) from error
            raise
        return route

    def move(self, source: str, spec: BackendSpec) -> bool:
        """Has the live view of a back end that is open use the endpoints of `spec`; False if one cannot be used."""
        if spec.type != "endpoints" or spec.activator:
            return True
        resource = self._shared.find(self._key(source, spec))
        if resource is not None:
            try:
                resource.value.endpoints.update(spec.endpoints)
            except (ValueError, OSError, SettingsError):
                return False
        return True

    def release(self, route: CompiledRoute) -> None:
        """Gives back what the route holds open, the last that was opened first."""
        for resource in reversed(route.resources):
            self._shared.release(resource)
        route.resources = []

    async def _compile(self, route: CompiledRoute, source: str, backends: Mapping[str, BackendSpec]) -> None:
        spec = route.spec
        check_spec(spec)
        route.matchers = tuple([await self._matcher(route, matcher) for matcher in spec.matchers])
        named: list[tuple[str, Layer | None]] = []
        if spec.timeout_seconds:
            named.append((f"timeout {spec.timeout_seconds:g} s", _time_limit(spec.timeout_seconds)))
        named += await self._filters(route, source)
        named.append(("rewrite", rewriter(spec)))
        named.append(("headers", edit_headers(spec)))
        words, action = await self._action(route, source, backends)
        layers = [(name, layer) for name, layer in named if layer is not None]
        conditions = [f"if {matcher.type} {_in_words(matcher.settings)}".rstrip() for matcher in spec.matchers]
        route.chain = conditions + [name for name, _ in layers] + [words]
        for name, layer in reversed(layers):
            action = _called(layer(action), route, name, "a handler", layer)
        route.handler = action

    async def _matcher(self, route: CompiledRoute, spec: MatcherSpec) -> tuple[Matcher, int]:
        kind = self._registry.matchers.get(spec.type)
        settings = convert(spec.settings, kind.settings, path=f"$.match.matchers[{kind.name}].settings")
        thing = self._registry.matchers.thing(kind.name)
        route.things.append(thing)
        code = self._registry.matchers.code(kind.name)

        def build(process: Scope) -> AbstractAsyncContextManager[Matcher]:
            context = MatcherContext(name=kind.name, base_dir=self._base_dir, process=process)
            return managed(thing, kind.build, settings, context)

        key = ("matcher", kind.name, _digest(spec.settings), *code)
        matcher = await self._lease(route, key, partial(self._opened, code, build))
        return _called(matcher, route, thing.words, "a matcher", kind.build), kind.peek_bytes

    async def _filters(self, route: CompiledRoute, source: str) -> list[tuple[str, Layer | None]]:
        specs = list(route.spec.filters)
        for implementation in self._registry.manager.hook.daemun_route_filters.get_hookimpls():
            wanted = {"route": route.spec}
            arguments = [wanted[name] for name in implementation.argnames]
            plugin = implementation.plugin_name
            specs += listed(implementation.function, "daemun_route_filters", plugin, FilterSpec, *arguments)
        kinds = [self._registry.filters.get(spec.type) for spec in specs]
        layers: list[tuple[str, Layer | None]] = []
        for position in in_order(kinds):
            kind, filter_spec = kinds[position], specs[position]
            layers.append((f"filter {kind.name}", await self._filter(route, source, kind, filter_spec)))
        return layers

    async def _filter(self, route: CompiledRoute, source: str, kind: FilterType, spec: FilterSpec) -> Layer:
        settings = convert(spec.settings, kind.settings, path=f"$.filters[{kind.name}].settings")
        name = route.spec.name if kind.per_route else ""
        thing = self._registry.filters.thing(kind.name)
        plugin = f"plugin {thing.plugin}"
        route.things.append(thing)
        code = self._registry.filters.code(kind.name)
        policy = self._failures.get(kind.name, kind.failure)
        blame = partial(self.blame.of, things=[thing])

        @asynccontextmanager
        async def build(process: Scope) -> AsyncIterator[Layer]:
            context = FilterContext(name=kind.name, base_dir=self._base_dir, process=process, route=name)
            async with managed(thing, kind.build, settings, context) as layer:
                called = _called(layer, route, thing.words, "a layer", kind.build)
                around = partial(buffered, kind.buffer_bytes)
                yield with_policy(f"{kind.name} ({plugin})", called, policy, around, blame=blame)

        key = ("filter", kind.name, _digest(spec.settings), *code)
        if kind.per_route:
            key = (*key, source, name)
        layer: Layer = await self._lease(route, key, partial(self._opened, code, build))
        return layer

    async def _action(
        self, route: CompiledRoute, source: str, backends: Mapping[str, BackendSpec]
    ) -> tuple[str, Handler]:
        match route.spec.action:
            case Redirect() as action:
                return f"redirect {action.status}", redirect(route.spec, action)
            case Respond() as action:
                return f"respond {action.status}", respond(action)
            case Forward() as action:
                shares = []
                for share in action.splits:
                    handler = await self._backend(route, source, backends[share.backend])
                    shares.append((share.weight, _with_request_headers(share, handler)))
                words = " | ".join(_share_words(share, len(action.splits)) for share in action.splits)
                handler = split(shares)
                retries = action.retries
                if retries.attempts or retries.per_try_timeout_seconds:
                    words = f"retry {retries.attempts} × ({words})"
                    handler = retrying(handler, retries)
                return f"forward {words}", handler

    async def _backend(self, route: CompiledRoute, source: str, spec: BackendSpec) -> Handler:
        if spec.type != "endpoints":
            kind = self._registry.backends.get(spec.type)
            settings = convert(spec.settings, kind.settings, path=f"$.backends.{spec.name}.settings")
            thing = self._registry.backends.thing(spec.type)
            route.things.append(thing)
            code = self._registry.backends.code(spec.type)

            def build(process: Scope) -> AbstractAsyncContextManager[Handler]:
                context = BackendContext(name=spec.name, base_dir=self._base_dir, process=process)
                return managed(thing, kind.build, settings, context)

            key = ("back end", spec.type, _digest(spec.settings), *code)
            handler = await self._lease(route, key, partial(self._opened, code, build))
            return cast("Handler", _called(handler, route, thing.words, "a handler", kind.build))
        backend: Backend = await self._lease(route, self._key(source, spec), lambda: self._open(spec))
        if backend.endpoints is not None and not spec.activator:
            backend.endpoints.update(spec.endpoints)
        return backend.handler

    @asynccontextmanager
    async def _open(self, spec: BackendSpec) -> AsyncIterator[Backend]:
        opened = open_backend(spec, self._registry, self._protocols, self._base_dir, self._timers, self._dial)
        async with opened as backend:
            assert backend.endpoints is not None
            self.endpoints.add(backend.endpoints)
            try:
                yield backend
            finally:
                self.endpoints.discard(backend.endpoints)

    def _key(self, source: str, spec: BackendSpec) -> tuple[str, ...]:
        """What a back end of type `endpoints` is shared by."""
        key = "back end", f"{source}/{spec.name}", _digest([spec.settings, spec.activator, spec.activation])
        return (*key, *self._code_of(spec)) if self._registry.versions else key

    def _code_of(self, spec: BackendSpec) -> tuple[str, ...]:
        """The code that a back end of type `endpoints` runs. Its endpoints may come to speak any protocol."""
        registry, settings = self._registry, spec.settings
        balancer, check = (_type_of(settings.get(key)) for key in ("balancer", "health_check"))
        return (
            *registry.balancers.code(balancer),
            *registry.health_checks.code(check),
            *registry.activators.code(spec.activator),
            *(part for protocol in registry.protocols for part in registry.protocols.code(protocol.name)),
        )

    def _opened(
        self, code: tuple[str, ...], build: Callable[[Scope], AbstractAsyncContextManager[T]]
    ) -> AbstractAsyncContextManager[T]:
        """What `build` opens with the scope `process`: where code may change, that of this version of it."""
        return with_process_of(code, self._shared, build) if code else build(self._process)

    async def _lease(self, route: CompiledRoute, key: tuple[str, ...], make: Any) -> Any:
        def guarded() -> AbstractAsyncContextManager[Any]:
            manager: AbstractAsyncContextManager[Any] = make()
            return manager

        try:
            resource = await self._shared.lease(key, guarded)
        except DaemunError:
            raise
        except (ValueError, OSError) as error:
            raise SettingsError(f"{key[0]} {key[1]}: {error}") from error
        except Exception as error:
            culprit = self.blame.of(error, route.things[-1:])
            where = f" at {culprit.place}" if culprit.place else ""
            words = f"{key[0]} {key[1]}: its build failed: {type(error).__name__}: {error}{where}"
            raise PluginError(words, plugin=culprit.plugin or key[1]) from error
        route.resources.append(resource)
        return resource.value


def _called(made: Any, route: CompiledRoute, words: str, accepted: str, giver: object) -> Any:
    """`made`, by `giver` of the thing of a plugin that `words` are for. Raises `PluginError` if it is nothing to be
    called."""
    if not callable(made):
        plugin = next((thing.plugin for thing in route.things if thing.words == words), "?")
        raise PluginError(f"{words}{at(giver)} gave {given(made)}; accepted: {accepted}", plugin=plugin, code=giver)
    return made


def _type_of(setting: Any) -> str:
    """The name in a setting that is a name, or `{type: NAME, …}`; "" for any other."""
    name = setting.get("type") if isinstance(setting, Mapping) else setting
    return name if isinstance(name, str) else ""


def _share_words(share: Split, count: int) -> str:
    return share.backend if count == 1 else f"{share.backend} × {share.weight}"


def _with_request_headers(share: Split, handler: Handler) -> Handler:
    editor = header_editor(share.request_headers)
    return handler if editor is None else edit_requests(editor)(handler)


def _time_limit(seconds: float) -> Layer:
    def layer(handler: Handler) -> Handler:
        def handle(request: Request) -> Any:
            request.exchange.expire_in(seconds, Reason.ROUTE_TIMEOUT)
            return handler(request)

        return handle

    return layer


def _in_words(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_digest(value)}" for name, value in settings.items())


def _digest(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
