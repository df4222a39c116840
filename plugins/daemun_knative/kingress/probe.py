"""Asks every gateway whether it serves a version: requests to each host, by each door, through to the back end.

What Knative's own prober asks and what it makes of the answers (`knative.dev/networking/pkg/status`), but for two
things: the path is one that the rule has, and what a gateway answers by itself is told from what a back end answers.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct

if TYPE_CHECKING:
    import httpx

from daemun_knative.kingress.claims import Key
from daemun_knative.kingress.types import CLUSTER_LOCAL, REDIRECTED, HttpPath, KIngress

__all__ = ["Prober", "Question", "open_prober", "questions"]

log = logging.getLogger("daemun.knative")

_AT_ONCE = 32
_TRY_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0
_NOT_YET = (404, 502, 503, 504)


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
    secured = {host for tls in ingress.spec.tls for host in tls.hosts}
    for rule in ingress.spec.rules:
        path = min(rule.paths, key=lambda path: len(path.headers), default=None)
        if path is None:
            continue
        target, headers = _target(path)
        local = rule.visibility == CLUSTER_LOCAL
        for host in rule.hosts:
            doors = [(False, False)]
            if not local:
                redirected = ingress.spec.http_option == REDIRECTED
                doors += [(True, True)] if redirected else [(True, False), *([(True, True)] if host in secured else [])]
            elif host in secured:
                doors.append((False, True))
            for external, tls in doors:
                found[Question(external, tls, host, target, headers)] = None
    return tuple(found)


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
    ) -> None:
        self.trouble: dict[Key, str] = {}
        """What the last try was told, of those that are not served everywhere."""
        self._client = client
        self._tasks = tasks
        self._gateways = gateways
        self._served = served
        self._running: dict[Key, tuple[str, anyio.CancelScope]] = {}
        self._limit = anyio.CapacityLimiter(_AT_ONCE)

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
        done: set[tuple[Question, str]] = set()
        with scope:
            while True:
                open_ = [
                    (question, gateway)
                    for question in asked
                    for gateway in self._gateways(question.external, question.tls) or ("",)
                    if (question, gateway) not in done
                ]
                if not open_:
                    break
                words: list[str] = []
                async with anyio.create_task_group() as tries:
                    for question, gateway in open_:
                        tries.start_soon(self._try, question, gateway, token, done, words)
                if words:
                    self.trouble[key] = words[0]
                    await anyio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        if not scope.cancelled_caught:
            del self._running[key]
            self.trouble.pop(key, None)
            self._served(key, token)

    async def _try(
        self, question: Question, gateway: str, token: str, done: set[tuple[Question, str]], words: list[str]
    ) -> None:
        if not gateway:
            words.append(f"no gateway is ready behind the {'external' if question.external else 'internal'} Service")
            return
        async with self._limit:
            fault = await self._ask(question, gateway, token)
        if fault:
            words.append(f"{gateway}: {question.host}: {fault}")
        else:
            done.add((question, gateway))

    async def _ask(self, question: Question, gateway: str, token: str) -> str:
        """What is wrong with the answer; "": nothing."""
        import httpx

        headers = [
            ("Host", question.host),
            ("User-Agent", "Knative-Ingress-Probe"),
            ("K-Network-Probe", "probe"),
            ("K-Network-Hash", "override"),
            *question.headers,
        ]
        scheme = "https" if question.tls else "http"
        try:
            answer = await self._client.get(
                f"{scheme}://{gateway}{question.path}", headers=headers, extensions={"sni_hostname": question.host}
            )
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            return str(error) or type(error).__name__
        told = answer.headers.get("k-network-hash", "")
        if answer.status_code == 200 and told and told != token:
            return "another version is served"
        if answer.status_code in _NOT_YET:
            return f"status {answer.status_code}"
        return ""  # an answer of something that knows no probes, which is there at any rate


@asynccontextmanager
async def open_prober(
    gateways: Callable[[bool, bool], Sequence[str]], served: Callable[[Key, str], None]
) -> AsyncIterator[Prober]:
    """A prober until the context is left. `gateways` gives the addresses of all gateways by whether their external
    listener is meant, and the one with TLS; `served` hears of versions that are served everywhere."""
    import httpx

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    limits = httpx.Limits(max_keepalive_connections=0)
    async with (
        httpx.AsyncClient(verify=context, trust_env=False, limits=limits, timeout=_TRY_SECONDS) as client,
        anyio.create_task_group() as tasks,
    ):
        yield Prober(client, tasks, gateways, served)
        tasks.cancel_scope.cancel()
