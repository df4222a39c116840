"""What keeps a Pod from serving, in plain words."""

from __future__ import annotations

from msgspec import Struct

from daemun_kubernetes.client.kinds import ContainerStatus, Pod

__all__ = ["PodFault", "fault_of_pod"]

_IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ErrImageInspect")


class PodFault(Struct, frozen=True):
    """Why a Pod does not serve."""

    words: str
    hint: str = ""
    over: bool = False
    """It never will again, and another one takes its place."""
    crashed: bool = False
    """Its container ran and ended: the last lines that it wrote say why."""


def fault_of_pod(pod: Pod) -> PodFault | None:
    """What is wrong with `pod`; None: it serves, or it is about to go."""
    if pod.metadata.deletion_timestamp:
        return None
    if pod.status.phase == "Failed":
        words = f"it failed: {pod.status.message or pod.status.reason or 'no reason is given'}"
        return PodFault(words, f"`kubectl delete pod -n {pod.metadata.namespace} {pod.metadata.name}`", over=True)
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            return PodFault(f"no node takes it: {condition.message or condition.reason}")
    for container in pod.status.container_statuses:
        fault = _fault_of_container(container)
        if fault is not None:
            return fault
    if any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions):
        return None
    if not pod.status.container_statuses:
        return PodFault("its container is not there yet")
    return PodFault(
        "it runs and does not serve yet",
        "it serves when the cluster has told it all routes; `kubectl logs` of the Pod says what it waits for",
    )


def _fault_of_container(container: ContainerStatus) -> PodFault | None:
    waiting = container.state.get("waiting")
    if waiting is not None and waiting.reason in _IMAGE:
        return PodFault(
            f"its image {container.image} cannot be had: {waiting.message or waiting.reason}",
            "build the image and push it where the nodes can pull it, then `daemun install … --image NAME`",
        )
    if waiting is not None and waiting.reason == "CrashLoopBackOff":
        return PodFault(f"it ends again and again ({container.restart_count} times)", crashed=True)
    if waiting is not None and waiting.reason not in ("ContainerCreating", "PodInitializing", ""):
        return PodFault(f"it waits: {waiting.reason}" + (f": {waiting.message}" if waiting.message else ""))
    ended = container.state.get("terminated")
    if ended is not None:
        words = ended.message or ended.reason or "no reason is given"
        return PodFault(f"it ended with code {ended.exit_code}: {words}", crashed=True)
    return None
