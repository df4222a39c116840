"""Which files the code of a plugin is, how it is imported anew, and what a notice says of it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import click
import pytest

from daemun.errors import PluginError, SettingsError
from daemun.process.dev.developer import Reload
from daemun.process.dev.fault import Fault, fault_of
from daemun.process.dev.fresh import FromSource, imported_anew
from daemun.process.dev.notice import print_reload, reload_words
from daemun.process.dev.sources import Sources


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that modules are imported from, in the test only."""
    before = dict(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)


def package(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "__init__.py").write_text(text)


def sources_of(name: str, is_other: Callable[[str], bool] = lambda top: top == "daemun") -> Sources:
    return Sources(name, importlib.import_module(name), is_other)


@contextmanager
def finding(*plugins: Sources) -> Iterator[None]:
    finder = FromSource(plugins)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def anew(plugin: Sources) -> ModuleType:
    with finding(plugin), imported_anew([plugin]) as modules:
        return modules[plugin.plugin]


def test_the_code_of_a_file_is_what_it_imports_from_its_folder_too(folder: Path) -> None:
    write(
        folder,
        dev_one="import json, dev_two\nfrom dev_three import four\nimport dev_stranger\n",
        dev_two="import dev_five",
        dev_three__four="",
        dev_five="def late():\n    import dev_six\n",
        dev_six="",
        dev_seven="",
        dev_stranger="",
    )
    plugin = sources_of("dev_one", lambda top: top in ("daemun", "dev_stranger"))
    assert sorted(plugin.modules()) == ["dev_five", "dev_one", "dev_three", "dev_three.four", "dev_two"]
    assert plugin.holds(str(folder / "dev_two.py"))
    assert not plugin.holds(str(folder / "dev_seven.py"))
    assert not plugin.holds(str(folder / "dev_stranger.py"))
    assert {path.name for path in plugin.digests(all_beside=False)} == {
        "dev_one.py",
        "dev_two.py",
        "dev_five.py",
        "four.py",
    }
    assert plugin.folders() == {folder, folder / "dev_three"}
    plugin.modules()
    import dev_five  # type: ignore[import-not-found]

    dev_five.late()
    plugin.note_helpers()
    assert "dev_six" in plugin.modules()


def test_the_code_of_a_package_is_all_that_is_in_it(folder: Path) -> None:
    write(folder, dev_pack__deep__part="", dev_pack__other="", dev_beside="")
    package(folder, "dev_pack", "from .deep import part\nfrom dev_beside import *\n")
    plugin = Sources("p", importlib.import_module("dev_pack.deep.part"), lambda top: top == "daemun")
    assert (plugin.root, plugin.is_package, plugin.module) == ("dev_pack", True, "dev_pack.deep.part")
    assert sorted(plugin.modules()) == ["dev_beside", "dev_pack", "dev_pack.deep", "dev_pack.deep.part"]
    assert plugin.holds(str(folder / "dev_pack" / "not" / "yet.py"))
    assert len(plugin.digests(all_beside=False)) == 4
    assert plugin.folders() == {folder, folder / "dev_pack", folder / "dev_pack" / "deep"}


def test_a_namespace_is_nobodys_code(folder: Path) -> None:
    write(folder, dev_space__mine="", dev_space__yours="")
    importlib.import_module("dev_space.yours")
    plugin = sources_of("dev_space.mine")
    assert (plugin.root, plugin.is_package) == ("dev_space.mine", False)
    assert plugin.modules() == ["dev_space.mine"]
    fresh = anew(plugin)
    assert sys.modules["dev_space.mine"] is fresh
    assert sys.modules["dev_space"].mine is fresh


def test_code_of_the_same_size_and_second_is_new_code(folder: Path) -> None:
    write(folder, dev_same="from dev_helps import Y\nX = 1\n", dev_helps="Y = 1\n")
    file = folder / "dev_same.py"
    when = file.stat()
    plugin = sources_of("dev_same")
    old = sys.modules["dev_same"]
    assert Path(importlib.util.cache_from_source(str(file))).exists()
    for number in range(2, 5):
        for path, text in (
            (file, f"from dev_helps import Y\nX = {number}\n"),
            (folder / "dev_helps.py", f"Y = {number}\n"),
        ):
            path.write_text(text)
            os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))
        fresh = anew(plugin)
        assert (number, number) == (fresh.X, fresh.Y)
    assert (old.X, old.Y) == (1, 1)


def test_what_is_imported_late_is_the_new_code_too(folder: Path) -> None:
    package(folder, "dev_late", "def get():\n    from dev_late.part import X\n\n    return X\n")
    write(folder, dev_late__part="X = 1\n")
    plugin = sources_of("dev_late")
    part = folder / "dev_late" / "part.py"
    when = part.stat()
    importlib.import_module("dev_late.part")
    part.write_text("X = 2\n")
    os.utime(part, ns=(when.st_atime_ns, when.st_mtime_ns))
    with finding(plugin):
        with imported_anew([plugin]) as modules:
            pass
        assert modules["dev_late"].get() == 2


def test_an_import_that_fails_puts_all_modules_back(folder: Path) -> None:
    package(folder, "dev_back", "from . import a\nX = 1\n")
    write(folder, dev_back__a="")
    plugin = sources_of("dev_back")
    before = {name: sys.modules[name] for name in plugin.modules()}
    write(folder, dev_back__b="", dev_new__sub="")
    package(folder, "dev_new", "from . import sub\nraise LookupError('here')\n")
    package(folder, "dev_back", "from . import a, b\nimport dev_new\n")
    with pytest.raises(PluginError, match="plugin dev_back: its import failed: LookupError: here") as raised:
        anew(plugin)
    assert {name: sys.modules[name] for name in plugin.modules()} == before
    assert not [name for name in sys.modules if name.startswith("dev_new")]
    fault = fault_of(raised.value, plugin.holds)
    assert (fault.file, fault.line) == (str(folder / "dev_back" / "__init__.py"), 2)
    package(folder, "dev_new", "from . import sub\n")
    fresh = anew(plugin)
    assert fresh.a is not before["dev_back.a"]
    assert "dev_new.sub" in plugin.modules()


def test_what_uses_the_modules_and_fails_puts_them_back_too(folder: Path) -> None:
    write(folder, dev_used="X = 1\n")
    plugin = sources_of("dev_used")
    old = sys.modules["dev_used"]
    with finding(plugin), pytest.raises(SettingsError), imported_anew([plugin]):
        assert sys.modules["dev_used"] is not old
        raise SettingsError("no")
    assert sys.modules["dev_used"] is old


def test_a_traceback_shows_the_line_that_ran(folder: Path) -> None:
    write(folder, dev_lines="def f():\n    raise ValueError  # old\n")
    plugin = sources_of("dev_lines")
    with pytest.raises(ValueError) as raised:
        sys.modules["dev_lines"].f()
    assert "# old" in "".join(traceback.format_exception(raised.value))
    when = (folder / "dev_lines.py").stat()
    write(folder, dev_lines="def f():\n    raise ValueError  # new\n")
    os.utime(folder / "dev_lines.py", ns=(when.st_atime_ns, when.st_mtime_ns))
    with pytest.raises(ValueError) as raised:
        anew(plugin).f()
    assert "# new" in "".join(traceback.format_exception(raised.value))


def test_a_module_that_is_missing_is_named(folder: Path) -> None:
    write(folder, dev_needs="")
    plugin = sources_of("dev_needs")
    write(folder, dev_needs="\nimport dev_nothing\n")
    with pytest.raises(PluginError, match="needs the module dev_nothing, which is not there") as raised:
        anew(plugin)
    fault = fault_of(raised.value, plugin.holds)
    assert (fault.place, fault.text) == (f"{folder / 'dev_needs.py'}:2", "import dev_nothing")


def test_code_of_no_file_has_no_sources() -> None:
    for module in (ModuleType("made"), sys):
        with pytest.raises(PluginError, match=r"in no file that could change \(accepted: modules of \.py files\)"):
            Sources("made", module, lambda top: False)


def test_what_is_installed_has_nothing_beside_it() -> None:
    import pluggy

    plugin = Sources("p", pluggy, lambda top: False)
    assert plugin.helpers == {}
    assert plugin.folder not in plugin.folders()


def test_a_fault_of_nobody_has_no_place() -> None:
    fault = fault_of(SettingsError("no listener"), lambda file: False)
    assert (fault.words, fault.place, fault.text) == ("no listener", "", "")


def test_a_notice_says_what_is_good() -> None:
    words = click.unstyle(reload_words(Reload("mine", 3, 0.0124, ("filter a", "observer b"))))
    assert words == "mine: generation 3 after 12 ms: filter a, observer b"
    words = click.unstyle(reload_words(Reload("mine", 4, 0.1, mended=True)))
    assert words == "mine: good again, generation 4 after 100 ms: brings nothing"


def test_a_notice_shows_the_line_that_is_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    write(folder, mine="x = 1\ny = (2]\n")
    print_reload(Reload("mine", 1, 0.01, fault=Fault("it does not match", str(folder / "mine.py"), 2, 7)))
    plain = capsys.readouterr().err
    assert plain == (
        "mine: not reloaded, generation 1 stays in use\n"
        "  mine.py:2\n"
        "     2 | y = (2]\n"
        "               ^\n"
        "  it does not match\n"
    )


def test_a_notice_without_a_place_is_words() -> None:
    words = reload_words(Reload("mine", 1, 0.01, fault=Fault("it is so")))
    assert "\x1b[" in words
    assert click.unstyle(words) == "mine: not reloaded, generation 1 stays in use\n  it is so"
