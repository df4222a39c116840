"""TLS contexts for both sides, with the defaults of 2026: TLS 1.2 and up, ALPN, verified certificates."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from daemun.errors import SettingsError

__all__ = ["client_context", "load_files", "load_pair", "server_context"]


_PAIR = "accepted: a PEM chain and its unencrypted PEM key"


def server_context(alpn: Iterable[str], client_ca: Path | None = None) -> ssl.SSLContext:
    """A context without a certificate. With `client_ca` clients must present one. Raises `SettingsError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(f"no certificate authority: {_words(error)}", file=str(client_ca)) from error
        context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(list(alpn))
    return context


def load_files(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Has `context` present `certificate`, a PEM chain. Raises `SettingsError` that names the file, not its content."""
    for file in (certificate, key):
        if not file.is_file():
            raise SettingsError("no such file", file=str(file))
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise SettingsError(f"cannot use it with key {key}: {_words(error)}; {_PAIR}", file=str(certificate)) from error


def load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """As `load_files`, from PEM text, which never touches a disk. Raises `SettingsError` without its content."""
    files = []
    try:
        for text in (certificate, key):
            files.append(file := os.memfd_create("daemun"))
            os.write(file, text.encode())
        chain, secret = (f"/proc/self/fd/{file}" for file in files)
        context.load_cert_chain(chain, secret, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise SettingsError(f"its certificate cannot be used with its key: {_words(error)}; {_PAIR}") from None
    finally:
        for file in files:
            os.close(file)


def client_context(alpn: Iterable[str], ca: Path | None = None, *, verify: bool = True) -> ssl.SSLContext:
    """A context for upstream connections; `ca` replaces the system's authorities. Raises `SettingsError`."""
    if ca is not None and not ca.is_file():
        raise SettingsError("no such file", file=str(ca))
    try:
        context = ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(f"no certificate authority: {_words(error)}", file=str(ca)) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(alpn))
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _words(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
