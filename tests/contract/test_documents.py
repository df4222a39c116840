"""Every block of every README runs, loads or exists; `documents.py` says what blocks there are."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import msgspec
import pytest

from daemun import BackendSpec, RouteSpec, load_settings
from daemun.cli.main import main as daemun
from daemun.extend.loading import load_plugins
from daemun.extend.registry import Registry
from daemun.upstream.backend import EndpointsSettings
from daemun_file import Reader
from daemun_file.objects import Specs, decode_object, split_document

from .documents import KINDS, READMES, ROOT, Block, blocks
from .stage import Stage, commands

BLOCKS = [block for readme in READMES for block in blocks(readme)]


def by_where(blocks_: list[Block]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [pytest.param(block, id=block.where) for block in blocks_])


def by_readme(readmes: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("readme", [pytest.param(one, id=str(one.relative_to(ROOT))) for one in readmes])


def test_every_folder_of_the_tree_has_a_document() -> None:
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("*/*/__init__.py") if path.parts[-3] != "tests"}
    named = {readme.parent.relative_to(ROOT) for readme in READMES}
    assert {folder for folder in folders if folder.parts[0] != "core"} | {Path("core"), Path()} <= named


@by_where(BLOCKS)
def test_a_block_says_what_it_is(block: Block) -> None:
    language = block.language.split(" ")[0]
    if language in KINDS:
        assert block.kind in KINDS[language]
    elif language == "console":
        assert commands(block)
    else:
        assert block.language in ("text", "text map")


# --- what is only loaded ---


@pytest.fixture
def registry(block: Block, tmp_path: Path) -> Iterator[Registry]:
    """The plugins that are installed, and those that the block's README shows before it."""
    plugins = [one for one in blocks(block.readme) if one.kind == "plugin" and one.line < block.line]
    modules = [_imported(tmp_path / plugin.file, plugin.text) for plugin in plugins]
    yield Registry(load_plugins(extra=modules))
    for module in modules:
        del sys.modules[module.__name__]


def _imported(file: Path, text: str) -> ModuleType:
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(f"readme_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@by_where([block for block in BLOCKS if block.kind == "plugin"])
def test_a_plugin_registers_something(block: Block, tmp_path: Path) -> None:
    module = _imported(tmp_path / block.file, block.text)
    registry = Registry(load_plugins(only=[], extra=[module]))
    brought = [name for things in registry.kinds.values() for name in things.items().values()]
    assert module.__name__ in brought
    del sys.modules[module.__name__]


@by_where([block for block in BLOCKS if block.kind == "settings"])
def test_settings_are_accepted(block: Block, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / block.file
    file.write_text(block.text)
    settings = load_settings(file)
    assert settings.listeners
    for one in settings.sources:
        rest = dict(one)
        msgspec.convert(rest, registry.sources.get(rest.pop("type")).settings)
        _check_inline(rest)
    for one in settings.observers:
        rest = dict(one)
        msgspec.convert(rest, registry.observers.get(rest.pop("type")).settings)
    for name, raw_protocol in settings.protocols.items():
        msgspec.convert(raw_protocol, registry.protocol(name).settings)


def _check_inline(source: dict[str, Any]) -> None:
    for item in split_document({key: source[key] for key in ("backends", "routes") if key in source}):
        if isinstance(item, Exception):
            raise item
        decode_object(item, "inline")


@by_where([block for block in BLOCKS if block.kind == "document"])
def test_documents_are_accepted(block: Block, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / block.file).write_text(block.text)
    reader: Reader[Specs] = Reader([block.file], tmp_path, split=split_document, decode=decode_object)
    reading = reader.read()
    assert reading is not None
    assert reading.refused == ()
    assert reading.entries
    for entry in reading.entries:
        if isinstance(entry.value, BackendSpec):
            _check_backend(entry.value, registry)
        else:
            for route in entry.value:
                _check_filters(route, registry)


def _check_backend(spec: BackendSpec, registry: Registry) -> None:
    kind = EndpointsSettings if spec.type == "endpoints" else registry.backends.get(spec.type).settings
    msgspec.convert(spec.settings, kind)
    if spec.activator:
        msgspec.convert(spec.activation, registry.activators.get(spec.activator).settings)


def _check_filters(route: RouteSpec, registry: Registry) -> None:
    for one in route.filters:
        msgspec.convert(one.settings, registry.filters.get(one.type).settings)


# --- what is run ---


@pytest.mark.timeout(600)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
@by_readme([one for one in READMES if any(b.language == "console" or b.kind == "script" for b in blocks(one))])
def test_its_commands_print_what_it_says(readme: Path, loop: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path, loop)
    try:
        for block in blocks(readme):
            if block.kind:
                stage.write(block)
            if block.kind == "script":
                stage.run(f"python {block.file}", "")
            for command, expected in commands(block) if block.language == "console" else ():
                stage.run(command, expected)
    finally:
        stage.close()


# --- what is named ---


@by_where([block for block in BLOCKS if block.language == "text map"])
def test_every_path_of_a_map_exists(block: Block) -> None:
    for line in block.text.splitlines():
        paths = re.findall(r"(?<![\w/])[a-z]+/[\w./]*", line.split("   ")[0])
        assert paths, line
        assert [path for path in paths if not (ROOT / path).exists()] == []
        assert [path for path in re.findall(r"\b[\w/]+/README\.md", line) if not (ROOT / path).exists()] == []


def test_the_map_of_the_readme_is_complete() -> None:
    (tree,) = (block.text for block in blocks(ROOT / "README.md") if block.language == "text map")
    for folder in ("core", "protocols", "plugins", "contrib", "tests", "bench"):
        assert f"{folder}/" in tree
    for package in ROOT.glob("p*/daemun_*/__init__.py"):
        name = package.parent.name
        assert name in tree or name.removeprefix("daemun") in tree


@by_readme(READMES)
def test_links_lead_somewhere(readme: Path) -> None:
    text = readme.read_text()
    for target, _, heading in re.findall(r"\]\((?!https?:)([^)#]*)(#([^)]*))?\)", text):
        file = (readme.parent / target).resolve() if target else readme
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings], heading


@by_readme(READMES)
def test_commands_in_passing_exist(readme: Path) -> None:
    text = re.sub(r"^```.*?^```", "", readme.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z]+)`", text)) <= set(targets)
    known = daemun.list_commands(click.Context(daemun))
    assert set(re.findall(r"`daemun ([a-z][a-z-]+)[` ]", text)) <= set(known)
