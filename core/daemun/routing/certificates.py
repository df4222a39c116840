"""Which certificate is presented to whom: what sources published, by listener and by the name that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import anyio.lowlevel

from daemun.errors import DaemunError, SettingsError
from daemun.routing.spec import CertificateSpec, ObjectStatus
from daemun.transport.tls import load_pair, server_context

__all__ = ["Certificate", "Certificates", "Draft"]


class Certificate:
    """A certificate that can be presented; the same object for as long as its spec is."""

    __slots__ = ("__weakref__", "spec")

    def __init__(self, spec: CertificateSpec) -> None:
        """Raises `SettingsError` for a pair that does not fit, and for hosts that are none."""
        for host in spec.hosts:
            if not host or host != host.lower() or "*" in host.removeprefix("*."):
                raise SettingsError(f"host {host!r}; accepted: a lower-case name, or *. before one")
        load_pair(server_context(()), spec.certificate, spec.key)
        self.spec = spec


class Draft:
    """What a source publishes now, before it is in use."""

    def __init__(self) -> None:
        self.certificates: dict[str, Certificate] = {}
        self.statuses: list[ObjectStatus] = []


class Certificates:
    """Those of all sources, in use now."""

    def __init__(self) -> None:
        self._sources: dict[str, dict[str, Certificate]] = {}
        self._found: dict[tuple[str, str], Certificate] = {}
        """By listener ("": all of them) and host ("": any)."""

    def add_source(self, name: str) -> None:
        """Makes room for a source; on one name those of sources added earlier win."""
        self._sources.setdefault(name, {})

    async def draft(self, source: str, specs: Iterable[CertificateSpec]) -> Draft:
        """What would be used for `specs`: a pair that does not fit is refused, and its last good version stays."""
        before, draft = self._sources.get(source, {}), Draft()
        for spec in specs:
            words = ""
            certificate = before.get(spec.name)
            if spec.name in draft.certificates:
                certificate, words = None, "another certificate has this name"
            elif certificate is None or certificate.spec != spec:
                try:
                    certificate = Certificate(spec)
                except DaemunError as error:
                    words = str(error) + ("; the version from before stays in use" if certificate is not None else "")
                await anyio.lowlevel.checkpoint()
            if certificate is not None:
                draft.certificates[spec.name] = certificate
            draft.statuses.append(ObjectStatus("certificate", spec.name, spec.origin, words))
        return draft

    def use(self, source: str, draft: Draft) -> None:
        """Presents what is in `draft` from now on."""
        if list(self._sources[source].values()) == list(draft.certificates.values()):
            return
        self._sources[source] = draft.certificates
        self._found = {}
        for certificates in self._sources.values():
            for certificate in certificates.values():
                for key in _keys(certificate.spec):
                    self._found.setdefault(key, certificate)

    def find(self, listener: str, server_name: str) -> Certificate | None:
        """What `listener` presents to who asks for `server_name` ("": for none); None: no source has one."""
        found = self._found
        if not found:
            return None
        name = server_name.lower().rstrip(".")
        for host in (name, f"*.{name.partition('.')[2]}", "") if name else ("",):
            certificate = found.get((listener, host)) or found.get(("", host))
            if certificate is not None:
                return certificate
        return None


def _keys(spec: CertificateSpec) -> Iterator[tuple[str, str]]:
    for listener in spec.listeners or ("",):
        for host in spec.hosts or ("",):
            yield listener, host
