"""WebSockets through a gateway: both versions of HTTP on either side.

stage.py  clients, back ends and the gateway between
"""
