"""The process around the gateway.

info.py      what runs: listeners, plugins, routes, as data
gateway.py   everything put together: start, serve, reload, drain, stop
view.py      what runs now, for observers
loop.py      which event loop runs it
run.py       as a program: signals, log
serve.py     in the foreground: what a person sees first
"""
