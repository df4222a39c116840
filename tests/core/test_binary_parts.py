"""What goes into a binary, and what a build says when it cannot be: without building one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemun import SettingsError
from daemun.binary.carried import EXCLUDED, PRUNED, carried, programs, standard_library
from daemun.binary.check import check_binary
from daemun.binary.environment import extras_here, make_environment, own_requirement
from daemun.binary.freeze import freeze, libraries_of_system
from daemun.binary.seal import compile_launcher, seal
from daemun.cli.main import main
from daemun.extend.loading import installed
from daemun.testing.program import soon

Build = Callable[..., Result]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def run(*words: str) -> Result:
        return CliRunner().invoke(main, ["build", "--output", str(tmp_path / "daemun"), *words])

    return run


def program(file: Path, text: str) -> Path:
    """An executable shell script."""
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


# --- what is packed ---


def test_every_plugin_goes_in_with_its_distribution_and_its_package() -> None:
    what = carried()
    assert set(what.plugins) == set(installed())
    assert what.distributions[0] == "daemun"
    assert {"daemun", *(point.module.partition(".")[0] for point in installed().values())} <= set(what.modules)


def test_files_that_are_run_by_their_path_go_in_as_files() -> None:
    assert [(file.name, folder) for file, folder in programs("daemun_process")] == [("guardian.py", "daemun_process")]
    demo = ("helloworld.py", "daemun_knative/services/demo")
    assert demo in [(file.name, folder) for file, folder in programs("daemun_knative")]
    assert list(programs("daemun_http1")) == list(programs("no_such_module")) == []


def test_the_standard_library_is_there_for_code_that_settings_name() -> None:
    assert {"http", "html.parser", "runpy", "xml.etree.ElementTree"} <= set(standard_library())
    assert not set(standard_library()) & EXCLUDED.keys()


def test_what_is_left_out_has_a_reason() -> None:
    assert all(EXCLUDED.values())
    assert all(PRUNED.values())


def test_an_environment_for_more_plugins_has_this_daemun_with_its_extras() -> None:
    extras = extras_here()
    assert not {"dev", "trio"} & set(extras)
    requirement = own_requirement()
    assert requirement.startswith("daemun[binary,") or "binary]" in requirement
    assert all(extra in requirement for extra in extras)


# --- the launcher and the file ---


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return compile_launcher(tmp_path_factory.mktemp("launcher"))
    except SettingsError as error:
        pytest.skip(str(error))


@pytest.fixture
def sealed(launcher: Path, tmp_path: Path) -> Path:
    """A binary whose program tells what it was given."""
    folder = tmp_path / "frozen"
    (folder / "_internal" / "deep").mkdir(parents=True)
    (folder / "_internal" / "deep" / "a file").write_bytes(b"content")
    (folder / "_internal" / "empty").touch()
    tell = 'echo "$$ $DAEMUN_BINARY as=$DAEMUN_AS_PYTHON libraries=$LD_LIBRARY_PATH words=$*"'
    program(folder / "daemun", tell)
    seal(folder, launcher, tmp_path / "daemun-sealed")
    return tmp_path / "daemun-sealed"


def test_the_file_becomes_its_program_with_the_same_pid_and_words(sealed: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    environment = {"DAEMUN_UNPACK": str(place), "LD_LIBRARY_PATH": "/others"}
    with subprocess.Popen([sealed, "run", "x y"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        said, _ = process.communicate()
    (folder,) = place.iterdir()
    libraries = f"libraries={folder}/_internal:/others"
    assert said == f"{process.pid} {sealed} as= {libraries} words=run x y\n"
    assert (folder / "_internal" / "deep" / "a file").read_bytes() == b"content"
    assert (folder / "_internal" / "empty").read_bytes() == b""
    python = subprocess.run([folder / "python", "-c", "x"], env={}, capture_output=True, text=True, check=True)
    assert python.stdout.endswith(f"as=1 libraries={folder}/_internal words=-c x\n")


def test_equal_folders_have_one_name_and_others_another(sealed: Path, launcher: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    other = tmp_path / "other"
    seal(tmp_path / "frozen", launcher, other)
    (tmp_path / "frozen" / "_internal" / "empty").write_bytes(b"no more")
    changed = tmp_path / "changed"
    seal(tmp_path / "frozen", launcher, changed)
    for binary, folders in ((sealed, 1), (other, 1), (changed, 2)):
        subprocess.run([binary], env={"DAEMUN_UNPACK": str(place)}, check=True, capture_output=True)
        assert len(list(place.iterdir())) == folders


def test_a_file_that_was_cut_says_so(sealed: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(sealed.read_bytes()[:-1])
    cut.chmod(0o755)
    done = subprocess.run([cut], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"daemun: {cut} is incomplete\n")


def test_the_launcher_names_the_libraries_of_what_it_becomes(launcher: Path, tmp_path: Path) -> None:
    """So that `ldd` of the one file lists all that a root for it needs."""
    python = Path(sys.executable).resolve()
    (tmp_path / "frozen" / "_internal").mkdir(parents=True)
    shutil.copy(python, tmp_path / "frozen" / "daemun")
    needs = libraries_of_system(tmp_path / "frozen")
    assert {"libc.so.6", "libm.so.6"} <= {path.name for path in needs}
    said = subprocess.run(["ldd", compile_launcher(tmp_path, needs)], capture_output=True, text=True, check=True).stdout
    assert {path.name for path in needs} <= {line.split()[0] for line in said.splitlines()}
    assert "libm.so.6" not in subprocess.run(["ldd", launcher], capture_output=True, text=True, check=True).stdout


# --- Python for those that start `sys.executable` ---


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["-c", "import sys; print(__name__, sys.argv)", "a", "-b"], "__main__ ['-c', 'a', '-b']\n"),
        (["-I", "-S", "-W", "ignore", "-Xdev", "told.py", "a"], "__main__ ['told.py', 'a']\n"),
        (["-m", "told", "a"], "__main__ told.py a\n"),
    ],
)
def test_the_words_of_an_interpreter(words: list[str], output: str, tmp_path: Path) -> None:
    text = "import os, sys\nprint(__name__, *([sys.argv] if sys.argv[0] == 'told.py' else [os.path.basename(sys.argv[0]), *sys.argv[1:]]))\n"
    (tmp_path / "told.py").write_text(text)
    code = "import sys; from daemun.binary.inside import run_python; run_python(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout == output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "daemun: as Python it needs -c CODE, -m MODULE or FILE\n"),
        (["-I", "-c"], "daemun: as Python it needs -c CODE, -m MODULE or FILE\n"),
        (["--help"], "daemun: as Python it does not know --help (accepted: -c CODE, -m MODULE, FILE)\n"),
    ],
)
def test_words_that_are_none_of_an_interpreter(words: list[str], said: str) -> None:
    code = "import sys; from daemun.binary.inside import run_python; run_python(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, said)


# --- what cannot be ---


def test_no_compiler_is_told(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "no-compiler"))
    result = build()
    assert result.exit_code == 1
    assert "no-compiler cannot be run: No such file or directory" in result.stderr
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = build("--with", "anything")
    assert result.exit_code == 1
    assert (
        "a binary needs a C compiler for its first lines (accepted: cc, gcc or clang; CC names another)"
        in result.stderr
    )


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"{program(tmp_path / 'cc', 'echo it is Monday >&2; exit 1')} -flag")
    with pytest.raises(SettingsError, match="cc failed:\nit is Monday"):
        compile_launcher(tmp_path)


def test_a_build_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    compiler = program(tmp_path / "cc", f"echo >{tmp_path}/runs; exec sleep 600")
    (tmp_path / "work").mkdir()
    command = [sys.executable, "-m", "daemun.cli", "build", "--output", str(tmp_path / "daemun")]
    environment = {**os.environ, "CC": str(compiler), "TMPDIR": str(tmp_path / "work")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        soon((tmp_path / "runs").exists)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert os.listdir(tmp_path / "work") == []


def test_a_build_without_its_extra_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PyInstaller", None)
    with pytest.raises(SettingsError, match=r"\(pip install 'daemun\[binary\]'\)"):
        freeze(carried(), tmp_path)


@pytest.mark.parametrize("words", [(), ("--with", "anything")])
def test_a_file_that_cannot_be_written_is_told_at_once(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["build", "--output", "/proc/x/gateway", *words])
    assert result.exit_code == 1
    assert result.stderr.startswith("daemun: /proc/x/gateway: cannot be written: ")


def test_a_binary_builds_no_binary(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    result = build()
    assert result.exit_code == 1
    assert "a binary cannot build another one" in result.stderr


def test_a_file_that_does_not_work_is_no_result(tmp_path: Path) -> None:
    broken = program(tmp_path / "broken", "echo daemun: plugin adder: its import failed >&2; exit 1")
    with pytest.raises(SettingsError, match=r"does not work .*\ndaemun: plugin adder: its import failed"):
        check_binary(broken, ["adder"], tmp_path)
    poor = program(tmp_path / "poor", """echo '[{"name": "http1"}]'""")
    with pytest.raises(SettingsError, match="lacks adder; it has http1"):
        check_binary(poor, ["adder", "http1"], tmp_path)


def test_a_distribution_that_cannot_be_installed_is_named_with_what_pip_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = "case $* in *daemun-nothing*) echo 'ERROR: no such thing' >&2; exit 1;; esac"
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    program(python, pip)
    monkeypatch.setattr("venv.create", lambda folder, with_pip: None)
    assert make_environment(tmp_path, ["something"]) == python
    with pytest.raises(SettingsError, match=r"daemun-nothing cannot be installed .* pip said:\nERROR: no such thing"):
        make_environment(tmp_path, ["daemun-nothing"])
    assert os.listdir(tmp_path) == ["bin"]
