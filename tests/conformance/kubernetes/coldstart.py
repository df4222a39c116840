"""How long the first request to a Service without Pods takes, and later ones. Runs inside the cluster's namespace.

`python coldstart.py HOST ADDRESS:PORT` makes one cold request and thirty warm ones and prints a line of JSON.
"""

from __future__ import annotations

import http.client
import json
import sys
import time

__all__ = ["ask"]

_WARM = 30


def ask(host: str, address: str, timeout: float = 60.0) -> tuple[float, int, str]:
    """Milliseconds, status and content of a request on a connection of its own."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request("GET", "/", headers={"Host": host})
        response = connection.getresponse()
        content = response.read().decode()
        return (time.perf_counter() - began) * 1000, response.status, content
    finally:
        connection.close()


if __name__ == "__main__":
    where = (sys.argv[1], sys.argv[2])
    cold = ask(*where)
    warm = [ask(*where) for _ in range(_WARM)]
    statuses = sorted({status for _, status, _ in warm})
    print(json.dumps({"cold": cold, "warm_milliseconds": sorted(one[0] for one in warm), "statuses": statuses}))
