"""What tests of daemun and of its plugins share.

inside.py     a whole gateway without a socket: network.py, pair.py; its upstreams: scripts.py, upstreams.py
virtual.py    event loops on virtual time; clock.py: what tests and the product see of it; chance.py: random, repeatable
wire.py       the client's end, byte by byte; transcript.py: what both ends of a wire protocol say
recording.py  which hooks were called with what; leaks.py: what stays of an action
batteries/    what each kind of plugin must do
gateway.py    a gateway on a port; proxy.py with a client and an upstream; program.py in a process of its own
end2.py       either end of HTTP/2, frame by frame: wire2.py, upstreams2.py, proxy2.py as above
plugins.py    plugins made on the spot, and requests without a connection; bodies.py: their content
routes.py     routes that a test publishes itself; activators.py: an activator at a cue; patience.py: waiting
measuring.py  what a request costs, fed from memory.py; sampling.py, alternating.py, yardsticks.py, costs.py
"""

from daemun.testing.activators import Starter
from daemun.testing.bodies import Pieces, content
from daemun.testing.chance import seeded
from daemun.testing.clock import VirtualClock
from daemun.testing.end2 import Heard, Http2End, StreamReset
from daemun.testing.gateway import RunningGateway, running
from daemun.testing.inside import MemoryGateway, in_memory
from daemun.testing.leaks import check_leaks
from daemun.testing.patience import eventually
from daemun.testing.plugins import built, make_plugin, make_request
from daemun.testing.proxy import Proxy, proxying
from daemun.testing.proxy2 import Http2Proxy, proxying2
from daemun.testing.recording import HookCall, HookRecorder
from daemun.testing.routes import HandSource, RoutedTable, routed
from daemun.testing.scripts import answering, half_closing, over_http2, resetting, slow, trickling
from daemun.testing.transcript import transcript
from daemun.testing.upstreams import Scene, Script, ScriptedUpstream, answer_ok, scripted
from daemun.testing.upstreams2 import Http2Scene, ScriptedHttp2Upstream, scripted2
from daemun.testing.virtual import virtual_backends
from daemun.testing.wire import Answer, Asked, CutOff, Wire, read_asked
from daemun.testing.wire2 import Http2Wire

__all__ = [
    "Answer",
    "Asked",
    "CutOff",
    "HandSource",
    "Heard",
    "HookCall",
    "HookRecorder",
    "Http2End",
    "Http2Proxy",
    "Http2Scene",
    "Http2Wire",
    "MemoryGateway",
    "Pieces",
    "Proxy",
    "RoutedTable",
    "RunningGateway",
    "Scene",
    "Script",
    "ScriptedHttp2Upstream",
    "ScriptedUpstream",
    "Starter",
    "StreamReset",
    "VirtualClock",
    "Wire",
    "answer_ok",
    "answering",
    "built",
    "check_leaks",
    "content",
    "eventually",
    "half_closing",
    "in_memory",
    "make_plugin",
    "make_request",
    "over_http2",
    "proxying",
    "proxying2",
    "read_asked",
    "resetting",
    "routed",
    "running",
    "scripted",
    "scripted2",
    "seeded",
    "slow",
    "transcript",
    "trickling",
    "virtual_backends",
]
