"""Messages on one gRPC stream, each of which must come back: a client by grpcio, in a process of its own.

python grpc_stream.py ORDER, an object in JSON: port, path, messages, in_turns. Prints what `load.Load` holds.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import grpc

_MESSAGE = b"x" * 100
_TIMEOUT_SECONDS = 110.0


def _say(order: dict[str, Any]) -> dict[str, Any]:
    count: int = order["messages"]
    turn = threading.Semaphore(1)

    def in_turns() -> Iterator[bytes]:
        for message in repeat(_MESSAGE, count):
            turn.acquire()
            yield message

    with grpc.insecure_channel(f"127.0.0.1:{order['port']}", [("grpc.enable_http_proxy", 0)]) as channel:
        talk: Any = channel.stream_stream(order["path"])
        start, came, wrong = time.monotonic(), 0, 0
        messages = in_turns() if order["in_turns"] else repeat(_MESSAGE, count)
        try:
            for message in talk(messages, timeout=_TIMEOUT_SECONDS):
                came += 1
                wrong += message != _MESSAGE
                turn.release()
        finally:
            turn.release(count)  # or the thread that sends would wait for ever after a fault
        return {"requests": came, "seconds": time.monotonic() - start, "failed": wrong + count - came}


if __name__ == "__main__":
    print(json.dumps(_say(json.loads(sys.argv[1]))))
