"""TLS to an API server: whom to believe, and what to show."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from daemun import SettingsError
from daemun_kubernetes.client.auth import Grant

__all__ = ["as_file", "no_password", "tls_context"]


def tls_context(grant: Grant, who: str, *, insecure: bool) -> ssl.SSLContext:
    """What connections are made with. Reads files of the system: not for the event loop. Raises `SettingsError`.

    Certificates of clusters are often older than what `ssl.create_default_context` asks for in recent versions of
    Python: they are verified in full, and not for form.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif grant.authority:
        try:
            context.load_verify_locations(cadata=grant.authority.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise SettingsError(f"{who}: certificate-authority is no certificate in PEM") from None
    else:
        context.load_default_certs()
    if grant.certificate:
        try:
            with as_file(grant.certificate + b"\n" + grant.key) as path:
                context.load_cert_chain(path, password=no_password)
        except (ssl.SSLError, ValueError):
            raise SettingsError(
                f"{who}: client-certificate and client-key are no pair in PEM, or the key is encrypted"
            ) from None
    return context


def no_password() -> str:
    """Instead of asking at the terminal for the password of an encrypted key."""
    return ""


@contextmanager
def as_file(content: bytes) -> Iterator[str]:
    """A file in memory that nobody else finds: `ssl` reads keys from files only."""
    descriptor = os.memfd_create("daemun", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
