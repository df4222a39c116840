"""A connection that fails inside of the gateway is a fault of ours, even if the client saw nothing of it."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class Faults:
    """What the gateway logged as an error."""

    def __init__(self) -> None:
        self.expected = False
        """Set by a test whose plugins fail on purpose."""


@pytest.fixture(autouse=True)
def faults(caplog: pytest.LogCaptureFixture) -> Iterator[Faults]:
    """Fails the test in which the gateway logged an error that nobody expected."""
    found = Faults()
    yield found
    logged = [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert bool(logged) == found.expected, logged


@pytest.fixture(params=["plain", "h2"])
def http2_codec(request: pytest.FixtureRequest) -> str:
    """The codec of HTTP/2 connections."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for `a.test` that nobody vouches for."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl on this machine")
    folder = tmp_path_factory.mktemp("certificate")
    made = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    name = ("-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test")
    subprocess.run(
        [program, *made, *name, "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True
    )
    return folder
