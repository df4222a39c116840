"""How a cluster is found."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["ClusterSettings"]


class ClusterSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the API server is, and who the gateway is for it.

    Without `kubeconfig` and `context`: the files that `$KUBECONFIG` names, else the Pod that the gateway runs in, else
    `~/.kube/config`.
    """

    kubeconfig: Annotated[str, Meta(description="A kubeconfig, relative to the settings file.")] = ""
    context: Annotated[str, Meta(description='Context of the kubeconfig; "": its current one.')] = ""
    namespace: Annotated[
        str, Meta(description='Namespace of objects that name none; "": that of the Pod or of the context.')
    ] = ""
    request_timeout_seconds: Annotated[
        float, Meta(gt=0, le=600, description="How long one request may take, with all that is tried again.")
    ] = 30.0
    watch_timeout_seconds: Annotated[
        float, Meta(ge=1, le=3600, description="How long a watch runs before it is opened anew, and up to twice that.")
    ] = 300.0
    silence_timeout_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="A watch that is silent for so long has lost its server.")
    ] = 100.0
