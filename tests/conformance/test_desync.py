"""The public byte-level desync cases, with either codec: every one passes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Start

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(400)]


def test_every_public_case_of_http1_passes(
    codec: str, corpus: Path, start: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    backend = free_port()
    gateway = start(backend, protocols={"http1": {"codec": codec}})
    report = tmp_path / "report.json"
    subprocess.run(
        [
            sys.executable,
            str(corpus / "desync_run.py"),
            str(corpus / "desync_public.jsonl"),
            "--h1",
            gateway.address,
            "--backend-port",
            str(backend),
            "--json",
            str(report),
        ],
        check=False,
        capture_output=True,
        timeout=380,
    )
    results = json.loads(report.read_text())["results"]
    assert len(results) == 319
    assert [(r["id"], r["verdict"], r["ctx"]) for r in results if r["verdict"] != "PASS"] == []
    assert [(r["id"], r["code"]) for r in results if r["status_ok"] is False] == []
