"""What tests of daemun and of its plugins share.

gateway.py    a gateway in the test's own event loop
upstreams.py  upstreams that follow a script of bytes
plugins.py    plugins made on the spot, and requests without a connection
routes.py     routes that a test publishes itself
"""

from daemun.testing.gateway import RunningGateway, running
from daemun.testing.plugins import built, make_plugin, make_request
from daemun.testing.routes import HandSource, RoutedTable, routed
from daemun.testing.upstreams import ScriptedUpstream, scripted

__all__ = [
    "HandSource",
    "RoutedTable",
    "RunningGateway",
    "ScriptedUpstream",
    "built",
    "make_plugin",
    "make_request",
    "routed",
    "running",
    "scripted",
]
