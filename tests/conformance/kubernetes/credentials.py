"""Keys, certificates and kubeconfigs of a control plane that is thrown away."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

from tests.conformance.tools import debian_tool

from .networks import API

__all__ = ["Credentials"]

_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)
_ADDRESSES = ("127.0.0.1", "198.18.0.1", API)
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Credentials:
    """Files in a folder: the authority, the API server's pair, the keys of ServiceAccount tokens, the administrator."""

    def __init__(self, folder: Path) -> None:
        self.authority = folder / "ca.crt"
        self.certificate = folder / "apiserver.crt"
        self.key = folder / "apiserver.key"
        self.accounts_key = folder / "sa.key"
        self.accounts_public = folder / "sa.pub"
        self.tokens = folder / "tokens.csv"
        self.administrator = folder / "admin.kubeconfig"
        self._folder = folder

    def make(self) -> None:
        """Makes all of them anew."""
        self._folder.mkdir(parents=True, exist_ok=True)
        extensions = self._folder / "extensions"
        names = ",".join([*(f"DNS:{name}" for name in _NAMES), *(f"IP:{address}" for address in _ADDRESSES)])
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
        authority_key, request = self._folder / "ca.key", self._folder / "apiserver.csr"
        _openssl(
            "req",
            "-x509",
            *_CURVE,
            "-days",
            3650,
            "-subj",
            "/CN=kn-ca",
            "-keyout",
            authority_key,
            "-out",
            self.authority,
        )
        _openssl("req", *_CURVE, "-subj", "/CN=kube-apiserver", "-keyout", self.key, "-out", request)
        signed = ("-CA", self.authority, "-CAkey", authority_key, "-CAcreateserial", "-days", 3650)
        _openssl("x509", "-req", "-in", request, *signed, "-extfile", extensions, "-out", self.certificate)
        _openssl("genrsa", "-out", self.accounts_key, 2048)
        _openssl("rsa", "-in", self.accounts_key, "-pubout", "-out", self.accounts_public)
        token = secrets.token_hex(16)
        self.tokens.write_text(f'{token},admin,admin,"system:masters"\n')
        self.administrator.write_text(self.kubeconfig(token))

    def kubeconfig(self, token: str) -> str:
        """A kubeconfig for whoever has that bearer token."""
        server = {"server": f"https://{API}:6443", "certificate-authority": str(self.authority)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "kn", "cluster": server}],
            "users": [{"name": "bearer", "user": {"token": token}}],
            "contexts": [{"name": "kn", "context": {"cluster": "kn", "user": "bearer"}}],
            "current-context": "kn",
        }
        return json.dumps(document, indent=1)


def _openssl(*words: str | int | Path) -> None:
    subprocess.run([debian_tool("openssl", "openssl"), *map(str, words)], check=True, capture_output=True)
