"""The process around the gateway.

info.py       what runs: listeners, plugins, routes, as data
gateway.py    everything put together: start, serve, drain, stop
parts.py      what serves requests, without sockets
sources.py    where its routes come from; source_run.py: one of them, begun again after a failure
view.py       what runs now, for observers, which observing.py opens; notices.py: what plugins are told
loop.py       which event loop runs it; memory.py: what one that serves does about memory
run.py        as a program: signals; log.py: its log; systemd.py: what the manager of services is told
watchdog.py   who keeps the event loop from turning; last_resort.py: who keeps it from stopping
serve.py      in the foreground: what a person sees first
workers/      several processes, and a supervisor
dev/          the code of a plugin, reloaded while it serves
"""
