"""Everything that ships keeps the contract of its kind: the batteries for authors of plugins, run on the built-ins.

`SETTINGS` has what a thing needs to be checked at all; its files are made in a folder of the test.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from tests.plugins.kubernetes.clusters import kubeconfig
from tests.plugins.kubernetes.store import Store, store_server

from daemun.extend.loading import load_plugins
from daemun.extend.registry import Registry
from daemun.testing.batteries import Unseen, check_source, layers
from daemun.testing.batteries.collecting import BATTERIES, subject_of
from daemun.testing.batteries.rules import run_battery

from .documents import ROOT
from .generate import own_plugins

pytestmark = pytest.mark.anyio

REGISTRY = Registry(load_plugins(only=own_plugins()))
THINGS = [(word, name) for word, battery in BATTERIES.items() for name in getattr(REGISTRY, battery.registry).items()]
SERVER = (
    "import http.server, os\n"
    "http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), http.server.SimpleHTTPRequestHandler).serve_forever()"
)
ROUTES = {"routes": [{"name": "hello", "match": {"path": "/hello"}, "respond": {"body": "hello\n"}}]}
KINGRESSES = (
    "apiVersion: networking.internal.knative.dev/v1alpha1\nkind: Ingress\nmetadata: {name: web, namespace: default}\n"
)
APPS = "tests.contract.applications"
SETTINGS: Mapping[tuple[str, str], dict[str, Any]] = {
    ("filter", "asgi"): {"middleware": f"{APPS}:Passing", "app_dir": str(ROOT)},
    ("filter", "knative-probe"): {"hash": "ab" * 32},
    ("filter", "json-to-soap"): {"wsdl": "stock.wsdl"},
    ("filter", "soap-to-json"): {"wsdl": "stock.wsdl"},
    ("backend", "asgi"): {"app": f"{APPS}:asgi", "app_dir": str(ROOT)},
    ("backend", "wsgi"): {"app": f"{APPS}:wsgi", "app_dir": str(ROOT)},
    ("backend", "static"): {"root": "site"},
    ("source", "file"): {"paths": ["routes.yaml"]},
    ("source", "inline"): ROUTES,
    ("source", "knative"): {"kubeconfig": "config"},
    ("source", "knative_files"): {"paths": ["kingresses.yaml"]},
    ("source", "kubernetes_ingress"): {"kubeconfig": "config"},
    ("activator", "process"): {"command": [sys.executable, "-c", SERVER]},
    ("observer", "accesslog"): {"file": "access.log"},
    ("observer", "prometheus"): {"bind": "127.0.0.1:0"},
}
LAYERED = {getattr(check, "__name__", "") for check in layers.LAYERED}
UNSEEN: Mapping[str, set[str]] = {
    "source": {"keeps_the_rest"},
    "command": {"misses_its_arguments"},
    "balancer": {"imports_public_names", "is_not_bound_to_a_loop"},
    "health-check:http": {"imports_public_names", "is_not_bound_to_a_loop"},
    "dialect:websocket": LAYERED,
    "filter:soap": LAYERED,
    "filter:json-to-soap": LAYERED,
    "dialect:connect": {*LAYERED, "outgoing_stays_a_request"},
    "dialect:soap": {*LAYERED, "outgoing_stays_a_request"},
    "dialect:soap-json": {*LAYERED, "outgoing_stays_a_request"},
}
"""Rules that cannot be looked at: what a thing does not have, and what needs more than settings."""
CLUSTERED = {("source", "knative"), ("source", "kubernetes_ingress")}


def spoil(folder: Path) -> None:
    """One of two routes in `routes.yaml` becomes a bad one."""
    document = {"routes": [*ROUTES["routes"], {"name": "bad", "match": {"path": "no path"}, "nonsense": 1}]}
    (folder / "routes.yaml").write_text(yaml.safe_dump(document))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that settings name."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<p>hello\n" * 5000)
    (tmp_path / "routes.yaml").write_text(yaml.safe_dump(ROUTES))
    (tmp_path / "kingresses.yaml").write_text(KINGRESSES)
    shutil.copy(ROOT / "tests" / "protocols" / "wsdl" / "stock.wsdl", tmp_path)
    return tmp_path


@asynccontextmanager
async def _cluster(folder: Path) -> AsyncIterator[None]:
    """An API server without objects, which the kubeconfig `config` names."""
    store = Store()
    async with store_server(store) as server, anyio.create_task_group() as tasks:
        (folder / "config").write_text(yaml.safe_dump(kubeconfig(server.url)))
        tasks.start_soon(_say_something, store)
        yield
        tasks.cancel_scope.cancel()


async def _say_something(store: Store) -> None:
    """So that the server notices of each watch whether anybody still listens."""
    while True:
        await anyio.sleep(0.05)
        store.bookmark()


async def _checked(word: str, name: str, folder: Path) -> tuple[Unseen, ...]:
    battery = BATTERIES[word]
    thing = getattr(REGISTRY, battery.registry).get(name)
    subject = subject_of(word, thing, settings=SETTINGS.get((word, name)), base_dir=folder)
    return await run_battery(subject.words, battery.checks, subject)


@pytest.mark.parametrize(("word", "name"), THINGS, ids=[f"{word}:{name}" for word, name in THINGS])
async def test_what_ships_keeps_the_contract_of_its_kind(word: str, name: str, folder: Path) -> None:
    if (word, name) in CLUSTERED:
        async with _cluster(folder):
            unseen = await _checked(word, name, folder)
    else:
        unseen = await _checked(word, name, folder)
    left = {one.check for one in unseen} - UNSEEN.get(word, set()) - UNSEEN.get(f"{word}:{name}", set())
    assert not left, unseen


async def test_one_bad_route_of_a_file_leaves_the_others(folder: Path) -> None:
    unseen = await check_source(
        REGISTRY.sources.get("file"), {"paths": ["routes.yaml"]}, spoil=lambda: spoil(folder), base_dir=folder
    )
    assert not unseen
