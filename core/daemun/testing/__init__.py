"""What tests of daemun and of its plugins share.

gateway.py    a gateway in the test's own event loop
upstreams.py  upstreams that follow a script of bytes
patience.py   waiting for a condition
wire.py       the client's end, byte by byte
proxy.py      all three: a client, a gateway, an upstream
end2.py       either end of HTTP/2, frame by frame: wire2.py, upstreams2.py, proxy2.py as above
plugins.py    plugins made on the spot, and requests without a connection; bodies.py their content
activators.py  an activator at a test's cue
routes.py     routes that a test publishes itself
program.py    `daemun run` in a process of its own
measuring.py  what a request costs, fed from memory.py; sampling.py, alternating.py, yardsticks.py, costs.py
"""

from daemun.testing.activators import Starter
from daemun.testing.bodies import Pieces, content
from daemun.testing.end2 import Heard, Http2End, StreamReset
from daemun.testing.gateway import RunningGateway, running
from daemun.testing.patience import eventually
from daemun.testing.plugins import built, make_plugin, make_request
from daemun.testing.proxy import Proxy, proxying
from daemun.testing.proxy2 import Http2Proxy, proxying2
from daemun.testing.routes import HandSource, RoutedTable, routed
from daemun.testing.upstreams import Scene, ScriptedUpstream, scripted
from daemun.testing.upstreams2 import Http2Scene, ScriptedHttp2Upstream, scripted2
from daemun.testing.wire import Answer, Asked, CutOff, Wire, read_asked
from daemun.testing.wire2 import Http2Wire

__all__ = [
    "Answer",
    "Asked",
    "CutOff",
    "HandSource",
    "Heard",
    "Http2End",
    "Http2Proxy",
    "Http2Scene",
    "Http2Wire",
    "Pieces",
    "Proxy",
    "RoutedTable",
    "RunningGateway",
    "Scene",
    "ScriptedHttp2Upstream",
    "ScriptedUpstream",
    "Starter",
    "StreamReset",
    "Wire",
    "built",
    "content",
    "eventually",
    "make_plugin",
    "make_request",
    "proxying",
    "proxying2",
    "read_asked",
    "routed",
    "running",
    "scripted",
    "scripted2",
]
