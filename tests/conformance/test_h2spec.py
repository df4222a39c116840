"""h2spec: every test passes, in strict mode too, with either codec."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import h11_origin
from .conftest import Start
from .tools import h2spec

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(600)]  # it may have to be built

TESTS = {"": (145, 146), "-S": (146, 147), "-S -t -k": (146, 147)}
"""How many there are by options (strict; with TLS), in the release that every module proxy has and in the newest one."""
# read by hand: words of a failure are not always well-formed there
CASE = re.compile(r'<testcase package="([^"]*)" classname="([^"]*)"[^>]*>(.*?)</testcase>', re.DOTALL)


@pytest.mark.parametrize("options", TESTS)
def test_every_test_passes(
    options: str,
    http2: dict[str, Any],
    start: Start,
    program: Callable[..., None],
    free_port: Callable[[], int],
    certificate_files: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    checker, backend = h2spec(), free_port()
    program([sys.executable, h11_origin.__file__, backend], backend)
    tls = certificate_files if "-t" in options else None
    gateway = start(backend, speaks=("http2",), tls=tls, protocols=http2)
    report = tmp_path / "report.xml"
    argv = [str(checker), "-h", "127.0.0.1", "-p", str(gateway.port), "-P", "/", "-o", "2", "-j", str(report)]
    subprocess.run([*argv, *options.split()], check=False, capture_output=True, timeout=280)
    cases = CASE.findall(report.read_text(errors="replace"))
    assert [(package, name, words.strip()) for package, name, words in cases if words] == []
    assert len(cases) in TESTS[options]
