"""The programs of the cluster, built from their Go modules, each set once for what its go.mod and sources say.

Building everything for the first time takes about ten minutes of two cores; Go's own cache shortens what comes later.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import run

import pytest
from tests.conformance.tools import kept, run_tool

__all__ = ["Tell", "control_plane", "ingress_suite", "node", "serving"]

Tell = Callable[[str], None]

_GO = Path(__file__).with_name("go")
_KNODE = Path(__file__).resolve().parents[4] / "shared" / "knode"
"""The sources of the stand-in for a node, beside the checkout."""

_SECONDS = 2400.0
_FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags")
_LINKED = "-s -w"
_VERSION = "k8s.io/component-base/version"
_NETWORKING = "knative.dev/networking/test/test_images"
_SERVING = "knative.dev/serving"
_TESTS = {
    "api": "conformance/api/v1",
    "runtime": "conformance/runtime",
    "e2e": "e2e",
    "domainmapping": "e2e/domainmapping",
    "tagheader": "e2e/tagheader",
}
_COMMANDS = ("activator", "autoscaler", "controller", "queue", "webhook")


def control_plane(tell: Tell = print) -> Path:
    """A folder with `kube-apiserver`, `kube-controller-manager` and `kubectl`."""

    def build(folder: Path, go: str) -> None:
        module = _GO / "kubernetes"
        version = _told(go, module, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
        major, minor = version.removeprefix("v").split(".")[:2]
        told = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}  # Knative asks the server which it is
        linked = " ".join([_LINKED, *(f"-X {_VERSION}.{name}={value}" for name, value in told.items())])
        names = ("kube-apiserver", "kube-controller-manager", "kubectl")
        _build(go, module, folder, [f"k8s.io/kubernetes/cmd/{name}" for name in names], linked)

    return _timed("control-plane", _VERSION + _sources(_GO / "kubernetes"), build, tell)


def node(tell: Tell = print) -> Path:
    """A folder with `knode` and `knsandbox`."""
    if not _KNODE.is_dir():
        pytest.skip("knode: no ../shared/knode beside the checkout")

    def build(folder: Path, go: str) -> None:
        work = folder / "work"
        shutil.copytree(_GO / "kubernetes", work)
        for name in ("knode", "knsandbox"):
            shutil.copytree(_KNODE / name, work / name, copy_function=shutil.copyfile)
        _build(go, work, folder, ["./knode", "./knsandbox"])
        shutil.rmtree(work)

    return _timed("knode", _sources(_GO / "kubernetes", _KNODE), build, tell)


def ingress_suite(tell: Tell = print) -> Path:
    """A folder with Knative's tests of an ingress, `ingress.test`, their `images/` and the `config/` of what they need."""

    def build(folder: Path, go: str) -> None:
        module = _GO / "knative"
        names = ("grpc-ping", "httpproxy", "retry", "runtime", "timeout", "wsserver")
        _build(go, module, folder / "images", [f"{_NETWORKING}/{name}" for name in names])
        _build_test(go, module, folder / "ingress.test", ".")
        _copy_config(go, module, "knative.dev/networking", folder)

    return _timed("knative-ingress", _sources(_GO / "knative"), build, tell)


def serving(tell: Tell = print) -> Path:
    """A folder with Knative Serving: its commands under `images/sv`, the images of its tests under `images/svt`,
    `images/helloworld-go`, its tests as `api.test` and so on, and its `config/`."""

    def build(folder: Path, go: str) -> None:
        module = _GO / "knative"
        _build(go, module, folder / "images" / "sv", [f"{_SERVING}/cmd/{name}" for name in _COMMANDS])
        _build(go, module, folder / "images", ["./helloworld-go"])
        images = [
            tool
            for tool in _told(go, module, "list", "tool").split()
            if tool.startswith(f"{_SERVING}/test/test_images/")
        ]
        _build(go, module, folder / "images" / "svt", images)
        for name, package in _TESTS.items():
            _build_test(go, module, folder / f"{name}.test", f"{_SERVING}/test/{package}")
        for name in (_SERVING, "knative.dev/caching"):
            _copy_config(go, module, name, folder)

    return _timed("knative-serving", f"{_TESTS}{_sources(_GO / 'knative')}", build, tell)


def _build(go: str, module: Path, folder: Path, packages: Sequence[str], linked: str = _LINKED) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    run_tool([go, "build", *_FLAGS, linked, "-o", f"{folder}/", *packages], module, {}, _SECONDS)


def _build_test(go: str, module: Path, file: Path, package: str) -> None:
    run_tool([go, "test", "-c", "-tags", "e2e", *_FLAGS, _LINKED, "-o", str(file), package], module, {}, _SECONDS)


def _copy_config(go: str, module: Path, name: str, folder: Path) -> None:
    """A module's own `config` as `config/NAME`, writable; what a link in it names lies outside of a published module."""
    found = Path(_told(go, module, "list", "-m", "-f", "{{.Dir}}", name), "config")
    target = folder / "config" / name.rpartition("/")[2]
    for file in sorted(found.rglob("*.yaml")):
        copy = target / file.relative_to(found)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def _told(go: str, module: Path, *words: str) -> str:
    return run([go, *words], cwd=module, check=True, capture_output=True, text=True).stdout.strip()


def _sources(*folders: Path) -> str:
    """The text of all that is compiled or pinned there."""
    files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.suffix in (".go", ".mod", ".sum")]
    return "\0".join(file.read_text() for file in files)


def _timed(kind: str, versions: str, build: Callable[[Path, str], None], tell: Tell) -> Path:
    def told(folder: Path, go: str) -> None:
        began = time.monotonic()
        tell(f"{kind}: building with {os.cpu_count()} cores; the first time takes minutes")
        build(folder, go)
        tell(f"{kind}: built in {time.monotonic() - began:.0f} s")

    return kept(kind, versions, "go", told)
