"""The public byte-level desync cases, of HTTP/1 and of HTTP/2, with either codec: every one passes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Start

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(400)]


def test_every_public_case_of_http1_passes(
    codec: str, corpus: Path, start: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    backend = free_port()
    gateway = start(backend, protocols={"http1": {"codec": codec}})
    results = verdicts(corpus, tmp_path / "report.json", backend, "--h1", gateway.address)
    assert len(results) == 319
    assert_all_pass(results)


def test_every_public_case_of_http2_passes(
    http2: dict[str, Any], corpus: Path, start: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    backend = free_port()
    gateway = start(backend, speaks=("http2", "http1"), protocols=http2)
    results = verdicts(corpus, tmp_path / "report.json", backend, "--h2", gateway.address)
    assert len(results) == 79
    assert_all_pass(results)


def verdicts(corpus: Path, report: Path, backend: int, *sides: str) -> list[dict[str, Any]]:
    """What the corpus's own program says of each case."""
    argv = [
        corpus / "desync_run.py",
        corpus / "desync_public.jsonl",
        *sides,
        "--backend-port",
        backend,
        "--json",
        report,
    ]
    command = [sys.executable, *(str(word) for word in argv)]
    subprocess.run(command, check=False, capture_output=True, timeout=380)
    results: list[dict[str, Any]] = json.loads(report.read_text())["results"]
    return results


def assert_all_pass(results: list[dict[str, Any]]) -> None:
    assert [(r["id"], r["verdict"], r["ctx"]) for r in results if r["verdict"] != "PASS"] == []
    assert [(r["id"], r["code"]) for r in results if r["status_ok"] is False] == []
