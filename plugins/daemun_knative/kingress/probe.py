"""Asks every gateway whether it serves a version: requests to each host, by each door, through to the back end.

What Knative's own prober asks and what it makes of the answers (`knative.dev/networking/pkg/status`), but for two
things: the path is one that the rule has, and what a gateway answers by itself is told from what a back end answers.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct

if TYPE_CHECKING:
    import httpx

from daemun_knative.kingress.claims import Key
from daemun_knative.kingress.translate import Doors, certificates
from daemun_knative.kingress.types import CLUSTER_LOCAL, REDIRECTED, HttpPath, KIngress

__all__ = ["Prober", "Question", "open_prober", "questions"]

_AT_ONCE = 64
_SILENT_AT_ONCE = 16
"""Of what did not answer at all the last time, so that it is in nobody's way."""
_AT_ONCE_FOR_ONE = 4
"""For one KIngress, so that one with many hosts is in nobody's way."""
_TRY_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0
_NOT_YET = (404, 502, 503, 504)
_EXTERNAL, _INTERNAL = "external", "internal"
_NO_HOST = "any.invalid"
"""Asked for where a rule takes any host: a name that nobody can have."""


class Question(Struct, frozen=True):
    """A request that a gateway is to answer."""

    external: bool
    """Whether it goes to the external listeners, or to the internal ones."""
    tls: bool
    host: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()


def questions(ingress: KIngress) -> tuple[Question, ...]:
    """What to ask before a KIngress is ready: each of its hosts, by each door that serves it."""
    found: dict[Question, None] = {}
    secured = _secured(ingress)
    for door, host, paths in _served(ingress):
        target, headers = _target(min(paths, key=_detour))
        external = door == _EXTERNAL
        plain = not (external and ingress.spec.http_option == REDIRECTED)
        if plain:
            found[Question(external, False, host, target, headers)] = None
        if not plain or (door, host) in secured:
            found[Question(external, True, host, target, headers)] = None
    return tuple(found)


def _served(ingress: KIngress) -> Iterator[tuple[str, str, list[HttpPath]]]:
    """By whom a host is reached, and by which paths: what is for everybody is for the cluster too."""
    paths: dict[tuple[str, str], list[HttpPath]] = {}
    for rule in ingress.spec.rules:
        for host in dict.fromkeys(host.lower().removesuffix(".") for host in rule.hosts or (_NO_HOST,)):
            for door in (_INTERNAL,) if rule.visibility == CLUSTER_LOCAL else (_INTERNAL, _EXTERNAL):
                paths.setdefault((door, host), []).extend(rule.paths)
    return ((door, host, those) for (door, host), those in paths.items() if those)


def _secured(ingress: KIngress) -> set[tuple[str, str]]:
    """The hosts that there are certificates for, by who reaches them."""
    doors = Doors(external_https=(_EXTERNAL,), internal_https=(_INTERNAL,))
    found = certificates(ingress, lambda namespace, name: ("", ""), doors)
    return {(door, host) for one in found for door in one.listeners for host in one.hosts}


def _detour(path: HttpPath) -> tuple[bool, int]:
    """Least for what takes every request: a path that leads elsewhere, as to a solver of ACME, may know no probes."""
    return bool(path.path.strip("/")), len(path.headers)


def _target(path: HttpPath) -> tuple[str, tuple[tuple[str, str], ...]]:
    target = f"{path.path.rstrip('/')}/healthz"
    return target, tuple((name, match.exact) for name, match in path.headers.items())


class Prober:
    """Probes versions until each is served everywhere. Use `open_prober` to have one."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        tasks: TaskGroup,
        gateways: Callable[[bool, bool], Sequence[str]],
        served: Callable[[Key, str], None],
        try_seconds: float,
    ) -> None:
        self.trouble: dict[Key, str] = {}
        """What the last try was told, of those that are not served everywhere."""
        self._client = client
        self._tasks = tasks
        self._gateways = gateways
        self._served = served
        self._try_seconds = try_seconds
        self._silence = f"no answer within {try_seconds:g} s"
        self._running: dict[Key, tuple[str, anyio.CancelScope]] = {}
        self._limit = anyio.CapacityLimiter(_AT_ONCE)
        self._limit_of_silent = anyio.CapacityLimiter(_SILENT_AT_ONCE)

    def probe(self, key: Key, token: str, asked: Sequence[Question]) -> None:
        """Asks until the version with `token` is served everywhere; then `served` is called. Ends what was asked for
        another version."""
        if key in self._running and self._running[key][0] == token:
            return
        self.forget(key)
        scope = anyio.CancelScope()
        self._running[key] = (token, scope)
        self._tasks.start_soon(self._probe, key, token, asked, scope)

    def forget(self, key: Key) -> None:
        """Asks no more for it."""
        running = self._running.pop(key, None)
        self.trouble.pop(key, None)
        if running is not None:
            running[1].cancel()

    def forget_all(self) -> None:
        """Asks no more at all."""
        for key in list(self._running):
            self.forget(key)

    async def _probe(self, key: Key, token: str, asked: Sequence[Question], scope: anyio.CancelScope) -> None:
        pause = _FIRST_PAUSE_SECONDS
        own_limit = anyio.CapacityLimiter(_AT_ONCE_FOR_ONE)
        faults: dict[tuple[Question, str], str] = {}
        """What the last try was told, "" if all is well, by question and gateway."""
        with scope:
            while True:
                open_ = [
                    (question, gateway)
                    for question in asked
                    for gateway in self._gateways(question.external, question.tls) or ("",)
                    if faults.get((question, gateway)) != ""
                ]
                if not open_:
                    break
                async with anyio.create_task_group() as tries:
                    for question, gateway in open_:
                        tries.start_soon(self._try, question, gateway, token, faults, own_limit)
                words = [
                    _words(question, gateway, fault)
                    for question, gateway in open_
                    if (fault := faults[question, gateway])
                ]
                if words:
                    if self._running.get(key, ("", None))[1] is not scope:
                        return
                    self.trouble[key] = min(words)  # not whoever was first: it stands in the status
                    await anyio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        running = self._running.get(key)
        if running is not None and running[1] is scope:  # which may have been ended after the last answer
            del self._running[key]
            self.trouble.pop(key, None)
            self._served(key, token)

    async def _try(
        self,
        question: Question,
        gateway: str,
        token: str,
        faults: dict[tuple[Question, str], str],
        own_limit: anyio.CapacityLimiter,
    ) -> None:
        if not gateway:
            faults[question, gateway] = "there is none"
            return
        silent = faults.get((question, gateway)) == self._silence
        async with own_limit, self._limit_of_silent if silent else self._limit:
            fault = self._silence
            with anyio.move_on_after(self._try_seconds):
                fault = await self._ask(question, gateway, token)
            faults[question, gateway] = fault

    async def _ask(self, question: Question, gateway: str, token: str) -> str:
        """What is wrong with the answer; "": nothing."""

        headers = [
            (b"Host", question.host.encode()),
            (b"User-Agent", b"Knative-Ingress-Probe"),
            (b"K-Network-Probe", b"probe"),
            (b"K-Network-Hash", b"override"),
            *((name.encode(), value.encode()) for name, value in question.headers),
        ]
        url = f"{'https' if question.tls else 'http'}://{gateway}{question.path}"
        extensions = {"sni_hostname": question.host}
        try:
            # what is behind the head may never end
            async with self._client.stream("GET", url, headers=headers, extensions=extensions) as answer:
                status, told = answer.status_code, answer.headers.get("k-network-hash", "")
        except Exception as error:  # whatever a KIngress says, it is its own trouble
            words = str(error)
            if question.tls and (not words or "SSL" in words):  # the handshake was broken off, or refused in words
                return _NO_HANDSHAKE
            return words or type(error).__name__
        if status == 200 and told and told != token:
            return "another version is served"
        if status in _NOT_YET:
            return f"status {status}"
        return ""  # an answer of something that knows no probes, which is there at any rate


_NO_HANDSHAKE = "TLS is refused, as it is where there is no certificate for this host"


def _words(question: Question, gateway: str, fault: str) -> str:
    if not gateway:
        return f"no gateway is ready behind the {_EXTERNAL if question.external else _INTERNAL} Service"
    return f"{gateway}: {question.host}: {fault}"


@asynccontextmanager
async def open_prober(
    gateways: Callable[[bool, bool], Sequence[str]],
    served: Callable[[Key, str], None],
    *,
    try_seconds: float = _TRY_SECONDS,
) -> AsyncIterator[Prober]:
    """A prober until the context is left. `gateways` gives the addresses of all gateways by whether their external
    listener is meant, and the one with TLS; `served` hears of versions that are served everywhere. One request takes at
    most `try_seconds`."""
    import httpx

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    limits = httpx.Limits(max_keepalive_connections=0)
    async with (
        httpx.AsyncClient(verify=context, trust_env=False, limits=limits, timeout=None) as client,
        anyio.create_task_group() as tasks,
    ):
        yield Prober(client, tasks, gateways, served, try_seconds)
        tasks.cancel_scope.cancel()
