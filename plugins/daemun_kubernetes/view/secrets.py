"""Secrets as certificates with their keys."""

from __future__ import annotations

import binascii
import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from msgspec import Struct

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.kinds import SECRET, Secret
from daemun_kubernetes.view.references import Key, References, open_references

__all__ = ["TLS_TYPE", "Pair", "SecretView", "open_secrets", "pair_of"]

TLS_TYPE = "kubernetes.io/tls"

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s*?\n(.*?)-----END \1-----", re.DOTALL)
_KEY_LABELS = ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")
_SEQUENCE = b"\x30"
"""What DER of a certificate and of a key begins with."""


class Pair(Struct, frozen=True):
    """A certificate with its key, both PEM; or words for why there is none. The key is in no `repr`."""

    certificate: str = ""
    key: str = ""
    error: str = ""
    """"": there is a pair."""
    missing: bool = False
    """Whether there is no such Secret."""
    pending: bool = False
    """The cluster has not said yet whether there is such a Secret; a change will tell."""

    def __repr__(self) -> str:
        return f"Pair(error={self.error!r}, pending={self.pending!r})"


def pair_of(key: Key, secret: Secret | None) -> Pair:
    """What a Secret of type `kubernetes.io/tls` holds. That the two fit is checked by who loads them."""
    words = f"secret {key[0]}/{key[1]}"
    if secret is None:
        return Pair(error=f"{words} not found", missing=True)
    if secret.type != TLS_TYPE:
        return Pair(error=f"{words} is of type {secret.type!r}; accepted: {TLS_TYPE}")
    texts: dict[str, str] = {}
    for name, fault in (("tls.crt", _no_certificate), ("tls.key", _no_key)):
        data = secret.data.get(name)
        if not data:
            return Pair(error=f"{words} has no {name}")
        text = data.decode("ascii", "replace")
        if found := fault(text):
            return Pair(error=f"{words}: {name} {found}")
        texts[name] = text
    return Pair(texts["tls.crt"], texts["tls.key"])


def _no_certificate(text: str) -> str:
    """Why `text` is no chain of certificates; "": it is one."""
    blocks = [body for label, body in _BLOCK.findall(text) if label in ("CERTIFICATE", "TRUSTED CERTIFICATE")]
    if not blocks:
        return "holds no certificate in PEM"
    return "" if all(map(_is_der, blocks)) else "is no PEM: a certificate cannot be decoded"


def _no_key(text: str) -> str:
    """Why `text` is no private key; "": it is one."""
    for label, body in _BLOCK.findall(text):
        if label == "ENCRYPTED PRIVATE KEY" or "ENCRYPTED" in body:
            return "is encrypted; accepted: a key without a passphrase"
        if label in _KEY_LABELS:
            return "" if _is_der(body) else "is no PEM: the key cannot be decoded"
    return "holds no private key in PEM"


def _is_der(body: str) -> bool:
    try:
        return binascii.a2b_base64("".join(body.split()), strict_mode=True).startswith(_SEQUENCE)
    except (binascii.Error, ValueError):
        return False


class SecretView:
    """Certificates for references to Secrets. What did not change is the same object as before."""

    def __init__(self, secrets: References[Secret]) -> None:
        self._secrets = secrets
        self._pairs: dict[Key, Pair] = {}

    def refer(self, keys: Collection[Key]) -> None:
        """Watches these Secrets (namespace, name), and no others, from now on."""
        keys = frozenset(keys)
        self._secrets.refer(keys)
        for key in self._pairs.keys() - keys:
            del self._pairs[key]

    def pair(self, namespace: str, name: str) -> Pair:
        """What the Secret holds now. Only for Secrets that are referred to does it stay right."""
        key = (namespace, name)
        pair = self._pairs.get(key)
        if pair is None:
            pair = self._read(key)
            if key in self._secrets.keys:
                self._pairs[key] = pair
        return pair

    async def wait_synced(self) -> None:
        """Returns once all that is referred to was listed, or may not be; what passes is waited for."""
        await self._secrets.wait_synced()

    def forget(self, keys: Collection[Key]) -> None:
        """Reads these anew when they are next asked for: something about them changed."""
        for key in keys:
            self._pairs.pop(key, None)

    def _read(self, key: Key) -> Pair:
        if not self._secrets.settled(key):
            return Pair(error=f"secret {key[0]}/{key[1]} is not known yet", pending=True)
        if trouble := self._secrets.trouble(key):
            return Pair(error=f"secret {key[0]}/{key[1]} is not known: {trouble}")
        return pair_of(key, next(iter(self._secrets.objects(key)), None))


@asynccontextmanager
async def open_secrets(
    cluster: Cluster,
    on_change: Callable[[frozenset[Key]], None],
    *,
    max_names: int = 32,
    max_namespaces: float = 16,
    patience_seconds: float = 10.0,
) -> AsyncIterator[SecretView]:
    """A view of Secrets until the context is left. `on_change` hears which of those referred to changed.

    Up to `max_names` Secrets are watched one by one; beyond that all of type `kubernetes.io/tls` in their namespaces
    are.
    """

    def changed(keys: frozenset[Key]) -> None:
        view.forget(keys)
        on_change(keys)

    async with open_references(
        cluster,
        SECRET,
        changed,
        name_of=_own_name,
        fields=f"type={TLS_TYPE}",
        max_names=max_names,
        max_namespaces=max_namespaces,
        patience_seconds=patience_seconds,
    ) as secrets:
        view = SecretView(secrets)
        yield view


def _own_name(secret: Secret) -> str:
    return secret.metadata.name
