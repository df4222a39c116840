"""All KIngresses as one snapshot. What was served stays until its next version can be served as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from daemun import Applied, BackendSpec, CertificateSpec, RouteSpec, Snapshot
from daemun_file import ObjectError, show_path
from daemun_knative.kingress.claims import Claim, Claims, Key
from daemun_knative.kingress.conditions import TRUE, Verdict, is_ready, not_possible, not_yet
from daemun_knative.kingress.defaults import validate, with_defaults
from daemun_knative.kingress.hash import token_of
from daemun_knative.kingress.translate import Doors, References, certificates, hosts_of, references, routes
from daemun_knative.kingress.types import KIngress
from daemun_kubernetes import Pair, Resolved

__all__ = ["Assembly", "Entry"]

_NO_TOKEN = "0" * 64


class _Version:
    """One version of a KIngress, valid."""

    def __init__(self, ingress: KIngress) -> None:
        self.ingress = ingress
        self.token = token_of(ingress)
        self.references: References = references(ingress)


class Entry:
    """One KIngress: the version that is wanted, the one that is served, and what is wrong."""

    def __init__(self) -> None:
        self.generation = 0
        self.trusted = False
        """Whether it was ready before this process began: then it is served whatever is missing now."""
        self.wanted: _Version | None = None
        self.served: _Version | None = None
        self.network = TRUE
        """What becomes of the version that is wanted, on this replica."""
        self.told_token = _NO_TOKEN
        """What probes are told."""
        self.programmed = ""
        """The token of the version that all workers of this replica serve."""
        self.pairs: dict[Key, tuple[str, str]] = {}
        """The last good pair of each Secret."""
        self.routes: tuple[RouteSpec, ...] = ()
        self.certificates: tuple[CertificateSpec, ...] = ()

    @property
    def token(self) -> str:
        """Of the version that is wanted; "": it is not valid."""
        return self.wanted.token if self.wanted is not None else ""


class Assembly:
    """Takes KIngresses, Services and Secrets in, and gives snapshots out; a change costs what it concerns."""

    def __init__(
        self,
        doors: Doors,
        backend: Callable[[str, str, int | str], Resolved],
        pair: Callable[[str, str], Pair],
        *,
        settings: Mapping[str, Any],
        two_steps: bool,
    ) -> None:
        """`backend` and `pair` look at the cluster; `settings` are those of back ends whose Service is gone. With
        `two_steps` a probe is told of a version only after all workers serve it: it reaches but one of them."""
        self._doors = doors
        self._backend = backend
        self._pair = pair
        self._settings = dict(settings)
        self._two_steps = two_steps
        self._claims = Claims()
        self._entries: dict[Key, Entry] = {}
        self._dirty: dict[Key, None] = {}
        self._users: dict[tuple[str, Key], set[Key]] = {}
        """KIngresses by the Services and Secrets that they refer to."""

    @property
    def entries(self) -> Mapping[Key, Entry]:
        """All that are known."""
        return self._entries

    @property
    def services(self) -> set[Key]:
        """The Services that are referred to."""
        return {key for kind, key in self._users if kind == "service"}

    @property
    def secrets(self) -> set[Key]:
        """The Secrets that are referred to."""
        return {key for kind, key in self._users if kind == "secret"}

    def begin(self, ingresses: Iterable[KIngress]) -> None:
        """Takes in all that there are when the process begins: what was ready before is served as it was."""
        claims = []
        for ingress in ingresses:
            entry = self._put(ingress)
            entry.trusted = is_ready(ingress.status, ingress.metadata.generation)
            if entry.wanted is not None:
                claims.append(_claim(entry.wanted.ingress, was_ready=entry.trusted))
        self._claims = Claims(claims)

    def put(self, key: Key, ingress: KIngress | None) -> None:
        """A KIngress is new or has changed; None: it is gone, or not ours any more."""
        if ingress is None:
            entry = self._entries.pop(key, None)
            if entry is not None:
                self._refer(key, entry, add=False)
            self._mark(self._claims.release(key))
            return
        entry = self._put(ingress)
        entry.trusted = False
        if entry.wanted is not None:
            self._mark(self._claims.claim(_claim(entry.wanted.ingress)))

    def services_changed(self, keys: Iterable[Key]) -> None:
        """Something about these Services is not what it was."""
        for key in keys:
            self._mark(self._users.get(("service", key), ()))

    def secrets_changed(self, keys: Iterable[Key]) -> None:
        """Something about these Secrets is not what it was."""
        for key in keys:
            self._mark(self._users.get(("secret", key), ()))

    def conflicts(self, key: Key) -> tuple[tuple[str, Key], ...]:
        """The hosts that `key` wants and does not have, each with its owner."""
        return self._claims.conflicts(key)

    def snapshot(self) -> tuple[Snapshot, list[Key]]:
        """What is to be served now, and the KIngresses that were looked at for it."""
        dirty, self._dirty = list(self._dirty), {}
        for key in dirty:
            if (entry := self._entries.get(key)) is not None:
                self._settle(key, entry)
        backends: dict[str, BackendSpec] = {}
        for entry in self._entries.values():
            if entry.served is not None:
                for service in entry.served.references.services:
                    name = _backend_name(*service)
                    if name not in backends:
                        backends[name] = self._backend(*service).spec or BackendSpec(name, settings=self._settings)
        return (
            Snapshot(
                tuple(route for entry in self._entries.values() for route in entry.routes),
                tuple(backends.values()),
                certificates=tuple(one for entry in self._entries.values() for one in entry.certificates),
            ),
            dirty,
        )

    def applied(self, applied: Applied, keys: Iterable[Key]) -> bool:
        """What became of the last snapshot, for the KIngresses that were looked at. Whether there is a second step."""
        faults: dict[Key, str] = {}
        for status in applied.refused:
            if status.kind != "backend":
                namespace, _, rest = status.name.partition("/")
                faults.setdefault((namespace, rest.partition(":")[0]), status.error)
        again = False
        for key in keys:
            entry = self._entries.get(key)
            if entry is None or entry.served is None:
                continue
            if words := faults.get(key):
                entry.network = not_possible("Refused", words)
            elif entry.told_token != entry.served.token:
                entry.told_token = entry.served.token
                self._dirty[key] = None
                again = True
            else:
                entry.programmed = entry.served.token
        return again

    def _put(self, ingress: KIngress) -> Entry:
        key = (ingress.metadata.namespace, ingress.metadata.name)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry()
        else:
            self._refer(key, entry, add=False)
        entry.generation = ingress.metadata.generation
        ingress = with_defaults(ingress)
        try:
            validate(ingress)
        except ObjectError as error:
            entry.wanted = None
            where = show_path(error.path, "")
            entry.network = not_possible("Invalid", f"{where}: {error.message}" if where else error.message)
        else:
            if entry.wanted is None or entry.wanted.ingress.spec != ingress.spec:
                entry.wanted = _Version(ingress)
            entry.network = TRUE
        self._refer(key, entry, add=True)
        self._dirty[key] = None
        return entry

    def _refer(self, key: Key, entry: Entry, *, add: bool) -> None:
        """Notes, or forgets, what the versions of an entry refer to."""
        for version in (entry.wanted, entry.served):
            if version is None:
                continue
            used = {("service", (namespace, name)) for namespace, name, _ in version.references.services}
            used |= {("secret", secret) for secret in version.references.secrets}
            for one in used:
                users = self._users.setdefault(one, set())
                (users.add if add else users.discard)(key)
                if not users:
                    del self._users[one]

    def _mark(self, keys: Iterable[Key]) -> None:
        self._dirty.update(dict.fromkeys(keys))

    def _settle(self, key: Key, entry: Entry) -> None:
        """Serves the version that is wanted, if all that it needs is there; else what was served stays."""
        wanted = entry.wanted
        if wanted is not None:
            entry.network = self._missing(entry, wanted)
            if entry.network is TRUE or (entry.trusted and entry.served is None):
                self._refer(key, entry, add=False)
                entry.served = wanted
                self._refer(key, entry, add=True)
        served = entry.served
        if served is None:
            return

        def owned(host: str) -> bool:
            return self._claims.owner(host) in (key, None)

        if not self._two_steps:
            entry.told_token = served.token
        entry.routes = routes(served.ingress, entry.told_token, self._doors, _backend_name, owned)
        entry.certificates = certificates(
            served.ingress, lambda namespace, name: entry.pairs.get((namespace, name)), self._doors, owned
        )

    def _missing(self, entry: Entry, version: _Version) -> Verdict:
        """What the version waits for. Endpoints only matter before it is served for the first time."""
        verdict = TRUE
        for namespace, name in version.references.secrets:
            pair = self._pair(namespace, name)
            if pair.error or pair.pending:
                verdict = not_yet("SecretNotReady", pair.error or f"secret {namespace}/{name} is not known yet")
            else:
                entry.pairs[namespace, name] = (pair.certificate, pair.key)
        if entry.served is version:
            return verdict
        for namespace, name, port in version.references.services:
            resolved = self._backend(namespace, name, port)
            if not resolved.ready:
                words = resolved.error or f"service {namespace}/{name} has no endpoint that is ready"
                return not_yet("ServiceNotReady", words)
        return verdict


def _backend_name(namespace: str, service: str, port: int | str) -> str:
    return f"{namespace}/{service}:{port}"


def _claim(ingress: KIngress, *, was_ready: bool = False) -> Claim:
    metadata = ingress.metadata
    hosts = frozenset(hosts_of(ingress))
    return Claim((metadata.namespace, metadata.name), hosts, metadata.creation_timestamp, was_ready)
