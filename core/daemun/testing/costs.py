"""What a plugin adds to one request, part by part, beside what small filters add: `daemun bench`."""

from __future__ import annotations

import logging
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any

import msgspec
from msgspec import Struct

from daemun.errors import DaemunError, PluginError, SettingsError
from daemun.extend.loading import load_plugins
from daemun.extend.registry import Registry
from daemun.process.loop import current_loop
from daemun.routing.spec import BackendSpec, FilterSpec
from daemun.strict import convert
from daemun.testing.alternating import Figure, alternate, figure
from daemun.testing.measuring import REFUSAL, UPSTREAM, Lane, Message, open_lane, settled_collector
from daemun.testing.sampling import Memory
from daemun.testing.yardsticks import OBSERVER, YARDSTICKS, yardsticks

__all__ = ["Cost", "NotMeasured", "Part", "Report", "cost_of", "settings_keys"]


class Cost(Struct, frozen=True):
    """What is added to one request."""

    cpu: Figure
    calls: float
    """Python functions called or resumed."""
    bytes: int
    """Memory in use while the back end has the request, or while its answer is written, whichever grew more."""
    blocks: int
    """The same in blocks of the interpreter."""
    kept_blocks: float
    """Blocks that are not given back: a leak."""


class Part(Struct, frozen=True):
    """One thing that a plugin brings."""

    what: str
    """`filter knock`, `observer journal` …"""
    against: str
    """What stands in its place without it; "": nothing."""
    cost: Cost
    chain: tuple[str, ...] = ()
    """What a request passes with it."""
    status: int = 200
    """Of the answer; other than `expected` where the plugin answered by itself."""
    expected: int = 200
    """Of the answer without it."""
    wait_seconds: float = 0.0
    """By the clock, of a request in whose middle other tasks ran; 0: it waits for nothing."""
    fault: str = ""
    """What it raised or had logged as an error while it was measured."""
    later_ns: float = 0.0
    """CPU of tasks and threads of its own after the request, if it leaves work for later; not in `cost`."""


class NotMeasured(Struct, frozen=True):
    """What could not be measured, or never runs for a request."""

    what: str
    why: str
    fault: bool
    """Whether the reader has to do something about it."""


class Report(Struct, frozen=True):
    """What `daemun bench` tells."""

    plugin: str
    where: str
    python: str
    event_loop: str
    request: Figure
    """CPU of one request without the plugin, with a back end that gives a fixed answer."""
    calls: float
    parts: tuple[Part, ...]
    not_measured: tuple[NotMeasured, ...]
    yardsticks: tuple[Part, ...]
    rounds: int
    seconds: float

    @property
    def runs_for_requests(self) -> bool:
        """Whether anything of the plugin does."""
        return bool(self.parts) or any(one.why not in _NEVER.values() for one in self.not_measured)


_AGAINST = {"backend": "a fixed answer", "balancer": "round_robin"}
_MANY, _FEW = 40, 3
"""Requests that calls and memory are counted over."""
_SLOW_SECONDS = 0.002
_PROOF_SECONDS = 0.1
_DEFERRED_BLOCKS = 0.5
_WITH_SETTINGS = ("filter", "backend", "observer", "balancer")
_NEVER = {
    "matcher": "it runs where a route asks for content that it knows",
    "source": "it runs when routes change",
    "activator": "it runs when a back end has no endpoint",
    "health check": "it runs apart from requests",
    "command": "it runs on the command line",
    "check": "it runs on the command line",
}


def settings_keys(things: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What settings of each of one plugin's `things`, kinds and names, are given by: its name, or `filter NAME` where
    the plugin has another thing of that name. Only those that can have any."""
    able = [thing for thing in things if thing[0] in _WITH_SETTINGS]
    names = Counter(name for _, name in able)
    return {(kind, name): name if names[name] == 1 else f"{kind} {name}" for kind, name in able}


class _Pair(Struct):
    """Two lanes that differ in one thing."""

    what: str
    with_: Lane
    without: Lane
    against: str = ""


class _Plugin:
    """The plugin under test, and the lanes with it."""

    def __init__(
        self, name: str, module: ModuleType | None, settings: Mapping[str, Any], message: Message, base_dir: Path
    ) -> None:
        self._modules = [] if module is None else [module]
        self._only = [name] if module is None else []
        self._settings = settings
        self._message = message
        self._base_dir = base_dir
        manager = load_plugins(only={"http1", *self._only}, extra=self._modules)
        if not manager.get_hookcallers(manager.get_plugin(name)):
            raise PluginError("it implements no hook: functions named `daemun_…` that carry @hookimpl", plugin=name)
        registry = Registry(manager)
        self.brings: dict[str, list[Any]] = {word: [] for word in registry.kinds} | registry.brings(name)
        self._keys = settings_keys((word, thing.name) for word, things in self.brings.items() for thing in things)
        known = sorted(self._keys.values())
        for key in settings:
            if key not in known:
                accepted = ", ".join(known) or "none, it brings nothing that has any"
                raise SettingsError(f"settings for {key!r}, which plugin {name} does not bring (accepted: {accepted})")

    def settings_of(self, word: str, thing: Any) -> dict[str, Any]:
        """The settings to build `thing` with. Raises `SettingsError`: which are missing, and how to give them."""
        key = self._keys[word, thing.name]
        given = self._settings.get(key)
        if given is not None:
            convert(given, thing.settings, path=f"$.{key}")
            return dict(given)
        needed = [field for field in msgspec.structs.fields(thing.settings) if field.required]
        if needed:
            names = ", ".join(f"{field.encode_name} ({_type_name(field.type)})" for field in needed)
            example = ", ".join(f"{field.encode_name}: …" for field in needed)
            raise SettingsError(f"needs settings: {names}; put `{key}: {{{example}}}` in a file for --settings")
        return {}

    def has_settings(self, word: str, thing: Any) -> bool:
        """Whether somebody gave settings for `thing`."""
        return self._keys[word, thing.name] in self._settings

    async def lane(self, stack: AsyncExitStack, *, loaded: bool = True, **options: Any) -> Lane:
        """A lane, with the plugin or without."""
        modules = [yardsticks, *(self._modules if loaded else ())]
        only = self._only if loaded else ()
        lane = open_lane(*modules, only=only, message=self._message, base_dir=self._base_dir, **options)
        return await stack.enter_async_context(lane)


async def cost_of(
    name: str,
    module: ModuleType | None = None,
    *,
    where: str = "",
    settings: Mapping[str, Any] | None = None,
    seconds: float = 5.0,
    message: Message = Message(),  # noqa: B008  (frozen)
    base_dir: Path | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Report:
    """What the plugin `name` (installed, or `module`) adds to a request.

    `settings` holds those of its filters, back ends, observers and balancers by their `settings_keys`. Raises
    `SettingsError` or `PluginError`; of a part that cannot be built the report says why, and the others are measured.
    """
    begun = monotonic()
    with _heard() as faults:
        plugin = _Plugin(name, module, settings or {}, message, base_dir or Path.cwd())
        async with AsyncExitStack() as stack:
            bare = await plugin.lane(stack, loaded=False)
            pairs, not_measured = await _pairs(plugin, stack, bare)
            yards = await _yards(plugin, stack, bare) if pairs else []
            lanes = [bare, *(lane for pair in pairs + yards for lane in (pair.without, pair.with_))]
            lanes = list({id(lane): lane for lane in lanes}.values())
            faults.clear()
            notes = {id(pair): await _notes(pair, faults) for pair in pairs + yards}
            positions = [(lanes.index(pair.with_), lanes.index(pair.without)) for pair in pairs]
            rounds = await alternate(lanes, seconds if pairs else _PROOF_SECONDS, positions, progress)
            slow = {id(pair.with_) for pair in pairs if notes[id(pair)][2] > _SLOW_SECONDS}
            with settled_collector():
                exact = {id(lane): await _exact(lane, _FEW if id(lane) in slow else _MANY) for lane in lanes}
                later = {id(pair): await _later(pair, exact[id(pair.with_)][1]) for pair in pairs}

            def part(pair: _Pair) -> Part:
                with_, without = rounds[lanes.index(pair.with_)], rounds[lanes.index(pair.without)]
                cost = _cost(figure(with_, without), exact[id(pair.with_)], exact[id(pair.without)])
                return Part(
                    pair.what, pair.against, cost, tuple(pair.with_.chain), *notes[id(pair)], later.get(id(pair), 0.0)
                )

            return Report(
                plugin=name,
                where=where,
                python=platform.python_version(),
                event_loop=current_loop(),
                request=figure(rounds[0]),
                calls=exact[id(bare)][0],
                parts=tuple(map(part, pairs)),
                not_measured=tuple(not_measured),
                yardsticks=tuple(map(part, yards)),
                rounds=len(rounds[0]),
                seconds=monotonic() - begun,
            )


async def _exact(lane: Lane, requests: int) -> tuple[float, Memory]:
    return await lane.calls(requests), await lane.memory(requests)


async def _later(pair: _Pair, memory: Memory) -> float:
    if memory.deferred_blocks < _DEFERRED_BLOCKS:
        return 0.0
    return await pair.with_.later() - await pair.without.later()


async def _pairs(plugin: _Plugin, stack: AsyncExitStack, bare: Lane) -> tuple[list[_Pair], list[NotMeasured]]:
    pairs: list[_Pair] = []
    not_measured: list[NotMeasured] = []
    loaded = await plugin.lane(stack)
    if loaded.chain == bare.chain:
        loaded = bare  # nothing of it is in the chain: the same closures run
    else:
        added = " → ".join(step for step in loaded.chain if step not in bare.chain)
        pairs.append(_Pair(f"what it adds to every route ({added})", loaded, bare))

    async def pair(word: str, thing: Any, without: Lane, options: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        what = f"{word} {thing.name}"
        try:
            lane = await plugin.lane(stack, **options(plugin.settings_of(word, thing)))
        except DaemunError as error:
            if plugin.has_settings(word, thing):
                raise
            not_measured.append(NotMeasured(what, str(error), fault=True))
        else:
            pairs.append(_Pair(what, lane, without, _AGAINST.get(word, "")))

    brings = plugin.brings
    for thing in brings["filter"]:
        await pair("filter", thing, loaded, lambda given, t=thing: {"filters": [FilterSpec(t.name, given)]})  # type: ignore[misc]
    for thing in brings["backend"]:
        await pair("backend", thing, loaded, lambda given, t=thing: {"backend": BackendSpec("own", t.name, given)})  # type: ignore[misc]
    for thing in brings["observer"]:
        await pair("observer", thing, loaded, lambda given, t=thing: {"observers": [{"type": t.name, **given}]})  # type: ignore[misc]
    if brings["balancer"]:
        without = await plugin.lane(stack, backend=UPSTREAM)
        for thing in brings["balancer"]:
            await pair("balancer", thing, without, lambda given, t=thing: {"backend": _balanced(t.name, given)})  # type: ignore[misc]
    if brings["dialect"]:
        without = await plugin.lane(stack, loaded=False, backend=REFUSAL)
        what = f"dialect {', '.join(thing.name for thing in brings['dialect'])}"
        pairs.append(_Pair(what, await plugin.lane(stack, backend=REFUSAL), without, "an error without it"))
    for thing in brings["protocol"]:
        why = "requests are fed to http1 here; another protocol's cost is its own suite's"
        not_measured.append(NotMeasured(f"protocol {thing.name}", why, fault=False))
    for word, why in _NEVER.items():
        not_measured += [NotMeasured(f"{word} {thing.name}", why, fault=False) for thing in brings[word]]
    return pairs, not_measured


def _balanced(name: str, given: dict[str, Any]) -> BackendSpec:
    return BackendSpec(UPSTREAM.name, settings={"balancer": {"type": name, **given}})


async def _yards(plugin: _Plugin, stack: AsyncExitStack, bare: Lane) -> list[_Pair]:
    pairs = []
    for name, words in YARDSTICKS.items():
        lane = await plugin.lane(stack, loaded=False, filters=[FilterSpec(f"yard_{name}")])
        pairs.append(_Pair(words, lane, bare))
    lane = await plugin.lane(stack, loaded=False, observers=[{"type": f"yard_{OBSERVER}"}])
    pairs.append(_Pair("an observer that counts by route and status", lane, bare))
    lane = await plugin.lane(stack, loaded=False, backend=UPSTREAM)
    pairs.append(_Pair("forwarding to an upstream in memory", lane, bare))
    return pairs


async def _notes(pair: _Pair, faults: list[str]) -> tuple[int, int, float, str]:
    expected = (await pair.without.answer())[0]
    faults.clear()
    status = (await pair.with_.answer())[0]
    waits = await pair.with_.waits()
    return status, expected, waits, faults[0] if faults else ""


def _cost(cpu: Figure, with_: tuple[float, Memory], without: tuple[float, Memory]) -> Cost:
    points: Sequence[tuple[Any, Any]] = (
        (with_[1].inside, without[1].inside),
        (with_[1].answering, without[1].answering),
    )
    return Cost(
        cpu=cpu,
        calls=with_[0] - without[0],
        bytes=max(one.bytes - other.bytes for one, other in points),
        blocks=max(one.blocks - other.blocks for one, other in points),
        kept_blocks=round(with_[1].kept_blocks - without[1].kept_blocks, 2),
    )


def _type_name(kind: Any) -> str:
    kind = getattr(kind, "__origin__", kind) if hasattr(kind, "__metadata__") else kind
    return getattr(kind, "__name__", str(kind)) if isinstance(kind, type) else str(kind)


class _Ear(logging.Handler):
    """Keeps the words of errors, the first few of them."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.words) < 3:
            error = record.exc_info[1] if record.exc_info else None
            self.words.append(f"{type(error).__name__}: {error}" if error is not None else record.getMessage())


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Errors that daemun or a plugin has logged, in words, in the place of the log."""
    log, ear = logging.getLogger("daemun"), _Ear()
    before = log.handlers, log.propagate
    log.handlers, log.propagate = [ear], False
    try:
        yield ear.words
    finally:
        log.handlers, log.propagate = before
