"""Requests to a gateway from inside of the cluster's network namespace, many in one process.

`python ingress_asking.py ADDRESS` reads a JSON list of requests from its standard input and prints one of answers.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
from typing import Any

__all__ = ["ask"]


def ask(address: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What comes back on a connection of its own: status, fields, content, and the names of the certificate.

    With `authority`, a certificate in PEM, TLS is spoken, and that one must vouch for `host`.
    """
    host, authority = asked["host"], asked.get("authority", "")
    names: list[str] = []
    connection = http.client.HTTPConnection(host or address, 443 if authority else 80, timeout=20)
    plain = socket.create_connection((address, connection.port), 20)
    if authority:
        context = ssl.create_default_context(cadata=authority)
        secure = context.wrap_socket(plain, server_hostname=host)
        presented: Any = secure.getpeercert()
        names = [value for _, value in presented["subjectAltName"]]
        plain = secure
    connection.sock = plain
    try:
        connection.request(
            asked.get("method", "GET"),
            asked.get("path", "/"),
            headers={"Host": host or address, "User-Agent": "Go-http-client/1.1"},
        )
        response = connection.getresponse()
        content = response.read().decode()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return {
            "status": response.status,
            "version": response.version,
            "fields": fields,
            "content": content,
            "names": names,
        }
    finally:
        connection.close()


if __name__ == "__main__":
    print(json.dumps([ask(sys.argv[1], one) for one in json.load(sys.stdin)]))
