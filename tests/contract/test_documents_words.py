"""What READMEs say in passing is so: members of public names, hooks, statuses, options, defaults of settings."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

import daemun as facade
from daemun import Reason, hookspecs, testing
from daemun.cli.main import main as daemun
from daemun.extend.loading import installed
from daemun.testing import batteries

from .documents import READMES, ROOT, Block, blocks
from .fields import nested, undescribed_fields
from .generate import hook_signatures
from .public_names import fixtures, public_names
from .test_documents_reference import REGISTERED

OURS = [readme for readme in READMES if readme.relative_to(ROOT).parts[0] != "bench"]
EXAMPLES = [block for readme in READMES for block in blocks(readme) if block.kind == "plugin"]
MADE = [one for one in EXAMPLES if "@hookimpl" in one.text]


def by_readme(readmes: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("readme", [pytest.param(one, id=str(one.relative_to(ROOT))) for one in readmes])


def _prose(readme: Path) -> str:
    return re.sub(r"^```.*?^```", "", readme.read_text(), flags=re.MULTILINE | re.DOTALL)


def _code(readme: Path) -> list[str]:
    """What stands in backquotes in running text and in tables."""
    return re.findall(r"`([^`\n]+)`", _prose(readme))


# --- public names ---


@by_readme(READMES)
def test_members_of_public_names_exist(readme: Path) -> None:
    for code in _code(readme):
        for name, member in re.findall(r"(?<![\w.])([A-Z]\w+)\.([a-z]\w*)", code):
            for module in (facade, testing, batteries):
                if name in module.__all__:
                    described = {one.name for one in public_names(module.__name__)[name].members}
                    assert member in described or hasattr(getattr(module, name), member), f"{name}.{member}"


@by_readme(READMES)
def test_what_is_imported_from_daemun_is_public(readme: Path) -> None:
    for name in re.findall(r"(?<![\w.])daemun\.testing\.([a-z]\w*)", " ".join(_code(readme))):
        assert name in (*testing.__all__, "batteries", "pytest_plugin")


# --- hooks ---


@by_readme(READMES)
def test_hooks_in_passing_exist(readme: Path) -> None:
    packages = {path.parent.name for path in ROOT.glob("*/*/__init__.py")}
    metrics = "".join(path.read_text() for path in (ROOT / "contrib" / "daemun_prometheus").glob("*.py"))
    for name, arguments in re.findall(r"(?<![\w/])(daemun_[a-z]\w*)(\([\w, ]*\))?", " ".join(_code(readme))):
        if hasattr(hookspecs, name):
            assert set(re.findall(r"\w+", arguments)) <= set(inspect.signature(getattr(hookspecs, name)).parameters)
        else:
            known = name in packages or name in fixtures() or re.search(rf"\b{name.removesuffix('_total')}", metrics)
            assert known, f"{name} is no hook, no package, no fixture and no metric"


@pytest.mark.parametrize("block", [pytest.param(block, id=block.where) for block in MADE])
def test_the_hooks_of_an_example_are_written_as_they_are_specified(block: Block) -> None:
    implemented = 0
    for node in ast.walk(ast.parse(block.text)):
        if not isinstance(node, ast.FunctionDef) or "hookimpl" not in map(ast.unparse, node.decorator_list):
            continue
        implemented += 1
        specified = inspect.signature(getattr(hookspecs, node.name))
        for argument in node.args.args:
            annotation = specified.parameters[argument.arg].annotation
            assert argument.annotation is None or ast.unparse(argument.annotation) == annotation
        if node.returns is not None:  # an `Iterable[…]` may be any collection
            given = ast.unparse(node.returns)
            assert given.partition("[")[2] == specified.return_annotation.partition("[")[2]
    assert implemented


def test_every_hook_is_in_the_table_or_the_text_of_the_plugins() -> None:
    text = (ROOT / "plugins" / "README.md").read_text() + (ROOT / "protocols" / "README.md").read_text()
    assert [name for name in hook_signatures() if f"`{name}" not in text and f"def {name}" not in text] == []


# --- statuses ---


@by_readme(READMES)
def test_statuses_are_those_of_the_reasons_beside_them(readme: Path) -> None:
    statuses = {reason.value: reason.status for reason in Reason}
    for status, label in re.findall(r"\b([1-5]\d\d) \(?`([a-z]+(?:_[a-z]+)+)`", _prose(readme)):
        assert statuses[label] == int(status)


# --- options ---


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that `words` begin with, and what follows."""
    command: click.Command = daemun
    context = click.Context(daemun)
    while isinstance(command, click.Group) and words and (inner := command.get_command(context, words[0])):
        command, words = inner, words[1:]
    return command, words


def _options(command: click.Command) -> set[str]:
    parameters = command.get_params(click.Context(command, help_option_names=["-h", "--help"]))
    return {option for one in parameters for option in (*one.opts, *one.secondary_opts)}


def _all_options(command: click.Command) -> Iterator[str]:
    yield from _options(command)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _all_options(inner)


ALL_OPTIONS = set(_all_options(daemun))
OF_PYTEST = set(re.findall(r'"(--daemun-[a-z]+)"', (ROOT / "core" / "daemun_pytest" / "__init__.py").read_text()))


@by_readme(OURS)
def test_options_in_passing_exist(readme: Path) -> None:
    texts = [block.text for block in blocks(readme) if block.language == "text"]
    lines = [line[2:] for text in texts for line in text.splitlines() if line.startswith("$ daemun ")]
    for code in (*_code(readme), *lines):
        if code.startswith("daemun "):
            command, rest = _command(code.replace("[", "").replace("]", "").split()[1:])
            assert {word.partition("=")[0] for word in rest if re.match("--[a-z]", word)} <= _options(command), code
        elif option := re.match(r"--[a-z-]+", code):
            assert option[0] in ALL_OPTIONS | OF_PYTEST, code


def test_every_command_and_every_option_says_what_it_does() -> None:
    assert [name for name, words in _helps(daemun, "daemun") if not words.strip()] == []


def _helps(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    yield path, command.help or ""
    for option in command.params:
        if isinstance(option, click.Option):
            yield f"{path} {option.opts[-1]}", option.help or ""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _helps(inner, f"{path} {name}")


# --- defaults ---


_ROW = re.compile(r"^\| `([\w.]+)` \| ([^|]*) \|", re.MULTILINE)
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20}
SETTINGS: dict[str, list[type[msgspec.Struct]]] = {}
for _, _plugin, _kind in REGISTERED:
    SETTINGS.setdefault(_plugin, []).extend(nested(_kind))


def _rows(text: str) -> Iterator[tuple[str, str, str]]:
    """The title, the key and the default of each row of a table of settings."""
    for title, rows in re.findall(r"^\| (setting|Key) \| [dD]efault \|.*\n\|[- |]+\n((?:\|.*\n)*)", text, re.MULTILINE):
        yield from ((title, key, cell) for key, cell in _ROW.findall(rows))


def _is_said(cell: str, field: msgspec.structs.FieldInfo) -> bool:
    """Whether the default of `field` is what the table says. Words that are no value cannot be compared."""
    if cell == "required":
        return field.required
    written = re.fullmatch(r"`(.*)`", cell)
    number = re.fullmatch(r"([\d,.]+)( [KM]iB)?", cell)
    if not (written or number):
        return True
    if field.required:
        return False
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    real: Any = msgspec.json.decode(msgspec.json.encode(default))
    if number:
        return bool(real == float(number[1].replace(",", "")) * _UNITS.get((number[2] or "").strip(), 1))
    assert written is not None
    try:
        return bool(real == json.loads(written[1]))
    except ValueError:
        return bool(real == written[1])


@pytest.mark.parametrize(("name", "plugin", "settings"), REGISTERED, ids=[name for name, _, _ in REGISTERED])
def test_every_setting_of_a_plugin_is_described(name: str, plugin: str, settings: type[msgspec.Struct]) -> None:
    assert undescribed_fields(settings) == [], f"{name} of {plugin}"


@pytest.mark.parametrize("plugin", sorted(SETTINGS))
def test_defaults_in_tables_are_those_of_the_settings(plugin: str) -> None:
    (folder,) = ROOT.glob(f"*/{installed()[plugin].value}")
    fields = [field for kind in SETTINGS[plugin] for field in msgspec.structs.fields(kind)]
    for title, key, cell in _rows((folder / "README.md").read_text()):
        of_key = [field for field in fields if field.encode_name == key.rpartition(".")[2]]
        if of_key or title == "setting":  # a table of keys may be one of documents and not of settings
            assert any(_is_said(cell, field) for field in of_key), f"{key}: {cell}"


def test_tables_of_defaults_are_read() -> None:
    texts = [(folder / "README.md").read_text() for plugin in SETTINGS for folder in ROOT.glob(f"*/daemun_{plugin}")]
    assert sum(len(list(_rows(text))) for text in texts) > 80
