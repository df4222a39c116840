"""Applications and middlewares in the gateway's process.

applications.py  what the gateway loads: small applications of ASGI and WSGI, and middlewares
stage.py         a gateway in front of one of them
"""
