"""Says `Hello $TARGET!` to any request: stands in for gcr.io/knative-samples/helloworld-go.

Nothing but sockets and threads, because it is started while a request waits: to import `http.server` alone
takes longer than all of this.
"""

import os
import signal
import socket
import sys
import threading

BODY = f"Hello {os.environ.get('TARGET', 'World')}!\n".encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(BODY)
MAX_HEAD_BYTES = 65536

connections: set[socket.socket] = set()


def serve(connection: socket.socket) -> None:
    """Answers one request after the other until the client, or SIGTERM, says that no more will come."""
    received = b""
    try:
        with connection:
            while True:
                while b"\r\n\r\n" not in received and len(received) < MAX_HEAD_BYTES:
                    chunk = connection.recv(65536)
                    if not chunk:
                        return
                    received += chunk
                head, complete, received = received.partition(b"\r\n\r\n")
                line, *others = head.lower().split(b"\r\n")
                fields = dict(field.split(b": ", 1) for field in others if b": " in field)
                body = b"" if line.startswith(b"head ") else BODY
                if (
                    not complete
                    or line.endswith(b"http/1.0")
                    or b"transfer-encoding" in fields
                    or fields.get(b"connection") == b"close"
                ):
                    connection.sendall(HEAD + b"connection: close\r\n\r\n" + body)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                    return
                length = int(fields.get(b"content-length", b"0"))
                while len(received) < length:
                    length -= len(received)
                    received = connection.recv(65536)
                    if not received:
                        return
                received = received[length:]
                connection.sendall(HEAD + b"\r\n" + body)
    except (OSError, ValueError):
        return
    finally:
        connections.discard(connection)


def main() -> None:
    """Listens on 127.0.0.1:$PORT. After SIGTERM what runs is finished, and nothing new begins."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8081"))), backlog=128) as listener:
        try:
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections.add(connection)
                threading.Thread(target=serve, args=(connection,)).start()
        finally:
            for connection in list(connections):
                try:
                    connection.shutdown(socket.SHUT_RD)
                except OSError:
                    continue


if __name__ == "__main__":
    main()
