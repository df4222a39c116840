"""`pytest --daemun-conformance=KIND:NAME`: the battery of a kind on what an installed plugin brings, an item a rule."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from daemun.errors import DaemunError
from daemun.extend.loading import load_plugins
from daemun.extend.registry import Kind, Registry
from daemun.headers import Headers
from daemun.process.loop import run_on
from daemun.settings import read_document
from daemun.testing.batteries.activators import ACTIVATOR, activator_subject
from daemun.testing.batteries.backends import BACKEND, backend_subject
from daemun.testing.batteries.balancers import BALANCER, balancer_subject
from daemun.testing.batteries.commands import COMMAND, command_subject
from daemun.testing.batteries.dialects import DIALECT, dialect_subject
from daemun.testing.batteries.filters import FILTER, filter_subject
from daemun.testing.batteries.health_checks import HEALTH_CHECK, health_check_subject
from daemun.testing.batteries.matchers import MATCHER, matcher_subject
from daemun.testing.batteries.messages import field_fault
from daemun.testing.batteries.observers import OBSERVER, observer_subject
from daemun.testing.batteries.protocols import PROTOCOL, protocol_subject
from daemun.testing.batteries.rules import Breach, Check, Unseen, look
from daemun.testing.batteries.sources import SOURCE, source_subject
from daemun.testing.batteries.subject import Subject

__all__ = ["BATTERIES", "Battery", "RuleItem", "collect", "subject_of"]


class Battery(Struct, frozen=True):
    """The checks of one kind, and how what they look at is made."""

    checks: tuple[Check, ...]
    subject: Any
    registry: str
    """Where a `Registry` has things of this kind."""
    takes: tuple[str, ...] = ("settings", "base_dir")
    """What `subject` is told besides."""


_REQUESTED = ("settings", "base_dir", "headers")

BATTERIES: Mapping[str, Battery] = {
    "filter": Battery(FILTER, filter_subject, "filters", _REQUESTED),
    "backend": Battery(BACKEND, backend_subject, "backends", _REQUESTED),
    "matcher": Battery(MATCHER, matcher_subject, "matchers", _REQUESTED),
    "source": Battery(SOURCE, source_subject, "sources"),
    "activator": Battery(ACTIVATOR, activator_subject, "activators"),
    "observer": Battery(OBSERVER, observer_subject, "observers"),
    "protocol": Battery(PROTOCOL, protocol_subject, "protocols", ("settings",)),
    "dialect": Battery(DIALECT, dialect_subject, "dialects", ()),
    "balancer": Battery(BALANCER, balancer_subject, "balancers", ("settings",)),
    "health-check": Battery(HEALTH_CHECK, health_check_subject, "health_checks", ("settings",)),
    "command": Battery(COMMAND, command_subject, "commands", ()),
}
"""Every battery, by the word for its kind."""


def subject_of(word: str, thing: Any, **options: Any) -> Subject:
    """What the checks of the kind `word` look at; `options` that this kind has no use for are left out."""
    battery = BATTERIES[word]
    taken = {name: value for name, value in options.items() if name in battery.takes}
    subject: Subject = battery.subject(thing, **taken)
    return subject


class RuleItem(pytest.Item):
    """One rule of one thing, on every event loop that is installed."""

    def __init__(self, *, check: Check, subject: Subject, **options: Any) -> None:
        super().__init__(**options)
        self._check = check
        self._subject = subject

    def runtest(self) -> None:
        """Fails by what breaks the rule, and is skipped if that cannot be told."""
        unseen = ""
        for loop in ("asyncio", "trio"):
            if loop == "asyncio" or importlib.util.find_spec(loop):
                found = run_on(loop, self._look)
                if isinstance(found, Breach):
                    raise _Broken(found, loop)
                if isinstance(found, Unseen):
                    unseen = found.why
        if unseen:
            pytest.skip(unseen)

    async def _look(self) -> Breach | Unseen | None:
        return await look(self._check, self._subject)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The rule, what was seen, and what would be right."""
        if isinstance(excinfo.value, _Broken):
            return f"{self._subject.words} on {excinfo.value.loop}\n{excinfo.value.breach}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """For the head of a failure."""
        return self.config.rootpath, None, self.nodeid


class _Broken(AssertionError):
    def __init__(self, breach: Breach, loop: str) -> None:
        super().__init__(f"{breach.rule} (seen: {breach.seen})")
        self.breach = breach
        self.loop = loop


def collect(session: pytest.Session) -> Iterator[pytest.Item]:
    """The items that the options of pytest ask for. Raises `pytest.UsageError` in words."""
    config = session.config
    try:
        registry = Registry(load_plugins())
        file = config.getoption("--daemun-settings")
        settings = _settings(file)
        base_dir = Path(file).resolve().parent if file else Path.cwd()
        headers: Headers = tuple(map(_field, config.getoption("--daemun-header")))
        found: list[tuple[str, Subject]] = []
        names: list[str] = []
        for wanted in config.getoption("--daemun-conformance"):
            word, _, name = wanted.partition(":")
            if word not in BATTERIES or not name:
                accepted = ", ".join(BATTERIES)
                words = f"--daemun-conformance {wanted!r} is not KIND:NAME (KIND is one of {accepted})"
                raise pytest.UsageError(words)
            kind: Kind[Any] = getattr(registry, BATTERIES[word].registry)
            thing = kind.get(name)
            options = {"settings": settings.get(name), "base_dir": base_dir, "headers": headers}
            found.append((wanted, subject_of(word, thing, **options)))
            names.append(name)
        if unknown := sorted(settings.keys() - set(names)):
            words = f"{file}: {unknown[0]!r} is not checked (accepted: {', '.join(names)})"
            raise pytest.UsageError(words)
    except DaemunError as error:
        raise pytest.UsageError(str(error)) from None
    for wanted, subject in found:
        for check in BATTERIES[wanted.partition(":")[0]].checks:
            name = getattr(check, "__name__", "check")
            yield RuleItem.from_parent(
                session, name=f"{wanted}::{name}", nodeid=f"{wanted}::{name}", check=check, subject=subject
            )


def _settings(file: str | None) -> dict[str, Any]:
    if file is None:
        return {}
    document = read_document(Path(file))
    if not isinstance(document, dict) or not all(isinstance(value, dict) for value in document.values()):
        raise pytest.UsageError(f"{file}: accepted: `name: {{key: value}}` for what is checked")
    return document


def _field(header: str) -> tuple[bytes, bytes]:
    name, colon, value = header.partition(":")
    if not colon:
        raise pytest.UsageError(f"--daemun-header {header!r} is not `name: value`")
    field = name.strip().lower().encode(), value.strip().encode()
    if fault := field_fault((field,)):
        raise pytest.UsageError(f"--daemun-header {header!r}: {fault}")
    return field
