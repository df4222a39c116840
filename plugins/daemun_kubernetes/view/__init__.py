"""What the cluster knows of what routes refer to, and no more than that.

references   objects of one kind, watched only as far as they are referred to
services     a Service's port as a back end: endpoints from its EndpointSlices, or a name to resolve
secrets      a Secret as a certificate with its key
"""

from daemun_kubernetes.view.references import Key, References, open_references
from daemun_kubernetes.view.secrets import Pair, SecretView, open_secrets
from daemun_kubernetes.view.services import Resolved, ServiceView, Spoken, by_any_port, by_port, open_services

__all__ = [
    "Key",
    "Pair",
    "References",
    "Resolved",
    "SecretView",
    "ServiceView",
    "Spoken",
    "by_any_port",
    "by_port",
    "open_references",
    "open_secrets",
    "open_services",
]
