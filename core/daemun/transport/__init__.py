"""Bytes: streams whose receive and send cost no checkpoint, listeners' and dialled sockets, TLS.

stream.py   Stream: what protocols work with
sockets.py  Stream on asyncio and uvloop
relay.py    bytes from one socket to another
watched.py  Stream over any other byte stream: trio, memory
open.py     accepted and dialled sockets as streams, whatever the event loop
waker.py    one task waits, a call-back wakes it
loop.py     which event loop runs now; standing.py: where its tasks stand
tls.py      contexts for both sides
timers.py   many deadlines, one task
"""
