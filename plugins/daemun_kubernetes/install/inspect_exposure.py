"""What a check sees of the ways to the gateway: Services with Pods behind them, and who is told to come."""

from __future__ import annotations

from collections.abc import AsyncIterator

from daemun import Finding, Severity
from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.kinds import CONFIG_MAP, INGRESS_CLASS, SERVICE
from daemun_kubernetes.install.address import address_of, ready_behind
from daemun_kubernetes.install.knative import CLASS_KEY, CONFIG_NETWORK
from daemun_kubernetes.install.objects import find
from daemun_kubernetes.install.plan import KNATIVE_CLASS, Mode, Plan
from daemun_kubernetes.install.step import InstallError

__all__ = ["inspect_exposure"]


async def inspect_exposure(cluster: Cluster, plan: Plan) -> AsyncIterator[Finding]:
    """The Services, and the IngressClass or Knative's setting."""
    for name in (plan.name, plan.internal_name) if plan.has_internal else (plan.name,):
        yield await _service(cluster, plan, name)
    if plan.mode is Mode.INGRESS:
        yield await _class(cluster, plan)
    if plan.mode is Mode.KNATIVE:
        yield await _knative(cluster, plan)


async def _service(cluster: Cluster, plan: Plan, name: str) -> Finding:
    subject = f"Service {plan.namespace}/{name}"
    service = await find(cluster, SERVICE, name, plan.namespace)
    again = f"`{plan.command}` with the options from before makes it again"
    if service is None:
        return Finding(Severity.ERROR, subject, "it is not there", again)
    ready = await ready_behind(cluster, plan.namespace, name)
    if not ready:
        return Finding(Severity.ERROR, subject, "no Pod behind it is ready", "see the Pods of the Deployment")
    count = f"{len(ready)} Pod{'s' * (len(ready) > 1)} behind it"
    if name != plan.name or service.spec.type == "ClusterIP":
        return Finding(Severity.FINE, subject, f"{count}, inside the cluster")
    try:
        place = await address_of(cluster, plan.namespace, name, "http")
    except InstallError as error:
        return Finding(Severity.WARNING, subject, str(error))
    if service.spec.type == "LoadBalancer" and place.through.startswith("node"):
        words = f"{count}; no load balancer gave it an address, and {place.url} answers"
        hint = "clusters without load balancers: `daemun install … --service-type NodePort`"
        return Finding(Severity.WARNING, subject, words, hint)
    return Finding(Severity.FINE, subject, f"{count}; {place.url} answers ({place.through})")


async def _class(cluster: Cluster, plan: Plan) -> Finding:
    subject = f"IngressClass {plan.ingress_class}"
    found = await find(cluster, INGRESS_CLASS, plan.ingress_class)
    if found is None:
        return Finding(
            Severity.ERROR, subject, "it is not there", f"`{plan.command}` with the options from before makes it again"
        )
    if found.spec.controller != plan.controller:
        words = f"its controller is {found.spec.controller}, so Ingresses of this class are not served here"
        return Finding(Severity.ERROR, subject, words, f"those of a class with the controller {plan.controller} are")
    return Finding(Severity.FINE, subject, f"`ingressClassName: {plan.ingress_class}` means this gateway")


async def _knative(cluster: Cluster, plan: Plan) -> Finding:
    subject = f"ConfigMap {plan.knative_namespace}/{CONFIG_NETWORK}"
    config = await find(cluster, CONFIG_MAP, CONFIG_NETWORK, plan.knative_namespace)
    if config is None:
        return Finding(Severity.ERROR, subject, "it is not there", "install Knative Serving")
    asked = config.data.get(CLASS_KEY, "")
    if asked != KNATIVE_CLASS:
        words = f"Knative Serving asks {asked or 'its default'}, and not this gateway"
        return Finding(
            Severity.ERROR, subject, words, f"`{plan.command} --config-network only` sets its key {CLASS_KEY}"
        )
    return Finding(Severity.FINE, subject, "Knative Serving asks this gateway")
