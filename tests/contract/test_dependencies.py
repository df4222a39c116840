"""Who may import whom: plugins know the façade and nothing else, the core knows no plugin, and nothing goes round."""

from __future__ import annotations

import importlib
from graphlib import CycleError, TopologicalSorter

import pytest

import daemun

from .source_tree import REPOSITORY, Module, modules

MODULES = modules()
BY_NAME = {module.name: module for module in MODULES}
PACKAGES = {module.package for module in MODULES}
PLUGIN_MODULES = [module for module in MODULES if module.root != "core"]


def test_there_is_something_to_look_at() -> None:
    assert {"daemun", "daemun_http1", "daemun_file", "daemun_static", "daemun_process", "daemun_knative"} <= PACKAGES
    assert len(MODULES) > 60


@pytest.mark.parametrize("module", [module for module in MODULES if module.root == "core"], ids=repr)
def test_the_core_imports_no_plugin(module: Module) -> None:
    imported = {name.partition(".")[0] for name, _ in module.every_import()}
    assert imported & PACKAGES <= {"daemun"}


@pytest.mark.parametrize("module", PLUGIN_MODULES, ids=repr)
def test_a_plugin_imports_only_names_of_the_facade(module: Module) -> None:
    for imported, name in module.every_import():
        if imported.partition(".")[0] == "daemun":
            assert imported == "daemun", f"{module} imports {imported}"
            assert name in daemun.__all__, f"{module} imports {name or 'daemun as a whole'}"


@pytest.mark.parametrize("module", PLUGIN_MODULES, ids=repr)
def test_a_plugin_imports_another_only_where_its_readme_says_so_and_by_its_facade(module: Module) -> None:
    for imported, name in module.every_import():
        package = imported.partition(".")[0]
        if package in PACKAGES - {"daemun", module.package}:
            readme = (REPOSITORY / module.root / module.package / "README.md").read_text()
            assert package in readme, f"{module} imports {package}, and its README does not say so"
            assert imported == package, f"{module} imports {imported}"
            assert name in importlib.import_module(package).__all__, f"{module} imports {package}.{name}"


def _loaded_by(module: Module) -> set[str]:
    """Modules of ours that importing `module` imports; packages above them aside."""
    found = set()
    for imported, name in module.imports():
        submodule = f"{imported}.{name}"
        target = submodule if submodule in BY_NAME else imported
        if target in BY_NAME and target != module.name:
            found.add(target)
    return found


def test_no_import_goes_round() -> None:
    graph = {module.name: _loaded_by(module) for module in MODULES}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))
    assert set(order) == set(BY_NAME)


def test_inside_the_core_nobody_imports_the_facade() -> None:
    for module in MODULES:
        if module.root == "core":
            facade = {name for imported, name in module.every_import() if imported == "daemun"}
            assert all(f"daemun.{name}" in BY_NAME for name in facade), f"{module} imports {facade}"
