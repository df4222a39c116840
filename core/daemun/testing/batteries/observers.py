"""The battery for observers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from daemun.errors import Reason
from daemun.exchange import Peer
from daemun.extend.observe import Observer, ObserverContext, ObserverType
from daemun.message import Buffered, Response
from daemun.testing.batteries.common import (
    CODE,
    NAMED,
    SETTINGS,
    build_blocks_nobody,
    can_be_cancelled_while_it_opens,
    can_be_opened_again,
    leaves_nothing_behind,
)
from daemun.testing.batteries.messages import ListenedBody
from daemun.testing.batteries.odd import every_error, odd_requests, odd_responses
from daemun.testing.batteries.rules import Check, Unseen, expect, run_battery, shown
from daemun.testing.batteries.subject import PEER, Subject
from daemun.testing.batteries.watching import blocking_calls, calls, turns
from daemun.upstream.endpoints import Endpoints

__all__ = [
    "OBSERVER",
    "check_observer",
    "finished_is_quick",
    "has_no_key_named_type",
    "is_an_observer",
    "leaves_exchanges_alone",
    "observer_subject",
    "reopens",
    "survives_every_end",
    "survives_every_refusal",
    "waits_for_nothing",
]

_MAX_CALLS = 500


class _QuietGateway:
    """A gateway in which nothing runs."""

    connections = exchanges = routes = generation = 0
    draining = False

    def backends(self) -> Iterable[Endpoints]:
        return ()


def _told(observer: Observer, subject: Subject) -> None:
    """Tells an observer of exchanges that ended in every way."""
    reasons = cycle((None, *Reason))
    for request in odd_requests(subject):
        for response in odd_responses():
            exchange = request.exchange
            exchange.reason = next(reasons)
            exchange.status = response.status if response is not None else 0
            exchange.route = "" if response is None else "shop/basket \xe4"
            exchange.sent_bytes, exchange.received_bytes = 1 << 40, 0
            found: object = observer.finished(request, response, exchange)  # type: ignore[func-returns-value]
            expect(found is None, f"finished() returned {shown(found)}", "a plain function that returns nothing")


async def has_no_key_named_type(subject: Subject) -> None:
    """None of its settings is called `type`: that key names it in the list in which they stand."""
    fields = subject.thing.settings.__struct_encode_fields__
    expect("type" not in fields, "the key `type`", "another name")


async def is_an_observer(subject: Subject) -> None:
    """What `build` yields has `finished`, `refused` and `reopen`, as one derived from `Observer` does."""
    async with subject.opened() as observer:
        for name in ("finished", "refused", "reopen"):
            expect(callable(getattr(observer, name, None)), f"{observer!r} has no {name}()", "class …(Observer)")


async def survives_every_end(subject: Subject) -> None:
    """`finished` returns nothing and raises for no exchange: without an answer, of any reason, with any bytes."""
    async with subject.opened() as observer:
        _told(observer, subject)
        await turns()


async def survives_every_refusal(subject: Subject) -> None:
    """`refused` returns nothing and raises for no reason and no peer."""
    async with subject.opened() as observer:
        for error in every_error():
            for peer in (Peer(), Peer(**PEER), Peer(address="2001:db8::1", scheme="https")):  # type: ignore[arg-type]
                found = observer.refused(peer, error)
                expect(found is None, f"refused() returned {shown(found)}", "a plain function that returns nothing")
        await turns()


async def reopens(subject: Subject) -> None:
    """`reopen` returns at once and never raises, before an exchange, after one, and twice."""
    async with subject.opened() as observer:
        for _ in range(2):
            found = observer.reopen()
            expect(found is None, f"reopen() returned {shown(found)}", "a plain function that returns nothing")
            _told(observer, subject)
        observer.reopen()
        observer.reopen()
        await turns()


async def finished_is_quick(subject: Subject) -> None:
    """`finished` calls few functions, whatever it has seen before: it stands on the path of every exchange."""
    async with subject.opened() as observer:
        request, response = subject.request(), Response(200, (), Buffered(b"ok\n"))
        request.exchange.status = 200
        for _ in range(100):
            observer.finished(request, response, request.exchange)
        count = calls(lambda: observer.finished(request, response, request.exchange))
    expect(count <= _MAX_CALLS, f"{count} calls", f"up to {_MAX_CALLS}; a task of its own for what takes time")


async def waits_for_nothing(subject: Subject) -> None:
    """None of its methods waits: what takes time is done by a task of its own, or in a thread."""
    async with subject.opened() as observer:
        with blocking_calls() as found:
            _told(observer, subject)
            observer.reopen()
            await turns()
    expect(not found, f"it waits in {', '.join(found[:3])}", "anyio.to_thread.run_sync, in a task of its own")


async def leaves_exchanges_alone(subject: Subject) -> None:
    """It reads no content, closes nothing, and changes nothing of an exchange."""
    async with subject.opened() as observer:
        asked, answered = ListenedBody((b"content",)), ListenedBody((b"content",))
        request, response = subject.request(b"POST", asked), Response(200, (), answered)
        exchange = request.exchange
        before = exchange.status, exchange.reason, exchange.route, exchange.deadline
        observer.finished(request, response, exchange)
        await turns()
        after = exchange.status, exchange.reason, exchange.route, exchange.deadline
    touched = asked.reads or asked.closed or answered.reads or answered.closed
    expect(not touched, "it read or closed a body", "what the exchange counted: `sent_bytes`, `received_bytes`")
    expect(before == after, f"{before} became {after}", "what it found")


OBSERVER: tuple[Check, ...] = (
    *NAMED,
    *SETTINGS,
    has_no_key_named_type,
    *CODE,
    can_be_opened_again,
    can_be_cancelled_while_it_opens,
    leaves_nothing_behind,
    build_blocks_nobody,
    is_an_observer,
    survives_every_end,
    survives_every_refusal,
    reopens,
    finished_is_quick,
    waits_for_nothing,
    leaves_exchanges_alone,
)
"""What `check_observer` looks at."""


def observer_subject(
    kind: ObserverType, settings: Mapping[str, Any] | None = None, *, base_dir: Path | None = None
) -> Subject:
    """What its checks look at."""

    def context(name: str, folder: Path, process: Any) -> ObserverContext:
        return ObserverContext(name, folder, _QuietGateway(), process=process)

    return Subject("observer", kind, settings, context=context, base_dir=base_dir)


async def check_observer(
    kind: ObserverType, settings: Mapping[str, Any] | None = None, *, base_dir: Path | None = None
) -> tuple[Unseen, ...]:
    """Checks an observer with `settings`.

    Gives the rules that could not be looked at. Raises `BrokenRules`, an `AssertionError` with all that are broken.
    """
    subject = observer_subject(kind, settings, base_dir=base_dir)
    return await run_battery(subject.words, OBSERVER, subject)
