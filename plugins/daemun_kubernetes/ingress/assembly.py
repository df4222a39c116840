"""All Ingresses of the gateway together: who has which host and path, back ends, certificates; one snapshot of it all.

A host belongs to the namespace of the oldest Ingress that names it, unless hosts are shared: others have no paths of it
and no certificate for it. What no rule of a host takes is for nobody else's: there is a last route for each host.

Pure, and a change costs what it concerns. An Ingress that refers to what the cluster has not told of yet is held, and
what was served for it until then stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from msgspec.structs import replace

from daemun import (
    Applied,
    BackendSpec,
    CertificateSpec,
    Forward,
    HostKind,
    HostMatch,
    PathMatch,
    Respond,
    RouteSpec,
    Snapshot,
    Split,
)
from daemun_kubernetes.client.kinds import Ingress
from daemun_kubernetes.ingress.competition import Competition
from daemun_kubernetes.ingress.settings import IngressSettings
from daemun_kubernetes.ingress.translate import (
    NOWHERE,
    Place,
    Problem,
    Target,
    Translation,
    host_match,
    host_name,
    rank,
    translate,
    wider,
)
from daemun_kubernetes.view.references import Key
from daemun_kubernetes.view.secrets import Pair
from daemun_kubernetes.view.services import Resolved, service_settings

__all__ = ["Assembly"]

_KEPT = "the version from before stays in use"
_WITHOUT = "without it there is no TLS for its hosts"
_ANY = HostMatch(HostKind.ANY)
_ROOT = PathMatch()
_Entry = tuple[tuple[object, ...], Place, tuple[RouteSpec, ...]]


class Assembly:
    """What the Ingresses that were put into it come to."""

    def __init__(
        self, settings: IngressSettings, backend: Callable[[Target], Resolved], pair: Callable[[Key], Pair]
    ) -> None:
        """`backend` and `pair` tell what Services and Secrets are now."""
        self._settings = settings
        self._backend = backend
        self._pair = pair
        self._ages: dict[Key, tuple[str]] = {}
        self._held: dict[Key, Translation] = {}
        self._served: dict[Key, Translation] = {}
        self._names: Competition[HostMatch, None] = Competition()
        """Who names which hosts in rules."""
        self._places: Competition[Place, tuple[RouteSpec, ...]] = Competition()
        self._hosts: Competition[str, Key] = Competition()
        self._users: dict[Target, set[Key]] = {}
        self._service_users: dict[Key, set[Key]] = {}
        self._secret_users: dict[Key, set[Key]] = {}
        self._entries: list[_Entry] = []
        self._backends: dict[str, BackendSpec] = {NOWHERE: BackendSpec(NOWHERE, origin="kubernetes_ingress")}
        self._certificates: tuple[CertificateSpec, ...] = ()
        self._routes: tuple[RouteSpec, ...] = ()
        self._touched: set[Place] = set()
        self._holders: dict[Place | str, Key] = {}
        """Who has which places, and hosts to present a certificate for."""
        self._moved: set[Target] = set()
        self._certificates_changed = False
        self._touched_hosts: set[str] = set()
        self._presented: dict[str, Key] = {}
        """Hosts with the Secrets of their certificates."""
        self._related: dict[Key, tuple[frozenset[Key], frozenset[Key]]] = {}
        """The Services and Secrets that an Ingress refers to."""
        self._refused: dict[str, str] = {}
        """What the gateway itself could not use, by origin, with its words."""
        self._reported: dict[Key, tuple[Problem, ...]] = {}
        self._suspects: set[Key] = set()
        """Ingresses whose problems may be others now."""
        self._default = _default_target(settings.default_backend)
        if self._default is not None:
            self._moved.add(self._default)

    def put(self, owner: Key, ingress: Ingress | None) -> None:
        """Takes what `ingress` says from now on; None: it is gone, or not the gateway's any more."""
        if ingress is None:
            self._held.pop(owner, None)
            self._serve(owner, Translation())
            self._served.pop(owner, None)
            self._ages.pop(owner, None)
            self._relate(owner)
            return
        self._ages[owner] = (ingress.metadata.creation_timestamp,)
        self._held[owner] = translate(ingress, self._settings)
        self._relate(owner)

    @property
    def owners(self) -> Collection[Key]:
        """The Ingresses that are served."""
        return self._served.keys()

    @property
    def services(self) -> frozenset[Key]:
        """The Services that are referred to."""
        default = {self._default[:2]} if self._default is not None else set()
        return frozenset(self._service_users.keys() | default)

    @property
    def secrets(self) -> frozenset[Key]:
        """The Secrets that are referred to."""
        return frozenset(self._secret_users)

    def services_changed(self, keys: Iterable[Key]) -> None:
        """Something about these Services is not what it was."""
        for key in keys:
            for owner in self._service_users.get(key, ()):
                self._suspects.add(owner)
                if owner in self._served:
                    self._moved.update(one for one in self._served[owner].targets if one[:2] == key)
            if self._default is not None and self._default[:2] == key:
                self._moved.add(self._default)

    def secrets_changed(self, keys: Iterable[Key]) -> None:
        """Something about these Secrets is not what it was."""
        for key in keys:
            self._suspects |= self._secret_users.get(key, set())
        self._certificates_changed = True

    def snapshot(self) -> Snapshot:
        """All that is served now. What did not change is the same object as before."""
        for owner, translation in list(self._held.items()):
            if not self._is_pending(owner, translation):
                del self._held[owner]
                self._serve(owner, translation)
                self._relate(owner)
        self._order()
        for target in self._moved:
            self._move(target)
        self._moved.clear()
        if self._certificates_changed or self._touched_hosts:
            self._certify()
        return Snapshot(self._routes, tuple(self._backends.values()), certificates=self._certificates)

    def applied(self, applied: Applied) -> None:
        """Takes note of what the gateway itself could not use, such as a key that does not fit."""
        refused = {one.origin: one.error for one in applied.refused}
        for origin, _ in refused.items() ^ self._refused.items():
            kind, _, name = origin.partition(" ")
            namespace, _, name = name.partition("/")
            if kind == "secret":
                self._suspects |= self._secret_users.get((namespace, name), set())
            elif kind == "ingress":
                self._suspects.add((namespace, name))
        self._refused = refused

    def news(self) -> dict[Key, tuple[Problem, ...]]:
        """The Ingresses whose problems are others than when this was last asked, with all that they have now."""
        news = {}
        for owner in self._suspects:
            problems = self._problems(owner)
            if problems != self._reported.get(owner, ()):
                news[owner] = problems
                if problems:
                    self._reported[owner] = problems
                else:
                    del self._reported[owner]
        self._suspects.clear()
        return news

    def _serve(self, owner: Key, translation: Translation) -> None:
        """Has `translation` compete with those of others."""
        age = self._ages.get(owner, ("",))
        secrets = {host: (owner[0], name) for host, name in translation.hosts.items()}
        self._suspects.add(owner)
        self._touched |= self._places.put(owner, age, translation.routes)
        self._touched_hosts |= self._hosts.put(owner, age, secrets)
        self._name(owner, age, translation)
        before = self._served.get(owner, Translation()).targets
        for target in before - translation.targets:
            self._users[target].discard(owner)
        for target in translation.targets:
            self._users.setdefault(target, set()).add(owner)
        self._moved |= before ^ translation.targets
        self._served[owner] = translation

    def _name(self, owner: Key, age: tuple[str], translation: Translation) -> None:
        """Has it have hosts, and their places follow."""
        named = self._served.get(owner, Translation()).names | translation.names
        before = {host: self._names.winner(host) for host in named}
        self._names.put(owner, age, dict.fromkeys(translation.names))
        for host in named:
            old, new = before[host], self._names.winner(host)
            if old is None or new is None:
                self._touched.add(Place(host, _ROOT, fallback=True))
            elif old[0][0] == new[0][0]:
                continue
            self._touched_hosts.update([host.value] if host.kind is HostKind.EXACT else self._hosts.keys())
            self._suspects |= self._names.owners([host])
            if host == _ANY or (old is not None and new is not None):
                self._touched.update([place for place in self._places.keys() if place.host == host])  # noqa: SIM118

    def _owner_of(self, host: HostMatch) -> str:
        """The namespace whose Ingresses alone may have places of `host`; "": all may."""
        named = None if self._settings.share_hosts else self._names.winner(host)
        return named[0][0] if named is not None else ""

    def _certifier_of(self, host: str) -> str:
        """The namespace whose Ingresses alone may bring a certificate for `host`: whose requests for it are."""
        return next(filter(None, map(self._owner_of, wider(host_match(host)))), "")

    def _holds(self, what: Place | str, owner: Key | None) -> None:
        """Notes who has it. Whoever wanted it may hear something else now."""
        if owner == self._holders.get(what):
            return
        if owner is None:
            del self._holders[what]
        else:
            self._holders[what] = owner
        claims = self._hosts.owners([what]) if isinstance(what, str) else self._places.owners([what])
        self._suspects |= claims

    def _relate(self, owner: Key) -> None:
        """Notes which Services and Secrets `owner` refers to, served or held."""
        services: set[Key] = set()
        secrets: set[Key] = set()
        for table in (self._served, self._held):
            if (translation := table.get(owner)) is not None:
                services.update(target[:2] for target in translation.targets)
                secrets.update((owner[0], name) for name in translation.hosts.values())
        before = self._related.pop(owner, (frozenset(), frozenset()))
        after = (frozenset(services), frozenset(secrets))
        for users, old, new in zip((self._service_users, self._secret_users), before, after, strict=True):
            _relate(users, owner, old, new)
        if services or secrets:
            self._related[owner] = after

    def _is_pending(self, owner: Key, translation: Translation) -> bool:
        return any(self._backend(target).pending for target in translation.targets) or any(
            self._pair((owner[0], name)).pending for name in translation.hosts.values()
        )

    def _order(self) -> None:
        if not self._touched and self._routes:
            return
        self._touched.update([place._replace(fallback=True) for place in self._touched if place.path == _ROOT])
        entries = [entry for entry in self._entries if entry[1] not in self._touched]
        for place in self._touched:
            winner = self._places.winner(place, self._owner_of(place.host))
            self._holds(place, winner[0] if winner is not None else None)
            if winner is not None:
                entries.append((rank(place), place, winner[1]))
            elif place.fallback and self._leaves_a_rest(place.host):
                entries.append((rank(place), place, (self._rest(place),)))
        entries.sort(key=lambda entry: entry[0])
        self._touched.clear()
        self._entries = entries
        routes = [route for entry in entries for route in entry[2]]
        if self._default is not None:
            routes.append(self._rest(Place(_ANY, _ROOT, fallback=True), "default"))
        self._routes = tuple(routes)

    def _leaves_a_rest(self, host: HostMatch) -> bool:
        """Whether there are requests for a host that none of its rules takes, and that are for nobody else."""
        if host == _ANY or self._names.winner(host) is None:
            return False
        return self._places.winner(Place(host, _ROOT), self._owner_of(host)) is None

    def _rest(self, place: Place, name: str = "") -> RouteSpec:
        """Of a host what no rule of it takes, and no default back end of its own."""
        return RouteSpec(
            name or place.name,
            Forward((Split(self._default.backend),)) if self._default is not None else Respond(404),
            hosts=(place.host,),
            path=place.path,
            listeners=(*self._settings.http_listeners, *self._settings.https_listeners),
            origin="default_backend of kubernetes_ingress" if self._default is not None else "kubernetes_ingress",
        )

    def _move(self, target: Target) -> None:
        """Has the back end of `target` be what it leads to now: without endpoints it answers 503."""
        if not self._users.get(target) and target != self._default:
            self._users.pop(target, None)
            self._backends.pop(target.backend, None)
            return
        spec = self._backend(target).spec
        if spec is None:
            origin = f"service {target.namespace}/{target.service}"
            spec = BackendSpec(
                target.backend, settings=service_settings(self._settings.backend_settings), origin=origin
            )
        self._backends[target.backend] = spec

    def _certify(self) -> None:
        """One certificate for each Secret, with all hosts that it won. What a Secret held before it went bad stays."""
        self._certificates_changed = False
        hosts: dict[Key, list[str]] = {}
        for host in self._touched_hosts:
            winner = self._hosts.winner(host, self._certifier_of(host))
            self._holds(host, winner[0] if winner is not None else None)
            if winner is not None:
                self._presented[host] = winner[1]
            else:
                self._presented.pop(host, None)
        self._touched_hosts.clear()
        for host in sorted(self._presented):
            hosts.setdefault(self._presented[host], []).append(host)
        before = {one.name: one for one in self._certificates}
        certificates = []
        for key, names in sorted(hosts.items()):
            pair = self._pair(key)
            whose = f"{key[0]}/{key[1]}"
            served = [(whose, tuple(name for name in names if name)), (f"{whose}!default", ())]
            for name, of_hosts in served[0 if any(names) else 1 : 2 if "" in names else 1]:
                old = before.get(name)
                if not pair.error:
                    listeners = self._settings.https_listeners
                    spec = CertificateSpec(name, of_hosts, pair.certificate, pair.key, listeners, f"secret {whose}")
                elif old is not None and not pair.missing:
                    spec = replace(old, hosts=of_hosts)
                else:
                    continue
                certificates.append(old if old is not None and old == spec else spec)
        self._certificates = tuple(certificates)

    def _problems(self, owner: Key) -> tuple[Problem, ...]:
        translation = self._served.get(owner)
        if translation is None:
            return ()
        problems = list(translation.problems)
        problems += self._conflicts(owner, translation)
        for target in sorted(translation.targets, key=str):
            resolved = self._backend(target)
            if resolved.spec is None:
                problems.append(Problem("BackendNotFound", f"{resolved.error}; its paths answer 503", passing=True))
            elif not resolved.ready:
                words = f"service {target.namespace}/{target.service} has no ready endpoint for port {target.port}"
                problems.append(Problem("NoEndpoints", f"{words}; its paths answer 503", passing=True))
        for name in sorted(set(translation.hosts.values())):
            whose = f"{owner[0]}/{name}"
            if error := self._pair((owner[0], name)).error:
                kept = any(one.origin == f"secret {whose}" for one in self._certificates)
                words = f"{error}; {_KEPT if kept else _WITHOUT}"
                problems.append(Problem("BadCertificate", words, passing=True))
            elif error := self._refused.get(f"secret {whose}", ""):
                words = error if error.endswith(_KEPT) else f"{error}; {_WITHOUT}"
                problems.append(Problem("BadCertificate", words, passing=True))
        if error := self._refused.get(f"ingress {owner[0]}/{owner[1]}", ""):
            problems.append(Problem("Refused", error))
        return tuple(problems)

    def _conflicts(self, owner: Key, translation: Translation) -> Iterator[Problem]:
        """What others have."""
        foreign: dict[HostMatch, Key] = {}
        for match in sorted(translation.names, key=host_name):
            named = self._names.winner(match)
            if named is not None and self._owner_of(match) not in ("", owner[0]):
                namespace, name = foreign[match] = named[0]
                words = (
                    f"{host_name(match) or 'any host'} belongs to namespace {namespace}: {namespace}/{name} is older"
                )
                yield Problem("Conflict", f"{words}, and hosts are not shared; nothing of it is served from here")
        for place, holder in self._places.lost(owner, lambda place: self._owner_of(place.host)).items():
            is_spare = place.fallback and place.host == _ANY and len(translation.routes) > 1
            if holder is not None and place.host not in foreign and not is_spare:
                yield Problem("Conflict", f"{place.words} is served for {holder[0]}/{holder[1]}, which is older")
        for host, holder in self._hosts.lost(owner, self._certifier_of).items():
            if host_match(host) in foreign:
                continue
            words = f"the certificate of {host or 'all other hosts'} is"
            if holder is not None:
                yield Problem("Conflict", f"{words} that of {holder[0]}/{holder[1]}, which is older")
            else:
                yield Problem(
                    "Conflict", f"{words} not presented: namespace {self._certifier_of(host)} has its requests"
                )


def _default_target(text: str) -> Target | None:
    """The port that `namespace/service:port` names."""
    if not text:
        return None
    service, _, port = text.rpartition(":")
    namespace, _, name = service.partition("/")
    return Target(namespace, name, int(port) if port.isdigit() else port)


def _relate(users: dict[Key, set[Key]], owner: Key, old: frozenset[Key], new: frozenset[Key]) -> None:
    for key in old - new:
        users[key].discard(owner)
        if not users[key]:
            del users[key]
    for key in new - old:
        users.setdefault(key, set()).add(owner)
