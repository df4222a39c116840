"""What tests of daemun and of its plugins share.

gateway.py    a gateway in the test's own event loop
upstreams.py  upstreams that follow a script of bytes
"""

from daemun.testing.gateway import RunningGateway, running
from daemun.testing.upstreams import ScriptedUpstream, scripted

__all__ = ["RunningGateway", "ScriptedUpstream", "running", "scripted"]
