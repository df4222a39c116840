"""What plugins registered: by kind, by name, each name once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import click
import pytest

from daemun import (
    ActivatorType,
    BackendType,
    BalancerType,
    Dialect,
    FilterType,
    HealthCheckType,
    Layer,
    NoSettings,
    ObserverType,
    PluginError,
    SettingsError,
    SourceType,
    WireProtocol,
)
from daemun.extend.loading import load_plugins
from daemun.extend.places import at
from daemun.extend.registry import Kind, Registry
from daemun.testing import make_plugin

ANY: Any = print

THINGS: dict[str, tuple[str, Any, str]] = {
    "daemun_protocols": ("protocols", WireProtocol("x", NoSettings, (), ANY, ANY, ANY), "wire protocol"),
    "daemun_dialects": ("dialects", Dialect("x", ANY, ANY), "dialect"),
    "daemun_sources": ("sources", SourceType("x", NoSettings, ANY), "source"),
    "daemun_filters": ("filters", FilterType("x", NoSettings, ANY), "filter"),
    "daemun_backends": ("backends", BackendType("x", NoSettings, ANY), "back end type"),
    "daemun_balancers": ("balancers", BalancerType("x", NoSettings, ANY), "balancer"),
    "daemun_health_checks": ("health_checks", HealthCheckType("x", NoSettings, ANY), "health check"),
    "daemun_activators": ("activators", ActivatorType("x", NoSettings, ANY), "activator"),
    "daemun_observers": ("observers", ObserverType("x", NoSettings, ANY), "observer"),
    "daemun_commands": ("commands", click.Command("x"), "command"),
}

every_kind = pytest.mark.parametrize("hook", THINGS)


def registry(*plugins: Any) -> Registry:
    return Registry(load_plugins(only=[], extra=plugins))


@every_kind
def test_what_a_hook_returns_is_found_by_its_name(hook: str) -> None:
    attribute, thing, _ = THINGS[hook]
    kind: Kind[Any] = getattr(registry(make_plugin("p", **{hook: lambda: [thing]})), attribute)
    assert kind.get("x") is thing
    assert thing in list(kind)
    assert kind.items()["x"] == "p"


@every_kind
def test_a_hook_may_be_a_generator(hook: str) -> None:
    attribute, thing, _ = THINGS[hook]

    def generate() -> Any:
        yield thing

    assert getattr(registry(make_plugin("p", **{hook: generate})), attribute).get("x") is thing


@every_kind
def test_a_clash_names_both_plugins(hook: str) -> None:
    _, thing, word = THINGS[hook]
    plugins = [make_plugin(name, **{hook: lambda: [thing]}) for name in ("first", "second")]
    with pytest.raises(PluginError, match=f"{word} 'x' is registered by plugin ") as raised:
        registry(*plugins)
    assert "first" in str(raised.value)
    assert "second" in str(raised.value)


@every_kind
def test_what_is_not_of_the_kind_is_refused(hook: str) -> None:
    wrong = click.Command("x") if hook != "daemun_commands" else THINGS["daemun_filters"][1]
    for value in (wrong, "x", None):
        with pytest.raises(
            PluginError, match=f"plugin p: {hook} at .*:[0-9]+ returned a list with .*; accepted: a list"
        ):
            registry(make_plugin("p", **{hook: lambda value=value: [value]}))


@every_kind
def test_a_hook_that_fails_names_its_plugin(hook: str) -> None:
    def fail() -> Any:
        raise LookupError("nothing here")

    with pytest.raises(PluginError, match=f"plugin p: {hook} failed: LookupError: nothing here"):
        registry(make_plugin("p", **{hook: fail}))


@every_kind
def test_a_hook_that_returns_no_list_is_told_what_would_be_accepted(hook: str) -> None:
    async def forgetful() -> list[Any]:
        return []

    _, thing, _ = THINGS[hook]
    name = type(thing).__name__
    for value, words in ((None, "None"), (thing, f"an? {name}"), ("thing", "a str"), (forgetful(), "a coroutine")):
        plugin = make_plugin("p", **{hook: lambda value=value: value})
        where = at(getattr(plugin, hook))
        with pytest.raises(PluginError, match=f"plugin p: {hook}{where} returned {words}; accepted: a list of "):
            registry(plugin)


def test_a_hook_that_fails_is_told_with_the_line_that_raised() -> None:
    def fail() -> Any:
        return str.partition.nothing  # type: ignore[attr-defined]

    line = fail.__code__.co_firstlineno + 1
    with pytest.raises(PluginError, match=f"AttributeError: .* 'nothing' at {__file__}:{line}$"):
        registry(make_plugin("p", daemun_filters=fail))


def test_a_build_with_too_few_parameters_is_told_with_those_that_it_gets() -> None:
    @asynccontextmanager
    async def build(settings: NoSettings) -> AsyncIterator[Layer]:
        yield lambda handler: handler

    kind = FilterType("x", NoSettings, build)  # type: ignore[arg-type]
    words = rf"filter x: build takes \(settings\){at(build)}; accepted: a function of \(settings, FilterContext\)"
    with pytest.raises(PluginError, match=words):
        registry(make_plugin("p", daemun_filters=lambda: [kind]))


@pytest.mark.parametrize("build", [lambda *_: ANY, lambda settings, context, more=1: ANY, partial(max, 1)])
def test_a_build_may_take_its_arguments_as_it_likes(build: Any) -> None:
    registry(make_plugin("p", daemun_filters=lambda: [FilterType("x", NoSettings, build)]))


@every_kind
def test_an_unknown_name_is_told_with_what_there_is(hook: str) -> None:
    attribute, thing, word = THINGS[hook]
    kind: Kind[Any] = getattr(registry(make_plugin("p", **{hook: lambda: [thing]})), attribute)
    with pytest.raises(SettingsError, match=rf"unknown {word} 'y' \(accepted: .*x.*\)"):
        kind.get("y")


def test_a_thing_needs_a_name() -> None:
    nameless = FilterType("", NoSettings, ANY)
    with pytest.raises(PluginError, match="accepted: FilterType with a name"):
        registry(make_plugin("p", daemun_filters=lambda: [nameless]))


def test_a_plugin_may_not_take_the_name_of_a_balancer_of_ours() -> None:
    own = BalancerType("round_robin", NoSettings, ANY)
    with pytest.raises(PluginError, match="plugin p: balancer 'round_robin' is registered by plugin daemun too"):
        registry(make_plugin("p", daemun_balancers=lambda: [own]))


def test_a_plugin_may_not_take_the_name_of_a_health_check_of_ours() -> None:
    own = HealthCheckType("http", NoSettings, ANY)
    with pytest.raises(PluginError, match="plugin p: health check 'http' is registered by plugin daemun too"):
        registry(make_plugin("p", daemun_health_checks=lambda: [own]))


def test_a_near_miss_is_hinted_at() -> None:
    with pytest.raises(SettingsError, match=r"unknown balancer 'round-robin'; did you mean 'round_robin'\?"):
        registry().balancer("round-robin")
    with pytest.raises(SettingsError, match=r"unknown activator 'process' \(accepted: none\)"):
        registry().activator("process")
    with pytest.raises(SettingsError, match=r"unknown wire protocol 'http1' \(accepted: none\)"):
        registry().protocol("http1")


def test_the_order_of_plugins_does_not_matter() -> None:
    plugins = [
        make_plugin(name, daemun_filters=lambda name=name: [FilterType(f"of-{name}", NoSettings, ANY)])
        for name in ("a", "b", "c")
    ]
    forth, back = registry(*plugins), registry(*reversed(plugins))
    assert dict(forth.filters.items()) == dict(back.filters.items())


def test_whose_code_a_package_is() -> None:
    found = Registry(load_plugins(only=["http1", "file"])).packages()
    assert found == {"daemun_http1": "http1", "daemun_file": "file"}
