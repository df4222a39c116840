"""The downstream side: from a socket to a handler and back.

listener.py   sockets that accept, within the limit of descriptors
inherited.py  sockets that systemd, or who started us, has bound
negotiate.py  which wire protocol a connection speaks
forwarded.py  what the upstream is told about the client, and whom we believe
services.py   what all connections of a worker share
exchange.py   one exchange: lease, handler, errors into responses, observers
render.py     an error of ours as a plain response
drain.py      the connections that are open, and how they end
"""
