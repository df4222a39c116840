"""Public names: listed, true, documented; and what ships with them."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
from pathlib import Path
from typing import Any

import pytest

import daemun
from daemun import hookspecs

from .source_tree import REPOSITORY, Module, modules, packages

PROGRAMS = {"daemun_knative.services.demo.helloworld", "daemun_process.guardian"}
"""Modules that are run and not imported."""
MODULES = [module for module in modules() if module.name not in PROGRAMS and module.path.stem != "__main__"]
HOOKS = [name for name in vars(hookspecs) if name.startswith("daemun_")]


def defined_in(module: Module) -> set[str]:
    """Public names that the module itself defines. Loggers, type variables and hooks are found in other ways."""
    names: set[str] = set()
    for statement in module.tree.body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            value = ast.unparse(statement.value) if statement.value is not None else ""
            if value.startswith(("TypeVar(", "logging.getLogger(")):
                continue
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith(("_", "daemun_"))}


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_the_names_of_a_module_are_listed(module: Module) -> None:
    loaded = importlib.import_module(module.name)
    defined = defined_in(module)
    if not hasattr(loaded, "__all__"):
        assert not defined, f"{module} defines {', '.join(sorted(defined))} and has no __all__"
        assert not any(imported != "__future__" for imported, _ in module.imports()), f"{module} has no __all__"
        return
    listed = set(loaded.__all__)
    assert len(loaded.__all__) == len(listed)
    assert not {name for name in listed if not hasattr(loaded, name)}
    if not module.is_package:
        assert defined == {name for name in listed if not name.startswith("daemun_")}


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_a_module_says_its_idea(module: Module) -> None:
    words = ast.get_docstring(module.tree)
    assert words
    if module.is_package:
        assert len(words.splitlines()) <= 15


@pytest.mark.parametrize("name", daemun.__all__)
def test_a_name_of_the_facade_says_what_it_is(name: str) -> None:
    thing: Any = getattr(daemun, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        words = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
        assert words
        assert words.strip()[0].isupper() or words.startswith("`")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented_typed_and_tested(hook: str) -> None:
    specification = getattr(hookspecs, hook)
    assert inspect.getdoc(specification)
    assert "return" in specification.__annotations__
    assert set(inspect.signature(specification).parameters) <= set(specification.__annotations__)
    tests = [path for path in (REPOSITORY / "tests").rglob("test_*.py") if path != Path(__file__)]
    assert any(hook in path.read_text() for path in tests)


@pytest.mark.parametrize("package", packages(), ids=lambda package: package.name)
def test_a_package_is_typed_and_has_an_entry_point_of_its_name(package: Path) -> None:
    assert (package / "py.typed").is_file()
    if package.name == "daemun_pytest":
        assert "daemun_pytest" in {point.value for point in importlib.metadata.entry_points(group="pytest11")}
    elif package.name != "daemun":
        points = {point.value: point.name for point in importlib.metadata.entry_points(group="daemun")}
        assert points[package.name] == package.name.removeprefix("daemun_")
