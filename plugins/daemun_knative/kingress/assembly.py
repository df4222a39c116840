"""All KIngresses as one snapshot. What was served stays until its next version can be served as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from daemun import Applied, BackendSpec, CertificateSpec, RouteSpec, Snapshot
from daemun_file import ObjectError, show_path
from daemun_knative.kingress.claims import Claim, Claims, Key
from daemun_knative.kingress.conditions import (
    TRUE,
    Verdict,
    is_programmed,
    not_possible,
    not_yet,
    was_programmed,
)
from daemun_knative.kingress.defaults import validate, with_defaults
from daemun_knative.kingress.hash import token_of
from daemun_knative.kingress.translate import Doors, References, certificates, hosts_of, references, routes
from daemun_knative.kingress.types import KIngress, Status
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
        self.kept: frozenset[str] = frozenset()
        """The hosts that its status said to be served everywhere."""
        self.before: frozenset[str] = frozenset()
        """The hosts that may have been served when this process began, by a version that is not known."""
        self.wanted: _Version | None = None
        self.served: _Version | None = None
        self.unproven = False
        """Whether it is served since the process began, and not all that it needs was there yet."""
        self.missing = TRUE
        """What keeps the version that is wanted from being served on this replica."""
        self.refused = ""
        """Why the gateway did not take all of what is served; "": it did."""
        self.hosts: frozenset[str] = frozenset()
        """The hosts that it is served on."""
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

    @property
    def network(self) -> Verdict:
        """What becomes of the version that is wanted, on this replica."""
        if self.refused and self.served is self.wanted:
            return not_possible("Refused", self.refused)
        return self.missing


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
        """Takes in all that there are when the process begins: what was served before is, whatever is missing."""
        for ingress in ingresses:
            entry = self._put(ingress)
            if entry.wanted is not None and was_programmed(ingress.status):
                entry.served = entry.wanted
                if not entry.kept:
                    entry.before = frozenset(hosts_of(entry.wanted.ingress))
                    entry.unproven = True
                self._claims.claim(_claim(entry))
        for key, entry in self._entries.items():
            entry.hosts = self._hosts(key, entry.served)

    def put(self, key: Key, ingress: KIngress | None) -> None:
        """A KIngress is new or has changed; None: it is gone, or not ours any more."""
        if ingress is None:
            entry = self._entries.pop(key, None)
            if entry is not None:
                self._refer(key, entry, add=False)
            self._mark(self._claims.release(key))
            return
        entry = self._put(ingress)
        if entry.served is not None:
            self._mark(self._claims.claim(_claim(entry)))

    def told(self, key: Key, status: Status) -> bool:
        """The status of a KIngress, and nothing else of it, is another. Whether that changes whose a host is."""
        entry = self._entries.get(key)
        if entry is None or not self._keep(entry, status) or entry.served is None:
            return False
        others = self._claims.claim(_claim(entry))
        if others:
            self._mark((key, *others))
        return bool(others)

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
        looked_at: dict[Key, None] = {}
        while self._dirty:  # hosts that one gives up are another's at the same time
            dirty, self._dirty = self._dirty, {}
            looked_at |= dirty
            for key in sorted(dirty, key=self._age):
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
            list(looked_at),
        )

    def applied(self, applied: Applied, keys: Iterable[Key]) -> bool:
        """What became of the last snapshot, for the KIngresses that were looked at. Whether there is a second step."""
        faults: dict[Key, str] = {}
        whole = ""
        for status in applied.refused:
            if status.kind == "source":
                whole = status.error
            elif status.kind != "backend":
                namespace, _, rest = status.name.partition("/")
                faults.setdefault((namespace, rest.partition(":")[0]), status.error)
        again = False
        for key in {*keys, *self.refused}:
            entry = self._entries.get(key)
            if entry is None or entry.served is None:
                continue
            entry.refused = whole or faults.get(key, "")
            if entry.refused:
                continue
            if entry.told_token != entry.served.token:
                entry.told_token = entry.served.token
                self._dirty[key] = None
                again = True
            else:
                entry.programmed = entry.served.token
        return again

    @property
    def refused(self) -> list[Key]:
        """Those that the gateway did not take."""
        return [key for key, entry in self._entries.items() if entry.refused]

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
            entry.missing = not_possible("Invalid", f"{where}: {error.message}" if where else error.message)
        else:
            if entry.wanted is None or entry.wanted.ingress.spec != ingress.spec:
                served = entry.served
                entry.wanted = (
                    served if served is not None and served.ingress.spec == ingress.spec else _Version(ingress)
                )
            entry.missing = TRUE
            self._keep(entry, ingress.status)
        self._refer(key, entry, add=True)
        self._dirty[key] = None
        return entry

    def _keep(self, entry: Entry, status: Status) -> bool:
        """Notes on which hosts it was served everywhere, if the status speaks about the version that is wanted."""
        if entry.wanted is None or not is_programmed(status, entry.generation):
            return False
        before, entry.kept = entry.kept, frozenset(hosts_of(entry.wanted.ingress))
        entry.before = frozenset()
        return entry.kept != before

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
            entry.missing = self._missing(entry, wanted)
            if entry.missing is TRUE and entry.served is not wanted:
                self._serve(key, entry, wanted)
        served = entry.served
        if served is None:
            return
        if served is not wanted:
            self._pairs(entry, served)
        hosts = self._hosts(key, served)
        if not self._two_steps:
            entry.told_token = served.token
        elif not hosts <= entry.hosts:
            entry.told_token = _NO_TOKEN  # the routes of a host that was not served are new to all workers
        entry.hosts = hosts
        entry.routes = routes(served.ingress, entry.told_token, self._doors, _backend_name, hosts.__contains__)
        entry.certificates = certificates(
            served.ingress,
            lambda namespace, name: entry.pairs.get((namespace, name)),
            self._doors,
            hosts.__contains__,
        )

    def _serve(self, key: Key, entry: Entry, version: _Version) -> None:
        """Takes over from what was served, which gives up what only it referred to."""
        self._refer(key, entry, add=False)
        entry.served = version
        entry.told_token, entry.programmed = _NO_TOKEN, ""
        self._refer(key, entry, add=True)
        entry.pairs = {secret: entry.pairs[secret] for secret in version.references.secrets}
        self._mark(self._claims.claim(_claim(entry)))

    def _age(self, key: Key) -> tuple[str, Key]:
        entry = self._entries.get(key)
        return (entry.wanted.ingress.metadata.creation_timestamp if entry and entry.wanted else "", key)

    def _hosts(self, key: Key, version: _Version | None) -> frozenset[str]:
        """The hosts of the version that are its own."""
        hosts = hosts_of(version.ingress) if version is not None else ()
        return frozenset(host for host in hosts if self._claims.owns(key, host))

    def _missing(self, entry: Entry, version: _Version) -> Verdict:
        """What the version waits for. Endpoints only matter before it is served for the first time."""
        verdict = self._pairs(entry, version)
        if entry.served is version and not entry.unproven:
            return verdict
        for namespace, name, port in version.references.services:
            resolved = self._backend(namespace, name, port)
            if not resolved.ready:
                words = resolved.error or f"service {namespace}/{name} has no endpoint that is ready"
                return not_yet("ServiceNotReady", words)
        entry.unproven = False
        return verdict

    def _pairs(self, entry: Entry, version: _Version) -> Verdict:
        """Takes the pairs that the version needs out of their Secrets. Which of them is missing."""
        verdict = TRUE
        for namespace, name in version.references.secrets:
            pair = self._pair(namespace, name)
            if pair.error or pair.pending:
                verdict = not_yet("SecretNotReady", pair.error or f"secret {namespace}/{name} is not known yet")
            else:
                entry.pairs[namespace, name] = (pair.certificate, pair.key)
        return verdict


def _backend_name(namespace: str, service: str, port: int | str) -> str:
    return f"{namespace}/{service}:{port}"


def _claim(entry: Entry) -> Claim:
    """What an entry wants for itself that is served."""
    assert entry.served is not None
    metadata = entry.served.ingress.metadata
    hosts = frozenset(hosts_of(entry.served.ingress))
    key = (metadata.namespace, metadata.name)
    return Claim(key, hosts, metadata.creation_timestamp, entry.kept & hosts, entry.before & hosts)
