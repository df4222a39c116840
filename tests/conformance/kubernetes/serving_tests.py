"""Which of Knative Serving's own tests are run, and the objects and options that they need.

Left out are those that load the machine for minutes, that need a registry, another machine or limits of memory and CPU,
those that read logs from the node, and one that needs an account in every Pod, which this API server does not fill in.
"""

from __future__ import annotations

from typing import Any

import msgspec

from . import build
from .cluster import Cluster
from .implementation import CLASS, NAMESPACE
from .suite import Report, run_suite

__all__ = ["SUITES", "SUITE_NAMES", "Selection", "run_serving_tests"]


class Selection(msgspec.Struct, frozen=True):
    """Tests of one of Serving's binaries."""

    binary: str
    names: tuple[str, ...]
    seconds: float = 900


SUITES = (
    Selection(
        "api",
        (
            *("TestBlueGreenRoute", "TestConfigurationGetAndList", "TestUpdateConfigurationMetadata"),
            *("TestContainerExitingMsg", "TestServiceGenerateName", "TestRouteAndConfigGenerateName"),
            *("TestRevisionGetAndList", "TestRevisionTimeout", "TestRouteGetAndList", "TestRouteCreation"),
            *("TestServiceAccountValidation", "TestServiceCreateListAndDelete", "TestServiceCreateAndUpdate"),
            *("TestServiceBYOName", "TestServiceWithTrafficSplit", "TestAnnotationPropagation"),
            *("TestServiceCreateWithMultipleContainers", "TestServiceCreateWithEmptyDir", "TestSingleConcurrency"),
            *("TestConfigMapVolume", "TestProjectedConfigMapVolume", "TestSecretVolume", "TestProjectedSecretVolume"),
            "TestProjectedComplex",
        ),
    ),
    Selection(
        "runtime",
        (
            *("TestCmdArgs", "TestMustNotContainerConstraints", "TestShouldNotContainerConstraints"),
            *("TestSecretsViaEnv", "TestConfigsViaEnv", "TestShouldEnvVars", "TestMustEnvVars"),
            *("TestShouldHaveStdinEOF", "TestMustHaveFiles", "TestShouldHaveFiles", "TestMustHaveHeadersSet"),
            *("TestShouldHaveHeadersSet", "TestLivenessWithFail", "TestProtocols", "TestProbeRuntime"),
            *("TestProbeRuntimeAfterStartup", "TestShouldHaveSysctlReadOnly", "TestMustRunAsUser"),
            *("TestShouldRunAsUserContainerDefault", "TestWorkingDirService"),
        ),
    ),
    Selection(
        "e2e",
        (
            *("TestFastScaleToZero", "TestActivationScale", "TestEmptyDir", "TestGRPCUnaryPing"),
            *("TestGRPCStreamingPing", "TestGRPCUnaryPingViaActivator", "TestGRPCStreamingPingViaActivator"),
            *("TestGRPCLoadBalancing", "TestHelloWorld", "TestHelloHTTP2WithPortNameH2C", "TestInitScalePositive"),
            *("TestMultiContainer", "TestMultipleNamespace", "TestConflictingRouteService"),
            *("TestReadinessAlternatePort", "TestReadinessPathAndQuery", "TestReadinessGRPCProbe"),
            *("TestRollbackBYOName", "TestGradualRollout", "TestRoutesNotReady", "TestRouteVisibilityChanges"),
            *("TestServiceToServiceCall", "TestSvcToSvcViaActivator", "TestCallToPublicService"),
            *("TestServiceValidationWithInvalidPodSpec", "TestSubrouteLocalSTS"),
            *("TestSubrouteVisibilityPublicToPrivate", "TestSubrouteVisibilityPrivateToPublic"),
            *("TestRevisionTimeout", "TestWebSocket", "TestWebSocketViaActivator", "TestWebSocketBlueGreenRoute"),
            "TestWebSocketWithTimeout",
        ),
    ),
    Selection("domainmapping", ("TestBYOCertificate",)),
    Selection("tagheader", ("TestTagHeaderBasedRouting",)),
)
SUITE_NAMES = tuple((selection.binary, name) for selection in SUITES for name in selection.names)
"""Every selected test, beside its binary."""

_PARALLEL = 16
"""They wait for most of their time."""
_OPTIONS = ("--dockerrepo=ko.local/svt", "--disable-logstream", "--enable-alpha", "--enable-beta")
_ENVIRONMENT = {
    "SYSTEM_NAMESPACE": "knative-serving",
    "GATEWAY_OVERRIDE": "daemun",
    "GATEWAY_NAMESPACE_OVERRIDE": NAMESPACE,
}


def run_serving_tests(cluster: Cluster, binary: str) -> Report:
    """Runs what is selected of one binary."""
    selection = next(one for one in SUITES if one.binary == binary)
    cluster.apply_objects(_objects())
    return run_suite(
        cluster,
        build.serving(cluster.tell) / f"{binary}.test",
        *_OPTIONS,
        f"--ingress-class={CLASS}",
        f"-test.run=^({'|'.join(selection.names)})$",
        parallel=_PARALLEL,
        seconds=selection.seconds,
        **_ENVIRONMENT,
    )


def _objects() -> list[dict[str, Any]]:
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("serving-tests-alt", "tls")
    ]
    settings = {"name": "conformance-test-configmap", "namespace": "serving-tests"}
    secret = {"name": "conformance-test-secret", "namespace": "serving-tests"}
    return [
        *namespaces,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": settings, "data": {"testKey": "testValue"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": secret, "stringData": {"testKey": "testValue"}},
    ]
