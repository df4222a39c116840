"""`daemun check --cluster`: what is said of a gateway that is well, and of each way not to be."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from bench.peers.origin import certificate
from hypothesis import given
from hypothesis import strategies as st

from daemun import Finding, Severity
from daemun_kubernetes.client.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    INGRESS,
    INGRESS_CLASS,
    LEASE,
    NODE,
    SECRET,
    SERVICE,
)
from daemun_kubernetes.install.check import findings
from daemun_kubernetes.install.inspect_routes import SERVED_KINGRESS
from daemun_kubernetes.install.plan import KNATIVE_CLASS, Mode, Plan
from daemun_kubernetes.install.rights import rights_of
from daemun_kubernetes.install.validity import end_of

from .cluster_store import ClusterStore, cluster_of

NAMESPACE = "daemun-system"


def now(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content


def ending(end: datetime, *, version: bool = True, padding: int = 0) -> str:
    """A certificate, as far as its validity tells."""
    text = end.strftime("%Y%m%d%H%M%SZ")
    time = der(0x17, text[2:].encode()) if 1950 <= end.year < 2050 else der(0x18, text.encode())
    validity = der(0x30, der(0x17, b"200101000000Z"), time)
    before = (der(0x02, b"\x01"), der(0x30, der(0x06, b"\x2a")), der(0x30, b"\x05\x00" * padding))
    signed = der(0x30, *((der(0xA0, der(0x02, b"\x02")),) if version else ()), *before, validity, der(0x30))
    text = base64.encodebytes(der(0x30, signed, der(0x30), der(0x03, b"\x00"))).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"


@cache
def pair(number: int) -> tuple[str, str]:
    """A certificate and its key; another number is another pair."""
    with TemporaryDirectory() as folder:
        chain, key = Path(folder, "c.pem"), Path(folder, "k.pem")
        if why_not := certificate(chain, key):
            pytest.skip(why_not)
        return chain.read_text(), key.read_text()


def until(pem: str, end: datetime) -> str:
    """The certificate with another end. Its signature does not hold any more, which is for clients to look at."""
    content = base64.b64decode("".join(pem.split("-----")[2].split()))
    times = re.search(rb"\x30\x1e\x17\x0d.{13}\x17\x0d(.{13})", content, re.DOTALL)
    assert times is not None
    changed = content[: times.start(1)] + end.strftime("%y%m%d%H%M%SZ").encode() + content[times.end(1) :]
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(changed).decode()}-----END CERTIFICATE-----\n"


def secret(store: ClusterStore, name: str, end: datetime, key_of: int = 0) -> None:
    data = {"tls.crt": until(pair(0)[0], end), "tls.key": pair(key_of)[1]}
    encoded = {field: base64.b64encode(text.encode()).decode() for field, text in data.items()}
    store.put(SECRET.path(), "apps", name, type="kubernetes.io/tls", data=encoded)


def well(mode: Mode) -> ClusterStore:
    """A cluster in which a gateway of this mode serves."""
    store = ClusterStore()
    labels = Plan(mode, "").labels
    status = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    metadata = {"generation": 1, "labels": labels}
    store.put(DEPLOYMENT.path(), NAMESPACE, "daemun", metadata=metadata, spec={"replicas": 2}, status=status)
    ports = [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "https", "port": 443, "nodePort": 30443}]
    balanced = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    spec = {"type": "LoadBalancer", "ports": ports}
    store.put(SERVICE.path(), NAMESPACE, "daemun", spec=spec, status=balanced)
    names = ["daemun"]
    if mode is Mode.KNATIVE:
        store.put(SERVICE.path(), NAMESPACE, "daemun-internal", spec={"type": "ClusterIP"})
        store.put(CONFIG_MAP.path(), "knative-serving", "config-network", data={"ingress-class": KNATIVE_CLASS})
        names.append("daemun-internal")
    if mode is Mode.INGRESS:
        store.put(INGRESS_CLASS.path(), "", "daemun", spec={"controller": "daemun.dev/ingress"})
    for name in names:
        endpoints = [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}, {"addresses": ["10.0.0.2"]}]
        chosen = {"labels": {"kubernetes.io/service-name": name}}
        store.put(ENDPOINT_SLICE.path(), NAMESPACE, f"{name}-1", metadata=chosen, endpoints=endpoints)
    if mode is not Mode.GATEWAY:
        spec_of_lease = {"holderIdentity": "daemun-1", "leaseDurationSeconds": 15, "renewTime": now(seconds=2)}
        store.put(LEASE.path(), NAMESPACE, f"daemun-{mode.value}", spec=spec_of_lease)
    return store


async def looked(store: ClusterStore, folder: Path, namespace: str = "") -> list[Finding]:
    async with cluster_of(store, folder) as cluster:
        return await findings(cluster, namespace)


def faults(found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.severity is not Severity.FINE]


@pytest.mark.anyio
@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
async def test_a_gateway_that_is_well_has_no_fault(mode: Mode, tmp_path: Path) -> None:
    store = well(mode)
    found = await looked(store, tmp_path)
    assert faults(found) == []
    said = {one.subject: one.words for one in found}
    assert said["Deployment daemun-system/daemun"] == "2 of 2 Pods serve"
    assert said["Service daemun-system/daemun"] == "2 Pods behind it; http://192.0.2.1:80 answers (load balancer)"
    assert any("Kubernetes v1.36.3" in words for words in said.values())
    asked = {(spec["resourceAttributes"]["verb"], spec["resourceAttributes"]["resource"]) for spec in store.reviewed}
    rights = rights_of(Plan(mode, ""))
    assert asked == {(verb, right.resource.partition("/")[0]) for right in rights for verb in right.verbs}
    assert {spec["user"] for spec in store.reviewed} <= {"system:serviceaccount:daemun-system:daemun"}


Spoil = Callable[[ClusterStore], Any]


def deployment(**status: Any) -> Spoil:
    def spoil(store: ClusterStore) -> None:
        metadata = {"generation": 1, "labels": Plan(Mode.INGRESS, "").labels}
        store.put(DEPLOYMENT.path(), NAMESPACE, "daemun", metadata=metadata, spec={"replicas": 2}, status=status)

    return spoil


def pod(**state: Any) -> Spoil:
    def spoil(store: ClusterStore) -> None:
        container = {"name": "daemun", "image": "daemun:1", "restartCount": 7, "state": state}
        store.logs["daemun-1"] = b"starting\ndaemun: $.listeners[0]: unknown key `bindd`\n\n"
        store.put_pod("daemun-1", phase="Running", containerStatuses=[container])

    return spoil


def service(**spec: Any) -> Spoil:
    def spoil(store: ClusterStore) -> None:
        store.put(NODE.path(), "", "n1", status={"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}]})
        store.put(SERVICE.path(), NAMESPACE, "daemun", spec=spec)

    return spoil


def serve(store: ClusterStore, name: str) -> None:
    """Has an endpoint behind a Service of the namespace `apps`."""
    chosen = {"labels": {"kubernetes.io/service-name": name}}
    place = {"addressType": "IPv4", "ports": [{"name": "http", "port": 80}], "endpoints": [{"addresses": ["10.0.0.7"]}]}
    store.put(ENDPOINT_SLICE.path(), "apps", f"{name}-1", metadata=chosen, **place)


def ingress(
    name: str = "shop", *, class_name: str = "daemun", addressed: bool = True, tls: str = "", backend: str = "good"
) -> Spoil:
    def spoil(store: ClusterStore) -> None:
        store.put(SERVICE.path(), "apps", "good", spec={"ports": [{"name": "http", "port": 80}]})
        serve(store, "good")
        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}] if addressed else []}}
        host, service = f"{name}.test", {"service": {"name": backend, "port": {"number": 80}}}
        rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": service}]}}
        spec: dict[str, Any] = {"ingressClassName": class_name, "rules": [rule]}
        if tls:
            spec["tls"] = [{"hosts": [host], "secretName": tls}]
        store.put(INGRESS.path(), "apps", name, spec=spec, status=status)

    return spoil


def lease(holder: str, **ago: float) -> Spoil:
    def spoil(store: ClusterStore) -> None:
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": now(**ago)}
        store.put(LEASE.path(), NAMESPACE, "daemun-ingress", spec=spec)

    return spoil


def certified(key_of: int = 0, **left: float) -> Spoil:
    def spoil(store: ClusterStore) -> None:
        secret(store, "web", datetime.now(UTC) + timedelta(**left), key_of)
        ingress(tls="web")(store)

    return spoil


ERROR, WARNING = Severity.ERROR, Severity.WARNING
NODE_PORT = [{"name": "http", "port": 80, "nodePort": 30080}]
SPOILT: dict[str, tuple[Spoil, Severity, str, str]] = {
    "none serve": (deployment(replicas=2), ERROR, "Deployment daemun-system/daemun", "0 of 2 Pods serve"),
    "one serves": (deployment(readyReplicas=1), WARNING, "Deployment daemun-system/daemun", "1 of 2 Pods serve"),
    "no image": (
        pod(waiting={"reason": "ErrImagePull", "message": "not found"}),
        ERROR,
        "Pod daemun-system/daemun-1",
        "its image daemun:1 cannot be had: not found",
    ),
    "crash loop": (
        pod(waiting={"reason": "CrashLoopBackOff", "message": "back-off"}),
        ERROR,
        "Pod daemun-system/daemun-1",
        "it ends again and again (7 times); the last that it said: daemun: $.listeners[0]: unknown key `bindd`",
    ),
    "ended": (
        pod(terminated={"exitCode": 137, "reason": "OOMKilled"}),
        ERROR,
        "Pod daemun-system/daemun-1",
        "it ended with code 137: OOMKilled; the last that it said: daemun: $.listeners[0]: unknown key `bindd`",
    ),
    "no mount": (
        pod(waiting={"reason": "CreateContainerConfigError", "message": "no ConfigMap"}),
        ERROR,
        "Pod daemun-system/daemun-1",
        "it waits: CreateContainerConfigError: no ConfigMap",
    ),
    "not serving yet": (
        pod(running={}),
        ERROR,
        "Pod daemun-system/daemun-1",
        "it runs and does not serve yet",
    ),
    "no node": (
        lambda store: store.put_pod(
            "daemun-1",
            phase="Pending",
            conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes have room"}],
        ),
        ERROR,
        "Pod daemun-system/daemun-1",
        "no node takes it: 0/3 nodes have room",
    ),
    "no writer": (
        lease(""),
        WARNING,
        "Lease daemun-system/daemun-ingress",
        "no replica writes statuses",
    ),
    "a silent writer": (
        lease("daemun-9", minutes=100),
        ERROR,
        "Lease daemun-system/daemun-ingress",
        "daemun-9 was to write statuses, and was last heard 6,0",
    ),
    "no right": (
        lambda store: store.forbidden.add(("watch", "secrets")),
        ERROR,
        "ServiceAccount daemun-system/daemun",
        "it may not watch secrets, which it needs to read the certificates that objects refer to",
    ),
    "no right to a status": (
        lambda store: store.forbidden.add(("patch", "ingresses/status")),
        ERROR,
        "ServiceAccount daemun-system/daemun",
        "it may not patch ingresses/status.networking.k8s.io, which it needs to publish the gateway's address",
    ),
    "no Service": (
        lambda store: store.remove(SERVICE.path(), NAMESPACE, "daemun"),
        ERROR,
        "Service daemun-system/daemun",
        "it is not there",
    ),
    "no endpoint": (
        lambda store: store.remove(ENDPOINT_SLICE.path(), NAMESPACE, "daemun-1"),
        ERROR,
        "Service daemun-system/daemun",
        "no Pod behind it is ready",
    ),
    "no load balancer": (
        service(type="LoadBalancer", ports=NODE_PORT),
        WARNING,
        "Service daemun-system/daemun",
        "2 Pods behind it; no load balancer gave it an address, and http://192.0.2.9:30080 answers",
    ),
    "no way in": (
        service(type="LoadBalancer", ports=[{"name": "http", "port": 80}]),
        WARNING,
        "Service daemun-system/daemun",
        "Service daemun-system/daemun has no address of a load balancer yet",
    ),
    "no class": (
        lambda store: store.remove(INGRESS_CLASS.path(), "", "daemun"),
        ERROR,
        "IngressClass daemun",
        "it is not there",
    ),
    "another's class": (
        lambda store: store.put(INGRESS_CLASS.path(), "", "daemun", spec={"controller": "nginx.test/x"}),
        ERROR,
        "IngressClass daemun",
        "its controller is nginx.test/x, so Ingresses of this class are not served here",
    ),
    "an Ingress that leads nowhere": (
        ingress(backend="web"),
        WARNING,
        "Ingress apps/shop",
        "service apps/web not found",
    ),
    "an Ingress that is not served": (
        ingress(addressed=False, backend="web"),
        ERROR,
        "Ingress apps/shop",
        "service apps/web not found",
    ),
    "an Ingress without address": (
        ingress(addressed=False),
        ERROR,
        "Ingress apps/shop",
        "no address was published in its status",
    ),
    "no Secret": (ingress(tls="gone"), ERROR, "Secret apps/gone", "secret apps/gone not found"),
    "a key of another certificate": (
        certified(key_of=1, days=60),
        ERROR,
        "Secret apps/web",
        "its certificate cannot be used with its key: KEY_VALUES_MISMATCH",
    ),
    "a Pod that was evicted": (
        lambda store: store.put_pod("daemun-1", phase="Failed", reason="Evicted", message="the node was low on memory"),
        WARNING,
        "Pod daemun-system/daemun-1",
        "it failed: the node was low on memory",
    ),
    "a certificate that ended": (certified(days=-2), ERROR, "Secret apps/web", "its certificate ended on "),
    "a certificate that ends": (certified(days=3), WARNING, "Secret apps/web", "its certificate ends on "),
}


@pytest.mark.anyio
@pytest.mark.parametrize("case", SPOILT)
async def test_what_is_wrong_is_said(case: str, tmp_path: Path) -> None:
    spoil, severity, subject, words = SPOILT[case]
    store = well(Mode.INGRESS)
    spoil(store)
    found = faults(await looked(store, tmp_path))
    assert [(one.severity, one.subject) for one in found] == [(severity, subject)]
    assert found[0].words.startswith(words)


@pytest.mark.anyio
async def test_what_was_wrong_is_not_said_any_more(tmp_path: Path) -> None:
    """It is looked at, and no event is believed: nobody takes one back."""
    store = well(Mode.INGRESS)
    ingress(backend="web")(store)
    (fault,) = faults(await looked(store, tmp_path))
    assert fault.words == "service apps/web not found; its paths answer 503"
    about = {"kind": "Ingress", "namespace": "apps", "name": "shop"}
    more = {"message": fault.words, "lastTimestamp": now(minutes=5), "reportingComponent": "daemun"}
    store.put(EVENT.path(), "apps", "shop.1", involvedObject=about, type="Warning", **more)
    store.put(SERVICE.path(), "apps", "web", spec={"ports": [{"name": "http", "port": 80}]})
    (fault,) = faults(await looked(store, tmp_path))
    assert "has no ready endpoint" in fault.words
    serve(store, "web")
    assert faults(await looked(store, tmp_path)) == []


@pytest.mark.anyio
async def test_without_a_load_balancer_no_address_is_missed(tmp_path: Path) -> None:
    store = well(Mode.INGRESS)
    service(type="NodePort", ports=[{"name": "http", "port": 80, "nodePort": 30080}])(store)
    ingress(addressed=False)(store)
    found = await looked(store, tmp_path)
    assert faults(found) == []
    words = "1 of this gateway's class, all served; none has an address in its status, as there is no load balancer"
    assert {one.subject: one.words for one in found}["Ingresses"] == words


@pytest.mark.anyio
async def test_what_makes_it_again_means_this_installation(tmp_path: Path) -> None:
    store = ClusterStore()
    store.put(DEPLOYMENT.path(), "edge", "front", metadata={"labels": Plan(Mode.INGRESS, "", name="front").labels})
    hints = {one.subject: one.hint for one in faults(await looked(store, tmp_path))}
    words = "`daemun install ingress --name front --namespace edge` with the options from before makes it again"
    assert hints["Service edge/front"] == hints["IngressClass front"] == words


@pytest.mark.anyio
async def test_a_certificate_with_time_left_is_no_finding(tmp_path: Path) -> None:
    store = well(Mode.INGRESS)
    certified(days=60)(store)
    assert faults(await looked(store, tmp_path)) == []


@pytest.mark.anyio
async def test_ingresses_of_another_class_are_not_looked_at(tmp_path: Path) -> None:
    store = well(Mode.INGRESS)
    store.put(INGRESS_CLASS.path(), "", "other", spec={"controller": "nginx.test/x"})
    ingress(class_name="other", addressed=False, tls="gone")(store)
    found = await looked(store, tmp_path)
    assert faults(found) == []
    assert {one.subject: one.words for one in found}["Ingresses"] == "0 of this gateway's class, all served"


@pytest.mark.anyio
@pytest.mark.parametrize("mode", [Mode.KNATIVE, Mode.INGRESS], ids=lambda mode: mode.value)
async def test_without_a_pod_nothing_is_said_to_be_served(mode: Mode, tmp_path: Path) -> None:
    store = well(mode)
    store.remove(ENDPOINT_SLICE.path(), NAMESPACE, "daemun-1")
    found = await looked(store, tmp_path)
    assert [one.words for one in faults(found)] == ["no Pod behind it is ready"]
    assert not [one for one in found if "served" in one.words]


@pytest.mark.anyio
async def test_of_many_faults_those_that_differ_are_told(tmp_path: Path) -> None:
    store = well(Mode.KNATIVE)
    for number in range(30):
        kingress(store, f"a-{number:02}", ("Ready", "Unknown", "Uninitialized", "waiting"))
    kingress(store, "b", ("Ready", "False", "Invalid", "spec.rules: none"))
    found = faults(await looked(store, tmp_path))
    assert [one.words for one in found[:2]] == ["Uninitialized: waiting", "Invalid: spec.rules: none"]
    assert (len(found), found[-1].words) == (21, "11 more like these")


@pytest.mark.anyio
async def test_many_faults_are_a_few_and_a_number(tmp_path: Path) -> None:
    store = well(Mode.INGRESS)
    for number in range(50):
        ingress(f"shop-{number}", addressed=False)(store)
    found = faults(await looked(store, tmp_path))
    assert len(found) == 21
    assert "30 more like these" in [one.words for one in found]


def kingress(store: ClusterStore, name: str, *conditions: tuple[str, str, str, str], generation: int = 1) -> None:
    said = [dict(zip(("type", "status", "reason", "message"), one, strict=True)) for one in conditions]
    metadata = {"generation": generation, "annotations": {"networking.knative.dev/ingress.class": KNATIVE_CLASS}}
    status = {"observedGeneration": 1, "conditions": said}
    store.put(SERVED_KINGRESS.path(), "apps", name, metadata=metadata, status=status)


@pytest.mark.anyio
async def test_kingresses_that_are_not_ready_say_why(tmp_path: Path) -> None:
    store = well(Mode.KNATIVE)
    kingress(store, "fine", ("Ready", "True", "", ""))
    kingress(store, "new")
    kingress(store, "changed", ("Ready", "True", "", ""), generation=2)
    kingress(
        store,
        "taken",
        ("LoadBalancerReady", "False", "DomainConflict", "host a.test is of apps/fine"),
        ("Ready", "False", "DomainConflict", "host a.test is of apps/fine"),
    )
    waiting = ("LoadBalancerReady", "Unknown", "Uninitialized", "waiting for every gateway to serve this version")
    missing = "Unknown", "SecretNotReady", "secret apps/x not found"
    kingress(store, "missing", waiting, ("NetworkConfigured", *missing), ("Ready", *missing))
    wrong = "False", "Invalid", "spec.httpOption: Sometimes"
    kingress(store, "wrong", waiting, ("NetworkConfigured", *wrong), ("Ready", "False", "", ""))
    other = {"annotations": {"networking.knative.dev/ingress.class": "kourier.test"}}
    store.put(SERVED_KINGRESS.path(), "apps", "others", metadata=other)
    found = faults(await looked(store, tmp_path))
    assert {one.subject: one.words for one in found} == {
        "KIngress apps/new": "nothing has been said of it yet",
        "KIngress apps/changed": "its newest version is not served yet",
        "KIngress apps/taken": "DomainConflict: host a.test is of apps/fine",
        "KIngress apps/missing": "SecretNotReady: secret apps/x not found",
        "KIngress apps/wrong": "Invalid: spec.httpOption: Sometimes",
    }


@pytest.mark.anyio
async def test_knative_that_asks_another_gateway(tmp_path: Path) -> None:
    store = well(Mode.KNATIVE)
    store.put(CONFIG_MAP.path(), "knative-serving", "config-network", data={"ingress-class": "kourier.test"})
    (fault,) = faults(await looked(store, tmp_path))
    assert fault.words == "Knative Serving asks kourier.test, and not this gateway"


@pytest.mark.anyio
async def test_a_cluster_without_knative(tmp_path: Path) -> None:
    store = well(Mode.KNATIVE)
    store.remove(CONFIG_MAP.path(), "knative-serving", "config-network")
    store.unknown.add(SERVED_KINGRESS.path())
    found = faults(await looked(store, tmp_path))
    assert {(one.words, one.hint) for one in found} == {
        ("it is not there", "install Knative Serving"),
        ("the cluster does not know the kind Ingress of Knative", "install Knative Serving"),
    }


@pytest.mark.anyio
async def test_nothing_is_installed(tmp_path: Path) -> None:
    (fault,) = faults(await looked(ClusterStore(), tmp_path))
    assert (fault.severity, fault.words) == (ERROR, "nothing is installed")
    (fault,) = faults(await looked(well(Mode.GATEWAY), tmp_path, "elsewhere"))
    assert fault.words == "nothing is installed in namespace elsewhere"


@pytest.mark.anyio
async def test_an_api_server_that_refuses_all(tmp_path: Path) -> None:
    store = ClusterStore()
    store.refusing = (401, "Unauthorized")
    (fault,) = await looked(store, tmp_path)
    assert fault.severity is ERROR
    assert fault.words.startswith("it cannot be asked: ")


@pytest.mark.anyio
async def test_what_may_not_be_looked_at_takes_nothing_else_away(tmp_path: Path) -> None:
    store = well(Mode.INGRESS)
    store.closed.add("/ingressclasses")
    found = await looked(store, tmp_path)
    assert [one for one in found if "cannot be looked at" in one.words]
    assert "Deployment daemun-system/daemun" in {one.subject for one in found}


# --- when a certificate ends ---


@given(st.datetimes(datetime(1950, 1, 1), datetime(2999, 12, 31)), st.booleans(), st.integers(0, 300))
def test_the_end_of_any_certificate(end: datetime, version: bool, padding: int) -> None:
    assert end_of(ending(end, version=version, padding=padding)) == end.replace(tzinfo=UTC, microsecond=0)


@given(st.binary(max_size=200))
def test_rubbish_has_no_end(data: bytes) -> None:
    text = base64.encodebytes(data).decode()
    assert end_of(text) is None
    end_of(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----")


def test_a_cut_certificate_has_no_end() -> None:
    body = base64.b64decode("".join(ending(datetime(2030, 1, 1, tzinfo=UTC)).split("-----")[2].split()))
    for length in range(30):
        text = base64.encodebytes(body[:length]).decode()
        assert end_of(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----") is None


def test_a_certificate_of_openssl(tmp_path: Path) -> None:
    why_not = certificate(tmp_path / "c.pem", tmp_path / "k.pem")
    if why_not:
        pytest.skip(why_not)
    end = end_of((tmp_path / "c.pem").read_text())
    assert end is not None
    assert timedelta(days=1) < end - datetime.now(UTC) < timedelta(days=3)
