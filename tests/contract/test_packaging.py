"""The wheel: every package that ships, and nothing else."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from .source_tree import REPOSITORY, packages

pytest.importorskip("hatchling")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    return ZipFile(next(folder.glob("*.whl")))


def test_every_package_is_in_it_with_all_its_modules_and_data(wheel: ZipFile) -> None:
    names = set(wheel.namelist())
    for package in packages():
        files = [path for path in package.rglob("*") if path.is_file() and path.suffix in (".py", ".yaml", ".typed")]
        assert {str(path.relative_to(package.parent)) for path in files} <= names
        assert f"{package.name}/py.typed" in names


def test_nothing_else_is_in_it(wheel: ZipFile) -> None:
    tops = {Path(name).parts[0] for name in wheel.namelist()}
    shipped = {package.name for package in packages()}
    assert {top for top in tops if not top.endswith(".dist-info")} == shipped
    assert not any(name.endswith((".pyc", "~")) or "/tests/" in name for name in wheel.namelist())


def test_its_entry_points_are_those_of_the_project(wheel: ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    points = configparser.ConfigParser(delimiters=("=",))
    points.read_string(wheel.read(name).decode())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert dict(points["daemun"]) == project["entry-points"]["daemun"]
    assert dict(points["console_scripts"]) == project["scripts"]


def test_its_license_is_in_it(wheel: ZipFile) -> None:
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


def test_its_description_has_no_link_to_a_file(wheel: ZipFile) -> None:
    metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("/METADATA"))).decode()
    head, _, description = metadata.partition("\n\n")
    assert "Description-Content-Type: text/markdown" in head
    assert "made of plugins" in description
    assert re.findall(r"\]\((?!https?://)[^)]*\)", description) == []
