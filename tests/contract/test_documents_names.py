"""The reference of the public names and the help of the commands are whole, and read the code as Python does."""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import re
from collections import Counter

import msgspec
import pytest
from click.testing import CliRunner

from daemun.cli.main import main as daemun

from .documents import ROOT, blocks
from .public_names import PublicName, fixtures, public_names, undescribed
from .reference import GROUPS, anchor, listed

NAMES = (ROOT / "core" / "daemun" / "README.md").read_text()
COMMANDS = ROOT / "core" / "daemun" / "cli" / "README.md"
PACKAGES = ("daemun", "daemun.testing", "daemun.testing.batteries")
PUBLIC = [pytest.param(package, one, id=one.name) for package in PACKAGES for one in public_names(package).values()]


def test_every_public_name_and_every_member_says_what_it_is() -> None:
    assert list(undescribed()) == [], "these need a docstring"


def test_every_public_name_stands_in_one_group() -> None:
    found = Counter((group.package, one.name) for group in GROUPS for one in listed(group))
    wanted = [(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]
    assert found == Counter([*wanted, *(("", name) for name in fixtures())]), (
        "see GROUPS in tests/contract/reference.py"
    )


def test_every_name_is_a_heading_and_no_two_have_one_anchor() -> None:
    headings = re.findall(r"^#+ (.*)$", NAMES, re.MULTILINE)
    assert {name.strip("`") for name in headings} >= {name for package in PACKAGES for name in public_names(package)}
    assert [place for place, times in Counter(map(anchor, headings)).items() if times > 1] == []


# --- what is read from the source is what Python sees ---


@pytest.mark.parametrize(("package", "one"), PUBLIC)
def test_a_name_is_what_its_module_defines(package: str, one: PublicName) -> None:
    assert getattr(importlib.import_module(package), one.name) is getattr(importlib.import_module(one.module), one.name)
    thing = getattr(importlib.import_module(package), one.name)
    if inspect.isclass(thing):
        assert one.words == inspect.cleandoc(vars(thing)["__doc__"])
        assert one.code.startswith(f"class {one.name}")
        _check_members(thing, one)
    elif inspect.isfunction(thing):
        assert one.words == inspect.getdoc(thing)
        assert _parameters(one.code) == _seen(thing)


def _check_members(kind: type, one: PublicName) -> None:
    names = [member.name for member in one.members]
    assert len(names) == len(set(names))
    if issubclass(kind, enum.Enum):
        assert [name for name in names if name in kind.__members__] == list(kind.__members__)
    if issubclass(kind, msgspec.Struct):
        fields = [field for field in kind.__struct_fields__ if not field.startswith("_")]
        assert [name for name in names if name in fields] == fields
    for member in one.members:
        seen = inspect.getattr_static(kind, member.name, None)
        if inspect.isfunction(seen):
            assert _parameters(member.code) == _seen(seen)[1:], member.name
        elif isinstance(seen, property):
            assert member.code.startswith(f"@property {member.name}: ")


def _parameters(code: str) -> list[tuple[str, bool]]:
    """The parameters of a signature that is written down, each with whether it may be left out."""
    text = re.sub(r"^(async with |with |async |@\w+ )", "", code)
    text = re.sub(r" as [\w.\[\], |]+$", "", text)
    (function,) = ast.parse(f"def {text}: ...").body
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    found = [(one.arg, at >= required) for at, one in enumerate(positional)]
    found += [(arguments.vararg.arg, False)] if arguments.vararg else []
    found += [
        (one.arg, value is not None) for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return found + ([(arguments.kwarg.arg, False)] if arguments.kwarg else [])


def _seen(function: object) -> list[tuple[str, bool]]:
    assert callable(function)
    parameters = inspect.signature(function).parameters.values()
    return [(one.name, one.default is not one.empty) for one in parameters]


# --- commands ---


HELPS = re.findall(r"^## `(daemun[^`]*)`$", COMMANDS.read_text(), re.MULTILINE)


def test_every_help_has_a_block() -> None:
    assert len(HELPS) == len(blocks(COMMANDS)) > len(daemun.commands)


@pytest.mark.parametrize("path", HELPS)
def test_a_help_is_what_the_command_prints(path: str) -> None:
    words = [*path.split()[1:], "--help"]
    result = CliRunner().invoke(daemun, words, prog_name="daemun", terminal_width=80, max_content_width=80)
    assert result.exit_code == 0
    assert result.output == dict(zip(HELPS, (block.text for block in blocks(COMMANDS)), strict=True))[path]
